"""The site's own Sphinx extensions, without a build; and what they left in the built site."""

import base64
import importlib
import io
import json
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image
from pybtex.database import parse_file
from sphinx.errors import ExtensionError, SphinxError

from tools import notebooks

HTML = notebooks.ROOT / "_build/html"
METHODS = notebooks.BOOK / "methods.yml"


def extension(name, monkeypatch):
    monkeypatch.syspath_prepend(notebooks.ROOT / "_ext")
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def built(page):
    path = HTML / f"{page}.html"
    if not path.is_file():
        pytest.fail(f"There is no {path}: run `make book` first.", pytrace=False)
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """The attributes of every element of a page, by tag."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def __call__(self, tag, **wanted):
        return [a for t, a in self.found if t == tag and wanted.items() <= a.items()]


# -- the map of methods


def test_map_links_chapters_that_exist_and_no_others(monkeypatch):
    module = extension("method_map", monkeypatch)
    families = module.read(METHODS, ["book/intro", "book/any_folder/simclr"])
    methods = [m for family in families for m in family["methods"]]
    assert [m["name"] for m in methods if m["page"]] == ["SimCLR"]
    for layout in (module.wide, module.narrow):
        drawn = module.drawing(families, lambda page: f"../{page}.html", layout, 100)
        links = Elements(drawn)("a")
        assert [a["href"] for a in links] == ["../book/any_folder/simclr.html"]
        assert drawn.count('class="coming"') == len(methods) - 1 and drawn.count("coming</tspan>") == len(methods) - 1
        assert all(f">{m['name']}<" in drawn for m in methods)


@pytest.mark.parametrize("wrong", ["- {family: a}", "- {family: a, question: b, hue: 1, methods: [{name: c}]}"])
def test_map_refuses_a_file_that_lacks_something(wrong, tmp_path, monkeypatch):
    path = tmp_path / "methods.yml"
    path.write_text(wrong)
    with pytest.raises(ExtensionError, match=r"methods.yml: a (family|method) needs .*, got"):
        extension("method_map", monkeypatch).read(path, [])


def test_map_has_every_method_with_a_chapter_and_every_paper():
    methods = [m for family in yaml.safe_load(METHODS.read_text()) for m in family["methods"]]
    chapters = {page.rsplit("/", 1)[-1] for page in notebooks.toc()}
    implemented = {p.stem for p in (notebooks.ROOT / "sslbook/methods").glob("[a-z]*.py")}
    assert chapters & implemented <= {m["chapter"] for m in methods}, "add the method to book/methods.yml"
    assert {m["chapter"] for m in methods} <= chapters, "a station without a chapter"
    assert {m["paper"] for m in methods if "paper" in m} <= set(parse_file(notebooks.BOOK / "references.bib").entries)


def test_map_of_the_built_page_leads_to_the_chapters():
    drawn = built("book/intro").split('class="method-map"')[1].split("</figure>")[0]
    chapters = {m["chapter"] for family in yaml.safe_load(METHODS.read_text()) for m in family["methods"]}
    there = {f"{page.removeprefix('book/')}.html" for page in notebooks.toc() if page.rsplit("/", 1)[-1] in chapters}
    assert there and {a["href"] for a in Elements(drawn)("a")} == there


# -- reading and run times


def test_times_of_a_notebook(monkeypatch):
    module = extension("run_times", monkeypatch)
    stamps = {"iopub.status.busy": "2026-01-01T00:00:00Z", "iopub.status.idle": "2026-01-01T00:01:05Z"}
    cells = [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": ["**Before you start:** [a](b). **Time:** about 25\n", "minutes of"],
        },
        {"cell_type": "code", "metadata": {"execution": stamps}, "source": "x = 1", "outputs": []},
    ]
    assert module.minutes({"cells": cells}) == 25
    assert module.clock(module.seconds(module.span({"cells": cells}))) == "1:05"
    assert module.minutes({"cells": cells[1:]}) == 0 and module.seconds(module.span({"cells": cells[:1]})) == 0


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda p: p.stem)
def test_chapter_says_once_how_long_it_is_to_read(path, monkeypatch):
    said = extension("run_times", monkeypatch).minutes(notebooks.load(path))
    assert (said >= 10) == (path.stem != "intro")


def test_notebooks_that_ran_side_by_side_count_once(monkeypatch):
    """By the clock: two that overlap, one inside the first, and one after a pause."""
    module = extension("run_times", monkeypatch)
    assert module.seconds((100, 160), (130, 190), (110, 120), (500, 510)) == 90 + 10


def test_times_of_several_pages_are_added_and_a_page_that_is_none_is_named(tmp_path, monkeypatch):
    module = extension("run_times", monkeypatch)
    for page, minutes, end in (("a", 25, "00:01:05"), ("b", 15, "00:02:10")):
        stamps = {"iopub.status.busy": "2026-01-01T00:00:00Z", "iopub.status.idle": f"2026-01-01T{end}Z"}
        said = {"cell_type": "markdown", "metadata": {}, "source": [f"**Time:** about {minutes} minutes"]}
        cells = [said, {"cell_type": "code", "metadata": {"execution": stamps}, "source": "x", "outputs": []}]
        (tmp_path / f"{page}.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "tips.md").write_text("# Tips")
    files = {"book/part/a": "a.ipynb", "book/part/b": "b.ipynb", "book/tips": "tips.md"}
    env = SimpleNamespace(
        docname="book/teaching", found_docs=set(files), note_reread=lambda: None, doc2path=lambda d: tmp_path / files[d]
    )
    monkeypatch.setattr(module.Sum, "env", env, raising=False)

    def said(role, pages):
        role.text, role.name = pages, "to-read"
        return role.run()[0][0].astext()

    assert said(module.ToRead(), "part/a, part/b, tips") == "40"
    assert said(module.ToRun(), "part/a, part/b, tips") == "3:15", "one after the other"
    with pytest.raises(SphinxError, match=r"book/teaching: to-read asks for book/part/c, which is no page"):
        said(module.ToRead(), "part/a, part/c")


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda p: p.stem)
def test_chapter_says_how_long_it_takes(path):
    page = path.relative_to(notebooks.ROOT).with_suffix("").as_posix()
    lines = Elements(built(page))("p", **{"class": "times"})
    assert len(lines) == (page != notebooks.toc()[0])


# -- alternative text, and mended pages


@pytest.mark.parametrize("image", ['<img src="a.png">', '<img src="a.png" alt=" ">', '<img alt="_images/b.png">'])
def test_a_picture_without_alternative_text_fails_the_build(image, monkeypatch):
    module = extension("accessibility", monkeypatch)
    with pytest.raises(module.NoAlternativeText, match=r"book/page: .*(a\.png|without a source)"):
        module.look(None, "book/page", "page.html", {"body": f"<p>{image}</p>"}, None)


def test_a_described_picture_passes_and_a_wide_table_can_be_scrolled_by_key(monkeypatch):
    context = {"body": '<img alt="a red disc" src="a.png"><div class="pst-scrollable-table-container"><table>'}
    extension("accessibility", monkeypatch).look(None, "book/page", "page.html", context, None)
    assert Elements(context["body"])("div", tabindex="0")


def test_no_line_begins_with_the_mark_behind_a_formula(monkeypatch):
    math = r'<span class="math notranslate nohighlight">\(h\)</span>'
    context = {"body": f"which ask {math}, find {math} here: {math}."}
    extension("accessibility", monkeypatch).look(None, "book/page", "page.html", context, None)
    glued = [f'<span class="glued">{math}{mark}</span>' for mark in ",."]
    assert context["body"] == f"which ask {glued[0]} find {math} here: {glued[1]}"


# -- pages that come soon


def test_a_figure_in_the_page_becomes_a_file_and_keeps_its_place(tmp_path, monkeypatch):
    module = extension("light_pages", monkeypatch)
    file = io.BytesIO()
    Image.new("RGB", (40, 20)).save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    html = f'<img class="figure" alt="a &quot;b&quot;" width="20" src="data:image/png;base64,{content}">'
    got = module.INLINE.sub(lambda found: module.picture(*found.groups(), tmp_path, "../_images/"), html)
    (saved,) = tmp_path.iterdir()
    assert saved.read_bytes() == file.getvalue()
    (image,) = Elements(got)("img")
    assert image["src"] == f"../_images/{saved.name}" and image["loading"] == "lazy"
    assert (image["alt"], image["width"], image["height"]) == ('a "b"', "20", "10")


def test_a_page_says_what_needs_scripts_and_the_search_does_not_wait_for_its_own(tmp_path, monkeypatch):
    """Sphinx hands the same script objects to every page: what one page sets, the search page must take back."""
    module = extension("light_pages", monkeypatch)
    app = SimpleNamespace(outdir=tmp_path)
    script = SimpleNamespace(filename="_static/doctools.js", attributes={})
    page = {"script_files": [script], "body": "<p>text</p>", "pathto": lambda name, _: name}
    module.lighten(app, "book/page", "page.html", page, None)
    assert script.attributes == {"defer": "defer"}
    assert page["body"].startswith("<noscript>") and page["body"].endswith("<p>text</p>")
    module.lighten(app, "search", "search.html", {"script_files": [script]}, None)
    assert script.attributes == {}


def test_state_of_widgets_is_split_into_what_is_small_and_files(tmp_path, monkeypatch):
    module = extension("static_widgets", monkeypatch)
    buffers = [{"path": [k], "data": base64.b64encode(v).decode()} for k, v in (("a", b"x"), ("b", bytes(300_000)))]
    plain = {"_esm": "code", "_css": "", "n": 1, "layout": "IPY"}
    state = {k: {"model_name": "AnyModel", "state": plain, "buffers": buffers} for k in ("1", "2", "unseen")}
    packed = module.packed(state, ["1", "2", "1"], tmp_path)
    (file,) = tmp_path.iterdir()
    large = {"b": {"file": f"{tmp_path.name}/{file.name}", "bytes": 300_000}}
    model = {"esm": 0, "css": 1, "plain": {"n": 1}, "binary": {"a": buffers[0]["data"]}, "large": large}
    assert packed == {"sources": ["code", ""], "models": {"1": model, "2": model}}
    assert file.read_bytes() == bytes(300_000)


def test_a_widget_that_only_a_kernel_could_draw_fails_the_build(tmp_path, monkeypatch):
    module = extension("static_widgets", monkeypatch)
    with pytest.raises(module.NoAnywidget, match="FloatProgressModel cannot be drawn"):
        module.packed({"1": {"model_name": "FloatProgressModel", "state": {}}}, ["1"], tmp_path)


# -- what other sites show for a link


def test_card_and_description_of_every_page():
    seen = set()
    for page in notebooks.toc():
        tags = {a.get("property") or a.get("name"): a.get("content") for a in Elements(built(page))("meta")}
        assert tags["og:title"] and tags["og:description"] == tags["description"]
        assert tags["og:url"].startswith("https://") and tags["og:url"].endswith(f"/{page}.html")
        site = tags["og:url"].removesuffix(f"{page}.html")
        assert tags["og:image"] == f"{site}_static/card.png" and tags["og:image:alt"]
        seen.add(tags["og:title"])
    assert (HTML / "_static/card.png").is_file() and len(seen) == len(notebooks.toc())


def test_the_sites_own_address_has_title_and_card_and_leads_to_the_first_page():
    first, page = f"{notebooks.toc()[0]}.html", built("index")
    tags = {a.get("property"): a.get("content") for a in Elements(page)("meta")}
    assert "<title>Learning Without Labels</title>" in page and Elements(page)("html", lang="en")
    assert tags["og:title"] == "Learning Without Labels" and tags["og:image"].endswith("_static/card.png")
    assert Elements(page)("a", href=first) and f'location.replace("{first}"' in page
    (canonical,) = Elements(page)("link", rel="canonical")
    assert canonical["href"].endswith(first)


def test_what_is_not_there_leads_home_and_robots_get_a_list():
    lost = built("404")
    assert "location.replace" not in lost and "http-equiv" not in lost
    assert [a["href"].startswith("https://") for a in Elements(lost)("a")] == [True]
    listed = re.findall(r"<loc>https://[^<]+?/book/(book/[^<]+)\.html</loc>", (HTML / "sitemap.xml").read_text())
    assert set(listed) == set(notebooks.toc())


def test_the_landing_pages_title_says_its_name_once():
    assert built(notebooks.toc()[0]).count("<title>Learning Without Labels</title>") == 1


def test_address_of_the_site_follows_the_repository(monkeypatch):
    module = extension("social_card", monkeypatch)
    config = SimpleNamespace(html_theme_options={"repository_url": "https://github.com/me/mine"}, html_baseurl="")
    assert module.address_of_site(config) == "https://me.github.io/mine/"
    config.html_baseurl = "https://book.org/"
    assert module.address_of_site(config) == "https://book.org/"


# -- the glossary


def test_glossary_defines_words_that_the_book_uses():
    body = (notebooks.BOOK / "glossary.md").read_text(encoding="utf-8").split("```{glossary}")[1]
    terms = re.findall(r"^(\w.*)$", body, flags=re.MULTILINE)
    texts = [notebooks.text(c) for p in notebooks.notebooks() for c in notebooks.load(p)["cells"]]
    texts += [p.read_text(encoding="utf-8") for p in (notebooks.ROOT / "sslbook").rglob("*.py")]
    used = "\n".join(texts).lower()
    assert len(terms) > 40
    assert [t for t in terms if not all(word in used for word in re.split(r"[\s-]+", t.lower()))] == []
