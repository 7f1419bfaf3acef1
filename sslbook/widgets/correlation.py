"""See the features of two views become alike, each in its place, and unlike all others, as Barlow Twins asks for."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import anywidget
import torch
import traitlets
from PIL import Image
from torch import Tensor

from sslbook.widgets._pictures import sheet
from sslbook.widgets._source import source

MOST_FEATURES, MOST_PICTURES, MOST_BYTES = 128, 512, 450_000
MOST_SIDE = 32


class CorrelationMatrix(anywidget.AnyWidget):
    """The cross-correlation matrix of two views' features as a heat map, epoch by epoch; any cell as a scatter plot.

    C[i, j] is the correlation of feature i of view 1 with feature j of view 2 over N pictures (Zbontar et al. 2021,
    equation 2), with the standard deviation that divides by N. Features that are independent give about
    1/sqrt(N) off the diagonal, not 0; that is the noise floor which the widget shows. A feature that is the
    same for all pictures has no correlation: its row or column is 0, and the widget says so.

    Args:
        snapshots: {epoch: (z1, z2)}, both (N, D) floats: what the loss sees of two views of the same N pictures. They
            need not be normalised. 2 <= N <= 512 and 2 <= D <= 128, the same in every epoch.
        images1, images2: (N, 3, H, W), uint8 or floats in [0, 1]: the views, shown at 32 px at most. With images1 alone
            it stands for both.
        names: N names of the pictures, such as their classes.
        weight: lambda, what the loss multiplies its second term by (equation 1).

    The page gets 2 N D bytes an epoch, from which it computes C within 0.01 (most cells within 0.002), and the measures
    as Python computed them. With a kernel, `epoch` (an index), `row`, `column` and `reach` (the correlation that has
    the strongest colour, 1 or 0.25) can be read and set.

    Raises:
        ValueError: snapshots, images or names do not fit together, hold what is not a number, or are too large for
            a page.
    """

    _esm = source("page.js", "correlation.js")
    _css = source("widgets.css", "correlation.css")
    shape = traitlets.List().tag(sync=True)  # [epochs, D, N]
    features = traitlets.Bytes().tag(sync=True)  # (epochs, 2, D, N) int8: each feature centred, its largest value 127
    measures = traitlets.List().tag(sync=True)  # for each epoch {diagonal, off, invariance, redundancy}
    weight = traitlets.Float().tag(sync=True)
    sheet = traitlets.Bytes().tag(sync=True)  # the N views 1, then the N views 2 in one WebP picture; empty: none
    tiles = traitlets.List().tag(sync=True)  # [[height, width] of a tile, tiles across]
    epochs = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    column = traitlets.Int(0).tag(sync=True)
    reach = traitlets.Enum([1.0, 0.25], 1.0).tag(sync=True)

    def __init__(
        self,
        snapshots: Mapping[object, tuple[Tensor, Tensor]],
        images1: Tensor | None = None,
        images2: Tensor | None = None,
        names: Sequence[str] | None = None,
        weight: float = 0.0051,
        **kwargs,
    ):
        pairs = _checked(snapshots)
        n, size = pairs[0][0].shape
        if names is not None and len(names) != n:
            raise ValueError(f"names must name each of the {n} pictures once, got {len(names)} names")
        if images1 is None and images2 is not None:
            raise ValueError("images2 are the second views of images1; pass images1 too")
        features = b"".join(_quantised(z).numpy().tobytes() for pair in pairs for z in pair)
        picture, tiles = b"", []
        if images1 is not None:
            picture, tiles = _thumbnails(images1, images1 if images2 is None else images2, n)
        _check_size(len(features), len(picture))
        super().__init__(
            shape=[len(pairs), size, n],
            features=features,
            measures=[_measures(*pair) for pair in pairs],
            weight=float(weight),
            sheet=picture,
            tiles=tiles,
            epochs=[str(epoch) for epoch in snapshots],
            names=[str(name) for name in names] if names is not None else [],
            epoch=kwargs.pop("epoch", len(pairs) - 1),
            **kwargs,
        )


def _checked(snapshots: Mapping[object, tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The pairs of all epochs in float64 on the CPU."""
    if not isinstance(snapshots, Mapping) or not snapshots:
        raise ValueError("snapshots must be a dict {epoch: (z1, z2)} with at least one epoch")
    pairs = []
    for epoch, pair in snapshots.items():
        if isinstance(pair, Tensor) or len(pair) != 2 or not all(isinstance(z, Tensor) for z in pair):
            raise ValueError(
                f"epoch {epoch}: expected a pair of tensors (z1, z2), the features of view 1 and of view 2"
            )
        z1, z2 = (z.detach().cpu().double() for z in pair)
        if z1.ndim != 2 or z1.shape != z2.shape:
            raise ValueError(
                f"epoch {epoch}: z1 and z2 must both be (N, D), row k of both from picture k, "
                f"got {tuple(z1.shape)} and {tuple(z2.shape)}"
            )
        if not (torch.isfinite(z1).all() and torch.isfinite(z2).all()):
            raise ValueError(f"epoch {epoch}: features must be finite, got NaN or infinity; did the training diverge?")
        if pairs and z1.shape != pairs[0][0].shape:
            raise ValueError(
                f"epoch {epoch}: features must be {tuple(pairs[0][0].shape)} as in the first epoch, "
                f"got {tuple(z1.shape)}; embed the same pictures"
            )
        pairs.append((z1, z2))
    n, size = pairs[0][0].shape
    if not 2 <= n <= MOST_PICTURES:
        raise ValueError(f"a correlation needs 2 pictures, and a page draws {MOST_PICTURES} at most, got {n}")
    if not 2 <= size <= MOST_FEATURES:
        raise ValueError(
            f"features must have 2 to {MOST_FEATURES} columns, got {size}; to look at the first ones, pass z[:, :64]"
        )
    return pairs


def _check_size(features: int, picture: int) -> None:
    """Of bytes that a page would have to carry, a third more once they are text."""
    if features + picture > MOST_BYTES:
        raise ValueError(
            f"a page would have to carry {features // 1000} kB of features and {picture // 1000} kB of images, "
            f"more than {MOST_BYTES // 1000} kB; pass fewer epochs, pictures or features"
        )


def _standardised(z: Tensor) -> Tensor:
    """Each column of (N, D) with mean 0 and standard deviation 1 (dividing by N); zeros where it is constant.

    Constant means: it varies by less than float32 can tell apart, a millionth of its size.
    """
    centred = z - z.mean(dim=0)
    deviation = centred.square().mean(dim=0).sqrt()
    constant = deviation <= 1e-6 * z.abs().amax(dim=0)
    return torch.where(constant, 0.0, centred / deviation)


def _measures(z1: Tensor, z2: Tensor) -> dict[str, float]:
    """Diagonal's mean, root mean square off the diagonal, and the two terms of the loss (equation 1)."""
    c = _standardised(z1).T @ _standardised(z2) / len(z1)
    diagonal = c.diagonal()
    redundancy = (c - diagonal.diag()).square().sum().item()
    return {
        "diagonal": diagonal.mean().item(),
        "off": (redundancy / (c.numel() - len(c))) ** 0.5,
        "invariance": (1 - diagonal).square().sum().item(),
        "redundancy": redundancy,
    }


def _quantised(z: Tensor) -> Tensor:
    """(N, D) to (D, N) int8 in -127..127, each feature centred and as large as fits; zeros where it is constant."""
    x = _standardised(z).T
    largest = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    return (127 * x / largest).round().to(torch.int8)


def _thumbnails(images1: Tensor, images2: Tensor, n: int) -> tuple[bytes, list]:
    """The n views 1, then the n views 2, as `sheet` has them, but lossy: a fifth of the bytes for photos."""
    for what, images in (("images1", images1), ("images2", images2)):
        if images.ndim != 4 or images.shape[:2] != (n, 3) or images.shape != images1.shape:
            raise ValueError(
                f"{what} must be ({n}, 3, height, width), one for each row of z and all of one size, "
                f"got {tuple(images.shape)}"
            )
    picture, tiles = sheet(torch.cat([images1, images2]), MOST_SIDE)
    file = io.BytesIO()
    Image.open(io.BytesIO(picture)).save(file, "WEBP", quality=80)
    return file.getvalue(), tiles
