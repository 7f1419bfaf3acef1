"""Slides made from chapters: what goes on them, and the deck in a real browser, opened as a file without a network."""

import re

import pytest
from conftest import watch

from tools import notebooks, slides
from tools.slides import deck, markup, outline

PAGE, SITE = "book/part/chapter", "https://here/"
LONG = " ".join(f"Sentence number {i} of a paragraph that nobody wants to read from a wall." for i in range(40))
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FIGURE = "".join(
    f'<img class="figure" alt="A curve." data-on="{theme}" width="478" src="data:image/png;base64,{PIXEL}">'
    for theme in ("light", "dark")
)
TITLE = """\
# A chapter on $z$

What it is about. {cite:t}`chen2020simclr` found it.

**What you will be able to do**

- read a loss;
- doubt it."""
EQUATION = """\
## The equation

Let $h_i = f(x_i)$ be the features, and

$$
\\mathcal{L} = \\E_x \\lVert h \\rVert^2 \\newline + \\underbrace{1}_{\\text{a term}}
$$ (eq-test)

where $f$ is the encoder, see {eq}`eq-test`. [The other chapter](../other/page) has more.
It cost $5 or $6 at `a$b`."""
BREAK = """\
## Break it

Take it away. **Predict**: what happens to the loss? And to the kNN?"""
TRAPS = f"""\
## Traps

**The wrong mode.** {LONG}

**A lead.** And its reason."""
EXERCISES = """\
## Exercises

```{exercise} Predict
:label: ex-a
Will it learn $x$?
```

```{solution} ex-a
:class: dropdown
It will **not**.
```

```{exercise} Implement
:label: ex-b
Write `secret_function`.
```

```{solution} ex-b
:class: dropdown
Never on a slide.
```

## Summary

- The end.

## References and further reading

Nothing of this is shown."""


def markdown(source):
    return {"cell_type": "markdown", "id": "text", "metadata": {}, "source": source}


def code(source, *outputs, name="cell", tags=()):
    made = [
        {"output_type": "stream", "name": "stdout", "text": o} if isinstance(o, str) else {"data": o} for o in outputs
    ]
    return {"cell_type": "code", "id": name, "metadata": {"tags": list(tags)}, "source": source, "outputs": made}


def table(rows, columns, cell="0.123 ± 0.045"):
    head = "".join(f'<th scope="col">column {i}</th>' for i in range(columns))
    body = f"<tr>{'<td>' + cell + '</td>'}{f'<td>{cell}</td>' * (columns - 1)}</tr>" * rows
    top = f"<table class='t'><caption>All</caption><thead><tr>{head}</tr></thead>"
    return {"text/html": f"{top}<tbody>{body}</tbody></table>"}


LISTING = "def loss(z):\n" + '    """Of z.\n\n    Args: none.\n    """\n' + "    z = z + 1  # " + "so " * 20 + "\n"
CELLS = [
    markdown(TITLE),
    code('lab = Lab("X")', "budget cpu"),
    markdown("## The idea in one picture"),
    code('idea("simclr")', tags=["hide-input"]),
    markdown(EQUATION),
    markdown("## The code"),
    code("show_source(X)", {"text/html": "<i></i>", "text/latex": "", "text/plain": LISTING + 50 * "    pass\n\n"}),
    markdown("## Train it\n\nIt takes a minute."),
    code("x = pretrain(y)\nlab.curves(x)", "5 s of training", {"text/html": FIGURE}, name="train"),
    markdown(f"## What it learned\n\n{LONG}"),
    code("hidden()", {"text/html": FIGURE}),
    code("study()", "3 minutes; again: python experiments/x.py", table(40, 9)),
    code("words()", table(6, 3, "a long reason that goes on and on, with words that fold into lines " * 2)),
    markdown("## Touch it\n\n**The explorer.** Move it. Then look."),
    code("Explorer()", {outline.WIDGET: {}, "text/plain": "<sslbook.widgets.x.LatentsExplorer object at 0x7f>"}),
    markdown(BREAK),
    code("broken()", {"text/html": FIGURE}),
    code("assert claim", tags=["hide-input"]),
    markdown(TRAPS),
    markdown("## A list\n\n" + "\n".join(f"- item {i}: {LONG[:100]}" for i in range(30))),
    markdown(EXERCISES),
    code("secret_check()", "not written yet", name="exercise-b"),
    code("lab.clock()", "This page's code took 9 s."),
]
CHAPTER = {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture(scope="module")
def made():
    return outline.slides(CHAPTER, PAGE, SITE)


def of(made, title):
    """The slides under a heading: their pieces as (kind, content), and their notes."""
    chosen = [slide for slide in made if slide.title == title]
    assert chosen, f"no slide is called {title}"
    pieces = [(piece.kind, piece.content) for slide in chosen for piece in slide.pieces]
    return pieces, "\n".join(note for slide in chosen for note in slide.notes)


def test_first_slides_say_what_it_is_about_and_what_one_will_be_able_to_do(made):
    first, second = made[:2]
    assert (first.title, first.pieces[0].content) == (
        "A chapter on $z$",
        "What it is about. Chen et al. (2020) found it.",
    )
    assert [piece.content for piece in second.pieces] == ["read a loss;", "doubt it."]


def test_equation_has_the_sentence_around_it_and_plain_links(made):
    pieces, notes = of(made, "The equation")
    assert [kind for kind, _ in pieces] == ["text", "math", "text"]
    assert pieces[0][1].endswith("and") and pieces[2][1].startswith("where $f$ is the encoder, see *test*.")
    assert "[The other chapter](https://here/book/other/page.html)" in notes


def test_code_comes_in_parts_with_short_docstrings_and_set_up_stays_away(made):
    pieces, _ = of(made, "The code")
    assert [kind for kind, _ in pieces] == ["code"] * len(pieces) and len(pieces) > 2
    assert '"""Of z."""\n' in pieces[0][1] and "Args" not in pieces[0][1]
    assert all(content.count("\n") < outline.LONG for _, content in pieces)
    assert [kind for kind, _ in of(made, "Train it")[0]] == ["code", "printed", "picture"]
    everything = "\n".join(piece.content for slide in made for piece in slide.pieces)
    for absent in ("Lab(", "budget cpu", "assert", "hidden()", "python experiments", "clock", "not written yet"):
        assert absent not in everything, absent


def test_text_is_in_the_notes_and_bold_leads_on_the_slide(made):
    pieces, notes = of(made, "Traps")
    assert pieces == [("lead", f"**The wrong mode.** {LONG[:71]}"), ("lead", "**A lead.** And its reason.")]
    assert "Sentence number 39" in notes
    pieces, notes = of(made, "What it learned")
    assert pieces[0][0] == "picture" and "Sentence number 39" in notes


def test_long_table_goes_on_with_the_same_head(made):
    tables = [content for kind, content in of(made, "What it learned")[0] if kind == "table"]
    assert sum(content.count("<tr><td>") for content in tables) == 46
    assert all(content.count("<caption>") == content.count("<thead>") == 1 for content in tables)


def test_widget_is_a_link_to_its_place_below_what_to_do_with_it(made):
    pieces, _ = of(made, "Touch it")
    assert pieces[0] == ("text", "**The explorer.** Move it. Then look.")
    assert f'<a href="{SITE}{PAGE}.html#touch-it">Latents explorer</a>' in pieces[1][1]


def test_questions_stand_alone_and_only_they_are_taken_from_the_exercises(made):
    asked = [slide for slide in made if slide.title == "Predict"]
    assert [slide.above for slide in asked] == ["Break it", "Exercises"]
    assert [piece.kind for piece in asked[0].pieces] == ["question"]
    assert asked[0].pieces[0].content.startswith("Take it away. **Predict**: what happens")
    assert [(piece.kind, piece.content) for piece in asked[1].pieces] == [
        ("question", "Will it learn $x$?"),
        ("answer", "It will **not**."),
    ]
    everything = repr(made)
    assert all(absent not in everything for absent in ("secret", "Never on a slide", "Nothing of this"))


def test_what_was_not_executed_still_has_its_idea():
    cells = [cell | {"outputs": []} if "outputs" in cell else cell for cell in CELLS]
    made = outline.slides(CHAPTER | {"cells": cells}, PAGE, SITE)
    ((kind, svg),), _ = of(made, "The idea in one picture")
    assert kind == "picture" and svg.lstrip().startswith("<svg")


# -- in a browser


@pytest.fixture(scope="module")
def file(made, tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "chapter.html"
    path.write_text(deck.render(made, PAGE, SITE), encoding="utf-8")
    return path


@pytest.fixture
def page(file, browser):
    """The deck as a file, at its first slide; nothing may be asked of any host."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    watch(page, "file:")
    page.goto(file.as_uri())
    page.wait_for_function("() => Reveal.isReady()")
    yield page
    assert page.troubles == []
    context.close()


LOOK = """() => {
  const slide = Reveal.getCurrentSlide();
  slide.querySelectorAll(".fragment").forEach((fragment) => fragment.classList.add("visible"));
  const shown = [...slide.querySelectorAll("*")].filter((e) => !e.closest("aside, svg") && e.getClientRects().length);
  const inside = ({ left, top, right, bottom }) => left > -1 && top > -1 && right < 1281 && bottom < 721;
  const lettered = shown.filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()));
  return {
    title: slide.querySelector("h1, h2").textContent,
    over: [slide.scrollHeight - slide.clientHeight, slide.scrollWidth - slide.clientWidth],
    outside: shown.filter((e) => !inside(e.getBoundingClientRect())).map((e) => e.outerHTML.slice(0, 80)),
    letters: Math.min(...lettered.map((e) => parseFloat(getComputedStyle(e).fontSize))),
    pictures: shown.filter((e) => e.matches("img")).map((e) => e.getBoundingClientRect().height),
  };
}"""


def test_no_slide_runs_over(page, made):
    total = page.evaluate("Reveal.getTotalSlides()")
    assert total == len(made)
    for number in range(total):
        seen = page.evaluate(LOOK)
        assert max(seen["over"]) <= 1 and not seen["outside"], seen
        assert seen["letters"] >= 11, seen
        assert all(height > 250 for height in seen["pictures"]), seen
        page.evaluate(
            "(next) => { for (let i = 0; i < 9 && Reveal.getSlidePastCount() < next; i++) Reveal.next(); }", number + 1
        )


def test_formulas_are_drawn_and_named(page):
    names = page.evaluate("[...document.querySelectorAll('section .formula')].map((e) => e.ariaLabel)")
    assert r"h_i = f(x_i)" in names and not any("FORMULA" in name for name in names)
    assert page.evaluate("[...document.querySelectorAll('.formula')].every((e) => e.querySelector('svg path'))")
    assert "FORMULA" not in page.evaluate("document.body.innerText")
    assert page.evaluate("document.querySelector('.formula.display').getAttribute('aria-label')").startswith(
        r"\mathcal{L}"
    )


def test_answer_comes_on_a_key_and_notes_in_their_window(page, made):
    at = next(i for i, slide in enumerate(made) if slide.above == "Exercises")
    while page.evaluate("Reveal.getSlidePastCount()") < at:
        page.keyboard.press("Space")
    answer = page.locator("section.present .fragment .answer")
    assert answer.evaluate("e => getComputedStyle(e.parentElement).visibility") == "hidden"
    page.keyboard.press("Space")
    seen = "(e) => getComputedStyle(e.parentElement).visibility === 'visible'"
    page.wait_for_function(seen, arg=answer.element_handle())
    with page.context.expect_page() as opened:
        page.keyboard.press("s")
    opened.value.get_by_text("It will not.").first.wait_for(timeout=15_000)


def test_prints_one_page_a_slide(file, browser, made):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(f"{file.as_uri()}?print-pdf")
    page.wait_for_selector(".pdf-page img.figure")
    sizes = page.evaluate("[...document.querySelectorAll('.pdf-page')].map((e) => e.getBoundingClientRect().height)")
    assert len(sizes) == len(made) and all(700 < size <= 720 for size in sizes)
    assert page.evaluate("document.querySelector('.pdf-page img.figure').getBoundingClientRect().height") > 250
    page.close()


# -- the chapters themselves


def test_every_chapter_becomes_slides_and_every_formula_is_understood():
    """With whatever outputs are there."""
    formulas = deck.Formulas()
    for name, path in slides.chapters().items():
        page = path.relative_to(notebooks.ROOT).with_suffix("").as_posix()
        made = outline.slides(notebooks.with_outputs(path), page, slides.SITE)
        deck.cells(made, formulas)
        assert made[0].title and made[0].pieces, name
        assert any(slide.title == "Predict" for slide in made), name
        assert all(slide.title and slide.lines < 2 * outline.CAPACITY for slide in made), name
        shown = "\n".join(
            piece.content for slide in made for piece in slide.pieces if piece.kind not in ("code", "printed")
        )
        assert not re.search(r"\{(cite|eq|exercise|solution)|<!--", shown), name
    assert len(deck.svgs(formulas.found)) == len(formulas.found) > 500


def test_links_lead_to_the_book_of_the_readme():
    assert f"]({slides.SITE})" in (notebooks.ROOT / "README.md").read_text(encoding="utf-8")


def test_sentences_end_where_they_end():
    text = "One (e.g. Two). **Three four.** $x$ is five: Six, i.e. Seven? `code` no. End"
    assert markup.sentences(text) == [
        "One (e.g. Two).",
        "**Three four.**",
        "$x$ is five:",
        "Six, i.e. Seven? `code` no.",
        "End",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"), [(["simclr", "nothing"], "no chapter is called nothing"), ([], "which chapter")]
)
def test_command_says_which_chapters_there_are(arguments, message, capsys):
    with pytest.raises(SystemExit, match=f"{message}.*name some of playground, .*--all"):
        slides.main(arguments)


def test_command_writes_a_file_and_says_what_is_missing(tmp_path, monkeypatch, capsys):
    sites = []
    monkeypatch.setattr(slides, "make", lambda path, site: sites.append(site) or tmp_path / path.name)
    monkeypatch.setattr(slides, "has_outputs", lambda path: path.stem != "mae")
    for name in ("simclr", "mae"):
        (tmp_path / f"{name}.ipynb").write_text("")
    slides.main(["simclr", "mae", "--site=../site"])
    said = capsys.readouterr()
    assert set(sites) == {"../site/"}, "or links would lead to ../sitebook/"
    assert "simclr.ipynb: 0.0 MiB" in said.out
    assert said.err.splitlines() == ["Not executed yet, so without figures and tables: mae. Run `make book` first."]


def test_missing_node_modules_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(deck, "MODULES", tmp_path)
    with pytest.raises(SystemExit, match="run `npm ci`"):
        deck.svgs([("x", False)])


def test_formula_that_means_nothing_is_named():
    with pytest.raises(SystemExit, match="does not understand"):
        deck.svgs([(r"\frac{1}", False)])
