"""See what an augmentation draws for a view, and what every drawn number does to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook.views import DRAWS, Augmentation, Views, multi_crop, simclr_views
from sslbook.widgets._pictures import as_bytes, as_fields, check_pictures
from sslbook.widgets._source import source

COLORS = ("brightness", "contrast", "saturation", "hue")
MOST_VIEWS = 12
LARGE = 2  # views of a multi-crop
SPLIT = 0.25  # of the image: what a large crop has at least, and a small one at most


class AugmentationExplorer(anywidget.AnyWidget):
    """An image, several random views of it, and sliders for the augmentation.

    Args:
        images: (N, 3, H, W) uint8, the pictures to choose from, N in 1..24. They are embedded in the page as they
            are (N * 3 * H * W bytes): a dozen of 32 px is 36 kB.
        augmentation: the family of views that the sliders start from.
        labels: N names of the images, for captions and screen readers.
        seed: seeds the uniform numbers of the first views, and those of the button "New views". With the default half
            of them are mirrored, one is grey, and the first is recoloured.
        views: how many views, in 1..12.
        crops: "alike", or "multi-crop": the first two views are large, the others small, as in `views.multi_crop`. A
            switch of the page. `split` is the share of the image that divides them, a slider that comes with it.
        small: side of a small crop in pixels, by default half that of the augmentation.

    The first views of image i are `augmentation.apply(images[[i] * views], augmentation.parameters(u, H, W))` with
    `u = torch.rand(views, DRAWS, generator=torch.Generator().manual_seed(seed))`. Moving a slider keeps these
    numbers, so the views change continuously. `explorer.augmentation` is what the sliders say now (with a kernel), and
    `explorer.made` the `Views` that are shown.

    Raises:
        ValueError: images, labels or views have another shape, type or number, or crops are of no such kind.
    """

    _esm = source("draws.js", "views.js", "page.js", "augmentation.js")
    _css = source("widgets.css")
    pixels = traitlets.Bytes().tag(sync=True)  # (N, 3, H, W) uint8
    shape = traitlets.List().tag(sync=True)  # [N, H, W]
    labels = traitlets.List().tag(sync=True)
    uniforms = traitlets.Bytes().tag(sync=True)  # (views, DRAWS) float32
    seed = traitlets.Int(0).tag(sync=True)
    family = traitlets.Dict().tag(sync=True)  # the augmentation's fields
    small = traitlets.Int(1).tag(sync=True)  # side of a small crop
    start = traitlets.Dict().tag(sync=True)  # the sliders' first values
    sliders = traitlets.Dict().tag(sync=True)  # and the present ones, written by the page

    def __init__(
        self,
        images: Tensor,
        augmentation: Augmentation,
        labels: Sequence[str] | None = None,
        seed: int = 9,
        views: int = 6,
        crops: str = "alike",
        split: float = SPLIT,
        small: int | None = None,
        **kwargs,
    ):
        names = check_pictures(images, labels)
        if not 1 <= views <= MOST_VIEWS:
            raise ValueError(f"views must lie in 1..{MOST_VIEWS}, got {views}")
        if crops not in ("alike", "multi-crop"):
            raise ValueError(f"crops must be 'alike' or 'multi-crop', got {crops!r}")
        if not 0 < split < 1:
            raise ValueError(f"split is a share of the image in (0, 1), got {split}")
        small = max(1, augmentation.size // 2) if small is None else small
        if not 1 <= small <= augmentation.size:
            raise ValueError(f"small is a side of at most {augmentation.size} px, got {small}")
        self._family, strength = _with_colors(augmentation)
        start = {name: getattr(augmentation, name) for name in ("flip", "jitter", "grey", "blur", "solarize")}
        start |= {"scale": augmentation.scale[0], "strength": strength, "crops": crops, "split": split}
        u = torch.rand(views, DRAWS, generator=torch.Generator().manual_seed(seed))
        super().__init__(
            pixels=as_bytes(images),
            shape=[len(images), *images.shape[2:]],
            labels=names,
            uniforms=u.numpy().tobytes(),
            seed=seed,
            family=as_fields(self._family),
            small=small,
            start=start,
            sliders=dict(start),
            **kwargs,
        )

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation that the sliders describe now; hue stops at its limit of half a turn."""
        s = {name: value for name, value in self.sliders.items() if name not in ("crops", "split")}
        strength, low = s.pop("strength"), s.pop("scale")
        colors = {c: strength * getattr(self._family, c) for c in COLORS}
        colors["hue"] = min(0.5, colors["hue"])
        return replace(self._family, scale=(low, self._family.scale[1]), **colors, **s)

    @property
    def made(self) -> Views:
        """The views that the page shows now: one `Augmentation` for each."""
        count, a = len(self.uniforms) // (4 * DRAWS), self.augmentation
        if self.sliders["crops"] == "alike":
            return Views([a] * count)
        large = min(LARGE, count)
        split = max(self.sliders["split"], a.scale[0])
        return multi_crop(Views([a] * large), self.small, count - large, (a.scale[0], split))


def _with_colors(augmentation: Augmentation) -> tuple[Augmentation, float]:
    """The augmentation with ranges that the strength slider can multiply, and where this slider starts."""
    if any(getattr(augmentation, c) for c in COLORS):
        return augmentation, 1.0
    family = replace(augmentation, **{c: getattr(simclr_views(1)[0], c) for c in COLORS})
    return family, 0.0 if augmentation.jitter else 1.0
