"""Measure when each page of the built site first shows something on a slow line: `python -m tools.first_paint [SITE]`.

A real browser opens every page with an empty cache at LINE, from a local server that compresses text as GitHub Pages
does. Prints one line a page: seconds to the first contentful paint (the median of RUNS visits), and what came over the
line until the page was loaded. `--out LOG` also writes them to a JSON log in results/. On a busy machine
seconds are too long, never too short: the log says how busy it was.
"""

import argparse
import contextlib
import datetime
import functools
import gzip
import http.server
import json
import os
import statistics
import threading
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, sync_playwright

from tools import notebooks
from tools.browser import HELP, find_browser

LINE = {"latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 0.75e6 / 8}  # ms, bytes a second
RUNS = 3
LONGEST = 300_000  # ms that a page may take to load
TEXT = (".html", ".css", ".js", ".mjs", ".json", ".svg", ".wasm", ".txt")
PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
    const first = list.getEntriesByName('first-contentful-paint')[0];
    if (first) done(first.startTime / 1000);
}).observe({ type: 'paint', buffered: true }))"""


class Compressed(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, text in gzip, and keeps connections open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(urlsplit(self.path).path))
        if path.is_dir():
            path = path / "index.html"
        if not path.is_file():
            self.send_error(404)
            return
        body = packed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in TEXT:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a tab that was closed
            super().handle()


@functools.cache
def packed(path: Path) -> bytes:
    """What goes over the line for a file."""
    body = path.read_bytes()
    return gzip.compress(body, 6, mtime=0) if path.suffix in TEXT else body


def visit(browser, address: str) -> tuple[float, float]:
    """(seconds to the first contentful paint, megabytes received until loaded) of one visit with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    tab: Page = context.new_page()
    received = [0]
    line = context.new_cdp_session(tab)
    line.send("Network.enable")
    line.send("Network.setCacheDisabled", {"cacheDisabled": True})
    line.send("Network.emulateNetworkConditions", {"offline": False, **LINE})
    line.on("Network.loadingFinished", lambda e: received.append(e["encodedDataLength"]))
    tab.goto(address, wait_until="load", timeout=LONGEST)
    first = tab.evaluate(PAINT)
    context.close()
    return first, sum(received) / 1e6


def measure(site: Path, pages: list[str], runs: int = RUNS) -> dict[str, dict]:
    """{page: {seconds, slowest, megabytes}} of the pages of a built site."""
    executable = find_browser()
    if executable is None:
        raise SystemExit(HELP)
    handler = functools.partial(Compressed, directory=str(site))
    found = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as p:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        browser = p.chromium.launch(executable_path=executable, args=arguments)
        address = f"http://127.0.0.1:{server.server_port}"
        visit(browser, f"{address}/{pages[0]}.html")  # the first visit also starts the browser
        for page in pages:
            seconds, megabytes = zip(*(visit(browser, f"{address}/{page}.html") for _ in range(runs)))
            found[page] = {
                "seconds": round(statistics.median(seconds), 2),
                "slowest": round(max(seconds), 2),
                "megabytes": round(statistics.median(megabytes), 2),
            }
            print(f"{page:42}{found[page]['seconds']:6.2f} s {found[page]['megabytes']:6.2f} MB", flush=True)
        browser.close()
        server.shutdown()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", nargs="?", type=Path, default=notebooks.ROOT / "_build/html")
    parser.add_argument("--out", type=Path, help="a JSON log; what it holds under other names than --name is kept")
    parser.add_argument("--name", default="now", help="what to call this measurement in the log (default: now)")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"visits of each page (default: {RUNS})")
    arguments = parser.parse_args()
    if not (arguments.site / "index.html").is_file():
        raise SystemExit(f"There is no site in {arguments.site}: run `make book` first.")
    pages = [page for page in notebooks.toc() if (arguments.site / f"{page}.html").is_file()]
    began = os.getloadavg()[0]
    found = measure(arguments.site, pages, arguments.runs)
    if arguments.out:
        log = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {"line": LINE}
        log[arguments.name] = {
            "date": datetime.date.today().isoformat(),
            "load": [round(began, 1), round(os.getloadavg()[0], 1)],
            "visits": arguments.runs,
            "pages": found,
        }
        arguments.out.write_text(json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
