"""The one training loop. It knows no method: a method says which views it needs and what its loss on them is."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sslbook.allocator import keep_freed_memory
from sslbook.callbacks import Callback, Checkpoints, ProgressBar
from sslbook.checkpoint import CheckpointError
from sslbook.distributed import all_reduce_buffers, all_reduce_mean, broadcast_state, find_device, shard, world_size
from sslbook.history import History, TrainingDivergedError
from sslbook.images import ImageSet
from sslbook.methods.base import Method, Now
from sslbook.norms import sync_batch_norm
from sslbook.optim import LARS, SGD, can_fuse, rate_of, warmup_cosine
from sslbook.photos import PhotoStream, told_if_a_worker_dies
from sslbook.views import Augmentation, Views

# fused: one kernel updates all weights; on two cores a ViT's step takes .7 of the time
OPTIMIZERS = {
    "sgd": lambda groups, lr, fused: SGD(groups, lr, momentum=0.9, fused=fused),
    "adamw": lambda groups, lr, fused: torch.optim.AdamW(groups, lr, fused=fused),
    "lars": lambda groups, lr, fused: LARS(groups, lr, momentum=0.9),
}

# the option's name since PyTorch 2.13, and before
SYNC_BUFFERS = "forward_sync_buffers"
if SYNC_BUFFERS not in inspect.signature(DistributedDataParallel).parameters:
    SYNC_BUFFERS = "broadcast_buffers"


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
    views: Views | Sequence[Augmentation] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    compile: bool = False,
    callbacks: Sequence[Callback] = (),
    show_progress: bool = True,
) -> History:
    """Train `method` in place on images without looking at a label.

    Inside `distributed.process_group` several processes train one method: each takes its shard of every batch, and
    the result is that of one process with the whole batch, up to rounding.

    Args:
        method: what to train; its `encoder` is what you keep.
        images: (N, 3, H, W) uint8 on any device, an `ImageSet`, or a `PhotoStream` of more photos than memory holds;
            the last incomplete batch of an epoch is left out.
        epochs: passes over the images.
        batch_size: of all processes together.
        optimizer: "sgd" (momentum 0.9), "adamw" or "lars". `lr` rises from 0 over `warmup_epochs` and falls to 0 as
            half a cosine; biases and norms get no weight decay, unless the method's `parameter_groups` says so.
        views: one `Augmentation` for each view; the method's own by default.
        seed: decides batches, views and what the method draws. The initial weights are decided before, by you.
        device: where to train, by default where the method's weights are.
        compile: translate the method with `torch.compile`, which takes half a minute or more before the first step.
        callbacks: what watches: `Probe`, `Checkpoints`, `Log`, `AfterEpoch` of `sslbook.callbacks`, or your own.
        show_progress: print a line with the loss and the time left.

    Raises:
        ValueError: settings that do not fit, before anything is trained.
        TrainingDivergedError: the loss became NaN or infinite; the last good checkpoint is kept.
        CheckpointError: no checkpoint can be read or written, or it belongs to other settings.
        MemoryError: the batch does not fit; the message says which to try.
    """
    keep_freed_memory()
    settings = Settings(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        weight_decay=weight_decay,
        warmup_epochs=warmup_epochs,
        seed=seed,
    )
    if isinstance(images, Tensor):
        images = ImageSet(images, torch.full((len(images),), -1, device=images.device), [])
    settings.check(len(images))
    if views is None:
        views = method.views(min(images.size))
    elif not hasattr(views, "render"):
        views = Views(views)
    method.take(views)
    if device is not None:
        method.to(find_device(device))
    if show_progress:
        callbacks = [*callbacks, ProgressBar()]
    return Run(method, images, views, settings, callbacks=callbacks, compile=compile).train()


@dataclass(frozen=True)
class Settings:
    """The numbers of a training, as `pretrain` takes them."""

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    weight_decay: float
    warmup_epochs: float
    seed: int

    def check(self, n: int) -> None:
        """Raise ValueError if they can't train on n images."""
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive and finite, got {self.lr}")
        for name in ("weight_decay", "warmup_epochs"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if not -(2**63) <= self.seed < 2**64:
            raise ValueError(f"seed must have at most 64 bits, got {self.seed}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {self.optimizer!r}")
        if not 2 <= self.batch_size <= n:
            raise ValueError(f"batch_size must lie between 2 and the {n} images, got {self.batch_size}")
        if self.batch_size % world_size():
            processes = f"the {world_size()} processes"
            raise ValueError(f"batch_size must be a multiple of {processes}, got {self.batch_size}")


class Run:
    """A training under way: the loop, and all that is needed to go on where it stopped."""

    def __init__(
        self,
        method: Method,
        data: ImageSet | PhotoStream,
        views: Views,
        settings: Settings,
        callbacks: Sequence[Callback] = (),
        compile: bool = False,
    ):
        self.method, self.data, self.views, self.settings, self.callbacks = method, data, views, settings, callbacks
        self.device = next(method.parameters()).device
        self.steps_per_epoch = len(data) // settings.batch_size
        self.total = settings.epochs * self.steps_per_epoch
        self.step = 0  # steps done
        self.rate = 0.0  # of the last step
        self.history = History(self._config())
        self.generator = torch.Generator().manual_seed(settings.seed)  # batches and views
        # of the epoch that has begun: where its order came from, each term at each step, seconds before a restart
        self.epoch_start = self.generator.get_state()
        self.terms: dict[str, Tensor] = {}
        self.seconds = 0.0
        self.arguments = _arguments(method)
        method.to(memory_format=torch.channels_last)
        sync_batch_norm(method)
        self.optimizers = _optimizers(method, settings, self.device)
        self.amp = _amp_dtype(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == torch.float16)
        self.compile = compile

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return self.step // self.steps_per_epoch

    def train(self) -> History:
        """All epochs that are left."""
        with told_if_a_worker_dies(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)  # for what a method draws itself, always on the CPU
            try:
                for callback in self.callbacks:
                    callback.start(self)
                broadcast_state(self.method)
                self.loss_of = _loss_module(self.method, self.compile)
                while self.step < self.total:
                    self.train_epoch()
            finally:
                for callback in self.callbacks:
                    callback.close()
                if isinstance(self.data, PhotoStream):
                    self.data.close()
        return self.history

    def train_epoch(self) -> None:
        """All images once, in a new order; a run that was stopped goes on inside."""
        self.started = time.perf_counter()
        first = self.step % self.steps_per_epoch
        self.method.train()
        if first == 0:
            self.method.now = Now(self.epoch, self.step / self.total)
            self.method.before_epoch(self.data)
        order = self.order()
        batches = order.split(self.settings.batch_size)[first : self.steps_per_epoch]
        shards = [shard(rows) for rows in batches]
        for batch, rows in zip(self.data.batches(shards), shards):
            with _advice_if_memory_runs_out(self.settings):
                self.train_step(batch, rows)
            for callback in self.callbacks:
                callback.after_step(self)
        self.end_epoch()

    def train_step(self, batch: Tensor, rows: Tensor) -> None:
        """One step: views of a batch, the loss on them, its gradient, an update; a turn for each optimiser."""
        self.set_rates()
        draws = shard(self.views.draw(self.settings.batch_size, self.generator), dim=1)
        views = self.views.render(batch.to(self.device, non_blocking=True), draws)
        for turn, optimizer in self.optimizers.items():
            self.method.now = Now(self.epoch, self.step / self.total, rows, turn)
            with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                terms = self.loss_of(views)  # a dict with "loss" in it
            optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(terms["loss"]).backward()
            self.scaler.unscale_(optimizer)
            self.method.before_step()
            self.scaler.step(optimizer)
            self.record(turn, terms)
        self.scaler.update()
        self.step += 1
        self.method.after_step(self.step / self.total)

    def set_rates(self) -> None:
        """Learning rates and weight decays of the step to come, as the groups want them (`ParameterGroup`)."""
        lr = self.settings.lr
        warmup = int(self.settings.warmup_epochs * self.steps_per_epoch)
        self.rate = lr * warmup_cosine(self.step, self.total, warmup)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate_of(group, lr, self.rate)
                if "weight_decay_end" in group:
                    start = group.setdefault("weight_decay_start", group["weight_decay"])
                    end = group["weight_decay_end"]
                    group["weight_decay"] = end + (start - end) * warmup_cosine(self.step, self.total)

    def record(self, turn: str, terms: dict[str, Tensor]) -> None:
        """Keep what a step said of its loss on the device: reading it would wait for the step to end."""
        place = self.step % self.steps_per_epoch
        for name, value in terms.items():
            if turn != "all":
                name = f"{turn} {name}"
            if name not in self.terms:
                self.terms[name] = torch.zeros(self.steps_per_epoch, device=self.device)
            self.terms[name][place] = value.detach()

    def end_epoch(self) -> None:
        """The epoch's row in the history, with what the callbacks measure."""
        terms = {name: all_reduce_mean(values).cpu() for name, values in self.terms.items()}
        losses = _losses(self.method, terms)
        all_reduce_buffers(self.method)
        self.check_finite(losses.sum())
        seconds = self.seconds + time.perf_counter() - self.started
        row = dict(epoch=self.epoch, loss=losses.mean().item(), lr=self.rate, seconds=seconds)
        row |= {name: values.mean().item() for name, values in terms.items() if name != "loss"}
        for callback in self.callbacks:
            row |= callback.measure(self)
        self.history.epochs.append(row)
        self.history.losses += losses.tolist()
        self.terms, self.seconds = {}, 0.0
        for callback in self.callbacks:
            callback.after_epoch(self)

    def order(self) -> Tensor:
        """The order of the images in this epoch, drawn when it begins and again where a run goes on inside it."""
        generator = self.generator
        if self.step % self.steps_per_epoch == 0:
            self.epoch_start = generator.get_state()
        else:
            generator = torch.Generator()
            generator.set_state(self.epoch_start)
        return self.method.order(len(self.data), generator)

    def check_finite(self, loss: Tensor | None = None) -> float:
        """A loss as a number, that of the last step by default. Raises TrainingDivergedError if it is none."""
        if loss is None:
            loss = _losses(self.method, self.terms)[(self.step - 1) % self.steps_per_epoch]
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingDivergedError(self.advice(f"the loss became {value} by step {self.step}"))
        return value

    def advice(self, what: str) -> str:
        """What to do about a training that went wrong."""
        epoch = -(-self.step // self.steps_per_epoch)
        kept = [c.newest() for c in self.callbacks if isinstance(c, Checkpoints) and c.newest()]
        words = f"{what}, in epoch {epoch}: try a smaller learning rate or a longer warm-up."
        return " ".join([words, *(f"{path} holds the last good state." for path in kept)])

    def is_alike(self) -> bool:
        """Does every process stand at the same step?"""
        step = torch.full((), float(self.step), device=self.device)  # NCCL has no way for tensors on the CPU
        return all_reduce_mean(step).item() == self.step

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds. All processes call it: their terms and buffers are averaged."""
        place = self.step % self.steps_per_epoch
        terms = {name: all_reduce_mean(values[:place]).tolist() for name, values in self.terms.items()}
        all_reduce_buffers(self.method)
        inside = time.perf_counter() - self.started if place else 0.0
        return dict(
            step=self.step,
            terms=terms,
            seconds=self.seconds + inside,
            epoch_start=self.epoch_start,
            generator=self.generator.get_state(),
            torch_rng=torch.get_rng_state(),
            method=self.method.state_dict(),
            optimizers={turn: optimizer.state_dict() for turn, optimizer in self.optimizers.items()},
            scaler=self.scaler.state_dict(),
            history=asdict(self.history),
            identity=self.identity,
            threads=torch.get_num_threads(),
        )

    def load_state(self, path: Path, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; raises CheckpointError if it is of another run."""
        try:
            self._check_config(path, state["history"]["config"], state["identity"])
            self.method.load_state_dict(state["method"])
            for turn, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][turn])
            if state["scaler"]:  # else it began in bfloat16 or on a CPU: float16 finds its scale anew
                self.scaler.load_state_dict(state["scaler"])
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["torch_rng"])
            self.step, self.seconds, self.epoch_start = state["step"], state["seconds"], state["epoch_start"]
            for name, values in state["terms"].items():
                self.terms[name] = torch.zeros(self.steps_per_epoch, device=self.device)
                self.terms[name][: len(values)] = torch.tensor(values)
            self.history.epochs, self.history.losses = state["history"]["epochs"], state["history"]["losses"]
        except CheckpointError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, RuntimeError, ValueError) as error:
            what = " ".join(str(error).split())[:300]  # PyTorch's has a line for each weight
            raise CheckpointError(f"{path} does not fit this method: {what}") from error
        if state["threads"] != torch.get_num_threads() and self.device.type == "cpu":
            warnings.warn(
                f"{path} is of a run with {state['threads']} threads, here are {torch.get_num_threads()}: "
                "sums are rounded otherwise, so the end is close to that of a run never stopped, not equal to it",
                stacklevel=2,
            )

    def _config(self) -> dict[str, Any]:
        about = dict(method=type(self.method).__name__, images=len(self.data), size=list(self.data.size))
        return about | asdict(self.settings) | dict(views=self.views.settings())

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What else must be the same when a run goes on: the images, and every number of the method and its layers."""
        return {"checksum of the images": self.data.checksum()} | self.arguments

    def _check_config(self, path: Path, config: dict[str, Any], identity: dict[str, Any]) -> None:
        pairs = [(name, config.get(name), now) for name, now in self.history.config.items()]
        # another PyTorch's layers may say more of themselves
        pairs += [(name, identity[name], now) for name, now in self.identity.items() if name in identity]
        differing = [f"{name}: {there!r} there, {now!r} now" for name, there, now in pairs if there != now]
        if differing:
            raise CheckpointError(
                f"{path} belongs to a run with other settings ({'; '.join(differing[:8])}). "
                "Use the same settings to go on, or another folder to start afresh."
            )


def _arguments(method: Method) -> dict[str, Any]:
    """What a method and its layers were made with, as far as they keep it: {"temperature": 0.5, "encoder.1.eps": …}."""
    found = {}
    for place, module in method.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, bool | int | float | str | None) and name != "training" and not name.startswith("_"):
                found[f"{place}.{name}".removeprefix(".")] = value
    return found


def _optimizers(method: Method, settings: Settings, device: torch.device) -> dict[str, torch.optim.Optimizer]:
    """An optimiser for each turn, of the groups that say they are its."""
    groups = method.parameter_groups(settings.weight_decay)
    make, fused = OPTIMIZERS[settings.optimizer], can_fuse(device)
    optimizers = {}
    for turn in method.turns:
        own = [group for group in groups if group.get("turn", "all") == turn]
        optimizers[turn] = make(own, settings.lr, fused)
    return optimizers


def _losses(method: Method, terms: dict[str, Tensor]) -> Tensor:
    """The loss at each step: of several turns, their sum."""
    if "loss" in terms:
        return terms["loss"]
    return torch.stack([terms[f"{turn} loss"] for turn in method.turns]).sum(dim=0)


class _Loss(nn.Module):
    """A method whose `forward` is its loss, as DistributedDataParallel calls it; always a dict with "loss" in it."""

    def __init__(self, method: Method):
        super().__init__()
        self.method = method

    def forward(self, views: list[Tensor]) -> dict[str, Tensor]:
        terms = self.method.loss([_channels_last(view) for view in views])
        return terms if isinstance(terms, dict) else {"loss": terms}


def _loss_module(method: Method, compile: bool) -> nn.Module:
    module = _Loss(method)
    if world_size() > 1:  # averages gradients while the backward pass goes on
        options = {SYNC_BUFFERS: False, "find_unused_parameters": len(method.turns) > 1}
        module = DistributedDataParallel(module, gradient_as_bucket_view=True, **options)
    return torch.compile(module) if compile else module


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def _amp_dtype(device: torch.device) -> torch.dtype | None:
    """bf16 where the GPU has it (Ampere and later), fp16 on a T4; full precision on a CPU, where casting costs more."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


@contextlib.contextmanager
def _advice_if_memory_runs_out(settings: Settings) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        ours = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not ours and "can't allocate memory" not in str(error):  # a CPU's allocator says so in a RuntimeError
            raise
        size = settings.batch_size
        smaller = max(2, size // 2 // world_size() * world_size())
        rate = f" and lr={settings.lr * smaller / size:g}" if settings.optimizer != "adamw" else ""
        raise MemoryError(f"out of memory with batch_size={size}: try batch_size={smaller}{rate}") from error
