"""DINO: Emerging Properties in Self-Supervised Vision Transformers (Caron et al., 2021).

With Sinkhorn centring, from DINOv2 (Oquab et al., 2024), as an option.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslbook.distributed import all_reduce_mean
from sslbook.ema import cosine_tau, ema_copy, update_ema
from sslbook.encoders import features_dim, forward_each_size
from sslbook.heads import DINOHead
from sslbook.losses import dino_loss, full_precision, sinkhorn
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register, sgd
from sslbook.optim import ParameterGroup, parameter_groups
from sslbook.views import Views, byol_views, multi_crop

CENTRINGS = ("mean", "sinkhorn", "none")


def dino_views(size: int) -> Views:
    """BYOL's two views of .4 of the image or more, and eight small ones (section 3.1).

    A small one is blurred half of the time, as in the official code.
    """
    small = max(1, round(size * 96 / 224))
    return multi_crop(byol_views(size), small=small, number=8, scale=(0.05, 0.4), blur=0.5)


class DINO(Method):
    """Say of a crop what one's own moving average says of the whole image (section 3.1).

    The student g_s and the teacher g_t share out each image among K prototypes nobody defines. Two
    forces keep that from collapsing: centring takes from each prototype what it always gets, so
    that none takes all; sharpening, a low temperature, keeps the teacher from giving all the same.

    What is kept is the teacher's encoder: the one you give. The student is a copy of it.

    >>> method = DINO(vit_tiny(), K=65536, tau=0.996)
    >>> pretrain(method, images, epochs=100, lr=5e-4, weight_decay=0.04, warmup_epochs=10)

    Args:
        encoder: f of the teacher, a `ViT` or any other.
        K: prototypes; 65,536 on ImageNet.
        hidden, bottleneck: widths in the head h; 2,048 and 256 in the paper.
        norm: batch norm in the head, for ConvNets.
        T_s, T_t: temperatures > 0 of student and teacher. The teacher is sharper.
        T_warm, warm_epochs: the teacher's temperature goes from T_warm to T_t over so many epochs.
        tau: momentum of the teacher in [0, 1]; with `schedule` it rises to 1 as half a cosine.
        centring: "mean" takes the moving average c of g_t away (equation 4); "sinkhorn" shares the
            batch out equally (DINOv2, section 4); "none" collapses.
        m: how slowly c moves, in [0, 1].
        frozen: epochs at the start in which the last layer does not learn.
        clip: the largest norm that a weight's gradient may have.
        weight_decay_end: where weight decay ends, as half a cosine: .04 to .4; None keeps it.
    """

    views, takes = staticmethod(dino_views), None

    def __init__(
        self,
        encoder: nn.Module,
        K: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        norm: bool = False,
        T_s: float = 0.1,
        T_t: float = 0.04,
        T_warm: float | None = None,
        warm_epochs: int = 0,
        tau: float = 0.996,
        schedule: bool = True,
        centring: str = "mean",
        m: float = 0.9,
        frozen: int = 1,
        clip: float = 3.0,
        weight_decay_end: float | None = None,
    ):
        if centring not in CENTRINGS:
            raise ValueError(f"centring must be one of {', '.join(CENTRINGS)}; got {centring!r}")
        T_warm = T_t if T_warm is None else T_warm
        for name, value in dict(T_s=T_s, T_t=T_t, T_warm=T_warm, clip=clip).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if K < 2 or not 0 <= tau <= 1 or not 0 <= m <= 1:
            limits = "K >= 2, 0 <= tau <= 1 and 0 <= m <= 1"
            raise ValueError(f"DINO needs {limits}, got K={K}, tau={tau}, m={m}")
        super().__init__(encoder)
        head = DINOHead(features_dim(encoder), hidden, bottleneck, K, norm)
        self.student = nn.Sequential(copy.deepcopy(encoder), head)
        encoder.requires_grad_(False).follows = True  # until another method takes it
        self.head = ema_copy(self.student[1])
        self.register_buffer("c", torch.zeros(K))
        self.K, self.T_s, self.T_t, self.T_warm = K, T_s, T_t, T_warm
        self.warm_epochs, self.tau, self.schedule = warm_epochs, tau, schedule
        self.centring, self.m, self.frozen, self.clip = centring, m, frozen, clip
        self.weight_decay_end = weight_decay_end

    @property
    def teacher(self) -> nn.Sequential:
        """g_t, the modules held as `encoder` and `head`."""
        return nn.Sequential(self.encoder, self.head)

    def temperature(self, epoch: int) -> float:
        """Of the teacher in an epoch: from T_warm in a line to T_t."""
        if epoch >= self.warm_epochs:
            return self.T_t
        done = epoch / max(1, self.warm_epochs - 1)
        return self.T_warm + (self.T_t - self.T_warm) * done

    @full_precision
    @torch.no_grad()
    def targets(self, g_t: Tensor) -> Tensor:
        """P_t (N, K), centred and sharpened, from the teacher's outputs (N, K)."""
        T = self.temperature(self.now.epoch)
        if self.centring == "sinkhorn":
            return sinkhorn(g_t, T)
        return ((g_t - self.c) / T).softmax(dim=1)

    @full_precision
    @torch.no_grad()
    def update_centre(self, g_t: Tensor) -> None:
        """c <- m c + (1 - m) mean of the joined batch (equation 4)."""
        mean = all_reduce_mean(g_t.mean(dim=0))
        self.c.mul_(self.m).add_(mean, alpha=1 - self.m)

    def take(self, views: Sequence) -> Sequence:
        """The views, the first two of one size: the teacher sees them. ValueError if not."""
        if len(views) < 2:
            raise ValueError(f"DINO takes two views or more of an image, got {len(views)}")
        one, two = (view.shape[-1] if isinstance(view, Tensor) else view.size for view in views[:2])
        if one != two:
            raise ValueError(f"DINO's first two views must be of one size, got {one} and {two} px")
        return views

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        views = self.take(views)
        with torch.no_grad():
            g_t = self.teacher(torch.cat(views[:2]))  # (2 n, K), of the two large views only
        P_t = self.targets(g_t)
        if self.centring == "mean":
            self.update_centre(g_t)
        g_s = torch.stack(forward_each_size(self.student, views))  # (V, n, K)
        return dino_loss(g_s, P_t.unflatten(0, (2, -1)), self.T_s)

    def before_step(self) -> None:
        """Clip the gradient of each weight on its own; the last layer waits."""
        for p in self.student.parameters():
            if p.grad is not None:
                nn.utils.clip_grad_norm_(p, self.clip)
        if self.now.epoch < self.frozen:
            self.student[1].last_layer.weight.grad = None

    def chance(self, batch_size: int) -> float:
        """ln K: nothing is said about any image."""
        return math.log(self.K)

    def after_step(self, progress: float) -> None:
        tau = cosine_tau(progress, self.tau) if self.schedule else self.tau
        update_ema(self.teacher, self.student, tau)

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """As always; weight decay, where there is one, goes to `weight_decay_end`."""
        weights, biases = parameter_groups(self.student, weight_decay)
        if self.weight_decay_end is not None:
            weights["weight_decay_end"] = self.weight_decay_end
        return [weights, biases]


# for small images and few epochs
SMALL = dict(K=128, hidden=256, bottleneck=64, norm=True, T_t=0.02, centring="sinkhorn", frozen=0)

register(
    DINO,
    family="Self-distillation",
    published="2021-04",
    paper="caron2021dino",
    encoder="convnet",
    tiny=dict(K=16, hidden=12, bottleneck=8, tau=0.9, frozen=1),
    recipes={
        "cpu": Recipe(
            # a sharp teacher that follows quickly, balanced by Sinkhorn, and no layer that waits
            SMALL | dict(tau=0.95),
            adamw(5e-3, batch_size=64),
            source="experiments/dino_recipe.py; chosen on other pictures, data seed 100",
            expected={"kNN": 0.809, "linear": 0.972},
            cost="90 CPU-seconds on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            SMALL | dict(tau=0.97),
            adamw(2e-3, batch_size=128),
            source="the recipe for the shapes with a slower teacher and rate; not tuned",
            expected={"kNN": 0.528, "linear": 0.584},
            cost="8 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(K=2048, norm=True, tau=0.99),
            sgd(0.24, warmup_epochs=0),
            source="lightly's CIFAR-10 benchmark: rate 0.06 x batch / 128; "
            "tau .99 is the advice for small sets",
            expected={"kNN": 0.510, "linear": 0.639},
            cost="5 s an epoch on an H200, with other work on the machine's cores",
        ),
    },
)
