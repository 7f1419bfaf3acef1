"""Checkpoints: written whole or not at all, the newest few kept, read without running any code."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from sslbook.files import atomic, try_folder

DRIVES = {"MyDrive", "Shareddrives"}  # folders of Google Drive, where Colab mounts it


class CheckpointError(RuntimeError):
    """A checkpoint can't be read or belongs to another run; the message says which file and what to do."""


def save(path: str | os.PathLike, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) to `path`; a kill half-way leaves the old file whole."""
    try:
        with atomic(path) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch wraps a full disc in a RuntimeError
        kept = " The file from before is untouched." if Path(path).exists() else ""
        raise CheckpointError(f"could not write {path}: {error}.{kept} Is the disc full?") from error


def load(path: str | os.PathLike, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote. Only tensors and plain values, with the right checksums: a file that would run code is
    refused, and so is a damaged one."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        _check_sums(path)
        state = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # damaged files of the old format raise anything, from IndexError to struct.error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({reason}). It may be cut off or come from elsewhere: "
            "move it away to start afresh, or restore a whole copy."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a checkpoint's dict: move it away")
    return state


def _check_sums(path: Path) -> None:
    """Raise ValueError if a part of the file is not what was written; torch.load does not look at the checksums.

    Files from before PyTorch 1.6 are no zip and have none.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        if any(part.compress_type != zipfile.ZIP_STORED for part in file.infolist()):
            raise ValueError("it is compressed, as PyTorch writes none")  # a small file may unpack to any size
        damaged = file.testzip()
    if damaged:
        raise ValueError(f"wrong checksum of {damaged}")


def prepare(folder: str | os.PathLike) -> Path:
    """Make a folder for checkpoints and try to write there. Raises CheckpointError."""
    folder = Path(folder).expanduser()
    drive = Path("/content/drive")
    if drive in folder.parents and not (drive / "MyDrive").is_dir():
        raise CheckpointError(f"{folder} lies on Google Drive, which is not mounted: run drive.mount('{drive}') first")
    try:
        try_folder(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(f"{folder} is or lies below a file: give a folder for the checkpoints") from error
    except OSError as error:
        raise CheckpointError(f"no checkpoint can be written to {folder}: {error}") from error
    return folder


def steps(folder: str | os.PathLike) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(Path(folder).glob("step-*.pt"))


def save_step(folder: str | os.PathLike, step: int, state: dict[str, Any], keep: int = 2) -> None:
    """`save` as step-….pt in a folder; of this and the earlier ones only the newest `keep` stay."""
    path = Path(folder) / f"step-{step:09}.pt"
    save(path, state)
    for old in [file for file in steps(folder) if file <= path][:-keep]:
        _remove(old)
    for part in Path(folder).glob("step-*.part"):  # what a kill left half-written
        _remove(part)


def _remove(path: Path) -> None:
    """Delete a file. On Google Drive what is deleted stays in the bin for 30 days and counts: it is emptied first."""
    with contextlib.suppress(FileNotFoundError):
        if DRIVES.intersection(path.resolve().parts):
            os.truncate(path, 0)
        path.unlink()


def load_latest(folder: str | os.PathLike) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint in a folder that can be read, and its path; None if there is no checkpoint at all.

    A damaged one is left where it is and passed over with a warning. Raises CheckpointError if all are damaged.
    """
    damaged = []
    for path in reversed(steps(folder)):
        try:
            state = load(path)
        except CheckpointError as error:
            damaged.append(error)
        else:
            if damaged:
                warnings.warn(f"{damaged[0]} The training goes on from {path.name}.", stacklevel=2)
            return path, state
    if damaged:
        raise damaged[0]
    return None
