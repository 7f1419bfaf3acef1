"""What a method is to the training loop: views, a loss on them, what happens around a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from sslbook.optim import ParameterGroup, parameter_groups
from sslbook.views import Views


@dataclass(frozen=True)
class Now:
    """Where the training is: set by the loop before each loss. By hand a loss sees the start."""

    epoch: int = 0
    progress: float = 0.0  # from 0 to 1 over the training
    rows: Tensor | None = None  # (n,) int64: which examples this batch holds
    turn: str = "all"  # whose turn it is: one of `Method.turns`


class Method(nn.Module, ABC):
    """An encoder and a way to train it without labels. `encoder` is what is kept afterwards.

    What belongs to a run (queues, centres, assignments) lives in buffers: a checkpoint has them.
    """

    turns: tuple[str, ...] = ("all",)  # each has an optimiser and a step of its own, in this order
    now = Now()

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    @staticmethod
    @abstractmethod
    def views(size: int) -> Views:
        """The paper's views for pictures of `size` px; `pretrain` takes others too."""

    @abstractmethod
    def loss(self, views: list[Tensor]) -> Tensor | dict[str, Tensor]:
        """A scalar from the views, each (n, 3, H, W) in [0, 1].

        Or a dict with this scalar as "loss", and with terms that the history shall keep, detached.
        """

    def take(self, number: int, views: list[Tensor]) -> list[Tensor]:
        """The views, if there are as many as the method takes; ValueError if not."""
        if len(views) != number:
            name = type(self).__name__
            takes = "one view" if number == 1 else f"{number} views"
            raise ValueError(f"{name} takes {takes} of an image, got {len(views)}: see its `views`")
        return views

    def before_epoch(self, data) -> None:
        """Called before an epoch's first step with all that is trained on."""

    def before_step(self) -> None:
        """Called when the gradients are there: clip them, or freeze a layer by `grad = None`."""

    def after_step(self, progress: float) -> None:
        """Called after every optimiser step; `progress` runs from 0 to 1 over the training."""

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Groups for the optimisers; what a group may say stands in `ParameterGroup`."""
        return parameter_groups(self, weight_decay)
