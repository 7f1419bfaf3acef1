"""The embedded image set: 32 px pictures of eight shapes, drawn from a seed, every generating factor a label.

Hard for pixels and easy for a good representation: what makes a class is only the outline, while place, size, turn,
hue and background change from picture to picture. Drawn from signed distances (negative inside), all at once.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

SIZE = 32
UNIFORMS = 10  # numbers that decide a picture, beside its shape and the noise
TURN = 0.6  # pictures are turned by up to this many radians either way


def _disc(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 0.8


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.65).abs() - 0.2


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(0.866 * x.abs() + 0.5 * y, -y) - 0.45


def _plus(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(torch.maximum(x.abs(), y.abs()) - 0.85, torch.minimum(x.abs(), y.abs()) - 0.26)


def _star(x: Tensor, y: Tensor) -> Tensor:
    fifth = 2 * math.pi / 5
    angle = (torch.atan2(x, y) + fifth / 2) % fifth - fifth / 2  # every arm folded onto the upward one
    radius = torch.hypot(x, y)
    return 0.905 * (radius * angle.sin()).abs() + 0.426 * radius * angle.cos() - 0.426 * 0.95


def _moon(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(torch.hypot(x, y) - 0.85, 0.68 - torch.hypot(x - 0.4, y))


def _heart(x: Tensor, y: Tensor) -> Tensor:
    x = x.abs()
    lobe = torch.hypot(x - 0.4, y - 0.3) - 0.45
    point = torch.maximum(0.7071 * (x - y - 0.736), y - 0.3)
    return torch.minimum(lobe, torch.maximum(point, x + y - 1.0))


def _bowtie(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(x.abs() - 0.8, 0.7071 * (y.abs() - x.abs()) - 0.06)


DISTANCES = dict(
    disc=_disc, ring=_ring, triangle=_triangle, plus=_plus, star=_star, moon=_moon, heart=_heart, bowtie=_bowtie
)
CLASSES = tuple(DISTANCES)


def draw(n: int, seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Draw n pictures; the same n and seed give the same pictures.

    Returns:
        images (n, 3, 32, 32) uint8; labels (n,) int64, indices into `CLASSES`; and the factors, each (n,) float32:
        hue in [0, 1), scale, turn in radians, x and y of the centre in [-1, 1], background brightness in [0, 1].
    """
    if n < 1:
        raise ValueError(f"n is how many pictures to draw, at least 1, got {n}")
    generator = torch.Generator().manual_seed(_mixed(seed))
    labels = torch.randint(len(CLASSES), (n,), generator=generator)
    u = torch.rand(UNIFORMS, n, generator=generator)
    noise = torch.randn(n, 3, SIZE, SIZE, generator=generator)
    images, factors = painted(labels, u, noise)
    return images, labels, factors


def painted(labels: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Images and factors of `draw`, with no randomness in here; widgets/shapes.js does the same in a page.

    Args:
        labels: (n,) int64.
        u: (UNIFORMS, n) in [0, 1), what decides a picture.
        noise: (n, 3, 32, 32), standard normal.
    """
    factors = dict(
        hue=u[0],
        scale=0.34 + 0.38 * u[1],
        turn=TURN * (2 * u[2] - 1),
        x=0.55 * (2 * u[3] - 1),
        y=0.55 * (2 * u[4] - 1),
        background=0.62 + 0.33 * u[5],
    )
    inside = cover(labels, factors)
    right, down = _axes()
    across, along, background = (
        values.view(-1, 1, 1) for values in (2 * u[8] - 1, 2 * u[9] - 1, factors["background"])
    )
    ink = _rgb(factors["hue"], saturation=0.65 + 0.35 * u[6], value=0.25 + 0.3 * u[7])[:, :, None, None]
    light = across * right + along * down  # falls off to one side
    paper = (background + 0.18 * light)[:, None]
    images = torch.lerp(paper, ink, inside[:, None])
    images += 0.02 * noise
    return (images.clamp_(0, 1) * 255).round().to(torch.uint8), factors


def cover(labels: Tensor, factors: dict[str, Tensor]) -> Tensor:
    """How much of each pixel lies inside the shape: (n, 32, 32) in [0, 1], from what `draw` says of n pictures."""
    n = len(labels)
    scale, turn, x, y = (factors[f].view(n, 1, 1) for f in ("scale", "turn", "x", "y"))
    right, down = _axes()
    dx, dy = (right - x) / scale, (down - y) / scale
    px, py = turn.cos() * dx + turn.sin() * dy, turn.cos() * dy - turn.sin() * dx  # in the shape's own frame
    inside = torch.empty(n, SIZE, SIZE)
    for label, distance in enumerate(DISTANCES.values()):
        rows = (labels == label).nonzero()[:, 0]
        pixels = distance(px[rows], py[rows]) * scale[rows] * SIZE / 2
        inside[rows] = (0.5 - pixels).clamp(0, 1)
    return inside


def _axes() -> tuple[Tensor, Tensor]:
    """Of the pixels' centres x, rightward, and y, upward, in [-1, 1]."""
    axis = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return axis.view(1, 1, SIZE), -axis.view(1, SIZE, 1)


def _mixed(seed: int) -> int:
    """A seed of 32 bits, as many as torch's CPU generator reads, that nobody types.

    With the seed itself `torch.manual_seed(0); torch.randint(8, (4096,))` would be the labels of the training images:
    a random tensor in a reader's code could know them.
    """
    return int.from_bytes(hashlib.sha256(f"shapes {seed}".encode()).digest()[:4], "big")


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """HSV (n,) each in [0, 1] to RGB (n, 3)."""
    k = (torch.tensor([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(k, 4 - k).clamp(0, 1))
