import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sslbook import losses
from sslbook.encoders import ConvNet
from sslbook.losses import info_nce_loss
from sslbook.methods import MoCo


def golden(name):
    from pathlib import Path

    return np.load(Path(__file__).parent / "golden" / f"{name}.npz")


def test_equals_four_public_implementations_in_value_and_gradient():
    g = golden("01_ntxent")
    for temperature, expected, gradient in zip(g["temps"], g["loss_f64"], g["grad"]):
        features = torch.tensor(g["features"], dtype=torch.float64, requires_grad=True)
        loss = info_nce_loss(features, round(float(temperature), 6))
        loss.backward()
        assert abs(loss.item() - expected) < 1e-9
        np.testing.assert_allclose(features.grad, gradient, rtol=0, atol=1e-6)


def test_is_half_of_google_s_sum_of_two_views():
    g, features = golden("01_ntxent_tf"), golden("01_ntxent")
    for temperature, expected in zip(features["temps"], g["google_loss_sum_of_two_views_f64"]):
        loss = info_nce_loss(torch.tensor(features["features"], dtype=torch.float64), round(float(temperature), 6))
        assert abs(2 * loss.item() - expected) < 1e-9


def test_equals_the_equation_written_out():
    z = F.normalize(torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=1)
    total = 0.0
    for i in range(10):
        j = (i + 5) % 10
        others = sum(math.exp(z[i] @ z[k] / 0.3) for k in range(10) if k != i)
        total -= math.log(math.exp(z[i] @ z[j] / 0.3) / others)
    assert info_nce_loss(z, 0.3).item() == pytest.approx(total / 10, abs=1e-12)


def test_closed_forms():
    n = 6
    alike = torch.ones(2 * n, 5, dtype=torch.float64)
    assert info_nce_loss(alike, 0.1).item() == pytest.approx(math.log(2 * n - 1))
    apart = torch.eye(n, dtype=torch.float64).repeat(2, 1)  # partners equal, all others orthogonal
    expected = -math.log(math.e**2 / (math.e**2 + 2 * n - 2))
    assert info_nce_loss(apart, 0.5).item() == pytest.approx(expected)


def test_the_order_of_the_pairs_matters():
    features = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    interleaved = features.view(2, 8, 16).transpose(0, 1).reshape(16, 16)
    assert info_nce_loss(interleaved, 0.1) > info_nce_loss(features, 0.1) + 1


@pytest.mark.parametrize("shape", [(3, 4), (4,), (0, 4), (2, 2, 4)])
def test_refuses_what_is_not_two_views(shape):
    with pytest.raises(ValueError, match="2N, D"):
        info_nce_loss(torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        info_nce_loss(torch.randn(4, 3), temperature)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


IN_HALF = {  # a loss, and what goes into it
    "info_nce_loss": (losses.info_nce_loss, drawn(64, 16)),
    "negative_cosine": (losses.negative_cosine, drawn(64, 16), drawn(64, 16, seed=1)),
    "byol_loss": (losses.byol_loss, drawn(64, 16), drawn(64, 16, seed=1)),
    "masked_error": (losses.masked_error, drawn(4, 9, 12), drawn(4, 9, 12, seed=1), drawn(4, 9) > 0),
    "MoCo's logits": (MoCo(ConvNet(width=2), dim=16, K=32).logits, drawn(8, 16), drawn(8, 16, seed=1)),
}


@pytest.mark.parametrize("name", IN_HALF)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_inside_autocast_a_loss_is_computed_in_float32(name, dtype):
    loss, *inputs = IN_HALF[name]
    rounded = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    expected = loss(*inputs), loss(*(x.float() if x.is_floating_point() else x for x in rounded))
    with torch.autocast("cpu", dtype=dtype):
        ours = loss(*inputs), loss(*rounded)
        assert (inputs[0] @ inputs[0].mT).dtype == dtype, "autocast is on"
    for x, y in zip(ours, expected):
        assert x.dtype == torch.float32 and torch.equal(x, y)


def test_arguments_by_name_are_computed_in_float32_too():
    z = drawn(64, 16).bfloat16()
    assert torch.equal(info_nce_loss(features=z), info_nce_loss(z.float()))
    assert torch.equal(losses.negative_cosine(z, z=z), losses.negative_cosine(z.float(), z.float()))
