"""Write the skeleton of a method's chapter: `python -m tools.new_chapter BarlowTwins book/redundancy`.

The method has to be registered. What is left to write is marked TODO; a test finds what stays.
"""

import sys
from pathlib import Path

import yaml

from sslbook.methods import METHODS, Entry
from tools import notebooks

TITLE = """\
# {label}

TODO: what the method does, in three sentences, with {{cite:t}}`{paper}`.

**What you will be able to do**

- TODO

**Before you start:** TODO. **Time:** TODO minutes of reading; the last cell prints how long the code took."""

SETUP = """\
import torch

from sslbook.chapter import Lab, idea, show_source
from sslbook.methods import {name}
from sslbook.pretrain import pretrain

lab = Lab("{name}")
plan, train, test, recipe = lab.plan, lab.train, lab.test, lab.recipe"""

TRAIN = """\
torch.manual_seed(0)
{module} = {name}(lab.encoder(), **recipe.method).to(lab.device)
history = pretrain({module}, train, **recipe.train, callbacks=[lab.probe()])
lab.curves(history)"""

BREAK = """\
changes = {{"complete": {{}}, "TODO: without its trick": {{"TODO": None}}}}
broken = lab.break_it(changes, z=lambda {module}: {module}.TODO)
broken.table()"""

PREDICT = """\
```{{exercise}} Predict
:label: ex-{module}-todo
TODO: a question whose answer stands after the table.
```

```{{solution}} ex-{module}-todo
:class: dropdown
TODO
```"""

# what stands under each heading: markdown, or the id and the source of a code cell
PARTS = {
    "The idea in one picture": [("idea-picture", 'idea("{module}")'), "TODO: the picture in words."],
    "The equation": ["$$\nTODO\n$$ (eq-{module})"],
    "The code": [("code-{module}", "show_source({name})"), "TODO: what to look at."],
    "Train it": [("train", TRAIN)],
    "What it learned": ["**Predict.** TODO", ("table", "lab.table({module}.encoder)"), "TODO: read it row by row."],
    "What it draws": ["TODO: pictures, and what they are measured by."],
    "Touch it": ["TODO: a widget."],
    "Break it": ["TODO: predict first.", ("break-train", BREAK), "TODO: what happened."],
    "On real photos": [("cifar", "lab.photos()")],
    "On your own text": ["TODO: the same on a text file."],
    "Traps": ["**TODO.** With evidence."],
    "Exercises": [PREDICT],
    "Summary": ["- TODO"],
    "References and further reading": ["{{cite:t}}`{paper}`. TODO", ("runtime", "lab.clock()")],
}


def skeleton(entry: Entry, path: Path) -> dict:
    """The notebook of a method's chapter, to be stored at `path`."""
    name, module = entry.method.__name__, entry.method.__module__.rpartition(".")[2]
    words = dict(name=name, module=module, label=entry.label, paper=entry.paper)
    cells = [markdown("title", TITLE, words), code("setup", SETUP, words)]
    for heading in notebooks.headings(entry.family):
        written = f"## {heading}"
        for part in PARTS[heading]:
            if isinstance(part, str):
                written = f"{written}\n\n{part}".strip()
                continue
            if written:
                cells.append(markdown("", written, words))
                written = ""
            cells.append(code(part[0].format(**words), part[1], words))
        if written:
            cells.append(markdown("", written, words))
    next(cell for cell in cells if cell["id"] == "idea-picture")["metadata"]["tags"] = ["hide-input"]
    return notebooks.cleaned({"cells": cells}, path)


def markdown(name: str, source: str, words: dict) -> dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": source.format(**words)}


def code(name: str, source: str, words: dict) -> dict:
    return markdown(name, source, words) | {"cell_type": "code"}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in METHODS:
        print(f"usage: python -m tools.new_chapter METHOD FOLDER; methods are {', '.join(METHODS)}")
        return 2
    entry = METHODS[arguments[0]]
    module = entry.method.__module__.rpartition(".")[2]
    path = Path(arguments[1]).resolve() / f"{module}.ipynb"
    if not path.is_relative_to(notebooks.BOOK):
        print(f"{path.parent} lies outside book/")
        return 2
    if path.exists():
        print(f"{path} is there already")
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebooks.dump(skeleton(entry, path)), encoding="utf-8")
    mapped = [m["chapter"] for f in yaml.safe_load((notebooks.BOOK / "methods.yml").read_text()) for m in f["methods"]]
    print(f"{path}\nNext: its line in _toc.yml" + ("" if module in mapped else " and in book/methods.yml"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
