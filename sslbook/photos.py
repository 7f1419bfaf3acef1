"""Your own photos: a folder in memory, or a stream. What can't be read is skipped and listed."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sslbook.bar import progress_bar
from sslbook.images import ImageSet, as_rows

UNLABELLED = "unlabelled"  # the class of photos that lie in no sub-folder

# heic, heif and avif too: Pillow reads them where it can, else they are listed as skipped and not passed over
PHOTOS = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"])


def from_folder(
    path: str | os.PathLike, size: int = 64, *, device: torch.device | str = "cpu", show_progress: bool = True
) -> ImageSet:
    """Your own photos: every picture below `path`, its short side scaled to `size` pixels, cropped to the centre.

    A picture's class is its first-level sub-folder, or "unlabelled" if it lies in `path` itself. JPEG, PNG, WebP, BMP,
    GIF (first frame) and TIFF; grey, palette, CMYK and 16 bits too; upright by their EXIF, transparency on white. The
    order is that of the sorted names, hidden files are passed over, no file is changed. Names are in `.files`; what
    can't be read is listed in `.skipped` and counted in one warning. Raises FileNotFoundError, NotADirectoryError, or
    ValueError if there is nothing to read.
    """
    path, files, skipped = _open_folder(path, size)
    return _read_photos(path, files, size, skipped=skipped, show_progress=show_progress).to(device)


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
        if self.skipped:  # sub-folders; photos show later
            what = "; ".join(f"{folder}: {reason}" for folder, reason in self.skipped[:3])
            if not self.files:
                raise ValueError(f"no pictures in {self.path} that can be reached ({what})")
            warnings.warn(f"{len(self.skipped)} folders can't be read and are left out ({what})", stacklevel=2)
        self.side, self.name = size, self.path.resolve().name
        self._warned = False  # of photos that can't be read
        owners = [_class_of(file, self.path) for file in self.files]
        self.classes = sorted(set(owners))
        self.labels = _numbered(owners, self.classes)
        self.workers = min(8, os.cpu_count() or 1) if workers is None else workers

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
        return _read_photos(self.path, files, self.side, skipped=[], show_progress=False, classes=self.classes)

    def batches(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """The photos (n, 3, side, side) of each batch of rows, uint8, some batches ahead."""
        loader = DataLoader(
            _Decoded(self.files, self.side),
            batch_sampler=[part.tolist() for part in rows],
            num_workers=self.workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the global one belongs to the method
        )
        known = {file for file, _ in self.skipped}
        decoded = iter(loader)
        try:
            for images, broken in decoded:
                new = [(file, reason) for file, reason in dict(broken).items() if file not in known]
                if new and not self._warned:
                    self._warned = True
                    what = f"{new[0][0]} can't be read ({new[0][1]})"
                    warnings.warn(f"{what}: other photos stand in for such ones, see .skipped", stacklevel=2)
                self.skipped += new
                known.update(file for file, _ in new)
                yield images
        finally:  # after an error the traceback would keep the workers, and later ones would inherit them
            getattr(decoded, "_shutdown_workers", lambda: None)()

    def __repr__(self) -> str:
        return f"<PhotoStream {self.name!r}: {len(self)} photos, {self.workers} workers>"


class _Decoded(Dataset):
    """Photo i, or the next that can be read, and what could not."""

    def __init__(self, files: list[Path], size: int):
        self.files, self.size = files, size

    def __getitem__(self, i: int) -> tuple[np.ndarray, list[tuple[str, str]]]:
        broken = []
        for step in range(min(100, len(self.files))):
            file = self.files[(i + step) % len(self.files)]
            with warnings.catch_warnings(action="ignore"):
                photo = _read_photo(file, self.size)
            if not isinstance(photo, str):
                return photo, broken
            broken.append((str(file), photo))
        raise ValueError(f"{len(broken)} photos one after the other can't be read, from {broken[0][0]}: {broken[0][1]}")


def _collate(photos: list[tuple[np.ndarray, list[tuple[str, str]]]]) -> tuple[Tensor, list[tuple[str, str]]]:
    images = np.ascontiguousarray(np.stack([photo for photo, _ in photos]))  # Pillow's have the colour last in memory
    return torch.from_numpy(images), [b for _, broken in photos for b in broken]


def _open_folder(path: str | os.PathLike, size: int) -> tuple[Path, list[Path], list[tuple[str, str]]]:
    """The folder, its pictures in order, and sub-folders that can't be read."""
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


def _numbered(owners: list[str], classes: list[str]) -> Tensor:
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number[owner] for owner in owners])


def _read_photos(
    path: Path,
    files: list[Path],
    size: int,
    *,
    skipped: list[tuple[str, str]],
    show_progress: bool,
    classes: list[str] | None = None,
) -> ImageSet:
    """The pictures of these files, with one warning for those that can't be read."""
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

    n = len(files)
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
    classes = classes or sorted(set(owners))
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
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        for name in names:
            file = Path(folder, name)
            if real in seen or name.startswith("."):
                continue  # a link that goes in circles; macOS's ._photo.jpg
            if file.suffix.lower() in PHOTOS:
                found.append(file)
            else:
                others[file.suffix.lower()] += 1
        seen.add(real)
    return sorted(found, key=lambda file: file.relative_to(path).parts), others


def _class_of(file: Path, path: Path) -> str:
    parts = file.relative_to(path).parts
    return parts[0] if len(parts) > 1 else UNLABELLED


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
        with Image.open(file) as image:
            # A big JPEG is decoded at 1/2, 1/4 or 1/8: much faster, and still twice as fine as what is kept.
            image.draft(None, (2 * size, 2 * size))
            image.load()
            rgb = _to_rgb(image)
            short = min(rgb.size)
            left, top = (rgb.width - short) / 2, (rgb.height - short) / 2
            box = (left, top, left + short, top + short)
            rgb = rgb.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
            turn = UPRIGHT.get(_orientation(image))
            rgb = rgb if turn is None else rgb.transpose(turn)  # of the small square: the centre stays the centre
        return np.asarray(rgb).transpose(2, 0, 1)
    except Image.UnidentifiedImageError:
        return f"not a {file.suffix[1:].lower()} that Pillow can read"
    except Image.DecompressionBombError:
        return "too large: it may be a decompression bomb"
    except Exception as error:  # Pillow raises anything from struct.error to SyntaxError on broken files
        return str(error) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode[0] in "IF":  # 16 or 32 bits or floats a pixel: Pillow would clip, not scale
        values = np.nan_to_num(np.asarray(image).astype(np.float32))
        high = float(values.max(initial=0))
        white = next((x for x in ((1, 255, 65535) if image.mode == "F" else (65535,)) if high <= x), high)
        image = Image.fromarray((values.clip(0, white) * (255 / white) + 0.5).astype(np.uint8))
    elif "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to lose the photo
        return 1
