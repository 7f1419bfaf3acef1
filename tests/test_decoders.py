import pytest
import torch

from sslbook.decoders import Decoder


@pytest.mark.parametrize("size", [8, 32, 48, 56, 96])
def test_pictures_are_as_large_as_asked_and_in_range(size):
    torch.manual_seed(0)
    pictures = Decoder(5, size, width=2)(100 * torch.randn(3, 5))
    assert pictures.shape == (3, 3, size, size)
    assert pictures.min() >= 0 and pictures.max() <= 1


@pytest.mark.parametrize("size", [0, 4, 7, 33, 72])
def test_a_size_that_no_doublings_lead_to_is_refused(size):
    with pytest.raises(ValueError, match="size must be 4, 5, 6 or 7 doubled"):
        Decoder(5, size)


@pytest.mark.parametrize("options", [dict(latents=0), dict(latents=4, width=0)])
def test_numbers_below_1_are_refused(options):
    with pytest.raises(ValueError, match="latents and width must be at least 1"):
        Decoder(**options)


def test_codes_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"codes must be \(n, 5\), got \(3, 4\)"):
        Decoder(5)(torch.zeros(3, 4))
