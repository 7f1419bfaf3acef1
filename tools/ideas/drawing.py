"""Boxes, arrows, labels and small images, put together to an SVG by hand.

Places are in units of the picture, from its top left corner. A picture is 480 wide, so that words of 15 can be read on
a phone; it brings its own light ground, and is the same in a dark page. Text stays text. In a label, `$z_1$` is set as
a formula: italic, with `_` and `^` for what stands lower and higher.

In the pictures of methods blue is the encoder, purple the projector, green the predictor or decoder, and orange what
gets no gradient.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sslbook import shapes
from sslbook.figures import COLORS
from sslbook.views import Augmentation

BLUE, ORANGE, GREEN, PURPLE, YELLOW, GREY = COLORS
INK, LINE, PAPER = "#1d2229", "#555b63", "#fdfdfb"
WORDS = "system-ui, 'Segoe UI', Roboto, Helvetica, Arial, 'Liberation Sans', sans-serif"
FORMULA = "'STIX Two Text', 'Times New Roman', 'Liberation Serif', Times, serif"
HEAD = 9  # the length of an arrow's head

Point = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Where something was drawn: its middle and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def top(self) -> Point:
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y + self.height / 2


class Drawing:
    """An SVG in the making; `alt` says in words what it shows."""

    def __init__(self, height: int, alt: str, width: int = 480):
        self.width, self.height, self.alt = width, height, alt
        self.parts: list[str] = []

    def svg(self) -> str:
        """The whole file. Nothing in it has an id, and there is no style sheet, so that many fit into one page."""
        ground = self.rectangle(self.width / 2, self.height / 2, self.width - 2, self.height - 2, PAPER, "#d9dce1", 1)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'role="img" aria-label="{escape(self.alt)}" fill="none" font-family="{WORDS}" '
            f'style="max-width:100%;height:auto">\n' + "\n".join([ground, *self.parts]) + "\n</svg>\n"
        )

    @staticmethod
    def rectangle(x: float, y: float, width: float, height: float, fill: str, stroke: str, line: float = 2) -> str:
        return (
            f'<rect x="{number(x - width / 2)}" y="{number(y - height / 2)}" width="{number(width)}" '
            f'height="{number(height)}" rx="8" fill="{fill}" stroke="{stroke}" stroke-width="{line}"/>'
        )

    def box(self, x: float, y: float, words: str, color: str = BLUE, width: float = 76, height: float = 50) -> Place:
        """Words in a box around (x, y)."""
        self.parts.append(self.rectangle(x, y, width, height, tint(color), color))
        self.label(x, y, words)
        return Place(x, y, width, height)

    def label(
        self, x: float, y: float, words: str, *, size: int = 15, anchor: str = "middle", bold: bool = False
    ) -> None:
        """Lines of text whose block has its middle at height y; `anchor` is start, middle or end."""
        lines = words.split("\n")
        step = 1.22 * size
        weight = ' font-weight="600"' if bold else ""
        for i, line in enumerate(lines):
            baseline = y + 0.35 * size + (i - (len(lines) - 1) / 2) * step
            self.parts.append(
                f'<text x="{number(x)}" y="{number(baseline)}" font-size="{size}" text-anchor="{anchor}"{weight} '
                f'fill="{INK}">{typeset(line, size)}</text>'
            )

    def symbol(self, x: float, y: float, formula: str, width: float = 30) -> Place:
        """A formula that stands for a value, as a place that arrows end at."""
        self.label(x, y, f"${formula}$", size=19)
        return Place(x, y, width, 30)

    def line(self, points: Sequence[Point], color: str = LINE, width: float = 2, dashed: bool = False) -> None:
        path = "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
        dashes = ' stroke-dasharray="2 5" stroke-linecap="round"' if dashed else ""
        self.parts.append(f'<path d="{path}" stroke="{color}" stroke-width="{number(width)}"{dashes}/>')

    def arrow(self, *points: Point, both: bool = False, dashed: bool = False) -> None:
        """From the first point to the last, past those between; `both` has a head at each end."""
        ends = list(points)
        ends[-1] = self._head(points[-2], points[-1])
        if both:
            ends[0] = self._head(points[1], points[0])
        self.line(ends, dashed=dashed)

    def _head(self, start: Point, tip: Point) -> Point:
        """An arrow's head at `tip`; returns where its line has to end."""
        length = math.dist(start, tip)
        dx, dy = (tip[0] - start[0]) / length, (tip[1] - start[1]) / length
        x, y = tip[0] - HEAD * dx, tip[1] - HEAD * dy
        side = 0.45 * HEAD
        corners = [tip, (x - side * dy, y + side * dx), (x + side * dy, y - side * dx)]
        path = "M" + "L".join(f"{number(a)} {number(b)}" for a, b in corners) + "Z"
        self.parts.append(f'<path d="{path}" fill="{LINE}"/>')
        return x, y

    def stop(self, x: float, y: float) -> None:
        """The mark of a stop-gradient on an arrow: two strokes across it."""
        for shift in (-4, 4):
            self.line([(x + shift - 4, y + 10), (x + shift + 4, y - 10)], ORANGE, 2.5)

    def image(self, x: float, y: float, side: float, pixels: Tensor, frame: str = "#b9bec6") -> Place:
        """Pixels (3, H, W), uint8 or floats in [0, 1], `side` wide, each a crisp square."""
        height = side * pixels.shape[1] / pixels.shape[2]
        at = f'x="{number(x - side / 2)}" y="{number(y - height / 2)}" width="{number(side)}" height="{number(height)}"'
        self.parts.append(
            f'<image {at} href="{png(pixels)}" style="image-rendering:pixelated"/>'
            f'<rect {at} stroke="{frame}" stroke-width="2"/>'
        )
        return Place(x, y, side, height)

    def matrix(self, x: float, y: float, cell: float, values: Tensor) -> Place:
        """A matrix of values in [-1, 1]: blue above zero, orange below, white at zero."""
        rows, columns = values.shape
        left, top = x - columns * cell / 2, y - rows * cell / 2
        for i, row in enumerate(values.tolist()):
            for j, value in enumerate(row):
                color = tint(BLUE if value > 0 else ORANGE, min(abs(value), 1))
                self.parts.append(
                    f'<rect x="{number(left + j * cell)}" y="{number(top + i * cell)}" width="{cell}" height="{cell}" '
                    f'fill="{color}" stroke="#c9cdd3"/>'
                )
        return Place(x, y, columns * cell, rows * cell)

    def frame(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """A frame that points something out."""
        at = f'x="{number(x - width / 2)}" y="{number(y - height / 2)}" width="{number(width)}"'
        self.parts.append(f'<rect {at} height="{number(height)}" stroke="{color}" stroke-width="3"/>')


def number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def tint(color: str, strength: float = 0.12) -> str:
    """The colour mixed with white."""
    mixed = [round(255 + strength * (int(color[i : i + 2], 16) - 255)) for i in (1, 3, 5)]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def typeset(line: str, size: int) -> str:
    """A line of words and $formulas$ as the content of a <text>."""
    pieces = line.split("$")
    for i in range(1, len(pieces), 2):
        pieces[i] = formula(pieces[i], size)
    pieces[::2] = [escape(words) for words in pieces[::2]]
    return "".join(pieces)


def formula(text: str, size: int) -> str:
    """z_1, z^A, q_θ(z_θ): letters italic, digits and brackets upright; a longer index stands in braces."""
    size = 1.13 * size  # letters with serifs look smaller than those of words
    spans, height = [], 0
    for kind, braced, single, plain in re.findall(r"([_^])(?:\{([^}]*)\}|(.))|([^_^]+)", text):
        wanted = {"_": 0.22, "^": -0.36, "": 0}[kind] * size
        font = f'font-family="{FORMULA}" font-size="{number(0.75 * size if kind else size)}"'
        for part in re.findall(r"[^\W\d]+|[\W\d]+", plain or braced or single):
            slant = ' font-style="italic"' if part[0].isalpha() else ""
            shift = f' dy="{number(wanted - height)}"' if wanted != height else ""
            spans.append(f"<tspan {font}{slant}{shift}>{escape(part)}</tspan>")
            height = wanted
    if height:  # what follows stands on the line again
        spans.append(f'<tspan dy="{number(-height)}">\u200b</tspan>')
    return "".join(spans)


def png(pixels: Tensor) -> str:
    """Pixels (3, H, W), uint8 or floats in [0, 1], as a data URI."""
    if pixels.is_floating_point():
        pixels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def shape(name: str, skip: int = 0) -> Tensor:
    """One of the book's shapes (3, 32, 32), uint8: large, in the middle of a light ground; `skip` so many of these."""
    images, labels, factors = shapes.draw(4096)
    fits = (labels == shapes.CLASSES.index(name)) & (factors["scale"] > 0.55) & (factors["background"] > 0.75)
    for place in ("x", "y"):
        fits &= factors[place].abs() < 0.3
    return images[fits.nonzero()[skip, 0]]


def two_views(image: Tensor, seed: int) -> list[Tensor]:
    """Two random views (3, 24, 24) of an image: milder than those of a training, so that the shape can be seen."""
    view = Augmentation(
        24, scale=(0.4, 0.7), flip=0.5, jitter=1.0, brightness=0.3, contrast=0.2, saturation=0.4, hue=0.5
    )
    generator = torch.Generator().manual_seed(seed)
    return [view(image[None], generator)[0] for _ in range(2)]


def tiled(patches: Tensor, columns: int) -> Tensor:
    """Patches (n, 4, 4, 3) side by side, as one image (3, H, W)."""
    rows = patches.unflatten(0, (-1, columns))  # (rows, columns, 4, 4, 3)
    return rows.permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)


def cut(d: Drawing, image: Place, rows: int, columns: int) -> None:
    """Light lines between an image's patches."""
    left, top = image.left[0], image.top[1]
    for i in range(1, rows):
        y = top + i * image.height / rows
        d.line([(left, y), (left + image.width, y)], PAPER, 2)
    for i in range(1, columns):
        x = left + i * image.width / columns
        d.line([(x, top), (x, top + image.height)], PAPER, 2)
