"""A whole training step as an ONNX graph, which a web page runs: traced from the method, not written again.

Views go in with all numbers that the training holds, its state; out comes the state after the step, and the loss. What
is traced is what `pretrain` does in a step: the method's loss, its gradient by autograd, the update of `torch.optim`,
the method's hooks. ONNX has no gradient of a convolution: `decompositions` says what stands for it.

>>> graph = training_step(SimCLR(ConvNet(8)), (2, 64, 3, 24, 24), dials=["temperature"])
>>> session = onnxruntime.InferenceSession(graph.model)
>>> state, loss = session.run(None, dict(state=state, views=views, lr=lr, rate=lr, temperature=tau))
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._functorch.compile_utils import fx_graph_cse
from torch.func import functional_call, functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from sslbook.decompositions import DECOMPOSITIONS
from sslbook.methods.base import Method
from sslbook.onnx_writer import write
from sslbook.optim import rate_of
from sslbook.pretrain import OPTIMIZERS


@dataclass(frozen=True)
class Part:
    """A tensor of the state: its name, its shape, and what it is at first."""

    name: str
    shape: tuple[int, ...]
    start: tuple[str, float | str]  # ("fill", value), ("uniform", bound) in (-bound, bound), or ("as", another's name)


@dataclass(frozen=True)
class Graph:
    """An ONNX model, the names of its inputs beside "state" and of its outputs, and what the state is made of."""

    model: bytes
    inputs: list[str]
    outputs: list[str]
    parts: list[Part]  # one after the other in one vector


class Dial:
    """A number that becomes an input of the graph: it computes as a tensor, and compares as the number it is now."""

    def __init__(self, tensor: Tensor, value: float):
        self.tensor, self.value = tensor, value

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        def plain(x):
            return x.tensor if isinstance(x, cls) else x

        return function(*map(plain, args), **{name: plain(x) for name, x in (kwargs or {}).items()})

    def __mul__(self, other):
        return self.tensor * other

    def __gt__(self, other):
        return self.value > other

    def __ge__(self, other):
        return self.value >= other


class Step(nn.Module):
    """A step of `pretrain`, called with tensors in the place of the method's own."""

    def __init__(self, method: Method, optimizer: str, weight_decay: float, dials: Sequence[str]):
        super().__init__()
        self.method = copy.deepcopy(method).cpu().float().train()
        self.optimizer, self.weight_decay = optimizer, weight_decay
        self.dials = {name: float(getattr(method, name)) for name in dials}

    def forward(self, memory: Mapping[str, Tensor], views: Tensor, lr: Tensor, rate: Tensor, *dials: Tensor):
        """Moves the method and the optimiser's `memory`; returns the terms of the loss."""
        for (name, value), tensor in zip(self.dials.items(), dials):
            setattr(self.method, name, Dial(tensor, value))
        terms = self.method.loss(list(views.unbind()))
        terms = terms if isinstance(terms, dict) else {"loss": terms}
        optimizer, names = self.make_optimizer(lr, rate)
        for p, gradient in zip(names, torch.autograd.grad(terms["loss"], list(names))):
            p.grad = gradient
            own = {key: tensor for key, tensor in memory.items() if key.endswith(f" of {names[p]}")}
            optimizer.state[p] = {key.removesuffix(f" of {names[p]}"): tensor for key, tensor in own.items()}
        self.method.before_step()
        optimizer.step()
        self.method.after_step(0.0)
        return terms

    def make_optimizer(self, lr: Tensor, rate: Tensor) -> tuple[torch.optim.Optimizer, dict]:
        """As `pretrain` makes it for the parameters that the method has now, and the names of those that it trains."""
        optimizer = OPTIMIZERS[self.optimizer](self.method.parameter_groups(self.weight_decay), 1.0, False)
        for group in optimizer.param_groups:  # as if there were a gradient, so that no number is read out of a tensor
            group["lr"] = rate_of(group, lr, rate).detach().requires_grad_()
            group["differentiable"] = True
        names = {p: name for name, p in self.method.named_parameters()}
        return optimizer, {p: names[p] for group in optimizer.param_groups for p in group["params"]}


def training_step(
    method: Method,
    views: tuple[int, int, int, int, int],
    *,
    optimizer: str = "adamw",
    weight_decay: float = 1e-3,
    dials: Sequence[str] = (),
) -> Graph:
    """A step of `pretrain` in float32, for batches of one size.

    Inputs are "state"; "views" of the shape `views`, (V, n, 3, H, W), in [0, 1]; "lr" and "rate", the learning rate and
    what its schedule makes of it now; a scalar for each of `dials`. Outputs are "next state" and the terms of the loss,
    "loss" first. A hook that asks for the progress hears 0.

    Args:
        method: not changed. Its layers say how the state begins; its weights do not travel.
        optimizer, weight_decay: as `pretrain` takes them.
        dials: attributes of the method, numbers that may change while it trains, such as "temperature".

    Raises:
        ValueError: a tensor begins in a way that `Part` cannot say.
        ImportError: onnx or onnxscript is missing.
    """
    step = Step(method, optimizer, weight_decay, dials)
    own, memory = method_parts(step.method), memory_parts(step)
    parts, terms = own + memory, []

    def traced(state: Tensor, *inputs: Tensor) -> list[Tensor]:
        tensors = unpacked(state, parts)
        kept = {part.name: tensors[part.name] for part in memory}
        found = functional_call(step, as_members(step.method, tensors), (kept, *inputs))
        terms[:] = found
        return [torch.cat([x.detach().flatten() for x in tensors.values()]), *found.values()]

    inputs = dict(views=torch.rand(views), lr=torch.tensor(1e-3), rate=torch.tensor(1e-3))
    inputs |= {name: torch.tensor(value) for name, value in step.dials.items()}
    module = as_functions(traced, [start(parts), *inputs.values()])
    outputs = ["next state", *terms]
    model = write(module, [start(parts), *inputs.values()], ["state", *inputs], outputs)
    return Graph(model, list(inputs), outputs, parts)


def features(method: Method, images: tuple[int, int, int, int]) -> Graph:
    """What the encoder, frozen, says of images (n, 3, H, W) in [0, 1]: as `evaluate.embed` asks. Output: "features"."""

    def forward(network: Method, x: Tensor) -> Tensor:
        return network.encoder.eval()(x)

    return _outputs(method, forward, images, "features")


def embeddings(method: Method, images: tuple[int, int, int, int]) -> Graph:
    """What the loss compares, made of length one, by this batch's statistics as `evaluate.embed_batch`. Output: "z"."""

    def forward(network: Method, x: Tensor) -> Tensor:
        project = getattr(network, "project", None) or network.online
        return F.normalize(project(x).flatten(1), dim=1)

    return _outputs(method, forward, images, "z")


class _Forward(nn.Module):
    def __init__(self, method: Method, function: Callable[[Method, Tensor], Tensor]):
        super().__init__()
        self.method, self.function = copy.deepcopy(method).cpu().float().train(), function

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.method, x)


def _outputs(method: Method, function: Callable[[Method, Tensor], Tensor], images: tuple, name: str) -> Graph:
    module = _Forward(method, function)
    parts = method_parts(module.method)

    def traced(state: Tensor, x: Tensor) -> Tensor:
        return functional_call(module, as_members(module.method, unpacked(state, parts)), (x,))

    inputs = [start(parts), torch.rand(images)]
    model = write(as_functions(traced, inputs), inputs, ["state", "images"], [name])
    return Graph(model, ["images"], [name], parts)


def as_functions(function: Callable, inputs: Sequence[Tensor]) -> GraphModule:
    """A function with its gradients as a graph of operations that change nothing in place, none of them twice."""
    traced = make_fx(function, decomposition_table=DECOMPOSITIONS)(*inputs)
    pure = make_fx(functionalize(traced), decomposition_table=DECOMPOSITIONS)(*inputs)
    pure.graph.eliminate_dead_code()
    return GraphModule(pure, fx_graph_cse(pure.graph))


# -- the state: all tensors in one vector


def unpacked(state: Tensor, parts: Sequence[Part]) -> dict[str, Tensor]:
    """The tensors by their names, copies."""
    pieces = state.split([math.prod(part.shape) for part in parts])
    return {part.name: piece.view(part.shape).clone() for part, piece in zip(parts, pieces)}


def as_members(method: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What stands for the tensors of `module.method`; those that are trained ask for a gradient."""
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    found = {}
    for name, x in (*method.named_parameters(), *method.named_buffers()):
        ours = tensors[name] if name in tensors else torch.zeros_like(x)  # else a counter, which nothing reads
        found[f"method.{name}"] = ours.requires_grad_() if name in trained else ours
    return found


def method_parts(method: nn.Module) -> list[Part]:
    """Parameters and buffers, but for counters."""
    layers = dict(method.named_modules())
    parts, known = [], {}
    for name, x in (*method.named_parameters(), *method.named_buffers()):
        if x.is_floating_point():
            layer = layers[name.rpartition(".")[0]]
            parts.append(Part(name, tuple(x.shape), _start(name, x.detach(), layer, known)))
            known[name] = x.detach()
    return parts


def memory_parts(step: Step) -> list[Part]:
    """What the optimiser keeps of each parameter: nothing at first, so zeros."""
    optimizer, names = copy.deepcopy(step).make_optimizer(torch.ones(()), torch.ones(()))
    for p in names:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    return [
        Part(f"{key} of {names[p]}", tuple(x.shape), ("fill", 0.0))
        for p, kept in optimizer.state.items()
        for key, x in kept.items()
    ]


def _start(name: str, x: Tensor, layer: nn.Module, known: Mapping[str, Tensor]) -> tuple[str, float | str]:
    if (x == x.flatten()[0]).all():
        return "fill", x.flatten()[0].item()
    for other, y in known.items():
        if torch.equal(x, y):
            return "as", other
    if isinstance(layer, nn.Linear | nn.Conv2d):  # PyTorch's own start, for weights and biases
        bound = layer.weight[0].numel() ** -0.5
        if x.abs().max() <= bound:
            return "uniform", bound
    raise ValueError(f"{name} of a {type(layer).__name__} does not begin as PyTorch has it: a page cannot draw it")


def start(parts: Iterable[Part], seed: int = 0) -> Tensor:
    """A state to begin with, drawn by what its parts say."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, Tensor] = {}
    for part in parts:
        kind, value = part.start
        if kind == "as":
            drawn[part.name] = drawn[value]
        elif kind == "fill":
            drawn[part.name] = torch.full(part.shape, value)
        else:
            drawn[part.name] = value * (2 * torch.rand(part.shape, generator=generator) - 1)
    return torch.cat([x.flatten() for x in drawn.values()])
