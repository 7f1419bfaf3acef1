"""Encoders: images (n, 3, H, W) in [0, 1] to features (n, features_dim)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet

from sslbook.distributed import world_size


class ConvNet(nn.Sequential):
    """Five 3x3 convolutions for 32 px pictures and two CPU cores: 8 * width features, 0.15 M parameters at width 16."""

    def __init__(self, width: int = 16):
        def convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )

        super().__init__(
            convolution(3, width, 2),
            convolution(width, 2 * width, 1),
            convolution(2 * width, 4 * width, 2),
            convolution(4 * width, 4 * width, 1),
            convolution(4 * width, 8 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.features_dim = 8 * width


def resnet18(*, small_images: bool = True, zero_init_residual: bool = False) -> nn.Module:
    """torchvision's ResNet-18 without its classifier: 512 features."""
    return _resnet(resnet.resnet18, small_images, zero_init_residual)


def resnet50(*, small_images: bool = False, zero_init_residual: bool = False) -> nn.Module:
    """torchvision's ResNet-50 without its classifier: 2,048 features."""
    return _resnet(resnet.resnet50, small_images, zero_init_residual)


def _resnet(architecture, small_images: bool, zero_init_residual: bool) -> nn.Module:
    encoder = architecture(zero_init_residual=zero_init_residual)
    encoder.features_dim = encoder.fc.in_features
    encoder.fc = nn.Identity()
    if small_images:  # the stem for 224 px would throw away 15 of every 16 pixels of a 32 px picture
        encoder.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        encoder.maxpool = nn.Identity()
    return encoder


def features_dim(encoder: nn.Module, size: int = 32) -> int:
    """How many features an encoder gives: its `features_dim`, or measured on one empty picture of `size` px."""
    known = getattr(encoder, "features_dim", None)
    if known is not None:
        return known
    training = encoder.training
    try:
        with torch.no_grad():
            return encoder.eval()(torch.zeros(1, 3, size, size)).shape[1]
    finally:
        encoder.train(training)


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
            F.batch_norm(part, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
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
