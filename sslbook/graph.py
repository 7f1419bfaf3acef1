"""The augmentation graph of the shapes: its nodes are views, two are joined as often as they are of one picture.

A finite world in which everything can be computed (HaoChen et al., 2021, section 3.1, on the book's shapes). A view
shows a class at a place: where in the view the shape's centre lies, and how large it is. Where views put it is counted
from the draws of the package's own augmentation; colours are left out. Two nodes whose pictures look alike are taken
for each other: how unlike they must be to be told apart is the model's one free number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sslbook import shapes
from sslbook.views import Augmentation, ViewParameters

PLACES = ("x", "y", "scale")  # of a shape in its view


def in_view(factors: dict[str, Tensor], parameters: ViewParameters) -> Tensor:
    """Where n shapes lie in a view of each: (n, 3) with x and y of the centre and the size, as in `shapes.draw`.

    A centre outside [-1, 1] is not in the view, but a part of the shape may be.
    """
    top, left, height, width = parameters.box.double().unbind(dim=1)
    x = 2 * (shapes.SIZE * (factors["x"] + 1) / 2 - left) / width - 1
    y = 1 - 2 * (shapes.SIZE * (1 - factors["y"]) / 2 - top) / height
    scale = factors["scale"] * shapes.SIZE / (height * width).sqrt()
    return torch.stack([torch.where(parameters.flip, -x, x), y, scale], dim=1)


@dataclass(frozen=True)
class Bins:
    """Places cut into cells; a node is a class in a cell."""

    edges: tuple[Tensor, ...]  # inner edges for x, y and size
    centres: Tensor  # (cells, 3), the mean place in each cell

    @classmethod
    def of(cls, places: Tensor, parts: tuple[int, ...] = (6, 6, 4)) -> Bins:
        """Cut each of x, y and size (n, 3) into parts with as many places each."""
        edges = tuple(
            column.quantile(torch.linspace(0, 1, part + 1, dtype=column.dtype)[1:-1])
            for column, part in zip(places[:: max(1, len(places) // 1_000_000)].T, parts)
        )
        cells = cls(edges, places.new_zeros(0)).cell(places)
        count = cells.bincount(minlength=torch.tensor(parts).prod().item())
        if not count.all():
            raise ValueError(f"{(count == 0).sum()} cells have no place in them: draw more, or cut into fewer parts")
        sums = places.new_zeros(len(count), 3).index_add_(0, cells, places)
        return cls(edges, sums / count[:, None])

    def cell(self, places: Tensor) -> Tensor:
        """The cell (n,) of places (n, 3)."""
        number = torch.zeros(len(places), dtype=torch.long)
        for column, edges in zip(places.T, self.edges):
            number = number * (len(edges) + 1) + torch.bucketize(column.contiguous(), edges)
        return number

    def node(self, labels: Tensor, places: Tensor) -> Tensor:
        """The node (n,) of shapes of these classes at these places."""
        return labels * len(self.centres) + self.cell(places)


@dataclass(frozen=True)
class World:
    """The graph: how often each node is seen, and how often two nodes are two views of one picture."""

    bins: Bins
    joined: Tensor  # (nodes, nodes): w(a, a'), symmetric, sums to 1
    confusion: Tensor  # (nodes, nodes): how often what is at one node is taken for another, rows sum to 1

    @property
    def seen(self) -> Tensor:
        """w(a), how often a view is at each node: (nodes,)."""
        return self.joined.sum(dim=1)

    @property
    def labels(self) -> Tensor:
        """The class of each node."""
        return torch.arange(len(self.joined)) // len(self.bins.centres)

    @property
    def places(self) -> Tensor:
        """x, y and size at each node: (nodes, 3)."""
        return self.bins.centres.repeat(len(shapes.CLASSES), 1)


def views_of(factors: dict[str, Tensor], view: Augmentation, number: int, seed: int = 0) -> Tensor:
    """Where `number` random views of each of n pictures put its shape: (number, n, 3)."""
    generator, n = torch.Generator().manual_seed(seed), len(factors["x"])
    draws = [view.sample(n, shapes.SIZE, shapes.SIZE, generator) for _ in range(number)]
    return torch.stack([in_view(factors, parameters) for parameters in draws])


def world(
    factors: dict[str, Tensor],
    view: Augmentation,
    *,
    number: int = 64,
    parts: tuple[int, ...] = (6, 6, 4),
    sigma2: float = 4.0,
    seed: int = 0,
) -> World:
    """The graph of a world of n pictures, each in every class, with `number` equally likely views of each.

    Args:
        factors: x, y and scale of the pictures, each (n,).
        view: the augmentation; its crop and its flip count.
        parts: into how many parts x, y and size are cut.
        sigma2: two nodes that differ in d pixels are taken for each other exp(-d / (2 sigma2)) times as often as a
            node for itself. 0 is a world in which no two nodes look alike.
    """
    places = views_of(factors, view, number, seed)
    bins = Bins.of(places.flatten(0, 1), parts)
    cells = torch.stack([bins.cell(of_one_draw) for of_one_draw in places], dim=1)  # (n, number)
    A = torch.zeros(len(cells), len(bins.centres), dtype=torch.float64)
    A.scatter_add_(1, cells, torch.full(cells.shape, 1 / number, dtype=A.dtype))  # A(cell | picture), rows sum to 1
    of_places = A.T @ A / len(A)
    classes = len(shapes.CLASSES)
    joined = torch.block_diag(*[of_places / classes] * classes)
    confusion = looks_alike(bins, sigma2)
    return World(bins, confusion.T @ joined @ confusion, confusion)


def looks_alike(bins: Bins, sigma2: float) -> Tensor:
    """How often each node is taken for each other: (nodes, nodes), rows sum to 1."""
    pictures = pictures_of(bins).flatten(1).double()
    if sigma2 == 0:
        return torch.eye(len(pictures), dtype=torch.float64)
    pixels = torch.cdist(pictures, pictures, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-pixels / (2 * sigma2)).softmax(dim=1)


def pictures_of(bins: Bins) -> Tensor:
    """Each node's picture, upright and without colour: (nodes, 32, 32), how much of each pixel the shape covers."""
    classes, cells = len(shapes.CLASSES), len(bins.centres)
    x, y, scale = bins.centres.float().repeat(classes, 1).T
    labels = torch.arange(classes).repeat_interleave(cells)
    return shapes.cover(labels, dict(x=x, y=y, scale=scale, turn=torch.zeros_like(x)))


def eigenfunctions(joined: Tensor) -> tuple[Tensor, Tensor]:
    """Of a graph w(a, a'): its eigenvalues (nodes,), the largest first, and eigenfunctions (nodes, nodes) by columns.

    They are those of T f(a) = E[f(a+) | a], the mean of f over the partners of a view. Over the views they have the
    mean square 1, and are uncorrelated. The first is constant, with the eigenvalue 1.
    """
    root = joined.sum(dim=1).sqrt()
    values, vectors = torch.linalg.eigh(joined / root[:, None] / root)
    return values.flip(0), vectors.flip(1) / root[:, None]


def canonical_correlations(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cosines of the principal angles between the spans of two sets of functions, the largest first.

    Args:
        x, y: (n, k) and (n, m): k and m functions at n points; constants and means count as they are.
        weights: (n,), how often each point is seen; all alike by default.
    """
    root = torch.ones(len(x), dtype=x.dtype) if weights is None else weights.sqrt()
    bases = [torch.linalg.qr(functions * root[:, None]).Q for functions in (x, y)]
    return torch.linalg.svdvals(bases[0].T @ bases[1]).clamp(max=1)


def held_out(known: Tensor, asked: Tensor, k: int, ridge: float = 1e-3) -> Tensor:
    """How much two views agree along the k directions of features on which they agree most: correlations, (k,).

    The directions are those of the largest eigenvalues of T among the linear functions of the features (Ritz values),
    found on some pairs of views and asked of others.

    Args:
        known, asked: (2, n, D) and (2, m, D), features of two views of n and of m other images.
        ridge: added to the diagonal of the covariance, times its mean.
    """
    mean = known.double().mean(dim=(0, 1))
    (x1, x2), (y1, y2) = known.double() - mean, asked.double() - mean
    both, alike = (x1.T @ x1 + x2.T @ x2) / 2, (x1.T @ x2 + x2.T @ x1) / 2
    values, vectors = torch.linalg.eigh(both + ridge * both.trace() / len(both) * torch.eye(len(both)).to(both))
    whiten = vectors / values.sqrt()
    directions = whiten @ torch.linalg.eigh(whiten.T @ alike @ whiten).eigenvectors.flip(1)[:, :k]
    found = torch.cat([y1 @ directions, y2 @ directions])
    first, second = ((found - found.mean(dim=0)) / found.std(dim=0, correction=0)).chunk(2)
    return (first * second).mean(dim=0)
