import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures
from torch import nn

from sslbook import sets
from sslbook.callbacks import Callback
from sslbook.ema import cosine_tau
from sslbook.encoders import ConvNet
from sslbook.finetune import fine_tune, supervised
from sslbook.losses import dino_loss
from sslbook.methods.base import Now
from sslbook.methods.byol import BYOL
from sslbook.methods.dino import DINO, dino_views
from sslbook.optim import warmup_cosine
from sslbook.pretrain import pretrain
from sslbook.views import shapes_views
from sslbook.vit import ViT

GOLDEN = np.load(Path(__file__).parent / "golden/09_dino.npz")


def golden(name):
    return torch.tensor(GOLDEN[name]).double()


def number(name):
    return float(GOLDEN[f"{name}_f64"])


def tiny(encoder=None, **options):
    torch.manual_seed(0)
    return DINO(encoder or ConvNet(width=2), **{"K": 16, "hidden": 12, "bottleneck": 8, **options})


def official():
    """A method with the golden run's numbers."""
    return tiny(
        K=24,
        T_s=number("student_temp"),
        T_t=number("teacher_temp"),
        T_warm=number("warmup_teacher_temp"),
        warm_epochs=int(GOLDEN["warmup_teacher_temp_epochs"]),
        m=number("center_momentum"),
    ).double()


def test_loss_gradient_and_centre_equal_the_official_ones_over_three_steps():
    method = official()
    for s, epoch in enumerate(GOLDEN["epochs"].tolist()):
        method.now = Now(epoch=epoch)
        student = golden(f"step{s}.student").requires_grad_()
        g_t = golden(f"step{s}.teacher")
        np.testing.assert_allclose(method.c[None], GOLDEN[f"step{s}.center_before"], rtol=0, atol=1e-7)
        P_t = method.targets(g_t)
        terms = dino_loss(student.unflatten(0, (6, 3)), P_t.unflatten(0, (2, 3)), method.T_s)
        terms["loss"].backward()
        method.update_centre(g_t)
        assert terms["loss"].item() == pytest.approx(number(f"step{s}.loss"), abs=1e-9)
        np.testing.assert_allclose(student.grad, GOLDEN[f"step{s}.grad_student"], rtol=0, atol=1e-7)
        np.testing.assert_allclose(method.c[None], GOLDEN[f"step{s}.center_after"], rtol=0, atol=1e-7)


def test_the_teacher_s_temperature_is_the_official_schedule():
    method = official()
    ours = [method.temperature(epoch) for epoch in range(20)]
    np.testing.assert_allclose(ours, GOLDEN["teacher_temp_schedule_f64"], rtol=0, atol=1e-12)
    assert [tiny(T_t=0.03).temperature(epoch) for epoch in (0, 1, 99)] == [0.03] * 3


def test_momentum_and_learning_rate_are_the_official_schedules():
    theirs = GOLDEN["sched_momentum_0.996_1_ep10_it5_f64"]
    np.testing.assert_allclose([cosine_tau(k / 50, 0.996) for k in range(50)], theirs, rtol=0, atol=1e-12)
    # ours falls to 0 where theirs falls to 1e-6, and the first step of our warm-up is not 0
    theirs = (GOLDEN["sched_lr_0.0005_1e-6_ep10_it5_warm3_f64"] - 1e-6) / (5e-4 - 1e-6)
    ours = [warmup_cosine(step, 50, 15) for step in range(50)]
    np.testing.assert_allclose(ours[15:], theirs[15:], rtol=0, atol=1e-12)


class Decays(Callback):
    """The weight decay of each step."""

    def __init__(self):
        self.seen = []

    def after_step(self, run):
        self.seen.append([group["weight_decay"] for group in run.optimizers["all"].param_groups])


def test_weight_decay_rises_as_the_official_schedule_and_norms_have_none():
    decays = Decays()
    settings = dict(epochs=8, batch_size=4, weight_decay=0.04, views=shapes_views(16), show_progress=False)
    pretrain(tiny(weight_decay_end=0.4), torch.zeros(28, 3, 16, 16).byte(), callbacks=[decays], **settings)
    weights, others = np.array(decays.seen).T
    np.testing.assert_allclose(weights, GOLDEN["sched_wd_0.04_0.4_ep8_it7_f64"], rtol=0, atol=1e-12)
    assert not others.any()
    assert "weight_decay_end" not in tiny().parameter_groups(0.1)[0]


def random_outputs(V, n, K, seed=0):
    return torch.randn(V, n, K, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_a_mean_over_pairs_of_unlike_views():
    student, P_t = random_outputs(4, 5, 7), random_outputs(2, 5, 7, 1).softmax(dim=2)
    expected = []
    for i in range(2):
        for j in range(4):
            if i != j:
                for t, s in zip(P_t[i], student[j] / 0.2):
                    expected.append(-sum(p * math.log(q) for p, q in zip(t.tolist(), s.softmax(0).tolist())))
    terms = dino_loss(student, P_t, 0.2)
    assert len(expected) == 6 * 5 and terms["loss"].item() == pytest.approx(sum(expected) / 30)


def test_entropy_and_kl_tell_both_collapses_from_learning():
    zeros = torch.zeros(2, 5, 7, dtype=torch.float64)
    one = F.one_hot(torch.full((2, 5), 3), 7).double()
    uniform = dino_loss(zeros, zeros.softmax(dim=2))
    assert uniform["entropy"].item() == pytest.approx(math.log(7)) and abs(uniform["KL"].item()) < 1e-6
    constant = dino_loss(100 * one, one)
    assert constant["entropy"].item() == 0 and abs(constant["KL"].item()) < 1e-6
    assert dino_loss(zeros, one)["KL"].item() == pytest.approx(math.log(7))
    terms = dino_loss(random_outputs(3, 5, 7).requires_grad_(), random_outputs(2, 5, 7).softmax(dim=2))
    assert terms["loss"].requires_grad and not terms["entropy"].requires_grad and not terms["KL"].requires_grad


@pytest.mark.parametrize(
    ("student", "P_t"), [((4, 5, 7), (3, 5, 7)), ((4, 5, 7), (2, 5, 6)), ((1, 5, 7), (2, 5, 7)), ((4, 5), (2, 5))]
)
def test_the_loss_refuses_unlike_shapes(student, P_t):
    with pytest.raises(ValueError, match=r"student and P_t must be \(V, n, K\), V >= 2, and \(2, n, K\)"):
        dino_loss(torch.zeros(student), torch.zeros(P_t))


def test_the_encoder_given_is_the_teacher_s_and_no_gradient_reaches_it():
    encoder = ConvNet(width=2)
    method = tiny(encoder)
    assert method.encoder is encoder is method.teacher[0] and method.student[0] is not encoder
    pairs = list(zip(method.teacher.parameters(), method.student.parameters(), strict=True))
    assert all(torch.equal(t, s) and t is not s for t, s in pairs)  # they begin alike
    method.loss([pictures(4, seed) for seed in (1, 2)])["loss"].backward()
    assert all(t.grad is None and not t.requires_grad and s.grad is not None for t, s in pairs)
    held = {id(p) for group in method.parameter_groups(0.1) for p in group["params"]}
    assert held == {id(p) for p in method.student.parameters()}


def test_the_student_sees_all_views_and_the_teacher_the_first_two():
    method = tiny(ViT(32, 8, dim=16, depth=1, heads=2)).double()
    views = [pictures(3, seed, size).double() for seed, size in ((1, 32), (2, 32), (3, 16), (4, 16), (5, 16))]
    g_t = torch.stack([method.teacher(view) for view in views[:2]])  # no batch norm: one by one is the same
    P_t = (g_t / method.T_t).softmax(dim=2)  # c is 0
    expected = dino_loss(torch.stack([method.student(view) for view in views]), P_t, method.T_s)
    assert method.loss(views)["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-12)
    torch.testing.assert_close(method.c, 0.1 * g_t.flatten(0, 1).mean(dim=0))


def test_crops_of_one_size_share_their_batch_statistics():
    """As in the official code: each size is one batch, for the student and for the teacher."""
    method = tiny()
    seen = []
    for norm in (method.student[0][0][1], method.encoder[0][1]):
        norm.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    method.loss([pictures(3, seed, size) for seed, size in ((1, 16), (2, 16), (3, 8), (4, 8), (5, 8))])
    assert seen == [6, 6, 9]  # teacher; student large, student small


def test_the_head_gives_cosines_with_prototypes_whatever_their_length():
    head = tiny().head
    assert [type(m) for m in head.mlp] == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    h = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    before = head(h)
    cosine = F.cosine_similarity(head.mlp(h)[:, None], head.last_layer.weight[None], dim=2)
    torch.testing.assert_close(before, cosine)
    head.last_layer.weight.data *= 7
    torch.testing.assert_close(head(h), before)


def test_each_gradient_is_clipped_and_the_last_layer_waits():
    method = tiny(clip=0.5, frozen=2)
    for epoch, waits in ((0, True), (1, True), (2, False)):
        method.now = Now(epoch=epoch)
        for i, p in enumerate(method.student.parameters()):
            p.grad = torch.full_like(p, 10.0 if i % 2 else 1e-4)
        method.before_step()
        assert (method.student[1].last_layer.weight.grad is None) == waits
        for i, p in enumerate(method.student.parameters()):
            if p.grad is not None:
                assert p.grad.norm().item() == pytest.approx(0.5 if i % 2 else 1e-4 * p.numel() ** 0.5, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_frozen_layer_gets_its_first_gradient_later(optimizer):
    """PyTorch's fused SGD stops at a parameter that had no gradient in an early step."""
    method = tiny(frozen=1)
    before = method.student[1].last_layer.weight.detach().clone()
    settings = dict(batch_size=8, views=shapes_views(16), optimizer=optimizer, lr=0.01, show_progress=False)
    images = sets.load("shapes", train=16, test=1)[0]
    pretrain(method, images, epochs=1, weight_decay=0.1, **settings)
    assert torch.equal(method.student[1].last_layer.weight, before)  # no weight decay either
    pretrain(method, images, epochs=2, **settings)
    assert not torch.equal(method.student[1].last_layer.weight, before)


def test_the_teacher_follows_after_the_step_and_stands_still_at_the_end():
    method = tiny(tau=0.9)
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1.0)
    old, new = method.head.last_layer.weight.clone(), method.student[1].last_layer.weight
    method.after_step(0.5)
    torch.testing.assert_close(method.head.last_layer.weight, 0.95 * old + 0.05 * new)
    before = copy.deepcopy(method.teacher.state_dict())
    method.after_step(1.0)
    assert all(torch.equal(v, before[k]) for k, v in method.teacher.state_dict().items())
    constant = tiny(tau=0.0, schedule=False)
    constant.student[1].last_layer.weight.data += 1
    constant.after_step(1.0)
    assert torch.equal(constant.head.last_layer.weight, constant.student[1].last_layer.weight)


def test_centring_takes_away_what_a_prototype_always_gets():
    g_t = random_outputs(1, 400, 16)[0] * 0.1
    g_t[:, 3] += 1.0  # one that all images like
    for centring, most in (("none", 0.99), ("mean", 0.2), ("sinkhorn", 0.2)):
        method = tiny(centring=centring, T_t=0.1).double()
        for _ in range(100):
            if centring == "mean":
                method.update_centre(g_t)
        P_t = method.targets(g_t)
        torch.testing.assert_close(P_t.sum(dim=1), torch.ones(400).double())
        assert (P_t.mean(dim=0)[3] > most) == (centring == "none"), centring


def test_only_the_mean_needs_a_centre():
    views = [pictures(4, seed) for seed in (1, 2)]
    for centring in ("none", "sinkhorn", "mean"):
        method = tiny(centring=centring)
        method.loss(views)
        assert method.c.any() == (centring == "mean")


def test_its_views_are_the_paper_s():
    views = dino_views(224)
    assert [view.size for view in views] == [224] * 2 + [96] * 8
    assert {view.scale for view in views[:2]} == {(0.4, 1)} and {view.scale for view in views[2:]} == {(0.05, 0.4)}
    assert views[0].blur == 1 and views[1].solarize == 0.2
    assert {(view.blur, view.solarize) for view in views[2:]} == {(0.5, 0)}


@pytest.mark.parametrize(
    "wrong",
    [dict(centring="median"), dict(T_t=0), dict(T_s=-1), dict(tau=1.1), dict(m=-0.1), dict(K=1), dict(clip=0)],
    ids=lambda wrong: next(iter(wrong)),
)
def test_refuses_nonsense(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        tiny(**wrong)


def test_refuses_one_view_and_large_views_of_two_sizes():
    method = tiny()
    with pytest.raises(ValueError, match="DINO takes two views or more of an image, got 1"):
        method.loss([pictures()])
    with pytest.raises(ValueError, match="first two views must be of one size, got 16 and 8 px"):
        method.loss([pictures(), pictures(size=8)])


def test_what_is_kept_can_be_trained_on():
    """A teacher's weights have no gradient; in another method, or with labels, they must not stay where they are."""
    kept = tiny().encoder
    assert not any(p.requires_grad for p in kept.parameters())
    before = copy.deepcopy(kept.state_dict())
    images = sets.load("shapes", train=64, test=64)
    tuned = fine_tune(kept, *images, epochs=1, view=shapes_views(16)[0], show_progress=False)
    assert 0 <= tuned <= 1 and not any(p.requires_grad for p in kept.parameters()), "a copy is tuned"
    supervised(kept, images[0], epochs=1, batch_size=16, view=shapes_views(16)[0], show_progress=False)
    assert all(p.requires_grad for p in kept.parameters())
    assert not torch.equal(kept[0][0].weight, before["0.0.weight"])
    assert all(p.requires_grad for p in DINO(kept, K=16, hidden=12, bottleneck=8).student.parameters())
    by_hand = ConvNet(width=2).requires_grad_(False)
    assert not any(p.requires_grad for p in BYOL(by_hand, dim=8, hidden=8).encoder.parameters()), "frozen means frozen"
