"""MoCo: Momentum Contrast for Unsupervised Visual Representation Learning (He et al., 2020).

With the head, views and temperature of v2: Improved Baselines with Momentum Contrastive Learning
(Chen et al., 2020).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.distributed import all_gather, shard
from sslbook.ema import ema_copy, update_ema
from sslbook.encoders import features_dim
from sslbook.heads import mlp_head
from sslbook.losses import full_precision
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, register, sgd
from sslbook.norms import split_batch_norm
from sslbook.views import moco_v2_views


class MoCo(Method):
    """Find the key of the same image among K keys of earlier batches (equation 1, algorithm 1).

    Queries come from f_q, the encoder with its head, which is trained; keys come from f_k, its
    moving average (equation 2), so that the keys in the queue are comparable though up to K / batch
    steps old.

    >>> method = MoCo(resnet18(), K=4096, m=0.99, T=0.1)
    >>> pretrain(method, images, epochs=200, optimizer="sgd", lr=0.03, weight_decay=5e-4)

    Args:
        encoder: f_q without its head. Its `BatchNorm2d` are split in place, see `bn_splits`.
        dim: length of queries and keys.
        K: keys in the queue; 65,536 on ImageNet. A batch must not have more keys than that.
        m: momentum of f_k in [0, 1]; .999 on ImageNet.
        T: temperature > 0: .07 in v1, .2 in v2.
        mlp: v2's head of two layers, without batch norm; False is v1's linear head.
        symmetric: each view is query once and key once, as good as twice the epochs. It is the mean
            of both losses; the official CIFAR-10 demo has their sum.
        bn_splits: batch norm sees the batch in so many parts, and the keys go through f_k in
            another order (section 3.3). The paper's 8 GPUs did just that. 1 is plain batch norm: it
            tells queries which key shares their batch, and shuffling alone changes no mean. On
            several GPUs the parts are divided among them, at least one each.
    """

    views, takes = staticmethod(moco_v2_views), 2

    def __init__(
        self,
        encoder: nn.Module,
        dim: int = 128,
        K: int = 4096,
        m: float = 0.99,
        T: float = 0.2,
        mlp: bool = True,
        symmetric: bool = False,
        bn_splits: int = 8,
    ):
        if K < 1 or not 0 <= m <= 1 or not T > 0 or bn_splits < 1:
            raise ValueError(
                "MoCo needs K >= 1, 0 <= m <= 1, T > 0 and bn_splits >= 1, "
                f"got K={K}, m={m}, T={T}, bn_splits={bn_splits}"
            )
        super().__init__(split_batch_norm(encoder, bn_splits) if bn_splits > 1 else encoder)
        width = features_dim(encoder)
        self.projector = mlp_head([width, width, dim] if mlp else [width, dim], norm=False)
        self.f_k = ema_copy(self.f_q)
        self.register_buffer("queue", F.normalize(torch.randn(dim, K), dim=0))
        # the oldest key, the next to be replaced
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
        self.K, self.m, self.T, self.symmetric, self.bn_splits = K, m, T, symmetric, bn_splits

    @property
    def f_q(self) -> nn.Sequential:
        """The trained network: the modules held as `encoder` and `projector`."""
        return nn.Sequential(self.encoder, self.projector)

    def queries(self, images: Tensor) -> Tensor:
        """q = f_q(x) normalised: (n, 3, H, W) to (n, dim)."""
        return F.normalize(self.f_q(images), dim=1)

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """k = f_k(x) normalised: (n, 3, H, W) to (n, dim), without a gradient."""
        if self.bn_splits == 1 or not self.training:
            return F.normalize(self.f_k(images), dim=1)
        images = all_gather(images)  # the shuffle crosses GPUs
        order = torch.randperm(len(images))  # on the CPU, whose generator a checkpoint keeps
        order = order.to(images.device, non_blocking=True)
        k = all_gather(F.normalize(self.f_k(images[shard(order)]), dim=1))
        return shard(torch.empty_like(k).index_copy_(0, order, k))

    @full_precision
    def logits(self, q: Tensor, k: Tensor) -> Tensor:
        """(n, 1 + K): each query's cosine with its own key, then with the queue, over T."""
        positive = (q * k).sum(dim=1, keepdim=True)
        # cloned: the backward pass needs it after `enqueue` has changed it
        negatives = q @ self.queue.clone()
        return torch.cat([positive, negatives], dim=1) / self.T

    @torch.no_grad()
    def enqueue(self, k: Tensor) -> None:
        """Write keys (n, dim) over the n oldest ones, around the end of the queue if need be."""
        if len(k) > self.K:
            raise ValueError(f"the batch has {len(k)} keys, more than the queue's K={self.K}")
        places = (self.queue_ptr + torch.arange(len(k), device=k.device)) % self.K
        self.queue[:, places] = k.T.to(self.queue.dtype)
        self.queue_ptr.copy_((self.queue_ptr + len(k)) % self.K)

    def loss(self, views: list[Tensor]) -> Tensor:
        """f_k moves first, the new keys join the queue last; in eval mode neither happens.

        Algorithm 1 moves f_k after the step, which only the very first step could tell: there f_k
        equals f_q.
        """
        x1, x2 = self.take(views)
        if self.training:
            update_ema(self.f_k, self.f_q, self.m)
        losses, keys = [], []
        for x_q, x_k in [(x1, x2), (x2, x1)] if self.symmetric else [(x1, x2)]:
            q, k = self.queries(x_q), self.keys(x_k)
            own_key = torch.zeros(len(q), dtype=torch.long, device=q.device)
            losses.append(F.cross_entropy(self.logits(q, k), own_key))
            keys.append(k)
        if self.training:
            self.enqueue(torch.cat([all_gather(k) for k in keys]))  # everyone's, in one order
        return torch.stack(losses).mean()

    def chance(self, batch_size: int) -> float:
        return math.log(1 + self.K)


register(
    MoCo,
    label="MoCo v2",
    family="Contrastive",
    published="2020-03",
    paper="chen2020mocov2",
    encoder="convnet",
    tiny=dict(dim=8, K=128, symmetric=True),
    recipes={
        "cpu": Recipe(
            dict(K=2048, m=0.99, T=0.2, symmetric=True),
            sgd(0.06),
            length=0.75,  # a symmetric step does the work of two
            source="chosen on other pictures, data seed 100",
            expected={"kNN": 0.714, "linear": 0.935},
            cost="112 s of training on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(K=4096, m=0.99, T=0.1),
            sgd(0.06),
            source="the official CIFAR-10 demo of facebookresearch/moco",
            expected={"kNN": 0.525, "linear": 0.553},
            cost="5.4 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(K=4096, m=0.99, T=0.1, symmetric=True),
            sgd(0.06, warmup_epochs=0),
            source="the official CIFAR-10 demo of facebookresearch/moco, symmetric; "
            "the mean of both losses for its sum",
            expected={"kNN": 0.606, "linear": 0.676},
            cost="5 minutes on an H200 that two other trainings shared",
        ),
    },
)
