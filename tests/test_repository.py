"""The repository's own machinery: workflows, make targets, bibliography."""

import re

import pytest
import yaml
from pybtex.database import parse_file

from tools.notebooks import ROOT, load, notebooks, text

workflows = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", workflows, ids=lambda p: p.stem)
def test_workflow_is_sound(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["name"] and workflow[True]  # YAML 1.1 reads the key `on` as true
    for job in workflow["jobs"].values():
        assert job["runs-on"] and job["timeout-minutes"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w./-]+@v\d+", step.get("uses", "a@v1")), "pin actions to a major version"


def test_all_workflows_are_there():
    assert [p.stem for p in workflows] == ["colab", "site", "test"]


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/test.yml"])
def test_named_make_targets_exist(file):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^|run: )make ([a-z]+)", (ROOT / file).read_text(), flags=re.MULTILINE))
    assert named and named <= targets


def test_cited_works_are_in_the_bibliography():
    entries = parse_file(ROOT / "book/references.bib").entries
    pages = {p.name: p.read_text() for p in (ROOT / "book").rglob("*.md")}
    pages |= {p.name: "\n".join(text(c) for c in load(p)["cells"]) for p in notebooks()}
    for name, page in pages.items():
        keys = {k.strip() for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page) for k in group.split(",")}
        assert keys <= set(entries), f"{name} cites what book/references.bib lacks"


def test_bibliography_is_complete():
    for name, entry in parse_file(ROOT / "book/references.bib").entries.items():
        assert entry.persons.get("author") and entry.fields["title"] and entry.fields["url"], name
        assert re.fullmatch(r"(19|20)\d\d", entry.fields["year"]) and entry.fields["year"] in name, name
