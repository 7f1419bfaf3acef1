"""Your own photos: a folder in memory, or a stream. What can't be read is skipped and listed."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from sslbook.bar import progress_bar
from sslbook.images import ImageSet, as_rows, checksum, some_rows

UNLABELLED = "unlabelled"  # a sub-folder of this name has no labels, as photos that lie in none

# What is read. heic, heif and avif too: where Pillow can't read them they are listed as skipped and not passed over
PHOTOS = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
PHOTOS |= {".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".heic", ".heif", ".avif"}
# Pictures that are not read: listed as skipped, so that nobody misses a camera's photos without knowing
UNREAD = {
    "a camera's raw file: export it as JPEG": (
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 "
        ".srf .srw .x3f"
    ),
    "a drawing and no pixels: export it as PNG": ".svg .svgz .eps .ai .wmf .emf",
    "an editor's file: export it as PNG": ".psd .psb .xcf .kra",
    "a format that is not read: convert it to PNG": (
        ".jxl .jxr .hdr .exr .pfm .dds .pcx .qoi .ico .icns .fits .fit .dcm .pcd .djvu"
    ),
}
WHY_UNREAD = {suffix: reason for reason, suffixes in UNREAD.items() for suffix in suffixes.split()}
# Folders that systems keep for themselves, with thumbnails and what was deleted; hidden ones are passed over anyway
SYSTEM_FOLDERS = {"@eadir", "@recycle", "#recycle", "$recycle.bin", "recycler", "system volume information"}
SYSTEM_FOLDERS |= {"lost+found", "__macosx"}

MOST_PIXELS = 100_000_000  # as decoded, a big JPEG at 1/8: with transparency they take 2 GB
LARGE = 16_000_000  # from so many pixels on a process decodes one picture at a time
_one_large = threading.Lock()


def from_folder(
    path: str | os.PathLike, size: int = 64, *, device: torch.device | str = "cpu", show_progress: bool = True
) -> ImageSet:
    """Your own photos: every picture below `path`, its short side scaled to `size` pixels, cropped to the centre.

    A picture's class is its first-level sub-folder; one in `path` itself, or in "unlabelled", has the label -1. JPEG,
    PNG, WebP, BMP, GIF (first frame), TIFF, PPM, JPEG 2000, TGA, AVIF, and HEIC if `pillow-heif` is installed; upright
    by their EXIF, transparency on white. The order is that of the sorted names. Hidden files and folders of the system
    (`@eaDir`, `$RECYCLE.BIN`, `__MACOSX`) are passed over, no file is changed. Names are in `.files`; what can't be
    read, also raw files and drawings, is listed in `.skipped` and counted in one warning.

    A grey picture in a 16-bit file is taken to have 8, 10, 12, 14 or 16 bits: the fewest that hold its brightest pixel.
    In a float picture white is 1, 255 or 65,535, the smallest that holds it. If its values span less than a quarter of
    that, or some are negative, they are stretched from the smallest to the largest. The outermost pixel of 10,000, NaN
    and values beyond 1e30 do not count in either. Of colours with 16 bits Pillow keeps the upper 8.

    Raises FileNotFoundError, NotADirectoryError, or ValueError if there is nothing to read.
    """
    path, files, skipped = _open_folder(path, size)
    return _read_photos(path, files, size, unread=skipped, show_progress=show_progress).to(device)


class PhotoStream:
    """A folder of more photos than memory holds: its names are known, its pixels are read when a batch needs them.

    Photos are those of `from_folder`, in its order and form, decoded by `workers` processes while the device trains.
    `pretrain` takes it in place of an `ImageSet`; to evaluate, take a part: `stream[rows]` is an `ImageSet`. `.files`,
    `.labels` (N,) and `.classes` are known of all.

    Args:
        path: the folder; `size`: the side of its photos in pixels, more than that of the views leaves room to crop.
        workers: processes that decode, as many as there are cores by default, at most 8; 0 = none but this one.

    What can't be read shows when it is its turn: the next photo that can stands in, and it is listed in `.skipped`.
    Raises as `from_folder`; ValueError too if a hundred photos one after the other can't be read.
    """

    def __init__(self, path: str | os.PathLike, size: int = 64, workers: int | None = None):
        self.path, self.files, self.skipped = _open_folder(path, size)
        if self.skipped:  # sub-folders, and by their endings; other photos show later
            what = "; ".join(f"{file}: {reason}" for file, reason in self.skipped[:3])
            if not self.files:
                raise ValueError(f"no pictures in {self.path} that can be read ({what})")
            warnings.warn(
                f"{len(self.skipped)} files or folders can't be read and are left out, see .skipped ({what})",
                stacklevel=2,
            )
        self.side, self.name = size, self.path.resolve().name
        self._warned = False  # of photos that can't be read
        self._idle: DataLoader | None = None  # its workers wait for the next reading
        owners = [_class_of(file, self.path) for file in self.files]
        self.classes = _classes(owners)
        self.labels = _numbered(owners, self.classes)
        cores = os.cpu_count() or 1
        self.workers = min(8, cores) if workers is None else workers
        most = max(32, 2 * cores)
        if not 0 <= self.workers <= most:
            raise ValueError(f"workers must lie between 0 and {most} on this machine, got {workers}")

    def __len__(self) -> int:
        return len(self.files)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its photos."""
        return self.side, self.side

    def __getitem__(self, rows: slice | Tensor | Sequence[int]) -> ImageSet:
        """These photos in memory, without those that can't be read."""
        rows = torch.arange(len(self))[as_rows(rows, "cpu", "stream[[i]]")]
        if not len(rows):
            nothing = torch.empty(0, 3, *self.size, dtype=torch.uint8)
            return ImageSet(nothing, torch.empty(0, dtype=torch.int64), self.classes, name=self.name)
        files = [self.files[i] for i in rows]
        return _read_photos(self.path, files, self.side, show_progress=False, classes=self.classes)

    def batches(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """The photos (n, 3, side, side) of each batch of rows, uint8, some batches ahead.

        Workers stay for the next call, until `close`. Raises ChildProcessError if one of them dies.
        """
        loader, self._idle = self._idle or self._loader(), None  # a second reading at once gets workers of its own
        loader.batch_sampler[:] = [part.tolist() for part in rows]
        try:
            decoded = _handed_over(iter(loader)) if self.workers else loader
            for images, broken in decoded:
                if isinstance(images, str):
                    raise ValueError(images)
                self._note(broken)
                yield torch.as_tensor(images)
        except BaseException:  # the traceback would keep the workers, and later ones would inherit them
            _end(loader)
            raise
        if self._idle is None:
            self._idle = loader
        else:
            _end(loader)

    def close(self) -> None:
        """End the workers; a later `batches` starts others."""
        if self._idle is not None:
            _end(self._idle)
            self._idle = None

    def checksum(self) -> str:
        """That of the same photos as an `ImageSet`: of their names and of some of their pixels."""
        decoded = _Decoded(self.files, self.side)
        images, broken = _collate([decoded[i] for i in some_rows(len(self)).tolist()])
        if isinstance(images, str):
            raise ValueError(images)
        self._note(broken)
        return checksum([file.relative_to(self.path).as_posix() for file in self.files], [torch.as_tensor(images)])

    def _loader(self) -> DataLoader:
        return DataLoader(
            _Decoded(self.files, self.side),
            batch_sampler=[],  # filled for each reading
            num_workers=self.workers,
            persistent_workers=self.workers > 0,  # where processes are spawned, each loads PyTorch anew for seconds
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the global one belongs to the method
        )

    def _note(self, broken: list[tuple[str, str]]) -> None:
        """List photos that can't be read, with a warning at the first."""
        known = {file for file, _ in self.skipped}
        new = [(file, reason) for file, reason in dict(broken).items() if file not in known]
        if new and not self._warned:
            self._warned = True
            what = f"{new[0][0]} can't be read ({new[0][1]})"
            warnings.warn(f"{what}: other photos stand in for such ones, see .skipped", stacklevel=3)
        self.skipped += new

    def __repr__(self) -> str:
        return f"<PhotoStream {self.name!r}: {len(self)} photos, {self.workers} workers>"


class _Decoded(Dataset):
    """Photo i, or the next that can be read, and what could not. After a hundred in vain, why, in place of the photo:
    an error in a worker would arrive with the worker's traceback in its message."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size

    def __getitem__(self, i: int) -> tuple[np.ndarray | str, list[tuple[str, str]]]:
        broken = []
        for step in range(min(100, len(self.files))):
            file = self.files[(i + step) % len(self.files)]
            with warnings.catch_warnings(action="ignore"):
                photo = _read_photo(file, self.size)
            if not isinstance(photo, str):
                return photo, broken
            broken.append((str(file), photo))
        why = f"{len(broken)} photos one after the other can't be read, from {broken[0][0]}: {broken[0][1]}"
        return why, broken


def _collate(photos: list[tuple[np.ndarray | str, list]]) -> tuple[Tensor | np.ndarray | str, list[tuple[str, str]]]:
    """A batch, and what could not be read; or why there is none.

    A worker's batch is put into shared memory here. Later its queue would do so, and where there is too little, as in
    Docker's default of 64 MB, lose the batch for which the training waits. Then it goes through a pipe, as an array.
    """
    broken = [b for _, broken in photos for b in broken]
    for photo, _ in photos:
        if isinstance(photo, str):
            return photo, broken
    images = np.ascontiguousarray(np.stack([photo for photo, _ in photos]))  # Pillow's have the colour last in memory
    if get_worker_info() is None:
        return torch.from_numpy(images), broken
    try:
        return torch.from_numpy(images).share_memory_(), broken
    except RuntimeError:
        return images, broken


@contextlib.contextmanager
def told_if_a_worker_dies() -> Iterator[None]:
    """Turn PyTorch's error into a ChildProcessError that says what to do; its handler raises it wherever we are."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise _died(error) from error


def _died(error: Exception) -> ChildProcessError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return ChildProcessError(
        f"a process that reads photos died ({reason}). On Windows and macOS a script must begin its work below "
        '`if __name__ == "__main__":`. If memory ran out, take fewer workers; 0 needs none.'
    )


def _handed_over(decoded: Iterator) -> Iterator:
    """What workers give. Where one dies handing over a batch, PyTorch has other words."""
    try:
        yield from decoded
    except (RuntimeError, ConnectionError, EOFError) as error:
        raise _died(error) from error


def _end(loader: DataLoader) -> None:
    getattr(loader._iterator, "_shutdown_workers", lambda: None)()
    loader._iterator = None


def _open_folder(path: str | os.PathLike, size: int) -> tuple[Path, list[Path], list[tuple[str, str]]]:
    """The folder, its pictures in order, and sub-folders and pictures by their endings that can't be read."""
    path = Path(path).expanduser()
    if size < 1:
        raise ValueError(f"size is the side of an image in pixels, at least 1, got {size}")
    if not path.exists():
        raise FileNotFoundError(f"there is no folder {path}: check the spelling, or upload your photos there")
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file: give the folder that it lies in, {path.parent}")
    skipped: list[tuple[str, str]] = []
    files, others = _find_photos(path, skipped)
    if not files and not skipped:
        found = ", ".join(f"{n} {suffix or 'without ending'}" for suffix, n in others.most_common(5)) or "nothing"
        raise ValueError(f"no pictures in {path}, found {found}: put {', '.join(sorted(PHOTOS))} files there")
    return path, files, skipped


def _classes(owners: list[str]) -> list[str]:
    return sorted(set(owners) - {UNLABELLED})


def _numbered(owners: list[str], classes: list[str]) -> Tensor:
    number = {name: i for i, name in enumerate(classes)} | {UNLABELLED: -1}
    return torch.tensor([number[owner] for owner in owners])


def _read_photos(
    path: Path,
    files: list[Path],
    size: int,
    *,
    show_progress: bool,
    unread: Sequence[tuple[str, str]] = (),
    classes: list[str] | None = None,
) -> ImageSet:
    """The pictures of these files, with one warning for those that can't be read; `unread` are known already."""
    skipped, n = list(unread), len(files) + len(unread)
    images = np.empty((len(files), 3, size, size), np.uint8)
    kept = np.zeros(len(files), bool)
    threads = min(8, os.cpu_count() or 1)  # Pillow decodes outside Python's lock
    with (
        warnings.catch_warnings(action="ignore"),  # Pillow's, of odd metadata in pictures that are read well
        ThreadPoolExecutor(threads) as pool,
        contextlib.closing(pool.map(lambda file: _read_photo(file, size), files)) as results,  # an interrupt ends it
    ):
        bar = progress_bar(zip(files, results), total=len(files), desc=path.name, unit="photo", show=show_progress)
        for i, (file, result) in enumerate(bar):
            if isinstance(result, str):
                skipped.append((str(file), result))
            else:
                images[i], kept[i] = result, True

    files = [file for file, keep in zip(files, kept) if keep]
    examples = "; ".join(f"{file}: {reason}" for file, reason in skipped[:3])
    if not files:
        raise ValueError(f"none of the {n} pictures in {path} can be read: convert them to JPEG or PNG ({examples})")
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {n} pictures in {path} can't be read and are left out, see .skipped ({examples})",
            stacklevel=3,
        )
    owners = [_class_of(file, path) for file in files]
    classes = _classes(owners) if classes is None else classes
    names = [file.relative_to(path).as_posix() for file in files]
    whole = dict(name=path.resolve().name, skipped=skipped, files=names)
    images = images if kept.all() else images[kept]
    return ImageSet(torch.from_numpy(images), _numbered(owners, classes), classes, **whole)


def _find_photos(path: Path, skipped: list[tuple[str, str]]) -> tuple[list[Path], Counter[str]]:
    """The pictures below `path`, sorted, and how many other files there are of each ending."""
    found, others, seen = [], Counter(), set()

    def unreadable(error: OSError) -> None:
        skipped.append((str(error.filename), error.strerror or str(error)))

    for folder, folders, names in os.walk(path, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(name for name in folders if not _is_passed_over(name))
        for name in names:
            file = Path(folder, name)
            if real in seen or name.startswith("."):
                continue  # a link that goes in circles; macOS's ._photo.jpg
            suffix = file.suffix.lower()
            if suffix in PHOTOS:
                found.append(file)
            elif suffix in WHY_UNREAD:
                skipped.append((str(file), WHY_UNREAD[suffix]))
            else:
                others[suffix] += 1
        seen.add(real)
    return sorted(found, key=lambda file: file.relative_to(path).parts), others


def _is_passed_over(folder: str) -> bool:
    return folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS


def _class_of(file: Path, path: Path) -> str:
    """The first-level sub-folder. A Mac may write "é" as two characters: names that look alike are one class."""
    parts = file.relative_to(path).parts
    return unicodedata.normalize("NFC", parts[0]) if len(parts) > 1 else UNLABELLED


# what turns a picture upright, by its EXIF orientation (1 = it is)
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _read_photo(file: Path, size: int) -> np.ndarray | str:
    """(3, size, size) uint8, or why the file can't be read."""
    try:
        if not file.is_file():
            return "not a file"
        if file.stat().st_size == 0:
            return "empty file"
        is_heic = _is_heic(file)
        if is_heic and not _has_heic_plugin():
            return "a HEIC photo: it is read after `pip install pillow-heif`"
        with Image.open(file) as image:
            whole = image.width * image.height
            # A big JPEG is decoded at 1/2, 1/4 or 1/8: much faster, and still twice as fine as what is kept.
            image.draft(None, (2 * size, 2 * size))
            pixels = whole if image.info.get("progressive") else image.width * image.height
            if pixels > MOST_PIXELS:
                return f"too large: {pixels / 1e6:,.0f} million pixels, at most {MOST_PIXELS / 1e6:.0f} are read"
            with _one_large if pixels > LARGE else contextlib.nullcontext():
                return _square(image, size)
    except Image.UnidentifiedImageError:
        return f"not a {file.suffix[1:].lower()} that Pillow can read"
    except Image.DecompressionBombError:
        return "too large: it may be a decompression bomb"
    except Exception as error:  # Pillow raises anything from struct.error to SyntaxError on broken files
        return str(error) or type(error).__name__


def _square(image: Image.Image, size: int) -> np.ndarray:
    """The centre of a picture, upright: (3, size, size) uint8."""
    image.load()
    rgb = _to_rgb(image)
    short = min(rgb.size)
    left, top = (rgb.width - short) / 2, (rgb.height - short) / 2
    box = (left, top, left + short, top + short)
    rgb = rgb.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
    turn = UPRIGHT.get(_orientation(image))
    rgb = rgb if turn is None else rgb.transpose(turn)  # of the small square: the centre stays the centre
    return np.asarray(rgb).transpose(2, 0, 1)


def _is_heic(file: Path) -> bool:
    """By its contents: phones hand out HEIC files that are called .jpg."""
    with open(file, "rb") as opened:
        head = opened.read(64)
    if head[4:8] != b"ftyp" or b"avif" in head:
        return False
    return head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@functools.cache
def _has_heic_plugin() -> bool:
    """Whether `pillow_heif` is there; then Pillow reads HEIC from now on."""
    try:
        import pillow_heif
    except (ImportError, OSError):
        return False
    pillow_heif.register_heif_opener()
    return True


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":  # 16 or 32 bits or floats a pixel: Pillow would clip, not scale
        values = np.asarray(image)
        black, white = _black_and_white(values)
        values = np.nan_to_num(values.astype(np.float32), nan=black, posinf=white, neginf=black).clip(black, white)
        image = Image.fromarray(((values - black) * (255 / (white - black)) + 0.5).astype(np.uint8))
    elif "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _black_and_white(values: np.ndarray) -> tuple[float, float]:
    """Which grey values become 0 and 255: the rule that `from_folder` states."""
    is_float = values.dtype.kind == "f"
    known = values[np.abs(values) < 1e30] if is_float else values  # beyond, and NaN: "nothing was measured here"
    if not known.size:
        return 0, 1
    low = float(np.quantile(known, 1e-4, method="higher"))  # at least one pixel at each end does not count
    high = float(np.quantile(known, 1 - 1e-4, method="lower"))
    whites = (1, 255, 65535) if is_float else (255, 1023, 4095, 16383, 65535)
    fitting = [white for white in whites if low >= 0 and high <= white]
    if fitting and low == high:  # one grey, with no levels to keep: a dark picture stays dark
        return 0, fitting[0] if is_float else fitting[-1]
    if fitting and (not is_float or high - low >= fitting[0] / 4):
        return 0, fitting[0]
    return (low, high) if high > low else (min(low, 0), max(high, 0))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to lose the photo
        return 1
