"""Batch norms that know of several devices: one statistic for all, or one for each part of the batch; or none at all,
and spectral norm, for a discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from sslbook.distributed import all_reduce_mean, world_size
from sslbook.losses import full_precision


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Batch norm as on `splits` devices: each part of the batch is normalised by its own mean and variance.

    It is the one-device form of MoCo's batch norm on many GPUs (He et al., 2020, section 3.3), to be used with keys in
    shuffled order. The running statistics move to the mean of the parts' ones; in eval mode it is plain batch norm.
    A part has at least two images: a small batch has fewer parts. Several processes divide the parts among them. The
    state dict is that of `nn.BatchNorm2d`.
    """

    def __init__(self, num_features: int, splits: int, **options):
        super().__init__(num_features, **options)
        if splits < 1:
            raise ValueError(f"splits must be at least 1, got {splits}")
        self.splits = splits

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        self.num_batches_tracked.add_(1)
        parts = x.tensor_split(max(1, min(self.splits // world_size(), len(x) // 2)))
        means, variances = self.running_mean.repeat(len(parts), 1), self.running_var.repeat(len(parts), 1)
        outputs = [  # each part moves its own row of the statistics
            F.batch_norm(
                part,
                mean,
                variance,
                weight=self.weight,
                bias=self.bias,
                training=True,
                momentum=self.momentum,
                eps=self.eps,
            )
            for part, mean, variance in zip(parts, means, variances)
        ]
        self.running_mean.copy_(means.mean(dim=0))
        self.running_var.copy_(variances.mean(dim=0))
        return torch.cat(outputs)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, splits={self.splits}"


def split_batch_norm(module: nn.Module, splits: int) -> nn.Module:
    """Replace, in place, every `nn.BatchNorm2d` inside a module by a `SplitBatchNorm2d` with the same weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            options = dict(eps=child.eps, momentum=child.momentum, affine=child.affine)
            split = SplitBatchNorm2d(child.num_features, splits, **options).to(child.running_mean)
            split.load_state_dict(child.state_dict())
            setattr(module, name, split.train(child.training))
        else:
            split_batch_norm(child, splits)
    return module


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm with the mean and variance of the joined batch, on CPUs, where `nn.SyncBatchNorm` wants GPUs."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        count = x.new_tensor(x.numel() // x.shape[1])
        average = all_reduce_mean(count)
        share = count / average  # a process with more images counts for more
        mean = all_reduce_mean(x.mean(axes) * share)
        centred = x - mean.view(shape)
        variance = all_reduce_mean(centred.square().mean(axes) * share)
        with torch.no_grad():
            n = average * world_size()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        y = centred * (variance + self.eps).rsqrt().view(shape)
        return y * self.weight.view(shape) + self.bias.view(shape) if self.affine else y


def sync_batch_norm(module: nn.Module) -> None:
    """Replace, in place, the batch norms inside a module, if there are several processes; the parameters stay.

    Subclasses are left alone: who splits batch norm, as MoCo does, wants it not to see the whole batch.
    """
    if world_size() == 1:
        return
    for parent in list(module.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d):
                Synced = nn.SyncBatchNorm if norm.running_mean.is_cuda else CPUSyncBatchNorm
                synced = Synced(norm.num_features, norm.eps, norm.momentum, norm.affine)
                synced.weight, synced.bias = norm.weight, norm.bias
                synced.running_mean, synced.running_var = norm.running_mean, norm.running_var
                synced.num_batches_tracked = norm.num_batches_tracked
                setattr(parent, name, synced.train(norm.training))


class NoBatchNorm2d(nn.BatchNorm2d):
    """What stands where a batch norm was taken out: y = scale * x + bias, with a bias for each channel that is trained.

    It knows nothing of a batch, and does in training what it does in eval mode. Its state dict is that of
    `nn.BatchNorm2d` with mean 0, variance 1 and weight `scale`, which computes the same in eval mode: so what was
    trained with it is loaded into a network with batch norm.
    """

    def __init__(self, num_features: int, scale: float, **options):
        super().__init__(num_features, **options)
        nn.init.constant_(self.weight, scale).requires_grad_(False)
        self.running_var.fill_(1 - self.eps)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (p.to(x.dtype).view(-1, 1, 1) for p in (self.weight, self.bias))
        return x * weight + bias


def without_batch_norm(module: nn.Module, scale: float = 1.0) -> nn.Module:
    """Take every `nn.BatchNorm2d` inside a module out, in place; a factor and a trained bias stay for each channel.

    Args:
        scale: the factor. Batch norm kept the signal at one size; without it each ReLU takes half of the squares away,
            which sqrt(2) gives back, and spectral norm takes more.

    Raises:
        ValueError: scale is not positive.
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            plain = NoBatchNorm2d(child.num_features, scale, eps=child.eps).to(child.running_mean)
            setattr(module, name, plain.train(child.training))
        else:
            without_batch_norm(child, scale)
    return module


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value sigma (Miyato et al., 2018, equation 8).

    sigma is that of the matrix (outputs, all else), by the power iteration (algorithm 1): u and v follow its singular
    vectors, one step each time that the weight is asked for in training, none in eval mode.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        rows = weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(rows.new_empty(rows.shape[0]).normal_(), dim=0))
        self.register_buffer("v", F.normalize(rows.new_empty(rows.shape[1]).normal_(), dim=0))
        for _ in range(20):
            self.iterate(rows)

    @torch.no_grad()
    def iterate(self, rows: Tensor) -> None:
        self.v.copy_(F.normalize(rows.T @ self.u, dim=0))
        self.u.copy_(F.normalize(rows @ self.v, dim=0))

    @full_precision
    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        if self.training:
            self.iterate(rows)
        u, v = self.u.clone(), self.v.clone()  # the next step must not change what the gradient needs
        return weight / (u @ rows @ v)


def spectral_norm(module: nn.Module) -> nn.Module:
    """Put spectral norm on every convolution and linear layer inside a module, in place, where there is none yet."""
    for layer in list(module.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear) and not is_parametrized(layer):
            register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return module
