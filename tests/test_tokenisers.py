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


def edge(angle):
    """A picture that is dark on one side of a line through its middle and bright on the other, (1, 3, 32, 32)."""
    x = torch.arange(32) - 15.5
    turned = torch.tensor(angle)
    side = turned.cos() * x[None, :] + turned.sin() * x[:, None]
    return (0.2 + 0.6 * (side + 0.5).clamp(0, 1)).expand(1, 3, 32, 32)


def of_directions(picture):
    """How much brightness rises in each of 8 directions, in the windows in the middle."""
    return gradients_of(picture, 4).view(8, 8, 8, 4)[2:6, 2:6].square().sum(dim=(0, 1, 3))


def test_gradients_say_which_way_brightness_rises():
    """To the right, to the left, and downwards; and nothing in the directions across."""
    rows = [of_directions(x) for x in (edge(0.0), edge(0.0).flip(3), edge(0.0).mT)]
    strongest = [row.argmax().item() for row in rows]
    assert strongest[0] == (strongest[1] + 4) % 8 == (strongest[2] - 2) % 8
    for row, i in zip(rows, strongest):
        assert row[i] > 0.99 * row.sum()


def test_a_gradient_between_two_directions_is_shared_by_them():
    two = of_directions(edge(torch.pi / 8)).topk(2)
    assert two.values[1] > 0.5 * two.values[0]
    assert (two.indices[0] - two.indices[1]).abs().item() in (1, 7)


def test_noise_and_soft_shading_count_as_nothing():
    """One code for all that is flat, and the same edge in a picture with a little of both."""
    generator = torch.Generator().manual_seed(0)
    little = 0.01 * torch.randn(1, 3, 32, 32, generator=generator) + torch.linspace(0, 0.1, 32)
    flat = gradients_of(edge(0.0) + little, 4).view(8, 8, 32)
    assert flat[:, [0, 1, 6, 7]].abs().max() < 0.35 < flat[:, 3].max()
    nothing = 0.5 + 0.02 * torch.randn(8, 3, 32, 32, generator=generator)
    found = {
        name: (DESCRIPTIONS[name](nothing, 4).abs().amax(dim=2) > 0).float().mean().item() for name in DESCRIPTIONS
    }
    assert found["gradients"] < 0.3 and found["all gradients"] == 1


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


def test_weights_bring_the_codes_along():
    empty, full = Tokeniser("pixels", 16, 4), fitted("pixels")
    empty.load_state_dict(full.state_dict())
    assert empty.fitted and torch.equal(empty(IMAGES[:5]), full(IMAGES[:5]))
    empty.load_state_dict(Tokeniser("pixels", 16, 4).state_dict())
    assert not empty.fitted


def test_codes_are_the_same_in_half_precision():
    tokeniser = fitted("gradients", k=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = tokeniser(IMAGES)
    assert torch.equal(half, tokeniser(IMAGES))


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
    with pytest.raises(ValueError, match="one of pixels, windows, gradients, all gradients; got 'taste'"):
        Tokeniser("taste", 8, 4)
    with pytest.raises(ValueError, match="k must be at least 2, got 1"):
        Tokeniser("pixels", 1, 4)
    with pytest.raises(ValueError, match="even number of pixels, got 3"):
        Tokeniser("pixels", 8, 3)
    with pytest.raises(ValueError, match="call `fit` first"):
        Tokeniser("pixels", 8, 4)(IMAGES)
    with pytest.raises(ValueError, match=r"got torch\.uint8: divide by 255"):
        fitted("pixels")(TRAIN.images)
    with pytest.raises(ValueError, match="64 patches can't give 65 codes"):
        Tokeniser("pixels", 65, 4).fit(IMAGES[:1])
