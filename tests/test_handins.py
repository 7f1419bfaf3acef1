"""What learning platforms hand out: names, renamed and damaged files, archives, cells that were copied or deleted."""

import copy
import json
import os
import zipfile

import pytest

from tools import exercises, handins, notebooks

NAME = "contrastive_learning"


def handed_out(name):
    """A sheet as students get it, near enough: marks with nbgrader's version, no solution."""
    sheet = exercises.master(name)
    for cell in sheet["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"] |= {"schema_version": 3, "checksum": "0"}
            cell["source"] = exercises.HIDDEN.sub("", exercises.SOLUTION.sub("...", notebooks.text(cell)))
    return sheet


SHEETS = {name: handed_out(name) for name in (NAME, "byol")}


def sheet(name=NAME, **answers):
    """A student's notebook: `answers` are the sources of cells, with `_` for `-` in their ids."""
    notebook = copy.deepcopy(SHEETS[name])
    for id, source in answers.items():
        cell_of(notebook, id.replace("_", "-"))["source"] = source
    return notebook


def cell_of(notebook, id):
    return next(cell for cell in notebook["cells"] if cell["id"] == id)


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def gathered(folder):
    taken, others = handins.gather(folder, SHEETS)
    return {(h.student, h.sheet): h for h in taken}, others


@pytest.mark.parametrize(
    ("files", "students"),
    [
        (
            ["Ada Lovelace_1234_assignsubmission_file/x.ipynb", "Örs Ő_7_assignsubmission_file_/x.ipynb"],
            "Ada_Lovelace Örs_Ő",
        ),
        (["Ada Lovelace_1234_assignsubmission_file_x.ipynb", "Bo_2_assignsubmission_file_x.ipynb"], "Ada_Lovelace Bo"),
        (["lovelaceada_LATE_12_345_x-1.ipynb", "bo_2_345_x.ipynb"], "bo lovelaceada"),
        (["Sheet 3_ada_attempt_2026-01-02-10-00-00_x.ipynb"], "ada"),
        (["ada/x.ipynb", f"bo/{NAME}/{NAME}.ipynb"], "ada bo"),
        (["all/ada/x.ipynb", "all/bo/work/x.ipynb"], "ada bo"),
        ([f"ada_{NAME}.ipynb", f"Bo - {NAME} (1).ipynb", f"{NAME} Cy.ipynb.txt"], "Bo Cy ada"),
        ([f"ada/{NAME} (1).ipynb"], "ada"),
        ([f"{NAME} (1).ipynb", f"{NAME} (2).ipynb"], f"{NAME}_1 {NAME}_2"),
    ],
    ids=[
        "Moodle",
        "Moodle, flat",
        "Canvas",
        "Blackboard",
        "folders",
        "a folder around",
        "file names",
        "one",
        "no names",
    ],
)
def test_names_of_students(tmp_path, files, students):
    for file in files:
        put(tmp_path, file, sheet())
    taken, others = gathered(tmp_path)
    assert sorted(student for student, _ in taken) == students.split() and others == []
    assert all(hand_in.notebook and not hand_in.notes for hand_in in taken.values())


def test_the_sheet_is_known_by_its_cells_and_not_by_the_file(tmp_path):
    put(tmp_path, f"ada/{NAME}.ipynb", sheet("byol"))
    put(tmp_path, "bo/notebook.ipynb", sheet())
    assert gathered(tmp_path)[0].keys() == {("ada", "byol"), ("bo", NAME)}


def test_archives_within_archives(tmp_path):
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr(f"work/{NAME}.ipynb", json.dumps(sheet()))
        archive.writestr("__MACOSX/work/._x.ipynb", "rubbish")
        archive.writestr("../../evil.ipynb", json.dumps(sheet("byol")))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(inner, "Ada_1_assignsubmission_file/work.zip")
        archive.writestr("Bo_2_assignsubmission_file/essay.pdf", "%PDF")
        archive.writestr("Cy_3_assignsubmission_file/work.zip", b"PK cut off")
    taken, others = gathered(tmp_path / "all.zip")
    assert taken["Ada", NAME].notebook and taken["Ada", "byol"].notebook
    assert others == ["all/Bo_2_assignsubmission_file/essay.pdf"]
    assert taken["Bo", "?"].notes == ["no notebook"]
    assert "can't be opened" in taken["Cy", "?"].notes[0]
    assert not (tmp_path.parent / "evil.ipynb").exists()


def test_an_archive_may_hold_itself(tmp_path):
    for depth in range(6):
        with zipfile.ZipFile(tmp_path / f"{depth}.zip", "w") as archive:
            if depth:
                archive.write(tmp_path / f"{depth - 1}.zip", "ada/x.zip")
                (tmp_path / f"{depth - 1}.zip").unlink()
    ((hand_in,), others) = handins.gather(tmp_path, SHEETS)
    assert "archives within" in hand_in.notes[0] and others == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "an empty file"),
        ("<!DOCTYPE html><html>", "a web page"),
        (json.dumps(sheet())[:900], "cut off"),
        ("[1, 2]", "no cells"),
        ('{"cells": 3}', "a broken notebook"),
        ('{"cells": [{"cell_type": "code", "source": null}], "nbformat": 4, "nbformat_minor": 5}', "pasted into a new"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "not a text file"),
        ("[" * 100_000, "cut off"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, why):
    put(tmp_path, f"ada/{NAME}.ipynb", content)
    put(tmp_path, f"bo/{NAME}.ipynb", sheet())
    taken, _ = gathered(tmp_path)
    assert taken["ada", NAME].notebook is None and why in taken["ada", NAME].notes[0]
    assert taken["bo", NAME].notebook


def test_marks_of_byte_order_and_old_formats_are_read(tmp_path):
    old = sheet()
    for cell in old["cells"]:
        del cell["id"]
    put(tmp_path, "ada/x.ipynb", old | {"nbformat_minor": 2})
    put(tmp_path, "bo/x.ipynb", b"\xef\xbb\xbf" + json.dumps(sheet()).encode())
    put(tmp_path, "cy/x.ipynb", json.dumps(sheet()).encode("utf-16"))
    assert all(hand_in.notebook for hand_in in gathered(tmp_path)[0].values())


def test_too_large_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(handins, "LARGEST", 1000)
    put(tmp_path, "ada/x.ipynb", sheet())
    with zipfile.ZipFile(tmp_path / "bo.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"bo/{NAME}.ipynb", "0" * 10**6)
    assert [h.notes[0][:6] for h in gathered(tmp_path)[0].values()] == ["larger"] * 2


def test_the_newest_readable_of_several_files_counts(tmp_path):
    for hour, (name, content) in enumerate(
        {"a.ipynb": sheet(), "b.ipynb": sheet(implement_loss="newer = 1"), "c.ipynb": "cut"}.items()
    ):
        path = put(tmp_path, f"Ada_1_assignsubmission_file/{NAME}_{name}", content)
        os.utime(path, (3600 * hour, 3600 * hour))
    hand_in = gathered(tmp_path)[0]["Ada", NAME]
    assert cell_of(hand_in.notebook, "implement-loss")["source"] == "newer = 1"
    assert "the newest of 3 files" in hand_in.notes[-1] and "c.ipynb" in hand_in.notes[-1]


def test_two_students_of_one_name_are_not_one(tmp_path):
    put(tmp_path, "Ada_1_assignsubmission_file/x.ipynb", sheet())
    put(tmp_path, "Ada_2_assignsubmission_file/x.ipynb", sheet())
    assert gathered(tmp_path)[0].keys() == {("Ada_1", NAME), ("Ada_2", NAME)}


def mended(notebook):
    read = handins.parsed(handins.File(("x.ipynb",), json.dumps(notebook).encode()))
    return handins.repaired(read, SHEETS[NAME])


def sources(notebook):
    return [notebooks.text(cell) for cell in notebook["cells"]]


def test_a_notebook_as_it_should_be_stays_so():
    answered = sheet(implement_loss="answer = 1", explore_answer="It came out.")
    notebook, notes = mended(answered)
    assert notes == [] and sources(notebook) == sources(answered)
    assert handins.marked(notebook).keys() == handins.marked(SHEETS[NAME]).keys()


@pytest.mark.parametrize("answer_in", ["first", "second"])
def test_of_copies_the_changed_one_counts(answer_in):
    notebook = sheet()
    for id in ("implement-loss", "implement-loss-check", "explore-answer"):
        first = cell_of(notebook, id)
        second = copy.deepcopy(first) | {"id": f"pasted-{id}"}
        notebook["cells"].insert(notebook["cells"].index(first) + 1, second)
        if id != "implement-loss-check":
            (first if answer_in == "first" else second)["source"] = "mine"
    fixed, notes = mended(notebook)
    assert len(notes) == 3 and len(fixed["cells"]) == len(notebook["cells"])
    marked = [c["metadata"]["nbgrader"]["grade_id"] for c in fixed["cells"] if c["metadata"].get("nbgrader")]
    assert marked == list(handins.marked(SHEETS[NAME]))
    assert cell_of(fixed, "implement-loss")["source"] == cell_of(fixed, "explore-answer")["source"] == "mine"


def test_deleted_cells_are_put_back_where_they_belong():
    notebook = sheet()
    gone = ("setup", "implement-loss", "implement-loss-check", "implement-loss-values", "explore-answer")
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] not in gone]
    after = notebook["cells"].index(cell_of(notebook, "implement-loss-numerics"))
    own = {"cell_type": "code", "id": "own", "metadata": {}, "source": "def info_nce_loss(): ...", "outputs": []}
    notebook["cells"].insert(after, own | {"execution_count": None})
    fixed, notes = mended(notebook)
    assert [note.split(":")[0] for note in notes] == list(gone)
    order = [c["metadata"]["nbgrader"]["grade_id"] for c in fixed["cells"] if c["metadata"].get("nbgrader")]
    assert order == list(handins.marked(SHEETS[NAME]))
    text = sources(fixed)
    assert text.index("def info_nce_loss(): ...") < text.index(cell_of(fixed, "implement-loss-check")["source"])


def test_converted_changed_and_marked_cells_get_the_sheets_form():
    notebook = sheet(implement_loss="mine", implement_loss_check="print('right')")
    converted = cell_of(notebook, "implement-loss")
    for key in ("outputs", "execution_count"):
        del converted[key]
    converted["cell_type"] = "markdown"
    check = cell_of(notebook, "implement-loss-check")
    check["metadata"]["nbgrader"]["points"] = 100
    check["metadata"]["tags"] = ["skip-execution"]  # what nbclient would take for a check that passed
    fixed, notes = mended(notebook)
    assert notes == ["implement-loss: was converted to markdown"]
    answer, ours = cell_of(fixed, "implement-loss"), cell_of(SHEETS[NAME], "implement-loss-check")
    assert answer["cell_type"] == "code" and answer["source"] == "mine" and answer["outputs"] == []
    put_back = cell_of(fixed, "implement-loss-check")
    assert notebooks.text(put_back) == notebooks.text(ours) and put_back["metadata"] == ours["metadata"]
