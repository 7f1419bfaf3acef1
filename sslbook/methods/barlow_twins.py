"""Barlow Twins: Self-Supervised Learning via Redundancy Reduction (Zbontar et al., 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.distributed import all_gather
from sslbook.encoders import features_dim
from sslbook.heads import mlp_head
from sslbook.losses import full_precision
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register, sgd
from sslbook.optim import ParameterGroup, parameter_groups
from sslbook.views import byol_views


@full_precision
def cross_correlation(z1: Tensor, z2: Tensor) -> Tensor:
    """C, how much each feature of one view tells of each of the other's (equation 2).

    Every feature is standardised over the batch, with the deviation that divides by N, as batch
    norm does it. Then C_ij is the mean over the batch of feature i of the first view times feature
    j of the second.

    Args:
        z1, z2: (N, D) floats, N >= 2: row b of both comes from the same image. Normalised in here.

    Returns:
        (D, D) in [-1, 1], not symmetric. Independent features don't give 0: the entries of N images
        scatter around it by 1 / sqrt(N), .06 for 256.

    Raises:
        ValueError: if z1 and z2 are not two (N, D) tensors of one shape, or there is only one row.
    """
    if z1.ndim != 2 or z1.shape != z2.shape:
        shapes = f"{tuple(z1.shape)} and {tuple(z2.shape)}"
        raise ValueError(f"z1 and z2 must both be (N, D), got {shapes}")
    if len(z1) < 2:
        raise ValueError(f"a correlation needs at least 2 images, got {len(z1)}")
    # batch norm without scale and shift; its eps of 1e-5 keeps a feature that never changes at 0
    z1, z2 = (F.batch_norm(z, None, None, training=True) for z in (z1, z2))
    return z1.T @ z2 / len(z1)


@full_precision
def barlow_twins_loss(z1: Tensor, z2: Tensor, lambd: float = 0.0051) -> dict[str, Tensor]:
    """The cross-correlation of two views, pulled to the identity (equation 1).

    Sums, not means: D features have D terms on the diagonal and D (D - 1) beside it.

    Args:
        z1, z2: (N, D) floats, N >= 2, as `cross_correlation` takes them.
        lambd: lambda >= 0, the weight of the redundancy. With 0 nothing keeps two features apart.

    Returns:
        "loss", invariance + lambd * redundancy, a scalar >= 0; and without a gradient its terms.
        "invariance", the sum of (1 - C_ii)^2, is about D for views that have nothing in common, and
        0 if each feature is the same in both. "redundancy", the sum of C_ij^2 with i != j, is about
        D (D - 1) / N for independent features, not 0, and D (D - 1) if all features are one.

    Raises:
        ValueError: as `cross_correlation`, or if lambd is negative.
    """
    if not lambd >= 0:
        raise ValueError(f"lambd must not be negative, got {lambd}")
    C = cross_correlation(z1, z2)
    invariance = (1 - C.diagonal()).square().sum()
    itself = torch.eye(len(C), dtype=torch.bool, device=C.device)
    redundancy = C.masked_fill(itself, 0).square().sum()
    loss = invariance + lambd * redundancy
    return {"loss": loss, "invariance": invariance.detach(), "redundancy": redundancy.detach()}


class BarlowTwins(Method):
    """Make each feature the same in both views, and unlike all other features (section 2).

    Features are compared over the batch, not images with images: no negatives, no predictor, no
    second network. The encoder f gives what is kept, the projector z.

    >>> method = BarlowTwins(resnet50(zero_init_residual=True), bias_lr=0.024)
    >>> pretrain(method, images, epochs=1000, batch_size=2048, optimizer="lars", lr=1.6,
    ...          weight_decay=1e-6, warmup_epochs=10)

    Args:
        encoder: what is kept.
        dim: D, width of z. Unlike in other methods wider goes on helping (figure 4): 8,192 there.
        hidden: width of the projector's other layers, that of z by default.
        layers: of the projector.
        lambd: lambda >= 0, what redundancy weighs; 0 lets all features become one.
        bias_lr: the learning rate of biases and norms, as a multiple of the weights'. For LARS,
            which does not adapt it: .0048 / .2 in the paper.
    """

    views, takes = staticmethod(byol_views), 2

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 8192,
        hidden: int | None = None,
        layers: int = 3,
        lambd: float = 0.0051,
        bias_lr: float = 1.0,
    ):
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        if not lambd >= 0:
            raise ValueError(f"lambd must not be negative, got {lambd}")
        super().__init__(encoder)
        widths = [features_dim(encoder)] + [hidden or dim] * (layers - 1) + [dim]
        self.projector = mlp_head(widths, norm_output=True)[:-1]  # the loss has the last norm
        self.lambd, self.bias_lr = lambd, bias_lr

    def project(self, images: Tensor) -> Tensor:
        """z, not normalised yet: (n, 3, H, W) to (n, dim)."""
        return self.projector(self.encoder(images))

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        # not concatenated: each view has its own batch statistics; C is that of the joined batch
        z1, z2 = (all_gather(self.project(view)) for view in self.take(views))
        return barlow_twins_loss(z1, z2, self.lambd)

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """As always; the rate of biases and norms is `bias_lr` times the weights'."""
        weights, biases = parameter_groups(self, weight_decay)
        return [weights, dict(biases, lr_scale=self.bias_lr)]


register(
    BarlowTwins,
    label="Barlow Twins",
    family="Redundancy reduction",
    published="2021-03",
    paper="zbontar2021barlow",
    encoder="convnet",
    tiny=dict(dim=8, layers=2),
    recipes={
        "cpu": Recipe(
            dict(dim=128, layers=2, lambd=0.02),  # narrow, small batches, a high rate
            adamw(5e-3, batch_size=32),
            source="experiments/barlow_recipe.py; chosen on other pictures, data seed 100",
            expected={"kNN": 0.834, "linear": 0.973},
            cost="90 CPU-seconds of training on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(dim=128, layers=2, lambd=0.02),
            adamw(5e-3, batch_size=128),
            source="the better of two on a quarter of the training photos, judged on others",
            expected={"kNN": 0.540, "linear": 0.593},
            cost="6.2 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(dim=2048, layers=2, lambd=0.005),
            sgd(0.24, warmup_epochs=0),
            source="lightly's CIFAR-10 benchmark: rate 0.06 x batch / 128, head 2048-2048",
            expected={"kNN": 0.452, "linear": 0.522},
            cost="2 minutes on an H200 that two other trainings shared",
        ),
    },
)
