"""Which patches are hidden: rectangles, as BEiT hides them, or patches all over the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRIES = 10  # in a row, after which an image gets no further rectangle
DRAWS = 24  # rectangles that are tried for an image


def blockwise_masks(u: Tensor, grid: int, hidden: int, smallest: int = 4, ratio: float = 0.3) -> Tensor:
    """Rectangles until `hidden` patches are covered, or no further one fits (BEiT: Bao et al., 2022, algorithm 1).

    A rectangle's area lies between `smallest` and what is still to be hidden, its height / width between `ratio` and
    1 / `ratio`. It counts if it hides something new and not too much: a mask never hides more than `hidden` patches,
    but it may hide a few less.

    Args:
        u: (n, DRAWS, 4) in [0, 1), on the CPU: area, ratio, top and left of each rectangle that is tried.
        grid: patches along a side.
        hidden: how many patches to hide, at least 1.

    Returns:
        (n, grid^2) bool, row by row, True = hidden.
    """
    masks = torch.zeros(len(u), grid, grid, dtype=torch.bool)
    place = torch.arange(grid)
    failed = torch.zeros(len(u), dtype=torch.long)
    for area_u, ratio_u, top_u, left_u in u.permute(1, 2, 0):
        left_over = hidden - masks.sum(dim=(1, 2))
        going = (left_over > 0) & (failed < TRIES)
        area = smallest + (left_over - smallest) * area_u
        shape = torch.exp(math.log(ratio) * (1 - 2 * ratio_u))
        height, width = (area * shape).sqrt().round(), (area / shape).sqrt().round()
        top, left = (top_u * (grid - height + 1)).floor(), (left_u * (grid - width + 1)).floor()
        rows = (place >= top[:, None]) & (place < (top + height)[:, None])
        columns = (place >= left[:, None]) & (place < (left + width)[:, None])
        new = rows[:, :, None] & columns[:, None, :] & ~masks
        gained = new.sum(dim=(1, 2))
        fits = going & (height < grid) & (width < grid) & (gained > 0) & (gained <= left_over)
        masks |= new & fits[:, None, None]
        failed = torch.where(fits, 0, failed + 1)
    return masks.flatten(1)


def scattered_masks(u: Tensor, hidden: int) -> Tensor:
    """The `hidden` patches of the lowest numbers in each row of u (n, L): (n, L) bool, True = hidden."""
    return u.argsort(dim=1, stable=True).argsort(dim=1) < hidden
