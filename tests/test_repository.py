"""The repository's own machinery: workflows, README, make targets, licences, bibliography."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from PIL import Image
from pybtex.database import parse_file

from sslbook import sets
from sslbook.budget import BUDGETS
from tools.notebooks import ROOT, badge, load, notebooks, repository, text

README = (ROOT / "README.md").read_text(encoding="utf-8")
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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^|run: )make ([a-z-]+)", (ROOT / file).read_text(), flags=re.MULTILINE))
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


def test_readmes_python_runs(tmp_path):
    """All its blocks, one after the other, in the smoke size, where there is a folder my_photos."""
    for i in range(4):
        path = tmp_path / f"my_photos/{'cats' if i % 2 else 'dogs'}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 70 + i), (60 * i, 99, 180)).save(path)
    code = "\n".join(re.findall(r"^```python\n(.+?)^```", README, flags=re.MULTILINE | re.DOTALL))
    code += "\nassert photos.images.shape == (4, 3, 64, 64) and photos.classes == ['cats', 'dogs']"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"SSLBOOK_BUDGET": "smoke", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert re.search(r"^\{'kNN': (0\.\d+|1\.0), 'linear': ", run.stdout, flags=re.MULTILINE)


def test_readmes_badge_opens_the_simclr_chapter():
    assert badge(ROOT / "book/contrastive/simclr.ipynb") in README


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", ".ci/run", "pyproject.toml", "sslbook/__init__.py"])
def test_no_other_address_of_the_repository(file):
    """A second spelling would be forgotten when the repository moves."""
    here = repository()["url"]
    for address in re.findall(r"https://github\.com/[\w.-]+/[\w.-]*\w", (ROOT / file).read_text(encoding="utf-8")):
        assert address == here, f"_config.yml says {here}"


def test_readmes_map_names_what_is_there():
    section = README.split("## Map of the repository")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.+?) \|", section, flags=re.MULTILINE)
    paths = []
    for cell in cells:
        first, *others = re.findall(r"`([^`]+)`", cell)
        beside = (ROOT / first).parent  # `sslbook/views.py`, `images.py` lie in one folder
        paths += [ROOT / first, *(beside / other for other in others)]
    assert len(paths) > 10 and [path for path in paths if not path.exists()] == []


def test_readmes_budgets_are_those_of_the_package():
    for plan in BUDGETS.values():
        row = re.search(rf"^\| `{plan.name}` \|(.+)$", README, flags=re.MULTILINE)[1]
        assert f"{plan.epochs} epochs" in row and (plan.train is None or f"{plan.train:,} {plan.image_set}" in row)
    assert all(f'`"{name}"`' in README for name in sets.NAMES)


def test_ci_script_runs_the_readmes_test_command():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().splitlines()[-1] == "make test"
    assert re.search(r"^make test$", README, flags=re.MULTILINE)


def test_the_package_is_installed_whole():
    """Packages are listed by name, for the sake of the logs; none may be forgotten."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent.relative_to(ROOT).as_posix().replace("/", ".") for p in ROOT.glob("sslbook/**/*.py")}
    assert {name for name in listed if name != "sslbook.logs"} == folders


def test_licences_are_there():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "Creative Commons Attribution 4.0 International Public License" in (ROOT / "LICENSE-TEXT").read_text()
