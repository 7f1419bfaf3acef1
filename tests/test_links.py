"""Links of the built site, read from its files: those inside it lead somewhere, those outside look like addresses.

Whether other sites still answer is for the weekly workflow, `make links`.
"""

import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

from tools import notebooks

HTML = notebooks.ROOT / "_build/html"
ATTRIBUTES = ("href", "src", "poster", "xlink:href")
URL = re.compile(r"""url\(\s*["']?([^"')]+)["']?\s*\)""")


class Page(HTMLParser):
    """The ids and the links of a page, whatever element they are on."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k)}
        self.links += [a[k] for k in ATTRIBUTES if a.get(k)]
        self.links += [part.split()[0] for part in (a.get("srcset") or "").split(",") if part.strip()]


@functools.cache
def parsed(path: Path) -> Page:
    return Page(path)


@functools.cache
def pages() -> list[Path]:
    found = [p for p in sorted(HTML.rglob("*.html")) if "_static" not in p.relative_to(HTML).parts]
    if not found:
        pytest.fail("There is no site in _build/html: run `make book` first.", pytrace=False)
    return found


def is_inside(link: str) -> bool:
    return not urlparse(link).scheme and not link.startswith("//")


def broken(here: Path, links: list[str]) -> list[str]:
    """Those that lead to no file of the site, or to no id of its page."""

    def leads_nowhere(link):
        target, anchor = urldefrag(link)
        file = (here.parent / unquote(urlparse(target).path)).resolve() if target else here
        if not file.is_relative_to(HTML.resolve()) or not file.is_file():
            return True
        return bool(anchor) and file.suffix == ".html" and unquote(anchor) not in parsed(file).ids

    return [link for link in links if leads_nowhere(link)]


def test_every_link_inside_the_site_leads_somewhere():
    wrong = {}
    for page in pages():
        links = [link for link in parsed(page).links if is_inside(link)]
        if found := broken(page.resolve(), links):
            wrong[page.relative_to(HTML).as_posix()] = found
    assert not wrong


def test_every_file_that_a_style_sheet_names_is_there():
    pages()
    wrong = {}
    for sheet in HTML.rglob("*.css"):
        links = [u for u in URL.findall(sheet.read_text(encoding="utf-8")) if is_inside(u)]
        if found := broken(sheet.resolve(), [urldefrag(u).url for u in links if not u.startswith("#")]):
            wrong[sheet.relative_to(HTML).as_posix()] = found
    assert not wrong


def test_links_to_other_sites_are_whole():
    outside = {link for page in pages() for link in parsed(page).links if not is_inside(link)}
    web = {link for link in outside if link.startswith("http")}
    assert len(web) > 20, "hardly a link to the web: were the pages read?"
    assert {link for link in web if not link.startswith("https://") or "." not in urlparse(link).netloc} == set()
    assert {urlparse(link).scheme for link in outside - web} <= {"data", "mailto"}


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "HTML", tmp_path)
    (tmp_path / "there.html").write_text('<p id="here">')
    links = ["there.html#here", "there.html#gone", "gone.html", "../there.html", "#gone", "there.html?q=1"]
    (tmp_path / "page.html").write_text("".join(f'<svg><a href="{link}"></a></svg>' for link in links))
    here = tmp_path / "page.html"
    assert broken(here, Page(here).links) == ["there.html#gone", "gone.html", "../there.html", "#gone"]
