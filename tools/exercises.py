"""The classroom: `python -m tools.exercises write` or `grade`, from the masters in exercises/source, with nbgrader.

write   _build/exercises: `student/` has no solutions and no hidden tests, `instructor/` is the teacher's course folder
grade   write, then let nbgrader grade all solutions, which must get every point, and all blanks, which must get none
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tools import notebooks

MASTERS = notebooks.EXERCISES
BUILD = notebooks.ROOT / "_build/exercises"
COLUMNS = ("submission", "assignment", "check", "points", "score", "message")

HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.DOTALL)
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)


def assignments() -> list[str]:
    """Their names, which are those of the chapters."""
    return [path.stem for path in notebooks.notebooks(MASTERS)]


def master(name: str) -> dict:
    return notebooks.load(MASTERS / name / f"{name}.ipynb")


def mistakes(name: str) -> list[dict[str, str]]:
    """What students get wrong: the `check` that must notice, what the `solution` says, what the `student` writes.

    The solution stands in the cell whose id is that of the check without its last word.
    """
    return yaml.safe_load((MASTERS / name / "mistakes.yml").read_text(encoding="utf-8"))


def checks(notebook: dict) -> dict[str, dict]:
    """The cells that nbgrader grades by running them, by their ids."""
    marked = {cell["id"]: cell["metadata"].get("nbgrader", {}) for cell in notebook["cells"]}
    return {c["id"]: c for c in notebook["cells"] if marked[c["id"]].get("grade") and not marked[c["id"]]["solution"]}


def nbgrader(course: Path, *arguments: str) -> subprocess.Popen:
    """Start nbgrader in a course folder; what it says goes to nbgrader.log there."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it calls alembic by name
    with open(course / "nbgrader.log", "a") as log:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        return subprocess.Popen(command, cwd=course, env=os.environ | {"PATH": path}, stdout=log, stderr=log)


def finish(course: Path, process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"{' '.join(process.args[2:])} failed in {course}:\n{(course / 'nbgrader.log').read_text()}")


def write() -> None:
    """Both sets of notebooks; a gradebook and submissions that lie in the course folder stay."""
    course, student = BUILD / "instructor", BUILD / "student"
    for folder in (course / "source", course / "release", student):
        shutil.rmtree(folder, ignore_errors=True)
    # what else lies beside a master nbgrader would hand out to students
    shutil.copytree(MASTERS, course / "source", ignore=shutil.ignore_patterns(".ipynb_checkpoints", "mistakes.yml"))
    shutil.copy(MASTERS.parent / "nbgrader_config.py", course)
    (course / "README.md").write_text((MASTERS.parent / "README.md").read_text() + table_of_checks())
    (course / "nbgrader.log").unlink(missing_ok=True)
    finish(course, nbgrader(course, "generate_assignment", "*", "--force"))
    student.mkdir()
    for path in course.glob("release/*/*.ipynb"):
        shutil.copy(path, student)
    print(f"{len(assignments())} notebooks for students: {student}\nfor the teacher: {course / 'README.md'}")


def table_of_checks() -> str:
    """A line for each check: its points, and the reason of the answer or the mistakes that its hidden tests catch."""
    lines = []
    for name in assignments():
        lines += [f"\n### {name}\n", "| check | points | why, or what its hidden tests catch |", "| --- | ---: | --- |"]
        for id, cell in checks(master(name)).items():
            hidden = "".join(HIDDEN.findall(notebooks.text(cell)))
            reasons = re.findall(r"# Why: (.+(?:\n# .+)*)", hidden) or re.findall(r"# Trap: (.+)", hidden)
            text = "<br>".join(reasons).replace("\n# ", " ").replace("|", "\\|")
            lines.append(f"| `{id}` | {cell['metadata']['nbgrader']['points']} | {text} |")
    return "\n".join(lines) + "\n"


def grade() -> list[dict]:
    """nbgrader's verdict on every check, for the submissions `solution` and `blank`; also as CSV files in BUILD."""
    write()
    os.environ.setdefault("SSLBOOK_BUDGET", "smoke")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the two run side by side
    running = {}
    for submission, folder in (("solution", "source"), ("blank", "release")):
        course = BUILD / "graded" / submission
        shutil.rmtree(course, ignore_errors=True)
        shutil.copytree(BUILD / "instructor", course, ignore=shutil.ignore_patterns("submitted", "autograded"))
        shutil.copytree(course / folder, course / "submitted" / submission)
        running[course] = nbgrader(course, "autograde", "*")
    for course, process in running.items():
        finish(course, process)
        finish(course, nbgrader(course, "export", "--to", str(BUILD / f"{course.name}.csv")))
    rows = [row for course in running for row in verdicts(course)]
    with open(BUILD / "checks.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return rows


def verdicts(course: Path) -> list[dict]:
    """What the gradebook says of every check, with the message of the one that failed."""
    from nbgrader.api import Gradebook

    rows = []
    with Gradebook(f"sqlite:///{course}/gradebook.db") as gradebook:
        for submission in gradebook.student_submissions(course.name):
            name = submission.name
            ran = checks(notebooks.load(course / "autograded" / course.name / name / f"{name}.ipynb"))
            grades = {g.name: g for notebook in submission.notebooks for g in notebook.grades}
            for id, cell in ran.items():
                message = "; ".join(o["evalue"] for o in cell["outputs"] if o["output_type"] == "error")
                values = (course.name, name, id, grades[id].max_score, grades[id].auto_score, message)
                rows.append(dict(zip(COLUMNS, values)))
    return rows


def complaints(rows: list[dict]) -> list[str]:
    """Solutions that do not get all points, blanks that get one, and blanks that fail only because of a hidden test."""
    found = []
    for row in rows:
        where = f"{row['assignment']}, {row['check']}"
        if row["submission"] == "solution" and row["score"] != row["points"]:
            found.append(f"{where}: the solution gets {row['score']} of {row['points']}: {row['message']}")
        if row["submission"] == "blank" and row["score"] != 0:
            found.append(f"{where}: the blank notebook gets {row['score']} points")
        if row["submission"] == "blank" and not row["message"]:
            found.append(f"{where}: the blank notebook raises nothing")
    return found


def main(arguments: list[str]) -> int:
    if arguments == ["write"]:
        write()
    elif arguments == ["grade"]:
        rows = grade()
        found = complaints(rows)
        for submission in ("solution", "blank"):
            own = [row for row in rows if row["submission"] == submission]
            points, score = (sum(row[column] or 0 for row in own) for column in ("points", "score"))
            print(f"{submission:>9}: {score:g} of {points:g} points in {len(own)} checks: {BUILD / submission}.csv")
        print(*found, sep="\n", end="\n" if found else "")
        return bool(found)
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
