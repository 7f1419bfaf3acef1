"""A traced graph of PyTorch's operations as an ONNX model, one operation after the other.

`torch.onnx.export` knows more operations and takes half a minute of a core for a training step; this takes a second.
Shapes are fixed, what does not hang on the inputs is computed here, and an operation without an entry in `OPERATIONS`
is refused by its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from sslbook.export import OPSET

# what they give hangs on the shape of their input alone
SHAPES_ONLY = ("zeros_like", "ones_like", "new_empty_strided", "new_zeros", "fill")
MEAN = 1  # PyTorch's number for a loss that is a mean


class Ref(str):
    """The name of a value that hangs on the inputs."""


class Writer:
    """Collects nodes and constants; what is written may be named by `Ref`, or be a tensor or number that is known."""

    def __init__(self):
        self.nodes: list[Any] = []
        self.constants: dict[tuple, tuple[str, Tensor]] = {}
        self.names = 0
        self.shapes: dict[str, tuple[int, ...]] = {}

    def shape(self, x: Any) -> tuple[int, ...]:
        return self.shapes[x] if isinstance(x, Ref) else tuple(x.shape)

    def add(self, operation: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """An operation of ONNX; a `Ref`, or several for several outputs."""
        from onnx import helper

        made = [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operation, [self.as_input(x) for x in inputs], made, **attributes))
        return made[0] if outputs == 1 else made

    def name(self) -> Ref:
        self.names += 1
        return Ref(f"x{self.names}")

    def as_input(self, x: Any) -> str:
        if isinstance(x, Ref):
            return x
        if isinstance(x, list | tuple):
            x = torch.tensor(x, dtype=torch.int64)
        elif not isinstance(x, Tensor):
            x = torch.tensor(float(x))
        x = x.detach().contiguous()
        key = (x.dtype, tuple(x.shape), x.numpy().tobytes())
        if key not in self.constants:
            self.constants[key] = (f"c{len(self.constants)}", x)
        return self.constants[key][0]


def write(
    graph: GraphModule, inputs: Sequence[Tensor], input_names: Sequence[str], output_names: Sequence[str]
) -> bytes:
    """The graph for inputs of these shapes as an ONNX model.

    Raises:
        ImportError: onnx is missing.
        NotImplementedError: an operation has no entry here.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise ImportError(f"exporting to ONNX needs {error.name}; run: pip install onnx onnxscript") from error
    writer = Writer()
    known = dict(zip((node for node in graph.graph.nodes if node.op == "placeholder"), inputs))
    refs: dict[Node, Any] = {node: Ref(name) for node, name in zip(known, input_names)}
    writer.shapes |= {name: tuple(x.shape) for name, x in zip(input_names, inputs)}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            known[node] = getattr(graph, node.target)
        elif node.op == "call_function" and "profiler" not in str(node.target):
            _convert(writer, node, known, refs)
    (outputs,) = (node.args[0] for node in graph.graph.nodes if node.op == "output")
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    for node, name in zip(outputs, output_names):
        source = refs.get(node, known[node])
        writer.nodes.append(helper.make_node("Identity", [writer.as_input(source)], [name]))

    def described(names: Sequence[str], tensors: Sequence[Tensor]) -> list:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(x.shape)) for n, x in zip(names, tensors)]

    constants = [numpy_helper.from_array(x.numpy(), name) for name, x in writer.constants.values()]
    made = helper.make_graph(
        writer.nodes,
        "step",
        described(input_names, inputs),
        described(output_names, [known[node] for node in outputs]),
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return model.SerializeToString()


def _convert(writer: Writer, node: Node, known: dict[Node, Any], refs: dict[Node, Any]) -> None:
    """Compute a node's value for the example, and write it down if it hangs on the inputs."""
    values = torch.fx.map_arg((node.args, node.kwargs), lambda n: known[n])
    known[node] = node.target(*values[0], **values[1])
    name = node.target.__name__.split(".")[0]
    if name in SHAPES_ONLY or not any(n in refs for n in node.all_input_nodes):
        return
    arguments, options = torch.fx.map_arg((node.args, node.kwargs), lambda n: refs.get(n, known[n]))
    if name == "getitem":
        refs[node] = arguments[0][arguments[1]]
    elif name in OPERATIONS:
        refs[node] = OPERATIONS[name](writer, known[node], *arguments, **options)
        if isinstance(refs[node], Ref):
            writer.shapes[refs[node]] = tuple(known[node].shape)
    else:
        raise NotImplementedError(
            f"{node.target} has no form in ONNX yet: add it to OPERATIONS of sslbook/onnx_writer.py"
        )


# -- operations: function(writer, what it gives for the example, arguments...) to the name of what it gives


def elementwise(operation: str) -> Callable[..., Ref]:
    return lambda w, out, *inputs, **options: w.add(operation, *inputs)


def same(w: Writer, out: Tensor, x: Any, *_: Any, **options: Any) -> Any:
    return x


def reshape(w: Writer, out: Tensor, x: Any, *_: Any) -> Any:
    return x if w.shape(x) == tuple(out.shape) else w.add("Reshape", x, list(out.shape))


def expand(w: Writer, out: Tensor, x: Any, *_: Any) -> Any:
    return x if w.shape(x) == tuple(out.shape) else w.add("Expand", x, list(out.shape))


def copy(w: Writer, out: Tensor, x: Any, source: Any) -> Any:
    return expand(w, out, source)


def add(w: Writer, out: Tensor, a: Any, b: Any, alpha: float = 1) -> Ref:
    return w.add("Add", a, b if alpha == 1 else w.add("Mul", b, alpha))


def subtract(w: Writer, out: Tensor, a: Any, b: Any, alpha: float = 1) -> Ref:
    return w.add("Sub", a, b if alpha == 1 else w.add("Mul", b, alpha))


def subtract_from(w: Writer, out: Tensor, a: Any, b: Any) -> Ref:
    return w.add("Sub", b, a)


def power(w: Writer, out: Tensor, a: Any, b: Any) -> Any:
    if b == 1:
        return a
    return w.add("Mul", a, a) if b == 2 else w.add("Pow", a, b)


def inverse_root(w: Writer, out: Tensor, x: Any) -> Ref:
    return w.add("Reciprocal", w.add("Sqrt", x))


def clamp(w: Writer, out: Tensor, x: Any, least: Any = None, most: Any = None) -> Any:
    x = x if least is None else w.add("Max", x, least)
    return x if most is None else w.add("Min", x, most)


def where_not(w: Writer, out: Tensor, x: Any, mask: Any, value: Any) -> Ref:
    return w.add("Where", mask, value, x)


def behind_threshold(w: Writer, out: Tensor, gradient: Any, x: Any, threshold: float) -> Ref:
    return w.add("Where", w.add("LessOrEqual", x, threshold), 0.0, gradient)


def lerp(w: Writer, out: Tensor, a: Any, b: Any, weight: Any) -> Ref:
    return w.add("Add", a, w.add("Mul", w.add("Sub", b, a), weight))


def with_product(operation: str) -> Callable[..., Ref]:
    def written(w: Writer, out: Tensor, x: Any, a: Any, b: Any, value: float = 1) -> Ref:
        product = w.add(operation, a, b)
        return w.add("Add", x, product if value == 1 else w.add("Mul", product, value))

    return written


def linear(w: Writer, out: Tensor, bias: Any, a: Any, b: Any) -> Ref:
    return w.add("Add", w.add("MatMul", a, b), bias)


def transpose(w: Writer, out: Tensor, x: Any, axes: Sequence[int] = (1, 0)) -> Ref:
    return w.add("Transpose", x, perm=list(axes))


def shift(w: Writer, out: Tensor, x: Any, sizes: Sequence[int], value: float = 0.0) -> Ref:
    """PyTorch names the last axis first, and an axis' start and end together."""
    axes = len(out.shape)
    pairs = [(0, 0)] * (axes - len(sizes) // 2) + list(zip(sizes[::2], sizes[1::2]))[::-1]
    return w.add("Pad", x, [start for start, _ in pairs] + [end for _, end in pairs], value)


def cut(w: Writer, out: Tensor, x: Any, axis: int = 0, start: int = 0, end: int = 2**62, step: int = 1) -> Any:
    if w.shape(x) == tuple(out.shape):
        return x
    bounds = [[start or 0], [end], [axis], [step]]
    return w.add("Slice", x, *bounds)


def uncut(
    w: Writer, out: Tensor, gradient: Any, shape: Sequence[int], axis: int, start: int, end: int, step: int
) -> Ref:
    if step != 1:
        raise NotImplementedError("the gradient of a slice has a form here for steps of 1 only")
    before, after = [0] * len(shape), [0] * len(shape)
    before[axis], after[axis] = start, shape[axis] - start - w.shape(gradient)[axis]
    return w.add("Pad", gradient, before + after, 0.0)


def select(w: Writer, out: Tensor, x: Any, axis: int, place: int) -> Ref:
    if w.shape(x)[axis] == 1:
        return reshape(w, out, x)
    return w.add("Gather", x, torch.tensor(place), axis=axis)


def split(w: Writer, out: Sequence[Tensor], x: Any, sizes: Any, axis: int = 0) -> list[Ref]:
    parts = w.add("Split", x, [part.shape[axis] for part in out], outputs=len(out), axis=axis)
    for part, like in zip(parts, out):
        w.shapes[part] = tuple(like.shape)
    return parts


def unbind(w: Writer, out: Sequence[Tensor], x: Any, axis: int = 0) -> list[Ref]:
    parts = w.add("Split", x, [1] * len(out), outputs=len(out), axis=axis)
    parts = [w.add("Reshape", part, list(like.shape)) for part, like in zip(parts, out)]
    for part, like in zip(parts, out):
        w.shapes[part] = tuple(like.shape)
    return parts


def concatenate(w: Writer, out: Tensor, parts: Sequence[Any], axis: int = 0) -> Ref:
    return w.add("Concat", *parts, axis=axis)


def stack(w: Writer, out: Tensor, parts: Sequence[Any], axis: int = 0) -> Ref:
    shape = list(out.shape)
    shape[axis] = 1
    return w.add("Concat", *(w.add("Reshape", part, shape) for part in parts), axis=axis)


def reduce(operation: str) -> Callable[..., Ref]:
    def written(w: Writer, out: Tensor, x: Any, axes: Sequence[int] = (), keep: bool = False, **options: Any) -> Ref:
        return w.add(operation, x, *([list(axes)] if axes else []), keepdims=int(keep))

    return written


def norm(w: Writer, out: Tensor, x: Any, order: float = 2, axes: Sequence[int] = (), keep: bool = False) -> Ref:
    if order != 2:
        raise NotImplementedError(f"of norms only the Euclidean one has a form here, got {order}")
    return w.add("ReduceL2", x, list(axes), keepdims=int(keep))


def log_softmax(w: Writer, out: Tensor, x: Any, axis: int, half: bool) -> Ref:
    return w.add("LogSoftmax", x, axis=axis)


def log_softmax_backward(w: Writer, out: Tensor, gradient: Any, output: Any, axis: int, dtype: Any) -> Ref:
    total = w.add("ReduceSum", gradient, [axis], keepdims=1)
    return w.add("Sub", gradient, w.add("Mul", w.add("Exp", output), total))


def diagonal(w: Writer, out: Tensor, x: Any) -> Ref:
    n = len(out)
    bounds = [[0], [n * n], [0], [n + 1]]
    return w.add("Slice", w.add("Reshape", x, [n * n]), *bounds)


def diagonal_backward(w: Writer, out: Tensor, gradient: Any, *_: Any) -> Ref:
    column = w.add("Reshape", gradient, [len(out), 1])
    return w.add("Where", torch.eye(len(out), dtype=torch.bool), column, 0.0)


def only_mean(reduction: int) -> None:
    if reduction != MEAN:
        raise NotImplementedError("of losses only the mean over a batch has a form here, no sum and no single values")


def likelihood(w: Writer, out: Any, log_p: Any, target: Tensor, weight: None, reduction: int, ignored: int) -> list:
    only_mean(reduction)
    rows, classes = w.shape(log_p)
    chosen = w.add("Where", F.one_hot(target, classes).bool(), log_p, 0.0)  # a product would make nan of -inf
    return [w.add("Mul", w.add("ReduceSum", chosen, keepdims=0), -1 / rows), out[1]]


def likelihood_backward(w: Writer, out: Tensor, gradient: Any, log_p: Any, target: Tensor, *_: Any) -> Ref:
    return w.add("Mul", gradient, -F.one_hot(target, out.shape[1]) / len(out))


def variance(w: Writer, out: Tensor, x: Any, axes: Sequence[int], correction: float = 1, keepdim: bool = False) -> Ref:
    count = math.prod(w.shape(x)[axis] for axis in axes)
    away = w.add("Sub", x, w.add("ReduceMean", x, list(axes), keepdims=1))
    total = w.add("ReduceSum", w.add("Mul", away, away), list(axes), keepdims=int(keepdim))
    return w.add("Div", total, count - correction)


def squared_error(w: Writer, out: Tensor, x: Any, y: Any, reduction: int = MEAN) -> Ref:
    only_mean(reduction)
    away = w.add("Sub", x, y)
    return w.add("ReduceMean", w.add("Mul", away, away), keepdims=0)


def squared_error_backward(w: Writer, out: Tensor, gradient: Any, x: Any, y: Any, reduction: int) -> Ref:
    only_mean(reduction)
    return w.add("Mul", w.add("Mul", gradient, 2 / out.numel()), w.add("Sub", x, y))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "_log_softmax": log_softmax,
    "_log_softmax_backward_data": log_softmax_backward,
    "_unsafe_view": reshape,
    "abs": elementwise("Abs"),
    "add": add,
    "addcdiv": with_product("Div"),
    "addcmul": with_product("Mul"),
    "addmm": linear,
    "alias": same,
    "cat": concatenate,
    "clamp": clamp,
    "clamp_min": clamp,
    "clone": same,
    "constant_pad_nd": shift,
    "copy": copy,
    "detach": same,
    "diagonal": diagonal,
    "diagonal_backward": diagonal_backward,
    "div": elementwise("Div"),
    "eq": elementwise("Equal"),
    "exp": elementwise("Exp"),
    "expand": expand,
    "ge": elementwise("GreaterOrEqual"),
    "gt": elementwise("Greater"),
    "le": elementwise("LessOrEqual"),
    "lerp": lerp,
    "linalg_vector_norm": norm,
    "log": elementwise("Log"),
    "lt": elementwise("Less"),
    "masked_fill": where_not,
    "mean": reduce("ReduceMean"),
    "mm": elementwise("MatMul"),
    "mse_loss": squared_error,
    "mse_loss_backward": squared_error_backward,
    "mul": elementwise("Mul"),
    "neg": elementwise("Neg"),
    "nll_loss_backward": likelihood_backward,
    "nll_loss_forward": likelihood,
    "permute": transpose,
    "pow": power,
    "reciprocal": elementwise("Reciprocal"),
    "relu": elementwise("Relu"),
    "rsqrt": inverse_root,
    "rsub": subtract_from,
    "select": select,
    "slice": cut,
    "slice_backward": uncut,
    "split": split,
    "split_with_sizes": split,
    "sqrt": elementwise("Sqrt"),
    "squeeze": reshape,
    "stack": stack,
    "sub": subtract,
    "sum": reduce("ReduceSum"),
    "t": transpose,
    "threshold_backward": behind_threshold,
    "unbind": unbind,
    "unsqueeze": reshape,
    "var": variance,
    "view": reshape,
    "where": elementwise("Where"),
}
