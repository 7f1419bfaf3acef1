"""The built site, read as files and opened in a real browser. `make book` builds it."""

import contextlib
import functools
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import serve
from playwright.sync_api import TimeoutError

from tools import notebooks

HTML = notebooks.ROOT / "_build/html"
SCREENSHOTS = notebooks.ROOT / "_build/screenshots"
WIDTHS = {"wide": 1280, "phone": 375}

paths = notebooks.notebooks()
each_notebook = pytest.mark.parametrize("path", paths, ids=[p.relative_to(notebooks.BOOK).as_posix() for p in paths])
each_page = pytest.mark.parametrize("page", notebooks.toc())


@pytest.fixture(scope="module", autouse=True)
def built():
    if not (HTML / "index.html").is_file():
        pytest.fail("There is no site in _build/html: run `make book` first.", pytrace=False)


@each_notebook
def test_site_shows_a_good_run_of_this_notebook(path):
    """Its present code, with the present package, ran to the end; nbmake said so and left the outputs."""
    assert notebooks.is_fresh(path, notebooks.shared_inputs()), "changed since it was executed: run `make book`"
    for cell in notebooks.with_outputs(path)["cells"]:
        may_fail = "raises-exception" in cell["metadata"].get("tags", ())
        errors = [o for o in cell.get("outputs", ()) if o["output_type"] == "error"]
        assert may_fail or not errors, f"cell {cell['id']} shows {errors[0]['ename']}"


class Page(HTMLParser):
    """The pictures of one page."""

    def __init__(self, path: Path):
        super().__init__()
        self.images = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))


@functools.cache
def parsed(path: Path) -> Page:
    return Page(path)


@each_page
def test_every_picture_says_what_it_shows(page):
    for image in parsed(HTML / f"{page}.html").images:
        alt = (image.get("alt") or "").strip()
        is_default = (
            not alt or alt.startswith("<") or alt.startswith("Figure(") or alt.endswith((".png", ".svg", ".jpg"))
        )
        assert not is_default, f"no alternative text on {image.get('src', '')[:80]}: {alt!r}"


@pytest.fixture(scope="module")
def address():
    """The site on a free port of this machine."""
    with serve(HTML) as address:
        yield address


READY = """async () => {
    await document.fonts.ready;
    if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
}"""
UNDRAWN_WIDGETS = """() => [...document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')]
    .filter(s => !(s.parentElement.querySelector('.widget-subarea')?.getBoundingClientRect().height > 4))
    .map(s => s.parentElement.outerHTML.slice(0, 300))"""
OVERFLOWING = """() => {
    const right = e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
    const boxed = e => e && !e.matches('main')
        && (getComputedStyle(e).overflowX !== 'visible' || boxed(e.parentElement));
    return [...document.querySelectorAll('main .bd-article *, footer *')]
        .filter(e => right(e) && !boxed(e.parentElement)).map(e => e.outerHTML.slice(0, 200));
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@each_page
def test_page_in_a_browser(page, theme, browser, address):
    """Offline, without an error, with formulas and widgets drawn, and no wider than a phone."""
    requests, errors = [], []
    with browser.new_context(
        color_scheme=theme, reduced_motion="reduce", viewport={"width": 1280, "height": 900}
    ) as context:
        tab = context.new_page()
        tab.on("request", lambda r: requests.append(r.url))
        tab.on("console", lambda m: errors.append(f"console: {m.text}") if m.type == "error" else None)
        tab.on("pageerror", lambda e: errors.append(f"uncaught: {e}"))
        tab.on("requestfailed", lambda r: errors.append(f"failed: {r.url}"))
        tab.on("response", lambda r: errors.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        tab.goto(f"{address}/{page}.html", wait_until="load")
        tab.evaluate(READY)
        with contextlib.suppress(TimeoutError):
            tab.wait_for_function(f"() => ({UNDRAWN_WIDGETS})().length === 0", timeout=10_000)
        assert tab.evaluate(UNDRAWN_WIDGETS) == []
        assert tab.evaluate("document.documentElement.dataset.theme") == theme
        assert tab.locator("mjx-merror").count() == 0, "a formula that MathJax cannot read"
        for name, width in WIDTHS.items():
            tab.set_viewport_size({"width": width, "height": 900})
            tab.wait_for_timeout(100)
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            shot = SCREENSHOTS / f"{page.removeprefix('book/').replace('/', '-')}-{theme}-{name}.png"
            tab.screenshot(path=shot, full_page=True)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, tab.evaluate(OVERFLOWING)
        tab.wait_for_load_state("networkidle")
    assert not errors
    assert [u for u in requests if not u.startswith((address, "data:", "blob:"))] == []


def test_the_mae_chapter_runs_its_network(browser, address):
    """In the page itself, by onnxruntime-web, with no kernel and no server."""
    tab = browser.new_page()
    tab.goto(f"{address}/book/masked/mae.html")
    tab.locator(".sslw-masking").scroll_into_view_if_needed()
    tab.locator(".sslw-touchable[aria-busy=false]").wait_for()
    assert "in this page" in tab.locator(".sslw-masking dl").inner_text()
    tab.close()
