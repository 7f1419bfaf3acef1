"""The pictures that open the chapters: drawn by tools/ideas, shipped with the package, shown by a hidden cell."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from sslbook.ideas import FOLDER, idea
from tools import ideas, notebooks
from tools.ideas.drawing import Drawing, typeset

NAMES = ideas.names()
EMBEDDED = re.compile(r'href="data:image/png;base64,([^"]*)"')
# What of a picture's text lies outside of it, or on other text; sizes as in a page
COLLISIONS = """
(svg) => {
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const texts = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBBox()]);
  const outside = texts.filter(
    ([, b]) => b.x < 3 || b.y < 3 || b.x + b.width > width - 3 || b.y + b.height > height - 3);
  const meet = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width
    && a.y + 4 < b.y + b.height && b.y + 4 < a.y + a.height;
  const crossed = texts.filter(([, a], i) => texts.slice(0, i).some(([, b]) => meet(a, b)));
  return [...outside, ...crossed].map(([text]) => text);
}
"""


def pixels(svg):
    """The images inside a picture, each (H, W, 3)."""
    return [np.array(Image.open(io.BytesIO(base64.b64decode(data))), int) for data in EMBEDDED.findall(svg)]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_what_the_tool_draws(name):
    stored, drawn = idea(name).svg, ideas.draw(name)
    assert EMBEDDED.sub("", stored) == EMBEDDED.sub("", drawn), "run `make ideas`"
    for before, now in zip(pixels(stored), pixels(drawn), strict=True):
        # other processors round the last bit of a float in their own way
        assert before.shape == now.shape and np.abs(before - now).max() <= 2, "run `make ideas`"


def test_a_picture_is_drawn_to_the_same_bytes():
    assert ideas.draw("simclr") == ideas.draw("simclr")


def test_every_file_has_its_tool():
    assert [path.stem for path in sorted(FOLDER.glob("*.svg"))] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_says_what_it_shows_and_loads_nothing(name):
    svg = idea(name).svg
    root = ET.fromstring(svg)
    assert root.get("role") == "img" and len(idea(name).alt) > 60
    assert root.get("width") == "480", "one size of words in all pictures, which a phone shows still readable"
    texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
    assert texts and all(int(t.get("font-size")) >= 15 for t in texts)
    assert "<style" not in svg and " id=" not in svg, "several stand in one page"
    links = re.findall(r'(?:href|src)="([^"]*)"|url\(([^)]*)\)', svg)
    assert all(link.startswith("data:image/png;base64,") for pair in links for link in pair if link)


def test_words_stay_apart_and_inside(browser):
    page = browser.new_page(viewport={"width": 375, "height": 600})
    page.set_content("".join(f'<div id="{name}">{idea(name)._repr_html_()}</div>' for name in NAMES))
    troubles = {name: page.locator(f"#{name} svg").evaluate(COLLISIONS) for name in NAMES}
    assert not {name: found for name, found in troubles.items() if found}
    assert page.evaluate("document.documentElement.scrollWidth") <= 375, "as wide as a phone at most"
    page.close()


def test_chapters_show_pictures_that_exist():
    shown = set()
    for path in notebooks.notebooks():
        for cell in notebooks.load(path)["cells"]:
            source = notebooks.text(cell)
            shown.update(re.findall(r'\bidea\("(\w+)"\)', source) if cell["cell_type"] == "code" else ())
    assert shown <= set(NAMES) and "simclr" in shown
    with pytest.raises(ValueError, match=r"no idea picture 'simcrl', only .*simclr"):
        idea("simcrl")


def test_formulas_are_set_and_words_escaped():
    set_ = typeset("a < b: $z_1$, $z^A$", 20)
    assert set_.startswith("a &lt; b: <tspan")
    assert re.search(r'font-style="italic">z</tspan><tspan [^>]*dy="4.97">1</tspan>', set_), "a digit is upright"
    assert re.search(r'font-style="italic" dy="-8.14">A</tspan>', set_)
    assert set_.count("\u200b") == 2, "what follows a formula stands on the line again"
    drawing = Drawing(100, 'says "less" & <more>')
    ET.fromstring(drawing.svg())
