"""SwAV: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments.

Caron et al., 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.distributed import all_gather, all_reduce_mean, shard
from sslbook.encoders import features_dim, forward_each_size
from sslbook.heads import mlp_head
from sslbook.losses import cosine_scores, sinkhorn, swapped_prediction
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, register, sgd
from sslbook.views import cifar_views, multi_crop, multi_crop_views

ASSIGNED = 2  # the views whose codes are predicted: the large crops


class SwAV(Method):
    """Predict to which prototypes a view belongs from another view of the image (section 3).

    A view's score for a prototype is the cosine of its z with it. Codes are the large crops' scores
    put in balance over the batch, so that not all images get one prototype; all crops predict
    them. No view is compared with another image, and no second network is needed.

    >>> method = SwAV(resnet50(), K=3000, queue=3840)
    >>> pretrain(method, images, epochs=200, batch_size=256, optimizer="lars", lr=0.6,
    ...          weight_decay=1e-6)

    Args:
        encoder: what is kept.
        K: prototypes; about ten times as many as there are classes, 3,000 on ImageNet.
        dim: D, length of z and of a prototype.
        hidden: width of the projector's hidden layer, 2,048 in the paper.
        epsilon: of `sinkhorn`. A loss that stays at ln K wants a smaller one.
        T: temperature of the prediction.
        iterations: of `sinkhorn`; 0 is a plain softmax, and collapses.
        frozen: share of the training in which the prototypes stand still, an epoch in the paper.
        queue: z of so many earlier images per view that are balanced with the batch (section 4),
            for batches that are not much larger than K; a multiple of the processes.
        queue_from: share of the training after which the queue counts, epoch 15 of 200 in the
            paper. It has to be full by then: until it is, random vectors stand in it.
    """

    views = staticmethod(multi_crop_views)

    def __init__(
        self,
        encoder: nn.Module,
        K: int = 3000,
        dim: int = 128,
        hidden: int = 2048,
        epsilon: float = 0.05,
        T: float = 0.1,
        iterations: int = 3,
        frozen: float = 0.01,
        queue: int = 0,
        queue_from: float = 0.075,
    ):
        if K < 2 or not epsilon > 0 or not T > 0 or iterations < 0 or queue < 0:
            raise ValueError(
                "SwAV needs K >= 2, epsilon > 0, T > 0, iterations >= 0 and queue >= 0, got "
                f"K={K}, epsilon={epsilon}, T={T}, iterations={iterations}, queue={queue}"
            )
        if not 0 <= frozen <= 1 or not 0 <= queue_from <= 1:
            shares = f"frozen={frozen}, queue_from={queue_from}"
            raise ValueError(f"shares of the training lie in [0, 1], got {shares}")
        super().__init__(encoder)
        self.projector = mlp_head([features_dim(encoder), hidden, dim])
        self.prototypes = nn.Parameter(F.normalize(torch.randn(K, dim), dim=1))  # C, a row each
        self.K, self.epsilon, self.T, self.iterations = K, epsilon, T, iterations
        self.frozen, self.queue_from = frozen, queue_from
        vectors = F.normalize(torch.randn(ASSIGNED, queue, dim), dim=2)
        self.register_buffer("queue", vectors if queue else None)

    def take(self, views: Sequence) -> Sequence:
        """The views, of which there are at least the two that are assigned."""
        if len(views) < ASSIGNED:
            enough = f"{ASSIGNED} views of an image or more"
            raise ValueError(f"SwAV takes {enough}, got {len(views)}: see its `views`")
        return views

    def project(self, images: Tensor) -> Tensor:
        """z, not normalised yet: (n, 3, H, W) to (n, dim)."""
        return self.projector(self.encoder(images))

    def scores(self, z: Tensor) -> Tensor:
        """Cosines with the prototypes: (n, dim) to (n, K) in [-1, 1]."""
        return cosine_scores(z, self.prototypes)

    @torch.no_grad()
    def codes(self, z: Tensor, view: int) -> Tensor:
        """Q of a view's z (n, dim): (n, K). From `queue_from` on its queue is balanced with it."""
        if self.queue is not None and self.now.progress >= self.queue_from:
            z = torch.cat([shard(self.queue[view]), z])  # each process has a part of the queue
        return sinkhorn(self.scores(z), self.epsilon, self.iterations)

    @torch.no_grad()
    def enqueue(self, z: Tensor, view: int) -> None:
        """The batch of all processes joins a view's queue, the oldest leave it."""
        length = self.queue.shape[1]
        z = F.normalize(all_gather(z).to(self.queue.dtype), dim=1)
        self.queue[view] = torch.cat([z, self.queue[view]])[:length]

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        z = forward_each_size(self.project, self.take(views))
        n = len(z[0])
        codes = torch.stack([self.codes(z[view], view)[-n:] for view in range(ASSIGNED)])
        if self.training and self.queue is not None:
            for view in range(ASSIGNED):
                self.enqueue(z[view], view)
        loss = swapped_prediction(torch.stack([self.scores(x) for x in z]), codes, self.T)
        return {"loss": loss, **monitors(codes.flatten(0, 1))}

    def chance(self, batch_size: int) -> float:
        return math.log(self.K)

    def before_step(self) -> None:
        if self.now.progress < self.frozen:
            self.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """The prototypes go back to length 1."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))


def monitors(codes: Tensor) -> dict[str, Tensor]:
    """`evaluate.prototypes_used` and `assignment_sharpness` of codes (n, K), for the history."""
    used = torch.special.entr(all_reduce_mean(codes.mean(dim=0))).sum().exp()
    sharpness = torch.special.entr(codes).sum(dim=1).exp().mean()
    return {"prototypes used": used, "assignment sharpness": sharpness}


register(
    SwAV,
    family="Clustering",
    published="2020-06",
    paper="caron2020swav",
    encoder="convnet",
    tiny=dict(K=8, dim=4, hidden=8, frozen=0.1, queue=32, queue_from=0.3),
    recipes={
        "cpu": Recipe(
            # two views: small crops of these pictures often miss the thing; and a sharp epsilon
            dict(K=128, dim=64, hidden=256, epsilon=0.02, frozen=0.025),
            sgd(0.2, batch_size=256),
            length=0.7,
            source="experiments/swav_recipe.py; chosen on other pictures, data seed 100",
            expected={"kNN": 0.565, "linear": 0.895},
            cost="46 CPU-seconds on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(K=128, dim=64, hidden=256, epsilon=0.02, frozen=0.05),
            sgd(0.2),
            source="the recipe of the shapes, the prototypes frozen for twice the share; not tuned",
            expected={"kNN": 0.544, "linear": 0.594},
            cost="6.3 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(K=512, dim=128, hidden=512, epsilon=0.03, frozen=0.05),
            sgd(0.4, views=multi_crop(cifar_views(), small=16, number=4, scale=(0.08, 0.25))),
            source="lightly's CIFAR-10 benchmark has 512 prototypes; epsilon: authors' advice",
            expected={"kNN": 0.552, "linear": 0.609},
            cost="4 s an epoch on an H200, with other work on the machine's cores",
        ),
    },
)
