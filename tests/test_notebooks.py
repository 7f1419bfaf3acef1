"""Every notebook of the book in its stored form: `make format` mends most of what fails here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sslbook.methods import METHODS
from tools import new_chapter, notebooks
from tools.notebooks import ROOT

CHAPTERS = {entry.method.__module__.rpartition(".")[2]: entry for entry in METHODS.values()}  # by the file's name

paths = notebooks.notebooks()
each_notebook = pytest.mark.parametrize("path", paths, ids=[p.relative_to(notebooks.BOOK).as_posix() for p in paths])


@each_notebook
def test_is_stored_clean(path):
    notebook = notebooks.load(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None, f"cell {cell['id']} has outputs"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    clean = notebooks.dump(notebooks.cleaned(notebook, path))
    assert path.read_text(encoding="utf-8") == clean, "run `make format`"


@each_notebook
def test_badge_opens_this_notebook(path):
    address = notebooks.repository()["url"].removeprefix("https://github.com/")
    first = notebooks.load(path)["cells"][0]
    assert first["cell_type"] == "markdown" and notebooks.text(first).startswith("# ")
    link = (
        f"(https://colab.research.google.com/github/{address}/blob/main/{path.relative_to(notebooks.ROOT).as_posix()})"
    )
    assert re.findall(r"\[!\[Open in Colab\]\([^)]*\)\](\([^)]*\))", notebooks.text(first)) == [link]


@each_notebook
def test_first_code_cell_is_the_bootstrap(path):
    code = [c for c in notebooks.load(path)["cells"] if c["cell_type"] == "code"]
    assert notebooks.text(code[0]) == notebooks.bootstrap()
    assert code[0]["metadata"]["tags"] == ["remove-cell"]
    assert f'"git+{notebooks.repository()["url"]}"' in notebooks.text(code[0])


@each_notebook
def test_no_other_address_of_the_repository(path):
    """A link to the book's repository elsewhere in the text would be forgotten when it moves."""
    owner = notebooks.repository()["url"].removeprefix("https://github.com/")
    cells = [c for c in notebooks.load(path)["cells"] if c["id"] != notebooks.BOOTSTRAP_ID]
    assert sum(notebooks.text(c).count(owner) for c in cells) == 1  # the badge


@pytest.mark.parametrize("path", [p for p in paths if p.stem in CHAPTERS], ids=lambda p: p.stem)
def test_method_chapter_has_its_parts(path):
    cells = [notebooks.text(c) for c in notebooks.load(path)["cells"] if c["cell_type"] == "markdown"]
    headings = re.findall(r"^## (.+?)\s*$", "\n".join(cells), flags=re.MULTILINE)
    wanted = notebooks.headings(CHAPTERS[path.stem].family)
    free = [*notebooks.OPTIONAL, *notebooks.FREE]
    fixed = [heading for heading in wanted if heading not in free]
    assert [h for h in headings if h in fixed] == fixed
    assert headings.index("What it learned") < headings.index("Touch it") < headings.index("Traps")
    assert "TODO" not in "".join(cells)


@pytest.mark.parametrize("name", METHODS)
def test_a_skeleton_has_its_parts_and_is_stored_clean(name):
    path = notebooks.BOOK / "part/new.ipynb"
    made = new_chapter.skeleton(METHODS[name], path)
    assert notebooks.cleaned(made, path) == made
    text = "\n".join(notebooks.text(c) for c in made["cells"] if c["cell_type"] == "markdown")
    assert re.findall(r"^## (.+?)\s*$", text, flags=re.MULTILINE) == notebooks.headings(METHODS[name].family)
    assert "TODO" in text


@each_notebook
def test_what_a_reader_sees_open_is_the_lesson(path):
    """Claims are checked in cells that are folded, and what a figure shows stands in its cell's metadata."""
    for cell in notebooks.load(path)["cells"]:
        if cell["cell_type"] != "code":
            continue
        source, is_open = notebooks.text(cell), "hide-input" not in cell["metadata"].get("tags", [])
        is_exercise = cell["id"].startswith("exercise")
        assert "alt=" not in source and not re.search(r"^\s*alt \+?= ", source, flags=re.MULTILINE), cell["id"]
        if is_open and not is_exercise:
            assert not re.search(r"^\s*assert ", source, flags=re.MULTILINE), cell["id"]


def test_table_of_contents_names_every_page_once():
    pages = [p.relative_to(notebooks.ROOT).with_suffix("").as_posix() for p in notebooks.BOOK.rglob("*.md")]
    books = [p.relative_to(notebooks.ROOT).with_suffix("").as_posix() for p in paths]
    assert sorted(notebooks.toc()) == sorted(pages + books)


def test_cleaning_twice_changes_nothing(tmp_path):
    """Also for a notebook as an editor leaves it: outputs, no ids, twice the same cell, no badge."""
    code = {"cell_type": "code", "metadata": {"scrolled": True}, "source": "1 + 1", "execution_count": 3}
    code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "2"}]
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# Title\n", "\n", "Text"]}, dict(code), dict(code)]
    path = notebooks.BOOK / "part/chapter.ipynb"
    once = notebooks.cleaned({"cells": cells, "metadata": {}}, path)
    assert notebooks.cleaned(once, path) == once
    assert [c["cell_type"] for c in once["cells"]] == ["markdown", "code", "code", "code"]
    assert "/blob/main/book/part/chapter.ipynb" in notebooks.text(once["cells"][0])
    assert all(not c["outputs"] and not c["metadata"] for c in once["cells"][2:])


def test_text_alone_needs_no_new_run():
    def notebook(text, code):
        cells = [{"cell_type": "markdown", "source": text}, {"cell_type": "code", "source": code, "metadata": {}}]
        return {"cells": cells}

    first = notebooks.key(notebook("a", "1"), b"")
    assert first == notebooks.key(notebook("b", "1"), b"")
    assert first != notebooks.key(notebook("a", "2"), b"")
    assert first != notebooks.key(notebook("a", "1"), b"the package changed")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """What git has of the package and its logs, in a folder of its own."""
    tracked = subprocess.run(["git", "ls-files", "-z", "sslbook", "results"], cwd=ROOT, capture_output=True, text=True)
    for name in [*tracked.stdout.strip("\0").split("\0"), "pyproject.toml", "requirements.txt"]:
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    return tmp_path


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_key_digests_what_git_has_of_the_package(clone):
    digested = {path.relative_to(clone).as_posix() for path in notebooks.package_files()}
    others = files(clone) - digested - {"pyproject.toml", "requirements.txt"}
    assert others == {"sslbook/methods/ruff.toml"}


def test_linting_testing_running_and_editing_leave_every_notebook_fresh(clone):
    """`make test` lints before it looks for notebooks to execute: else it would execute the whole book once more."""
    before, there = notebooks.shared_inputs(), files(clone)
    (clone / "test_it.py").write_text("from sslbook import vit\n\n\ndef test():\n    assert vit\n")
    environment = os.environ | {"PYTHONPATH": str(clone)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for command in ("ruff check sslbook", "ruff format --check sslbook", "pytest test_it.py", "compileall -q sslbook"):
        subprocess.run(
            [sys.executable, "-m", *command.split()], cwd=clone, env=environment, capture_output=True, check=True
        )
    leftovers = [".vit.py.swp", ".#vit.py", "#vit.py#", "vit.py~", "vit.py.orig", "vit.py.rej", "4913", ".DS_Store"]
    leftovers += [".ipynb_checkpoints/vit.py", "Thumbs.db", "vit.py.part", ".mypy_cache/vit.json"]
    for name in leftovers:
        for folder in ("sslbook", "sslbook/methods", "sslbook/widgets", "sslbook/weights", "results/cpu"):
            (clone / folder / name).parent.mkdir(exist_ok=True)
            (clone / folder / name).write_text("left behind")
    made = {part for name in files(clone) - there for part in Path(name).parts}
    assert {"__pycache__", ".ruff_cache", ".pytest_cache"} <= made
    assert notebooks.shared_inputs() == before


CHANGES = ["sslbook/vit.py", "sslbook/methods/mae.py", "sslbook/widgets/page.js", "sslbook/widgets/choosing.json"]
CHANGES += ["sslbook/ideas/mae.svg", "sslbook/weights/mae-shapes.safetensors", "results/cpu/mae-0.json"]
CHANGES += ["requirements.txt", "sslbook/new.py", "results/studies/new.json"]


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_package_or_its_logs_makes_notebooks_stale(name, clone):
    before = notebooks.shared_inputs()
    with open(clone / name, "ab") as file:
        file.write(b"\n")
    assert notebooks.shared_inputs() != before


def test_a_run_names_what_failed_and_keeps_what_went_well(tmp_path, monkeypatch, capsys):
    for name, folder in {"ROOT": "", "EXECUTED": ".executed"}.items():
        monkeypatch.setattr(notebooks, name, tmp_path / folder)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/good\n")
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    codes = {"good": "import os\nassert os.environ['OMP_NUM_THREADS'] == '1'", "bad": "1 / 0"}
    for name, code in codes.items():
        cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": code, "execution_count": None, "outputs": []}
        whole = {"cells": [cell], "metadata": notebooks.METADATA, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"book/{name}.ipynb").write_text(notebooks.dump(whole))
    good, bad = paths = [tmp_path / f"book/{name}.ipynb" for name in codes]
    assert notebooks.run(paths) == 1
    printed = capsys.readouterr()
    assert "book/good.ipynb: ran in" in printed.out and "ZeroDivisionError" in printed.out
    assert printed.err.split() == ["Failed:", "book/bad.ipynb"]
    shared = notebooks.shared_inputs()
    assert notebooks.is_fresh(good, shared) and not notebooks.is_fresh(bad, shared)
    assert notebooks.run([good]) == 0 and "1 of 1 notebooks" in capsys.readouterr().out
