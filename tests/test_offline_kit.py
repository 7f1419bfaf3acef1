"""The kit for a room without a network: made, unpacked, and opened in a browser from its own server and as files."""

import os
import re
import subprocess
import sys
import tomllib
import urllib.request
import zipfile

import pytest
from conftest import watch

from tools import exercises, notebooks, offline_kit, slides

WIDGETS = 'script[type="application/vnd.jupyter.widget-view+json"]'
UNDRAWN = f"""() => [...document.querySelectorAll('{WIDGETS}')]
    .filter(s => !(s.parentElement.querySelector('.widget-subarea')?.getBoundingClientRect().height > 4)).length"""


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The unpacked kit of the built site, with a data folder that holds some of CIFAR-10 and something else."""
    folder = tmp_path_factory.mktemp("kit")
    for name in ("cifar-10-batches-py/data_batch_1", "stl10_binary/train_X.bin"):
        (folder / "data" / name).parent.mkdir(parents=True)
        (folder / "data" / name).write_bytes(b"pixels")
    made = offline_kit.make(folder / "kit.zip", folder / "data")
    assert [p.name for p in folder.iterdir() if p.is_file()] == ["kit.zip"]
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder)
    return folder / offline_kit.NAME


@pytest.fixture(scope="module")
def address(kit):
    """Where the kit's own start.py serves it, with a Python that knows nothing of this repository."""
    command = [sys.executable, "-I", kit / "start.py", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())[0]
        server.terminate()


def pages_to_open() -> list[str]:
    """The landing page, the first chapter with a widget, the last page."""
    pages = notebooks.toc()
    return [pages[0], "book/contrastive/simclr", pages[-1]]


def open_and_look(browser, url, allowed, widgets):
    """No console error, no failed request, none to elsewhere; formulas and widgets drawn."""
    tab = browser.new_page()
    watch(tab, allowed)
    tab.goto(url, wait_until="load", timeout=120_000)
    assert tab.locator(WIDGETS).count() >= widgets
    tab.wait_for_function(f"() => ({UNDRAWN})() === 0", timeout=60_000)
    tab.evaluate("async () => { if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise }")
    tab.wait_for_load_state("networkidle")
    assert tab.evaluate("[...document.fonts].every(font => font.status !== 'error')")
    assert tab.troubles == []
    tab.close()


@pytest.mark.parametrize("page", pages_to_open())
def test_page_from_the_kits_server(page, kit, address, browser):
    open_and_look(browser, f"{address}{page}.html", address, widgets=page.endswith("simclr"))


def test_the_landing_page_trains_without_a_network(kit, address, browser):
    tab = browser.new_page()
    watch(tab, address)
    tab.goto(f"{address}{notebooks.toc()[0]}.html")
    tab.get_by_role("button", name="Train", exact=True).click()
    tab.wait_for_function("+document.querySelectorAll('.sslw-playground .sslw-readouts b')[2].textContent >= 2")
    assert tab.troubles == []
    tab.close()


@pytest.mark.parametrize("page", pages_to_open())
def test_page_as_a_file(page, kit, browser):
    site = (kit / "site").as_uri()
    open_and_look(browser, f"{site}/{page}.html", site, widgets=page.endswith("simclr"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of the machine")
def test_a_room_reads_from_one_machine(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("the book")
    (tmp_path / "start.py").write_text(offline_kit.START)
    command = [sys.executable, "-I", tmp_path / "start.py", "--no-browser", "--room"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        own, others = server.stdout.readline(), server.stdout.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", own)[1]
        with urllib.request.urlopen(f"http://127.0.0.2:{port}/") as page:  # another of this machine's addresses
            assert page.read() == b"the book"
        server.terminate()
    assert f"http://ADDRESS-OF-THIS-MACHINE:{port}/" in others


def test_slides_lead_to_the_kits_site(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "OUT", tmp_path)
    (tmp_path / "mae.html").write_text(f'"{slides.SITE}book/masked/mae.html" "../html/book/masked/mae.html"')
    kit = offline_kit.contents(tmp_path / "a.whl", tmp_path, tmp_path)
    assert kit["slides/mae.html"].decode().split() == 2 * ['"../site/book/masked/mae.html"']


def test_kit_holds_notebooks_package_and_images(kit):
    there = {p.relative_to(kit / "notebooks").as_posix() for p in (kit / "notebooks").rglob("*.ipynb")}
    assert there == {p.relative_to(notebooks.BOOK).as_posix() for p in notebooks.notebooks()}
    assert [p.name for p in (kit / "data").rglob("*") if p.is_file()] == ["data_batch_1"]
    (wheel,) = (kit / "package").glob("sslbook-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    weights = {f"sslbook/weights/{p.name}" for p in (notebooks.ROOT / "sslbook/weights").glob("*.safetensors")}
    assert {"sslbook/__init__.py", "sslbook/logs/cpu/simclr-0.json", "sslbook/widgets/widgets.css"} | weights <= names
    assert "sslbook/graphs/playground.bin" in names
    readme = (kit / "README.txt").read_text()
    assert wheel.name in readme and "cifar-10-batches-py" in readme


def test_kit_holds_sheets_and_course_and_nobodys_data(kit):
    names = set(exercises.assignments())
    assert {p.stem for p in (kit / "exercises").iterdir()} == names
    assert {p.name for p in (kit / "teacher/source").iterdir()} == names
    assert {p.name for p in (kit / "teacher").iterdir()} == {
        "README.md",
        "gradebook.db",
        "nbgrader_config.py",
        "release",
        "source",
    }
    for path in (kit / "README.txt", kit / "teacher/gradebook.db"):
        assert str(notebooks.ROOT).encode() not in path.read_bytes(), f"a private path in {path.name}"
    ask = [sys.executable, "-m", "tools.exercises", "collect", "exercises", "nowhere"]
    said = subprocess.run(ask, cwd=kit, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""}).stderr
    assert said.startswith("nowhere is no course folder")


def test_readme_lists_all_that_the_package_needs(kit, tmp_path):
    readme = (kit / "README.txt").read_text()
    package = tomllib.loads((notebooks.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(package) > 5 and all(re.match(r"[\w-]+", line)[0] in readme for line in package)
    assert "nbgrader" in readme and "jupyterlab" in readme
    assert 'set "SSLBOOK_DATA=%CD%\\data" && jupyter' in readme, "without quotes Windows takes the blank along"
    empty = offline_kit.contents(tmp_path / "a.whl", tmp_path, tmp_path)["README.txt"].decode()
    assert "none were on the machine" in empty and str(tmp_path) not in empty


def test_a_kit_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(folder):
        raise OSError("no room")

    monkeypatch.setattr(offline_kit, "build_wheel", fail)
    with pytest.raises(OSError, match="no room"):
        offline_kit.make(tmp_path / "kit.zip", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_kit_needs_a_site(tmp_path, monkeypatch):
    monkeypatch.setattr(offline_kit, "HTML", tmp_path / "none")
    with pytest.raises(SystemExit, match="run `make book` first"):
        offline_kit.make(tmp_path / "kit.zip", tmp_path)
