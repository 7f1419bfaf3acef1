"""The one training loop. It knows no method: a method says which views it needs and what its loss on them is."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from sslbook import checkpoint as checkpoints
from sslbook import evaluate
from sslbook.data import ImageSet
from sslbook.methods.base import Method
from sslbook.optim import LARS, warmup_cosine
from sslbook.progress import progress_bar
from sslbook.views import Views, render

OPTIMIZERS = {
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr, momentum=0.9),
    "adamw": lambda groups, lr: torch.optim.AdamW(groups, lr),
    "lars": lambda groups, lr: LARS(groups, lr, momentum=0.9),
}


class TrainingDivergedError(FloatingPointError):
    """The loss is no longer a finite number."""


@dataclass
class History:
    """What happened, as data: one row an epoch, the loss of every step, and the settings that led there."""

    config: dict = field(default_factory=dict)
    epochs: list[dict] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __getitem__(self, column: str) -> list[float]:
        """One column over the epochs, where it was measured: loss, knn, spread, rankme, lr, seconds."""
        return [row[column] for row in self.epochs if column in row]

    @property
    def seconds(self) -> float:
        """Training time without the probes."""
        return sum(row["seconds"] for row in self.epochs)


def pretrain(
    method: Method,
    images: ImageSet | Tensor,
    *,
    epochs: int,
    batch_size: int = 256,
    optimizer: str = "adamw",
    lr: float = 3e-3,
    weight_decay: float = 1e-3,
    warmup_epochs: float = 1,
    views: Views | None = None,
    probe: tuple[ImageSet, ImageSet] | None = None,
    probe_every: int = 1,
    seed: int = 0,
    device: str | torch.device | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 1,
    progress: bool = True,
    after_epoch=None,
) -> History:
    """Train `method` in place on images without looking at a label.

    Args:
        method: what to train; its `encoder` is what you keep.
        images: (N, 3, H, W) uint8 on any device, or an `ImageSet`; the last incomplete batch of an epoch is left out.
        epochs: passes over the images.
        optimizer: "sgd" (momentum 0.9), "adamw" or "lars". `lr` rises from 0 over `warmup_epochs` and falls to 0 as
            half a cosine; biases and norms get no weight decay.
        views: one `Augmentation` for each view; the method's own by default.
        probe: (train, test) sets with labels, for an online kNN and collapse measures every `probe_every` epochs.
            They only watch: no label reaches the method.
        seed: decides batches, views and what the method draws. The initial weights are decided before, by you.
        device: where to train, by default where the method's weights are.
        checkpoint: a file to write after every `checkpoint_every` epochs. If it exists, the run goes on from there:
            on a CPU the result equals, bit for bit, that of a run never stopped.
        after_epoch: called with (epoch, method) after each epoch, for your own measurements.

    Raises:
        TrainingDivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
        CheckpointError: the checkpoint is unreadable or belongs to other settings.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {optimizer!r}")
    pictures = images.images if isinstance(images, ImageSet) else images
    if not 2 <= batch_size <= len(pictures):
        raise ValueError(f"batch_size must lie between 2 and the {len(pictures)} images, got {batch_size}")
    if device is not None:
        method.to(device)
    device = next(method.parameters()).device
    height, width = pictures.shape[2:]
    views = list(views or method.views(min(height, width)))
    steps_per_epoch = len(pictures) // batch_size
    total, warmup = epochs * steps_per_epoch, int(warmup_epochs * steps_per_epoch)

    config = dict(
        method=type(method).__name__, images=len(pictures), size=[height, width], epochs=epochs, batch_size=batch_size,
        optimizer=optimizer, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs, seed=seed,
        views=[asdict(view) for view in views],
    )  # fmt: skip
    history = History(config)
    method.to(memory_format=torch.channels_last)
    optim = OPTIMIZERS[optimizer](method.parameter_groups(weight_decay), lr)
    amp = _amp_dtype(device)
    scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
    generator = torch.Generator().manual_seed(seed)
    bar = progress_bar(total=total, desc=type(method).__name__, show=progress)
    with bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for what a method draws itself, always on the CPU
        if checkpoint is not None and Path(checkpoint).exists():
            _resume(checkpoint, config, method, optim, scaler, generator, history)
        method.train()
        bar.initial = bar.n = len(history.epochs) * steps_per_epoch
        for epoch in range(len(history.epochs), epochs):
            start = time.perf_counter()
            losses = torch.zeros(steps_per_epoch, device=device)
            order = torch.randperm(len(pictures), generator=generator)[: steps_per_epoch * batch_size]
            for i, rows in enumerate(order.to(pictures.device).split(batch_size)):
                step = epoch * steps_per_epoch + i
                rate = lr * warmup_cosine(step, total, warmup)
                for group in optim.param_groups:
                    group["lr"] = (lr if group.get("constant_lr") else rate) * group.get("lr_scale", 1)
                batch = render(views, pictures.index_select(0, rows).to(device, non_blocking=True), generator)
                with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
                    loss = method.loss([_channels_last(view) for view in batch])
                optim.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.step(optim)
                scaler.update()
                method.after_step((step + 1) / total)
                losses[i] = loss.detach()
                if bar.update():  # at most twice a second: reading the loss waits for the device
                    value = _finite(losses[i], epoch, step, checkpoint)
                    bar.set_postfix_str(_postfix(value, rate, history), refresh=False)
            losses = losses.cpu()
            _finite(losses.sum(), epoch, step, checkpoint)
            history.losses += losses.tolist()
            row = dict(epoch=epoch + 1, loss=losses.mean().item(), lr=rate, seconds=time.perf_counter() - start)
            if probe and ((epoch + 1) % probe_every == 0 or epoch + 1 == epochs):
                row |= _probe(method.encoder, *probe)
            history.epochs.append(row)
            bar.set_postfix_str(_postfix(losses[-1].item(), rate, history), refresh=False)
            if checkpoint is not None and ((epoch + 1) % checkpoint_every == 0 or epoch + 1 == epochs):
                _save(checkpoint, config, method, optim, scaler, generator, history)
            if after_epoch is not None:
                after_epoch(epoch + 1, method)
    return history


def _amp_dtype(device: torch.device) -> torch.dtype | None:
    """bf16 where the GPU has it (Ampere and later), fp16 on a T4; full precision on a CPU, where casting costs more."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _finite(loss: Tensor, epoch: int, step: int, checkpoint) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingDivergedError(_diverged(f"the loss became {value} by step {step + 1}", epoch + 1, checkpoint))
    return value


def _diverged(what: str, epoch: int, checkpoint) -> str:
    kept = f" {checkpoint} holds the last good epoch." if checkpoint and Path(checkpoint).exists() else ""
    return f"{what}, in epoch {epoch}: try a smaller learning rate, a longer warm-up or a larger temperature.{kept}"


def _postfix(loss: float, rate: float, history: History) -> str:
    knn = history["knn"]
    return f"loss {loss:.3f}, lr {rate:.1e}" + (f", kNN {knn[-1]:.3f}" if knn else "")


def _probe(encoder: nn.Module, train: ImageSet, test: ImageSet) -> dict[str, float]:
    known, new = evaluate.embed(encoder, train), evaluate.embed(encoder, test)
    return dict(
        knn=evaluate.knn(known, train.labels.to(known.device), new, test.labels.to(new.device), k=min(200, len(known))),
        spread=evaluate.spread(new),
        rankme=evaluate.rankme(new),
    )


def _save(path, config, method, optim, scaler, generator, history) -> None:
    broken = [name for name, value in method.state_dict().items() if not torch.isfinite(value).all()]
    if broken:  # the loss before this epoch's last step was still finite
        raise TrainingDivergedError(_diverged(f"{broken[0]} is no longer finite", history.epochs[-1]["epoch"], path))
    checkpoints.save(path, dict(
        config=config, method=method.state_dict(), optimizer=optim.state_dict(), scaler=scaler.state_dict(),
        generator=generator.get_state(), torch_rng=torch.get_rng_state(), history=asdict(history),
    ))  # fmt: skip


def _resume(path, config, method, optim, scaler, generator, history) -> None:
    state = checkpoints.load(path)
    try:
        found = state["config"]
        differing = [f"{k}: {found.get(k)!r} there, {v!r} now" for k, v in config.items() if found.get(k) != v]
        if differing:
            raise checkpoints.CheckpointError(
                f"{path} belongs to a run with other settings ({'; '.join(differing)}). "
                "Use the same settings to go on, or another file to start afresh."
            )
        method.load_state_dict(state["method"])
        optim.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch_rng"])
        history.epochs, history.losses = state["history"]["epochs"], state["history"]["losses"]
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        if isinstance(error, checkpoints.CheckpointError):
            raise
        raise checkpoints.CheckpointError(f"{path} does not fit this method: {error}") from error
