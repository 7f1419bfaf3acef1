import pytest
import torch
import torch.nn.functional as F

from sslbook import sets
from sslbook.tokenisers import (
    DESCRIPTIONS,
    HashTokeniser,
    Tokeniser,
    gradients_of,
    mean_patches,
    patches_of,
    pictures_of,
)
from sslbook.views import grey

TRAIN, _ = sets.load("shapes", train=200, test=1)
IMAGES = TRAIN.images / 255
each = pytest.mark.parametrize("name", DESCRIPTIONS)


def fitted(name, k=16, seed=0):
    return Tokeniser(name, k, patch=4).fit(IMAGES, torch.Generator().manual_seed(seed))


def test_patches_and_pictures_are_each_other_s_inverse():
    patches = patches_of(IMAGES, 4)
    assert patches.shape == (200, 64, 48)
    assert torch.equal(patches[3, 9].view(3, 4, 4), IMAGES[3, :, 4:8, 4:8])
    assert torch.equal(pictures_of(patches, 4), IMAGES)


@each
def test_each_description_has_a_row_for_each_patch(name):
    for patch, size in ((4, 32), (8, 32), (16, 64)):
        images = torch.rand(2, 3, size, size)
        rows = DESCRIPTIONS[name](images, patch)
        assert rows.shape[:2] == (2, (size // patch) ** 2) and rows.isfinite().all()
        assert DESCRIPTIONS[name](torch.full_like(images, 0.3), patch).isfinite().all()  # nothing to see


@each
def test_a_code_is_the_nearest_row_of_the_codebook(name):
    tokeniser = fitted(name)
    codes = tokeniser(IMAGES[:5])
    assert codes.shape == (5, 64) and codes.dtype == torch.int64
    distance = torch.cdist(tokeniser.describe(IMAGES[:5]).double(), tokeniser.codebook.double())
    assert torch.equal(codes, distance.argmin(dim=2))
    assert len(tokeniser(IMAGES).unique()) == 16  # all are in use


def test_gradients_say_which_way_brightness_rises():
    """A picture that brightens to the right, its mirror image, and one that brightens downwards."""
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    rows = [gradients_of(x, 8)[0, 5].view(8, 4) for x in (ramp, ramp.flip(3), ramp.mT)]
    strongest = [row.sum(dim=1).argmax().item() for row in rows]
    assert strongest[0] == (strongest[1] + 4) % 8 == (strongest[2] - 2) % 8
    for row in rows:  # nothing in any other direction
        assert (row.sum(dim=1) > 1e-3).sum() == 1


def test_a_gradient_between_two_directions_is_shared_by_them():
    x = torch.arange(32.0) / 64
    eighth = torch.tensor(torch.pi / 8)
    ramp = (eighth.cos() * x[None, :] + eighth.sin() * x[:, None]).expand(1, 3, 32, 32)
    strength = gradients_of(ramp, 8)[0, 5].view(8, 4).square().sum(dim=1)
    two = strength.topk(2)
    assert two.values[0].item() == pytest.approx(two.values[1].item(), rel=1e-3)
    assert (two.indices[0] - two.indices[1]).abs().item() in (1, 7)


def test_gradients_and_windows_know_neither_contrast_nor_brightness_pixels_do():
    paler = 0.5 + 0.4 * (IMAGES[:20] - 0.5)
    for name, same in (("gradients", 0.9), ("windows", 0.7), ("pixels", 0.0)):
        tokeniser = fitted(name)
        agreement = (tokeniser(paler) == tokeniser(IMAGES[:20])).float().mean().item()
        assert agreement > same if same else agreement < 0.6, name


def test_gradients_and_windows_see_no_colour_pixels_do():
    colourless = grey(IMAGES[:20]).expand(-1, 3, -1, -1)
    for name, describe in DESCRIPTIONS.items():
        same = torch.allclose(describe(colourless, 4), describe(IMAGES[:20], 4), atol=1e-2)
        assert same is (name != "pixels"), name


def test_what_codes_look_like_is_the_mean_of_their_patches():
    codes = fitted("pixels", k=32)(IMAGES)
    palette = mean_patches(IMAGES, codes, 33)
    assert palette.shape == (33, 48) and not palette[32].any()  # nobody has the last one
    torch.testing.assert_close(palette[3], patches_of(IMAGES, 4)[codes == 3].mean(dim=0))
    painted = pictures_of(palette[codes], 4)
    flat = F.mse_loss(IMAGES.mean(dim=(2, 3), keepdim=True).expand_as(IMAGES), IMAGES)
    assert F.mse_loss(painted, IMAGES) < flat / 3


def test_the_same_generator_gives_the_same_codes():
    assert torch.equal(fitted("pixels").codebook, fitted("pixels").codebook)
    assert not torch.equal(fitted("pixels").codebook, fitted("pixels", seed=1).codebook)


def test_hashed_codes_are_alike_for_equal_patches_only():
    tokeniser = HashTokeniser(k=64, patch=4)
    codes = tokeniser(IMAGES[:50])
    assert torch.equal(codes, tokeniser(IMAGES[:50].clone()))
    assert len(codes.unique()) == 64
    brighter = tokeniser((IMAGES[:50] + 2 / 15).clamp(0, 1))
    assert (brighter == codes).float().mean() < 0.1


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="one of pixels, windows, gradients; got 'taste'"):
        Tokeniser("taste", 8, 4)
    with pytest.raises(ValueError, match="k must be at least 2, got 1"):
        Tokeniser("pixels", 1, 4)
    with pytest.raises(ValueError, match="even number of pixels, got 3"):
        Tokeniser("pixels", 8, 3)
    with pytest.raises(ValueError, match="call `fit` first"):
        Tokeniser("pixels", 8, 4)(IMAGES)
    with pytest.raises(ValueError, match="64 patches can't give 65 codes"):
        Tokeniser("pixels", 65, 4).fit(IMAGES[:1])
