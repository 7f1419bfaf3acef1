"""What a method is to the training loop: its views, its loss on them, what follows a step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from sslbook.optim import parameter_groups
from sslbook.views import Views


class Method(nn.Module, ABC):
    """An encoder and a way to train it without labels. `encoder` is what is kept afterwards."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    @staticmethod
    @abstractmethod
    def views(size: int) -> Views:
        """The paper's views for pictures of `size` px; `pretrain` takes others too."""

    @abstractmethod
    def loss(self, views: list[Tensor]) -> Tensor:
        """A scalar from the views, each (n, 3, H, W) in [0, 1]."""

    def after_step(self, progress: float) -> None:
        """Called after every optimiser step; `progress` runs from 0 to 1 over the training."""

    def parameter_groups(self, weight_decay: float) -> list[dict]:
        """Groups for the optimiser; one with `"constant_lr": True` does not follow the cosine."""
        return parameter_groups(self, weight_decay)
