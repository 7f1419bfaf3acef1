"""Image sets by name: the embedded shapes, drawn from a seed, and torchvision's, downloaded if they are not there."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torchvision import datasets

from sslbook import download, shapes
from sslbook.images import ImageSet

# Added to the seed for test images, where no training seed reaches. Torch's CPU generator reads 32 bits of a seed.
TEST_SEED = 2**31


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
    return ImageSet(images, labels, list(shapes.CLASSES), factors, "shapes")


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
