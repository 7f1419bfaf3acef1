"""Look after the book's notebooks.

clean      put every notebook of book/ and exercises/ into its stored form: no outputs, stable ids, one bootstrap cell
run        execute (with nbmake) those whose code, package or results changed, then assemble
assemble   lay out the book in _build/source, with the outputs of the last runs, for jupyter-book
"""

import copy
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
EXERCISES = ROOT / "exercises/source"  # the masters, with solutions
EXECUTED = ROOT / ".executed"  # a copy of book/ where nbmake leaves outputs and widget state (it shuns _build folders)
SOURCE = ROOT / "_build/source"  # what jupyter-book builds

BADGE_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"
BADGE = re.compile(r"\[!\[[^\]]*\]\(" + re.escape(BADGE_IMAGE) + r"\)\]\([^)]*\)")
BOOTSTRAP_ID = "bootstrap"
BOOTSTRAP = """\
# On Colab: install the book's package, PyTorch stays
try:
    import sslbook  # noqa: F401
except ModuleNotFoundError:
    %pip install -q "git+{url}\""""

METADATA = {
    "accelerator": "GPU",  # Colab opens the notebook with a GPU
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("tags", "alt", "mystnb", "nbmake", "nbgrader")  # what a cell may keep; alt says what its figure shows

# what a chapter on a method has, in this order
HEADINGS = (
    "The idea in one picture",
    "The equation",
    "The code",
    "Train it",
    "What it learned",
    "Touch it",
    "Break it",
    "On real photos",
    "Traps",
    "Exercises",
    "Summary",
    "References and further reading",
)
OPTIONAL = ("On real photos",)
FREE = ("Touch it",)  # may stand anywhere between "What it learned" and "Traps"


def headings(family: str) -> list[str]:
    """The second-level headings of a chapter on a method of this family."""
    found = list(HEADINGS)
    if family == "Masked words":
        found[found.index("On real photos")] = "On your own text"
    if family == "Generative":
        found.insert(found.index("What it learned"), "What it draws")
    return found


def repository() -> dict:
    """The `repository` entry of _config.yml, the only place where the address stands."""
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]


def badge(path: Path) -> str:
    """The link that opens this notebook on Colab."""
    at, branch = repository()["url"].removeprefix("https://github.com/"), repository()["branch"]
    target = f"https://colab.research.google.com/github/{at}/blob/{branch}/{path.relative_to(ROOT).as_posix()}"
    return f"[![Open in Colab]({BADGE_IMAGE})]({target})"


def bootstrap() -> str:
    """The source of the cell that makes `sslbook` importable anywhere."""
    return BOOTSTRAP.format(url=repository()["url"])


def notebooks(folder: Path = BOOK) -> list[Path]:
    return sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def toc() -> list[str]:
    """The files that _toc.yml names, in reading order, without suffix."""

    def files(node):
        if isinstance(node, dict):
            yield from (node[k] for k in ("root", "file") if k in node)
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                yield from files(child)

    return list(files(yaml.safe_load((ROOT / "_toc.yml").read_text())))


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def dump(notebook: dict) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def text(cell: dict) -> str:
    return "".join(cell["source"])


def cleaned(notebook: dict, path: Path) -> dict:
    """The form in which a notebook is stored. Exercises are handed out as files, and want no GPU: no badge for them."""
    cells, ids, metadata = [], set(), copy.deepcopy(METADATA)
    for cell in notebook["cells"]:
        source, kind = text(cell).strip("\n"), cell["cell_type"]
        if not source:
            continue
        if cell.get("id") == BOOTSTRAP_ID:
            source = bootstrap()
        new = {"cell_type": kind, "id": cell.get("id"), "metadata": {}, "source": source}
        if not new["id"] or new["id"] in ids or not re.fullmatch(r"[\w-]{1,64}", new["id"]):
            digest = hashlib.sha256(source.encode()).hexdigest()
            new["id"] = next(i for n in range(8, 64) if (i := digest[:n]) not in ids)
        ids.add(new["id"])
        new["metadata"] = {k: cell["metadata"][k] for k in CELL_METADATA if cell["metadata"].get(k)}
        if kind == "code":
            new |= {"execution_count": None, "outputs": []}
        cells.append(new)

    first = next(c for c in cells if c["cell_type"] == "markdown")
    if path.is_relative_to(EXERCISES):
        del metadata["accelerator"]
    elif BADGE.search(first["source"]):
        first["source"] = BADGE.sub(lambda _: badge(path), first["source"])
    else:
        title, _, rest = first["source"].partition("\n")
        first["source"] = f"{title}\n\n{badge(path)}\n\n{rest.lstrip()}".rstrip()
    if BOOTSTRAP_ID not in ids:
        cell = {"cell_type": "code", "execution_count": None, "id": BOOTSTRAP_ID, "metadata": {}, "outputs": []}
        cells.insert(cells.index(first) + 1, cell | {"source": bootstrap()})
    start = next(c for c in cells if c["id"] == BOOTSTRAP_ID)
    start["metadata"] = {"tags": ["remove-cell"]}  # a page on the site needs no installer

    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)
    cells = [dict(sorted(c.items())) for c in cells]
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def package_files() -> set[Path]:
    """What the package is installed with: no cache of a linter, no bytecode, no backup of an editor."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = set()
    for package in settings["packages"]:
        folder = ROOT / settings["package-dir"].get(package, package.replace(".", "/"))
        for pattern in ("*.py", *settings["package-data"].get(package, ())):
            paths = (path for path in folder.glob(pattern) if path.is_file())
            found.update(p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    return found


def shared_inputs() -> bytes:
    """A digest of what any notebook's outputs may depend on besides its own code."""
    digest = hashlib.sha256(f"{sys.version} {os.environ.get('SSLBOOK_BUDGET', '')}".encode())
    for path in sorted(package_files() | {ROOT / "requirements.txt"}):
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.digest()


def key(notebook: dict, shared: bytes) -> str:
    """Two notebooks with the same key have the same outputs; a change of the text alone does not count."""
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    code = [(text(c), {k: v for k, v in c["metadata"].items() if k != "alt"}) for c in cells]
    return hashlib.sha256(shared + json.dumps(code).encode()).hexdigest()


def stamp(path: Path) -> Path:
    """The file that holds the key of the last good run."""
    return (EXECUTED / path.relative_to(ROOT)).with_suffix(".key")


def is_fresh(path: Path, shared: bytes) -> bool:
    return stamp(path).is_file() and stamp(path).read_text() == key(load(path), shared)


def at_once() -> int:
    """How many notebooks run side by side, a thread each: two threads make a small training 1.4 to 1.8 times as fast.

    So a page's numbers do not depend on the number of cores either. On a GPU notebooks run one by one.
    """
    return 1 if shutil.which("nvidia-smi") else min(4, os.cpu_count() or 1)  # each wants up to 2 GB of memory


def execute(path: Path, shared: bytes) -> bool:
    """Execute one notebook and say how long it took, or what went wrong."""
    name, target, notebook = path.relative_to(ROOT), EXECUTED / path.relative_to(ROOT), load(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp(path).unlink(missing_ok=True)
    target.write_text(dump(notebook), encoding="utf-8")
    nbmake = ["--nbmake", "--overwrite", "--nbmake-kernel=python3", "--nbmake-timeout=900", "-p", "no:cacheprovider"]
    start = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *nbmake, target],
        cwd=ROOT, env={"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | os.environ, capture_output=True, text=True,
    )  # fmt: skip
    seconds = time.monotonic() - start
    if ran.returncode:
        print(f"{name}: failed after {seconds:.0f} s\n{ran.stdout}{ran.stderr}", flush=True)
        return False
    print(f"{name}: ran in {seconds:.0f} s", flush=True)
    stamp(path).write_text(key(notebook, shared))
    return True


def run(paths: list[Path]) -> int:
    """Execute what changed; the number that failed."""
    shared = shared_inputs()
    EXECUTED.mkdir(exist_ok=True)
    (EXECUTED / ".gitignore").write_text("*\n")
    stale = [path for path in paths if not is_fresh(path, shared)]
    print(f"Unchanged since their last run: {len(paths) - len(stale)} of {len(paths)} notebooks", flush=True)
    start, workers, place = time.monotonic(), at_once(), {page: i for i, page in enumerate(toc())}
    # the last chapters first: those that open the book are short, and fill the end
    stale.sort(key=lambda path: -place.get(path.relative_to(ROOT).with_suffix("").as_posix(), 0))
    with ThreadPoolExecutor(workers) as pool:
        good = list(pool.map(partial(execute, shared=shared), stale))
    print(f"Ran {len(stale)} in {time.monotonic() - start:.0f} s, {workers} at once", flush=True)
    failed = [path.relative_to(ROOT) for path, is_good in zip(stale, good) if not is_good]
    if failed:
        print("Failed:", *failed, sep="\n  ", file=sys.stderr)
    return len(failed)


def with_outputs(path: Path) -> dict:
    """The notebook as it is now, with the outputs and the widget state of its last run."""
    notebook, last = load(path), EXECUTED / path.relative_to(ROOT)
    if not last.is_file():
        return notebook
    executed = load(last)
    outputs = {c["id"]: c for c in executed["cells"] if c["cell_type"] == "code"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and cell["id"] in outputs:
            ran = outputs[cell["id"]]
            cell |= {"outputs": ran["outputs"], "execution_count": ran["execution_count"]}
            cell["metadata"]["execution"] = ran["metadata"].get("execution", {})
            describe(cell)
    notebook["metadata"] |= {k: v for k, v in executed["metadata"].items() if k in ("widgets", "language_info")}
    return notebook


def describe(cell: dict) -> None:
    """Put the alternative text of a cell's metadata into the figure that it shows."""
    alt = html.escape(cell["metadata"].get("alt", ""))
    for output in cell["outputs"]:
        shown = output.get("data", {}).get("text/html")
        if alt and shown:
            output["data"]["text/html"] = "".join(shown).replace(
                '<img class="figure" alt=""', f'<img class="figure" alt="{alt}"'
            )


def assemble() -> None:
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(BOOK, SOURCE / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(ROOT / "_ext", SOURCE / "_ext", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, SOURCE)
    for path in notebooks():
        (SOURCE / path.relative_to(ROOT)).write_text(dump(with_outputs(path)), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`command [notebook …]`, all notebooks by default; those of exercises/ are only cleaned."""
    command = arguments[0] if arguments else ""
    named = [Path(a).resolve() for a in arguments[1:]]
    chosen = named or notebooks()
    if command == "clean":
        for path in named or chosen + notebooks(EXERCISES):
            path.write_text(dump(cleaned(load(path), path)), encoding="utf-8")
    elif command == "run":
        if run(chosen):
            return 1
        assemble()
    elif command == "assemble":
        assemble()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
