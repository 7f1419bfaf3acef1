import torch
from torch import Tensor

from tools.ideas.drawing import BLUE, PURPLE, YELLOW, Drawing, shape, two_views

ALT = (
    "An image and two views of it. Both pass encoder and projector, and give a row each in the tables zA and zB, which "
    "have an image of the batch in every row and a feature in every column. Column i of zA and column j of zB give "
    "entry i, j of their cross-correlation matrix C. Beside it the goal, the identity: 1 on the diagonal, so that each "
    "feature agrees in both views; 0 off it, so that features say different things."
)
N, D, I, J = 7, 6, 1, 4  # images of the batch, features, and the two columns that are pointed out


def draw() -> Drawing:
    d = Drawing(552, ALT)
    a, b = features()
    image = shape("moon")
    whole = d.image(40, 140, 56, image)
    encoder = d.box(190, 140, "encoder\n$f$", BLUE, width=74, height=216)
    projector = d.box(284, 140, "projector\n$g$", PURPLE, width=78, height=216)
    for y, view, values, name, index, column in zip((76, 204), two_views(image, 0), (a, b), "AB", "ij", (I, J)):
        small = d.image(118, y, 52, view)
        d.arrow((whole.x + 32, whole.y + (y - 140) / 4), small.left)
        d.arrow(small.right, (encoder.left[0], y))
        d.arrow((encoder.right[0], y), (projector.left[0], y))
        table = d.matrix(400, y, 15, values / 2)
        d.arrow((projector.right[0], y), table.left)
        at = table.left[0] + 15 * (column + 0.5)
        d.frame(at, y, 15, table.height, YELLOW)
        d.label(at, y - 62, f"${index}$", size=15)
        d.label(461, y, f"$z^{name}$", size=17)
    d.label(464, 278, "a row for each image, a column for each feature", anchor="end")
    d.arrow((400, 292), (400, 332))
    d.label(388, 312, "correlate columns $i$ and $j$", anchor="end")
    correlation(d, a.T @ b / N)
    return d


def correlation(d: Drawing, c: Tensor) -> None:
    """The matrix, and the identity that it should be."""
    y, cell = 390, 18
    matrix = d.matrix(400, y, cell, c)
    goal = d.matrix(120, y, cell, torch.eye(D))
    d.arrow(goal.right, (matrix.left[0] - 22, y), both=True)
    d.label(250, y - 16, "alike")
    column, row = matrix.left[0] + cell * (J + 0.5), matrix.top[1] + cell * (I + 0.5)
    d.frame(column, row, cell, cell, YELLOW)
    d.label(matrix.left[0] - 11, row, "$i$", size=15)
    d.label(column, y + 64, "$j$", size=15)
    d.label(464, y, "$C$", size=17)
    d.label(120, y + 72, "the goal: identity")
    d.label(240, 498, "1 on the diagonal: a feature agrees in both views")
    d.label(240, 522, "0 off it: features say different things")


def features() -> tuple[Tensor, Tensor]:
    """Features (N, D) of a batch's two views, halfway through a training: columns of mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(N, D, generator=generator)
    b = a + torch.randn(N, D, generator=generator)
    return standard(a), standard(b)


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0, correction=0)
