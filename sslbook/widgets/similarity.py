"""See a batch as InfoNCE sees it: every view compared with every other, at any temperature."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import anywidget
import torch
import torch.nn.functional as F
import traitlets
from PIL import Image
from torch import Tensor

from sslbook.widgets._source import source

MOST_VIEWS, MOST_SIDE = 128, 64
TEMPERATURES = (0.02, 2.0)


class SimilarityMatrix(anywidget.AnyWidget):
    """The cosine of all pairs of 2N views as a heat map, its softmax rows, and the InfoNCE loss they give.

    Args:
        features: (2N, D) floats, an encoder's outputs ordered [view 1; view 2]: rows i and i + N are two views of one
            image. A list of them, or a dict {epoch: features}, gives an epoch slider. They need not be normalised.
        images: (2N, 3, H, W), the views in the same order, uint8 or floats in [0, 1]; shown at 64 px at most.
        temperature: where the temperature slider starts, in [0.02, 2].
        epochs: what to call each of a list's features; 0, 1, 2, ... by default. A dict has its own keys.
        names: N names of the images, such as their classes.

    4 <= 2N <= 128. The page gets the upper triangle of each cosine matrix (float32, 8 kB for 64 views) and one
    picture of all views. The loss that is shown is `sslbook.losses.info_nce_loss(features, temperature)`. With a
    kernel, `epoch` (an index), `temperature` and `shown` ("cosine" or "probability") can be read and set.

    Raises:
        ValueError: features, images, epochs or names do not fit together, or hold what is not a number.
    """

    _esm = source("page.js", "similarity.js")
    _css = source("widgets.css")
    size = traitlets.Int().tag(sync=True)  # 2N
    triangles = traitlets.Bytes().tag(sync=True)  # (epochs, 2N (2N - 1) / 2) float32
    sheet = traitlets.Bytes().tag(sync=True)  # all views in one WebP picture
    tiles = traitlets.List().tag(sync=True)  # [[height, width] of a tile, tiles across]
    epochs = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(0.5).tag(sync=True)
    shown = traitlets.Enum(["cosine", "probability"], "cosine").tag(sync=True)

    def __init__(
        self,
        features: Tensor | Sequence[Tensor] | Mapping[object, Tensor],
        images: Tensor,
        temperature: float = 0.5,
        epochs: Sequence[object] | None = None,
        names: Sequence[str] | None = None,
        **kwargs,
    ):
        if isinstance(features, Mapping):
            if epochs is not None:
                raise ValueError("epochs are the keys of features when it is a dict; leave epochs out")
            epochs, features = list(features), list(features.values())
        else:
            features = [features] if isinstance(features, Tensor) else list(features)
            epochs = range(len(features)) if epochs is None else epochs
        if not features or len(features) != len(epochs):
            raise ValueError(f"epochs must name each of the {len(features)} features (one or more), got {len(epochs)}")
        for epoch, z in zip(epochs, features):
            _check_features(z, f"features of epoch {epoch}", len(features[0]))
        size = len(features[0])
        if images.ndim != 4 or images.shape[:2] != (size, 3):
            raise ValueError(
                f"images must be ({size}, 3, height, width), one for each row of features, got {tuple(images.shape)}; "
                "for two batches of views: torch.cat([view1, view2])"
            )
        if names is not None and len(names) != size // 2:
            raise ValueError(f"names must name each of the {size // 2} images once, got {len(names)} names")
        if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
            raise ValueError(f"temperature must lie in {TEMPERATURES}, where its slider runs, got {temperature}")

        above = torch.triu_indices(size, size, offset=1)
        unit = [F.normalize(z.detach().cpu().float(), dim=1) for z in features]
        sheet, tiles = _sheet(images.detach().cpu())
        super().__init__(
            size=size,
            triangles=torch.stack([(z @ z.T)[above[0], above[1]] for z in unit]).numpy().tobytes(),
            sheet=sheet,
            tiles=tiles,
            epochs=[str(epoch) for epoch in epochs],
            names=[str(name) for name in names] if names is not None else [],
            epoch=kwargs.pop("epoch", len(features) - 1),
            temperature=float(temperature),
            **kwargs,
        )


def _check_features(z: Tensor, what: str, size: int) -> None:
    if not isinstance(z, Tensor) or z.ndim != 2:
        got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"{what} must be a tensor (2N, D) ordered [view 1; view 2], got {got}")
    if len(z) != size:
        raise ValueError(f"{what} must have the {size} rows of the first epoch, got {len(z)}; embed the same views")
    if size % 2 or not 4 <= size <= MOST_VIEWS:
        raise ValueError(f"{what} must have an even number of rows in 4..{MOST_VIEWS}, got {size}; pass fewer images")
    if not torch.isfinite(z).all():
        raise ValueError(f"{what} must be finite, got NaN or infinity; did the training diverge?")


def _sheet(images: Tensor) -> tuple[bytes, list]:
    """All views side by side in one lossless WebP picture, and [[height, width], tiles across]."""
    if images.dtype == torch.uint8:
        x = images / 255
    else:
        x = images.float()
        if not (x.min() >= 0 and x.max() <= 1):
            low, high = x.min().item(), x.max().item()
            raise ValueError(f"float images must lie in [0, 1], got [{low:.3g}, {high:.3g}]; undo the normalisation")
    shrink = MOST_SIDE / max(x.shape[2:])
    if shrink < 1:
        side = [max(1, round(shrink * s)) for s in x.shape[2:]]
        x = F.interpolate(x, size=side, mode="bilinear", antialias=True)
    n, _, height, width = x.shape
    across = min(n, 8)
    rows = -(-n // across)
    canvas = torch.zeros(rows * across, 3, height, width)
    canvas[:n] = x
    canvas = (
        canvas.view(rows, across, 3, height, width).permute(0, 3, 1, 4, 2).reshape(rows * height, across * width, 3)
    )
    file = io.BytesIO()
    Image.fromarray((255 * canvas).round().byte().numpy()).save(file, "WEBP", lossless=True)
    return file.getvalue(), [[height, width], across]
