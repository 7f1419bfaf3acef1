"""Encoders: images (n, 3, H, W) in [0, 1] to features (n, features_dim)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import resnet

from sslbook import sentences
from sslbook.text import TextEncoder
from sslbook.vit import vit_base, vit_micro, vit_tiny


class ConvNet(nn.Sequential):
    """Five 3x3 convolutions for 32 px pictures and two CPU cores: 8 * width features, 0.13 M parameters at width 16."""

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


def forward_each_size(network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of views (n, 3, size, size), in their order; views of one size go through the network together.

    So does SwAV's code with the crops of multi-crop: batch norm has the statistics of all crops of a size.
    """
    outputs: dict[int, Tensor] = {}
    for size in dict.fromkeys(view.shape[-1] for view in views):
        places = [i for i, view in enumerate(views) if view.shape[-1] == size]
        together = network(torch.cat([views[i] for i in places]))
        outputs.update(zip(places, together.chunk(len(places))))
    return [outputs[i] for i in range(len(views))]


ENCODERS = {
    "convnet": lambda size: ConvNet(),
    "resnet18": lambda size: resnet18(small_images=size <= 64),
    "resnet50": lambda size: resnet50(small_images=size <= 64),
    "vit_micro": lambda size: vit_micro(size, size // 8),
    "vit_tiny": lambda size: vit_tiny(size, size // 8),
    "vit_base": lambda size: vit_base(size, 16),
    # for the embedded sentences, which have a length of their own; a text of yours makes its `TextEncoder` itself
    "text_micro": lambda size: TextEncoder(len(sentences.WORDS), sentences.LENGTH),
    "text_tiny": lambda size: TextEncoder(len(sentences.WORDS), sentences.LENGTH, dim=192, depth=4, heads=6),
}
IMAGE_ENCODERS = tuple(name for name in ENCODERS if not name.startswith("text"))


def make_encoder(name: str, size: int = 32) -> nn.Module:
    """An untrained encoder by its name in `ENCODERS` for images of `size` px: their stems and patches differ."""
    if name not in ENCODERS:
        raise ValueError(f"there is no encoder {name!r}; there are {', '.join(ENCODERS)}")
    patch = {"vit_micro": 8, "vit_tiny": 8, "vit_base": 16}.get(name)
    if patch and (size < patch or size % patch):
        raise ValueError(f"{name} takes images whose side is a multiple of {patch} px, got {size}")
    return ENCODERS[name](size)
