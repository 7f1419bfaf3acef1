"""axe-core on every page of the built site: as wide as a desk and as a phone, in light and in dark.

No rule is switched off. What is folded away, such as a solution, is opened first.
"""

import pytest
from conftest import MOMENT, serve

from tools import notebooks

HTML = notebooks.ROOT / "_build/html"
AXE = notebooks.ROOT / "node_modules/axe-core/axe.min.js"
GRAVE = ("serious", "critical")

READY = """async () => {
    await document.fonts.ready;
    if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
    for (const fold of document.querySelectorAll('details')) fold.open = true;
    for (const button of document.querySelectorAll('.toggle-button-hidden')) button.click();
}"""
# Most elements of a page are words of code and the insides of formulas: one of each kind is enough
THIN_OUT = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll('pre span[class]')) {
        const kind = word.className + (word.closest('.cell_output') ? ' output' : '');
        if (seen.has(kind) && !word.querySelector('span')) word.replaceWith(word.textContent);
        seen.add(kind);
    }
    [...document.querySelectorAll('mjx-math')].slice(1).forEach(formula => formula.replaceChildren());
}"""
PLAIN_CODE = "() => document.querySelectorAll('pre').forEach(code => { code.textContent = code.textContent; })"
CHECK = """async () => (await axe.run({ resultTypes: ['violations'] })).violations.flatMap(
    ({ id, impact, help, nodes }) => nodes.map(n => ({ id, impact, help, html: n.html.slice(0, 200) })))"""


@pytest.fixture(scope="module")
def tab(browser):
    if not (HTML / "index.html").is_file():
        pytest.fail("There is no site in _build/html: run `make book` first.", pytrace=False)
    with serve(HTML) as address, browser.new_context(base_url=address, reduced_motion="reduce") as context:
        yield context.new_page()


def grave(tab, where):
    """What axe finds in the page as it is now, each with its rule and element."""
    return [f"{where}: {v['id']} ({v['help']}) in {v['html']}" for v in tab.evaluate(CHECK) if v["impact"] in GRAVE]


@pytest.mark.parametrize("page", notebooks.toc())
def test_no_grave_violation(page, tab):
    found = []
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto(f"{page}.html", wait_until="load")
    tab.evaluate(READY)
    tab.evaluate(THIN_OUT)
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    for width, themes in ((1280, ("light", "dark")), (375, ("dark", "light"))):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.evaluate(MOMENT)  # a moment after a change of width the theme makes what scrolls focusable
        for theme in themes:
            tab.emulate_media(color_scheme=theme)
            tab.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
            found += grave(tab, f"{width} px, {theme}")
        tab.evaluate(PLAIN_CODE)  # its colours are the same on a phone
    assert not found, "\n".join(found)


def test_axe_finds_what_is_wrong(tab):
    """A page with grey on white, a mute picture and a nameless button fails, so that the test above can."""
    tab.set_content(
        '<html lang="en"><title>x</title><main><h1>x</h1><p style="color: #ccc">pale</p><img src="data:,">'
        "<button></button></main></html>"
    )
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = " ".join(grave(tab, "here"))
    assert all(rule in found for rule in ("color-contrast", "image-alt", "button-name"))
