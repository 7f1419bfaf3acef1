"""`{run-times}`: a table of the chapters and of the time that their code took when this site was built."""

import json
from datetime import datetime
from pathlib import Path

from sphinx.util.docutils import SphinxDirective


def seconds(notebook):
    """Wall-clock time from the first cell's start to the last cell's end; 0 if nothing was executed."""
    times = [t for cell in notebook["cells"] for t in cell["metadata"].get("execution", {}).values()]
    stamps = [datetime.fromisoformat(t) for t in times]
    return (max(stamps) - min(stamps)).total_seconds() if stamps else 0.0


def clock(s):
    return f"{round(s) // 60}:{round(s) % 60:02d}"


class RunTimes(SphinxDirective):
    def run(self):
        self.env.note_reread()
        paths = {doc: Path(self.env.doc2path(doc)) for doc in self.env.external_site_map}
        times = {d: seconds(json.loads(p.read_text())) for d, p in paths.items() if p.suffix == ".ipynb"}
        rows = [f"| {{doc}}`/{doc}` | {clock(s)} |" for doc, s in times.items()]
        table = ["| Chapter | Time (min:s) |", "| --- | ---: |", *rows, f"| **All** | {clock(sum(times.values()))} |"]
        return self.parse_text_to_nodes("\n".join(table))


def setup(app):
    app.add_directive("run-times", RunTimes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
