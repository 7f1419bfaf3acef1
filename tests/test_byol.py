import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures
from torch import nn

from sslbook import views
from sslbook.encoders import ConvNet
from sslbook.losses import byol_loss
from sslbook.methods.byol import BYOL

GOLDEN = Path(__file__).parent / "golden"


def tiny(**options):
    torch.manual_seed(0)
    return BYOL(ConvNet(width=2), **{"dim": 8, "hidden": 12, **options})


def step(method, optimizer, seed, progress=0.5):
    optimizer.zero_grad()
    loss = method.loss([pictures(4, seed), pictures(4, seed + 100)])
    loss.backward()
    optimizer.step()
    method.after_step(progress)
    return loss.item()


@pytest.mark.parametrize(
    ("file", "rows"), [("04_byol_jax", "regression_loss"), ("04_byol_torch", "loss_per_sample")], ids=["jax", "torch"]
)
def test_the_loss_equals_two_implementations_in_value_and_gradient(file, rows):
    g = np.load(GOLDEN / f"{file}.npz")
    p1, p2, z1, z2 = (torch.tensor(g[k], dtype=torch.float64) for k in ("p1", "p2", "z1", "z2"))
    p1.requires_grad_()
    p2.requires_grad_()
    loss = byol_loss(p1, z2) + byol_loss(p2, z1)
    loss.backward()
    assert loss.item() == pytest.approx(float(g["loss_f64"]), abs=1e-9)
    np.testing.assert_allclose(p1.grad, g["grad_p1"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(p2.grad, g["grad_p2"], rtol=0, atol=1e-6)
    for name, p, z in (("p1z2", p1, z2), ("p2z1", p2, z1)):
        each = [byol_loss(a[None], b[None]).item() for a, b in zip(p, z)]
        np.testing.assert_allclose(each, g[f"{rows}_{name}"], rtol=0, atol=1e-6)


def test_the_loss_is_the_squared_distance_of_unit_vectors():
    p, z = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    p_, z_ = (x / x.norm(dim=1, keepdim=True) for x in (p, z))
    assert byol_loss(p, z).item() == pytest.approx(sum(((a - b) ** 2).sum() for a, b in zip(p_, z_)).item() / 6)
    assert byol_loss(3 * p, p).item() == pytest.approx(0, abs=1e-12)
    assert byol_loss(p, -p).item() == pytest.approx(4)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (2, 4)), ((2, 3), (1, 3))])
def test_the_loss_refuses_unlike_shapes(shapes):
    with pytest.raises(ValueError, match=r"both be \(N, D\)"):
        byol_loss(*(torch.zeros(shape) for shape in shapes))


def test_each_view_predicts_the_target_s_other_view():
    method = tiny().double()
    with torch.no_grad():  # so that the target is not the online network
        for p in method.target.parameters():
            p.mul_(1.1)
    x1, x2 = pictures(4, 1).double(), pictures(4, 2).double()
    p1, p2 = (method.predictor(method.projector(method.encoder(x))) for x in (x1, x2))
    z1, z2 = (method.target[1](method.target[0](x)) for x in (x1, x2))
    cosines = [F.normalize(p, dim=1).mul(F.normalize(z, dim=1)).sum(1).mean() for p, z in ((p1, z2), (p2, z1))]
    assert method.loss([x1, x2]).item() == pytest.approx((4 - 2 * sum(cosines)).item(), abs=1e-12)


def test_heads_have_batch_norm_in_the_hidden_layer_only():
    method = tiny()
    for head in (method.projector, method.predictor):
        assert [type(m) for m in head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert head[0].out_features == 12 and head[3].out_features == 8
    assert len(method.target) == 2  # encoder and projector, no predictor


def test_no_gradient_reaches_the_target():
    method = tiny()
    method.loss([pictures(4, 1), pictures(4, 2)]).backward()
    assert all(p.grad is None and not p.requires_grad for p in method.target.parameters())
    assert not method.project_target(pictures(4, 1).requires_grad_()).requires_grad
    online = [*method.online.parameters(), *method.predictor.parameters()]
    assert all(p.grad is not None for p in online)
    assert {id(p) for g in method.parameter_groups(0.1) for p in g["params"]} == {id(p) for p in online}


def test_the_target_uses_its_own_batch_statistics():
    method = tiny()
    method.loss([pictures(4, 1), pictures(4, 2)])
    norm = method.target[0][0][1]
    assert norm.training and norm.num_batches_tracked == 2  # one pass for each view
    before = norm.running_mean.clone()
    method.encoder[0][1].running_mean.fill_(9)
    method.update_target(0.0)
    assert torch.equal(norm.running_mean, before)


def test_the_target_follows_after_the_step_and_stands_still_at_the_end():
    method = tiny(tau=0.9)
    optimizer = torch.optim.SGD(method.parameter_groups(0.0), lr=0.1)
    old = method.target[1][0].weight.clone()
    step(method, optimizer, 1, progress=0.5)
    tau = 1 - (1 - 0.9) * (0 + 1) / 2
    torch.testing.assert_close(method.target[1][0].weight, tau * old + (1 - tau) * method.projector[0].weight)
    before = copy.deepcopy(method.target.state_dict())
    method.after_step(1.0)
    assert all(torch.equal(v, before[k]) for k, v in method.target.state_dict().items())


def test_a_constant_tau():
    method = tiny(tau=0.0, schedule=False)
    optimizer = torch.optim.SGD(method.parameter_groups(0.0), lr=0.1)
    step(method, optimizer, 1, progress=1.0)
    assert all(torch.equal(t, o) for t, o in zip(method.target.parameters(), method.online.parameters()))


def test_without_a_predictor_projections_are_compared():
    method = tiny(predictor=False)
    x = pictures(4, 1)
    assert torch.equal(method.predict(x), method.online(x))
    assert method.loss([x, x]).item() == pytest.approx(0, abs=1e-5)  # the target still equals the online network
    assert all(group.get("lr_scale", 1) == 1 for group in method.parameter_groups(0.1))


def test_the_predictor_has_a_rate_of_its_own_and_norms_no_decay():
    method = tiny(predictor_lr=10)
    predictor = {id(p) for p in method.predictor.parameters()}
    for group in method.parameter_groups(0.1):
        inside = {id(p) in predictor for p in group["params"]}
        assert inside == {group.get("lr_scale") == 10}
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.1}


def test_its_views_are_unlike():
    one, two = BYOL.views(224)
    assert [one, two] == list(views.byol_views(224)) and one.blur == 1 and two.solarize == 0.2


@pytest.mark.parametrize("tau", [-0.1, 1.1])
def test_refuses_a_tau_outside_0_1(tau):
    with pytest.raises(ValueError, match=f"got {tau}"):
        tiny(tau=tau)
