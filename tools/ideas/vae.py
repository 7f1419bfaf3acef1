import torch.nn.functional as F
from torch import Tensor

from tools.ideas.drawing import BLUE, GREEN, GREY, LINE, Drawing, Place, number, shape, tint

ALT = (
    "A picture goes into the encoder, which answers with a cloud: a middle mu and a width sigma. One code z is drawn "
    "from the cloud, and the decoder paints a picture from z alone. Two terms pull: the painted picture must be like "
    "the first, and every cloud must be near one normal distribution, drawn as grey circles around zero."
)
UNIT = 27  # length of 1 in the plane of codes
CLOUDS = ((0.9, -0.75, 0.42, 0.34), (-1.0, -0.8, 0.36, 0.44), (-0.85, 0.85, 0.4, 0.32), (0.75, 1.05, 0.34, 0.36))
DRAWN = (0.32, -0.18)  # the code, from the middle of the first cloud


def draw() -> Drawing:
    d = Drawing(282, ALT)
    y = 122
    image = shape("heart") / 255
    picture = d.image(46, y, 72, image)
    encoder = d.box(126, y, "encoder\n$f$", BLUE, width=68, height=58)
    plane, z = codes(d, 242, y)
    decoder = d.box(354, y, "decoder\n$g$", GREEN, width=68, height=58)
    painted = d.image(434, y, 72, blurred(image))
    d.arrow(picture.right, encoder.left)
    d.arrow(encoder.right, plane.left)
    d.arrow(z.right, decoder.left)
    d.arrow(decoder.right, painted.left)
    d.label(126, y + 46, "says $μ$, $σ$")
    d.label(242, 24, "KL: every cloud near one normal, $N(0, 1)$")
    d.arrow((242, 34), plane.top)
    d.label(242, y + 82, "$z = μ + σ ε$,  $ε$ from $N(0, 1)$")
    line = 240
    d.arrow(picture.bottom, (picture.x, line), (painted.x, line), painted.bottom, both=True)
    d.label(240, line + 20, "reconstruction: alike, pixel by pixel")
    return d


def codes(d: Drawing, x: float, y: float) -> tuple[Place, Place]:
    """The plane of codes, with the clouds of four pictures, and the code that is drawn from the first."""
    d.parts.append(d.rectangle(x, y, 128, 128, "#ffffff", "#b9bec6"))
    for radius in (2, 1):
        ellipse(d, x, y, radius * UNIT, radius * UNIT, tint(GREY, 0.1 * (3 - radius)), "none")
    for i, (right, down, width, height) in enumerate(CLOUDS):
        color = BLUE if i == 0 else GREY
        ellipse(d, x + right * UNIT, y + down * UNIT, 1.4 * width * UNIT, 1.4 * height * UNIT, tint(color, 0.35), color)
    right, down = (CLOUDS[0][i] + DRAWN[i] for i in range(2))
    z = Place(x + right * UNIT, y + down * UNIT, 8, 8)
    ellipse(d, z.x, z.y, 4, 4, LINE, LINE)
    d.label(z.x + 16, z.y + 17, "$z$", size=17)
    return Place(x, y, 128, 128), z


def ellipse(d: Drawing, x: float, y: float, rx: float, ry: float, fill: str, stroke: str) -> None:
    at = f'cx="{number(x)}" cy="{number(y)}" rx="{number(rx)}" ry="{number(ry)}"'
    d.parts.append(f'<ellipse {at} fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>')


def blurred(image: Tensor) -> Tensor:
    """A picture (3, H, W) as a decoder paints it that can't be sure of its edges."""
    return F.avg_pool2d(image[None], 5, stride=1, padding=2, count_include_pad=False)[0]
