"""A training step on a GPU, on a machine without one: PyTorch's fake tensors know device, type and shape, no values.

Whatever is made on the CPU and meets a tensor on the GPU is an error here, as it is there. So is whatever waits for the
GPU in a step (`.item()`, `nonzero`): a fake tensor has no value to wait for.
"""

import contextlib
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
import torch
from made_up import batch_of
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from sslbook import distributed, pretrain, views
from sslbook.images import ImageSet
from sslbook.losses import info_nce_loss
from sslbook.methods import METHODS, SimCLR, reading
from sslbook.text import TextEncoder
from sslbook.words import load_sentences

N, SIZE = 16, 32
IMAGES = ImageSet(torch.zeros(2 * N, 3, SIZE, SIZE, dtype=torch.uint8), torch.zeros(2 * N, dtype=torch.long), ["none"])
FAMILIES = [function for name, function in vars(views).items() if name.endswith("_views")]
FAMILIES = list(dict.fromkeys([*FAMILIES, *(entry.method.views for entry in reading("images").values())]))
TEXTS = load_sentences(train=2 * N, test=1)[0]
AUTOGRAD = torch.autograd.grad
each_method = pytest.mark.parametrize("name", METHODS)
each_half = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])


class PretendedGPU(FakeTensorMode):
    """A context in which device "cuda" is there. A product of two types is an error, as on a real one.

    Once `in_step` is set, a copy to it that the CPU would wait for is an error too.
    """

    PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")

    def __init__(self, lengths_may_depend_on_values=False):
        env = ShapeEnv(allow_scalar_outputs=True, allow_dynamic_output_shape_ops=True)
        super().__init__(shape_env=env if lengths_may_depend_on_values else None)
        self.in_step = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        factors = {x.dtype for x in args if isinstance(x, torch.Tensor)}
        if func._schema.name in self.PRODUCTS and len(factors) > 1:
            raise RuntimeError(f"{func} wants tensors of the same dtype, got {factors}")
        if self.in_step and func._schema.name == "aten::_to_copy" and args[0].device.type == "cpu":
            to_gpu = torch.device(kwargs.get("device") or "cpu").type == "cuda"
            if to_gpu and not kwargs.get("non_blocking"):
                raise RuntimeError("the CPU waits for the GPU until this copy is made: pass non_blocking=True")
        return super().__torch_dispatch__(func, types, args, kwargs)


def leaves(loss):
    """(leaf, its gradient), node by node: PyTorch's engine would ask the driver for streams."""
    nodes, waits_for = [loss.grad_fn], Counter()
    for node in nodes:  # grows
        for following, _ in node.next_functions:
            if following is not None:
                waits_for[following] += 1
                if waits_for[following] == 1:
                    nodes.append(following)
    arrived = defaultdict(dict)
    arrived[loss.grad_fn][0] = torch.ones_like(loss)
    ready = [loss.grad_fn]
    while ready:
        node = ready.pop()
        inputs = node._input_metadata
        gradients = [as_wanted(arrived[node].get(place), wanted) for place, wanted in enumerate(inputs)]
        if hasattr(node, "variable"):  # a leaf
            yield node.variable, gradients[0]
            continue
        made = node(*gradients)
        for (following, place), gradient in zip(node.next_functions, made if isinstance(made, tuple) else (made,)):
            if following is None:
                continue
            if gradient is not None:
                gradient = as_wanted(gradient, following._input_metadata[place])
                before = arrived[following].get(place)
                arrived[following][place] = gradient if before is None else before + gradient
            waits_for[following] -= 1
            if waits_for[following] == 0:
                ready.append(following)


@torch.no_grad()
def backward(loss):
    """`Tensor.backward`."""
    for p, gradient in leaves(loss):
        p.grad = gradient if p.grad is None else p.grad + gradient


def grad(loss, x, create_graph):
    """`torch.autograd.grad` of a scalar, for a leaf, to be differentiated once more."""
    assert create_graph
    return [gradient for leaf, gradient in leaves(loss) if leaf is x]


def as_wanted(gradient, wanted):
    """A gradient in the shape and type of what it is the gradient of, which the engine sees to."""
    if gradient is None:
        return None
    assert gradient.device == wanted.device, f"a gradient on {gradient.device} of a tensor on {wanted.device}"
    return gradient.sum_to_size(wanted.shape).to(wanted.dtype)


def apply(module, fn, recurse=True):
    """`nn.Module._apply` without its swap of two tensors in place, for which fake ones are not made."""
    for child in module.children():
        child._apply(fn)
    for name, p in module._parameters.items():
        if p is not None:
            module._parameters[name] = nn.Parameter(fn(p).detach(), p.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = fn(buffer)
    return module


@pytest.fixture(autouse=True)
def pretend(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch.autograd, "grad", grad)
    monkeypatch.setattr(nn.Module, "_apply", apply)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


class Given(views.Views):
    """Views that are there already: what a method does with them is tested, not how they are made."""

    def render(self, images, draws=None):
        return [torch.rand(len(images), 3, view.size, view.size, device=images.device) for view in self]


def train(method, monkeypatch, dtype, made, optimizer="adamw", **how):
    """Two steps of `pretrain` on a pretended GPU."""
    monkeypatch.setattr(pretrain, "_amp_dtype", lambda device: dtype)
    settings = dict(epochs=1, batch_size=N, optimizer=optimizer, lr=0.1, weight_decay=0.1, warmup_epochs=0, seed=0)
    data = TEXTS if isinstance(method.encoder, TextEncoder) else IMAGES
    batch = batch_of(data, N)
    method.before_epoch(data)
    with PretendedGPU(**how) as mode:
        method._apply(mode.from_tensor)
        method.to("cuda")
        run = pretrain.Run(method, data, made, pretrain.Settings(**settings))
        run.loss_of = pretrain._loss_module(method, compile=False)
        mode.in_step = True
        for _ in range(2):  # the second meets what the first has left behind
            run.train_step(mode.from_tensor(batch), torch.arange(N))
    return run


def draw_masks_before(method, monkeypatch):
    """Masks are drawn on the CPU, and how long they are depends on values, which fake tensors have not."""
    lengths = [x.shape for x in method.masks.draw(N)]

    def draw(masks, n):
        return [torch.zeros(shape, dtype=torch.long) for shape in lengths]

    monkeypatch.setattr(type(method.masks), "draw", draw)


@each_half
@each_method
def test_a_method_trains_on_a_gpu_and_does_not_wait_for_it(name, dtype, monkeypatch):
    method = METHODS[name].make_tiny()
    if hasattr(method, "masks"):
        draw_masks_before(method, monkeypatch)
    reads = METHODS[name].reads
    made = Given(method.views(SIZE)) if reads == "images" else method.views(*TEXTS.size)
    run = train(method, monkeypatch, dtype, made)
    assert all(terms.device.type == "cuda" and terms.dtype == torch.float32 for terms in run.terms.values())
    for state in [*method.parameters(), *method.buffers()]:
        assert state.device.type == "cuda" and state.dtype in (torch.float32, torch.int64)
    held = [p for group in method.parameter_groups(0) for p in group["params"]]
    assert any(p.grad is not None for p in held), "a layer may be frozen at first, but not all of them"


def test_a_loss_called_with_names_leaves_the_gpu_s_autocast():
    with PretendedGPU() as mode, torch.autocast("cuda", dtype=torch.bfloat16):
        z = mode.from_tensor(torch.zeros(N, 8)).to("cuda")
        assert (z @ z.mT).dtype == torch.bfloat16, "autocast is on"
        assert info_nce_loss(features=z).dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_each_family_of_views(family):
    """How many images change their colours decides how long some slices are: lengths may depend on values here."""
    with PretendedGPU(lengths_may_depend_on_values=True) as mode:
        images = torch.zeros(N, 3, 48, 40, dtype=torch.uint8, device="cuda")
        mode.in_step = True
        made = family(SIZE).render(images, torch.Generator().manual_seed(0))
        assert len(made) == len(family(SIZE))
        for augmentation, view in zip(family(SIZE), made):
            assert view.shape == (N, 3, augmentation.size, augmentation.size)
            assert view.device.type == "cuda" and view.dtype == torch.float32


@pytest.mark.parametrize("optimizer", pretrain.OPTIMIZERS)
def test_each_optimizer(optimizer, monkeypatch):
    if optimizer == "sgd":
        monkeypatch.setattr(pretrain, "can_fuse", lambda device: None)  # PyTorch's fused SGD knows no fake tensors
    method = METHODS["BYOL"].make_tiny()
    run = train(method, monkeypatch, torch.bfloat16, Given(method.views(SIZE)), optimizer)
    states = [state for p in run.optimizers["all"].state.values() for state in p.values()]
    assert states and all(state.device.type == "cuda" for state in states)


def test_what_processes_share_lies_on_the_gpu(monkeypatch):
    """NCCL moves nothing else."""
    method = METHODS["BYOL"].make_tiny()
    run = train(method, monkeypatch, torch.bfloat16, Given(method.views(SIZE)))
    run.started, run.identity, shared = 0.0, {}, []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for collective in ("all_reduce", "broadcast"):
        monkeypatch.setattr(distributed.dist, collective, lambda x, *source: shared.append(x.device.type))
    for share in (run.is_alike, run.state, run.end_epoch, lambda: distributed.broadcast_state(method)):
        before = len(shared)
        with next(method.parameters()).fake_mode, contextlib.suppress(DataDependentOutputException):
            share()
        assert len(shared) > before
    assert set(shared) == {"cuda"}


# -- these tests can fail


@pytest.mark.parametrize("name", ["BYOL", "GAN"])  # the second asks for the gradient of a gradient
def test_node_by_node_gives_the_gradients_of_autograd(name, monkeypatch):
    pictures = torch.rand(2, N, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).unbind()
    method = METHODS[name].make_tiny().eval()
    trained = [p for p in method.parameters() if p.requires_grad]

    def loss():
        torch.manual_seed(0)
        terms = method.loss(pictures[: method.takes])
        return terms["loss"] if isinstance(terms, dict) else terms

    backward(loss())
    monkeypatch.setattr(torch.autograd, "grad", AUTOGRAD)
    for p, gradient in zip(trained, torch.autograd.grad(loss(), trained)):
        torch.testing.assert_close(p.grad, gradient)


class OnTheCPU(SimCLR):
    def loss(self, views):
        weights = torch.linspace(0, 1, len(views[0]))  # without device=
        return super().loss(views) + (weights * views[0].mean(dim=(1, 2, 3))).sum()


class NoBuffer(SimCLR):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.center = torch.zeros(8)  # `.to("cuda")` does not know of it

    def loss(self, views):
        return super().loss(views) + (self.project(views[0]) - self.center).square().mean()


class Waits(SimCLR):
    def loss(self, views):
        loss = super().loss(views)
        return loss if loss.item() > 1 else 2 * loss


class WaitsForACopy(SimCLR):
    def loss(self, views):
        order = torch.randperm(len(views[0])).to(views[0].device)
        return super().loss([view[order] for view in views])


class MixesTypes(SimCLR):
    def loss(self, views):
        h = self.encoder(views[0])  # half
        with torch.autocast("cuda", enabled=False):
            return super().loss(views) + (h @ self.projector[0].weight.T).mean()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (OnTheCPU, "two devices, cpu and cuda"),
        (NoBuffer, "convert all Tensors to FakeTensors"),
        (Waits, "aten._local_scalar_dense"),
        (WaitsForACopy, "non_blocking=True"),
        (MixesTypes, "same dtype"),
    ],
)
def test_a_fault_is_seen(wrong, message, monkeypatch):
    entry = METHODS["SimCLR"]
    method = replace(entry, method=wrong).make_tiny()
    with pytest.raises((RuntimeError, AssertionError, DataDependentOutputException), match=message):
        train(method, monkeypatch, torch.bfloat16, Given(method.views(SIZE)))
