"""Slides from the chapters, one file each: `python -m tools.slides simclr mae`, or `--all`.

`outline` decides what of a chapter goes on which slide, from its headings, cells and tags; the full text becomes the
speaker's notes. `deck` writes that with nbconvert's exporter for reveal.js, into one HTML file that needs no network.
"""

import sys
from pathlib import Path

from tools import notebooks
from tools.slides import deck, outline

OUT = notebooks.ROOT / "_build/slides"
SITE = "https://learning-without-labels.github.io/book/"  # where the README says that the book is read


def chapters() -> dict[str, Path]:
    """The notebooks of the table of contents by name, in reading order; the landing page is none."""
    paths = [(notebooks.ROOT / page).with_suffix(".ipynb") for page in notebooks.toc()[1:]]
    return {path.stem: path for path in paths if path.is_file()}


def make(path: Path, out: Path = OUT, site: str = SITE) -> Path:
    """Write the deck of one notebook, with the outputs of its last run, to `out`."""
    page = path.relative_to(notebooks.ROOT).with_suffix("").as_posix()
    html = deck.render(outline.slides(notebooks.with_outputs(path), page, site), page, site)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{path.stem}.html"
    target.write_text(html, encoding="utf-8")
    return target


def has_outputs(path: Path) -> bool:
    return any(cell.get("outputs") for cell in notebooks.with_outputs(path)["cells"])


def chosen(names: list[str]) -> list[Path]:
    """The notebooks of these names, or all for `--all`.

    Raises:
        SystemExit: none is named, or a name is no chapter's.
    """
    known = chapters()
    if names == ["--all"]:
        return list(known.values())
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        what = f"no chapter is called {', '.join(wrong)}" if wrong else "which chapter?"
        raise SystemExit(f"{what}: name some of {', '.join(known)}, or say --all")
    return [known[name] for name in names]


def main(arguments: list[str]) -> None:
    """`NAME … | --all`, and `--site=ADDRESS` for links that lead to another copy of the book."""
    sites = [a.removeprefix("--site=") for a in arguments if a.startswith("--site=")]
    paths = chosen([a for a in arguments if not a.startswith("--site=")])
    empty = [path.stem for path in paths if not has_outputs(path)]
    for path in paths:
        made = make(path, site=f"{sites[-1].rstrip('/')}/" if sites else SITE)
        print(f"{made}: {made.stat().st_size / 2**20:.1f} MiB", flush=True)
    if empty:
        names = ", ".join(empty)
        print(f"Not executed yet, so without figures and tables: {names}. Run `make book` first.", file=sys.stderr)
