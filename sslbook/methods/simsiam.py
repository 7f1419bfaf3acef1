"""SimSiam: Exploring Simple Siamese Representation Learning (Chen & He, 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from sslbook.encoders import features_dim
from sslbook.heads import mlp_head
from sslbook.losses import negative_cosine
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, register, sgd
from sslbook.optim import ParameterGroup
from sslbook.views import moco_v2_views


class SimSiam(Method):
    """Predict one view's projection from the other's, with a stop-gradient (equations 1-4).

    f is encoder and projector, h the predictor, a bottleneck (section 3, "Baseline settings").

    >>> method = SimSiam(resnet18(), layers=2)
    >>> pretrain(method, images, epochs=800, optimizer="sgd", lr=0.03, weight_decay=5e-4)

    Args:
        encoder: what is kept.
        dim: width of p and z.
        hidden: width of the projector's hidden layers, the encoder's features by default.
        layers: of the projector: 3, or 2 on CIFAR-10 (appendix D).
        bottleneck: width of the predictor's hidden layer, dim / 4 by default.
        stop_gradient: False lets the gradient into z, and collapses (section 4.1).
        predictor: False is p = z, and does not learn (section 4.2).
    """

    views, takes = staticmethod(moco_v2_views), 2

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 2048,
        hidden: int | None = None,
        layers: int = 3,
        bottleneck: int | None = None,
        stop_gradient: bool = True,
        predictor: bool = True,
    ):
        if dim < 4 or layers < 2:
            at_least = "dim must be at least 4 and layers at least 2"
            raise ValueError(f"{at_least}, got dim={dim}, layers={layers}")
        super().__init__(encoder)
        width = features_dim(encoder)
        # The output's batch norm has no scale and shift. The linear layer before it has no bias
        # here and a frozen one in the official code: the norm takes it away, so that only the
        # running mean would show it.
        widths = [width] + [hidden or width] * (layers - 1) + [dim]
        self.projector = mlp_head(widths, norm_output=True)
        self.predictor = nn.Identity()
        if predictor:
            self.predictor = mlp_head([dim, bottleneck or dim // 4, dim])
        self.stop_gradient = stop_gradient

    def project(self, images: Tensor) -> Tensor:
        """z = f(x): (n, 3, H, W) to (n, dim). Healthy: the std of z / |z| is near 1 / sqrt(dim)."""
        return self.projector(self.encoder(images))

    def loss(self, views: list[Tensor]) -> Tensor:
        """L = D(p1, stopgrad(z2)) / 2 + D(p2, stopgrad(z1)) / 2 (equation 4), in [-1, 1]."""
        z1, z2 = map(self.project, self.take(views))  # each has its own batch statistics
        p1, p2 = self.predictor(z1), self.predictor(z2)
        if self.stop_gradient:
            z1, z2 = z1.detach(), z2.detach()
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Weight decay on everything, norms too, and a predictor whose rate does not decay."""
        f = [*self.encoder.parameters(), *self.projector.parameters()]
        groups = [{"params": f}, {"params": list(self.predictor.parameters()), "constant_lr": True}]
        return [dict(group, weight_decay=weight_decay) for group in groups if group["params"]]


register(
    SimSiam,
    family="Self-distillation",
    published="2020-11",
    paper="chen2021simsiam",
    encoder="convnet",
    tiny=dict(dim=8, layers=2),
    recipes={
        "cpu": Recipe(
            dict(dim=512, layers=2),
            sgd(0.3),  # faster is better until, at 0.8, it collapses
            source="chosen on other pictures, data seed 100",
            expected={"kNN": 0.665, "linear": 0.933},
            cost="93 s of training on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(dim=512, layers=2),
            sgd(0.1),
            source="tuned by hand in a few runs",
            expected={"kNN": 0.493, "linear": 0.545},
            cost="6.2 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(dim=2048, layers=2),
            sgd(0.06, warmup_epochs=0),
            source="the paper, appendix D: rate 0.03 x batch / 256",
        ),
    },
)
