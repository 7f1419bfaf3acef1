"""VICReg: Variance-Invariance-Covariance Regularization (Bardes et al., 2022)."""

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
from sslbook.views import byol_views


@full_precision
def variance_term(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """v(Z), by how much the features' deviations fall short of gamma, in the mean (equations 1, 2).

    A hinge: what varies by more than gamma costs nothing. It is the deviation that is held, not the
    variance, whose gradient would vanish as a feature collapses. At an exact constant even this
    term's gradient is 0.

    Args:
        z: (N, D) floats, N >= 2: a row for each image of the batch.
        gamma: the deviation that every feature should have.
        eps: added to the variance, which divides by N - 1.

    Returns:
        A scalar between 0 and gamma; for a constant gamma - sqrt(eps), .99.
    """
    deviation = (z.var(dim=0) + eps).sqrt()
    return F.relu(gamma - deviation).mean()


@full_precision
def covariance_term(z: Tensor) -> Tensor:
    """c(Z), the squared covariances of each feature with the others (equations 3, 4).

    Covariances, not correlations: features that hardly vary cost little, however alike they are.

    Args:
        z: (N, D) floats, N >= 2.

    Returns:
        A scalar >= 0: their sum over all pairs of features, by D. Independent features of variance
        1 give about (D - 1) / (N - 1), not 0; if all features are one it is D - 1.
    """
    z = z - z.mean(dim=0)
    C = z.T @ z / (len(z) - 1)
    itself = torch.eye(len(C), dtype=torch.bool, device=C.device)
    return C.masked_fill(itself, 0).square().sum() / len(C)


@full_precision
def vicreg_loss(
    z1: Tensor, z2: Tensor, lambd: float = 25.0, mu: float = 25.0, nu: float = 1.0
) -> dict[str, Tensor]:
    """Views alike, each feature varied, no two features the same (equation 6).

    As the official code has it: the squared distance is a mean over images and features, where
    equation 5 sums over features, and the variance term is the mean of both views', where
    equation 6 adds them. Only the invariance compares the views.

    Args:
        z1, z2: (N, D) floats, N >= 2: row b of both comes from the same image. Not normalised.
        lambd, mu, nu: weights >= 0 of invariance, variance and covariance.

    Returns:
        "loss", lambd * invariance + mu * variance + nu * covariance; and without a gradient and a
        weight its terms "invariance", "variance" and "covariance". If all images get one point
        they are 0, .99 and 0.

    Raises:
        ValueError: if z1 and z2 are not two (N, D) tensors of one shape, there is only one row, or
            a weight is negative.
    """
    if z1.ndim != 2 or z1.shape != z2.shape:
        shapes = f"{tuple(z1.shape)} and {tuple(z2.shape)}"
        raise ValueError(f"z1 and z2 must both be (N, D), got {shapes}")
    if len(z1) < 2:
        raise ValueError(f"a variance needs at least 2 images, got {len(z1)}")
    check_weights(lambd, mu, nu)
    invariance = F.mse_loss(z1, z2)
    variance = (variance_term(z1) + variance_term(z2)) / 2
    covariance = covariance_term(z1) + covariance_term(z2)
    terms = {"invariance": invariance, "variance": variance, "covariance": covariance}
    loss = lambd * invariance + mu * variance + nu * covariance
    return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}


def check_weights(lambd: float, mu: float, nu: float) -> None:
    """Raises ValueError if one is negative or not a number."""
    for name, weight in dict(lambd=lambd, mu=mu, nu=nu).items():
        if not weight >= 0:
            raise ValueError(f"{name} must not be negative, got {weight}")


class VICReg(Method):
    """Views of an image meet; what keeps images and features apart are two terms (section 4).

    Each view's features are held by themselves, so the two branches need not be alike: no
    negatives, no stop-gradient, no norm in the loss. The encoder f gives what is kept, the paper's
    expander z.

    >>> method = VICReg(resnet50(zero_init_residual=True))
    >>> pretrain(method, images, epochs=1000, batch_size=2048, optimizer="lars", lr=1.6,
    ...          weight_decay=1e-6, warmup_epochs=10)

    Args:
        encoder: what is kept.
        dim: D, width of z. Wider goes on helping, as in Barlow Twins: 8,192 in the paper.
        hidden: width of the expander's other layers, that of z by default.
        layers: of the expander.
        lambd, mu, nu: weights >= 0 of invariance, variance and covariance. With mu = 0 all images
            may become one point, with nu = 0 all features one.
    """

    views, takes = staticmethod(byol_views), 2

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 8192,
        hidden: int | None = None,
        layers: int = 3,
        lambd: float = 25.0,
        mu: float = 25.0,
        nu: float = 1.0,
    ):
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        check_weights(lambd, mu, nu)
        super().__init__(encoder)
        widths = [features_dim(encoder)] + [hidden or dim] * (layers - 1) + [dim]
        self.expander = mlp_head(widths, norm_output=True)[:-1]  # no bias: no term would see it
        self.lambd, self.mu, self.nu = lambd, mu, nu

    def project(self, images: Tensor) -> Tensor:
        """z: (n, 3, H, W) to (n, dim)."""
        return self.expander(self.encoder(images))

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        # not concatenated: each view has its own batch statistics; the terms see the joined batch
        z1, z2 = (all_gather(self.project(view)) for view in self.take(views))
        return vicreg_loss(z1, z2, self.lambd, self.mu, self.nu)


register(
    VICReg,
    family="Redundancy reduction",
    published="2021-05",
    paper="bardes2022vicreg",
    encoder="convnet",
    tiny=dict(dim=8, layers=2),
    recipes={
        "cpu": Recipe(
            dict(dim=256, layers=2),
            adamw(2e-3),
            source="the paper's weights; a narrow head, not tuned: it learnt at the first try",
            expected={"kNN": 0.832, "linear": 0.973},
            cost="1.8 CPU-minutes, its probes included, on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(dim=256, layers=2),
            adamw(2e-3),
            source="the cpu budget's, not tuned again",
            expected={"kNN": 0.530, "linear": 0.578},
            cost="10 CPU-minutes, its probes included, on one thread of an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(dim=2048, layers=2),
            sgd(0.24, warmup_epochs=0),
            source="lightly's rate for CIFAR-10, .06 x batch / 128; solo-learn's width; not tuned",
        ),
    },
)
