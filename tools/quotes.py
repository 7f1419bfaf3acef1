"""Numbers in the text that come from logs: write them, or say where text and log disagree.

    python -m tools.quotes [--check]

In README.md and in the book's text `<!--=cpu|SimCLR|kNN-->0.885<!--/-->` is the mean over the seeds of what the logs
results/cpu/simclr-*.json say, and `<!--=bench|views|kornia-->3.4<!--/-->` how many times as fast as kornia the views
are made in benchmarks/2-cores.json.
"""

import json
import re
import sys
from pathlib import Path

from sslbook import results
from tools import notebooks

MARKED = re.compile(r"(<!--=([^>]*?)-->)(.*?)(<!--/-->)", re.DOTALL)


def value(source: str) -> str:
    """What the logs say to "budget|encoder|question", or to "bench|comparison|rival"."""
    budget, encoder, question = source.split("|")
    if budget == "bench":
        return times(encoder, question)
    rows = results.rows(budget, [encoder])
    if not rows or question not in rows[0]:
        raise SystemExit(f"no log in results/{budget} answers {question!r} of {encoder!r}, as the text quotes it")
    return f"{rows[0][question]:.2f}"


def times(comparison: str, rival: str) -> str:
    """How many times as fast as a rival the package was, in the log of `make bench` on two cores."""
    rows = json.loads((notebooks.ROOT / "benchmarks/2-cores.json").read_text())["rows"]
    for row in rows:
        if row["comparison"] == comparison and row["contender"] == rival:
            return f"{row['times']:.1f}" if row["times"] < 10 else f"{row['times']:.0f}"
    raise SystemExit(f"benchmarks/2-cores.json has no rival {rival!r} in {comparison!r}, as the text quotes it")


def quoted(text: str) -> str:
    """The text with every marked number as the logs have it."""
    return MARKED.sub(lambda m: m[1] + value(m[2]) + m[4], text)


def files() -> list[Path]:
    text = [*sorted(notebooks.BOOK.rglob("*.md")), notebooks.BOOK / "questions.yml"]
    return [notebooks.ROOT / "README.md", *text, *notebooks.notebooks()]


def rewritten(path: Path) -> str:
    """The file's content with its marked numbers brought up to date."""
    if path.suffix != ".ipynb":
        return quoted(path.read_text(encoding="utf-8"))
    notebook = notebooks.load(path)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = quoted(notebooks.text(cell))
    return notebooks.dump(notebooks.cleaned(notebook, path))


def main() -> None:
    stale = [path for path in files() if rewritten(path) != path.read_text(encoding="utf-8")]
    for path in stale:
        print(f"{path.relative_to(notebooks.ROOT)}: numbers differ from the logs")
        if "--check" not in sys.argv:
            path.write_text(rewritten(path), encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit("run `make numbers`")


if __name__ == "__main__":
    main()
