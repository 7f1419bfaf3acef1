"""What several test modules share."""

import base64
import contextlib
import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ipywidgets.embed import embed_data
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that tests can import tools/
sys.path.append(str(ROOT / "experiments"))  # as it is for a study that is started

# the weekly run takes all methods, sheets and kills where the others take some: SSLBOOK_THOROUGH=1
THOROUGH = bool(os.environ.get("SSLBOOK_THOROUGH"))


@pytest.fixture(scope="session")
def launch():
    """launch(**options) -> a real browser that reaches no other host; without one tests fail, none is skipped."""
    from tools.browser import HELP, find_browser

    path = find_browser()
    if path is None:
        pytest.fail(HELP, pytrace=False)
    with sync_playwright() as p:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        yield functools.partial(p.chromium.launch, executable_path=path, args=arguments)


@pytest.fixture(scope="session")
def browser(launch):
    browser = launch()
    yield browser
    browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(folder):
    """A folder on a free port of this machine: its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def extension(name):
    """The module of one of the site's own Sphinx extensions."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"_ext/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- a widget's module on a plain page

FRAME = "() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
MOMENT = f"async () => {{ await ({FRAME})(); await new Promise((r) => setTimeout(r, 400)); }}"
MOUNT = """
async (widgets) => {
  const bytes = (s) => Uint8Array.from(atob(s), (c) => c.charCodeAt(0));
  // a view at an odd offset, as a message from a kernel may hold it
  const view = (s) => {
    const data = bytes(s), room = new Uint8Array(data.length + 3);
    room.set(data, 3);
    return new DataView(room.buffer, 3);
  };
  const pictures = [];
  window.Image = class extends Image {
    constructor() { super(); pictures.push(this); }
  };
  window.mounted = [];
  for (const [n, { esm, css, plain, binary }] of widgets.entries()) {
    const state = { ...plain };
    for (const [k, v] of Object.entries(binary)) state[k] = view(v);
    const listeners = {};
    const emit = (event, ...values) => (listeners[event] ?? new Set()).forEach((f) => f(...values));
    const model = {
      get: (k) => state[k],
      set: (k, v) => { state[k] = v; emit(`change:${k}`); },
      on: (k, f) => (listeners[k] ??= new Set()).add(f),
      off: (k, f) => listeners[k].delete(f),
      save_changes() {},
      send: (content) => window.kernel?.(n, content).then(([c, buffers]) => emit("msg:custom", c, buffers.map(view))),
    };
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
    const el = document.createElement("div");
    document.body.append(el);
    const module = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
    const cleanup = await module.default.render({ model, el });
    window.mounted.push({ module, model, el, cleanup, listeners });
  }
  await Promise.all(pictures.map((picture) => picture.decode()));
  await (FRAME)();
}
""".replace("FRAME", FRAME)  # comes back when pictures are decoded, sizes observed and with them the page's address
LEFT = """
() => window.mounted.map(({ cleanup, el, listeners }) => {
  cleanup();
  return el.childNodes.length + Object.values(listeners).reduce((n, s) => n + s.size, 0);
})
"""  # takes all widgets off the page: how many elements and listeners each leaves behind
UNLABELLED = "[...document.querySelectorAll('input')].filter((e) => !e.labels.length && !e.ariaLabel).length"
CANVASES = """
(selector) => [...document.querySelectorAll(selector)].map((c) => {
  const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
  let bytes = "";
  for (const value of data) bytes += String.fromCharCode(value);
  return { height: c.height, width: c.width, bytes: btoa(bytes) };
})
"""


def encoded(widget):
    """A widget's embedded state, as a static page holds it."""
    state = {k: v for k, v in widget.get_state().items() if k not in ("layout", "_esm", "_css")}
    binary = {k: base64.b64encode(v).decode() for k, v in state.items() if isinstance(v, bytes)}
    plain = {k: v for k, v in state.items() if k not in binary}
    return {"esm": widget._esm, "css": widget._css, "plain": plain, "binary": binary}


def rgba(page, selector):
    """What each canvas holds, (H, W, 4) uint8."""
    return [
        torch.frombuffer(bytearray(base64.b64decode(c["bytes"])), dtype=torch.uint8).view(c["height"], c["width"], 4)
        for c in page.evaluate(CANVASES, selector)
    ]


def canvases(page, selector):
    """(n, 3, H, W) uint8: what canvases of one size hold."""
    return torch.stack(rgba(page, selector))[..., :3].permute(0, 3, 1, 2)


def answers(widget, content):
    """What Python sends back for a message from the page: (content, buffers)."""
    sent = []
    widget.send = lambda content, buffers=(): sent.append((content, buffers))
    widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})
    (answer,) = sent
    return answer


def swipe(page, selector):
    """How far the page has scrolled when a finger has gone up from the middle of an element; it needs `has_touch`."""
    page.evaluate("document.body.style.paddingBottom = '2000px'")
    box = page.locator(selector).first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger = page.context.new_cdp_session(page)
    for step in range(13):
        kind, points = ("touchMove" if step else "touchStart"), [{"x": x, "y": y - 10 * step}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(16)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.evaluate(FRAME)
    return page.evaluate("scrollY")


def watch(page, address="none"):
    """Collect in `page.troubles` every error, warning and request, but those to an address of ours."""
    page.troubles = []
    page.on("pageerror", lambda e: page.troubles.append(f"error: {e}"))
    known = re.compile("willReadFrequently")  # advice on the tests' own reading of canvases
    page.on(
        "console",
        lambda m: (
            m.type in ("error", "warning") and not known.search(m.text) and page.troubles.append(f"console: {m.text}")
        ),
    )
    page.on("response", lambda r: r.status >= 400 and page.troubles.append(f"{r.status}: {r.url}"))
    expected = ("blob:", "data:", address)
    page.on("request", lambda r: r.url.startswith(expected) or page.troubles.append(f"request: {r.url}"))


@pytest.fixture
def mount(browser):
    """mount(*widgets, **context options) -> page; no request, no error may happen on it.

    With `kernel` the widgets can ask Python; `ort` is where the page says that onnxruntime-web lies.
    """
    pages = []

    def mount(*widgets, theme="light", kernel=False, ort="", **options):
        options = {"viewport": {"width": 1000, "height": 900}} | options
        page = browser.new_page(**options)
        watch(page)
        if kernel:

            def ask(n, content):
                content, buffers = answers(widgets[n], content)
                return content, [base64.b64encode(b).decode() for b in buffers]

            page.expose_function("kernel", ask)
        page.set_content(
            f'<!doctype html><html lang="en" data-theme="{theme}" data-ort="{ort}">'
            '<meta name="viewport" content="width=device-width"><style>body { margin: 12px } '
            '[data-theme="dark"] body { background: #121212 }</style></html>'
        )
        page.evaluate(MOUNT, [encoded(w) for w in widgets])
        pages.append(page)
        return page

    yield mount
    for page in pages:
        assert page.troubles == []
        page.close()


# -- a widget on a page of the book, as its site serves it: its own scripts, and onnxruntime-web from node_modules


@pytest.fixture(scope="module")
def vendored(tmp_path_factory):
    """The folder that the book's own extensions fill, and the size of the runtime in it."""
    folder = tmp_path_factory.mktemp("site")
    config = SimpleNamespace(html_static_path=[])
    extension("offline_assets").vendor_scripts(SimpleNamespace(srcdir=ROOT, doctreedir=folder / "doctrees"), config)
    folder = folder / "vendor_static"
    (folder / "widgets").mkdir()
    shutil.copy(extension("static_widgets").SCRIPT, folder)
    return folder, config.runtime_bytes


@pytest.fixture
def visit(browser, vendored):
    """visit(*widgets, **context options) -> a served page of the book; it meets only our own address.

    `refuse` are parts of addresses that the line loses, until the test empties this list.
    """
    folder, runtime = vendored
    pages = []

    def visit(*widgets, theme="light", script="", above=0, book="", hash="", refuse=(), **options):
        data = embed_data(views=widgets, drop_defaults=False)
        html = (
            f'<!doctype html><html lang="en" data-theme="{theme}" {book}>'
            '<meta name="viewport" content="width=device-width">'
        )
        html += '<link rel="icon" href="data:,"><style>[data-theme="dark"] body { background: #121212 }</style>'
        html += f'<div style="height: {above}px"></div>'
        for view in data["view_specs"]:
            html += f'<div><script type="application/vnd.jupyter.widget-view+json">{json.dumps(view)}</script></div>'
        ids = [view["model_id"] for view in data["view_specs"]]
        state = extension("static_widgets").packed(data["manager_state"]["state"], ids, folder / "widgets")
        (folder / "state.js").write_text(f"window.widgetStates = {json.dumps(state | {'runtime': runtime})}")
        html += '<script defer src="state.js"></script><script defer src="widgets.js"></script>'
        (folder / "index.html").write_text(html)
        page = browser.new_page(**{"viewport": {"width": 1000, "height": 900}} | options)
        watch(page, address)
        page.wants = []
        page.on("request", lambda r: page.wants.append(r.url.removeprefix(address)))
        if refuse:
            lose = lambda route: route.abort() if any(r in route.request.url for r in refuse) else route.continue_()  # noqa: E731
            page.route("**/*", lose)
        page.add_init_script(script)
        page.goto(f"{address}/{hash}")
        page.wait_for_function("n => document.querySelectorAll('.sslw').length === n", arg=len(widgets))
        pages.append(page)
        return page

    with serve(folder) as address:
        yield visit
        for page in pages:
            assert page.troubles == []
            page.close()
