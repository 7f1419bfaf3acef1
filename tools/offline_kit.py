"""Put the book into one zip for a room without a network: `python -m tools.offline_kit [OUT.zip]`.

The built site, the notebooks, the slides that `make slides` has made, the exercise sheets with the teacher's course
folder, the package as a wheel (with its trained weights and the logs of the runs), and of CIFAR-10 and Fashion-MNIST
what lies in the reader's data folder.
`make book` comes first; nothing is downloaded.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from sslbook import download
from sslbook.files import atomic
from tools import exercises, slides
from tools.notebooks import ROOT, notebooks

NAME = "learning-without-labels-offline"
HTML = ROOT / "_build/html"
PACKAGE = ("pyproject.toml", "README.md", "LICENSE", "sslbook", "results")  # what the wheel is made of
COLLECT = ("exercises.py", "handins.py", "notebooks.py")  # of tools/, to grade without the repository
IMAGES = ("cifar-10-batches-py", "FashionMNIST")  # where torchvision lays them out; STL-10 (3 GB) stays at home
PRELOAD = re.compile(r'<link rel="preload"[^>]*>')  # refused and reported by a browser that opens a file

START = '''\
"""Open the book in your browser: `python start.py`.

`python start.py 8000` takes a port, `--room` lets other machines of the network read too, `--no-browser` opens none.
"""

import functools
import http.server
import sys
import webbrowser
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Says what modules and WebAssembly are, on systems that do not know."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript",
        ".wasm": "application/wasm", ".json": "application/json", ".svg": "image/svg+xml",
    }

    def log_message(self, *arguments):
        pass


site = Path(__file__).resolve().parent / "site"
port = next((int(a) for a in sys.argv[1:] if a.isdigit()), 0)
host = "0.0.0.0" if "--room" in sys.argv else "127.0.0.1"
with http.server.ThreadingHTTPServer((host, port), functools.partial(Handler, directory=str(site))) as server:
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"The book is at {address}   Ctrl-C stops.", flush=True)
    if host == "0.0.0.0":
        print(f"For the others in the room: http://ADDRESS-OF-THIS-MACHINE:{server.server_port}/", flush=True)
    if "--no-browser" not in sys.argv:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
'''

README = """\
Learning Without Labels, without a network
==========================================

To read:   python start.py                      (any Python 3.9 or newer; it opens your browser)
           or open site/index.html. Everything works that way but two things, which a browser does only for pages
           from a server: widgets that run a network in the page (playground, MAE), and the snippets of search results.
For a room: python start.py 8000 --room   on one machine; the others open http://ADDRESS-OF-THAT-MACHINE:8000/ in a
           browser and need nothing else. Its firewall may ask whether Python may be reached.

To run:    pip install --no-index --no-deps package/{wheel}
           into a Python 3.11 to 3.13 that has these already (install them while there is a network):
             {needed}
           then, in this folder,
             Linux, macOS:   SSLBOOK_DATA="$PWD/data" jupyter lab
             Windows:        set "SSLBOOK_DATA=%CD%\\data" && jupyter lab

Slides:    open slides/<chapter>.html (where they were made); F is the full screen, S the window with the notes.

Exercises: sheets for students in exercises/. In teacher/ lies the course folder with the solutions: take it out before
           you hand this kit on. To grade, with {grading} installed too, in this folder:
             python -m tools.exercises collect WHAT-CAME-BACK teacher

Images:    {images}. The shapes are drawn by the package and need no file.

Text and figures: CC BY 4.0. Code: MIT.
"""


def build_wheel(folder: Path) -> Path:
    """The package as a wheel in `folder`, built from a copy so that nothing is left in the checkout."""
    with tempfile.TemporaryDirectory() as source:
        for name in PACKAGE:
            for path in files(ROOT / name):
                target = Path(source) / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        run = subprocess.run([*command, "-w", folder, source], capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"The wheel of the package could not be built:\n{run.stderr}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def files(path: Path) -> list[Path]:
    """The file itself, or all below the folder that are not made by running."""
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def contents(wheel: Path, sheets: Path, data: Path) -> dict[str, Path | bytes]:
    """Every file of the kit by its name: a path to copy, or what to write. `sheets` is what `exercises.write` made."""
    kit: dict[str, Path | bytes] = {f"package/{wheel.name}": wheel}
    for path in files(HTML):
        name = f"site/{path.relative_to(HTML).as_posix()}"
        page = path.suffix == ".html" and "_static" not in path.relative_to(HTML).parts
        kit[name] = PRELOAD.sub("", path.read_text(encoding="utf-8")).encode() if page else path
    for path in notebooks():
        kit[f"notebooks/{path.relative_to(ROOT / 'book').as_posix()}"] = path
    for path in sorted(slides.OUT.glob("*.html")):  # their links lead to the site beside them
        deck = path.read_text(encoding="utf-8").replace(slides.SITE, "../site/")
        kit[f"slides/{path.name}"] = deck.replace("../html/book/", "../site/book/").encode()  # SITE=../html/
    for path in files(sheets / "student"):
        kit[f"exercises/{path.name}"] = path
    for path in files(sheets / "instructor"):
        if path.suffix != ".log":
            kit[f"teacher/{path.relative_to(sheets / 'instructor').as_posix()}"] = path
    for name in COLLECT:
        kit[f"tools/{name}"] = ROOT / "tools" / name
    there = [name for name in IMAGES if (data / name).is_dir()]
    for name in there:
        for path in files(data / name):
            kit[f"data/{path.relative_to(data).as_posix()}"] = path
    images = f"in data/: {', '.join(there)}" if there else "none were on the machine where this kit was made"
    kit["README.txt"] = README.format(wheel=wheel.name, images=images, **needs()).encode()
    kit["start.py"] = START.encode()
    return kit


def needs() -> dict[str, str]:
    """What the Python of the room must have, from the package's own list: names only, the wheel says the versions."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    grading = (exercises.MASTERS.parent / "requirements.txt").read_text(encoding="utf-8")
    names = [re.match(r"[\w.-]+", line)[0] for line in listed]
    return {
        "needed": ", ".join([*names, "jupyterlab"]),
        "grading": ", ".join(re.findall(r"^[\w.-]+", grading, flags=re.MULTILINE)),
    }


def make(out: Path, data: Path | None = None) -> Path:
    """Write the kit to `out`, whole or not at all; `data` is the reader's data folder by default."""
    if not (HTML / "index.html").is_file():
        raise SystemExit("There is no site in _build/html: run `make book` first.")
    with tempfile.TemporaryDirectory() as folder, atomic(out) as file:
        wheel = build_wheel(Path(folder))
        exercises.write(Path(folder) / "sheets")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as kit:
            for name, content in contents(wheel, Path(folder) / "sheets", data or download.cache()).items():
                if isinstance(content, bytes):
                    kit.writestr(f"{NAME}/{name}", content)
                else:
                    kit.write(content, f"{NAME}/{name}")
    return out


if __name__ == "__main__":
    made = make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / f"_build/{NAME}.zip")
    print(f"{made}: {made.stat().st_size / 2**20:.0f} MiB")
