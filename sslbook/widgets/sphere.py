"""See where embeddings lie on the sphere while training goes on: spread out, or fallen into one point."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anywidget
import torch
import torch.nn.functional as F
import traitlets
from torch import Tensor

from sslbook.widgets._source import source

MOST_POINTS = 512


class EmbeddingSphere(anywidget.AnyWidget):
    """Two runs side by side, each as points on a sphere, with their measures as curves; an epoch slider moves both.

    Args:
        runs: {name: {epoch: embeddings (N, D)}}, the same images after the same epochs in every run. Two runs at
            least make sense. Rows are normalised in here.
        labels: (N,) int, the colour of each point.
        classes: the names of the labels.
        measures: {measure: {name of a run: one value for each epoch}}, drawn below the spheres; None = not measured.
        left, right: the runs shown first, by name.

    A sphere of D dimensions cannot be drawn. Each run is shown in the three directions that carry most of its
    embeddings over all its epochs (the largest right singular vectors, not centred), pushed out to length one again.
    Runs whose first embeddings are equal, which began with the same network, share these directions. Embeddings that
    have collapsed are one point there too. The chart of a measure with kNN in its name shows chance.
    N <= 512; the page gets 3 bytes for a point and epoch.

    Raises:
        ValueError: runs, labels or measures do not fit together, or hold what is not a number.
    """

    _esm = source("page.js", "ball.js", "sphere.js")
    _css = source("widgets.css")
    shape = traitlets.List().tag(sync=True)  # [runs, epochs, N]
    points = traitlets.Bytes().tag(sync=True)  # (runs, epochs, N, 3) int8 in -127..127
    runs = traitlets.List().tag(sync=True)
    epochs = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    classes = traitlets.List().tag(sync=True)
    measures = traitlets.List().tag(sync=True)  # [[name, one list of values for each run, chance]]: a page sorts a dict
    dimensions = traitlets.Int().tag(sync=True)  # D, of the run with most
    epoch = traitlets.Int(0).tag(sync=True)
    left = traitlets.Int(0).tag(sync=True)
    right = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        runs: Mapping[str, Mapping[object, Tensor]],
        labels: Tensor | Sequence[int],
        classes: Sequence[str],
        measures: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
        left: str | None = None,
        right: str | None = None,
        **kwargs,
    ):
        names = list(runs)
        if not names or not runs[names[0]]:
            raise ValueError("runs must hold at least one run with one epoch")
        epochs = list(runs[names[0]])
        n = len(runs[names[0]][epochs[0]])
        labels = [int(label) for label in labels]
        if not 1 <= n <= MOST_POINTS:
            raise ValueError(f"a run must have 1 to {MOST_POINTS} points, got {n}; embed fewer images")
        if len(labels) != n or not all(0 <= label < len(classes) for label in labels):
            raise ValueError(f"labels must be {n} numbers in [0, {len(classes)}), one for each point")
        _check_runs(runs, epochs, n)
        for side in (left, right):
            if side is not None and side not in names:
                raise ValueError(f"there is no run {side!r}; there are {', '.join(names)}")
        coordinates = _on_a_sphere([list(run.values()) for run in runs.values()])
        super().__init__(
            shape=[len(names), len(epochs), n],
            points=(127 * coordinates).round().to(torch.int8).numpy().tobytes(),
            runs=names,
            epochs=[str(epoch) for epoch in epochs],
            labels=labels,
            classes=[str(name) for name in classes],
            measures=_charts(measures or {}, names, len(epochs), chance=1 / len(classes)),
            dimensions=max(z.shape[1] for run in runs.values() for z in run.values()),
            epoch=kwargs.pop("epoch", len(epochs) - 1),
            left=names.index(left) if left else 0,
            right=names.index(right) if right else min(1, len(names) - 1),
            **kwargs,
        )


def _check_runs(runs: Mapping[str, Mapping[object, Tensor]], epochs: list, n: int) -> None:
    for name, run in runs.items():
        if list(run) != epochs:
            raise ValueError(f"run {name!r} has the epochs {list(run)}, the first one {epochs}")
        for epoch, z in run.items():
            if z.ndim != 2 or len(z) != n or not torch.isfinite(z).all():
                raise ValueError(
                    f"run {name!r}, epoch {epoch}: embeddings must be finite and ({n}, D), got {tuple(z.shape)}"
                )


def _charts(measures: Mapping[str, Mapping[str, Sequence[float]]], runs: list[str], epochs: int, chance: float) -> list:
    """[measure, one list of values for each run, chance] of each measure; chance is None where none is known."""
    return [
        [*_curves(measure, curves, runs, epochs), chance if "knn" in measure.lower() else None]
        for measure, curves in measures.items()
    ]


def _curves(measure: str, curves: Mapping[str, Sequence[float]], runs: list[str], epochs: int) -> list:
    """[measure, one list of values for each run]."""
    for name in runs:
        if len(curves.get(name, ())) != epochs:
            raise ValueError(f"measure {measure!r} needs {epochs} values for run {name!r}")
    return [measure, [[_number(value) for value in curves[name]] for name in runs]]


def _number(value: float | None) -> float | None:
    """None for what is no finite number: JSON, which a page reads, has none for it."""
    return float(value) if value is not None and math.isfinite(value) else None


def _on_a_sphere(runs: list[list[Tensor]]) -> Tensor:
    """Embeddings (N, D) of each run and epoch, to unit coordinates (runs, epochs, N, 3)."""
    unit = [F.normalize(torch.stack(run).detach().cpu().float(), dim=2) for run in runs]
    coordinates, known = [], {}  # the directions of those that began together
    for own in unit:
        together = [other for other in unit if other.shape == own.shape and torch.allclose(other[0], own[0], atol=1e-4)]
        key = tuple(map(id, together))
        if key not in known:
            _, _, known[key] = torch.linalg.svd(torch.cat(together).flatten(0, 1), full_matrices=False)
        three = own @ known[key][:3].T
        coordinates.append(F.normalize(F.pad(three, (0, 3 - three.shape[2])), dim=2))
    return torch.stack(coordinates)
