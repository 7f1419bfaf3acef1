"""The classroom: three kinds of exercise, hidden tests that catch mistakes, and nbgrader's verdict on all."""

import copy
import csv
import json
import re
import shutil

import pytest
import torch
from conftest import THOROUGH
from right_answers import RIGHT

from sslbook import losses
from sslbook.classroom import forbidden
from tools import exercises, notebooks

NAMES = exercises.assignments()
MISTAKES = [(name, mistake) for name in NAMES for mistake in exercises.mistakes(name)]
CLASS = {"Copier", "Killer", "Looper", "Zoe"}
each_assignment = pytest.mark.parametrize("name", NAMES)


def marks(cell):
    return cell["metadata"].get("nbgrader", {})


def as_student(source):
    """What nbgrader must make of a cell: a stub for a solution, nothing for hidden tests."""
    source = re.sub(r"( *)### BEGIN SOLUTION\n.*?### END SOLUTION", r"\1# your code here", source, flags=re.DOTALL)
    return re.sub(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", "", source, flags=re.DOTALL)


def run(notebook, last=None):
    """Run all code but the bootstrap and *Explore* in this process, and nothing after the cell `last`.

    Returns {check: the exception that it raised, or None} for the checks that ran.
    """
    namespace, raised = {"__name__": "__main__"}, {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code" or cell["id"] == "bootstrap" or cell["id"].startswith("explore"):
            continue
        try:
            exec(compile(notebooks.text(cell), cell["id"], "exec"), namespace)
            raised[cell["id"]] = None
        except Exception as error:
            raised[cell["id"]] = error
        if cell["id"] == last:
            break
    return {id: raised[id] for id in exercises.checks(notebook) if id in raised}


@pytest.fixture(autouse=True)
def smoke(monkeypatch):
    monkeypatch.setenv("SSLBOOK_BUDGET", "smoke")


def test_chapters_have_their_assignments():
    """Every chapter on a method has one, and every chapter whose plan for the class uses one, called E there."""
    chapters = {page.rsplit("/", 1)[-1] for page in notebooks.toc()}
    methods = {path.stem for path in (notebooks.ROOT / "sslbook/methods").glob("*.py")}
    plans = (notebooks.BOOK / "teaching.md").read_text().split("\n### ")[1:]
    planned = {re.search(r"\[The chapter\]\(.*?(\w+)\)", plan)[1] for plan in plans if re.search(r"\bE\b", plan)}
    assert len(planned) > 5
    assert planned | (chapters & methods) <= set(NAMES)
    assert set(NAMES) <= chapters | methods, "an assignment without a chapter"
    every = {re.search(r"\[The chapter\]\(.*?(\w+)\)", plan)[1] for plan in plans}
    assert every == set(NAMES) | {"speedrun"}, "the page says which chapters have a plan, and which a notebook"


@each_assignment
def test_master_is_stored_clean(name):
    path = exercises.MASTERS / name / f"{name}.ipynb"
    notebook = notebooks.load(path)
    clean = notebooks.dump(notebooks.cleaned(notebook, path))
    assert path.read_text(encoding="utf-8") == clean, "run `make format`"
    assert notebooks.BADGE_IMAGE not in clean and "accelerator" not in notebook["metadata"]
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert notebooks.text(code[0]) == notebooks.bootstrap()


@each_assignment
def test_master_has_three_kinds_and_ten_points(name):
    cells = [c for c in exercises.master(name)["cells"] if marks(c)]
    assert all(marks(c)["grade_id"] == c["id"] for c in cells)
    assert len({c["id"] for c in cells}) == len(cells)
    points = {"predict": 0, "implement": 0, "explore": 0}
    for cell in cells:
        assert cell["cell_type"] == marks(cell)["cell_type"]
        if marks(cell)["grade"]:
            assert marks(cell)["points"] > 0
            points[cell["id"].split("-")[0]] += marks(cell)["points"]
        elif marks(cell)["solution"]:
            assert exercises.SOLUTION.search(notebooks.text(cell)), cell["id"]
    assert points == {"predict": 2, "implement": 4, "explore": 4}
    text = "\n".join(notebooks.text(c) for c in exercises.master(name)["cells"] if c["cell_type"] == "markdown")
    stated = {kind.lower(): int(n) for kind, n in re.findall(r"^## (\w+) \((\d) points\)$", text, flags=re.MULTILINE)}
    assert stated == points
    rubric = re.findall(r"^\| .+ \| (\d) \|$", text.split("| points for | |")[1], flags=re.MULTILINE)
    assert sum(map(int, rubric)) == points["explore"]
    answer = next(c for c in cells if marks(c)["grade"] and marks(c)["solution"])
    assert answer["cell_type"] == "markdown" and "a good answer" in notebooks.text(answer)


@each_assignment
def test_checks_say_why_they_look(name):
    for id, cell in exercises.checks(exercises.master(name)).items():
        source = notebooks.text(cell)
        assert not source.rstrip().splitlines()[-1].startswith("assert"), f"{id} should end by saying that all is well"
        for hidden in exercises.HIDDEN.findall(source):
            assert "# Trap: " in hidden or "# Why: " in hidden, id
            assert "When graded" in source or id.startswith("predict"), f"{id} hides what is tested"


@each_assignment
def test_model_answer_is_held_to_its_run(name):
    """What *Explore* prints in the `cpu` budget is asserted there: `python -m tools.exercises answers` runs it."""
    cells = [notebooks.text(c) for c in exercises.master(name)["cells"] if c["id"].startswith("explore")]
    claims = [cell.split('if plan.name == "cpu":')[1] for cell in cells if 'if plan.name == "cpu":' in cell]
    assert len(claims) == 1 and claims[0].count("assert ") >= 2
    assert claims[0].rstrip().endswith("### END SOLUTION"), "students would see it"


@each_assignment
def test_solutions_pass(name):
    assert {id: error for id, error in run(exercises.master(name)).items() if error} == {}


@each_assignment
def test_other_right_answers_pass(name):
    """What a student may write in place of the master: every function that a sheet asks for has another form."""
    notebook = exercises.master(name)
    asked = [c for c in notebook["cells"] if c["id"].startswith("implement") and marks(c).get("solution")]
    assert {cell["id"] for cell in asked} == RIGHT[name].keys()
    for cell in asked:
        cell["source"] = RIGHT[name][cell["id"]]
    assert {id: error for id, error in run(notebook).items() if error} == {}


def test_a_forbidden_function_raises_by_any_name_and_comes_back():
    from sslbook.losses import info_nce_loss as another_name

    features = torch.eye(4)
    before = another_name(features)
    with forbidden(losses.info_nce_loss), pytest.raises(AssertionError, match="write yours"):
        another_name(features)
    with pytest.raises(ZeroDivisionError), forbidden(losses.info_nce_loss, losses.byol_loss):
        raise ZeroDivisionError
    assert another_name(features) == before and losses.byol_loss(features, features) == 0


@each_assignment
def test_students_checks_fail_on_a_blank_notebook_and_say_so(name):
    """Also without the hidden tests, and in words: no error of Python's own."""
    notebook = exercises.master(name)
    for cell in notebook["cells"]:
        cell["source"] = as_student(notebooks.text(cell))
    for id, error in run(notebook).items():
        assert isinstance(error, AssertionError) and len(str(error)) > 10, f"{id}: {error!r}"


@pytest.mark.parametrize(("name", "mistake"), MISTAKES, ids=[f"{n}-{m['check']}-{m['student']}" for n, m in MISTAKES])
def test_mistake_is_caught(name, mistake):
    notebook, check = exercises.master(name), mistake["check"]
    cell = next(c for c in notebook["cells"] if c["id"] == check.rsplit("-", 1)[0])
    assert mistake["solution"] in notebooks.text(cell)
    cell["source"] = notebooks.text(cell).replace(mistake["solution"], mistake["student"])
    error = run(notebook, last=check)[check]
    assert isinstance(error, AssertionError), f"a message in words was expected, not {error!r}"
    assert mistake.get("says", "") in str(error)


@each_assignment
def test_every_hidden_test_has_a_mistake_to_catch(name):
    hidden = set()
    for id, cell in exercises.checks(exercises.master(name)).items():
        if any("assert" in part for part in exercises.HIDDEN.findall(notebooks.text(cell))):
            hidden.add(id)
    assert hidden == {mistake["check"] for mistake in exercises.mistakes(name)}


# Above, all sheets ran in this process. In kernels of their own they take minutes: two here, all in the weekly run
GRADED = NAMES if THOROUGH else NAMES[::12]


@pytest.fixture(scope="module")
def graded():
    """Solutions and blank notebooks of some sheets, graded by nbgrader; all sheets are written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLBOOK_BUDGET", "smoke")
        patch.setenv("OMP_NUM_THREADS", "1")
        return exercises.grade(GRADED)


def test_nbgrader_gives_all_points_to_solutions_and_none_to_blanks(graded):
    assert exercises.complaints(graded) == []
    expected = {(name, id) for name in GRADED for id in exercises.checks(exercises.master(name))}
    for submission in ("solution", "blank"):
        rows = [row for row in graded if row["submission"] == submission]
        assert {(row["assignment"], row["check"]) for row in rows} == expected
        with open(exercises.BUILD / f"{submission}.csv", newline="") as file:
            export = {row["assignment"]: row for row in csv.DictReader(file)}
        assert set(export) == set(NAMES) and all(float(row["max_score"]) == 10 for row in export.values())
        for name in GRADED:
            score = float(export[name]["score"])
            assert score == (6 if submission == "solution" else 0), f"{name}: 4 points are given by hand"


@pytest.fixture(scope="module")
def collected(graded, tmp_path_factory):
    """A class of four with two sheets, as a platform hands it out: the course folder, and the rows of scores.csv."""
    course, came = tmp_path_factory.mktemp("course") / "mine", tmp_path_factory.mktemp("came")
    shutil.copytree(exercises.BUILD / "instructor", course)
    settings = course / "nbgrader_config.py"
    quick = settings.read_text().replace("c.Execute.timeout = 120", "c.Execute.timeout = 20")
    settings.write_text(quick.replace("min(self.timeout, 10)", "min(self.timeout, 3)"))
    name = "contrastive_learning"
    release = {path.stem: notebooks.load(path) for path in course.glob("release/*/*.ipynb")}

    def hand_in(student, start="", name=name):
        notebook = copy.deepcopy(release[name])
        for cell, ours in zip(notebook["cells"], exercises.master(name)["cells"]):
            if marks(ours).get("solution"):
                cell["source"] = re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", notebooks.text(ours))
                if cell["id"] == "implement-loss":
                    cell["source"] = cell["source"].replace("    z =", f"    {start}\n    z =", 1)
        folder = came / f"{student}_1_assignsubmission_file"
        folder.mkdir(exist_ok=True)
        (folder / f"{name} (1).ipynb").write_text(json.dumps(notebook))
        return folder / f"{name} (1).ipynb", notebook

    noise = "import sys, warnings; warnings.warn('w'); print(1, file=sys.stderr)"
    noise += "; from tqdm import tqdm; list(tqdm([1]))"
    path, notebook = hand_in("Copier", noise)
    solution = next(i for i, c in enumerate(notebook["cells"]) if c["id"] == "implement-loss")
    notebook["cells"].insert(solution, notebook["cells"][solution] | {"id": "pasted"})
    notebook["cells"] = [c for c in notebook["cells"] if c["id"] != "implement-loss-values"]
    path.write_text(json.dumps(notebook))
    hand_in("Killer", "import os; os.kill(os.getpid(), 9)")
    hand_in("Looper", "while True: pass")
    path, notebook = hand_in("Zoe", name="byol")
    path.write_text(json.dumps(notebook)[:4000])
    return course, came, [row for row in exercises.collect(came, course) if row["student"] in CLASS]


def test_one_student_does_not_stop_the_others(collected):
    course, _, rows = collected
    assert {row["student"] for row in rows} == CLASS
    seen = {(row["student"], row["assignment"]): (row["state"], row.get("score")) for row in rows}
    sheet, other = "contrastive_learning", "byol"
    missing = ("not handed in", None)
    assert seen == {(s, other): missing for s in CLASS} | {
        ("Copier", sheet): ("graded", 6),  # a copied and a deleted cell, a warning, a progress bar: no point lost
        ("Killer", sheet): ("kernel died", None),
        ("Looper", sheet): ("graded", 3),  # all that does not call the loop
        ("Zoe", sheet): missing,
        ("Zoe", other): ("unreadable", None),
    }
    with open(course / "scores.csv", newline="", encoding="utf-8-sig") as file:
        table = {(row["student"], row["assignment"]): row for row in csv.DictReader(file)}
    assert table["Killer", sheet]["score"] == "" and table["Looper", sheet]["score"] == "3.0"
    assert "2 copies" in table["Copier", sheet]["notes"] and table["Copier", sheet]["by_hand"] == "to do"


def test_an_endless_loop_waits_once(collected):
    ran = notebooks.load(collected[0] / "autograded/Looper/contrastive_learning/contrastive_learning.ipynb")
    errors = [o["ename"] for c in ran["cells"] for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert errors.count("CellTimeoutError") >= 3
    settings = (exercises.MASTERS.parent / "nbgrader_config.py").read_text()
    assert "timeout = 120 " in settings and "min(self.timeout, 10)" in settings


def test_a_second_collection_grades_what_is_new(collected, monkeypatch):
    course, came, before = collected
    next(came.glob("Copier*/*.ipynb")).write_text("lost")
    monkeypatch.setattr(exercises, "autograde", lambda course, sheet, student: f"again: {student}")
    after = {(row["student"], row["assignment"]): row for row in exercises.collect(came, course)}
    assert after["Killer", "contrastive_learning"]["state"] == "again: Killer"
    for row in before:
        if row["state"] == "graded":  # the same notebook, or a broken one in its place: the points stay
            assert after[row["student"], row["assignment"]]["score"] == row["score"]
    assert "can't be read" in after["Copier", "contrastive_learning"]["notes"]


def test_a_folder_that_is_no_course_is_refused(tmp_path):
    for arguments in (["collect", str(tmp_path), str(tmp_path)], ["scores", str(tmp_path)]):
        with pytest.raises(SystemExit, match="is no course folder"):
            exercises.main(arguments)


def test_complaints_are_made():
    good = dict(submission="solution", assignment="a", check="b", points=2.0, score=2.0, message="")
    blank = good | {"submission": "blank", "score": 0.0, "message": "not written yet"}
    assert exercises.complaints([good, blank]) == []
    for row in (good | {"score": 0.0}, blank | {"score": 2.0}, blank | {"message": ""}):
        assert len(exercises.complaints([row])) == 1


@each_assignment
def test_students_get_no_solution_and_no_hidden_test(graded, name):
    release = exercises.BUILD / "instructor/release" / name
    assert [path.name for path in release.iterdir()] == [f"{name}.ipynb"]
    student = notebooks.load(exercises.BUILD / f"student/{name}.ipynb")
    master = exercises.master(name)
    assert [c["id"] for c in student["cells"]] == [c["id"] for c in master["cells"]]
    for ours, theirs in zip(master["cells"], student["cells"]):
        if ours["cell_type"] == "code":
            assert notebooks.text(theirs).rstrip() == as_student(notebooks.text(ours)).rstrip()
        assert not re.search(r"BEGIN|END|HIDDEN|import nbgrader", notebooks.text(theirs))
        assert "a good answer" not in notebooks.text(theirs)


def test_the_teacher_gets_a_course_folder(graded):
    course = exercises.BUILD / "instructor"
    assert (course / "gradebook.db").stat().st_size > 0 and (course / "nbgrader_config.py").is_file()
    readme = (course / "README.md").read_text()
    for name in NAMES:
        assert (course / f"source/{name}/{name}.ipynb").is_file() and f"### {name}" in readme
