"""Rectangles of patches that are hidden or seen, as I-JEPA and BEiT draw them, in a grid of patches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from sslbook.distributed import shard, world_size


def block_sides(share: float, aspect: float, grid: int) -> tuple[int, int]:
    """Height and width in patches of a block with at most this share of the grid, but for rounding.

    `aspect` is height to width.
    """
    area = int(share * grid**2)
    height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return min(max(height, 1), grid), min(max(width, 1), grid)


def block_places(u: Tensor, height: int, width: int, grid: int) -> Tensor:
    """The patches of blocks, row by row: (..., height * width) int64 in [0, grid^2).

    `u` (..., 2) are uniform numbers in [0, 1) that say where a block lies; each place is equally likely.
    """
    top = (u[..., 0] * (grid - height + 1)).long()
    left = (u[..., 1] * (grid - width + 1)).long()
    rows = (top[..., None] + torch.arange(height, device=u.device))[..., :, None]
    columns = (left[..., None] + torch.arange(width, device=u.device))[..., None, :]
    return (rows * grid + columns).flatten(-2)


@dataclass(frozen=True)
class MultiBlock:
    """One large block to see and small ones to predict, without overlap (Assran et al., 2023, section 3).

    Args:
        grid: rows and columns of patches.
        blocks: M target blocks; they may overlap each other. All of a batch have the same sides.
        target_scale, aspect: their share of the image, and height to width: from, to.
        context_scale: the context block's share, from, to; target patches are taken out of it.
        scattered: as many single patches instead of target blocks.

    Raises:
        ValueError: ranges that are none, or blocks that can hide the whole context.
    """

    grid: int
    blocks: int = 4
    target_scale: tuple[float, float] = (0.15, 0.2)
    aspect: tuple[float, float] = (0.75, 1.5)
    context_scale: tuple[float, float] = (0.85, 1.0)
    scattered: bool = False

    def __post_init__(self):
        if self.blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {self.blocks}")
        for name, most in dict(target_scale=1, aspect=float("inf"), context_scale=1).items():
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise ValueError(f"{name} must rise and lie in (0, {most}], got {low}, {high}")
        steps = [k / 32 for k in range(33)]
        hidden = self.blocks * max(h * w for h, w in (self.target_sides(*u) for u in product(steps, repeat=2)))
        context = self.context_side(0.0) ** 2
        if hidden >= context:
            raise ValueError(
                f"blocks={self.blocks} with target_scale={self.target_scale} can hide all {context} patches of a "
                f"context in {self.grid} x {self.grid}: take fewer or smaller ones"
            )

    def target_sides(self, u: float, v: float) -> tuple[int, int]:
        """Height and width of the target blocks, by two uniform numbers in [0, 1]."""
        return block_sides(_between(self.target_scale, u), _between(self.aspect, v), self.grid)

    def context_side(self, u: float) -> int:
        """Rows and columns of the context block, by a uniform number in [0, 1]."""
        return block_sides(_between(self.context_scale, u), 1.0, self.grid)[0]

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Places of context (n, k) and of targets (n, M, T), int64, for this process's images of a joined batch.

        Drawn from the CPU's global RNG. Every context has as many patches as the smallest of the joined batch:
        others lose some at random.
        """
        n, patches = n * world_size(), self.grid**2
        u, v, w = torch.rand(3).tolist()
        height, width = self.target_sides(u, v)
        side = self.context_side(w)
        corners = torch.rand(n, 1 + self.blocks, 2)
        targets = block_places(corners[:, 1:], height, width, self.grid)
        if self.scattered:
            targets = torch.rand(n, self.blocks, patches).argsort(dim=2)[:, :, : height * width]
        free = torch.zeros(n, patches, dtype=torch.bool)
        free.scatter_(1, block_places(corners[:, 0], side, side, self.grid), True)
        free.scatter_(1, targets.flatten(1), False)
        noise = torch.rand(n, patches).masked_fill(~free, 2.0)
        context = noise.argsort(dim=1)[:, : int(free.sum(dim=1).min())]
        return shard(context), shard(targets)


def _between(scale: tuple[float, float], u: float) -> float:
    low, high = scale
    return low + (high - low) * u
