"""Walk through the codes of a generator, from one drawn code to the next, and see what it paints on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anywidget
import traitlets

from sslbook.decoders import Decoder
from sslbook.widgets._decoder import packed_decoder
from sslbook.widgets._source import source

if TYPE_CHECKING:
    from sslbook.methods.gan import GAN

ANCHORS = 6
WAYS = ("arc", "line")


class GeneratorWalk(anywidget.AnyWidget):
    """Six codes from the prior in a ring, and a place on the way round: what a GAN's generator paints of it.

    The generator runs in the page, in plain JavaScript. The way from one code to the next is an arc, on which codes
    are as long as those that the generator knows (White, 2016), or a straight line, whose middle is nearer to 0.

    Args:
        method: the network; its generator's weights travel with the page, as float16.
        seed: of the six codes; the button for new ones takes the next.

    With a kernel, these can be read and set: `seed`; `place` in [0, 6], 2.5 is halfway from the third code to the
    fourth; `way`, "arc" or "line".

    Raises:
        ValueError: the method has no generator, or it is too large for a page.
        TraitError: a number outside its range, or no such way.
    """

    _esm = source("page.js", "draws.js", "weights.js", "decoder.js", "generator_walk.js")
    _css = source("widgets.css", "generator_walk.css")
    network = traitlets.Dict().tag(sync=True)  # what decoder.js must know
    weights = traitlets.Bytes().tag(sync=True)  # float16, one tensor after the other
    seed = traitlets.Int(0, min=0, max=9999).tag(sync=True)
    place = traitlets.Float(0.0, min=0.0, max=float(ANCHORS)).tag(sync=True)
    way = traitlets.Enum(WAYS, "arc").tag(sync=True)

    def __init__(self, method: GAN, seed: int = 0, **kwargs):
        generator = getattr(method, "generator", None)
        if not isinstance(generator, Decoder):
            raise ValueError(f"method must be a sslbook.methods.GAN, got {type(method).__name__}")
        weights, about = packed_decoder(generator)
        super().__init__(network=about, weights=weights, seed=seed, **kwargs)
