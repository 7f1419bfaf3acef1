import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.ideas.drawing import BLUE, GREEN, ORANGE, PURPLE, Drawing, Place, shape

ALT = (
    "Two turns. In the discriminator's turn the generator makes a picture from a code z. An encoder and a linear layer "
    "score it and a real picture: the score of the real one must rise, that of the made one fall, and the generator "
    "gets no gradient. In the generator's turn the same score must rise: the gradient passes the discriminator, which "
    "is held, and moves the generator. The discriminator's encoder is what is kept."
)


def draw() -> Drawing:
    d = Drawing(352, ALT)
    real, made = shape("star", 1) / 255, bent(shape("moon", 2) / 255)
    d.label(14, 24, "discriminator's turn: tell them apart", anchor="start", bold=True)
    top, below = 74, 140
    shown = d.image(170, top, 52, real)
    fake = painted(d, below, made, ORANGE)
    encoder, head = judges(d, (top + below) / 2, 116, BLUE, PURPLE)
    d.arrow(shown.right, (encoder.left[0], top))
    d.arrow(fake.right, (encoder.left[0], below))
    d.stop(206, below)
    d.label(134, top, "real", anchor="end")
    d.label(258, 182, "$f$ is kept")
    d.label(372, head.y, "real: up\nmade: down", anchor="start")

    d.label(14, 206, "generator's turn: look real", anchor="start", bold=True)
    y = 258
    fake = painted(d, y, made, GREEN)
    encoder, head = judges(d, y, 58, ORANGE, ORANGE)
    d.arrow(fake.right, encoder.left)
    d.label(372, y, "made: up", anchor="start")
    line = 312
    d.arrow((head.x, y + 18), (head.x, line), (82, line), (82, y + 25), dashed=True)
    d.label(206, line + 18, "the gradient's way back to $G$")
    return d


def painted(d: Drawing, y: float, made: Tensor, color: str) -> Place:
    """A code, the generator, and the picture that it makes."""
    z = d.symbol(16, y, "z", width=18)
    generator = d.box(82, y, "generator\n$G$", color, width=88, height=50)
    fake = d.image(170, y, 52, made)
    d.arrow(z.right, generator.left)
    d.arrow(generator.right, fake.left)
    return fake


def judges(d: Drawing, y: float, height: float, body: str, last: str) -> tuple[Place, Place]:
    """The discriminator: an encoder and one linear layer."""
    encoder = d.box(258, y, "encoder\n$f$", body, width=72, height=height)
    head = d.box(330, y, "$w$", last, width=36, height=36)
    d.arrow(encoder.right, head.left)
    d.arrow(head.right, (368, y))
    return encoder, head


def bent(image: Tensor) -> Tensor:
    """A picture (3, H, W) with waves in it and soft edges: nearly right, as a generator's are."""
    along = torch.linspace(-1, 1, image.shape[1])
    y, x = torch.meshgrid(along, along, indexing="ij")
    places = torch.stack([x + 0.14 * torch.sin(math.pi * 1.6 * y), y + 0.1 * torch.sin(math.pi * 2.2 * x)], dim=2)
    waved = F.grid_sample(image[None], places[None], padding_mode="border", align_corners=True)
    return F.avg_pool2d(waved, 3, stride=1, padding=1, count_include_pad=False)[0]
