"""Convolution and batch norm with their gradients, in operations that ONNX has: slices, sums and matrix products.

For tracing (`in_page`): `DECOMPOSITIONS` says what stands for an operation of PyTorch's. Inside, a batch of pictures
(n, C, H, W) lies as (C, H, W, n): then a shifted copy moves whole runs of n numbers, one matrix product serves all
pictures, and the mean over a channel is that of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


def channels_first(x: Tensor) -> Tensor:
    """(n, C, H, W) to (C, H, W, n), or (n, C) to (C, n)."""
    return x.permute(*range(1, x.ndim), 0)


def channels_second(x: Tensor) -> Tensor:
    """The way back."""
    return x.permute(x.ndim - 1, *range(x.ndim - 1))


# -- convolution


def shifted(x: Tensor, sides: Sequence[int], stride: int, size: Sequence[int]) -> Tensor:
    """What each place of the kernel sees: padded x (C, H, W, n) to (kh kw C, h w n), for outputs of `size` (h, w)."""
    (kh, kw), (h, w) = sides, size
    tall, wide = 1 + stride * (h - 1), 1 + stride * (w - 1)
    copies = [x[:, i : i + tall : stride, j : j + wide : stride] for i in range(kh) for j in range(kw)]
    return torch.cat(copies).flatten(1)


def unshifted(copies: Tensor, sides: Sequence[int], stride: int, size: Sequence[int], whole: Sequence[int]) -> Tensor:
    """The transpose of `shifted`: each copy goes back to where it came from, and what meets is added up.

    (kh kw C, h w n) to (C, H, W, n), `whole` = (H, W). With a stride of s, the kernel's places fall on s x s grids,
    which are filled one by one and woven together.
    """
    (kh, kw), (height, width) = sides, whole
    parts = copies.view(len(copies), *size, -1).split(len(copies) // (kh * kw))
    tall, wide = -(-height // stride), -(-width // stride)  # of a grid
    rows = []
    for a in range(stride):
        columns = []
        for b in range(stride):
            places = [(i, j) for i in range(a, kh, stride) for j in range(b, kw, stride)]
            own = {(i // stride, j // stride): parts[kw * i + j] for i, j in places}
            columns.append(summed(own, tall, wide))
        rows.append(woven(columns, dim=2))
    return woven(rows, dim=1)[:, :height, :width]


def summed(parts: dict[tuple[int, int], Tensor], tall: int, wide: int) -> Tensor:
    """Pictures (C, h, w, n), each moved down and right by its key, in one sum (C, tall, wide, n)."""
    total = None
    for (down, right), part in parts.items():
        h, w = part.shape[1:3]
        moved = F.pad(part, (0, 0, right, wide - w - right, down, tall - h - down))
        total = moved if total is None else total + moved
    return total


def woven(parts: list[Tensor], dim: int) -> Tensor:
    """Their entries in turn along an axis."""
    return parts[0] if len(parts) == 1 else torch.stack(parts, dim + 1).flatten(dim, dim + 1)


def as_matrix(weight: Tensor) -> Tensor:
    """(O, C, kh, kw) to (O, kh kw C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    if transposed or groups != 1 or set(dilation) != {1} or len(set(stride)) > 1 or len(set(padding)) > 1:
        raise NotImplementedError("of convolutions only plain ones are traced: one group, no dilation, alike both ways")
    (n, _, height, width), sides = x.shape, weight.shape[2:]
    size = [(side + 2 * padding[0] - k) // stride[0] + 1 for side, k in zip((height, width), sides)]
    columns = shifted(padded(x, padding[0]), sides, stride[0], size)
    y = as_matrix(weight) @ columns
    if bias is not None:
        y = y + bias[:, None]
    return channels_second(y.view(len(weight), *size, n))


def convolution_backward(
    gradient, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, mask
):
    size, sides = gradient.shape[2:], weight.shape[2:]
    g = channels_first(gradient).flatten(1)  # (O, h w n)
    to_x = to_weight = to_bias = None
    if mask[0]:
        p, (height, width) = padding[0], x.shape[2:]
        whole = (height + 2 * p, width + 2 * p)
        to_padded = unshifted(as_matrix(weight).T @ g, sides, stride[0], size, whole)
        to_x = channels_second(to_padded[:, p : p + height, p : p + width])
    if mask[1]:
        columns = shifted(padded(x, padding[0]), sides, stride[0], size)
        to_weight = (g @ columns.T).view(len(weight), *sides, -1).permute(0, 3, 1, 2)
    if mask[2]:
        to_bias = g.sum(1)
    return to_x, to_weight, to_bias


def padded(x: Tensor, by: int) -> Tensor:
    """(n, C, H, W) to (C, H + 2 by, W + 2 by, n)."""
    return F.pad(channels_first(x), (0, 0, by, by, by, by))


# -- batch norm


def batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps):
    rows = channels_first(x).flatten(1)
    if training:
        mean = rows.mean(1, keepdim=True)
        centred = rows - mean
        variance = centred.square().mean(1, keepdim=True)
        if running_mean is not None:
            count = rows.shape[1]
            running_mean.mul_(1 - momentum).add_(mean[:, 0] * momentum)
            running_var.mul_(1 - momentum).add_(variance[:, 0] * (momentum * count / (count - 1)))
    else:
        centred, variance = rows - running_mean[:, None], running_var[:, None]
        mean = running_mean[:, None]
    deviation = (variance + eps).rsqrt()
    y = centred * (deviation if weight is None else deviation * weight[:, None])
    if bias is not None:
        y = y + bias[:, None]
    return like(x, y), mean[:, 0], deviation[:, 0]


def batch_norm_backward(gradient, x, weight, running_mean, running_var, mean, deviation, training, eps, mask):
    if not training:
        raise NotImplementedError("only the gradient of a batch norm in training is traced")
    g, deviation = channels_first(gradient).flatten(1), deviation[:, None]
    centred = channels_first(x).flatten(1) - mean[:, None]
    to_bias = g.sum(1, keepdim=True)
    to_weight = (g * centred).sum(1, keepdim=True) * deviation
    count = g.shape[1]
    scale = deviation if weight is None else deviation * weight[:, None]
    to_x = (g - to_bias / count) * scale - centred * (scale * deviation * to_weight / count)
    return like(x, to_x), to_weight[:, 0] if mask[1] else None, to_bias[:, 0] if mask[2] else None


def like(x: Tensor, rows: Tensor) -> Tensor:
    """Rows (C, ...) as x lies: (n, C, H, W) or (n, C)."""
    return channels_second(rows.view(*x.shape[1:], len(x)))


# -- smaller things


def diagonal(x: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None) -> Tensor:
    """The view that `fill_diagonal_` takes."""
    n = len(x)
    if x.shape != (n, n) or (list(size), list(stride), offset or 0) != ([n], [n + 1], 0):
        raise NotImplementedError(f"of strided views only a diagonal is traced, got {size} with {stride} of {x.shape}")
    return x.diagonal()


def with_diagonal(x: Tensor, values: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    return torch.where(torch.eye(len(x), dtype=torch.bool), values[:, None], x)


def move_together(ours: Sequence[Tensor], theirs: Sequence[Tensor], weight: float) -> None:
    for a, b in zip(ours, theirs):
        a.lerp_(b, weight)


DECOMPOSITIONS: dict[torch._ops.OpOverload, Callable] = {
    aten.convolution.default: convolution,
    aten.convolution_backward.default: convolution_backward,
    aten.native_batch_norm.default: batch_norm,
    aten.native_batch_norm_backward.default: batch_norm_backward,
    aten._foreach_lerp_.Scalar: move_together,
    aten.as_strided.default: diagonal,
    aten.diagonal_scatter.default: with_diagonal,
}
