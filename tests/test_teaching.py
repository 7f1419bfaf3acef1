"""The teacher's page: the courses name every chapter, the sheets that there are, and plans that stand on the page."""

import re

import pytest
import yaml

from tools import exercises, notebooks

PAGE = (notebooks.BOOK / "teaching.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def rows(heading):
    """The cells of each row of the first table below a heading, by the names of its columns."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    names, _, *body = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in table)
    return [dict(zip(names, cells, strict=True)) for cells in body]


def chapters():
    """The pages between the introduction and the back matter, but those for teachers, as the page links to them."""
    parts = yaml.safe_load((notebooks.ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    pages = [chapter["file"] for part in parts if part["caption"] != "Back matter" for chapter in part["chapters"]]
    return {page.removeprefix("book/") for page in pages} - {"teaching", "questions"}


def title(name):
    """What an assignment's chapter is called."""
    (path,) = notebooks.BOOK.glob(f"*/{name}.ipynb")
    return notebooks.text(notebooks.load(path)["cells"][0]).splitlines()[0].removeprefix("# ")


def test_a_term_has_every_chapter_and_counts_the_minutes_of_what_is_read():
    weeks, read = rows("A term of twelve weeks"), set()
    assert [week["Week"] for week in weeks] == [str(n) for n in range(1, 13)]
    for week in weeks:
        linked = {
            to for column in ("Read before", "First class", "Second class") for _, to in LINK.findall(week[column])
        }
        pages = {to for to in linked if not to.startswith("#")}
        counted = set(re.search(r"\{to-read\}`([^`]+)`", week["Read"])[1].split(", "))
        assert pages - {"practice/practical_tips"} == counted, f"week {week['Week']}"
        assert f"{{to-run}}`{', '.join(re.findall(r'[a-z_]+/[a-z_]+', week['Read']))}`" == week["Run"]
        for column in ("First class", "Second class"):
            assert re.search(r"\*[Pp]redicts?\*", week[column]), f"week {week['Week']}: what is predicted?"
        read |= pages
    assert chapters() <= read, f"no week has {', '.join(sorted(chapters() - read))}"


def test_five_days_count_the_pages_that_they_name():
    titles = {title(path.stem): path for path in notebooks.notebooks() if path.stem != "intro"}
    for day in rows("A block of five days"):
        pages = {titles[name].relative_to(notebooks.BOOK).with_suffix("").as_posix() for name in named(day, titles)}
        assert set(re.search(r"`([^`]+)`", day["Read"])[1].split(", ")) == pages, f"day {day['Day']}"
        assert re.search(r"`([^`]+)`", day["Read"])[1] == re.search(r"`([^`]+)`", day["Run"])[1]


def named(day, titles):
    """The chapters that a day reads; BERT's title is longer."""
    return [
        next(t for t in titles if name == t or f"({name})" in t)
        for name in re.split(r", (?=[A-Z])", day["Read before"])
    ]


def test_an_evening_is_whole():
    spans = [tuple(map(int, row["minutes"].split("–"))) for row in rows("A single evening")]
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert (spans[0][0], spans[-1][1]) == (0, 120)


@pytest.mark.parametrize("heading", ["A term of twelve weeks", "A block of five days"])
def test_sheets_are_those_that_there_are(heading):
    sheets = {title(name) for name in exercises.assignments()}
    for row in rows(heading):
        assert row["Sheet"].startswith((*sheets, "The project", "none")), row["Sheet"]


def test_plans_that_are_linked_stand_on_the_page():
    headings = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    plans = {heading.lower().replace(",", "").replace(" ", "-") for heading in headings}
    linked = {to for _, to in LINK.findall(PAGE) if to.startswith("#")}
    assert linked == {f"#{plan}" for plan in plans}, "every plan is in a course"
