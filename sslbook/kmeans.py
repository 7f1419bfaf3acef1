"""K-means on the points' own device, on the sphere also for several processes, and how to draw from its clusters."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbook.distributed import all_reduce_sum, rank, world_size

CHUNK = 8192  # points that are compared with all centroids at once
SPLIT = 0.01  # how far an empty cluster's new centroid lies from the one it is split from


@torch.no_grad()
def kmeans(points: Tensor, k: int, *, iterations: int = 15, generator: torch.Generator | None = None) -> Tensor:
    """k centroids such that each point is close to one of them (Lloyd, 1982): (n, D) floats to (k, D).

    The first are k of the points. Then, in turns, each point goes to the nearest centroid, and each centroid becomes
    the mean of its points; one without points becomes a point drawn anew. Raises ValueError if k does not fit, or a
    point is not finite.
    """
    if points.ndim != 2 or not 1 <= k <= len(points):
        raise ValueError(f"points must be (n, D), at least k={k} of them; got {tuple(points.shape)}")
    if not points.isfinite().all():
        raise ValueError("the points are not finite: what made them is broken")

    def some() -> Tensor:
        return points[torch.randperm(len(points), generator=generator)[:k].to(points.device)]

    centroids = some()
    for _ in range(iterations):
        _, sums, counts = assign(points, centroids, nearest)
        centroids = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), some())
    return centroids


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """The nearest of centroids (k, D) to each point (..., D): (...) int64."""
    return (points @ centroids.T - centroids.square().sum(dim=1) / 2).argmax(dim=-1)


@torch.no_grad()
def spherical_kmeans(
    points: Tensor, k: int, *, iterations: int = 10, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """k directions such that each point is close to one of them (Dhillon & Modha, 2001).

    The first centroids are k of the points. Then, in turns, each point goes to the centroid of the highest cosine, and
    each centroid becomes the mean direction of its points. An empty cluster takes half of another one, as in
    DeepCluster (Caron et al., 2018, section 3.3): drawn by size, its centroid with a little noise.

    Inside a process group each process gives its own points: all get the centroids that one process would get of all
    points, in order of rank, up to rounding.

    Args:
        points: (n, D) floats. Normalised in here.
        k: how many clusters, between 1 and the number of all points.
        iterations: how often the centroids move, at least 0.
        generator: on the CPU, alike in all processes; the global one by default.

    Returns:
        centroids (k, D), of unit length; and the nearest of each point, (n,) int64. A cluster may be empty.

    Raises:
        ValueError: the points are not (n, D) or not finite, or k does not fit.
    """
    if points.ndim != 2:
        raise ValueError(f"points must be (n, D), got {tuple(points.shape)}")
    sizes = torch.zeros(world_size(), dtype=torch.long, device=points.device)
    sizes[rank()] = len(points)
    sizes = all_reduce_sum(sizes).tolist()
    if not 1 <= k <= sum(sizes):
        raise ValueError(f"k must lie between 1 and the {sum(sizes)} points, got {k}")
    if not all_reduce_sum((~points.isfinite()).sum()) == 0:
        raise ValueError("the points are not finite: what made them is broken")
    points = F.normalize(points, dim=1)
    chosen = torch.randperm(sum(sizes), generator=generator)[:k] - sum(sizes[: rank()])
    own = (chosen >= 0) & (chosen < len(points))
    centroids = points.new_zeros(k, points.shape[1])
    centroids[own.to(points.device)] = points[chosen[own].to(points.device)]
    centroids = all_reduce_sum(centroids)
    for _ in range(iterations):
        _, sums, counts = assign(points, centroids)
        centroids = _fill_empty(F.normalize(all_reduce_sum(sums), dim=1), all_reduce_sum(counts), generator)
    return centroids, assign(points, centroids)[0]


def by_cosine(points: Tensor, centroids: Tensor) -> Tensor:
    """The unit centroid (k, D) of the highest cosine with each point (n, D): (n,) int64."""
    return (points @ centroids.T).argmax(dim=1)


def assign(
    points: Tensor, centroids: Tensor, closest: Callable[[Tensor, Tensor], Tensor] = by_cosine
) -> tuple[Tensor, Tensor, Tensor]:
    """The closest centroid of each point, (n,) int64, and of each cluster the sum (k, D) and number (k,) of points.

    By products of matrices: they add up in the same order every time, on a GPU too.
    """
    chosen, sums, counts = [], torch.zeros_like(centroids), centroids.new_zeros(len(centroids))
    for part in points.split(CHUNK):
        chosen.append(closest(part, centroids))
        members = F.one_hot(chosen[-1], len(centroids)).to(part.dtype)
        sums += members.T @ part
        counts += members.sum(dim=0)
    return torch.cat(chosen), sums, counts


def uniform_over_clusters(labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """As many rows as there are images, each cluster as often as every other (DeepCluster, section 3.3).

    Labels (n,) int64 to rows (n,) int64 on the CPU, in random order. A cluster that has too few
    images gives some of them again, one that has too many leaves some out; one without images gives
    none. It is the same as to weigh each image by the inverse of its cluster's size.
    """
    labels = labels.cpu()
    members = [(labels == cluster).nonzero()[:, 0] for cluster in labels.unique()]
    each = len(labels) // len(members) + 1
    rows = []
    for own in members:
        if len(own) > each:
            picked = torch.randperm(len(own), generator=generator)[:each]
        else:
            picked = torch.randint(len(own), (each,), generator=generator)
        rows.append(own[picked])
    rows = torch.cat(rows)
    return rows[torch.randperm(len(rows), generator=generator)][: len(labels)]


def _fill_empty(centroids: Tensor, counts: Tensor, generator: torch.Generator | None) -> Tensor:
    """Put the centroid of an empty cluster beside that of another one, so that they share its points."""
    k, dim = centroids.shape
    places = torch.rand(k, generator=generator).to(counts) * counts.sum()
    noise = F.normalize(torch.randn(k, dim, generator=generator), dim=1).to(centroids)
    donors = torch.searchsorted(counts.cumsum(dim=0), places, right=True).clamp(max=k - 1)
    beside = F.normalize(centroids[donors] + SPLIT * noise, dim=1)
    return torch.where((counts == 0)[:, None], beside, centroids)
