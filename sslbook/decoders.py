"""Decoders: codes z (n, latents) to pictures (n, 3, size, size). What a VAE paints with is what a GAN paints with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST, LARGEST = 4, 7  # sides of the grid that a picture begins as


class Decoder(nn.Sequential):
    """From one code a grid of 4 x 4 features, and from it a picture, by doublings (Radford et al., 2016, figure 1).

    Its outputs are pictures in [0, 1], whatever the code: the last layer is a sigmoid.

    Args:
        latents: numbers in a code.
        size: side of the pictures in pixels: 4 to 7, doubled some times.
        width: channels before the last layer; each grid of half the side has twice as many.
        smooth: double by `Doubling`, which paints no grid of its own (Odena et al., 2016).

    Raises:
        ValueError: there is no grid of 4 to 7 from which doublings lead to `size`; a number is less than 1.
    """

    def __init__(self, latents: int, size: int = 32, width: int = 32, smooth: bool = False):
        if latents < 1 or width < 1:
            raise ValueError(f"latents and width must be at least 1, got {latents} and {width}")
        grid, doublings = size, 0
        while grid > LARGEST and grid % 2 == 0:
            grid, doublings = grid // 2, doublings + 1
        if not SMALLEST <= grid <= LARGEST or not doublings:
            raise ValueError(f"size must be 4, 5, 6 or 7 doubled some times, such as 32, 48, 64, 96, 224; got {size}")
        double = Doubling if smooth else _transposed
        channels = [width * 2**i for i in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.Linear(latents, channels[0] * grid**2, bias=False),
            nn.Unflatten(1, (channels[0], grid, grid)),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in zip(channels, channels[1:]):
            layers += [double(inputs, outputs, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers, double(channels[-1], 3, bias=True), nn.Sigmoid())
        self.latents, self.size = latents, size

    def forward(self, z: Tensor) -> Tensor:
        """(n, latents) to (n, 3, size, size) in [0, 1]. Raises ValueError for codes of another shape."""
        if z.ndim != 2 or z.shape[1] != self.latents:
            raise ValueError(f"codes must be (n, {self.latents}), got {tuple(z.shape)}")
        return super().forward(z)


def _transposed(inputs: int, outputs: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)


class Doubling(nn.Module):
    """Each pixel becomes four, and a 3 x 3 convolution follows: (n, inputs, H, W) to (n, outputs, 2 H, 2 W).

    Computed in one step, as the transposed convolution that it is: its 4 x 4 kernel is the 3 x 3 one, smeared.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)

    def kernel(self) -> Tensor:
        """(inputs, outputs, 4, 4), as `nn.ConvTranspose2d` has its weight."""
        weight = self.convolution.weight
        four = torch.ones(1, 1, 2, 2, device=weight.device, dtype=weight.dtype)
        smeared = F.conv2d(weight.flatten(0, 1)[:, None], four, padding=1)[:, 0]
        return smeared.unflatten(0, weight.shape[:2]).flip(-1, -2).transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel(), self.convolution.bias, stride=2, padding=1)
