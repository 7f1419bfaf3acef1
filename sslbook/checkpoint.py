"""Checkpoints: written whole or not at all, read without running any code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


class CheckpointError(RuntimeError):
    """A checkpoint can't be read or belongs to another run; the message says which file and what to do."""


def save(path: str | os.PathLike, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) to `path`; a kill half-way leaves the old file whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch wraps a full disc in a RuntimeError
        part.unlink(missing_ok=True)
        kept = " The file from before is untouched." if path.exists() else ""
        raise CheckpointError(f"could not write {path}: {error}.{kept} Is the disc full?") from error


def load(path: str | os.PathLike, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save` wrote. Only tensors and plain values: a file that would run code is refused."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
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
