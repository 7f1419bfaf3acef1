from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslbook import evaluate, sets
from sslbook.encoders import ConvNet
from sslbook.losses import sinkhorn, swapped_prediction
from sslbook.methods import Now
from sslbook.methods.swav import SwAV, monitors
from sslbook.pretrain import pretrain
from sslbook.views import multi_crop_views, shapes_views

GOLDEN = np.load(Path(__file__).parent / "golden/07_swav.npz")
B = 8


def tiny(**options):
    torch.manual_seed(0)
    return SwAV(ConvNet(width=2), **{"K": 8, "dim": 4, "hidden": 8, **options})


def pictures(n, seed, size=16):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def golden(name):
    return torch.tensor(GOLDEN[name]).double()


@pytest.mark.parametrize("view", [1, 2])
@pytest.mark.parametrize("name, epsilon, iterations", [("005", 0.05, 3), ("003", 0.03, 3)])
def test_codes_equal_the_official_ones(view, name, epsilon, iterations):
    scores = golden("scores_2v")[(view - 1) * B : view * B]
    np.testing.assert_allclose(sinkhorn(scores, epsilon, iterations), GOLDEN[f"Q_view{view}_eps{name}"], atol=1e-6)


@pytest.mark.parametrize("iterations", [1, 10])
def test_codes_equal_the_official_ones_after_other_iterations(iterations):
    theirs = GOLDEN[f"Q_view1_eps005_it{iterations}"]
    np.testing.assert_allclose(sinkhorn(golden("scores_2v")[:B], 0.05, iterations), theirs, atol=1e-6)
    assert np.abs(theirs - GOLDEN["Q_view1_eps005"]).max() > 1e-3, "the number of iterations can be told"


@pytest.mark.parametrize("views", [2, 6])
def test_the_loss_equals_the_official_one_in_value_and_gradient(views):
    scores = golden(f"scores_{views}v").requires_grad_()
    crops = scores.split(B)
    codes = [sinkhorn(x, float(GOLDEN["eps_f64"]), int(GOLDEN["sinkhorn_iterations"])) for x in crops[:2]]
    loss = swapped_prediction(torch.stack(crops), torch.stack(codes), float(GOLDEN["temperature_f64"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(GOLDEN[f"loss_{views}v_f64"]), rel=1e-6)
    np.testing.assert_allclose(scores.grad, GOLDEN[f"grad_scores_{views}v"], rtol=1e-5, atol=1e-8)
    assert not any(q.requires_grad for q in codes)


def with_the_official_queue(progress):
    """A method with the official prototypes and queue, and a way from a picture's number to its official z."""
    method = tiny(K=10, dim=16, queue=2 * B, queue_from=0.1).double()
    method.prototypes.data.copy_(golden("prototypes"))
    method.queue.copy_(golden("queue_before"))
    method.now = Now(progress=progress)
    return method


def test_the_loss_with_a_queue_equals_the_official_one():
    method, emb = with_the_official_queue(0.5), golden("emb_2v").requires_grad_()
    method.project = lambda x: emb
    scores = []
    of = method.scores
    method.scores = lambda z: scores.append(of(z)) or scores[-1]
    loss = method.loss(2 * [torch.zeros(B, 3, 4, 4)])["loss"]
    assert loss.item() == pytest.approx(float(GOLDEN["loss_2v_queue_f64"]), rel=1e-6)
    grads = torch.autograd.grad(loss, scores[-2:])
    np.testing.assert_allclose(torch.cat(grads), GOLDEN["grad_scores_2v_queue"], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(method.queue, GOLDEN["queue_after"], atol=1e-7)


def test_the_queue_waits_and_is_left_alone_in_eval_mode():
    method = with_the_official_queue(0.05)
    method.project = lambda x: golden("emb_2v")
    loss = method.loss(2 * [torch.zeros(B, 3, 4, 4)])["loss"]
    assert loss.item() == pytest.approx(float(GOLDEN["loss_2v_f64"]), rel=1e-6), "not yet"
    np.testing.assert_allclose(method.queue, GOLDEN["queue_after"], atol=1e-7)
    before = method.queue.clone()
    method.eval().loss(2 * [torch.zeros(B, 3, 4, 4)])
    assert torch.equal(method.queue, before)


def test_more_iterations_balance_the_prototypes():
    scores = torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    off = [(sinkhorn(scores, 0.5, i).sum(dim=0) - 8).abs().max().item() for i in (1, 3, 300)]
    assert off == sorted(off, reverse=True) and off[2] < 1e-6 < off[1]
    torch.testing.assert_close(sinkhorn(scores, 0.5, 0), (scores / 0.5).softmax(dim=1))


def test_epsilon_decides_between_all_alike_and_one_each():
    scores = F.normalize(torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    soft, sharp = (evaluate.assignment_sharpness(sinkhorn(scores, e, 50)) for e in (10, 1e-3))
    assert soft > 7.9 and sharp < 1.3, "1e-3: exp(1 / epsilon) is infinite, its logarithm is not"


@pytest.mark.parametrize(
    "wrong", [dict(scores=torch.ones(4)), dict(scores=torch.ones(0, 4)), dict(epsilon=0), dict(iterations=-1)]
)
def test_sinkhorn_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match=r"scores must be|epsilon > 0 and iterations >= 0"):
        sinkhorn(**dict(scores=torch.ones(4, 3)) | wrong)


def test_half_precision_is_computed_in_full():
    scores = torch.randn(8, 4).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = sinkhorn(scores)
        loss = swapped_prediction(torch.stack([scores, scores]), torch.stack([codes, codes]))
        z = tiny().scores(F.normalize(torch.randn(3, 4), dim=1).bfloat16())
    assert codes.dtype == loss.dtype == z.dtype == torch.float32
    assert torch.equal(codes, sinkhorn(scores.float()))


def test_prototypes_stay_on_the_sphere_and_stand_still_at_first():
    method = tiny(frozen=0.5)
    torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(8))
    for progress, moves in ((0.4, False), (0.5, True)):
        method.now = Now(progress=progress)
        method.zero_grad()
        method.loss([pictures(6, 1), pictures(6, 2)])["loss"].backward()
        method.before_step()
        assert (method.prototypes.grad is not None) == moves
    with torch.no_grad():
        method.prototypes.mul_(3)
    method.after_step(0.6)
    torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(8))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_frozen_prototypes_train_on_later(optimizer):
    """PyTorch's fused SGD stops where a weight gets its first gradient later than the others."""
    method, start = tiny(frozen=0.5), tiny().prototypes.clone()
    options = dict(batch_size=8, optimizer=optimizer, lr=0.1, warmup_epochs=0, views=shapes_views(16))
    pretrain(method, (255 * pictures(32, 0)).byte(), epochs=2, show_progress=False, **options)
    assert not torch.allclose(method.prototypes, start)


def test_the_projector_is_the_paper_s():
    method = SwAV(ConvNet(width=2))
    assert [type(m) for m in method.projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [method.projector[i].out_features for i in (0, 3)] == [2048, 128]
    assert method.prototypes.shape == (3000, 128) and (method.epsilon, method.T, method.iterations) == (0.05, 0.1, 3)
    assert list(SwAV.views(224)) == list(multi_crop_views(224))


def test_small_crops_predict_and_are_not_assigned():
    method = tiny().double().eval()
    large, small = pictures(12, 1).double(), pictures(12, 2, size=8).double()
    views = [*large.chunk(2), *small.chunk(2)]
    scores = [method.scores(method.project(x)) for x in views]
    codes = [sinkhorn(x) for x in scores[:2]]
    p = [(x / 0.1).log_softmax(dim=1) for x in scores]
    pairs = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3)]
    expected = -sum((codes[i] * p[j]).sum() / 6 for i, j in pairs) / 6
    assert method.loss(views)["loss"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_history_s_monitors_are_those_of_evaluate():
    codes = sinkhorn(torch.randn(32, 6), 0.5)
    said = monitors(codes)
    assert said["prototypes used"].item() == pytest.approx(evaluate.prototypes_used(codes), rel=1e-5)
    assert said["assignment sharpness"].item() == pytest.approx(evaluate.assignment_sharpness(codes), rel=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(K=1),
        dict(epsilon=0),
        dict(T=0),
        dict(iterations=-1),
        dict(queue=-1),
        dict(frozen=2),
        dict(queue_from=-1),
    ],
)
def test_the_method_refuses_nonsense(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}="):
        tiny(**wrong)


def test_one_view_is_not_enough():
    with pytest.raises(ValueError, match="SwAV takes 2 views of an image or more, got 1"):
        tiny().loss([pictures(4, 0)])


@pytest.mark.parametrize("iterations", [3, 0])
def test_training_without_sinkhorn_gives_all_images_the_same_prototype(iterations):
    """And teaches nothing, where the control with it learns the shapes."""
    train, test = sets.load("shapes", train=2048, test=512)
    torch.manual_seed(0)
    method = SwAV(ConvNet(), K=64, dim=32, hidden=128, epsilon=0.02, iterations=iterations, frozen=0)

    def linear():
        known, new = (evaluate.embed(method.encoder, images) for images in (train, test))
        return evaluate.linear_evaluation(known, train.labels, new, test.labels)

    untrained = linear()
    options = dict(batch_size=64, optimizer="sgd", lr=0.2, views=shapes_views(24))
    history = pretrain(method, train, epochs=8, show_progress=False, **options)
    used, sharpness = history["prototypes used"][-1], history["assignment sharpness"]
    if iterations:
        assert used > 55 and sharpness[-1] < 0.7 * sharpness[0], (used, sharpness)
        assert linear() > untrained + 0.15
    else:
        assert used < 2, used
        assert linear() < untrained + 0.05
