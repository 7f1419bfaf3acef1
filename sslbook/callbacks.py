"""What watches a training: an online kNN, checkpoints, a log, a progress bar. A callback overrides what it needs."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from sslbook import checkpoint, evaluate
from sslbook.bar import progress_bar
from sslbook.distributed import rank
from sslbook.files import alone
from sslbook.history import History, TrainingDivergedError
from sslbook.images import ImageSet

if TYPE_CHECKING:
    from sslbook.methods.base import Method
    from sslbook.pretrain import Run


class Callback:
    """Is told where a `Run` is. Every process has its own; what only one may do, it does in rank 0."""

    def start(self, run: Run) -> None:
        """Before the first step."""

    def after_step(self, run: Run) -> None:
        """After every step; waiting for the device here makes the training slow."""

    def measure(self, run: Run) -> dict[str, float]:
        """At an epoch's end: what to add to its row of the history."""
        return {}

    def after_epoch(self, run: Run) -> None:
        """When the epoch's row stands in the history."""

    def close(self) -> None:
        """At the end, also after an error."""


class Probe(Callback):
    """An online kNN and two measures of collapse, on labelled sets, every so many epochs and after the last.

    It only watches: no label reaches the method. Raises ValueError if the sets don't fit together (`to_judge`), so
    before the training.
    """

    def __init__(self, train: ImageSet, test: ImageSet, every: int = 1):
        if every < 1:
            raise ValueError(f"every must be at least 1 epoch, got {every}")
        self.train, self.test = evaluate.to_judge(train, test)
        self.every = every

    def measure(self, run: Run) -> dict[str, float]:
        last = run.step == run.total
        if rank() or (run.epoch % self.every and not last):
            return {}
        known, new = (evaluate.embed(run.method.encoder, images) for images in (self.train, self.test))
        if not (known.isfinite().all() and new.isfinite().all()):
            raise TrainingDivergedError(run.advice("the encoder's features are no longer finite"))
        k = evaluate.neighbours(self.train.labels)
        return dict(
            knn=evaluate.knn(known, self.train.labels, new, self.test.labels, k=k),
            spread=evaluate.spread(new),
            rankme=evaluate.rankme(new),
        )


class Checkpoints(Callback):
    """Write a checkpoint every so many epochs, and go on from the newest that a folder already holds.

    On a CPU a training that was killed and goes on equals, bit for bit, one that was never stopped.

    Args:
        folder: where they lie, for instance on Google Drive; made if it is not there.
        every: epochs from one to the next; .1 is ten times in each.
        keep: how many of the newest stay.

    Raises:
        CheckpointError: nothing can be written there; later, that a checkpoint can't be read or is of another run.
        TimeoutError: when a training begins, that another one on this machine writes there.
    """

    PATIENCE = 20.0  # seconds that a training which was just killed may take to be gone

    def __init__(self, folder: str | os.PathLike, every: float = 1, keep: int = 2):
        if not 0 < every < math.inf:
            raise ValueError(f"every must be more than 0 epochs and finite, got {every}")
        if keep < 1:
            raise ValueError(f"keep must be at least 1 checkpoint, got {keep}")
        self.lock = contextlib.ExitStack()
        self.folder, self.every, self.keep = checkpoint.prepare(folder), every, keep

    def start(self, run: Run) -> None:
        if rank() == 0:
            self.lock.enter_context(alone(self.folder, self.PATIENCE))
        found = checkpoint.load_latest(self.folder)
        if found is not None:
            run.load_state(*found)
        if not run.is_alike():
            raise checkpoint.CheckpointError(f"not every process finds the same checkpoint in {self.folder}: share it")

    def after_step(self, run: Run) -> None:
        inside_an_epoch = run.step % run.steps_per_epoch != 0
        if inside_an_epoch and run.step % self._steps(run) == 0:
            self._save(run)

    def after_epoch(self, run: Run) -> None:
        passed_one = run.step % self._steps(run) < run.steps_per_epoch
        if passed_one or run.step == run.total:
            self._save(run)

    def close(self) -> None:
        self.lock.close()

    def newest(self) -> str:
        """The file to go on from, "" if there is none yet."""
        found = checkpoint.steps(self.folder)
        return str(found[-1]) if found else ""

    def _steps(self, run: Run) -> int:
        return max(1, round(self.every * run.steps_per_epoch))

    def _save(self, run: Run) -> None:
        state = run.state()
        if rank():
            return
        weights = state["method"].items()
        broken = [name for name, value in weights if not torch.isfinite(value).all()]
        if broken:  # the loss before the last step was still finite
            raise TrainingDivergedError(run.advice(f"{broken[0]} is no longer finite"))
        checkpoint.save_step(self.folder, run.step, state, self.keep)


class Log(Callback):
    """Call a function with the history after each epoch, to write it somewhere."""

    def __init__(self, write: Callable[[History], None]):
        self.write = write

    def after_epoch(self, run: Run) -> None:
        if rank() == 0:
            self.write(run.history)


class AfterEpoch(Callback):
    """Call a function with (epoch, method) after each epoch, for measurements of your own."""

    def __init__(self, function: Callable[[int, Method], None]):
        self.function = function

    def after_epoch(self, run: Run) -> None:
        if rank() == 0:
            self.function(run.epoch, run.method)


class ProgressBar(Callback):
    """One line with the loss, the learning rate and the kNN. It also notices a loss that is no longer finite."""

    def start(self, run: Run) -> None:
        name = type(run.method).__name__
        self.bar = progress_bar(total=run.total, initial=run.step, desc=name, show=rank() == 0)

    def after_step(self, run: Run) -> None:
        if self.bar.update():  # at most twice a second: reading the loss waits for the device
            self._say(run, run.check_finite())

    def after_epoch(self, run: Run) -> None:
        self._say(run, run.history.losses[-1])

    def close(self) -> None:
        if hasattr(self, "bar"):
            self.bar.close()

    def _say(self, run: Run, loss: float) -> None:
        words = [f"loss {loss:.3f}", f"lr {run.rate:.1e}"]
        words += [f"kNN {knn:.3f}" for knn in run.history["knn"][-1:]]
        self.bar.set_postfix_str(", ".join(words), refresh=False)
