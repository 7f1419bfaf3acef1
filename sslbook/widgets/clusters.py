"""See k-means' clusters as walls of pictures, epoch by epoch, and what they go by: the shape, or the colour?"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from PIL import Image
from torch import Tensor

from sslbook import evaluate
from sslbook.widgets._pictures import sheet
from sslbook.widgets._source import source

MOST_SIDE, MOST_SHOWN, MOST_CLUSTERS, MOST_BYTES = 24, 768, 256, 450_000


class ClusterWall(anywidget.AnyWidget):
    """Clusters over the epochs: their pictures, their sizes, and their purity against each factor beside its chance.

    Purity is the share of pictures that have the commonest label of their cluster. Many clusters are purer than few,
    also if they know nothing; `evaluate.by_chance` says how pure clusters of the same sizes are for shuffled labels.

    Args:
        snapshots: {epoch: clusters}, each (N,) int64 in [0, k), k <= 256: the cluster of the same N pictures.
        images: (N, 3, H, W), uint8 or floats in [0, 1]; the first 640 or `shown` of them go into the page.
        factors: {name: (part of each picture (N,) int64, names of the parts)}, as `evaluate.in_parts` gives.
        shown: how many pictures the page gets, at most 768. Measures are of all N.

    With a kernel, `epoch` (an index), `factor` (an index) and `cluster` can be read and set.

    Raises:
        ValueError: what is given does not fit together, or is too large for a page.
    """

    _esm = source("page.js", "clusters.js")
    _css = source("widgets.css", "clusters.css")
    shape = traitlets.List().tag(sync=True)  # [epochs, clusters, factors, pictures shown, pictures in all]
    epochs = traitlets.List().tag(sync=True)
    factors = traitlets.List().tag(sync=True)  # for each {name, parts}
    members = traitlets.Bytes().tag(sync=True)  # (epochs, shown) uint8: the cluster of each picture
    sizes = traitlets.Bytes().tag(sync=True)  # (epochs, clusters) uint32
    commonest = traitlets.Bytes().tag(sync=True)  # (epochs, clusters, factors) uint8: the commonest part
    counts = traitlets.Bytes().tag(sync=True)  # (epochs, clusters, factors) uint32: how many pictures have it
    measures = traitlets.List().tag(sync=True)  # for each epoch and factor {purity, chance}
    sheet = traitlets.Bytes().tag(sync=True)  # the pictures in one WebP
    tiles = traitlets.List().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    factor = traitlets.Int(0).tag(sync=True)
    cluster = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        snapshots: Mapping[object, Tensor],
        images: Tensor,
        factors: Mapping[str, tuple[Tensor, Sequence[str]]],
        shown: int = 640,
        **kwargs,
    ):
        clusters = _checked(snapshots, images, factors)
        shown = min(shown, len(images))
        if not 1 <= shown <= MOST_SHOWN:
            raise ValueError(f"a page shows 1 to {MOST_SHOWN} pictures, got shown={shown}")
        k = max(int(x.max()) for x in clusters) + 1
        sizes = torch.stack([x.bincount(minlength=k) for x in clusters])
        commonest, counts = _commonest(clusters, factors, k)
        picture, tiles = _lossy(images[:shown])
        if len(picture) > MOST_BYTES:
            raise ValueError(
                f"a page would carry {len(picture) // 1000} kB of pictures, more than {MOST_BYTES // 1000}: "
                f"pass fewer, shown={shown // 2}"
            )
        super().__init__(
            shape=[len(clusters), k, len(factors), shown, len(images)],
            epochs=[str(epoch) for epoch in snapshots],
            factors=[{"name": str(name), "parts": [str(x) for x in names]} for name, (_, names) in factors.items()],
            members=torch.stack(clusters)[:, :shown].to(torch.uint8).numpy().tobytes(),
            sizes=sizes.numpy().astype("uint32").tobytes(),
            commonest=commonest.to(torch.uint8).numpy().tobytes(),
            counts=counts.numpy().astype("uint32").tobytes(),
            measures=[[_measure(x, part) for part, _ in factors.values()] for x in clusters],
            sheet=picture,
            tiles=tiles,
            epoch=kwargs.pop("epoch", len(clusters) - 1),
            cluster=kwargs.pop("cluster", int(sizes[-1].argmax())),
            **kwargs,
        )


def _checked(snapshots: Mapping, images: Tensor, factors: Mapping) -> list[Tensor]:
    """The clusters of all epochs on the CPU."""
    if not isinstance(snapshots, Mapping) or not snapshots:
        raise ValueError("snapshots must be a dict {epoch: clusters} with at least one epoch")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, height, width), got {tuple(images.shape)}")
    if not factors:
        raise ValueError("factors must hold at least one, {name: (parts, names)}, as evaluate.in_parts gives")
    n, clusters = len(images), []
    for epoch, x in snapshots.items():
        if not isinstance(x, Tensor) or x.shape != (n,) or x.dtype != torch.int64:
            what = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"epoch {epoch}: clusters must be ({n},) int64, one for each picture, got {what}")
        if x.min() < 0 or x.max() >= MOST_CLUSTERS:
            reach = f"{int(x.min())} to {int(x.max())}"
            raise ValueError(f"epoch {epoch}: a page draws clusters 0 to {MOST_CLUSTERS - 1}, got {reach}")
        clusters.append(x.cpu())
    for name, (part, names) in factors.items():
        if part.shape != (n,) or part.min() < 0 or part.max() >= len(names):
            raise ValueError(f"factor {name!r}: parts must be ({n},) in [0, {len(names)}), got {tuple(part.shape)}")
    return clusters


def _commonest(clusters: list[Tensor], factors: Mapping, k: int) -> tuple[Tensor, Tensor]:
    """Of each epoch, cluster and factor the commonest part, and how many pictures have it."""
    kinds, counts = [], []
    for x in clusters:
        for part, names in factors.values():
            pairs = x * len(names) + part.cpu()
            most = pairs.bincount(minlength=k * len(names)).view(k, len(names)).max(dim=1)
            kinds.append(most.indices)
            counts.append(most.values)
    shape = len(clusters), len(factors), k
    return tuple(torch.stack(found).view(shape).mT.contiguous() for found in (kinds, counts))


def _measure(clusters: Tensor, part: Tensor) -> dict[str, float]:
    part = part.cpu()
    return {
        "purity": evaluate.purity(clusters, part),
        "chance": evaluate.by_chance(evaluate.purity, clusters, part),
    }


def _lossy(images: Tensor) -> tuple[bytes, list]:
    """As `sheet`, but lossy: a fifth of the bytes for photos."""
    picture, tiles = sheet(images, MOST_SIDE)
    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(file, "WEBP", quality=80)
    return file.getvalue(), tiles
