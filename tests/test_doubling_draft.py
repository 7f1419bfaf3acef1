import torch
import torch.nn.functional as F

from sslbook.decoders import Doubling


def test_a_doubling_is_four_equal_pixels_and_a_convolution():
    torch.manual_seed(0)
    layer, x = Doubling(3, 5, bias=True).double(), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), layer.convolution(F.interpolate(x, scale_factor=2, mode="nearest")))
