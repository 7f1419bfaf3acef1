"""The chapters' idea pictures: `python -m tools.ideas` draws every one anew.

One file a picture, with a function `draw`; its name is the picture's. They go to sslbook/ideas/<name>.svg, as a part of
the package, where `idea("<name>")` finds them also on Colab, which shows no picture that lies beside a notebook.
"""

import importlib
from pathlib import Path

from tools.notebooks import ROOT

FOLDER = ROOT / "sslbook/ideas"


def names() -> list[str]:
    """The pictures there are."""
    helpers = ("__init__", "__main__", "drawing")
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in helpers)


def draw(name: str) -> str:
    """The SVG of one picture; the same bytes each time."""
    return importlib.import_module(f"tools.ideas.{name}").draw().svg()
