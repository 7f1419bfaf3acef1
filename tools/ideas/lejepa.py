import math

import torch
from torch import Tensor

from tools.ideas.drawing import BLUE, INK, LINE, ORANGE, PURPLE, YELLOW, Drawing, Place, shape, two_views

ALT = (
    "An image and two random views of it. Both pass the encoder f and the projector g to z. First goal: the z of both "
    "views are near their mean. Second goal: the z of all images together, a cloud of points, are projected on random "
    "directions; each projection is a histogram that should be the bell of a standard Gaussian."
)
POINTS = 90


def draw() -> Drawing:
    d = Drawing(500, ALT)
    image = shape("star", 1)
    whole = d.image(40, 110, 56, image)
    encoder = d.box(190, 110, "encoder\n$f$", BLUE, width=74, height=176)
    projector = d.box(288, 110, "projector\n$g$", PURPLE, width=80, height=176)
    for y, view, name in zip((60, 160), two_views(image, 0), "AB"):
        small = d.image(112, y, 50, view)
        d.arrow((whole.x + 31, whole.y + (y - 110) / 4), small.left)
        d.arrow(small.right, (encoder.left[0], y))
        d.arrow((encoder.right[0], y), (projector.left[0], y))
        z = d.symbol(360, y, f"z^{name}")
        d.arrow((projector.right[0], y), (z.x - 15, y))
        d.arrow((376, y), (415, 110 + (y - 110) / 4))
    d.label(418, 98, "their", anchor="start")
    d.label(418, 118, "mean", anchor="start")
    d.label(20, 222, "1  each view predicts the mean of the views", anchor="start", bold=True)
    d.line([(20, 246), (460, 246)], "#d9dce1", 1.5)
    cloud(d, Place(118, 362, 180, 180))
    d.label(20, 482, "2  along every direction $z$ is standard Gaussian", anchor="start", bold=True)
    return d


def cloud(d: Drawing, place: Place) -> None:
    """The z of many images, and what they are along two directions."""
    points = torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(3))
    scale = place.width / 7
    for x, y in points.tolist():
        d.line(
            [(place.x + scale * x - 2, place.y - scale * y), (place.x + scale * x + 2, place.y - scale * y)], BLUE, 4
        )
    d.label(place.x, place.y - 98, "$z$ of a batch of images")
    for k, (angle, color) in enumerate(((20, ORANGE), (115, YELLOW))):
        a = torch.tensor([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
        reach = 3 * scale
        ends = [(place.x + s * reach * a[0].item(), place.y - s * reach * a[1].item()) for s in (-1, 1)]
        d.line(ends, color, 2.5)
        middle = 310 + 104 * k
        histogram(d, 385, middle, points @ a, color)
        d.arrow((232, middle - 8), (290, middle - 8))
    d.label(262, 350, "random\ndirections")


def histogram(d: Drawing, x: float, y: float, values: Tensor, color: str) -> None:
    """Bars of the projections between -3 and 3, under the Gaussian's bell; y is the middle of its height."""
    bins, width, height = 14, 150, 72
    shares = torch.histc(values, bins, -3, 3) / len(values)
    step, base = width / bins, y + height / 2
    most = 0.26
    for k, share in enumerate(shares.tolist()):
        tall = height * min(share / most, 1)
        if tall:
            d.parts.append(
                f'<rect x="{x - width / 2 + k * step + 0.5:.2f}" y="{base - tall:.2f}" width="{step - 1:.2f}" '
                f'height="{tall:.2f}" fill="{color}" fill-opacity=".55"/>'
            )
    bell = []
    for k in range(41):
        t = -3 + 6 * k / 40
        share = 6 / bins * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        bell.append((x - width / 2 + width * k / 40, base - height * share / most))
    d.line(bell, INK, 2)
    d.line([(x - width / 2, base), (x + width / 2, base)], LINE, 1.5)
