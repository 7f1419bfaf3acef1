"""See how Gaussian an embedding is along one direction and the next, and how it becomes so in training."""

from __future__ import annotations

from collections.abc import Mapping

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook.widgets._source import source

MOST_FEATURES, MOST_PICTURES, MOST_BYTES = 512, 512, 450_000


class GaussianSlices(anywidget.AnyWidget):
    """One-dimensional projections of embeddings as histograms against the standard Gaussian, epoch by epoch.

    A direction is a random unit vector. Along it the widget shows the histogram of all pictures, the characteristic
    function of this sample beside the Gaussian's, and the test of Epps and Pulley on the two: what
    `losses.epps_pulley` says, and its mean over 64 directions. Directions have numbers and are the same for each epoch.
    "The worst of 100" looks for the one in which the embeddings are farthest from a Gaussian.

    Args:
        snapshots: {epoch: z}, each (N, D) floats: embeddings of the same N pictures, not normalised, as the loss sees
            them. 8 <= N <= 512 and 1 <= D <= 512, the same in every epoch.
        t_max, knots: of the statistic.

    The page gets N D bytes an epoch: each feature in 255 steps, so that a projection is right within about .01
    standard deviations of a Gaussian embedding. With a kernel, `epoch` (an index) and `direction` (a number from 0)
    can be read and set.

    Raises:
        ValueError: snapshots do not fit together, hold what is not a number, or are too large for a page.
    """

    _esm = source("page.js", "slices.js")
    _css = source("widgets.css", "slices.css")
    shape = traitlets.List().tag(sync=True)  # [epochs, N, D]
    features = traitlets.Bytes().tag(sync=True)  # (epochs, N, D) int8 in -127..127
    scales = traitlets.List().tag(sync=True)  # for each epoch D numbers: what 1 of a feature's steps is worth
    epochs = traitlets.List().tag(sync=True)
    t_max = traitlets.Float().tag(sync=True)
    knots = traitlets.Int().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    direction = traitlets.Int(0).tag(sync=True)

    def __init__(self, snapshots: Mapping[object, Tensor], t_max: float = 5.0, knots: int = 17, **kwargs):
        if not t_max > 0 or knots < 3 or knots % 2 == 0:
            raise ValueError(f"t_max > 0 and an odd number of knots from 3 on, got t_max={t_max}, knots={knots}")
        z = _checked(snapshots)
        scales = z.abs().amax(dim=1) / 127  # (epochs, D)
        steps = (z / scales.clamp(min=1e-30)[:, None]).round().to(torch.int8)
        super().__init__(
            shape=list(z.shape),
            features=steps.numpy().tobytes(),
            scales=[[float(f"{scale:.5g}") for scale in row] for row in scales.tolist()],
            epochs=[str(epoch) for epoch in snapshots],
            t_max=float(t_max),
            knots=knots,
            epoch=kwargs.pop("epoch", len(z) - 1),
            **kwargs,
        )


def _checked(snapshots: Mapping[object, Tensor]) -> Tensor:
    """All epochs (epochs, N, D) in float64 on the CPU."""
    if not isinstance(snapshots, Mapping) or not snapshots:
        raise ValueError("snapshots must be a dict {epoch: z} with at least one epoch")
    found = []
    for epoch, z in snapshots.items():
        if not isinstance(z, Tensor) or z.ndim != 2:
            got = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
            raise ValueError(f"epoch {epoch}: embeddings must be a tensor (N, D), got {got}")
        z = z.detach().cpu().double()
        if not torch.isfinite(z).all():
            raise ValueError(f"epoch {epoch}: embeddings must be finite; did the training diverge?")
        if found and z.shape != found[0].shape:
            first = tuple(found[0].shape)
            raise ValueError(f"epoch {epoch}: embeddings must be {first} as in the first epoch, got {tuple(z.shape)}")
        found.append(z)
    n, size = found[0].shape
    if not 8 <= n <= MOST_PICTURES or not 1 <= size <= MOST_FEATURES:
        limits = f"8 to {MOST_PICTURES} pictures and 1 to {MOST_FEATURES} features"
        raise ValueError(f"a page draws {limits}, got {n} and {size}")
    total = len(found) * n * size
    if total > MOST_BYTES:
        raise ValueError(
            f"a page would have to carry {total // 1000} kB of embeddings, more than {MOST_BYTES // 1000} kB; "
            "pass fewer epochs or pictures"
        )
    return torch.stack(found)
