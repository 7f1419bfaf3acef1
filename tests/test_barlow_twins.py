from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures, random_pair
from torch import nn

from sslbook import evaluate, sets
from sslbook.encoders import ConvNet
from sslbook.methods.barlow_twins import BarlowTwins, barlow_twins_loss, cross_correlation
from sslbook.optim import LARS
from sslbook.pretrain import pretrain
from sslbook.views import byol_views, shapes_views

GOLDEN = np.load(Path(__file__).parent / "golden/10_barlow.npz")


def tiny(**options):
    torch.manual_seed(0)
    return BarlowTwins(ConvNet(width=2), **{"dim": 8, **options})


def golden(name):
    return torch.tensor(GOLDEN[name]).double()


def test_the_loss_equals_the_official_one_in_value_and_gradient():
    z1, z2 = golden("z1").requires_grad_(), golden("z2").requires_grad_()
    np.testing.assert_allclose(cross_correlation(z1, z2).detach(), GOLDEN["cross_corr"], rtol=0, atol=1e-7)
    terms = barlow_twins_loss(z1, z2, float(GOLDEN["lambd_f64"]))
    terms["loss"].backward()
    for ours, theirs in (("loss", "loss"), ("invariance", "on_diag"), ("redundancy", "off_diag")):
        assert terms[ours].item() == pytest.approx(float(GOLDEN[f"{theirs}_f64"]), abs=1e-9), ours
    np.testing.assert_allclose(z1.grad, GOLDEN["grad_z1"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(z2.grad, GOLDEN["grad_z2"], rtol=0, atol=1e-7)
    assert not terms["invariance"].requires_grad and not terms["redundancy"].requires_grad


def test_the_correlation_is_numpy_s():
    z1, z2 = random_pair(50, 3)
    z1 = 10 * z1 + 5
    expected = np.corrcoef(z1.T, z2.T)[:3, 3:]
    np.testing.assert_allclose(cross_correlation(z1, z2), expected, atol=1e-4)  # the norm's eps


def test_the_loss_of_views_that_agree_and_of_features_that_are_all_one():
    z, _ = random_pair(4000, 5)
    agree = barlow_twins_loss(z, z, 0.1)
    assert agree["invariance"].item() == pytest.approx(0, abs=1e-8)
    assert agree["redundancy"].item() == pytest.approx(5 * 4 / 4000, rel=0.5)  # not 0: N images scatter
    one = z[:, :1].expand(-1, 5)
    assert barlow_twins_loss(one, one, 0.1)["loss"].item() == pytest.approx(0.1 * 5 * 4, rel=1e-3)
    assert barlow_twins_loss(one, one, 0.0)["loss"].item() == pytest.approx(0, abs=1e-8)  # nothing minds


def test_a_feature_that_never_changes_gives_no_nan():
    z = torch.zeros(6, 3, requires_grad=True)
    terms = barlow_twins_loss(z, z)
    terms["loss"].backward()
    assert terms["loss"].item() == 3 and torch.isfinite(z.grad).all()


def test_half_precision_is_computed_in_full():
    z1, z2 = (z.to(torch.bfloat16) for z in random_pair(32, 6))
    expected = barlow_twins_loss(z1.float(), z2.float())["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(barlow_twins_loss(z1, z2)["loss"], expected)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (2, 4)), ((2, 3), (1, 3)), ((2, 3, 1), (2, 3, 1))])
def test_the_loss_refuses_unlike_shapes(shapes):
    with pytest.raises(ValueError, match=r"both be \(N, D\)"):
        barlow_twins_loss(*(torch.zeros(shape) for shape in shapes))


def test_the_loss_refuses_a_batch_of_one_and_a_negative_lambda():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        barlow_twins_loss(torch.zeros(1, 3), torch.zeros(1, 3))
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="lambd must not be negative"):
            barlow_twins_loss(*random_pair(4, 3), wrong)


@pytest.mark.parametrize("wrong", [dict(lambd=-1), dict(layers=0)])
def test_the_method_refuses_nonsense(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must"):
        tiny(**wrong)


def test_the_method_compares_one_view_with_the_other():
    method = tiny(lambd=0.02).double()
    x1, x2 = pictures(6, 1).double(), pictures(6, 2).double()
    normed = [F.batch_norm(method.projector(method.encoder(x)), None, None, training=True) for x in (x1, x2)]
    C = normed[0].T @ normed[1] / 6
    expected = 0.02 * (C**2).sum()
    for i in range(8):
        expected += (1 - C[i, i]) ** 2 - 0.02 * C[i, i] ** 2
    assert method.loss([x1, x2])["loss"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_projector_is_the_paper_s():
    method = BarlowTwins(ConvNet(width=2), dim=8, hidden=12)
    assert [type(m) for m in method.projector] == 2 * [nn.Linear, nn.BatchNorm1d, nn.ReLU] + [nn.Linear]
    linear = [m for m in method.projector if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [12, 12, 8] and all(m.bias is None for m in linear)
    defaults = BarlowTwins(ConvNet(width=2))
    assert [m.out_features for m in defaults.projector if isinstance(m, nn.Linear)] == [8192] * 3
    assert defaults.lambd == 0.0051 and list(BarlowTwins.views(224)) == list(byol_views(224))


def test_biases_have_a_rate_of_their_own_and_neither_decay_nor_adaptation():
    method = tiny(bias_lr=0.024)
    groups = method.parameter_groups(0.1)
    for group in groups:
        weights = {p.ndim > 1 for p in group["params"]}
        assert weights == {group["weight_decay"] == 0.1} == {group["adapt"]} == {group.get("lr_scale", 1) == 1}
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in method.parameters()}


def test_with_lars_a_factor_on_the_loss_is_a_rate_of_the_biases():
    """The first official code had 'scale_loss' .024, today's has a rate of .0048 = .024 * .2: the same."""
    after = []
    for factor, bias_lr in ((0.024, 1.0), (1.0, 0.024)):
        method = tiny(bias_lr=bias_lr).double()
        optimizer = LARS(method.parameter_groups(0.0), lr=1.0)
        for group in optimizer.param_groups:
            group["lr"] = 0.2 * group.get("lr_scale", 1)
        for seed in (1, 2, 3):
            optimizer.zero_grad()
            (factor * method.loss([pictures(6, seed).double(), pictures(6, seed + 10).double()])["loss"]).backward()
            optimizer.step()
        after.append([p.detach().clone() for p in method.parameters()])
    start = list(tiny().double().parameters())
    for one, other, before in zip(*after, start):
        torch.testing.assert_close(one, other)
        assert not torch.equal(one, before)


def short_training(lambd, epochs):
    """The history of a short training on 1,024 small shapes, and z of 256 of them."""
    train, _ = sets.load("shapes", train=1024, test=1)
    images = F.avg_pool2d(train.images.float(), 2).byte()
    torch.manual_seed(0)
    method = BarlowTwins(ConvNet(), dim=32, layers=2, lambd=lambd)
    options = dict(batch_size=32, lr=5e-3, views=shapes_views(16), show_progress=False)
    history = pretrain(method, images, epochs=epochs, **options)
    with torch.no_grad():
        z = method.train().project(images[:256] / 255)  # batch norm as in training
    return history, F.batch_norm(z, None, None, training=True)


@pytest.mark.parametrize("lambd", [0.05, 0.0])
def test_training_without_the_redundancy_makes_all_features_one(lambd):
    """Both agree on the two views; what holds the features apart is lambda alone."""
    history, z = short_training(lambd, epochs=20)
    size = cross_correlation(z, z).fill_diagonal_(0).abs().sum().item() / (32 * 31)
    # three seeds: falls to .43-.50 and .13-.21 of the first epoch's; size .37-.39 and .999; RankMe 8.6-9.7 and 1.7-1.9
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    if lambd == 0:
        assert size > 0.9 and evaluate.rankme(z) < 3
    else:
        assert size < 0.5 and evaluate.rankme(z) > 6
