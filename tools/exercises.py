"""The classroom: `python -m tools.exercises COMMAND`, from the masters in exercises/source, with nbgrader.

write     _build/exercises: `student/` has no solutions and no hidden tests, `instructor/` is the course folder
grade     write, then let nbgrader grade all solutions, which must get every point, and all blanks, which must get none
answers   run *Explore* of every master in the `cpu` budget, where cells hold the model answer to what comes out
collect FOLDER [COURSE]
          take what a learning platform hands out, a folder or a .zip, into the course folder, grade it student by
          student, and write scores.csv; COURSE is _build/exercises/instructor if it isn't given
scores [COURSE]
          write scores.csv again, for instance after the points of *Explore* were given
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from sslbook.files import atomic
from tools import handins, notebooks

MASTERS = notebooks.EXERCISES
BUILD = notebooks.ROOT / "_build/exercises"
COLUMNS = ("submission", "assignment", "check", "points", "score", "message")
SCORES = ("student", "assignment", "state", "score", "of", "by_hand", "file", "notes")
LIMIT = 1200  # seconds of one student's notebook; its cells have limits of their own, in nbgrader_config.py
GRADED = "graded"  # any other state is a reason why there are no points

HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.DOTALL)
SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)


def assignments() -> list[str]:
    """Their names, which are those of the chapters."""
    return [path.stem for path in notebooks.notebooks(MASTERS)]


def master(name: str) -> dict:
    return notebooks.load(MASTERS / name / f"{name}.ipynb")


def mistakes(name: str) -> list[dict[str, str]]:
    """What students get wrong: the `check` that must notice, what the `solution` says, what the `student` writes.

    The solution stands in the cell whose id is that of the check without its last word. `says`, where it is there, is a
    part of the message.
    """
    return yaml.safe_load((MASTERS / name / "mistakes.yml").read_text(encoding="utf-8"))


def checks(notebook: dict) -> dict[str, dict]:
    """The cells that nbgrader grades by running them, by their ids."""
    marked = {cell["id"]: cell["metadata"].get("nbgrader", {}) for cell in notebook["cells"]}
    return {c["id"]: c for c in notebook["cells"] if marked[c["id"]].get("grade") and not marked[c["id"]]["solution"]}


def nbgrader(course: Path, *arguments: str, **options: bool) -> subprocess.Popen:
    """Start nbgrader in a course folder; what it says goes to nbgrader.log there. `options` are those of Popen."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it calls alembic by name
    with open(course / "nbgrader.log", "a") as log:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        return subprocess.Popen(command, cwd=course, env=os.environ | {"PATH": path}, stdout=log, stderr=log, **options)


def finish(course: Path, process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"{' '.join(process.args[2:])} failed in {course}:\n{(course / 'nbgrader.log').read_text()}")


def write(build: Path = BUILD) -> None:
    """Both sets of notebooks; a gradebook and submissions that lie in the course folder stay."""
    course, student = build / "instructor", build / "student"
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


def grade(names: Iterable[str] = ()) -> list[dict]:
    """nbgrader's verdict on every check, for the submissions `solution` and `blank`; also as CSV files in BUILD.

    Of all assignments, or only of those of these `names`.
    """
    write()
    os.environ.setdefault("SSLBOOK_BUDGET", "smoke")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the two run side by side
    running = {}
    for submission, folder in (("solution", "source"), ("blank", "release")):
        course = BUILD / "graded" / submission
        shutil.rmtree(course, ignore_errors=True)
        shutil.copytree(BUILD / "instructor", course, ignore=shutil.ignore_patterns("submitted", "autograded"))
        for name in names or assignments():
            shutil.copytree(course / folder / name, course / "submitted" / submission / name)
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


def answers() -> list[str]:
    """Run all masters with the training of *Explore* as students see it, a minute or two each; those that failed."""
    os.environ["SSLBOOK_BUDGET"] = "cpu"
    return [name for name in assignments() if not notebooks.execute(MASTERS / name / f"{name}.ipynb", b"")]


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


def collect(folder: Path, course: Path) -> list[dict]:
    """Take hand-ins into the course folder and grade them, one process for each. Returns the rows of scores.csv.

    What came lies in `handed_in`, what is graded in `submitted`. Whoever was graded with the same notebook is not
    graded again.
    """
    sheets = {path.stem: notebooks.load(path) for path in sorted(course.glob("release/*/*.ipynb"))}
    if not sheets:
        raise SystemExit(f"{course} is no course folder: there are no sheets in release/. Run `make exercises` first.")
    if not folder.exists():
        raise SystemExit(f"{folder} is not there")
    taken, others = handins.gather(folder, sheets)
    if not taken:
        raise SystemExit(f"no notebook in {folder}; other files: {', '.join(others) or 'none'}")
    states = read_states(course)
    for number, hand_in in enumerate(taken, 1):
        before = states.get(hand_in.sheet, {}).get(hand_in.student, {})
        try:
            state = take(hand_in, course, before)
        except Exception as error:  # one student's trouble is not that of the others
            state = {"file": hand_in.file.where, "notes": hand_in.notes, "state": f"failed: {error!r}"}
        states.setdefault(hand_in.sheet, {})[hand_in.student] = state
        write_states(course, states)
        done = f"{number} of {len(taken)}: {hand_in.student}, {hand_in.sheet}: {state['state']}"
        print(done, *state["notes"], sep="; ", flush=True)
    rows = write_scores(course)
    ungraded = [f"{row['student']}, {row['assignment']}: {row['state']}" for row in rows if row["state"] != GRADED]
    if ungraded:
        print("Not graded:", *ungraded, sep="\n  ")
    if others:
        print("These files are no notebooks:", *others, sep="\n  ")
    return rows


def take(hand_in: handins.HandIn, course: Path, before: dict) -> dict:
    """Write one hand-in into the course folder and grade it; `before` is its state of an earlier collection."""
    name = f"{hand_in.sheet}.ipynb"
    state = {"file": hand_in.file.where, "notes": hand_in.notes, "state": "unreadable"}
    if hand_in.notebook is None:
        if before.get("state") == GRADED:  # a broken file does not take points away
            note = f"later came what can't be read: {state['file']}"
            return before | {"notes": [old for old in before["notes"] if old != note] + [note]}
        return state
    kept = course / "handed_in" / hand_in.student / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(hand_in.file.content)
    target = course / "submitted" / hand_in.student / hand_in.sheet / name
    text = notebooks.dump(hand_in.notebook)
    if before.get("state") == GRADED and target.is_file() and target.read_text(encoding="utf-8") == text:
        return before
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    state["state"] = autograde(course, hand_in.sheet, hand_in.student)
    return state


def autograde(course: Path, sheet: str, student: str) -> str:
    """Let nbgrader grade one notebook in a process of its own: "graded", or why not."""
    command = ("autograde", sheet, f"--student={student}", "--force")
    seen = log_size(course)
    process = nbgrader(course, *command, start_new_session=True)
    try:
        code = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        stop(process)
        return f"stopped after {LIMIT // 60} minutes"
    except BaseException:
        stop(process)
        raise
    with open(course / "nbgrader.log", encoding="utf-8", errors="replace") as log:
        log.seek(seen)
        said = log.read()
    if code == 0:
        return GRADED
    if "DeadKernelError" in said:
        return "kernel died"
    if "Timeout waiting for IOPub output" in said:
        return "the kernel no longer answered"
    reasons = [line for line in said.splitlines() if "Error" in line]
    return f"failed: {reasons[-1].strip() if reasons else f'nbgrader ended with {code}'}; see nbgrader.log"


def log_size(course: Path) -> int:
    log = course / "nbgrader.log"
    return log.stat().st_size if log.exists() else 0


def stop(process: subprocess.Popen) -> None:
    """End nbgrader and its kernel, which runs what a student wrote."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def read_states(course: Path) -> dict[str, dict[str, dict]]:
    """{sheet: {student: state}} of all that was collected into this course."""
    path = course / "handed_in/states.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_states(course: Path, states: dict) -> None:
    """Whole or not at all: whoever stops a collection can go on with it."""
    with atomic(course / "handed_in/states.json") as file:
        file.write(json.dumps(states, indent=1, ensure_ascii=False).encode())


def write_scores(course: Path) -> list[dict]:
    """scores.csv: a row for every student and every collected sheet; without points where nothing was graded."""
    from nbgrader.api import Gradebook

    states, rows = read_states(course), []
    students = {student for of_sheet in states.values() for student in of_sheet}
    with Gradebook(f"sqlite:///{course.resolve()}/gradebook.db") as gradebook:
        students |= {student.id for student in gradebook.students}
        for sheet in sorted(states):
            for student in sorted(students if sheet != "?" else states[sheet]):
                state = states[sheet].get(student, {"state": "not handed in", "file": "", "notes": []})
                row = {"student": student, "assignment": sheet, "state": state["state"], "file": state["file"]}
                if state["state"] == GRADED:
                    submission = gradebook.find_submission(sheet, student)
                    by_hand = "to do" if submission.needs_manual_grade else "done"
                    row |= {"score": submission.score, "of": submission.max_score, "by_hand": by_hand}
                rows.append(row | {"notes": "; ".join(state["notes"])})
    with open(course / "scores.csv", "w", newline="", encoding="utf-8-sig") as file:  # with the mark, for Excel
        table = csv.DictWriter(file, SCORES, restval="")
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} rows: {course / 'scores.csv'}")
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


def course_folder(named: list[str]) -> Path:
    course = Path(named[0]) if named else BUILD / "instructor"
    if not (course / "gradebook.db").is_file():
        raise SystemExit(f"{course} is no course folder: it has no gradebook.db. Run `make exercises` first.")
    return course


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
    elif arguments == ["answers"]:
        return len(answers())
    elif arguments[:1] == ["collect"] and len(arguments) in (2, 3):
        collect(Path(arguments[1]), course_folder(arguments[2:]))
    elif arguments[:1] == ["scores"] and len(arguments) < 3:
        write_scores(course_folder(arguments[1:]))
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
