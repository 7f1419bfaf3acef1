"""The guide to a method: its data, its arithmetic, and the page, which must rank as Python does."""

import itertools
import json
import random

import pytest
import traitlets
from conftest import LEFT, ROOT, encoded
from pybtex.database import parse_file

from sslbook.widgets.choosing import DECIDES, METHODS, QUESTIONS, SOURCES, ChoosingGuide

EFFECTS = [
    (key, name, method, effect)
    for key, question in QUESTIONS.items()
    for name, option in question.options.items()
    for method, effect in option.effects.items()
]


def every_answer():
    """All ways to answer all questions."""
    return [dict(zip(QUESTIONS, chosen)) for chosen in itertools.product(*(q.options for q in QUESTIONS.values()))]


def some_answers(n, seed=0):
    """Random answers, some questions left open."""
    pick = random.Random(seed)
    choices = {key: [None, *question.options] for key, question in QUESTIONS.items()}
    drawn = [{key: pick.choice(options) for key, options in choices.items()} for _ in range(n)]
    return [{key: option for key, option in answers.items() if option} for answers in drawn]


# -- the data


def test_every_effect_says_why_and_where():
    assert 4 <= len(QUESTIONS) <= 6 and len(EFFECTS) > 50
    for key, name, method, (points, reason, where) in EFFECTS:
        at = (key, name, method)
        assert method in METHODS and points and (abs(points) <= 4 or abs(points) == DECIDES), at
        assert len(reason) >= 20 and reason.endswith("."), at
        assert where.partition(",")[0] in SOURCES, at
    for question in QUESTIONS.values():
        assert question.text.rstrip(".").count("?") == 1 and len(question.options) >= 3
        assert all(option.text and option.effects for option in question.options.values())


def test_the_file_names_only_what_there_is():
    """A method's facts stand together in choosing.json, so a slip in a key would leave one out without a word."""
    guide = json.loads((ROOT / "sslbook/widgets/choosing.json").read_text(encoding="utf-8"))
    named = [
        (key, name, method)
        for method, entry in guide["methods"].items()
        for key, options in entry["effects"].items()
        for name in options
    ]
    for key, options in guide["others"].items():
        for name in options:
            said = {method for *at, method in named if at == [key, name]}
            named += [(key, name, method) for method in METHODS if method not in said]
    assert sorted(named) == sorted((key, name, method) for key, name, method, _ in EFFECTS)
    sources = [guide["sources"], *(entry["sources"] for entry in guide["methods"].values())]
    assert sum(len(some) for some in sources) == len(SOURCES), "a source that stands there twice"


def test_sources_are_cited_works_pages_or_addresses():
    used = {where.partition(",")[0] for *_, (_, _, where) in EFFECTS}
    assert used == set(SOURCES), "a source that no reason names"
    entries = parse_file(ROOT / "book/references.bib").entries
    for key, (name, where) in SOURCES.items():
        assert name
        if where.startswith("https://"):
            continue
        assert any((ROOT / f"book/{where}{suffix}").exists() for suffix in (".ipynb", ".md")), where
        assert key in entries or where.startswith(("practice/", "evaluation/")), f"book/references.bib lacks {key}"
    for method, page in METHODS.items():
        assert (ROOT / f"book/{page}.ipynb").exists(), method


# -- the arithmetic


def test_points_add_up():
    first, *_ = ranked = ChoosingGuide.rank({"hardware": "laptop", "use": "dense"})
    assert (first.method, first.points) == ("MoCo v2", 4)
    assert [e.points for e in first.effects] == [2, 2] and first.effects[0].source == "he2020moco, section 3.2"
    points = {"MoCo v2": 4, "SimSiam": 3, "Official weights": 2, "MAE": 1, "BYOL": -2, "SimCLR": -3}
    assert {row.method: row.points for row in ranked if row.method in points} == points
    assert [row.method for row in ChoosingGuide.rank({})] == list(METHODS), "equal ones keep their order"


def test_every_method_can_be_the_first():
    assert {ChoosingGuide.rank(answers)[0].method for answers in every_answer()} == set(METHODS)


def possible(answers):
    """The methods that no answer rules out."""
    left = {"BERT"} if answers["images"] == "text" else set(METHODS) - {"BERT"}
    if answers["use"] == "draw":
        left &= {"VAE", "GAN"}
    if answers["backbone"] == "convnet":
        left -= {"BEiT", "MAE", "I-JEPA"}
    if answers["pretrained"] == "no":
        left -= {"Official weights"}
    return left


def test_what_decides_decides():
    for answers in every_answer():
        order = [row.method for row in ChoosingGuide.rank(answers)]
        left = possible(answers)
        if answers["pretrained"] != "domain":
            assert set(order[: len(left)]) == left, answers
        elif "Official weights" in left:
            assert order[0] == "Official weights", answers


@pytest.mark.parametrize(
    ("answers", "first"),
    [
        (dict(images="few", hardware="laptop", pretrained="photos"), "Official weights"),
        (dict(hardware="one", use="dense", backbone="convnet", pretrained="no"), "MoCo v2"),
        (dict(hardware="several", use="probe", backbone="convnet", views="all", pretrained="no"), "BYOL"),
        (dict(use="tune", backbone="vit", pretrained="no"), "MAE"),
        (dict(views="none", backbone="vit", hardware="one", pretrained="photos"), "MAE"),
        (dict(images="few", use="tune", backbone="vit", pretrained="no"), "BEiT"),
        (dict(hardware="several", use="probe", backbone="vit", views="none", pretrained="no"), "I-JEPA"),
        (dict(images="text"), "BERT"),
        (dict(images="text", hardware="laptop", use="tune", pretrained="photos"), "BERT"),
        (dict(backbone="two", hardware="one", pretrained="no"), "VICReg"),
        (dict(images="few", hardware="laptop", backbone="vit", pretrained="no"), "LeJEPA"),
        (dict(use="draw"), "GAN"),
        (dict(use="draw", images="few", pretrained="no"), "VAE"),
    ],
)
def test_known_cases(answers, first):
    assert ChoosingGuide.rank(answers)[0].method == first


def test_unknown_answers_are_refused():
    with pytest.raises(ValueError, match="no question 'money'; there are images, hardware"):
        ChoosingGuide({"money": "none"})
    with pytest.raises(ValueError, match="'hardware' can't be answered 'phone', but laptop, one, several"):
        ChoosingGuide.rank({"hardware": "phone"})
    guide = ChoosingGuide({"use": "dense"})
    with pytest.raises(traitlets.TraitError, match="no question 'money'"):
        guide.answers = {"money": "none"}
    assert guide.answers == {"use": "dense"} and len(json.dumps(encoded(guide))) < 60_000


# -- the page

SHOWN = """
() => [...document.querySelectorAll(".sslw-ranking > li")].map((li) => [
  li.querySelector("h4 > :first-child").textContent,
  li.querySelector("h4 > b").textContent,
  [...li.querySelectorAll("ul li")].map((r) => [r.querySelector("b").textContent, r.querySelector("span").firstChild.textContent.trim()]),
])
"""  # noqa: E501


def signed(points):
    return f"{points:+}".replace("-", "\u2212") if points else "0"


def weight(points):
    if abs(points) < DECIDES:
        return signed(points)
    return "decides" if points > 0 else "rules it out"


def expected(answers):
    return [
        [row.method, signed(row.points), [[weight(points), reason] for points, reason, _ in row.effects]]
        for row in ChoosingGuide.rank(answers)
    ]


def assert_said(page, answers):
    first, second, *_ = ranked = ChoosingGuide.rank(answers)
    top = [row.method for row in ranked if row.points == first.points]
    text = f"First {first.method} ({signed(first.points)}), then {second.method} ({signed(second.points)})."
    if second.points <= 0:
        text = f"First {first.method} ({signed(first.points)}); no other fits."
    if len(top) > 1:
        text = f"Equal at the top ({signed(first.points)}): {', '.join(top)}."
    if first.points <= 0:
        nearest = f"{first.method} comes nearest ({signed(first.points)})"
        text = f"None fits these answers: {nearest}. Can one of them change?"
    assert page.locator("[aria-live=polite]").inner_text() == text


def test_javascript_ranks_as_python(mount):
    page = mount(ChoosingGuide())
    for answers in some_answers(60):
        got = page.evaluate(
            """(answers) => {
              const { module, model } = window.mounted[0];
              return module.rank(model.get("methods"), model.get("questions"), answers)
                .map((row) => [row.method, row.points, row.effects.map(([, points]) => points)]);
            }""",
            answers,
        )
        assert got == [[r.method, r.points, [e.points for e in r.effects]] for r in ChoosingGuide.rank(answers)]


def test_answers_by_mouse(mount):
    page = mount(ChoosingGuide())
    assert page.evaluate(SHOWN) == expected({})
    again = page.get_by_role("button", name="Start again")
    assert again.is_disabled()
    for answers in some_answers(3, seed=1):
        given = {}
        for key, option in answers.items():
            question = QUESTIONS[key]
            page.get_by_role("group", name=question.text).get_by_label(question.options[option].text).check()
            given[key] = option
            assert page.evaluate(SHOWN) == expected(given)
            assert_said(page, given)
        assert page.evaluate("window.mounted[0].model.get('answers')") == given
        again.click()
        assert page.locator(":checked").count() == 0 and page.evaluate(SHOWN) == expected({})


def test_answers_by_keyboard_and_two_guides_on_a_page(mount):
    page = mount(ChoosingGuide(), ChoosingGuide({"use": "dense"}))
    group = page.get_by_role("group", name=QUESTIONS["hardware"].text).first
    group.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    state = "window.mounted.map(({ model }) => model.get('answers'))"
    assert page.evaluate(state) == [{"hardware": "one"}, {"use": "dense"}]
    page.keyboard.press("Tab")
    focused = page.evaluate("document.activeElement.closest('fieldset').querySelector('legend').textContent")
    assert focused == QUESTIONS["use"].text, "one stop for each question"


def test_where_nothing_fits_nobody_is_recommended(mount):
    answers = dict(images="few", hardware="laptop", use="search", backbone="convnet", views="none", pretrained="no")
    assert ChoosingGuide.rank(answers)[0].points <= 0
    page = mount(ChoosingGuide(answers), viewport={"width": 375, "height": 700})
    assert_said(page, answers)
    border = "() => getComputedStyle(document.querySelector('.sslw-ranking > li')).borderTopWidth"
    assert page.evaluate(border) == "1px", "no frame around the first"
    page.get_by_label("Texts").check()
    assert_said(page, answers | {"images": "text"})
    page.get_by_label("Fewer than 50,000 images").check()
    page.get_by_label("Yes, on images like mine").check()
    assert page.evaluate(border) == "2px" and "decides" in page.locator(".sslw-ranking > li").first.inner_text()


def test_on_a_phone_the_result_is_in_sight_while_the_questions_are_answered(mount):
    page = mount(ChoosingGuide(), viewport={"width": 375, "height": 700})
    page.locator("fieldset input").nth(3).check()
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("[aria-live=polite]").bounding_box()
    assert box["y"] > 0 and box["y"] + box["height"] <= 700 < page.locator(".sslw-ranking").bounding_box()["y"]
    page.get_by_role("button", name="Why").click()
    assert page.locator(".sslw-ranking").bounding_box()["y"] < 200


def test_python_moves_the_page(mount):
    page = mount(ChoosingGuide())
    page.evaluate("window.mounted[0].model.set('answers', { views: 'none', backbone: 'vit' })")
    answers = {"views": "none", "backbone": "vit"}
    assert page.locator(":checked").count() == 2 and page.evaluate(SHOWN) == expected(answers)


def test_sources_lead_to_the_books_pages_only_where_they_are(mount):
    page = mount(ChoosingGuide({"hardware": "one"}))
    links = [a.get_attribute("href") for a in page.locator(".sslw-choosing a").all()]
    assert SOURCES["mmselfsup"].where in links and all(link.startswith("https://") for link in links)
    page.evaluate("document.documentElement.dataset.content_root = '../../'")
    page.evaluate("window.mounted[0].model.set('answers', { hardware: 'laptop' })")
    links = [a.get_attribute("href") for a in page.locator(".sslw-ranking > li").first.locator("a").all()]
    first = ChoosingGuide.rank({"hardware": "laptop"})[0]
    assert links == [f"../../book/{where}.html" for where in (METHODS[first.method], SOURCES["official"][1])]


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_fits(mount, width, theme):
    page = mount(ChoosingGuide(some_answers(1)[0]), theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.locator("fieldset label").evaluate_all("(all) => all.map((e) => e.getBoundingClientRect().height)")
    assert min(sizes) >= 24, "large enough for a finger"
    assert page.evaluate("[...document.querySelectorAll('input')].every((e) => e.labels.length === 1)")
    background = page.locator(".sslw").evaluate("e => getComputedStyle(e).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if theme == "light" else "rgb(24, 27, 32)")


def test_clean_up_leaves_nothing(mount):
    page = mount(ChoosingGuide())
    assert page.evaluate(LEFT) == [0]
