"""What a learning platform hands out, made into notebooks that nbgrader can grade.

Files are found in folders and archives, whatever they are called. A notebook belongs to the sheet whose cells it has,
by their `grade_id`; names of students come from the folders or file names of Moodle, Canvas, Blackboard, or anybody.
"""

from __future__ import annotations

import copy
import io
import json
import re
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

LARGEST = 64 * 2**20  # bytes of one file; a notebook with its pictures has some
PASSED_OVER = re.compile(r"^(\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX|\.ipynb_checkpoints|\.git)$")
NOTEBOOK = re.compile(r"\.ipynb|\.json$", re.IGNORECASE)  # browsers and mail make x.ipynb.txt and x.ipynb.json
PLATFORMS = (
    re.compile(r"^(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)"),  # Moodle
    re.compile(r"^.+_(?P<name>[^_]+)_attempt_\d{4}-\d\d-\d\d"),  # Blackboard
    re.compile(r"^(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_\d+_"),  # Canvas
)
FEWEST = 3  # cells that a notebook must share with a sheet
DEEPEST = 3  # archives within archives; there are some that hold themselves


class Unreadable(Exception):
    """Not a notebook that can be graded; the message says why."""


@dataclass
class File:
    """One file as it came: where it lay, folders and archives first, and what is in it or why it can't be read."""

    parts: tuple[str, ...]
    content: bytes = b""
    trouble: str = ""
    time: float = 0.0

    @property
    def where(self) -> str:
        return "/".join(self.parts)


@dataclass
class HandIn:
    """One student's notebook for one sheet; None if it can't be read. `notes` say why, and what was mended."""

    student: str
    sheet: str
    file: File
    notebook: dict | None = None
    notes: list[str] = field(default_factory=list)
    identity: str = ""  # tells two students of one name apart


def files(path: Path) -> Iterator[File]:
    """All files in a folder or archive, also inside archives; what systems leave about is passed over."""
    if path.is_file():
        yield from opened(File((path.name,), time=path.stat().st_mtime), path)
        return
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        parts = inner.relative_to(path).parts
        if not any(PASSED_OVER.match(part) for part in parts):
            yield from opened(File(parts, time=inner.stat().st_mtime), inner)


def opened(file: File, source: Path | io.BytesIO, depth: int = 0) -> Iterator[File]:
    """The file with its content, or the files in it if it is an archive; `depth` archives are around it."""
    if not file.parts[-1].lower().endswith(".zip"):
        yield with_content(file, source)
        return
    if depth == DEEPEST:
        file.trouble = f"more than {DEEPEST} archives within each other"
        yield file
        return
    try:
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                parts = tuple(entry.filename.strip("/").split("/"))
                if not entry.is_dir() and not any(PASSED_OVER.match(part) for part in parts):
                    inner = File((*file.parts[:-1], file.parts[-1][:-4], *parts))
                    yield from from_archive(archive, entry, inner, depth)
    except (zipfile.BadZipFile, OSError) as error:
        file.trouble = f"this archive can't be opened: {error}"
        yield file


def with_content(file: File, source: Path | io.BytesIO) -> File:
    try:
        with open(source, "rb") if isinstance(source, Path) else source as stream:
            file.content = stream.read(LARGEST + 1)
    except OSError as error:
        file.trouble = f"can't be read: {error}"
    if len(file.content) > LARGEST:
        file.content, file.trouble = b"", f"larger than {LARGEST // 2**20} MiB"
    return file


def from_archive(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, inner: File, depth: int) -> Iterator[File]:
    try:
        inner.time = time.mktime((*entry.date_time, 0, 0, -1))
        with archive.open(entry) as stream:
            content = stream.read(LARGEST + 1)
    except Exception as error:  # locked with a password, damaged, packed in a way that Python does not know, no date
        inner.trouble = f"can't be taken out of its archive: {error}"
        yield inner
        return
    yield from opened(inner, io.BytesIO(content), depth + 1)


def parsed(file: File) -> dict:
    """The notebook in a file, in today's format, with nothing but what grading needs.

    Raises:
        Unreadable: it is empty, a web page, cut off, or something else.
    """
    if file.trouble:
        raise Unreadable(file.trouble)
    if not file.content.strip():
        raise Unreadable("an empty file")
    try:
        text = file.content.decode("utf-16" if file.content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("no notebook: not a text file") from None
    if text.lstrip()[:1] == "<":
        raise Unreadable("a web page and not the notebook itself")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"cut off, or no notebook: {error}") from None
    if not isinstance(content, dict) or not {"cells", "worksheets"} & content.keys():
        raise Unreadable("no notebook: it has no cells")
    try:
        content = nbformat.convert(nbformat.from_dict(content), 4)
        cells = [plain(cell) for cell in content["cells"]]
    except Exception as error:  # whatever a broken notebook makes the converter stumble over
        raise Unreadable(f"a broken notebook: {type(error).__name__}: {error}") from None
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def plain(cell: dict) -> dict:
    """A cell without outputs; `grade_id` is nbgrader's, or the cell's own id, which the sheets make equal."""
    metadata = cell.get("metadata") or {}
    marks = metadata.get("nbgrader") or {}
    text = cell.get("source") or ""
    kind = cell["cell_type"] if cell["cell_type"] in ("code", "markdown") else "raw"
    id = str(marks.get("grade_id") or cell.get("id"))
    return {"cell_type": kind, "source": text if isinstance(text, str) else "".join(text), "grade_id": id}


def marked(notebook: dict) -> dict[str, dict]:
    """The cells of a sheet that carry nbgrader's marks, by their ids."""
    found = {cell["metadata"].get("nbgrader", {}).get("grade_id"): cell for cell in notebook["cells"]}
    return {id: cell for id, cell in found.items() if id}


def sheet_of(notebook: dict, sheets: dict[str, dict], name: str) -> str:
    """The sheet with which a notebook has most cells in common; its file's name decides between equals.

    Raises:
        Unreadable: it has cells of none.
    """
    ids = {cell["grade_id"] for cell in notebook["cells"]}
    shared = {sheet: len(ids & marked(release).keys()) for sheet, release in sheets.items()}
    best = max(shared, key=lambda sheet: (shared[sheet], sheet in name.lower()))
    if shared[best] < FEWEST:
        raise Unreadable("it has no cells of a sheet: were the answers pasted into a new notebook?")
    return best


def repaired(notebook: dict, release: dict) -> tuple[dict, list[str]]:
    """The notebook with each marked cell of the sheet exactly once, and what had to be done for that.

    Copies lose their marks and stay as code or text of the student's own. Of an answer the last copy counts that
    differs from what was handed out. Checks and other locked cells get the sheet's text back; missing ones are put in.
    """
    sheet, cells, notes, after = marked(release), [dict(cell) for cell in notebook["cells"]], [], -1
    for id, ours in sheet.items():
        marks = ours["metadata"]["nbgrader"]
        places = [i for i, cell in enumerate(cells) if cell.get("grade_id") == id]
        if len(places) > 1:
            notes.append(f"{id}: {len(places)} copies")
        if not places:
            notes.append(f"{id}: was missing" + ("" if marks["solution"] else ", put back"))
            place = after + 1
            if not marks["solution"]:  # behind what the student wrote: before the sheet's next cell
                later = [i for i, cell in enumerate(cells) if i > after and cell.get("grade_id") in sheet]
                place = later[0] if later else len(cells)
            cells.insert(place, {"grade_id": id, "cell_type": ours["cell_type"], "source": source(ours)})
        elif marks["solution"]:
            changed = [i for i in places if cells[i]["source"].strip() != source(ours).strip()]
            place = changed[-1] if changed else places[0]
        else:
            place = next((i for i in places if i > after), places[0])
        cell = cells[place]
        if cell["cell_type"] != ours["cell_type"]:
            notes.append(f"{id}: was converted to {cell['cell_type']}")
        text = cell["source"] if marks["solution"] else source(ours)
        cells[place] = finished(id, ours["cell_type"], text, copy.deepcopy(ours["metadata"]))
        after = place
    for i, cell in enumerate(cells):
        if "grade_id" in cell:
            cells[i] = finished(f"own-{i}", cell["cell_type"], cell["source"], {})
    return notebook | {"cells": cells}, notes


def source(cell: dict) -> str:
    return "".join(cell["source"])


def finished(id: str, kind: str, text: str, metadata: dict) -> dict:
    cell = {"cell_type": kind, "id": id, "metadata": metadata, "source": text}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def whose(file: File, wrapper: int, sheets: dict[str, dict]) -> tuple[str, str]:
    """The student's name, and what tells students of one name apart; both empty if neither platform nor folder says.

    `wrapper` folders are around all files, and nobody's own.
    """
    for part in file.parts:
        for platform in PLATFORMS:
            if found := platform.match(part):
                number = found.groupdict().get("id") or ""
                return clean(found["name"]), clean(f"{found['name']} {number}")
    own = [part for part in file.parts[wrapper:-1] if part not in sheets]
    return (clean(own[0]), clean(own[0])) if own else ("", "")


def from_its_name(file: File, sheets: dict[str, dict]) -> str:
    """The student's name from `ada - mae (1).ipynb`; if it has none, from the innermost folder, or all of the name."""
    stem = re.sub(r"\.ipynb.*$|\.json$", "", file.parts[-1], flags=re.IGNORECASE)
    name = re.sub(r"\s*\(\d+\)", "", stem)
    for sheet in sheets:
        name = re.sub(sheet.replace("_", "[ _-]*"), "", name, flags=re.IGNORECASE)
    folders = [part for part in file.parts[:-1] if part not in sheets]
    return clean(name) or clean(folders[-1] if folders else stem) or "unnamed"


def clean(name: str) -> str:
    """A name that every file system, nbgrader and a spreadsheet take: letters, digits, `_`, `.` and `-`."""
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._- ")


def gather(path: Path, sheets: dict[str, dict]) -> tuple[list[HandIn], list[str]]:
    """One hand-in for each student and sheet, and the files that are no notebooks.

    Args:
        path: a folder or an archive of a learning platform.
        sheets: what was handed out, as notebooks with nbgrader's marks, by their names.
    """
    everything = list(files(path))
    folders = [f.parts[:-1] for f in everything]
    wrapper = next(
        (i for i, parts in enumerate(zip(*folders)) if len(set(parts)) > 1), min(map(len, folders), default=0)
    )
    found, others = [], []
    for file in everything:
        name, identity = whose(file, wrapper, sheets)
        if NOTEBOOK.search(file.parts[-1]) or file.trouble:
            name = name or from_its_name(file, sheets)
            found.append(read(HandIn(name, "", file, identity=identity or name), sheets))
        else:
            others.append((file, name, identity))
    handed_in = {hand_in.identity for hand_in in found} | {""}
    for file, name, identity in others:
        if identity not in handed_in:
            handed_in.add(identity)
            found.append(HandIn(name, "", file, notes=["no notebook"], identity=identity))
    collected = {hand_in.sheet for hand_in in found if hand_in.sheet}
    for hand_in in found:
        if not hand_in.sheet:
            named = [sheet for sheet in sheets if sheet in hand_in.file.where.lower()]
            only = list(collected) if len(collected) == 1 else ["?"]
            hand_in.sheet = (named or only)[0]
    return chosen(found), [file.where for file, _, _ in others]


def read(hand_in: HandIn, sheets: dict[str, dict]) -> HandIn:
    """The hand-in with its sheet and its mended notebook, or with the reason why there is none."""
    try:
        notebook = parsed(hand_in.file)
        hand_in.sheet = sheet_of(notebook, sheets, hand_in.file.where)
        hand_in.notebook, hand_in.notes = repaired(notebook, sheets[hand_in.sheet])
    except Unreadable as error:
        hand_in.notes = [str(error)]
    return hand_in


def chosen(found: list[HandIn]) -> list[HandIn]:
    """One for each student and sheet: the newest that can be read. Two students of one name get their numbers."""
    identities: dict[tuple[str, str], set[str]] = {}
    for hand_in in found:
        identities.setdefault((hand_in.sheet, hand_in.student.casefold()), set()).add(hand_in.identity)
    groups: dict[tuple[str, str], list[HandIn]] = {}
    for hand_in in found:
        if len(identities[hand_in.sheet, hand_in.student.casefold()]) > 1:
            hand_in.student = hand_in.identity
            hand_in.notes.append("another student has this name")
        groups.setdefault((hand_in.sheet, hand_in.student), []).append(hand_in)
    taken = []
    for _, group in sorted(groups.items()):
        best = max(group, key=lambda h: (h.notebook is not None, h.file.time, h.file.where))
        if len(group) > 1:
            rest = ", ".join(h.file.where for h in group if h is not best)
            best.notes.append(f"the newest of {len(group)} files; not graded: {rest}")
        taken.append(best)
    return taken
