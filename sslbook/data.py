"""Image sets as tensors: the embedded shapes, torchvision's sets, your own folder of photos.

All images of a set lie in one uint8 tensor on one device, so that a batch is an index and a view is a few batched
operations (`views.py`), without a DataLoader or worker processes. Only a `PhotoStream`, for folders larger than memory,
has those.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets

from sslbook import download, shapes
from sslbook.progress import progress_bar

UNLABELLED = "unlabelled"  # the class of photos that lie in no sub-folder
# heic, heif and avif too: Pillow reads them where it can, else they are listed as skipped and not passed over
PHOTOS = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"])
# Added to the seed for test images, where no training seed reaches. Torch's CPU generator reads 32 bits of a seed.
TEST_SEED = 2**31


@dataclass(eq=False, repr=False)
class ImageSet:
    """N images and what is known of them, on one device.

    Raises TypeError or ValueError if the parts do not fit together.
    """

    images: Tensor  # (N, 3, H, W) uint8
    labels: Tensor  # (N,) int64 in [0, len(classes)), -1 = not labelled
    classes: list[str]
    factors: dict[str, Tensor] = field(default_factory=dict)  # what generated an image, each (N,) or (N, k)
    name: str = ""
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of photos that could not be read
    files: list[str] = field(default_factory=list)  # of each photo, below its folder; none for other sets

    def __post_init__(self):
        self.classes = list(self.classes)
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8:
            raise TypeError(f"images must be a uint8 tensor, got {_kind(self.images)}")
        if self.images.ndim != 4 or self.images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, height, width), got {tuple(self.images.shape)}")
        if not isinstance(self.labels, Tensor) or self.labels.dtype != torch.int64:
            raise TypeError(f"labels must be an int64 tensor, got {_kind(self.labels)}")
        if self.labels.shape != (len(self),):
            raise ValueError(f"{len(self)} images need labels of shape ({len(self)},), got {tuple(self.labels.shape)}")
        if self.files and len(self.files) != len(self):
            raise ValueError(f"{len(self)} images need as many files or none, got {len(self.files)}")
        for name, factor in self.factors.items():
            if not isinstance(factor, Tensor) or factor.ndim not in (1, 2) or len(factor) != len(self):
                raise ValueError(f"factor {name!r} must be ({len(self)},) or ({len(self)}, k), got {_kind(factor)}")
        if any(x.device != self.images.device for x in (self.labels, *self.factors.values())):
            raise ValueError(f"images, labels and factors must be on one device, {self.images.device}")
        if len(self):
            low, high = (int(x) for x in self.labels.aminmax())
            if low < -1 or high >= len(self.classes):
                raise ValueError(f"labels must be in [-1, {len(self.classes)}), got {low} to {high}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor | Sequence) -> ImageSet:
        """The set of these rows: a slice, indices or a bool mask. One image is `images[i]`."""
        rows = _as_rows(rows, self.images.device, "images[i]")
        factors = {name: factor[rows] for name, factor in self.factors.items()}
        parts = dict(images=self.images[rows], labels=self.labels[rows], factors=factors)
        if self.files:
            parts["files"] = [self.files[i] for i in torch.arange(len(self), device=self.images.device)[rows]]
        return replace(self, **parts)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images."""
        return tuple(self.images.shape[2:])

    def batches(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """The images (n, 3, H, W) of each batch of rows, one batch after the other."""
        for index in torch.cat(list(rows)).to(self.images.device).split([len(part) for part in rows]):
            yield self.images.index_select(0, index)

    def to(self, device: torch.device | str) -> ImageSet:
        factors = {name: factor.to(device) for name, factor in self.factors.items()}
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), factors=factors)

    def __repr__(self) -> str:
        n, _, height, width = self.images.shape
        parts = [f"{n} images 3x{height}x{width}", f"{len(self.classes)} classes", str(self.images.device)]
        parts += [f"factors {', '.join(self.factors)}"] * bool(self.factors)
        parts += [f"{len(self.skipped)} skipped"] * bool(self.skipped)
        return f"<ImageSet {self.name!r}: {'; '.join(parts)}>"


def _as_rows(rows: slice | Tensor | Sequence, device: torch.device | str, one: str) -> slice | Tensor:
    """What a set of images can be indexed with; `one` says how to get a single image."""
    if isinstance(rows, slice):
        return rows
    rows = torch.as_tensor(rows, device=device)
    if rows.ndim != 1:
        raise TypeError(f"rows are a slice, indices (n,) or a bool mask (N,); for one image take {one}")
    return rows if rows.dtype == torch.bool or len(rows) else rows.long()  # [] is float to torch


def _kind(x: object) -> str:
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


@dataclass(frozen=True)
class _Source:
    """A set of torchvision's: its class, how to ask for each half, what to download, and where below the root."""

    dataset: Callable[..., datasets.VisionDataset]
    train: dict[str, bool | str]
    test: dict[str, bool | str]
    archives: tuple[download.Archive, ...]
    folder: str = ""


SOURCES = {
    "cifar10": _Source(datasets.CIFAR10, {"train": True}, {"train": False}, (download.CIFAR10,)),
    "stl10": _Source(datasets.STL10, {"split": "train"}, {"split": "test"}, (download.STL10,)),
    "stl10-unlabelled": _Source(datasets.STL10, {"split": "unlabeled"}, {"split": "test"}, (download.STL10,)),
    "fashion-mnist": _Source(
        datasets.FashionMNIST, {"train": True}, {"train": False}, download.FASHION_MNIST, "FashionMNIST/raw"
    ),
}
NAMES = ("shapes", *SOURCES)


def load(
    name: str,
    root: str | os.PathLike | None = None,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    train: int | None = None,
    test: int | None = None,
) -> tuple[ImageSet, ImageSet]:
    """The training and the test images of a set: "shapes", "cifar10", "stl10", "stl10-unlabelled", "fashion-mnist".

    - "shapes" is drawn from `seed`, in [0, 2**31), by default 4096 and 1024 images of 32 px; the test images have a
      seed of their own that no training set has.
    - The others are taken from `root` (else $SSLBOOK_DATA, else ~/.cache/sslbook), where torchvision lays them out,
      and downloaded only if they are not there whole. `train` and `test` keep the first so many images.
    - "stl10" has 5,000 labelled training images, "stl10-unlabelled" 100,000 with label -1 (3 GB); the test images are
      the same. Fashion-MNIST's grey is given three times, as red, green and blue.

    Raises ValueError for an unknown name or more images than there are, download.DownloadError if no mirror helps.
    """
    for half, n in (("train", train), ("test", test)):
        if n is not None and n < 1:
            raise ValueError(f"{half} is how many images to keep, at least 1, got {n}")
    if name == "shapes":
        if not 0 <= seed < TEST_SEED:
            raise ValueError(f"seed must be in [0, 2**31), got {seed}")
        halves = (_draw(train or 4096, seed), _draw(test or 1024, seed + TEST_SEED))
    elif name in SOURCES:
        halves = _from_torchvision(name, download.cache(root), train, test)
    else:
        raise ValueError(f"there is no image set {name!r}; there are {', '.join(NAMES)}, and from_folder(path)")
    return halves[0].to(device), halves[1].to(device)


def _draw(n: int, seed: int) -> ImageSet:
    images, labels, factors = shapes.draw(n, seed)
    return ImageSet(images, labels, list(shapes.SHAPES), factors, "shapes")


def _from_torchvision(name: str, root: Path, train: int | None, test: int | None) -> tuple[ImageSet, ImageSet]:
    source = SOURCES[name]
    try:
        first = source.dataset(root, **source.train, download=False)
    except RuntimeError:  # not there, or not whole: torchvision compares md5s
        for archive in source.archives:
            _unpack(archive.fetch(root / source.folder), root / source.folder)
        first = source.dataset(root, **source.train, download=False)
    # The check covers both halves (STL-10: 3 GB to hash), so the second one need not do it again.
    checked = type(source.dataset.__name__, (source.dataset,), {"_check_integrity": lambda self: True})
    first = _to_image_set(first, name, "training", train)
    return first, _to_image_set(checked(root, **source.test, download=False), name, "test", test)


def _to_image_set(dataset: datasets.VisionDataset, name: str, half: str, n: int | None) -> ImageSet:
    """The first n images from the dataset's own array: no image passes through PIL."""
    available = len(dataset)
    if n is not None and n > available:
        raise ValueError(f"{name} has {available} {half} images, {n} were asked for")
    labels = dataset.labels if hasattr(dataset, "labels") else dataset.targets
    images, labels = torch.as_tensor(dataset.data[:n]), torch.as_tensor(labels[:n])
    if images.ndim == 3:  # grey
        images = images[:, None].expand(-1, 3, -1, -1)
    elif images.shape[3] == 3:  # channels last
        images = images.permute(0, 3, 1, 2)
    # a copy of its own, so that a few images do not hold the memory of all
    return ImageSet(images.clone(memory_format=torch.contiguous_format), labels.long(), dataset.classes, name=name)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz or .gz into `folder`, every file moved into place whole, so that a kill leaves no half file."""
    with download.writing(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as unpacked:
        if archive.name.endswith(".tar.gz"):
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
        else:
            with gzip.open(archive) as packed, open(Path(unpacked) / archive.stem, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        for file in Path(unpacked).rglob("*"):
            if file.is_file():
                target = folder / file.relative_to(unpacked)
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)


def from_folder(
    path: str | os.PathLike, size: int = 64, *, device: torch.device | str = "cpu", progress: bool = True
) -> ImageSet:
    """Your own photos: every picture below `path`, its short side scaled to `size` pixels, cropped to the centre.

    A picture's class is its first-level sub-folder, or "unlabelled" if it lies in `path` itself. JPEG, PNG, WebP, BMP,
    GIF (first frame) and TIFF; grey, palette, CMYK and 16 bits too; upright by their EXIF, transparency on white. The
    order is that of the sorted names, hidden files are passed over, no file is changed. Names are in `.files`; what
    can't be read is listed in `.skipped` and counted in one warning. Raises FileNotFoundError, NotADirectoryError, or
    ValueError if there is nothing to read.
    """
    path, files, skipped = _open_folder(path, size)
    return _read_photos(path, files, size, skipped, progress).to(device)


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
        rows = torch.arange(len(self))[_as_rows(rows, "cpu", "stream[[i]]")]
        if not len(rows):
            nothing = torch.empty(0, 3, *self.size, dtype=torch.uint8)
            return ImageSet(nothing, torch.empty(0, dtype=torch.int64), self.classes, name=self.name)
        return _read_photos(self.path, [self.files[i] for i in rows], self.side, [], False, self.classes)

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
    skipped: list[tuple[str, str]],
    progress: bool,
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
        bar = progress_bar(zip(files, results), total=len(files), desc=path.name, unit="photo", show=progress)
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
