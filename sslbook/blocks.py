"""Rectangles of patches that are hidden or seen, as I-JEPA draws them in a grid of patches; BEiT's are in `masks`."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn

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


class MultiBlock(nn.Module):
    """One large block to see and small ones to predict, without overlap (Assran et al., 2023, section 3).

    A module without weights, so that a run knows what it was made with.

    Args:
        grid: rows and columns of patches.
        blocks: M target blocks; they may overlap each other. All of a batch have the same sides.
        smallest, largest: of which share of the image a target block is.
        flattest, tallest: its height to width.
        least, most: of which share the context block is; target patches are taken out of it.
        scattered: as many single patches instead of target blocks.

    Raises:
        ValueError: ranges that are none, or blocks that can hide the whole context.
    """

    def __init__(
        self,
        grid: int,
        blocks: int = 4,
        smallest: float = 0.15,
        largest: float = 0.2,
        flattest: float = 0.75,
        tallest: float = 1.5,
        least: float = 0.85,
        most: float = 1.0,
        scattered: bool = False,
    ):
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        if not 0 < smallest <= largest <= 1:
            raise ValueError(f"target blocks need 0 < smallest <= largest <= 1, got {smallest}, {largest}")
        if not 0 < flattest <= tallest < float("inf"):
            raise ValueError(f"target blocks need 0 < flattest <= tallest, got {flattest}, {tallest}")
        if not 0 < least <= most <= 1:
            raise ValueError(f"the context needs 0 < least <= most <= 1, got {least}, {most}")
        self.grid, self.blocks, self.scattered = grid, blocks, scattered
        self.smallest, self.largest, self.flattest, self.tallest = smallest, largest, flattest, tallest
        self.least, self.most = least, most
        steps = [k / 32 for k in range(33)]
        hidden = blocks * max(h * w for h, w in (self.target_sides(*u) for u in product(steps, repeat=2)))
        context = self.context_side(0.0) ** 2
        if hidden >= context:
            raise ValueError(
                f"blocks={blocks} of up to {largest:g} of the image can hide all {context} patches of a context in "
                f"{grid} x {grid}: take fewer or smaller ones"
            )

    def target_sides(self, u: float, v: float) -> tuple[int, int]:
        """Height and width of the target blocks, by two uniform numbers in [0, 1]."""
        return block_sides(
            _between(self.smallest, self.largest, u), _between(self.flattest, self.tallest, v), self.grid
        )

    def context_side(self, u: float) -> int:
        """Rows and columns of the context block, by a uniform number in [0, 1]."""
        return block_sides(_between(self.least, self.most, u), 1.0, self.grid)[0]

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


def _between(low: float, high: float, u: float) -> float:
    return low + (high - low) * u
