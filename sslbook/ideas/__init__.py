"""The pictures that open the chapters, as SVG files; tools/ideas draws them.

They are a part of the package, since Colab shows no image that lies beside a notebook in its repository.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Idea:
    """A picture; the last line of a cell shows it."""

    svg: str

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        return unescape(re.search('aria-label="([^"]*)"', self.svg)[1])

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.alt


def idea(name: str) -> Idea:
    """The picture of a chapter, by the name of the chapter's file: `idea("simclr")`.

    Raises:
        ValueError: there is no picture of this name.
    """
    path = FOLDER / f"{name}.svg"
    if not path.is_file():
        names = sorted(p.stem for p in FOLDER.glob("*.svg"))
        raise ValueError(f"there is no idea picture {name!r}, only {', '.join(names)}")
    return Idea(path.read_text(encoding="utf-8"))
