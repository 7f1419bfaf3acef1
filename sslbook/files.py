"""Files that are written whole or not at all, and folders that one process at a time writes to."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import filelock


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A binary file to write, which becomes `path` when it is whole; until then an old `path` stays as it is."""
    path = Path(path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")  # two that write at once have one each
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def try_folder(folder: str | os.PathLike) -> None:
    """Make a folder and write there: better to learn now than after an hour. Raises OSError if that can't be done."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


@contextlib.contextmanager
def alone(folder: str | os.PathLike, patience: float = -1) -> Iterator[None]:
    """One process of this machine at a time goes through the block for `folder`; the others wait.

    The lock is a file among the temporary ones: it works where a network drive has none, and ends with its process.
    Raises TimeoutError after `patience` seconds, with -1 never.
    """
    name = hashlib.sha256(os.path.realpath(Path(folder).expanduser()).encode(errors="surrogateescape")).hexdigest()
    lock = filelock.FileLock(Path(tempfile.gettempdir()) / f"sslbook-{name[:16]}.lock")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.acquire(timeout=patience))
        except filelock.Timeout as error:
            raise TimeoutError(
                f"another process writes to {folder}: wait for its end, or take another folder"
            ) from error
        except (OSError, NotImplementedError):  # no place for a lock, or another user's
            pass
        yield
