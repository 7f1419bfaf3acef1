"""A training step as an ONNX graph, run by onnxruntime, against PyTorch's own."""

import functools
import json
import math

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from conftest import THOROUGH
from torch import nn

from sslbook import evaluate, in_page, playground
from sslbook.encoders import ConvNet
from sslbook.methods import METHODS, SimCLR
from sslbook.optim import warmup_cosine
from sslbook.patients import to_z
from sslbook.pretrain import OPTIMIZERS

VIEWS = (2, 16, 3, 16, 16)
LR = 3e-3  # a faster training magnifies the last digits step by step
NAMES = playground.playable()
# the weekly run takes every method with both optimizers, the others each with one
WITH_MOMENTUM, WITH_ADAM = (NAMES, NAMES) if THOROUGH else (NAMES[::2], NAMES[1::2])
VARIANTS = [(name, part) for name in NAMES for part in (None, *playground.PLAYS[name].parts)]


@functools.cache
def exported(name, optimizer):
    return in_page.training_step(METHODS[name].make_tiny(), VIEWS, optimizer=optimizer, weight_decay=1e-2)


def filled(method, graph):
    """The method with the weights of the graph's start."""
    state = in_page.start(graph.parts, seed=3)
    tensors = in_page.unpacked(state, graph.parts)
    method.load_state_dict({name: tensors.get(name, x) for name, x in method.state_dict().items()})
    return method.train(), state


def settings(graph, method, k):
    rate = LR * warmup_cosine(k, 10, 2)
    dials = {name: torch.tensor(getattr(method, name)) for name in graph.inputs[3:]}
    return dict(lr=torch.tensor(LR), rate=torch.tensor(rate)) | dials


def pytorch(method, optimizer, views, lr, rate):
    """A step as pretrain.Run takes it."""
    for group in optimizer.param_groups:
        group["lr"] = float(lr if group.get("constant_lr") else rate) * group.get("lr_scale", 1)
    terms = method.loss(list(views))
    terms = terms if isinstance(terms, dict) else {"loss": terms}
    optimizer.zero_grad()
    terms["loss"].backward()
    method.before_step()
    optimizer.step()
    method.after_step(0.0)
    return {name: term.item() for name, term in terms.items()}


@pytest.mark.parametrize("name", WITH_MOMENTUM)
def test_ten_steps_with_momentum_are_pytorch_s(name):
    graph = exported(name, "sgd")
    for k, (ours, theirs) in enumerate(steps(name, "sgd", graph, 10)):
        for key, x in ours.items():
            # the momentum's last digits are those of all gradients before
            off = 1e-4 if k == 0 or " of " not in key else 5e-4
            torch.testing.assert_close(x, theirs[key], rtol=1e-4, atol=off, msg=f"step {k}, {key}")


@pytest.mark.parametrize("name", WITH_ADAM)
def test_ten_steps_of_adam_are_pytorch_s_each_from_the_same_state(name):
    """Where a gradient is 0 but for rounding, as of a bias that batch norm takes away, Adam goes either way."""
    graph = exported(name, "adamw")
    for k, (ours, theirs) in enumerate(steps(name, "adamw", graph, 10, together=True)):
        for key, x in ours.items():
            parameter = key.split(" of ")[-1]
            known = theirs.get(f"exp_avg_sq of {parameter}", torch.ones(())) > 1e-12
            if "target" in key:
                known = torch.ones(()) > 0
            x, y = (torch.where(known, z, 0.0) for z in (x, theirs[key]))
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4, msg=f"step {k}, {key}")


def steps(name, optimizer, graph, count, together=False):
    """After each step all numbers of the graph's training and of PyTorch's; `together`: from PyTorch's last ones."""
    session = onnxruntime.InferenceSession(graph.model)
    method, state = filled(METHODS[name].make_tiny(), graph)
    optim = OPTIMIZERS[optimizer](method.parameter_groups(1e-2), 1.0, None)
    for k in range(count):
        views = torch.rand(VIEWS, generator=torch.Generator().manual_seed(k))
        now = settings(graph, method, k)
        inputs = dict(state=state, views=views) | now
        found = session.run(None, {key: x.numpy() for key, x in inputs.items()})
        terms = pytorch(method, optim, views, now["lr"], now["rate"])
        assert {key: x.item() for key, x in zip(graph.outputs[1:], found[1:])} == pytest.approx(
            terms, rel=1e-4, abs=1e-5
        )
        state = torch.from_numpy(found[0])
        ours, theirs = in_page.unpacked(state, graph.parts), all_tensors(method, optim)
        assert ours.keys() == theirs.keys()
        yield ours, theirs
        if together:
            state = torch.cat([theirs[part.name].flatten() for part in graph.parts])


def all_tensors(method, optimizer):
    """What the state holds, of PyTorch's own objects."""
    names = {p: name for name, p in method.named_parameters()}
    found = {
        name: x.detach() for name, x in (*method.named_parameters(), *method.named_buffers()) if x.is_floating_point()
    }
    for p, kept in optimizer.state.items():
        found |= {f"{key} of {names[p]}": x for key, x in kept.items()}
    return found


def test_a_dial_is_an_input():
    method = SimCLR(ConvNet(2), dim=8, temperature=0.5)
    graph = in_page.training_step(method, VIEWS, dials=["temperature"])
    session, views = onnxruntime.InferenceSession(graph.model), torch.rand(VIEWS)
    for temperature in (0.5, 0.07):
        method, state = filled(SimCLR(ConvNet(2), dim=8, temperature=temperature), graph)
        now = dict(lr=torch.tensor(0.0), rate=torch.tensor(0.0), temperature=torch.tensor(temperature))
        found = session.run(["loss"], {key: x.numpy() for key, x in (dict(state=state, views=views) | now).items()})
        assert found[0].item() == pytest.approx(method.loss(list(views)).item(), rel=1e-5)


def test_the_embeddings_are_those_that_python_judges():
    method = METHODS["BYOL"].make_tiny()
    images = torch.rand(6, 3, 32, 32)
    for graph, expected in (
        (in_page.features(method, images.shape), lambda m: evaluate.embed(m.encoder, images)),
        (
            in_page.embeddings(method, images.shape),
            lambda m: F.normalize(evaluate.embed_batch(m.online, images), dim=1),
        ),
    ):
        filled_in, state = filled(method, graph)
        session = onnxruntime.InferenceSession(graph.model)
        (found,) = session.run(None, {"state": state.numpy(), "images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), expected(filled_in), rtol=1e-4, atol=1e-5)


def test_a_page_draws_the_weights_that_pytorch_draws():
    method = METHODS["BYOL"].make_tiny()
    graph = exported("BYOL", "sgd")
    tensors = in_page.unpacked(in_page.start(graph.parts), graph.parts)
    for name, x in method.named_parameters():
        assert tensors[name].shape == x.shape
        if x.numel() > 100:
            assert tensors[name].std().item() == pytest.approx(x.std().item(), rel=0.2), name
    target = {name: x for name, x in tensors.items() if name.startswith("target.0")}
    for name, x in target.items():
        assert torch.equal(x, tensors[name.replace("target.0", "encoder")])


def test_what_can_t_be_traced_is_refused():
    with pytest.raises(NotImplementedError, match="only plain ones"):
        in_page.features(
            SimCLR(nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), dim=4),
            (2, 3, 32, 32),
        )
    odd = SimCLR(ConvNet(2), dim=8)
    nn.init.normal_(odd.projector[0].weight)
    with pytest.raises(ValueError, match=r"projector\.0\.weight of a Linear does not begin as PyTorch has it"):
        in_page.training_step(odd, VIEWS)


# -- the graphs that lie in the package


def test_every_graph_of_the_playground_is_there():
    _, index = playground.stored()
    steps = {playground.variant(name, part) for name, part in VARIANTS}
    assert index.keys() == {"features"} | {f"{name} z" for name in NAMES} | steps


@pytest.mark.parametrize("name, part", VARIANTS)
def test_a_graph_of_the_package_makes_the_step_of_pytorch(name, part):
    """If not: python -m tools.graphs."""
    content, index = playground.stored()
    places = index[playground.variant(name, part)]
    train = playground.recipe(name).train
    dials = [dial.name for dial in playground.PLAYS[name].dials if part != "negatives"]
    step = in_page.Step(playground.make(name, part), train["optimizer"], train["weight_decay"], dials)
    parts = [*in_page.method_parts(step.method), *in_page.memory_parts(step)]
    told = [[p.name, math.prod(p.shape), *p.start] for p in parts]
    assert json.loads(playground.piece(content, places["parts"])) == told
    method, state = step.method, in_page.start(parts, seed=3)
    tensors = in_page.unpacked(state, parts)
    method.load_state_dict({key: tensors.get(key, x) for key, x in method.state_dict().items()})

    given = dict(lr=LR, rate=LR / 2) | {dial: getattr(method, dial) for dial in dials}
    given = {key: torch.tensor(x) for key, x in given.items()} | dict(state=state)
    session = onnxruntime.InferenceSession(playground.piece(content, places["model"]))
    began = {key: x.clone() for key, x in method.state_dict().items()}

    def off(seed):
        """How far gradients, which exp_avg keeps, are from PyTorch's at most, as a share of a tensor's largest."""
        method.load_state_dict(began)
        shape = (2, playground.PLAYS[name].batch, 3, playground.SIZE, playground.SIZE)
        given["views"] = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
        moved, loss, *_ = session.run(None, {key: x.numpy() for key, x in given.items()})
        optimizer = OPTIMIZERS[train["optimizer"]](method.parameter_groups(train["weight_decay"]), 1.0, None)
        terms = pytorch(method, optimizer, given["views"], given["lr"], given["rate"])
        assert loss.item() == pytest.approx(terms["loss"], rel=1e-4, abs=1e-5)
        ours, theirs = in_page.unpacked(torch.from_numpy(moved), parts), all_tensors(method, optimizer)
        gradients = {key: x for key, x in theirs.items() if "exp_avg" in key}
        return max(((ours[key] - x).abs().max() / (x.abs().max() + 1e-4)).item() for key, x in gradients.items())

    # of 100,000 activations one may lie so near to 0 that a last digit decides whether the ReLU lets it through
    assert min(off(seed) for seed in (1, 2, 3)) < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_embeddings_of_the_package_are_those_of_python(name):
    content, index = playground.stored()
    images = torch.rand(playground.WATCHED, 3, 32, 32)
    method = playground.make(name)
    state = torch.cat([dict(method.state_dict())[part.name].flatten() for part in in_page.method_parts(method)])
    session = onnxruntime.InferenceSession(playground.piece(content, index[f"{name} z"]["model"]))
    (found,) = session.run(None, {"state": state.numpy(), "images": images.numpy()})
    expected = F.normalize(evaluate.embed_batch(to_z(method), images), dim=1)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)
