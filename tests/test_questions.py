"""The question bank: its file, the page that a small build makes of it, and that page in a browser."""

import re
import subprocess
import sys
from collections import Counter

import pytest
from conftest import extension, serve
from sphinx.errors import ExtensionError

from tools import notebooks

BANK = notebooks.BOOK / "questions.yml"
CHAPTERS = extension("question_bank").read(BANK)
QUESTIONS = [(chapter["chapter"], question) for chapter in CHAPTERS for question in chapter["questions"]]
each_question = pytest.mark.parametrize(("page", "question"), QUESTIONS, ids=lambda x: x if isinstance(x, str) else "")
AXE = notebooks.ROOT / "node_modules/axe-core/axe.min.js"


def text_of(page):
    path = notebooks.BOOK / f"{page}.ipynb"
    if not path.is_file():
        return path.with_suffix(".md").read_text(encoding="utf-8")
    return "\n".join(notebooks.text(c) for c in notebooks.load(path)["cells"] if c["cell_type"] == "markdown")


def headings(page):
    return re.findall(r"^#+ (.+?)\s*$", text_of(page), flags=re.MULTILINE)


def words(answer):
    return answer.get("right") or answer["wrong"]


# -- the file


def test_every_chapter_has_some_in_the_order_of_the_book():
    others = {"book/intro", "book/teaching", "book/glossary", "book/notation", "book/references", "book/run_times"}
    pages = [page.removeprefix("book/") for page in notebooks.toc() if page not in others | {"book/questions"}]
    assert [chapter["chapter"] for chapter in CHAPTERS] == pages
    assert all(3 <= len(chapter["questions"]) <= 5 for chapter in CHAPTERS)


@each_question
def test_a_question_is_complete(page, question):
    answers = question["answers"]
    assert question["settled"] in headings(page), "no such heading in the chapter"
    assert "?" in question["ask"] and 3 <= len(answers) <= 4
    assert sum("right" in answer for answer in answers) == 1
    assert len({words(answer) for answer in answers}) == len({answer["reply"] for answer in answers}) == len(answers)
    for answer in answers:
        assert len(answer["reply"]) >= 40 and answer["reply"].endswith((".", "?")), "a reply says why"


def test_the_right_answer_cannot_be_guessed_from_its_place_or_length():
    places, longest, shortest = Counter(), 0, 0
    for _, question in QUESTIONS:
        lengths = [len(words(answer)) for answer in question["answers"]]
        place = next(k for k, answer in enumerate(question["answers"]) if "right" in answer)
        places[place] += 1
        longest += lengths[place] == max(lengths)
        shortest += lengths[place] == min(lengths)
    assert min(places[k] for k in range(3)) > 0.2 * len(QUESTIONS) and max(places.values()) < 0.5 * len(QUESTIONS)
    assert max(longest, shortest) < 0.5 * len(QUESTIONS)


def test_no_question_stands_there_twice():
    assert len({question["ask"] for _, question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize(
    "answers", ["[{wrong: a, reply: b}]", "[{right: a, reply: b}, {right: c, reply: d}]", "[{right: a}, {wrong: b}]"]
)
def test_a_question_without_one_right_answer_fails_the_build(answers, tmp_path):
    path = tmp_path / "bank.yml"
    path.write_text(f"- {{chapter: a/b, questions: [{{ask: x, settled: y, answers: {answers}}}]}}")
    with pytest.raises(ExtensionError, match="wrong but one that is right"):
        extension("question_bank").read(path)


# -- the page, of a small build whose chapters have headings only

CONF = f"""
import sys
sys.path.insert(0, {str(notebooks.ROOT / "_ext")!r})
extensions = ["myst_parser", "question_bank"]
myst_enable_extensions = ["dollarmath"]
mathjax_path = "none.js"
html_static_path = [{str(notebooks.BOOK / "_static/custom.css")!r}]
html_css_files = ["custom.css"]
html_theme = "basic"
exclude_patterns = ["out"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text("# Book\n\n```{toctree}\n:glob:\nbook/**\n```\n")
    for page in (chapter["chapter"] for chapter in CHAPTERS):
        stub = folder / f"book/{page}.md"
        stub.parent.mkdir(parents=True, exist_ok=True)
        title, *others = headings(page)
        stub.write_text("\n\n".join([f"# {title}", *(f"## {heading}" for heading in others)]))
    for name in ("questions.md", "questions.yml"):
        (folder / "book" / name).write_text((notebooks.BOOK / name).read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", folder, folder / "out"]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    page = folder / "out/book/questions.html"
    text = re.sub(r"<script[^>]*src=[^>]*></script>", "", page.read_text(encoding="utf-8"))
    page.write_text(text.replace("<html ", '<html data-theme="light" ', 1), encoding="utf-8")
    with serve(folder / "out") as address:
        yield address, folder / "out/book"


@pytest.fixture
def visit(site, browser):
    """visit(hash, **options) -> the page; no error may happen on it."""
    pages = []

    def visit(hash="", **options):
        page = browser.new_page(viewport={"width": 1000, "height": 900} | options.pop("viewport", {}), **options)
        page.troubles = []
        page.on("pageerror", lambda e: page.troubles.append(str(e)))
        page.goto(f"{site[0]}/book/questions.html{hash}")
        pages.append(page)
        return page

    yield visit
    for page in pages:
        assert page.troubles == []
        page.close()


def replies(page):
    shown = "[...document.querySelectorAll('.reply')].filter((e) => e.checkVisibility()).map((e) => e.innerText)"
    return page.evaluate(shown)


def test_links_lead_to_headings(site):
    _, folder = site
    links = re.findall(r'class="settled">Settled in <a href="([^"]+)"', (folder / "questions.html").read_text())
    assert len(links) == len(QUESTIONS)
    for link in links:
        file, _, anchor = link.partition("#")
        assert f'id="{anchor}"' in (folder / file).read_text(encoding="utf-8"), link


def test_every_answer_has_its_own_reply(visit):
    page = visit()
    assert replies(page) == []
    for i in range(0, len(QUESTIONS), len(QUESTIONS) // 6):
        question, group = QUESTIONS[i][1], page.locator("section.questions fieldset").nth(i)
        for k, answer in enumerate(question["answers"]):
            group.get_by_role("radio").nth(k).check()
            (shown,) = replies(page)
            assert shown.startswith("Right. " if "right" in answer else "No. ")
            assert re.split(r"[$*`\"']", answer["reply"])[0] in shown
        page.get_by_role("button", name="Start again").click()
        assert replies(page) == [] and page.locator(":checked").count() == 1  # the chapters' option


def test_without_scripts_a_reply_shows_too(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(".question-controls").is_hidden()
    page.locator("#simclr label").first.click()
    assert page.locator("#simclr .reply").first.is_visible()


def test_by_keyboard_and_for_a_screen_reader(visit):
    page = visit()
    page.locator("#simclr input").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.id") == "simclr-1-b"
    said = page.locator("#simclr-1 [role=status]")
    assert said.inner_text() == replies(page)[0]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")  # past the link to the chapter
    assert page.evaluate("document.activeElement.id") == "simclr-2-a", "one stop for each question"
    assert page.get_by_role("group", name=QUESTIONS[0][1]["ask"][:30]).get_by_role("radio").count() >= 3


def test_one_chapter_alone_and_in_the_address(visit):
    page = visit()
    status = page.locator(".question-controls [role=status]")
    assert status.inner_text() == f"{len(QUESTIONS)} questions."
    page.get_by_label("Chapter").select_option("SimCLR")
    assert page.locator("section.questions:visible").count() == 1 and page.url.endswith("#simclr")
    right = page.locator("#simclr-1 input[value=right]")
    right.check()
    page.locator("#simclr-2 input[value=wrong]").first.check()
    page.locator("#simclr-2 input[value=right]").check()  # at the second try
    own = len(next(c["questions"] for c in CHAPTERS if c["chapter"] == "contrastive/simclr"))
    assert status.inner_text() == f"{own} questions. 2 answered, 1 right at once."
    page.get_by_label("Chapter").select_option("all")
    assert page.locator("section.questions:visible").count() == len(CHAPTERS) and "#" not in page.url
    page.evaluate("window.location.hash = 'moco'")
    page.wait_for_function("document.querySelectorAll('section.questions:not([hidden])').length === 1")
    assert visit("#dino").locator("section.questions:visible").count() == 1


def test_on_paper_there_are_no_replies_and_a_key_on_its_own_page(visit):
    page = visit("#moco")
    page.locator("#moco-1 input").first.check()
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert replies(page) == [] and page.locator(".question-controls").is_hidden()
    assert page.locator("#moco fieldset").first.is_visible() and page.locator("#moco .settled").first.is_hidden()
    key = page.locator(".answer-key")
    assert key.evaluate("e => getComputedStyle(e).breakBefore") == "page"
    right = [
        f"{k} {'abcd'[next(i for i, a in enumerate(q['answers']) if 'right' in a)]} ({q['settled']})"
        for k, q in enumerate((q for page, q in QUESTIONS if page == "contrastive/moco"), start=1)
    ]
    assert key.inner_text().split("\n")[-1] == f"MoCo v2: {', '.join(right)}"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert key.count() == 0


@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_and_axe_finds_nothing(visit, width):
    page = visit("#gan", viewport={"width": width, "height": 800})
    page.locator("#gan input").first.check()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heights = page.locator("#gan label").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().height)")
    assert min(heights) >= 24, "large enough for a finger"
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run('section.questions, .question-controls').then(({ violations }) => violations)")
    assert [(v["id"], v["nodes"][0]["html"][:100]) for v in found if v["impact"] in ("serious", "critical")] == []
