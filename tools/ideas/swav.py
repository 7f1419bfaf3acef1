import torch
from torch import Tensor

from sslbook.losses import sinkhorn
from tools.ideas.drawing import BLUE, PURPLE, Drawing, shape, two_views

ALT = (
    "An image and two views of it. Both pass encoder and projector to z, which is compared with all prototypes C: a "
    "row of scores for each image of the batch. Sinkhorn turns the scores of each view into codes Q, in which every "
    "image has few prototypes and every prototype has as many images. Crossed arrows: the code of the first view is "
    "predicted from the scores of the second, and the code of the second from the scores of the first."
)
N, K = 6, 4  # images of the batch, prototypes
ROWS = (90, 250)  # where the views stand


def draw() -> Drawing:
    d = Drawing(446, ALT)
    image = shape("moon")
    whole = d.image(40, 170, 56, image)
    network = d.box(180, 170, "encoder,\nprojector\n$f$", BLUE, width=84, height=230)
    middle = sum(ROWS) / 2
    prototypes = d.box(310, 374, "prototypes $C$, one for each column", PURPLE, width=280, height=36)
    codes_at = []
    for y, view, scores, name in zip(ROWS, two_views(image, 0), both_scores(), ("1", "2")):
        small = d.image(108, y, 48, view)
        d.arrow((whole.x + 31, whole.y + (y - middle) / 4), small.left)
        d.arrow(small.right, (network.left[0], y))
        table = d.matrix(278, y, 18, scores / scores.abs().max())
        d.arrow((network.right[0], y), table.left)
        codes = d.matrix(424, y, 18, sinkhorn(scores, 0.1, 10))
        d.label(278, y - 68, f"scores of view ${name}$")
        d.label(424, y - 68, f"codes $Q_{name}$")
        d.arrow(table.right, codes.left)
        codes_at.append((table, codes))
    d.label(352, ROWS[0] - 14, "Sinkhorn", size=15)
    d.arrow((278, prototypes.top[1]), (278, codes_at[1][0].bottom[1]))
    swapped(d, codes_at)
    return d


def swapped(d: Drawing, places: list) -> None:
    """Each view's scores predict the other's codes."""
    (first_scores, first_codes), (second_scores, second_codes) = places
    d.arrow((300, first_scores.bottom[1] + 2), (402, second_codes.top[1] - 28), dashed=True)
    d.arrow((300, second_scores.top[1] - 28), (402, first_codes.bottom[1] + 2), dashed=True)
    d.label(240, 426, "dashed: predict the other view's code")


def both_scores() -> tuple[Tensor, Tensor]:
    """Scores (N, K) of a batch's two views, late in a training."""
    generator = torch.Generator().manual_seed(3)
    mine = torch.eye(K)[torch.arange(N) % K]
    first, second = (0.5 * mine + 0.25 * torch.randn(N, K, generator=generator) for _ in range(2))
    return first, second
