"""BYOL: Bootstrap Your Own Latent (Grill et al., 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslbook.ema import cosine_tau, ema_copy, update_ema
from sslbook.encoders import features_dim
from sslbook.heads import mlp_head
from sslbook.losses import byol_loss
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register, sgd
from sslbook.optim import ParameterGroup, parameter_groups
from sslbook.views import byol_views


class BYOL(Method):
    """Predict what a slow copy of oneself says about another view of the image (section 3.1).

    The online network theta is encoder, projector g and predictor q; the target xi is the moving
    average of the first two, and never gets a gradient.

    >>> method = BYOL(resnet18(), tau=0.99)
    >>> pretrain(method, images, epochs=200, optimizer="lars", lr=0.2, weight_decay=1.5e-6)

    Args:
        encoder: the online f.
        dim, hidden: output and hidden width of projector and predictor; batch norm in the hidden
            layer only.
        tau: base momentum of the target in [0, 1]: .97, .99 and .996 for 40, 300 and 1,000 epochs
            on ImageNet.
        schedule: let tau rise to exactly 1 as half a cosine (section 3.3); False keeps it constant.
        predictor: False compares the projections themselves, and collapses (section 5, table 5b).
        predictor_lr: the predictor's learning rate, as a multiple of the others'.
    """

    views, takes = staticmethod(byol_views), 2

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 256,
        hidden: int = 4096,
        tau: float = 0.99,
        schedule: bool = True,
        predictor: bool = True,
        predictor_lr: float = 1.0,
    ):
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must lie in [0, 1], got {tau}")
        super().__init__(encoder)
        self.projector = mlp_head([features_dim(encoder), hidden, dim])
        self.predictor = mlp_head([dim, hidden, dim]) if predictor else nn.Identity()
        self.target = ema_copy(self.online)
        self.tau, self.schedule, self.predictor_lr = tau, schedule, predictor_lr

    @property
    def online(self) -> nn.Sequential:
        """What the target follows: the modules held as `encoder` and `projector`."""
        return nn.Sequential(self.encoder, self.projector)

    def predict(self, images: Tensor) -> Tensor:
        """q(z) of the online network: (n, 3, H, W) to (n, dim)."""
        return self.predictor(self.online(images))

    @torch.no_grad()
    def project_target(self, images: Tensor) -> Tensor:
        """z' of the target: (n, 3, H, W) to (n, dim), in train mode, without a gradient."""
        return self.target(images)

    def loss(self, views: list[Tensor]) -> Tensor:
        """Each view predicts the other; the sum of both directions (section 3.1), in [0, 8]."""
        x, x_ = self.take(views)  # not concatenated: each has its own batch-norm statistics
        there = byol_loss(self.predict(x), self.project_target(x_))
        back = byol_loss(self.predict(x_), self.project_target(x))
        return there + back

    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta (equation 1)."""
        update_ema(self.target, self.online, tau)

    def after_step(self, progress: float) -> None:
        self.update_target(cosine_tau(progress, self.tau) if self.schedule else self.tau)

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """As always; the predictor's rate is `lr_scale` times the others'."""
        groups = parameter_groups(self.online, weight_decay)
        predictor = parameter_groups(self.predictor, weight_decay)
        groups += [dict(group, lr_scale=self.predictor_lr) for group in predictor]
        return [group for group in groups if group["params"]]


register(
    BYOL,
    family="Self-distillation",
    published="2020-06",
    paper="grill2020byol",
    encoder="convnet",
    tiny=dict(dim=8, hidden=16),
    recipes={
        "cpu": Recipe(
            dict(dim=128, hidden=512, tau=0.95),
            adamw(2e-3, batch_size=64),
            source="by hand in a dozen runs on other pictures, data seed 100; "
            "experiments/byol_recipe.py",
            expected={"kNN": 0.677, "linear": 0.910},
            cost="108 s of training on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(dim=128, hidden=512, tau=0.97, predictor_lr=10.0),
            sgd(0.1),
            source="tuned by hand in a few runs",
            expected={"kNN": 0.503, "linear": 0.555},
            cost="7.4 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(dim=256, hidden=1024, tau=0.99, schedule=False),
            sgd(0.24, warmup_epochs=0),
            source="lightly's CIFAR-10 benchmark: rate 0.06 x batch / 128, constant tau",
            expected={"kNN": 0.506, "linear": 0.621},
            cost="3 s an epoch on an H200, with other work on the machine's cores",
        ),
    },
)
