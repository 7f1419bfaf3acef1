from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures, random_pair
from torch import nn

from sslbook import evaluate, sets
from sslbook.encoders import ConvNet
from sslbook.methods.vicreg import VICReg, covariance_term, variance_term, vicreg_loss
from sslbook.pretrain import pretrain
from sslbook.views import byol_views, shapes_views

GOLDEN = np.load(Path(__file__).parent / "golden/11_vicreg.npz")
TERMS = {"invariance": "repr", "variance": "std", "covariance": "cov"}  # the official names


def tiny(**options):
    torch.manual_seed(0)
    return VICReg(ConvNet(width=2), **{"dim": 8, **options})


def golden(name):
    return torch.tensor(GOLDEN[name]).double()


def test_the_loss_equals_the_official_one_in_value_and_gradient():
    z1, z2 = golden("x").requires_grad_(), golden("y").requires_grad_()
    terms = vicreg_loss(z1, z2, *GOLDEN["coeffs_sim_std_cov"].tolist())
    terms["loss"].backward()
    assert terms["loss"].item() == pytest.approx(float(GOLDEN["loss_f64"]), rel=1e-7)
    for ours, theirs in TERMS.items():
        assert terms[ours].item() == pytest.approx(float(GOLDEN[f"{theirs}_loss_f64"]), rel=1e-7), ours
        assert not terms[ours].requires_grad
    np.testing.assert_allclose(z1.grad, GOLDEN["grad_x"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(z2.grad, GOLDEN["grad_y"], rtol=0, atol=1e-6)


def test_each_weight_weighs_its_own_term():
    z1, z2 = golden("x"), golden("y")
    for weights, term in zip(((3.0, 0, 0), (0, 3.0, 0), (0, 0, 3.0)), TERMS):
        terms = vicreg_loss(z1, z2, *weights)
        assert terms["loss"].item() == pytest.approx(3 * terms[term].item(), rel=1e-12), term


def test_the_terms_are_numpy_s():
    z, _ = random_pair(50, 4)
    z = 0.5 * z + 3
    assert variance_term(z).item() == pytest.approx(np.maximum(0, 1 - z.std(dim=0).numpy()).mean(), abs=2e-4)
    covariances = np.cov(z.T.numpy())
    np.fill_diagonal(covariances, 0)
    assert covariance_term(z).item() == pytest.approx((covariances**2).sum() / 4, rel=1e-9)


def test_the_variance_is_a_hinge():
    z, _ = random_pair(200, 5)
    assert variance_term(3 * z).item() == 0, "enough is enough"
    assert variance_term(3 * z, gamma=10.0).item() == pytest.approx(7, abs=0.5)


def test_what_a_collapse_costs():
    z, _ = random_pair(4000, 5)
    point = torch.ones(30, 5)
    terms = vicreg_loss(point, point)
    assert [round(terms[name].item(), 6) for name in TERMS] == [0, 0.99, 0]
    assert covariance_term(z).item() == pytest.approx(4 / 4000, rel=0.5)  # not 0: N images scatter
    assert covariance_term(z[:, :1].expand(-1, 5)).item() == pytest.approx(4, rel=0.1)
    assert vicreg_loss(z[:, :1].expand(-1, 5), z[:, :1].expand(-1, 5), nu=0.0)["loss"] < 1  # nothing minds


def test_an_exact_constant_has_no_gradient_and_no_nan():
    z = torch.full((6, 3), 0.5, requires_grad=True)
    terms = vicreg_loss(z, z)
    terms["loss"].backward()
    assert terms["loss"].item() == pytest.approx(25 * 0.99) and z.grad.eq(0).all()


def test_a_collapsing_feature_is_pushed_as_hard_however_small_it_is():
    """The deviation's gradient does not vanish with it (section 4.1): a variance's would."""
    pushes = []
    for size in (0.3, 0.1):
        z = (size * random_pair(64, 1)[0]).requires_grad_()
        variance_term(z, eps=0.0).backward()
        pushes.append(z.grad.norm().item())
    assert pushes[0] == pytest.approx(pushes[1], rel=1e-9)


def test_half_precision_is_computed_in_full():
    z1, z2 = (z.to(torch.bfloat16) for z in random_pair(32, 6))
    expected = vicreg_loss(z1.float(), z2.float())["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vicreg_loss(z1, z2)["loss"], expected)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (2, 4)), ((2, 3), (1, 3)), ((2, 3, 1), (2, 3, 1))])
def test_the_loss_refuses_unlike_shapes(shapes):
    with pytest.raises(ValueError, match=r"both be \(N, D\)"):
        vicreg_loss(*(torch.zeros(shape) for shape in shapes))


def test_the_loss_refuses_a_batch_of_one_and_negative_weights():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        vicreg_loss(torch.zeros(1, 3), torch.zeros(1, 3))
    for name in ("lambd", "mu", "nu"):
        for wrong in (-0.1, float("nan")):
            with pytest.raises(ValueError, match=f"{name} must not be negative"):
                vicreg_loss(*random_pair(4, 3), **{name: wrong})


@pytest.mark.parametrize("wrong", [dict(lambd=-1), dict(mu=-1), dict(nu=-1), dict(layers=0)])
def test_the_method_refuses_nonsense(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must"):
        tiny(**wrong)


def test_the_method_weighs_what_each_view_gives():
    method = tiny(lambd=3.0, mu=2.0, nu=0.5).double()
    x1, x2 = pictures(6, 1).double(), pictures(6, 2).double()
    z1, z2 = (method.expander(method.encoder(x)) for x in (x1, x2))
    expected = 3 * ((z1 - z2) ** 2).mean()
    for z in (z1, z2):
        C = torch.cov(z.T)
        expected += 2 * (1 - (C.diagonal() + 1e-4).sqrt()).clamp(min=0).mean() / 2
        expected += 0.5 * (C.square().sum() - C.diagonal().square().sum()) / 8
    assert method.loss([x1, x2])["loss"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_expander_is_the_paper_s():
    method = VICReg(ConvNet(width=2), dim=8, hidden=12)
    assert [type(m) for m in method.expander] == 2 * [nn.Linear, nn.BatchNorm1d, nn.ReLU] + [nn.Linear]
    linear = [m for m in method.expander if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [12, 12, 8] and all(m.bias is None for m in linear)
    defaults = VICReg(ConvNet(width=2))
    assert [m.out_features for m in defaults.expander if isinstance(m, nn.Linear)] == [8192] * 3
    assert (defaults.lambd, defaults.mu, defaults.nu) == (25, 25, 1) and list(VICReg.views(224)) == list(
        byol_views(224)
    )


def test_no_term_sees_a_bias_of_the_last_layer():
    z1, z2 = random_pair(10, 4)
    shift = torch.arange(4.0).double()
    for name, term in vicreg_loss(z1, z2).items():
        assert vicreg_loss(z1 + shift, z2 + shift)[name].item() == pytest.approx(term.item(), rel=1e-9), name


def short_training(epochs=10, **weights):
    """The history of a short training on 1,024 small shapes, and z of 256 of them."""
    train, _ = sets.load("shapes", train=1024, test=1)
    images = F.avg_pool2d(train.images.float(), 2).byte()
    torch.manual_seed(0)
    method = VICReg(ConvNet(), dim=32, layers=2, **weights)
    options = dict(batch_size=32, lr=5e-3, views=shapes_views(16), show_progress=False)
    history = pretrain(method, images, epochs=epochs, **options)
    with torch.no_grad():
        z = method.train().project(images[:256] / 255)  # batch norm as in training
    return history, z


def test_training_without_the_variance_makes_all_images_one():
    history, z = short_training(mu=0.0)
    assert z.std(dim=0).mean().item() < 0.05 and history["variance"][-1] > 0.9
    assert history["loss"][-1] < 0.1, "and the loss is content"


@pytest.mark.parametrize("nu", [1.0, 0.0])
def test_training_without_the_covariance_makes_features_one_and_the_spread_does_not_see_it(nu):
    _, z = short_training(nu=nu)
    # deviation .42 and .80, RankMe 4.7 and 1.5
    assert z.std(dim=0).mean().item() > 0.25 and evaluate.spread(z) > 0.9
    rank = evaluate.rankme(z - z.mean(dim=0))
    assert (rank > 3) if nu else (rank < 2.2)
