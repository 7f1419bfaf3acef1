import torch
from torch import Tensor

from tools.ideas.drawing import BLUE, GREEN, PURPLE, YELLOW, Drawing, Place, shape, two_views

ALT = (
    "An image and two views of it. Both pass encoder and expander, and give a row each in the tables z and z', which "
    "have an image of the batch in every row and a feature in every column. Below, the three terms. Invariance: the "
    "same row of both tables should be alike. Variance: in each table the numbers of a column should spread, with a "
    "deviation of at least 1. Covariance: in each table's matrix of covariances the entries beside the diagonal "
    "should be 0."
)
N, D, ROW, COLUMN = 7, 6, 2, 0  # images of the batch, features, the row and the column that are pointed out
CELL = 15


def draw() -> Drawing:
    d = Drawing(500, ALT)
    a, b = features()
    image = shape("moon")
    whole = d.image(40, 140, 56, image)
    encoder = d.box(190, 140, "encoder\n$f$", BLUE, width=74, height=216)
    expander = d.box(284, 140, "expander\n$g$", PURPLE, width=78, height=216)
    for y, view, values, name in zip((76, 204), two_views(image, 0), (a, b), ("z", "z'")):
        small = d.image(118, y, 52, view)
        d.arrow((whole.x + 32, whole.y + (y - 140) / 4), small.left)
        d.arrow(small.right, (encoder.left[0], y))
        d.arrow((encoder.right[0], y), (expander.left[0], y))
        table = d.matrix(400, y, CELL, values / 2)
        d.arrow((expander.right[0], y), table.left)
        d.frame(400, row_of(table), table.width, CELL, YELLOW)
        d.label(461, y, f"${name}$", size=17)
    d.label(464, 278, "a row for each image, a column for each feature", anchor="end")
    invariance(d, a, b)
    variance(d, a)
    covariance(d, a)
    return d


def row_of(table: Place) -> float:
    """The height of the row that is pointed out."""
    return table.top[1] + CELL * (ROW + 0.5)


def invariance(d: Drawing, a: Tensor, b: Tensor) -> None:
    """The same row of both tables, one above the other."""
    x, y = 84, 372
    for row, values in ((y - 28, a), (y + 28, b)):
        d.matrix(x, row, CELL, values[ROW : ROW + 1] / 2)
        d.frame(x, row, D * CELL, CELL, YELLOW)
    d.arrow((x, y - 19), (x, y + 19), both=True)
    d.label(x, 322, "invariance", bold=True)
    d.label(x, 456, "a row: alike\nin both views")


def variance(d: Drawing, a: Tensor) -> None:
    """A column of numbers on a line, wide enough apart."""
    x, y, unit = 240, 372, 17
    d.line([(x, y - 40), (x, y + 40)])
    for value in a[:, COLUMN].tolist():
        d.line([(x - 9, y - unit * value), (x + 9, y - unit * value)], BLUE, 4)
    for height in (y - unit, y, y + unit):  # the mean, and one deviation to both sides
        d.line([(x + 14, height), (x + 26, height)], GREEN, 2.5)
    d.arrow((x + 20, y), (x + 20, y - unit))
    d.label(x + 31, y - unit / 2, "≥ 1", anchor="start")
    d.label(x, 322, "variance", bold=True)
    d.label(x, 456, "a column:\nnumbers spread")


def covariance(d: Drawing, a: Tensor) -> None:
    """The covariances of one view, in which only the diagonal should be left."""
    x, y = 396, 376
    C = (a - a.mean(0)).T @ (a - a.mean(0)) / (N - 1)
    d.matrix(x, y, CELL, C)
    d.label(x, 322, "covariance", bold=True)
    d.label(x, 456, "two columns:\n0 in common")


def features() -> tuple[Tensor, Tensor]:
    """Features (N, D) of a batch's two views, halfway through a training: columns of mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(N, D, generator=generator)
    b = a + 0.6 * torch.randn(N, D, generator=generator)
    return tuple((x - x.mean(0)) / x.std(0) for x in (a, b))
