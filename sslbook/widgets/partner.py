"""Find the partner of a view among four: what SimCLR asks of an encoder, asked of the reader."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets
from torch import Tensor

from sslbook.views import Augmentation
from sslbook.widgets._pictures import as_bytes, as_fields, check_pictures
from sslbook.widgets._source import source

CHOICES = 4
STRENGTHS = (0, 1, 2)


class PartnerGame(anywidget.AnyWidget):
    """A view, and four others to choose from, of which one is of the same picture.

    The reader plays with colour changes of strength 0, 1 or 2, against a rival that takes the view whose mean colour is
    nearest.

    Args:
        images: (N, 3, H, W) uint8, N in 4..24; the four of a round are drawn from them.
        augmentation: where views come from. It must change colours, as the strength multiplies its ranges.
        labels: N names of the images, for screen readers.
        seed: of the rounds.
        strength: one of `STRENGTHS`.

    With a kernel `strength` and `round` can be read and set.

    Raises:
        ValueError: images or labels have another shape, type or number, or the augmentation changes no colour.
        TraitError: no such strength.
    """

    _esm = source("draws.js", "views.js", "page.js", "partner.js")
    _css = source("widgets.css", "partner.css")
    pixels = traitlets.Bytes().tag(sync=True)  # (N, 3, H, W) uint8
    shape = traitlets.List().tag(sync=True)  # [N, H, W]
    labels = traitlets.List().tag(sync=True)
    family = traitlets.Dict().tag(sync=True)  # the augmentation's fields
    seed = traitlets.Int(0).tag(sync=True)
    strength = traitlets.Enum(STRENGTHS, 1).tag(sync=True)
    round = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self, images: Tensor, augmentation: Augmentation, labels: Sequence[str] | None = None, seed: int = 0, **kwargs
    ):
        names = check_pictures(images, labels)
        if len(images) < CHOICES:
            raise ValueError(f"images must hold at least {CHOICES} pictures to choose from, got {len(images)}")
        if augmentation == augmentation.with_strength(0):
            raise ValueError("augmentation changes no colour, so its strength would mean nothing")
        super().__init__(
            pixels=as_bytes(images),
            shape=[len(images), *images.shape[2:]],
            labels=names,
            family=as_fields(augmentation),
            seed=seed,
            **kwargs,
        )
