"""A progress bar that leaves one line behind: in a terminal, in a live notebook and on the printed page."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from tqdm import tqdm


class _NotebookLine:
    """A text stream whose last line is shown in place; plain carriage returns would pile up in a saved notebook."""

    def __init__(self):
        from IPython.display import display

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self.handle.update({"text/plain": line}, raw=True)

    def flush(self) -> None:
        pass


def in_notebook() -> bool:
    """Is this a Jupyter kernel (Colab, VS Code and nbmake too)?"""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def progress_bar(iterable: Iterable | None = None, *, show: bool = True, **options) -> tqdm:
    """tqdm with this book's defaults; `options` are tqdm's. As for tqdm, TQDM_DISABLE=1 in the environment hides it."""
    show = show and os.environ.get("TQDM_DISABLE", "0") in ("", "0")
    options = {"ncols": 96, "mininterval": 0.5, "disable": not show, **options}
    if show and in_notebook():
        options["file"] = _NotebookLine()
    return tqdm(iterable, **options)
