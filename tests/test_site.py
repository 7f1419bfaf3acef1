"""The built site, read as files and opened in a real browser. `make book` builds it."""

import contextlib
import functools
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import FRAME, serve
from playwright.sync_api import TimeoutError

from tools import notebooks

HTML = notebooks.ROOT / "_build/html"
SCREENSHOTS = notebooks.ROOT / "_build/screenshots"
WIDTHS = {"phone": 375, "wide": 1280}
PHOTOGRAPHED = (("light", "wide"), ("dark", "phone"))

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


# What a formula must not do: hang a scrollbar under itself, or be cut at the edge of a phone
CUT = """() => {
    const formulas = [...document.querySelectorAll('mjx-container')];
    const bars = formulas.filter(e => e.offsetHeight > e.clientHeight + 1 || e.offsetWidth > e.clientWidth + 1);
    const wide = [...document.querySelectorAll('.bd-article div.math')].filter(e => e.scrollWidth > e.clientWidth);
    return [...bars, ...wide].map(e => e.outerHTML.slice(0, 300));
}"""


@pytest.fixture(scope="module")
def with_bars(launch):
    """A browser that shows scrollbars, as one without a window does not by default."""
    browser = launch(ignore_default_args=["--hide-scrollbars"])
    yield browser
    browser.close()


@each_page
def test_page_in_a_browser(page, with_bars, address):
    """Offline, without an error, with formulas and widgets drawn, and no wider than a phone, in light and in dark.

    A page is opened once, every other one in dark, and then turned to the other theme: to open it takes longest. It is
    opened on a phone, as its formulas are broken into lines when it is opened.
    """
    themes = ("dark", "light") if notebooks.toc().index(page) % 2 else ("light", "dark")
    requests, errors = [], []
    with with_bars.new_context(
        color_scheme=themes[0], reduced_motion="reduce", viewport={"width": WIDTHS["phone"], "height": 900}
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
            tab.wait_for_function(f"() => ({UNDRAWN_WIDGETS})().length === 0", timeout=60_000)
        assert tab.evaluate(UNDRAWN_WIDGETS) == []
        assert tab.locator("mjx-merror").count() == 0, "a formula that MathJax cannot read"
        assert tab.evaluate("document.documentElement.dataset.theme") == themes[0]
        for theme in themes:
            tab.emulate_media(color_scheme=theme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
            fits_and_is_photographed(tab, page, theme)
        tab.wait_for_load_state("networkidle")
    assert not errors
    assert [u for u in requests if not u.startswith((address, "data:", "blob:"))] == []


def fits_and_is_photographed(tab, page, theme):
    for name, width in WIDTHS.items():
        tab.set_viewport_size({"width": width, "height": 900})
        tab.evaluate(FRAME)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, tab.evaluate(OVERFLOWING)
        assert tab.evaluate(CUT) == [], f"formulas with scrollbars or cut off, {width} px wide"
        if (theme, name) in PHOTOGRAPHED:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            shot = SCREENSHOTS / f"{page.removeprefix('book/').replace('/', '-')}-{theme}-{name}.png"
            tab.screenshot(path=shot, full_page=True)


def test_a_page_printed_from_the_dark_theme_is_dark_on_white(browser, address):
    with browser.new_context(color_scheme="dark") as context:
        tab = context.new_page()
        tab.goto(f"{address}/book/contrastive/simclr.html", wait_until="load")
        tab.emulate_media(media="print", color_scheme="dark")
        light = """() => ['h1', 'h2', 'p:not(:has(*))', '.highlight pre', '.sslw h4'].filter((selector) => {
            const color = getComputedStyle(document.querySelector(`.bd-article ${selector}`)).color;
            return color.match(/\\d+/g).slice(0, 3).some((level) => level > 110);
        })"""
        tab.wait_for_function("document.querySelector('.sslw h4')")
        assert tab.evaluate(light) == []
        assert tab.evaluate("getComputedStyle(document.querySelector('.highlight pre')).whiteSpace") == "pre-wrap"


def test_the_landing_page_has_its_buttons_above_the_fold_and_trains(browser, address):
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    tab.goto(f"{address}/{notebooks.toc()[0]}.html", wait_until="load")
    for name in ("Start reading", "Watch a collapse", "Teach with it"):
        box = tab.get_by_role("link", name=name).first.bounding_box()
        assert box["y"] + box["height"] <= 720, name
    train = tab.get_by_role("button", name="Train", exact=True)
    assert train.bounding_box()["y"] < 600
    train.click()
    tab.wait_for_function("+document.querySelectorAll('.sslw-playground .sslw-readouts b')[2].textContent >= 2")
    tab.close()


@pytest.mark.parametrize(
    ("asked", "page", "place"),
    [("collapse", "collapse_lab", 2), ("own photos", "your_own_images", 1), ("SimCLR", "simclr", 2)],
)
def test_the_search_finds_pages_by_their_titles(asked, page, place, browser, address):
    """Among the first results, where at most a word of the glossary comes before it."""
    tab = browser.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(f"{address}/search.html?q={asked.replace(' ', '+')}")
    found = tab.locator("#search-results li > a")
    found.nth(4).wait_for()
    first = found.evaluate_all("all => all.map((e) => e.getAttribute('href'))")[:place]
    assert any(f"/{page}.html" in where for where in first), first
    assert errors == []
    tab.close()


def test_formulas_are_no_stops_of_the_tab_key(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/book/contrastive/simclr.html", wait_until="load")
    tab.evaluate(READY)
    assert tab.locator("mjx-container").count() > 20
    assert tab.locator("mjx-container[tabindex='0'], mjx-container [tabindex='0']").count() == 0
    tab.close()


def test_a_wide_table_keeps_its_row_heads_in_sight_on_a_phone(browser, address):
    tab = browser.new_page(viewport={"width": 375, "height": 800})
    tab.goto(f"{address}/book/evaluation/comparison.html", wait_until="load")
    places = tab.locator(".output:has(> table.growing-table)").evaluate_all("""all => all.map((box) => {
        box.scrollLeft = 1000;
        const head = box.querySelector("th[scope=row]").getBoundingClientRect();
        return [box.scrollLeft, head.left - box.getBoundingClientRect().left];
    })""")
    assert max(scrolled for scrolled, _ in places) > 40, "the pages' widest tables are wider than a phone"
    assert all(-1 < place < 12 for _, place in places), places
    tab.close()


HIDDEN_FROM_A_PHONE = """() => {
    const cut = (e, box) => e.right > box.right + 1 || e.left < box.left - 1 || e.bottom > box.bottom + 1;
    const box = (e) => e.getBoundingClientRect();
    const page = { left: 0, right: document.documentElement.clientWidth, bottom: Infinity };
    const words = [...document.querySelectorAll('.bd-article :is(caption, .glued):not(.toggle-hidden *)')];
    const folds = [...document.querySelectorAll('.admonition.toggle')];
    const mark = (fold) => box(fold.querySelector('.toggle-button'));
    const found = [...words.filter(e => cut(box(e), page)), ...folds.filter(e => cut(mark(e), box(e)))];
    return found.map(e => e.innerText.slice(0, 100));
}"""


def test_on_a_phone_captions_are_whole_and_folds_open_where_their_title_is_touched(browser, address):
    with browser.new_context(
        viewport={"width": 375, "height": 800}, is_mobile=True, has_touch=True, reduced_motion="reduce"
    ) as context:
        tab = context.new_page()
        tab.goto(f"{address}/book/contrastive/simclr.html", wait_until="load")
        tab.evaluate(READY)
        assert tab.evaluate(HIDDEN_FROM_A_PHONE) == []
        solution = tab.locator("div.solution").first
        solution.locator(".admonition-title a").scroll_into_view_if_needed()
        box = solution.bounding_box()
        tab.touchscreen.tap(box["x"] + 120, box["y"] + 20)  # on the name of the exercise
        assert "toggle-hidden" not in solution.get_attribute("class") and "#" not in tab.url


BLOCKS = 400_000  # bytes: 2 s of a line of 1.6 Mbit/s; tools/first_paint.py measures in seconds


@each_page
def test_little_stands_between_a_slow_line_and_the_first_line(page):
    """What must have come before anything is seen: the page itself, its style sheets, and scripts that do not wait."""
    path = HTML / f"{page}.html"
    text = path.read_text(encoding="utf-8")
    head = text.split("</head>")[0]
    scripts = [s for s in re.findall(r"<script[^>]*src=[^>]*>", head) if "defer" not in s and "async" not in s]
    assert len(scripts) == 1 and "documentation_options" in scripts[0]
    assert 'rel="preload"' not in head and "fontawesome/6.5.2/js" not in text
    assert not re.search(r'src="data:[^"]{2000}', text), "a picture in the page, where it should be a file"
    links = re.findall(r'<link[^>]*href="([^"?]+)[^>]*rel="stylesheet"|rel="stylesheet"[^>]*href="([^"?]+)', head)
    files = [path, *((path.parent / (a or b)).resolve() for a, b in links)]
    assert len(files) > 5
    assert sum(len(gzip.compress(file.read_bytes(), 6)) for file in files) < BLOCKS


def test_every_page_was_measured_on_a_slow_line():
    """`python -m tools.first_paint --out results/first-paint.json`: after a change of what pages load."""
    log = json.loads((notebooks.ROOT / "results/first-paint.json").read_text())
    assert set(log["now"]["pages"]) == set(notebooks.toc())
    assert {page: row for page, row in log["now"]["pages"].items() if row["seconds"] > 2.5} == {}


def test_the_mae_chapter_runs_its_network(browser, address):
    """In the page itself, by onnxruntime-web, with no kernel and no server."""
    tab = browser.new_page()
    tab.goto(f"{address}/book/masked/mae.html")
    tab.locator(".sslw-masking").scroll_into_view_if_needed()
    tab.locator(".sslw-touchable[aria-busy=false]").wait_for()
    assert "in this page" in tab.locator(".sslw-masking dl").inner_text()
    tab.close()
