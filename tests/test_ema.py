from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sslbook.ema import cosine_tau, ema_copy, update_ema

GOLDEN = Path(__file__).parent / "golden"


def matrix(values):
    """A module with one parameter of these values."""
    module = nn.Linear(values.shape[1], values.shape[0], bias=False, dtype=torch.float64)
    module.load_state_dict({"weight": torch.tensor(values, dtype=torch.float64)})
    return module


@pytest.mark.parametrize(
    ("file", "old", "new", "tau", "out"),
    [
        ("04_byol_jax", "ema_target_in", "ema_online_in", "ema_tau_f64", "ema_target_out"),
        ("04_byol_torch", "ema_old", "ema_new", "ema_beta_f64", "ema_out"),
    ],
)
def test_equals_two_byol_implementations(file, old, new, tau, out):
    g = np.load(GOLDEN / f"{file}.npz")
    target, online = matrix(g[old]), matrix(g[new])
    update_ema(target, online, float(g[tau]))
    np.testing.assert_allclose(target.weight.detach(), g[out], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(online.weight.detach().float(), g[new])


def test_the_schedule_equals_deepmind_s():
    g = np.load(GOLDEN / "04_byol_jax.npz")
    for base, row in zip(g["tau_base_f64"], g["tau_f64"]):
        for k, tau in zip(g["tau_steps_k"], row):
            assert cosine_tau(k / g["tau_max_steps_K"], base) == pytest.approx(tau, abs=1e-12)


def test_the_schedule_goes_from_base_to_exactly_one():
    taus = [cosine_tau(k / 100, 0.97) for k in range(101)]
    assert taus[0] == pytest.approx(0.97) and taus[50] == pytest.approx(0.985) and taus[100] == 1.0
    assert all(a < b for a, b in zip(taus, taus[1:]))
    assert cosine_tau(1.5, 0.97) == 1.0


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.99, 1.0])
def test_equals_the_formula_for_every_parameter(tau):
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)).double()  # noqa: E731
    online, target = make(), make()
    before = [p.detach().clone() for p in target.parameters()]
    update_ema(target, online, tau)
    for old, new, p in zip(before, target.parameters(), online.parameters()):
        torch.testing.assert_close(new.detach(), tau * old + (1 - tau) * p.detach(), rtol=0, atol=1e-15)
        if tau in (0, 1):
            assert torch.equal(new, [p, old][int(tau)])  # to the last bit


def test_buffers_are_its_own_or_copied():
    online, target = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    online.running_mean.fill_(5)
    online.num_batches_tracked.fill_(7)
    update_ema(target, online, 0.5)
    assert target.running_mean.tolist() == [0, 0] and target.num_batches_tracked == 0
    update_ema(target, online, 0.5, copy_buffers=True)
    assert target.running_mean.tolist() == [5, 5] and target.num_batches_tracked == 7


def test_a_follower_shares_nothing_and_takes_no_gradient():
    online = nn.Linear(2, 2)
    target = ema_copy(online)
    assert torch.equal(target.weight, online.weight) and target.weight.data_ptr() != online.weight.data_ptr()
    assert not any(p.requires_grad for p in target.parameters()) and online.weight.requires_grad
    update_ema(target, online, 0.5)
    assert target.weight.grad_fn is None and not target.weight.requires_grad


def test_refuses_nonsense():
    with pytest.raises(ValueError, match=r"tau must lie in \[0, 1\]"):
        update_ema(nn.Linear(2, 2), nn.Linear(2, 2), 1.1)
    for other in (nn.Linear(2, 3), nn.Linear(2, 2, bias=False)):
        with pytest.raises(ValueError, match="same architecture"):
            update_ema(nn.Linear(2, 2), other, 0.5)
    update_ema(nn.ReLU(), nn.ReLU(), 0.5)  # nothing to average
