"""See a batch as InfoNCE sees it: every view compared with every other, at any temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from sslbook.widgets._pictures import sheet
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
        names: N names of the images, such as their classes. Where equal names stand together, the matrix shows their
            blocks and can show the means of classes.
        views: what the two halves are called, such as ("query", "key").

    4 <= 2N <= 128. The page gets the upper triangle of each cosine matrix (float32, 8 kB for 64 views) and one
    picture of all views. The loss that is shown is `sslbook.losses.info_nce_loss(features, temperature)`. With a
    kernel, `epoch` (an index), `temperature` and `shown` ("cosine", "probability" or "classes") can be read and set.

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
    views = traitlets.List().tag(sync=True)  # what a view of each half is called
    epoch = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(0.5).tag(sync=True)
    shown = traitlets.Enum(["cosine", "probability", "classes"], "cosine").tag(sync=True)

    def __init__(
        self,
        features: Tensor | Sequence[Tensor] | Mapping[object, Tensor],
        images: Tensor,
        temperature: float = 0.5,
        epochs: Sequence[object] | None = None,
        names: Sequence[str] | None = None,
        views: Sequence[str] = ("first view", "second view"),
        **kwargs,
    ):
        features, epochs = _by_epoch(features, epochs)
        size = len(features[0])
        if images.ndim != 4 or images.shape[:2] != (size, 3):
            raise ValueError(
                f"images must be ({size}, 3, height, width), one for each row of features, got {tuple(images.shape)}; "
                "for two batches of views: torch.cat([view1, view2])"
            )
        if names is not None and len(names) != size // 2:
            raise ValueError(f"names must name each of the {size // 2} images once, got {len(names)} names")
        if len(views) != 2:
            raise ValueError(f"views must name the two halves, such as ('query', 'key'), got {len(views)} names")
        if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
            raise ValueError(f"temperature must lie in {TEMPERATURES}, where its slider runs, got {temperature}")

        picture, tiles = sheet(images, MOST_SIDE)
        super().__init__(
            size=size,
            triangles=b"".join(_triangle(z) for z in features),
            sheet=picture,
            tiles=tiles,
            epochs=[str(epoch) for epoch in epochs],
            names=[str(name) for name in names] if names is not None else [],
            views=[str(view) for view in views],
            epoch=kwargs.pop("epoch", len(features) - 1),
            temperature=float(temperature),
            **kwargs,
        )


def _by_epoch(
    features: Tensor | Sequence[Tensor] | Mapping[object, Tensor], epochs: Sequence[object] | None
) -> tuple[list[Tensor], list[object]]:
    """The features of each epoch and what to call it, of whichever form they are."""
    if isinstance(features, Mapping):
        if epochs is not None:
            raise ValueError("epochs are the keys of features when it is a dict; leave epochs out")
        epochs, features = list(features), list(features.values())
    elif isinstance(features, Tensor):
        features = [features]
    features = list(features)
    epochs = list(range(len(features)) if epochs is None else epochs)
    if not features or len(features) != len(epochs):
        raise ValueError(f"epochs must name each of the {len(features)} features (one or more), got {len(epochs)}")
    for epoch, z in zip(epochs, features):
        _check_features(z, f"features of epoch {epoch}", len(features[0]))
    return features, epochs


def _triangle(z: Tensor) -> bytes:
    """The cosines above the diagonal, row by row, as float32."""
    unit = F.normalize(z.detach().cpu().float(), dim=1)
    rows, columns = torch.triu_indices(len(z), len(z), offset=1)
    return (unit @ unit.T)[rows, columns].numpy().tobytes()


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
