"""How long a chapter takes: a line under its title, and `{run-times}`, a table of all.

In a text {to-read}`masked/bert, masked/beit` is the minutes that these pages ask for, beside this one, and
{to-run}`masked/bert, masked/beit` what their code took, one after the other. A page that is no notebook counts nothing.

To run: what its code took when this site was built. To read: what its own first lines say.
"""

import json
import re
from datetime import datetime
from pathlib import Path

from docutils import nodes
from sphinx.errors import SphinxError
from sphinx.util.docutils import SphinxDirective, SphinxRole

TO_READ = re.compile(r"\*\*Time:\*\*\s+about (\d+)\s+minutes")


def span(notebook):
    """When the first cell started and the last one ended, in seconds; the same moment if nothing was executed."""
    times = [t for cell in notebook["cells"] for t in cell["metadata"].get("execution", {}).values()]
    stamps = [datetime.fromisoformat(t).timestamp() for t in times] or [0.0]
    return min(stamps), max(stamps)


def seconds(*spans):
    """By the clock: how long at least one of them went on."""
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total, reached = total + max(0.0, end - max(start, reached)), max(reached, end)
    return total


def clock(s):
    return f"{round(s) // 60}:{round(s) % 60:02d}"


def minutes(notebook):
    """To read, as the text says; 0 where it says nothing."""
    texts = ("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    found = TO_READ.search("\n".join(texts))
    return int(found[1]) if found else 0


def notebook_of(env, page):
    path = Path(env.doc2path(page))
    return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".ipynb" else None


def add_line(app, doctree):
    """Under the title of every chapter, but not of the landing page."""
    env = app.env
    notebook = notebook_of(env, env.docname)
    title = next(doctree.findall(nodes.title), None)
    if notebook is None or title is None or env.docname == app.config.root_doc:
        return
    text = f"{clock(seconds(span(notebook)))} min to run"
    line = nodes.paragraph(text, text, classes=["times"])
    title.parent.insert(title.parent.index(title) + 1, line)


class RunTimes(SphinxDirective):
    def run(self):
        self.env.note_reread()
        books = {page: notebook_of(self.env, page) for page in self.env.external_site_map}
        times = {page: (minutes(n), span(n)) for page, n in books.items() if n}
        rows = [f"| {{doc}}`/{page}` | {m or '–'} | {clock(seconds(s))} |" for page, (m, s) in times.items()]
        read, spans = zip(*times.values())
        one_by_one, at_once = clock(sum(seconds(s) for s in spans)), clock(seconds(*spans))
        table = ["| Chapter | To read (min) | To run (min:s) |", "| --- | ---: | ---: |", *rows]
        table += [f"| **All, one after the other** | {sum(read)} | {one_by_one} |"]
        table += [f"| **All, side by side as they ran** | | **{at_once}** |"]
        return self.parse_text_to_nodes("\n".join(table))


class Sum(SphinxRole):
    """The times of several pages together."""

    def books(self):
        self.env.note_reread()  # they may have run again
        here = self.env.docname.rpartition("/")[0]
        pages = [f"{here}/{name.strip()}" for name in self.text.split(",")]
        missing = [page for page in pages if page not in self.env.found_docs]
        if missing:
            raise SphinxError(f"{self.env.docname}: {self.name} asks for {', '.join(missing)}, which is no page")
        return [book for page in pages if (book := notebook_of(self.env, page))]


class ToRead(Sum):
    def run(self):
        return [nodes.Text(str(sum(minutes(book) for book in self.books())))], []


class ToRun(Sum):
    def run(self):
        return [nodes.Text(clock(sum(seconds(span(book)) for book in self.books())))], []


def setup(app):
    app.add_directive("run-times", RunTimes)
    app.add_role("to-read", ToRead())
    app.add_role("to-run", ToRun())
    app.connect("doctree-read", add_line)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
