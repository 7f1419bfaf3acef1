"""Balance a matrix of scores by hand: what epsilon and the iterations of Sinkhorn do to rows, columns and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook.widgets._pictures import sheet
from sslbook.widgets._source import source

MOST_ROWS, MOST_PROTOTYPES = 24, 16
MOST_SIDE = 32
LEAST_EPSILON, MOST_EPSILON = 0.005, 2.0
MOST_STEPS = 20  # halves of iterations: prototypes, images, prototypes, ...


class SinkhornBalance(anywidget.AnyWidget):
    """Codes of a few images as a table, with the sums of its rows and columns, at any epsilon and any half-iteration.

    Step 0 is exp(scores / epsilon), scaled to a sum of B. Each odd step divides the columns, so that every prototype
    gets B / K; each even step divides the rows, so that every image gives 1: twice the iterations of `losses.sinkhorn`.

    Args:
        scores: (B, K) floats, cosines of z with the prototypes; or {epoch: scores} of the same images. 2 <= B <= 24 and
            2 <= K <= 16.
        images: (B, 3, H, W), uint8 or floats in [0, 1], shown at 32 px at most.
        names: B names of the images.
        epsilon: where its slider starts, in [0.005, 2].
        steps: where the other starts, in 0..20.

    With a kernel `epoch` (an index), `epsilon` and `steps` can be read and set.

    Raises:
        ValueError: scores, images or names do not fit together, or are too many.
        TraitError: epsilon or steps outside their range.
    """

    _esm = source("page.js", "sinkhorn.js")
    _css = source("widgets.css", "sinkhorn.css")
    shape = traitlets.List().tag(sync=True)  # [epochs, B, K]
    scores = traitlets.Bytes().tag(sync=True)  # (epochs, B, K) float32
    epochs = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    sheet = traitlets.Bytes().tag(sync=True)  # B pictures in one WebP; empty: none
    tiles = traitlets.List().tag(sync=True)  # [[height, width] of a tile, tiles across]
    epoch = traitlets.Int(0).tag(sync=True)
    epsilon = traitlets.Float(0.05, min=LEAST_EPSILON, max=MOST_EPSILON).tag(sync=True)
    steps = traitlets.Int(0, min=0, max=MOST_STEPS).tag(sync=True)

    def __init__(
        self,
        scores: Tensor | Mapping[object, Tensor],
        images: Tensor | None = None,
        names: Sequence[str] | None = None,
        **kwargs,
    ):
        by_epoch = scores if isinstance(scores, Mapping) else {"": scores}
        tables = _checked(by_epoch)
        rows, columns = tables[0].shape
        if names is not None and len(names) != rows:
            raise ValueError(f"names must name each of the {rows} images once, got {len(names)}")
        picture, tiles = b"", []
        if images is not None:
            if images.ndim != 4 or images.shape[:2] != (rows, 3):
                raise ValueError(f"images must be ({rows}, 3, height, width), got {tuple(images.shape)}")
            picture, tiles = sheet(images, MOST_SIDE)
        super().__init__(
            shape=[len(tables), rows, columns],
            scores=torch.stack(tables).numpy().tobytes(),
            epochs=[str(epoch) for epoch in by_epoch],
            names=[str(name) for name in names] if names is not None else [],
            sheet=picture,
            tiles=tiles,
            epoch=kwargs.pop("epoch", len(tables) - 1),
            **kwargs,
        )


def _checked(by_epoch: Mapping[object, Tensor]) -> list[Tensor]:
    """The scores of all epochs in float32 on the CPU."""
    if not by_epoch:
        raise ValueError("scores must hold at least one epoch")
    tables = [table.detach().cpu().float() for table in by_epoch.values()]
    shape = tables[0].shape
    if len(shape) != 2 or not 2 <= shape[0] <= MOST_ROWS or not 2 <= shape[1] <= MOST_PROTOTYPES:
        limits = f"2 to {MOST_ROWS} images and 2 to {MOST_PROTOTYPES} prototypes"
        raise ValueError(f"scores must be (B, K), {limits}; got {tuple(shape)}")
    for epoch, table in zip(by_epoch, tables):
        if table.shape != shape:
            raise ValueError(f"epoch {epoch}: scores must be {tuple(shape)} as before, got {tuple(table.shape)}")
        if not table.isfinite().all():
            raise ValueError(f"epoch {epoch}: scores must be finite; did the training diverge?")
    return tables
