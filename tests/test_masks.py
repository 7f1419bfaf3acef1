from pathlib import Path

import numpy as np
import pytest
import torch

from sslbook.masks import DRAWS, blockwise_masks, scattered_masks

GOLDEN = np.load(Path(__file__).parent / "golden/06_beit.npz")


def drawn(n, grid, hidden, smallest=4, seed=0):
    u = torch.rand(n, DRAWS, 4, generator=torch.Generator().manual_seed(seed))
    return blockwise_masks(u, grid, hidden, smallest).view(n, grid, grid)


def beside(masks):
    """How often the patch to the right of a hidden one, and the one below, is hidden too."""
    right = (masks[:, :, 1:] & masks[:, :, :-1]).sum() / masks[:, :, :-1].sum()
    below = (masks[:, 1:] & masks[:, :-1]).sum() / masks[:, :-1].sum()
    return right.item(), below.item()


@pytest.mark.parametrize("case", ["g14_75_min16", "g8_26_min4"])
def test_blocks_lie_as_the_official_ones(case):
    """Statistics of 4,000 masks; the tolerances are some five standard errors."""
    grid, _, hidden, smallest = GOLDEN[f"{case}.params_H_W_nmask_minpatch"].tolist()
    masks = drawn(4000, grid, hidden, smallest)
    counts = masks.sum(dim=(1, 2)).float()
    mean, std, lowest, highest = GOLDEN[f"{case}.count_mean_std_min_max"].tolist()
    assert counts.mean().item() == pytest.approx(mean, abs=6 * std / 4000**0.5)
    assert counts.std().item() == pytest.approx(std, rel=0.3)
    assert counts.max().item() == highest == hidden and abs(counts.min().item() - lowest) <= 6
    right, below = beside(masks)
    assert right == pytest.approx(float(GOLDEN[f"{case}.p_right_neighbour_masked_given_masked_f64"]), abs=0.006)
    assert below == pytest.approx(float(GOLDEN[f"{case}.p_below_neighbour_masked_given_masked_f64"]), abs=0.006)
    assert np.abs(masks.float().mean(dim=0).numpy() - GOLDEN[f"{case}.position_mask_freq"]).max() < 0.05


def test_scattered_patches_lie_anywhere_and_are_always_as_many():
    masks = scattered_masks(torch.rand(2000, 64, generator=torch.Generator().manual_seed(0)), 26)
    assert (masks.sum(dim=1) == 26).all()
    expected = 25 / 63  # of the other patches
    assert beside(masks.view(-1, 8, 8)) == pytest.approx((expected, expected), abs=0.02)


def test_a_mask_never_hides_too_much_and_always_something():
    for grid, hidden in ((4, 8), (8, 26), (8, 40), (14, 75)):
        counts = drawn(500, grid, hidden).sum(dim=(1, 2))
        assert counts.max() <= hidden and counts.min() >= 1


def test_a_mask_follows_from_its_own_numbers_only():
    u = torch.rand(6, DRAWS, 4, generator=torch.Generator().manual_seed(1))
    whole = blockwise_masks(u, 8, 26)
    assert torch.equal(torch.cat([blockwise_masks(part, 8, 26) for part in u.split(2)]), whole)
