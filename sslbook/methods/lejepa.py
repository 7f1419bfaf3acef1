"""LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics.

Balestriero & LeCun, 2025.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.encoders import features_dim, forward_each_size
from sslbook.heads import mlp_head
from sslbook.losses import epps_pulley, full_precision
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register
from sslbook.views import Views, byol_views, multi_crop

GLOBAL = 2  # the views whose mean all views predict: the large crops
# what `epps_pulley` says of n numbers that are all 0, divided by n
ALL_ALIKE = math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))


def lejepa_views(size: int) -> Views:
    """Two large crops and six small ones, with BYOL's colours; from the authors' page on GitHub."""
    view = replace(byol_views(size)[0], blur=0.5, solarize=0.2)
    small = max(1, round(size * 98 / 224))
    return multi_crop(Views([view] * GLOBAL), small=small, number=6, scale=(0.05, 0.3))


def random_directions(dim: int, slices: int) -> Tensor:
    """Unit vectors, uniform on the sphere: (dim, slices), a column each.

    From the CPU's global RNG, which stands alike in all processes: all project on the same lines.
    """
    return F.normalize(torch.randn(dim, slices), dim=0)


@full_precision
def prediction_error(z: Tensor) -> Tensor:
    """Mean squared distance of all views of z (V, n, D) to the first two's mean (section 5.1).

    The mean has a gradient as well. It runs over views, pictures and features: a scalar.
    """
    return (z - z[:GLOBAL].mean(dim=0)).square().mean()


@full_precision
def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """Sketched isotropic Gaussian regularisation of z (V, n, D), a scalar >= 0 (section 4).

    A distribution is the standard Gaussian if it is so along every line through 0. Each view's z is
    projected on directions (D, M), unit columns, and every one-dimensional sample is tested by
    `epps_pulley`; the mean of the V M answers is returned. 1.06 is what a Gaussian batch has.
    """
    directions = directions.to(z, non_blocking=True)
    samples = torch.cat([view @ directions for view in z], dim=1)  # (n, V M)
    return epps_pulley(samples).mean()


class LeJEPA(Method):
    """Predict the mean of the views, with embeddings that are standard Gaussian (section 5.1).

    Two terms and one weight between them. No second network, no predictor, no stop-gradient, no
    schedule: a collapsed z is far from a Gaussian, and that alone prevents it.

    >>> method = LeJEPA(vit_tiny(), dim=64, hidden=2048, lambd=0.05)
    >>> pretrain(method, images, epochs=100, lr=5e-4, weight_decay=0.05, warmup_epochs=10)

    Args:
        encoder: what is kept.
        dim: D, width of z.
        hidden: width of the projector's other layers.
        layers: of the projector.
        lambd: lambda in [0, 1], the weight of SIGReg; prediction has 1 - lambda.
        slices: M, random directions, new ones at every step.
    """

    views = staticmethod(lejepa_views)

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 64,
        hidden: int = 2048,
        layers: int = 3,
        lambd: float = 0.05,
        slices: int = 1024,
    ):
        if not 0 <= lambd <= 1:
            raise ValueError(f"lambd must lie in [0, 1], got {lambd}")
        if layers < 1 or slices < 1:
            raise ValueError(f"layers and slices must be at least 1, got {layers} and {slices}")
        super().__init__(encoder)
        self.projector = mlp_head([features_dim(encoder)] + [hidden] * (layers - 1) + [dim])
        self.dim, self.lambd, self.slices = dim, lambd, slices

    def take(self, views: Sequence) -> Sequence:
        """The views, of which there are at least the two that are predicted."""
        if len(views) < GLOBAL:
            enough = f"{GLOBAL} views of an image or more"
            raise ValueError(f"LeJEPA takes {enough}, got {len(views)}: see its `views`")
        return views

    def project(self, images: Tensor) -> Tensor:
        """z, which is not normalised: (n, 3, H, W) to (n, dim)."""
        return self.projector(self.encoder(images))

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        z = torch.stack(forward_each_size(self.project, self.take(views)))  # (V, n, dim)
        prediction = prediction_error(z)
        gaussian = sigreg(z, random_directions(self.dim, self.slices))
        loss = (1 - self.lambd) * prediction + self.lambd * gaussian
        return {"loss": loss, "prediction": prediction.detach(), "SIGReg": gaussian.detach()}

    def chance(self, batch_size: int) -> float:
        """All z are 0: nothing is left to predict, and no Gaussian."""
        return self.lambd * ALL_ALIKE * batch_size


register(
    LeJEPA,
    family="Redundancy reduction",
    published="2025-11",
    paper="balestriero2025lejepa",
    encoder="convnet",
    tiny=dict(dim=8, hidden=12, slices=16),
    recipes={
        "cpu": Recipe(
            dict(dim=64, hidden=256, layers=2, lambd=0.05, slices=128),
            adamw(5e-3, batch_size=32),
            source="experiments/lejepa_recipe.py; chosen on other pictures, data seed 100",
            expected={"kNN": 0.881, "linear": 0.981},
            cost="2.1 CPU-minutes on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(dim=64, hidden=256, layers=2, lambd=0.05, slices=128),
            adamw(5e-3, batch_size=128),
            source="the cpu recipe, with larger batches",
            expected={"kNN": 0.529, "linear": 0.572},
            cost="10 CPU-minutes on one thread of an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(dim=64, hidden=2048, layers=3, lambd=0.05, slices=1024),
            adamw(2e-3, 0.05),
            source="the authors' small example: rate .002, weight decay .05; not run yet",
        ),
    },
)
