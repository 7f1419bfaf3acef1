"""SimCLR: A Simple Framework for Contrastive Learning of Visual Representations.

Chen et al., 2020.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sslbook.distributed import all_gather
from sslbook.encoders import features_dim
from sslbook.heads import mlp_head
from sslbook.losses import info_nce_loss
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register, sgd
from sslbook.views import simclr_views


class SimCLR(Method):
    """Contrast two views of every image with all other images of the batch (algorithm 1).

    The encoder f gives h, which is kept; the projector g gives z for the loss (section 4.2).

    >>> method = SimCLR(ConvNet(), temperature=0.1)
    >>> pretrain(method, images, epochs=30)
    """

    views, takes = staticmethod(simclr_views), 2

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 128,
        hidden: int | None = None,
        temperature: float = 0.5,
    ):
        super().__init__(encoder)
        width = features_dim(encoder)
        self.projector = mlp_head([width, hidden or width, dim], norm_output=True)
        self.temperature = temperature

    def project(self, images: Tensor) -> Tensor:
        """z = g(f(x)): (n, 3, H, W) to (n, dim)."""
        return self.projector(self.encoder(images))

    def loss(self, views: list[Tensor]) -> Tensor:
        # one pass: batch norm sees both views, as in the official code
        z = self.project(torch.cat(self.take(views)))  # (2n, dim)
        z = torch.cat([all_gather(part) for part in z.chunk(2)])  # negatives come from every GPU
        return info_nce_loss(z, self.temperature)

    def chance(self, batch_size: int) -> float:
        return math.log(2 * batch_size - 1)


register(
    SimCLR,
    family="Contrastive",
    published="2020-02",
    paper="chen2020simclr",
    encoder="convnet",
    tiny=dict(dim=8),
    recipes={
        "cpu": Recipe(
            dict(temperature=0.1),
            adamw(2e-3),
            source="tuned by hand in a few runs",
            expected={"kNN": 0.854, "linear": 0.979},
            cost="88 s of training on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(temperature=0.2),
            adamw(3e-3),
            source="tuned by hand in a few runs",
            expected={"kNN": 0.557, "linear": 0.607},
            cost="6.1 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(temperature=0.5),
            sgd(0.06, warmup_epochs=0),
            source="dkobak/simclr-cifar10: rate 0.03 x batch / 256",
            expected={"kNN": 0.585, "linear": 0.678},
            cost="1.7 s an epoch on an H200",
        ),
    },
)
