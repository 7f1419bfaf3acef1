"""Images as one tensor, with what is known of each: a batch is an index, without a DataLoader or worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


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
        rows = as_rows(rows, self.images.device, "images[i]")
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
        order = torch.cat(list(rows)).to(self.images.device, non_blocking=True)
        for index in order.split([len(part) for part in rows]):
            yield self.images.index_select(0, index)

    def checksum(self) -> str:
        """The same for the same images: of all pixels, or of photos' names and some of their pixels."""
        rows = some_rows(len(self)) if self.files else torch.arange(len(self))
        return checksum(self.files, self.batches(rows.split(4096)))

    def to(self, device: torch.device | str) -> ImageSet:
        factors = {name: factor.to(device) for name, factor in self.factors.items()}
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), factors=factors)

    def __repr__(self) -> str:
        n, _, height, width = self.images.shape
        parts = [f"{n} images 3x{height}x{width}", f"{len(self.classes)} classes", str(self.images.device)]
        if self.factors:
            parts.append(f"factors {', '.join(self.factors)}")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        return f"<ImageSet {self.name!r}: {'; '.join(parts)}>"


def as_floats(images: Tensor) -> Tensor:
    """Pixels as views and encoders take them, floats in [0, 1]: from uint8, or from floats that are so already.

    Half precision becomes float32. Raises ValueError for floats far outside, as those of 0 to 255: what an
    interpolation overshoots may pass.
    """
    if images.dtype == torch.uint8:
        return images / 255
    if not images.is_floating_point():
        raise ValueError(f"images are uint8, or floats in [0, 1]; got {images.dtype}")
    if images.numel():
        low, high = (x.item() for x in images.aminmax())
        if not (low >= -0.5 and high <= 1.5):
            raise ValueError(f"images that are floats must lie in [0, 1], got {low:g} to {high:g}")
    return images if images.dtype == torch.float64 else images.float()


def some_rows(n: int) -> Tensor:
    """At most 16 rows of n, from all over."""
    return torch.arange(0, n, max(1, -(-n // 16)))


def checksum(files: Sequence[str], batches: Iterable[Tensor]) -> str:
    """Of names and uint8 images, 16 hexadecimal digits."""
    digest = hashlib.sha256("\n".join(files).encode(errors="surrogateescape"))
    for images in batches:
        digest.update(images.cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def as_rows(rows: slice | Tensor | Sequence, device: torch.device | str, one: str) -> slice | Tensor:
    """What a set of images can be indexed with; `one` says how to get a single image."""
    if isinstance(rows, slice):
        return rows
    rows = torch.as_tensor(rows, device=device)
    if rows.ndim != 1:
        raise TypeError(f"rows are a slice, indices (n,) or a bool mask (N,); for one image take {one}")
    return rows if rows.dtype == torch.bool or len(rows) else rows.long()  # [] is float to torch


def _kind(x: object) -> str:
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
