"""The one training loop. It knows no method: a method says which views it needs and what its loss on them is."""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sslbook import checkpoint as checkpoints
from sslbook import evaluate
from sslbook.data import ImageSet, PhotoStream
from sslbook.distributed import average, average_buffers, rank, share, start_alike, sync_batch_norm, world_size
from sslbook.methods.base import Method
from sslbook.optim import LARS, can_fuse, warmup_cosine
from sslbook.progress import progress_bar
from sslbook.views import Views, draw, render

# fused: one kernel updates all weights; on two cores a ViT's step takes .7 of the time
OPTIMIZERS = {
    "sgd": lambda groups, lr, fused: torch.optim.SGD(groups, lr, momentum=0.9, fused=fused),
    "adamw": lambda groups, lr, fused: torch.optim.AdamW(groups, lr, fused=fused),
    "lars": lambda groups, lr, fused: LARS(groups, lr, momentum=0.9),
}

# the option's name since PyTorch 2.13, and before
SYNC_BUFFERS = "forward_sync_buffers"
if SYNC_BUFFERS not in inspect.signature(DistributedDataParallel).parameters:
    SYNC_BUFFERS = "broadcast_buffers"


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
    images: ImageSet | PhotoStream | Tensor,
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
    compile: bool = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: float = 1,
    keep_checkpoints: int = 2,
    progress: bool = True,
    after_epoch: Callable[[int, Method], None] | None = None,
    log: Callable[[History], None] | None = None,
) -> History:
    """Train `method` in place on images without looking at a label.

    Inside `distributed.join` several processes train one method: each takes its share of every batch, and the result
    is that of one process with the whole batch, up to rounding.

    Args:
        method: what to train; its `encoder` is what you keep.
        images: (N, 3, H, W) uint8 on any device, an `ImageSet`, or a `PhotoStream` of more photos than memory holds;
            the last incomplete batch of an epoch is left out.
        epochs: passes over the images.
        batch_size: of all processes together.
        optimizer: "sgd" (momentum 0.9), "adamw" or "lars". `lr` rises from 0 over `warmup_epochs` and falls to 0 as
            half a cosine; biases and norms get no weight decay.
        views: one `Augmentation` for each view; the method's own by default.
        probe: (train, test) sets with labels, for an online kNN and collapse measures every `probe_every` epochs.
            They only watch: no label reaches the method.
        seed: decides batches, views and what the method draws. The initial weights are decided before, by you.
        device: where to train, by default where the method's weights are.
        compile: translate the method with `torch.compile`, which takes a minute before the first step.
        checkpoint: a folder, for instance on Google Drive, to write to after every `checkpoint_every` epochs (.1: ten
            times in each); the newest `keep_checkpoints` files stay. If it has any, the run goes on from the newest
            that can be read: on a CPU the result equals, bit for bit, that of a run never stopped.
        after_epoch: called with (epoch, method) after each epoch, for your own measurements.
        log: called with the history after each epoch, to write it somewhere. Both run in process 0 only.

    Raises:
        TrainingDivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
        CheckpointError: no checkpoint can be read or written, or it belongs to other settings.
        MemoryError: the batch does not fit; the message says which to try.
    """
    if isinstance(images, Tensor):
        images = ImageSet(images, torch.full((len(images),), -1, device=images.device), [])
    for name, value in dict(epochs=epochs, probe_every=probe_every, keep_checkpoints=keep_checkpoints).items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if checkpoint_every <= 0:
        raise ValueError(f"checkpoint_every must be more than 0 epochs, got {checkpoint_every}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {optimizer!r}")
    if not 2 <= batch_size <= len(images):
        raise ValueError(f"batch_size must lie between 2 and the {len(images)} images, got {batch_size}")
    if batch_size % world_size():
        raise ValueError(f"batch_size must be a multiple of the {world_size()} processes, got {batch_size}")
    if checkpoint is not None:
        checkpoint = checkpoints.prepare(checkpoint)
    if device is not None:
        method.to(device)
    device = next(method.parameters()).device
    views = list(views or method.views(min(images.size)))
    steps_per_epoch = len(images) // batch_size
    total, warmup = epochs * steps_per_epoch, int(warmup_epochs * steps_per_epoch)
    save_every = max(1, round(checkpoint_every * steps_per_epoch))

    config = dict(
        method=type(method).__name__, images=len(images), size=list(images.size), epochs=epochs, batch_size=batch_size,
        optimizer=optimizer, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs, seed=seed,
        views=[asdict(view) for view in views],
    )  # fmt: skip
    method.to(memory_format=torch.channels_last)
    sync_batch_norm(method)
    optim = OPTIMIZERS[optimizer](method.parameter_groups(weight_decay), lr, can_fuse(device))
    amp = _amp_dtype(device)
    scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
    run = _Run(config, method, optim, scaler, seed)
    history = run.history
    bar = progress_bar(total=total, desc=type(method).__name__, show=progress and rank() == 0)
    with bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for what a method draws itself, always on the CPU
        if checkpoint is not None:
            run.resume(checkpoint)
        start_alike(method)
        loss_of = _loss_module(method, compile)
        method.train()
        bar.initial = bar.n = run.step
        while run.step < total:
            epoch, first = divmod(run.step, steps_per_epoch)
            start = time.perf_counter()
            losses = torch.zeros(steps_per_epoch, device=device)
            losses[:first] = torch.tensor(run.losses)
            batches = [share(rows) for rows in run.order(len(images)).split(batch_size)[first:steps_per_epoch]]
            for i, batch in enumerate(images.batches(batches), first):
                rate = lr * warmup_cosine(run.step, total, warmup)
                for group in optim.param_groups:
                    group["lr"] = (lr if group.get("constant_lr") else rate) * group.get("lr_scale", 1)
                numbers = share(draw(views, batch_size, run.generator), dim=1)
                with _help_if_memory_runs_out(config):
                    made = render(views, batch.to(device, non_blocking=True), numbers)
                    with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
                        loss = loss_of([_channels_last(view) for view in made])
                    optim.zero_grad(set_to_none=True)
                    scaler.scale(loss).backward()
                    scaler.step(optim)
                scaler.update()
                run.step += 1
                method.after_step(run.step / total)
                losses[i] = loss.detach()
                if bar.update():  # at most twice a second: reading the loss waits for the device
                    value = _finite(losses[i], epoch, run.step, checkpoint)
                    bar.set_postfix_str(_postfix(value, rate, history), refresh=False)
                if checkpoint is not None and run.step % save_every == 0 and i + 1 < steps_per_epoch:
                    run.losses, passed = average(losses[: i + 1]).tolist(), time.perf_counter() - start
                    average_buffers(method)
                    run.save(checkpoint, keep_checkpoints, passed)
            losses = average(losses).cpu()
            average_buffers(method)
            _finite(losses.sum(), epoch, run.step, checkpoint)
            seconds = run.seconds + time.perf_counter() - start
            row = dict(epoch=epoch + 1, loss=losses.mean().item(), lr=rate, seconds=seconds)
            if probe and rank() == 0 and ((epoch + 1) % probe_every == 0 or epoch + 1 == epochs):
                row |= _probe(method.encoder, *probe)
            run.end_epoch(row, losses.tolist())
            bar.set_postfix_str(_postfix(losses[-1].item(), rate, history), refresh=False)
            if checkpoint is not None and (run.step % save_every < steps_per_epoch or run.step == total):
                run.save(checkpoint, keep_checkpoints)
            if rank() == 0:
                if log is not None:
                    log(history)
                if after_epoch is not None:
                    after_epoch(epoch + 1, method)
    return history


class _Run:
    """What a run needs to go on where it stopped: all that a checkpoint holds."""

    def __init__(self, config: dict, method: Method, optim, scaler, seed: int):
        self.history, self.method, self.optim, self.scaler = History(config), method, optim, scaler
        self.generator = torch.Generator().manual_seed(seed)  # batches and views
        self.step, self.losses, self.seconds = 0, [], 0.0  # steps done; of the epoch begun: losses, seconds so far
        self.epoch_start = self.generator.get_state()

    def order(self, n: int) -> Tensor:
        """The order of the images in this epoch, drawn when it begins and again where a run goes on inside it."""
        if not self.losses:
            self.epoch_start = self.generator.get_state()
            return torch.randperm(n, generator=self.generator)
        generator = torch.Generator()
        generator.set_state(self.epoch_start)
        return torch.randperm(n, generator=generator)

    def end_epoch(self, row: dict, losses: list[float]) -> None:
        self.history.epochs.append(row)
        self.history.losses += losses
        self.losses, self.seconds = [], 0.0

    def save(self, folder: Path, keep: int, passed: float = 0.0) -> None:
        """Write the checkpoint of this step, in process 0; buffers are averaged before."""
        if rank():
            return
        method = self.method.state_dict()
        broken = [name for name, value in method.items() if not torch.isfinite(value).all()]
        if broken:  # the loss before the last step was still finite
            what = f"{broken[0]} is no longer finite"
            raise TrainingDivergedError(_diverged(what, len(self.history.epochs) + bool(self.losses), folder))
        checkpoints.save_step(folder, self.step, dict(
            step=self.step, losses=self.losses, seconds=self.seconds + passed, epoch_start=self.epoch_start,
            generator=self.generator.get_state(), torch_rng=torch.get_rng_state(), method=method,
            optimizer=self.optim.state_dict(), scaler=self.scaler.state_dict(), history=asdict(self.history),
        ), keep)  # fmt: skip

    def resume(self, folder: Path) -> None:
        """Go on from the newest checkpoint in a folder, if there is one."""
        found = checkpoints.load_latest(folder)
        if found is not None:
            self._load(*found)
        if average(torch.tensor(float(self.step))).item() != self.step:
            raise checkpoints.CheckpointError(f"not every process finds the same checkpoint in {folder}: share it")

    def _load(self, path: Path, state: dict) -> None:
        try:
            config, found = self.history.config, state["history"]["config"]
            differing = [f"{k}: {found.get(k)!r} there, {v!r} now" for k, v in config.items() if found.get(k) != v]
            if differing:
                raise checkpoints.CheckpointError(
                    f"{path} belongs to a run with other settings ({'; '.join(differing)}). "
                    "Use the same settings to go on, or another folder to start afresh."
                )
            self.method.load_state_dict(state["method"])
            self.optim.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["torch_rng"])
            self.step, self.losses, self.seconds = state["step"], state["losses"], state["seconds"]
            self.epoch_start = state["epoch_start"]
            self.history.epochs, self.history.losses = state["history"]["epochs"], state["history"]["losses"]
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, checkpoints.CheckpointError):
                raise
            raise checkpoints.CheckpointError(f"{path} does not fit this method: {error}") from error


class _Loss(nn.Module):
    """A method whose `forward` is its loss, as DistributedDataParallel calls it."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, views: list[Tensor]) -> Tensor:
        return self.method.loss(views)


def _loss_module(method: Method, compile: bool) -> nn.Module:
    module = _Loss(method)
    if world_size() > 1:  # averages gradients while the backward pass goes on
        module = DistributedDataParallel(module, gradient_as_bucket_view=True, **{SYNC_BUFFERS: False})
    return torch.compile(module) if compile else module


@contextlib.contextmanager
def _help_if_memory_runs_out(config: dict) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        ours = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not ours and "can't allocate memory" not in str(error):  # a CPU's allocator says so in a RuntimeError
            raise
        size = config["batch_size"]
        smaller = max(2, size // 2 // world_size() * world_size())
        rate = f" and lr={config['lr'] * smaller / size:g}" if config["optimizer"] != "adamw" else ""
        raise MemoryError(f"out of memory with batch_size={size}: try batch_size={smaller}{rate}") from error


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
    good = checkpoints.steps(checkpoint) if checkpoint else []
    kept = f" {good[-1]} holds the last good state." if good else ""
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
