"""What a method is to the training loop: views, a loss on them, what happens around a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
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

    takes: int | None = None  # how many views of an image the loss wants; None is any number
    turns: tuple[str, ...] = ("all",)  # each has an optimiser and a step of its own, in this order
    now = Now()

    def __init__(self, encoder: nn.Module):
        super().__init__()
        if vars(encoder).pop("follows", False):
            encoder.requires_grad_(True)  # another method's teacher, frozen by it, learns on here
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

    def take(self, views: Sequence) -> Sequence:
        """The views, if there are as many as the method takes; ValueError if not.

        `pretrain` asks before the first step, a loss when it is called by hand.
        """
        if self.takes is not None and len(views) != self.takes:
            name = type(self).__name__
            takes = "one view" if self.takes == 1 else f"{self.takes} views"
            raise ValueError(f"{name} takes {takes} of an image, got {len(views)}: see its `views`")
        return views

    def chance(self, batch_size: int) -> float | None:
        """The loss if all images look alike to the network; None where that says nothing."""
        return None

    def before_epoch(self, data) -> None:
        """Called before an epoch's first step with all that is trained on."""

    def order(self, n: int, generator: torch.Generator) -> Tensor:
        """Which of n examples an epoch shows, (n,) int64: all of them, in random order.

        Asked after `before_epoch`, and again where a run goes on inside an epoch.
        """
        return torch.randperm(n, generator=generator)

    def before_step(self) -> None:
        """Called when the gradients are there: clip them, or freeze a layer by `grad = None`."""

    def after_step(self, progress: float) -> None:
        """Called after every optimiser step; `progress` runs from 0 to 1 over the training."""

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Groups for the optimisers; what a group may say stands in `ParameterGroup`."""
        return parameter_groups(self, weight_decay)
