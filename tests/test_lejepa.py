import math

import numpy as np
import pytest
import torch
from made_up import pictures
from torch import nn

from sslbook import evaluate, sets
from sslbook.encoders import ConvNet
from sslbook.losses import epps_pulley
from sslbook.methods.lejepa import (
    ALL_ALIKE,
    LeJEPA,
    lejepa_views,
    prediction_error,
    random_directions,
    sigreg,
)
from sslbook.pretrain import pretrain
from sslbook.views import Views, shapes_views

GAUSSIAN = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))  # the mean of the statistic over Gaussian samples


def tiny(encoder=None, **options):
    torch.manual_seed(0)
    return LeJEPA(encoder or ConvNet(width=2), **{"dim": 8, "hidden": 12, "slices": 16, **options})


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# -- the statistic


def by_trapezoids(x, t_max=5.0, knots=17):
    """Algorithm 1 of the paper with Python's complex numbers, one sum at a time."""
    step = 2 * t_max / (knots - 1)
    heights = []
    for k in range(knots):
        t = -t_max + k * step
        of_sample = sum(complex(math.cos(t * value), math.sin(t * value)) for value in x) / len(x)
        gaussian = math.exp(-(t**2) / 2)
        heights.append(abs(of_sample - gaussian) ** 2 * gaussian)
    return len(x) * step * (sum(heights) - (heights[0] + heights[-1]) / 2)


def in_closed_form(x):
    """The integral over the whole line (the test's classical form, as in Henze & Zirkler 1990), without any knots."""
    apart = x[:, None] - x[None, :]
    pairs = np.exp(-(apart**2) / 2).mean()
    single = math.sqrt(2) * np.exp(-(x**2) / 4).mean()
    return len(x) * math.sqrt(2 * math.pi) * (pairs - single + 1 / math.sqrt(3))


@pytest.mark.parametrize(("t_max", "knots"), [(5.0, 17), (3.0, 33), (2.0, 3)])
def test_the_statistic_is_the_paper_s_sum_over_positive_and_negative_t(t_max, knots):
    x = 1.5 * random(40, 6) + torch.linspace(-2, 2, 6)
    expected = [by_trapezoids(column, t_max, knots) for column in x.T.tolist()]
    np.testing.assert_allclose(epps_pulley(x, t_max, knots), expected, rtol=1e-12)


def test_with_many_knots_it_is_the_integral():
    x = 1.5 * random(40, 3) + 1
    for column, fine, usual in zip(x.T.numpy(), epps_pulley(x, 10.0, 401), epps_pulley(x)):
        assert fine.item() == pytest.approx(in_closed_form(column), rel=1e-10)
        assert usual.item() == pytest.approx(in_closed_form(column), rel=0.02)


def test_its_gradient_is_that_of_finite_differences():
    x = random(7, 3).requires_grad_()
    assert torch.autograd.gradcheck(epps_pulley, x)
    z, directions = random(2, 6, 4).requires_grad_(), random_directions(4, 5).double()
    assert torch.autograd.gradcheck(lambda z: sigreg(z, directions), z)
    assert torch.autograd.gradcheck(prediction_error, random(4, 5, 3).requires_grad_())


@pytest.mark.parametrize("n", [32, 1024])
def test_a_gaussian_sample_has_1_06_whatever_its_size(n):
    said = epps_pulley(random(n, 1000))
    assert said.min() >= 0 and said.mean().item() == pytest.approx(GAUSSIAN, rel=0.08)
    assert abs(GAUSSIAN - 1.06) < 0.001


def test_what_is_no_gaussian_has_more_the_larger_the_sample():
    n = 512
    normal = random(n)
    signs = normal.sign()  # mean 0 and variance 1, two points
    uniform = math.sqrt(12) * (torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5)
    samples = [torch.zeros(n), signs, uniform, normal / 2, 2 * normal, normal + 0.5]
    for k, sample in enumerate(samples):
        few, many = (epps_pulley(sample[:m, None].double()).item() for m in (n // 4, n))
        assert many > 2.5 * GAUSSIAN and many > 2 * few, k
    assert epps_pulley(torch.zeros(n, 1)).item() == pytest.approx(ALL_ALIKE * n, rel=1e-4)
    assert abs(ALL_ALIKE - 0.409) < 0.001


def test_far_from_0_the_knots_see_what_is_not_there():
    """They are .625 apart: 2 pi / .625 looks like 0. More knots know better."""
    period = 2 * math.pi / 0.625
    x = random(100, 1)
    assert epps_pulley(x + period).item() == pytest.approx(epps_pulley(x).item(), rel=1e-9)
    assert epps_pulley(x + period, knots=65).item() > 50


def test_all_at_one_point_is_a_place_without_a_gradient():
    x = torch.zeros(10, 2, requires_grad=True)
    epps_pulley(x).sum().backward()
    assert not x.grad.any()
    x = (1e-3 * random(10, 2)).requires_grad_()
    epps_pulley(x).sum().backward()
    centred = x.detach() - x.detach().mean(dim=0)
    assert (x.grad * centred).sum() < 0, "a step down the gradient moves the points apart"


def test_half_precision_is_computed_in_full():
    x = random(32, 4).to(torch.bfloat16)
    expected = epps_pulley(x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(epps_pulley(x), expected)
    z, directions = random(2, 16, 4).to(torch.bfloat16), random_directions(4, 5)
    expected = sigreg(z.float(), directions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sigreg(z, directions), expected)


@pytest.mark.parametrize("shape", [(5,), (0, 3), (2, 3, 4)])
def test_the_statistic_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"x must be \(n, M\)"):
        epps_pulley(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [dict(t_max=0), dict(t_max=math.nan), dict(knots=1), dict(knots=16)])
def test_the_statistic_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="t_max > 0 and an odd number of knots"):
        epps_pulley(torch.zeros(4, 2), **wrong)


# -- the method


def test_directions_have_length_1_and_are_new_at_each_call():
    torch.manual_seed(0)
    one, other = random_directions(6, 500), random_directions(6, 500)
    torch.testing.assert_close(one.norm(dim=0), torch.ones(500))
    assert not torch.equal(one, other)
    np.testing.assert_allclose(one @ one.T / 500, np.eye(6) / 6, atol=0.03)  # no direction is preferred
    torch.manual_seed(0)
    assert torch.equal(one, random_directions(6, 500))


def test_sigreg_is_the_mean_over_views_and_directions():
    z, directions = random(3, 20, 4), random_directions(4, 5).double()
    expected = [by_trapezoids((view @ a).tolist()) for view in z for a in directions.T]
    assert sigreg(z, directions).item() == pytest.approx(sum(expected) / 15)


def test_all_views_predict_the_mean_of_the_first_two_and_all_have_a_gradient():
    z = random(4, 5, 3).requires_grad_()
    expected = 0.0
    for n in range(5):
        for d in range(3):
            mean = (z[0, n, d].item() + z[1, n, d].item()) / 2
            expected += sum((z[v, n, d].item() - mean) ** 2 for v in range(4))
    error = prediction_error(z)
    assert error.item() == pytest.approx(expected / 60)
    error.backward()
    # the mean moves too: the pulls of all views and of what they predict sum to 0 for each number
    torch.testing.assert_close(z.grad.sum(dim=0), torch.zeros(5, 3, dtype=torch.float64))
    assert (z.grad[:2] != 0).all()


@pytest.mark.parametrize("lambd", [0.0, 0.3, 1.0])
def test_the_loss_is_both_terms_weighed(lambd):
    method = tiny(lambd=lambd).double()
    views = [pictures(6, seed, size).double() for seed, size in ((1, 16), (2, 16), (3, 12))]
    torch.manual_seed(5)
    terms = method.loss(views)
    torch.manual_seed(5)
    directions = random_directions(8, 16)
    z = torch.cat([method.project(torch.cat(views[:2])), method.project(views[2])]).unflatten(0, (3, 6))
    expected = (1 - lambd) * prediction_error(z) + lambd * sigreg(z, directions)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-9)
    assert terms["prediction"].item() == pytest.approx(prediction_error(z).item(), rel=1e-9)
    assert terms["SIGReg"].item() == pytest.approx(sigreg(z, directions).item(), rel=1e-9)
    assert terms["loss"].requires_grad and not terms["prediction"].requires_grad and not terms["SIGReg"].requires_grad


def test_its_views_and_its_projector():
    views = lejepa_views(224)
    assert [view.size for view in views] == [224] * 2 + [98] * 6
    assert {view.scale for view in views[:2]} == {(0.3, 1)} and {view.scale for view in views[2:]} == {(0.05, 0.3)}
    assert {(view.blur, view.solarize, view.saturation) for view in views} == {(0.5, 0.2, 0.2)}
    method = tiny()
    assert [type(m) for m in method.projector] == 2 * [nn.Linear, nn.BatchNorm1d, nn.ReLU] + [nn.Linear]
    defaults = LeJEPA(ConvNet(width=2))
    assert [m.out_features for m in defaults.projector if isinstance(m, nn.Linear)] == [2048, 2048, 64]
    assert (defaults.lambd, defaults.slices) == (0.05, 1024)


@pytest.mark.parametrize("wrong", [dict(lambd=-0.1), dict(lambd=1.1), dict(lambd=math.nan)])
def test_a_weight_outside_of_0_to_1_is_refused(wrong):
    with pytest.raises(ValueError, match=r"lambd must lie in \[0, 1\]"):
        tiny(**wrong)


@pytest.mark.parametrize("wrong", [dict(layers=0), dict(slices=0)])
def test_the_method_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="layers and slices must be at least 1"):
        tiny(**wrong)


def test_one_view_is_refused_by_hand_and_before_the_first_step():
    with pytest.raises(ValueError, match=r"^LeJEPA takes 2 views of an image or more, got 1"):
        tiny().loss([pictures(4, 1)])
    with pytest.raises(ValueError, match=r"^LeJEPA takes 2 views of an image or more, got 1"):
        pretrain(tiny(), torch.zeros(8, 3, 16, 16).byte(), epochs=1, batch_size=4, views=Views(shapes_views(16)[:1]))


def short_training(lambd, epochs):
    """The history of a short training on 1,024 small shapes, and z of 256 of them."""
    train, _ = sets.load("shapes", train=1024, test=1)
    images = torch.nn.functional.avg_pool2d(train.images.float(), 2).byte()
    torch.manual_seed(0)
    method = LeJEPA(ConvNet(), dim=16, hidden=64, layers=2, lambd=lambd, slices=32)
    options = dict(batch_size=32, lr=2e-3, views=shapes_views(16), show_progress=False)
    history = pretrain(method, images, epochs=epochs, **options)
    with torch.no_grad():
        z = method.train().project(images[:256] / 255)  # batch norm as in training
    return history, z


@pytest.mark.parametrize("lambd", [0.05, 0.0])
def test_without_sigreg_all_pictures_become_one_point(lambd):
    history, z = short_training(lambd, epochs=10)
    spread = z.std(dim=0).mean().item()
    if lambd == 0:
        assert history["prediction"][-1] < 1e-3 and spread < 0.05
    else:
        assert history["SIGReg"][-1] < 0.5 * history["SIGReg"][0] and 0.5 < spread < 1.3
        assert evaluate.rankme(z - z.mean(dim=0)) > 6
