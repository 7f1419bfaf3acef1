"""Pictures as the widgets take them and as a page holds them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sslbook.views import Augmentation

MOST_IMAGES = 24


def check_pictures(images: Tensor, labels: Sequence[object] | None, size: int | None = None) -> list[str]:
    """The labels as text, none if there are none, of pictures to choose from.

    Args:
        images: (N, 3, H, W) uint8, N in 1..24.
        labels: a name for each, or None.
        size: what H and W must be, the size of a MAE's encoder; any if None.

    Raises:
        ValueError: images or labels have another shape, type or number.
    """
    form, reason = "(N, 3, height, width)", ""
    if size is not None:
        form, reason = f"(N, 3, {size}, {size})", ", the size of this MAE's encoder"
    got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
    fits = isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] == 3
    if fits and size is not None:
        fits = images.shape[2:] == (size, size)
    if not fits:
        raise ValueError(f"images must be a tensor {form}{reason}, got {got}; for one image pass image[None]")
    if images.dtype != torch.uint8:
        raise ValueError(
            f"images must be uint8, got {images.dtype}; for floats in [0, 1]: (255 * images).round().byte()"
        )
    if not 1 <= len(images) <= MOST_IMAGES:
        raise ValueError(f"images must hold 1 to {MOST_IMAGES} pictures, got {len(images)}; pass images[:12]")
    if labels is None:
        return []
    if len(labels) != len(images):
        raise ValueError(f"labels must name each of the {len(images)} images, got {len(labels)} names")
    return [str(label) for label in labels]


def as_fields(augmentation: Augmentation) -> dict[str, Any]:
    """An augmentation's fields as a page has them: lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(augmentation).items()}


def as_bytes(images: Tensor) -> bytes:
    """uint8 pictures as they are, one after the other."""
    return images.cpu().contiguous().numpy().tobytes()


def sheet(images: Tensor, most_side: int) -> tuple[bytes, list]:
    """Many small pictures side by side in one lossless WebP picture, and [[height, width] of a tile, tiles across].

    Args:
        images: (N, 3, H, W), uint8 or floats in [0, 1].
        most_side: larger pictures are shrunk to this height or width.

    Raises:
        ValueError: floats lie outside [0, 1].
    """
    x = _as_floats(images.detach().cpu())
    shrink = most_side / max(x.shape[2:])
    if shrink < 1:
        side = [max(1, round(shrink * s)) for s in x.shape[2:]]
        x = F.interpolate(x, size=side, mode="bilinear", antialias=True)
    n, _, height, width = x.shape
    across = min(n, 8)
    rows = -(-n // across)
    canvas = torch.zeros(rows * across, 3, height, width)
    canvas[:n] = x
    canvas = canvas.view(rows, across, 3, height, width).permute(0, 3, 1, 4, 2)
    canvas = canvas.reshape(rows * height, across * width, 3)
    file = io.BytesIO()
    Image.fromarray((255 * canvas).round().byte().numpy()).save(file, "WEBP", lossless=True)
    return file.getvalue(), [[height, width], across]


def _as_floats(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images / 255
    x = images.float()
    if not (x.min() >= 0 and x.max() <= 1):
        low, high = x.min().item(), x.max().item()
        raise ValueError(f"float images must lie in [0, 1], got [{low:.3g}, {high:.3g}]; undo the normalisation")
    return x
