"""The repository's own machinery: workflows, README, make targets, licences, bibliography."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from datetime import date

import pytest
import torch
import yaml
from mutants import MUTANTS
from PIL import Image
from pybtex.database import parse_file, parse_string

import sslbook
from sslbook import pretrained, sets
from sslbook.budget import BUDGETS
from sslbook.encoders import make_encoder
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


PAGE = next(
    text(cell) for cell in load(ROOT / "book/practice/your_own_images.ipynb")["cells"] if cell["id"] == "elsewhere"
)
WITH, RESNET, CONVNET, VIT = re.findall(r"^```python\n(.+?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
TINY = VIT.replace("patch=4, grid=8, dim=96, depth=3, heads=3", "patch=6, grid=8, dim=192, depth=12, heads=3")
TINY = TINY.replace("(images - 0.5) / 0.25", "images").replace(
    "x[:, 1:].mean(dim=1)  # vit_micro", "x[:, 0]  # vit_tiny"
)
BASE = TINY.replace("patch=6, grid=8, dim=192, depth=12, heads=3", "patch=16, grid=4, dim=768, depth=12, heads=12")


@pytest.mark.parametrize(
    ("snippet", "name", "size"),
    [
        *((WITH, name, 32) for name in ("convnet", "resnet18", "vit_micro", "vit_tiny")),
        (RESNET, "resnet18", 32),
        (RESNET, "resnet18", 96),
        (RESNET.replace("resnet18", "resnet50"), "resnet50", 96),
        (CONVNET, "convnet", 32),
        (VIT, "vit_micro", 32),
        (TINY, "vit_tiny", 48),
        (BASE, "vit_base", 64),
    ],
)
def test_what_the_page_says_on_loading_an_encoder_runs(snippet, name, size, tmp_path, monkeypatch):
    """With the package and without: features of a file that the command line and the page write."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    encoder = make_encoder(name, size)
    encoder.train()(torch.rand(8, 3, size, size))  # batch norm's statistics are those of pictures
    pretrained.save_encoder("encoder.safetensors", encoder, name, size)
    images = torch.rand(3, 3, size, size)
    with torch.no_grad():
        wanted = encoder.eval()(images)
    if snippet is WITH:
        assert "torch.rand(8, 3, 32, 32)" in snippet
        snippet = snippet.replace("torch.rand(8, 3, 32, 32)", "own_images")
    else:
        assert "sslbook" not in snippet
    seen = dict(images=images, own_images=images)
    exec(snippet, seen)
    assert torch.allclose(seen["features"], wanted, rtol=1e-4, atol=1e-5)


def test_readmes_badge_opens_the_simclr_chapter():
    assert badge(ROOT / "book/contrastive/simclr.ipynb") in README


ADDRESSED = ["README.md", "CONTRIBUTING.md", "CITATION.cff", ".ci/run", "pyproject.toml", "sslbook/__init__.py"]


@pytest.mark.parametrize("file", ADDRESSED)
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


def test_no_mutant_is_stale():
    """`make mutants` takes minutes and runs weekly; that each still names a line of the package is known at once."""
    for mutant in MUTANTS:
        mutant.source(ROOT)


# -- how to cite it, and which version it is

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RELEASES = re.findall(r"^## \[([^]]+)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

# Of https://citation-file-format.github.io/1.2.0/schema.json what such a file needs and may have
CFF = "abstract authors cff-version commit contact date-released doi identifiers keywords license license-url message "
CFF += "preferred-citation references repository repository-artifact repository-code title type url version"


def test_citation_file_follows_the_schema():
    assert {"authors", "cff-version", "message", "title"} <= set(CITATION) <= set(CFF.split())
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] in ("software", "dataset")
    assert date.fromisoformat(CITATION["date-released"]) and isinstance(CITATION["version"], str)
    cited = CITATION["preferred-citation"]
    assert {"authors", "title", "type"} <= set(cited) and cited["type"] == "book" and cited["year"] > 2000
    for entry in (CITATION, cited):
        assert entry["title"] and entry["authors"] and all(set(author) == {"name"} for author in entry["authors"])
        assert all(entry[name].startswith("https://") for name in ("url", "repository-code") if name in entry)
    assert (CITATION["license"], cited["license"]) == ("MIT", "CC-BY-4.0")
    assert len(set(CITATION["keywords"])) == len(CITATION["keywords"]) > 2


def test_readme_cites_the_same_book():
    (entry,) = parse_string(README.split("```bibtex")[1].split("```")[0], "bibtex").entries.values()
    cited = CITATION["preferred-citation"]
    assert entry.type == cited["type"]
    (author,) = (str(person) for person in entry.persons["author"])
    assert author.strip("{}") == cited["authors"][0]["name"]
    assert {name: str(cited[name]) for name in ("title", "year", "url")} == dict(entry.fields)


def test_one_version_everywhere():
    (unreleased, none), (newest, day), *_ = RELEASES
    assert (unreleased, none) == ("Unreleased", "")
    assert newest == VERSION == CITATION["version"] and day == CITATION["date-released"]
    assert sslbook.__version__ == importlib.metadata.version("sslbook")
    assert sslbook.__version__ == VERSION, "another version is installed: run `pip install -e .`, as `make env` does"


def test_changelog_goes_back_in_time():
    versions = [tuple(map(int, version.split("."))) for version, _ in RELEASES[1:]]
    days = [date.fromisoformat(day) for _, day in RELEASES[1:]]
    assert versions == sorted(set(versions), reverse=True) and days == sorted(days, reverse=True)
    kinds = set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_licences_are_there():
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "Creative Commons Attribution 4.0 International Public License" in (ROOT / "LICENSE-TEXT").read_text()
