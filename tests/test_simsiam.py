import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures
from torch import nn

from sslbook import evaluate, sets, views
from sslbook.encoders import ConvNet
from sslbook.losses import negative_cosine
from sslbook.methods.simsiam import SimSiam
from sslbook.pretrain import pretrain

GOLDEN = np.load(Path(__file__).parent / "golden/03_simsiam.npz")


def tiny(**options):
    torch.manual_seed(0)
    return SimSiam(ConvNet(width=2), **{"dim": 8, **options})


def golden(name):
    return torch.tensor(GOLDEN[name]).double()


def our_name(name):
    """The official fc is our projector."""
    return name.replace("encoder.fc.", "projector.")


def test_the_loss_equals_the_official_one_in_value_and_gradient():
    p1, p2, z1, z2 = (golden(k) for k in ("p1", "p2", "z1", "z2"))
    p1.requires_grad_()
    p2.requires_grad_()
    loss = (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2
    loss.backward()
    assert loss.item() == pytest.approx(float(GOLDEN["loss_f64"]), abs=1e-9)
    np.testing.assert_allclose(p1.grad, GOLDEN["grad_p1"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(p2.grad, GOLDEN["grad_p2"], rtol=0, atol=1e-6)


def test_the_model_equals_the_official_one():
    encoder = nn.Sequential(OrderedDict(l1=nn.Linear(12, 10), bn=nn.BatchNorm1d(10), relu=nn.ReLU()))
    encoder.features_dim = 10
    method = SimSiam(encoder, dim=16, bottleneck=8).double().train()
    prefix = "model.init."
    state = {our_name(k[len(prefix) :]): golden(k) for k in GOLDEN.files if k.startswith(prefix)}
    frozen_bias = state.pop("projector.6.bias")  # ours has none: the norm after it takes it away
    method.load_state_dict(state)  # strict: every other official entry has its place, and there are no others

    x1, x2 = golden("model.x1"), golden("model.x2")
    watched = copy.deepcopy(method)
    for i, x in enumerate((x1, x2), start=1):
        z = watched.project(x)
        np.testing.assert_allclose(z.detach(), GOLDEN[f"model.z{i}"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(watched.predictor(z).detach(), GOLDEN[f"model.p{i}"], rtol=0, atol=1e-6)

    loss = method.loss([x1, x2])
    loss.backward()
    assert loss.item() == pytest.approx(float(GOLDEN["model.loss_f64"]), abs=1e-6)
    gradients = {our_name(k[len("model.grad.") :]): GOLDEN[k] for k in GOLDEN.files if k.startswith("model.grad.")}
    assert gradients.keys() == dict(method.named_parameters()).keys()
    for name, p in method.named_parameters():
        np.testing.assert_allclose(p.grad, gradients[name], rtol=0, atol=1e-6, err_msg=name)
    for key in (k for k in GOLDEN.files if k.startswith("model.after.")):
        name, expected = our_name(key[len("model.after.") :]), golden(key)
        if name == "projector.7.running_mean":
            expected -= (1 - 0.9**2) * frozen_bias  # all that the bias does, in two passes with momentum .1
        np.testing.assert_allclose(method.state_dict()[name], expected, rtol=0, atol=1e-6, err_msg=name)


def test_the_negative_cosine_written_out():
    p, z = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    expected = -sum(sum(a * b) / (sum(a * a) ** 0.5 * sum(b * b) ** 0.5) for a, b in zip(p, z)) / 5
    assert negative_cosine(p, z).item() == pytest.approx(expected.item(), abs=1e-12)
    assert negative_cosine(p, 2 * p).item() == pytest.approx(-1)
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(5, 2\)"):
        negative_cosine(p, z[:, :2])


def test_the_stop_gradient_makes_z_a_constant():
    method = tiny().double()
    x1, x2 = pictures(6, 1).double(), pictures(6, 2).double()
    method.loss([x1, x2]).backward()
    with_stop = [p.grad.clone() for p in method.parameters()]
    z1, z2 = method.project(x1), method.project(x2)
    constant1, constant2 = (torch.tensor(z.tolist(), dtype=torch.float64) for z in (z1, z2))
    method.zero_grad()
    p1, p2 = method.predictor(z1), method.predictor(z2)
    ((negative_cosine(p1, constant2) + negative_cosine(p2, constant1)) / 2).backward()
    for ours, p in zip(with_stop, method.parameters()):
        torch.testing.assert_close(ours, p.grad)


def test_without_it_the_value_is_the_same_and_the_gradient_another():
    stopped, leaking = tiny(), tiny(stop_gradient=False)
    losses = [m.loss([pictures(6, 1), pictures(6, 2)]) for m in (stopped, leaking)]
    assert losses[0].item() == losses[1].item()
    for loss in losses:
        loss.backward()
    assert not torch.allclose(stopped.projector[0].weight.grad, leaking.projector[0].weight.grad)
    torch.testing.assert_close(stopped.predictor[0].weight.grad, leaking.predictor[0].weight.grad)


def test_without_a_predictor_p_is_z():
    method = tiny(predictor=False)
    x1, x2 = pictures(6, 1), pictures(6, 2)
    expected = negative_cosine(method.project(x1), method.project(x2))
    torch.testing.assert_close(method.loss([x1, x2]), expected)
    assert len(method.parameter_groups(0.1)) == 1


@pytest.mark.parametrize("layers", [2, 3])
def test_the_heads(layers):
    method = tiny(layers=layers, hidden=12)
    linear = [m for m in method.projector if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [12] * (layers - 1) + [8]
    assert isinstance(method.projector[-1], nn.BatchNorm1d) and not method.projector[-1].affine
    assert [type(m) for m in method.predictor] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert method.predictor[0].out_features == 2 and method.predictor[3].bias is not None


def test_everything_decays_and_the_predictor_s_rate_is_constant():
    method = tiny()
    f, h = method.parameter_groups(0.1)
    assert f["weight_decay"] == h["weight_decay"] == 0.1
    assert not f.get("constant_lr") and h["constant_lr"]
    assert {id(p) for p in h["params"]} == {id(p) for p in method.predictor.parameters()}
    assert {id(p) for p in f["params"] + h["params"]} == {id(p) for p in method.parameters()}


@pytest.mark.parametrize("wrong", [dict(dim=3), dict(layers=1)])
def test_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="dim must be at least 4 and layers at least 2"):
        tiny(**wrong)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_without_the_stop_gradient_it_collapses(stop_gradient):
    """On small shapes, with everything else equal: the loss of a match, and one answer to every picture.

    Weight decay is high, or the norm at the end of the projector would hold the pictures on a line for long.
    """
    train, _ = sets.load("shapes", train=1024, test=64)
    images = F.avg_pool2d(train.images.float(), 2).byte()
    torch.manual_seed(0)
    method = SimSiam(ConvNet(), dim=256, layers=2, stop_gradient=stop_gradient)
    options = dict(optimizer="sgd", lr=0.6, weight_decay=3e-3, warmup_epochs=0, views=views.shapes_views(16))
    history = pretrain(method, images, epochs=20, batch_size=64, show_progress=False, **options)
    method.eval()
    with torch.no_grad():
        z = method.project(images[:256] / 255)
    # three seeds on one and on two threads: loss below -.86 without, above -.62 with; spread up to .13, and from .58
    collapsed = (history["loss"][-1] < -0.75, evaluate.spread(z) < 0.3)
    assert collapsed == ((False,) * 2 if stop_gradient else (True,) * 2)
