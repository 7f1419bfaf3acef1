import copy
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures
from torch import nn

from sslbook.encoders import ConvNet
from sslbook.methods.moco import MoCo
from sslbook.norms import SplitBatchNorm2d, split_batch_norm

GOLDEN = Path(__file__).parent / "golden"


def tiny_encoder():
    encoder = nn.Sequential(OrderedDict(l1=nn.Linear(12, 10), bn=nn.BatchNorm1d(10), relu=nn.ReLU()))
    encoder.features_dim = 10
    return encoder


def tiny(**options):
    torch.manual_seed(0)
    return MoCo(ConvNet(width=2), **{"dim": 8, "K": 32, "bn_splits": 1, **options})


def our_name(name):
    """Where the official state dict's entry lies in ours: its fc is our projector, encoder_k is f_k."""
    network, _, rest = name.partition(".")
    if network not in ("encoder_q", "encoder_k"):
        return name
    is_head = rest.startswith("fc.")
    rest = rest.removeprefix("fc.") if rest.count(".") == 2 else rest.replace("fc.", "0.")  # v1's head is one layer
    if network == "encoder_q":
        return ("projector." if is_head else "encoder.") + rest
    return ("f_k.1." if is_head else "f_k.0.") + rest


@pytest.mark.parametrize("file", ["02_moco", "02_moco_mlp"])
def test_three_steps_equal_the_official_ones(file, monkeypatch):
    g = np.load(GOLDEN / f"{file}.npz")
    method = MoCo(
        tiny_encoder(), int(g["dim"]), int(g["K"]), float(g["m_f64"]), float(g["T_f64"]), bool(g["mlp"]), bn_splits=1
    )
    method.double().train()
    state = {our_name(k[5:]): torch.tensor(g[k]).double() for k in g.files if k.startswith("init.")}
    method.load_state_dict(state)  # strict: every official entry has its place, and there are no others
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=float(g["lr_f64"]))
    logits = []
    original = method.logits
    monkeypatch.setattr(method, "logits", lambda q, k: logits.append(original(q, k)) or logits[-1])

    for step in range(3):
        views = [torch.tensor(g[f"step{step}.{x}"]).double() for x in ("im_q", "im_k")]
        loss = method.loss(views)
        optimizer.zero_grad()
        loss.backward()
        np.testing.assert_allclose(logits[-1].detach(), g[f"step{step}.logits"], rtol=0, atol=2e-6)
        assert loss.item() == pytest.approx(float(g[f"step{step}.loss_f64"]), abs=1e-6)
        for key in (k for k in g.files if k.startswith(f"step{step}.grad.")):
            gradient = method.get_parameter(our_name(key.split(".grad.")[1])).grad
            np.testing.assert_allclose(gradient, g[key], rtol=0, atol=1e-6, err_msg=key)
        optimizer.step()
        for key in (k for k in g.files if k.startswith(f"step{step}.state.")):
            ours = method.state_dict()[our_name(key.split(".state.")[1])]
            np.testing.assert_allclose(ours, g[key], rtol=0, atol=1e-6, err_msg=key)


def test_the_loss_equals_equation_1_written_out():
    method = tiny(T=0.3).double().eval()
    x1, x2 = pictures(4, 1).double(), pictures(4, 2).double()
    q, k = (F.normalize(f(x), dim=1).detach() for f, x in ((method.f_q, x1), (method.f_k, x2)))
    expected = 0.0
    for i in range(4):
        own = math.exp(q[i] @ k[i] / 0.3)
        others = sum(math.exp(q[i] @ method.queue[:, j] / 0.3) for j in range(method.K))
        expected -= math.log(own / (own + others)) / 4
    assert method.loss([x1, x2]).item() == pytest.approx(expected, abs=1e-12)


def test_symmetric_is_the_mean_of_both_directions_and_queues_both_views():
    one = tiny(m=1.0)
    both, x1, x2 = copy.deepcopy(one), pictures(4, 1), pictures(4, 2)
    both.symmetric = True
    other = copy.deepcopy(one)
    expected = (one.loss([x1, x2]) + other.loss([x2, x1])) / 2
    torch.testing.assert_close(both.loss([x1, x2]), expected)
    assert both.queue_ptr.item() == 8
    torch.testing.assert_close(both.queue[:, :8], torch.cat([one.queue[:, :4], other.queue[:, :4]], dim=1))


def test_keys_move_before_they_are_encoded_and_join_the_queue_after():
    method = tiny(m=0.5)
    before = copy.deepcopy(method)
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.add_(0.1)
    q_weight, k_weight = method.encoder[0][0].weight.clone(), method.f_k[0][0][0].weight.clone()
    x1, x2 = pictures(4, 1), pictures(4, 2)
    method.loss([x1, x2]).backward()
    torch.testing.assert_close(method.f_k[0][0][0].weight, (q_weight + k_weight) / 2)
    assert torch.equal(method.queue[:, 4:], before.queue[:, 4:])
    moved = copy.deepcopy(method)
    moved.f_k.load_state_dict({**method.f_k.state_dict(), **dict(before.f_k.named_buffers())})
    torch.testing.assert_close(method.queue[:, :4], moved.keys(x2).T)


def test_no_gradient_reaches_keys_and_queue():
    method = tiny(bn_splits=2)
    method.loss([pictures(8, 1), pictures(8, 2)]).backward()
    assert all(p.grad is None and not p.requires_grad for p in method.f_k.parameters())
    assert not method.keys(pictures(8, 1).requires_grad_()).requires_grad
    assert not method.queue.requires_grad and method.queue.grad_fn is None
    assert all(p.grad is not None for p in method.f_q.parameters())
    trained = {id(p) for group in method.parameter_groups(0.1) for p in group["params"]}
    assert trained == {id(p) for p in method.f_q.parameters()}


def test_shuffled_keys_come_back_in_order():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 6))  # without a norm the order must not matter
    encoder.features_dim = 6
    method, x = MoCo(encoder, dim=8, K=32, bn_splits=4), pictures(16, 1)
    torch.testing.assert_close(method.keys(x), F.normalize(method.f_k(x), dim=1))


def test_f_k_keeps_its_own_batch_norm_statistics():
    method = tiny()
    method.loss([pictures(4, 1), pictures(4, 2) / 10])
    q, k = method.encoder[0][1], method.f_k[0][0][1]
    assert q.num_batches_tracked == k.num_batches_tracked == 1 and not torch.allclose(q.running_mean, k.running_mean)


def test_eval_mode_changes_nothing():
    method = tiny().eval()
    nn.init.ones_(method.projector[0].weight)  # so that f_k would have somewhere to move
    before = copy.deepcopy(method.state_dict())
    method.loss([pictures(4, 1), pictures(4, 2)])
    assert all(torch.equal(v, before[k]) for k, v in method.state_dict().items())


def test_the_queue_wraps_around_and_holds_unit_keys():
    method = tiny(K=10, dim=2)
    assert torch.allclose(method.queue.norm(dim=0), torch.ones(10))
    for batch in range(3):
        method.enqueue(torch.arange(4.0)[:, None].repeat(1, 2) + 10 * batch)
    assert method.queue[0].tolist() == [22, 23, 2, 3, 10, 11, 12, 13, 20, 21] and method.queue_ptr.tolist() == [2]


def test_the_head_is_v2_s_or_v1_s():
    assert [type(m) for m in tiny().projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert [m.bias is not None for m in tiny(mlp=False).projector] == [True]


@pytest.mark.parametrize("wrong", [dict(K=0), dict(m=1.5), dict(T=0), dict(bn_splits=0)])
def test_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        tiny(**wrong)


def test_refuses_more_keys_than_the_queue_has_room_for():
    with pytest.raises(ValueError, match="8 keys, more than the queue's K=6"):
        tiny(K=6, symmetric=True).loss([pictures(4, 1), pictures(4, 2)])


def test_split_batch_norm_is_batch_norm_of_each_part():
    x = torch.randn(10, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    split = SplitBatchNorm2d(3, splits=2).double()
    plain = [nn.BatchNorm2d(3).double() for _ in range(2)]
    expected = torch.cat([norm(part) for norm, part in zip(plain, x.chunk(2))])
    torch.testing.assert_close(split(x), expected)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(split, name), sum(getattr(norm, name) for norm in plain) / 2)
    assert split.num_batches_tracked == 1
    same = nn.BatchNorm2d(3).double()
    same.load_state_dict(split.state_dict())
    torch.testing.assert_close(split.eval()(x), same.eval()(x))


def test_split_batch_norm_of_uneven_and_small_batches():
    x = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    y = SplitBatchNorm2d(3, splits=2)(x)
    for part in (y[:4], y[4:]):
        torch.testing.assert_close(part.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(SplitBatchNorm2d(3, splits=8)(x[:3]), nn.BatchNorm2d(3)(x[:3]))
    with pytest.raises(ValueError, match="splits"):
        SplitBatchNorm2d(3, splits=0)


def test_conversion_keeps_the_weights():
    encoder = ConvNet(width=2)
    encoder(pictures(4, 0))
    state = copy.deepcopy(encoder.state_dict())
    plain, split = copy.deepcopy(encoder).eval(), split_batch_norm(encoder, 4)
    assert split is encoder and split.training and all(m.training for m in split.modules())
    assert sum(isinstance(m, SplitBatchNorm2d) and m.splits == 4 for m in split.modules()) == 5
    assert all(torch.equal(v, state[k]) for k, v in split.state_dict().items())
    torch.testing.assert_close(split.eval()(pictures(4, 1)), plain(pictures(4, 1)))
    assert not any(isinstance(m, SplitBatchNorm2d) for m in tiny().modules())  # bn_splits=1


def own_batch_found(bn_splits, shuffle, monkeypatch, batches=64, n=64, channels=16):
    """How often the key nearest to a query is the one of its own batch, though their pictures are all the same grey.

    Row 0 of every batch is that grey picture: whatever tells its keys apart is the batch it was normalised with.
    """
    if not shuffle:
        monkeypatch.setattr(torch, "randperm", torch.arange)
    g = torch.Generator().manual_seed(0)
    encoder = nn.Sequential(nn.BatchNorm2d(channels, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder.features_dim = channels
    method = MoCo(encoder, dim=channels, K=n, mlp=False, bn_splits=bn_splits)
    for head in (method.projector[0], method.f_k[1][0]):  # let the norm's output through
        nn.init.eye_(head.weight)
        nn.init.zeros_(head.bias)
    q, k = [], []
    torch.manual_seed(0)
    for _ in range(batches):
        images = torch.randn(n, channels, 2, 2, generator=g)
        images[0] = 0
        view1, view2 = (images + 0.1 * torch.randn(images.shape, generator=g) * (images != 0) for _ in range(2))
        q.append(method.queries(view1)[0])
        k.append(method.keys(view2)[0])
    nearest = (torch.stack(q) @ torch.stack(k).T).argmax(dim=1)
    return (nearest == torch.arange(batches)).float().mean().item()


def test_batch_norm_leaks_which_key_shares_the_batch_unless_split_and_shuffled(monkeypatch):
    assert own_batch_found(1, False, monkeypatch) == 1  # a query finds its key without looking at a picture
    assert own_batch_found(8, False, monkeypatch) == 1  # splitting alone: query and key share a part
    monkeypatch.undo()
    assert own_batch_found(1, True, monkeypatch) == 1  # shuffling alone changes no mean
    assert own_batch_found(8, True, monkeypatch) < 0.15  # chance is 1 / 64
