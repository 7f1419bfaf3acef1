import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sslbook.optim import LARS, SGD, parameter_groups, warmup_cosine

GOLDEN = Path(__file__).parent / "golden"
NAMES = ["conv/kernel", "conv/bias", "batch_normalization/gamma", "fc/kernel", "zero/kernel"]


def run_lars(g, wd, momentum, trust, exclude, lr_in_momentum):
    """Three steps on the golden gradients; yields the parameters after each."""
    barlow = np.load(GOLDEN / "15_lars_barlow.npz")
    parameters = {name: nn.Parameter(torch.tensor(g[f"init.{name}"], dtype=torch.float64)) for name in NAMES}
    plain = [p for p in parameters.values() if exclude and p.ndim == 1]
    adapted = [p for p in parameters.values() if not (exclude and p.ndim == 1)]
    groups = [{"params": adapted, "weight_decay": wd}, {"params": plain, "weight_decay": 0.0, "adapt": False}]
    optimizer = LARS(groups, lr=0.0, momentum=momentum, trust=trust, lr_in_momentum=lr_in_momentum)
    for step, lr in enumerate(g["lrs"]):
        for group in optimizer.param_groups:
            group["lr"] = float(lr)
        for name, p in parameters.items():
            p.grad = torch.tensor(barlow[f"step{step}.grad.{name}"], dtype=torch.float64)
        optimizer.step()
        yield step, parameters


@pytest.mark.parametrize("exclude", [True, False])
def test_lars_equals_barlow_twins(exclude):
    g = np.load(GOLDEN / "15_lars_barlow.npz")
    kind = "param_excl" if exclude else "param_noexcl"
    settings = (float(g[key]) for key in ("wd_f64", "momentum_f64", "eta_f64"))
    for step, parameters in run_lars(g, *settings, exclude, False):
        for name, p in parameters.items():
            np.testing.assert_allclose(p.detach(), g[f"step{step}.{kind}.{name}"], rtol=1e-5, atol=1e-6)


def test_lars_with_the_rate_in_the_momentum_equals_google():
    g = np.load(GOLDEN / "15_lars_google.npz")
    settings = (float(g[key]) for key in ("wd_f64", "momentum_f64", "eeta_f64"))
    for step, parameters in run_lars(g, *settings, True, True):
        for name, p in parameters.items():
            np.testing.assert_allclose(p.detach(), g[f"step{step}.param.{name}"], rtol=1e-5, atol=2e-6)


def test_lars_refuses_nonsense():
    with pytest.raises(ValueError, match="momentum=1"):
        LARS([nn.Parameter(torch.zeros(2, 2))], lr=0.1, momentum=1)


def steps(make, first=(0, 0), n=5):
    """Two tensors after each of n steps; tensor i has gradients from step first[i] on."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(4, 3, generator=generator)) for _ in first]
    optimizer = make([{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}])
    for step in range(n):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 1)
        for p, begin in zip(parameters, first):
            gradient = torch.randn(4, 3, generator=generator)
            p.grad = gradient if step >= begin else None
        optimizer.step()
        yield [p.detach().clone() for p in parameters]


@pytest.mark.parametrize("first", [(0, 0), (0, 2)], ids=["together", "one later"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_our_sgd_is_pytorch_s_step_by_step(first, momentum):
    settings = dict(lr=0.1, momentum=momentum, weight_decay=0.01)
    theirs = list(steps(lambda groups: torch.optim.SGD(groups, **settings, fused=False), first))
    for fused in (False, True):
        ours = steps(lambda groups, fused=fused: SGD(groups, **settings, fused=fused), first)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_why_there_is_an_sgd_of_our_own():
    """PyTorch's fused kernel with momentum stops where a parameter of a group gets its first gradient later."""

    def together(make):
        return lambda groups: make([p for group in groups for p in group["params"]], lr=0.1, momentum=0.9, fused=True)

    with pytest.raises(TypeError):
        list(steps(together(torch.optim.SGD), (0, 2)))
    assert len(list(steps(together(SGD), (0, 2)))) == 5


def test_norms_and_biases_get_no_decay_and_frozen_weights_are_left_out():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).requires_grad_(False))
    decayed, plain = parameter_groups(module, 0.1)
    assert [p.shape for p in decayed["params"]] == [(4, 3)] and decayed["weight_decay"] == 0.1
    assert [tuple(p.shape) for p in plain["params"]] == [(4,), (4,), (4,)] and plain["weight_decay"] == 0


def test_the_schedule_rises_then_falls_to_zero():
    rates = [warmup_cosine(step, 100, 10) for step in range(101)]
    assert rates[0] == 0.1 and rates[9] == 1 and rates[10] == 1
    assert rates[55] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert all(a >= b for a, b in zip(rates[10:], rates[11:])) and rates[100] == pytest.approx(0)
