"""Tokenisers: a picture as a grid of codes, one of a fixed set for each patch. No labels, and no network, are needed.

A description says what is seen of a patch; k-means on the descriptions gives the codes. What a description leaves out
no code can know, and what no code knows BEiT need not learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.images import as_floats
from sslbook.kmeans import kmeans, nearest
from sslbook.losses import full_precision
from sslbook.views import grey

DIRECTIONS = 8  # of a gradient, in a full turn
NOISE = 3  # medians of a picture's gradients that count as none
PATCHES = 20_000  # descriptions that k-means sees
PICTURES = 1_500  # from which they come


def patches_of(images: Tensor, patch: int) -> Tensor:
    """The pixels of each patch: (n, 3, H, W) to (n, L, 3 patch^2), patches row by row."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


def pictures_of(patches: Tensor, patch: int) -> Tensor:
    """The way back, to square pictures: (n, L, 3 patch^2) to (n, 3, H, W)."""
    side = math.isqrt(patches.shape[1]) * patch
    return F.fold(patches.transpose(1, 2), side, patch, stride=patch)


def mean_patches(images: Tensor, codes: Tensor, k: int) -> Tensor:
    """What codes look like: images (n, 3, H, W) in [0, 1] and codes (n, L) to (k, 3 patch^2), the mean of the patches
    that have each code; 0 where none has it."""
    patch = images.shape[-1] // math.isqrt(codes.shape[1])
    member = F.one_hot(codes.flatten(), k).to(images.dtype)
    pixels = patches_of(images, patch).flatten(0, 1)
    return member.T @ pixels / member.sum(dim=0).clamp(min=1)[:, None]


def windows_of(images: Tensor, patch: int) -> Tensor:
    """Brightness in the patch and half a patch around it: (n, 3, H, W) to (n, L, 4 patch^2).

    In deviations of the picture's brightness from its mean: how bright and how rich in contrast a picture is says
    nothing.
    """
    light = grey(images)
    std, mean = torch.std_mean(light, dim=(2, 3), keepdim=True)
    around = F.pad((light - mean) / (std + 0.02), (patch // 2,) * 4, mode="reflect")
    return F.unfold(around, 2 * patch, stride=patch).transpose(1, 2)


def gradients_of(images: Tensor, patch: int, noise: float = NOISE) -> Tensor:
    """Histograms of oriented gradients (HOG: Dalal & Triggs, 2005): (n, 3, H, W) to (n, L, 4 x 8).

    Where does brightness rise, and which way? `noise` times the picture's median gradient is taken for noise and soft
    shading, and taken off every gradient's length. What is left of 8 directions is added up in each quarter of a
    window, the patch and half a patch around it; a gradient is shared by the two directions beside it. The 32 numbers
    become a vector of about unit length, of length 0 where nothing rises, and then their square roots.
    """
    light = F.pad(grey(images), (patch // 2 + 1,) * 4, mode="replicate")
    right = light[:, :, 1:-1, 2:] - light[:, :, 1:-1, :-2]
    down = light[:, :, 2:, 1:-1] - light[:, :, :-2, 1:-1]
    length = torch.hypot(right, down)
    length = (length - noise * length.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)).clamp(min=0)
    direction = torch.atan2(down, right) * DIRECTIONS / (2 * math.pi)  # from -4 to 4
    each = torch.arange(DIRECTIONS, device=images.device).view(-1, 1, 1) - DIRECTIONS / 2
    away = (direction - each).abs()
    away = torch.minimum(away, DIRECTIONS - away)  # around the circle
    strength = (1 - away).clamp(min=0) * length
    found = F.unfold(F.avg_pool2d(strength, patch), 2).transpose(1, 2)
    square = found.square().sum(dim=2, keepdim=True)
    usual = square.mean(dim=1, keepdim=True)  # of the picture's windows
    return (found / (square + usual / 4 + 1e-8).sqrt()).sqrt()


DESCRIPTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "pixels": patches_of,
    "windows": windows_of,
    "gradients": gradients_of,
    "all gradients": partial(gradients_of, noise=0),  # those of noise too, to see what that costs
}


class Tokeniser(nn.Module):
    """Codes by k-means on descriptions of patches.

    >>> tokeniser = Tokeniser("gradients", k=64, patch=4).fit(images)
    >>> codes = tokeniser(images)  # (n, L) int64

    Args:
        description: a key of `DESCRIPTIONS`.
        k: how many codes.
        patch: the side of a patch in pixels, an even number.
    """

    def __init__(self, description: str, k: int, patch: int):
        if description not in DESCRIPTIONS:
            raise ValueError(f"a description is one of {', '.join(DESCRIPTIONS)}; got {description!r}")
        if k < 2:
            raise ValueError(f"k must be at least 2, got {k}")
        if patch < 2 or patch % 2:
            raise ValueError(f"patch must be an even number of pixels, got {patch}")
        super().__init__()
        self.description, self.k, self.patch = description, k, patch
        width = DESCRIPTIONS[description](torch.zeros(1, 3, 2 * patch, 2 * patch), patch).shape[2]
        self.register_buffer("codebook", torch.zeros(k, width))
        self._fitted = False

    @property
    def fitted(self) -> bool:
        """Are there codes yet?"""
        return self._fitted

    @torch.no_grad()
    def describe(self, images: Tensor) -> Tensor:
        """Floats (n, 3, H, W) in [0, 1] to (n, L, D)."""
        if not images.is_floating_point():
            raise ValueError(f"images are floats in [0, 1], got {images.dtype}: divide by 255")
        return DESCRIPTIONS[self.description](images, self.patch)

    @torch.no_grad()
    def fit(self, images: Tensor, generator: torch.Generator | None = None) -> Tokeniser:
        """Learn the codes from images (n, 3, H, W): of at most so many pictures, and so many of their patches."""
        images = as_floats(images[:PICTURES])
        points = self.describe(images).flatten(0, 1)
        if len(points) < self.k:
            raise ValueError(f"{len(points)} patches can't give {self.k} codes")
        few = torch.randperm(len(points), generator=generator)[:PATCHES].to(points.device)
        self.codebook.copy_(kmeans(points[few], self.k, iterations=15, generator=generator))
        self._fitted = True
        return self

    @full_precision
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The code of each patch, row by row: (n, 3, H, W) in [0, 1] to (n, L) int64."""
        if not self.fitted:
            raise ValueError("the tokeniser has no codes yet: call `fit` first")
        return nearest(self.describe(images), self.codebook)

    def _load_from_state_dict(self, state: dict, prefix: str, *rest) -> None:
        super()._load_from_state_dict(state, prefix, *rest)
        self._fitted = bool(self.codebook.any())


class HashTokeniser(nn.Module):
    """Codes at random, a control: equal patches have equal codes, and of unlike ones nothing is known.

    A patch's pixels, rounded to 16 steps, are multiplied by fixed random numbers and added up, modulo k.
    """

    def __init__(self, k: int, patch: int):
        super().__init__()
        self.k, self.patch = k, patch
        numbers = torch.randint(2**20, (3 * patch**2,), generator=torch.Generator().manual_seed(0))
        self.register_buffer("numbers", numbers)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) in [0, 1] to (n, L) int64."""
        steps = (15 * patches_of(images, self.patch)).round().long()
        return (steps * self.numbers).sum(dim=2) % 1_000_003 % self.k
