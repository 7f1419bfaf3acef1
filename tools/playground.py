"""Measure the playground on this machine, in a real browser: `python -m tools.playground [--out LOG]`.

For each method: seconds from Train to the first step; pictures a second of the page's one thread, beside those of
PyTorch on one thread, which makes the same steps just before and after; how the kNN rises in SECONDS, or until it has
doubled, MOST at most. For the first method also what the browser's processes hold over STEPS steps. On a busy machine
all of it is slower: the log says how busy it was. What comes without a part is in `experiments/playground.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from ipywidgets.embed import embed_data
from playwright.sync_api import Browser, Page, sync_playwright

from sslbook import playground, results
from sslbook.images import ImageSet
from sslbook.pretrain import pretrain
from sslbook.shapes import CLASSES, draw
from sslbook.widgets import Playground
from tools.browser import HELP, find_browser
from tools.notebooks import ROOT

LOG = "results/studies/playground-page.json"
SECONDS = 60
MOST = 180
STEPS = 2000
READOUTS = ".sslw-playground .sslw-readouts b"
STEP = "(n) => +document.querySelectorAll('.sslw-readouts b')[2].textContent >= n"


def pytorch(name: str, seconds: float = 6.0) -> float:
    """Pictures a second of `pretrain` on one thread, with the playground's network, batches and views."""
    torch.set_num_threads(1)
    batch = playground.PLAYS[name].batch
    images, labels, _ = draw(batch * 8, seed=0)
    train = playground.recipe(name).train
    options = dict(optimizer=train["optimizer"], lr=train["lr"], weight_decay=train["weight_decay"])
    options |= dict(batch_size=batch, views=train["views"], show_progress=False)
    method, shown = playground.make(name), 0
    pretrain(method, ImageSet(images, labels, list(CLASSES)), epochs=1, **options)  # the first steps are slow
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        pretrain(method, ImageSet(images, labels, list(CLASSES)), epochs=1, **options)
        shown += len(images)
    return shown / (time.perf_counter() - began)


def memory(root: int) -> int:
    """MiB that all hold that a process started, a page that several share counted once."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    own, total = {root}, 0
    while grown := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= grown
    for pid in own - {root}:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total >> 10


def begin(page: Page, address: str, name: str) -> float:
    """Open the page with a method and press Train: seconds to the first step."""
    page.goto(f"{address}/?{name}#playground.method={name}")
    page.wait_for_selector(".sslw-playground")
    began = time.perf_counter()
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function(STEP, arg=1, timeout=120_000)
    return time.perf_counter() - began


def numbers(page: Page) -> dict[str, float | None]:
    known, spread, steps, _ = page.locator(READOUTS).all_inner_texts()
    percent = known.removesuffix("%").strip()
    return dict(
        kNN=int(percent) / 100 if percent.isdigit() else None,
        spread=float(spread) if spread[0].isdigit() else None,
        steps=int(steps),
    )


def doubled(curve: list[dict]) -> list[dict]:
    """The rows whose kNN is at least twice the first."""
    known = [row for row in curve if row["kNN"] is not None]
    return [row for row in known if row["kNN"] >= 2 * known[0]["kNN"]]


def watch(page: Page) -> list[dict]:
    """What the page says every second."""
    began, curve, seconds = time.perf_counter(), [], 0.0
    while seconds < SECONDS or (seconds < MOST and not doubled(curve)):
        page.wait_for_timeout(1000)
        seconds = time.perf_counter() - began
        curve.append(dict(seconds=round(seconds, 1), **numbers(page)))
    return curve


def measure(browser: Browser, address: str, name: str) -> dict:
    """A method: speed, and how its kNN rises."""
    before = pytorch(name)
    page = browser.new_page()
    first = begin(page, address, name)
    start = numbers(page)["steps"]
    curve = watch(page)
    steps, seconds = curve[-1]["steps"] - start, curve[-1]["seconds"]
    page.close()
    theirs = [before, pytorch(name)]
    ours = steps * playground.PLAYS[name].batch / seconds
    known = [row for row in curve if row["kNN"] is not None]
    minute = [row for row in known if row["seconds"] <= SECONDS + 2]
    twice = doubled(curve)
    return dict(
        method=name,
        first_step_seconds=round(first, 2),
        pictures_per_second=round(ours),
        pytorch_pictures_per_second=[round(x) for x in theirs],
        ratio=round(ours / (sum(theirs) / 2), 2),
        kNN_at_first=known[0]["kNN"],
        kNN_after_a_minute=minute[-1]["kNN"],
        kNN_doubled_after_seconds=twice[0]["seconds"] if twice else None,
        curve=curve,
    )


def memory_over(browser: Browser, address: str, name: str, process: int) -> list[list[int]]:
    """[steps, MiB] from step 100 on, every tenth of STEPS."""
    page = browser.new_page()
    begin(page, address, name)
    found = []
    for step in range(100, STEPS + 101, STEPS // 10):
        page.wait_for_function(STEP, arg=step, timeout=600_000)
        found.append([numbers(page)["steps"], memory(process)])
    page.close()
    return found


def site(folder: Path, theme: str = "light") -> int:
    """A page with the playground alone, as the book's site has it; how large its graphs are."""
    from tests.conftest import extension  # the site's own extensions

    config = SimpleNamespace(html_static_path=[])
    app = SimpleNamespace(srcdir=ROOT, doctreedir=folder / "doctrees")
    extension("offline_assets").vendor_scripts(app, config)
    static, served = extension("static_widgets"), folder / "vendor_static"
    (served / "widgets").mkdir()
    (served / "widgets.js").write_text(static.SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    widget = Playground()
    data = embed_data(views=[widget], drop_defaults=False)
    (view,) = data["view_specs"]
    state = static.packed(data["manager_state"]["state"], [view["model_id"]], served / "widgets")
    state |= {"runtime": config.runtime_bytes}
    (served / "state.js").write_text(f"window.widgetStates = {json.dumps(state)}", encoding="utf-8")
    (served / "index.html").write_text(
        f'<!doctype html><html lang="en" data-content_root="./" data-theme="{theme}"><link rel="icon" href="data:,">'
        '<style>[data-theme="dark"] body { background: #12161d; color: #eef1f6 }</style><body>'
        f'<script type="application/vnd.jupyter.widget-view+json">{json.dumps(view)}</script>'
        '<script defer src="state.js"></script><script defer src="widgets.js"></script>',
        encoding="utf-8",
    )
    return len(widget.graphs)


def main() -> None:
    from tests.conftest import serve

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a JSON log")
    parser.add_argument("--methods", nargs="*", default=playground.playable())
    parser.add_argument("--no-memory", action="store_true", help=f"leave out the {STEPS} steps")
    arguments = parser.parse_args()
    path = find_browser()
    if path is None:
        parser.error(HELP)
    began, load = time.perf_counter(), os.getloadavg()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        size = site(Path(folder))
        with serve(Path(folder) / "vendor_static") as address:
            browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
            rows = []
            for name in arguments.methods:
                rows.append(measure(browser, address, name))
                print({key: value for key, value in rows[-1].items() if key != "curve"}, flush=True)
            held = [] if arguments.no_memory else memory_over(browser, address, rows[0]["method"], os.getpid())
            print("memory [steps, MiB]:", held)
            version = browser.version
            browser.close()
    if arguments.out:
        about = dict(
            seed=0, minutes=(time.perf_counter() - began) / 60, again=f"python -m tools.playground --out {LOG}"
        )
        about |= dict(graph_bytes=size, browser=version, load=dict(before=load, after=os.getloadavg()))
        results.write(arguments.out, rows=rows, memory=held, **about)


if __name__ == "__main__":
    main()
