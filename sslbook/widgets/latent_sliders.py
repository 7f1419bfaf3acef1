"""Move the latents of a VAE and see what its decoder paints; or go from one picture to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook.decoders import Decoder
from sslbook.widgets._decoder import packed_decoder
from sslbook.widgets._pictures import as_bytes, check_pictures
from sslbook.widgets._source import source

if TYPE_CHECKING:
    from sslbook.methods.vae import VAE

SLIDERS = 10
ACTIVE = 0.01  # Var(mu) from which a latent counts as active (Burda et al., 2016, section 5.2)


class LatentSliders(anywidget.AnyWidget):
    """A picture, the one that a VAE's decoder paints of its code, and a slider for each of the most active latents.

    The decoder runs in the page, in plain JavaScript, so the picture follows the slider. A code may also be drawn from
    the prior, or lie on the way from one picture's code to another's. The code of a picture is mu of q(z | x).

    Args:
        method: the network; its decoder's weights travel with the page, as float16.
        images: (N, 3, S, S) uint8, the pictures to choose from, N in 2..24; S is the decoder's size.
        labels: N names of the images, for captions and screen readers.
        names: for each latent what it moves, such as "hue .62", or "" if nothing is known.
        known: (M, 3, S, S) uint8, pictures by which latents are sorted: those come first whose mu varies most.
            `images` if None.

    With a kernel, these can be read and set: `image` and `other`, indices; `t` in [0, 1], how far the code has gone
    from one to the other; `code`, as many numbers as there are latents, or none for the code of the pictures.

    Raises:
        ValueError: an argument is of another kind, shape or number, or the decoder is too large.
    """

    _esm = source("page.js", "draws.js", "weights.js", "decoder.js", "latent_sliders.js")
    _css = source("widgets.css", "latent_sliders.css")
    pixels = traitlets.Bytes().tag(sync=True)  # (N, 3, S, S) uint8
    network = traitlets.Dict().tag(sync=True)  # what decoder.js must know
    weights = traitlets.Bytes().tag(sync=True)  # float16, one tensor after the other
    codes = traitlets.Bytes().tag(sync=True)  # (N, latents) float32: mu
    variances = traitlets.List().tag(sync=True)  # of mu, for each latent
    shown = traitlets.List().tag(sync=True)  # the latents that have a slider
    active = traitlets.Int().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    other = traitlets.Int(1).tag(sync=True)
    t = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    code = traitlets.List(traitlets.Float()).tag(sync=True)

    def __init__(
        self,
        method: VAE,
        images: Tensor,
        labels: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        known: Tensor | None = None,
        **kwargs,
    ):
        decoder = getattr(method, "decoder", None)
        if not isinstance(decoder, Decoder) or not hasattr(method, "encode"):
            raise ValueError(f"method must be a sslbook.methods.VAE, got {type(method).__name__}")
        shown_as = check_pictures(images, labels, decoder.size)
        if len(images) < 2:
            raise ValueError("images must be at least 2: a morph goes from one to another")
        if names is not None and len(names) != decoder.latents:
            raise ValueError(f"names must be one for each of the {decoder.latents} latents, got {len(names)}")
        weights, about = packed_decoder(decoder)
        codes = _codes(method, images)
        variances = (codes if known is None else _codes(method, known)).var(dim=0, correction=0)
        super().__init__(
            pixels=as_bytes(images),
            network=about,
            weights=weights,
            codes=codes.numpy().tobytes(),
            variances=[round(v, 4) for v in variances.tolist()],
            shown=variances.argsort(descending=True)[:SLIDERS].tolist(),
            active=int((variances > ACTIVE).sum()),
            labels=shown_as,
            names=[str(name) for name in names or ()],
            **kwargs,
        )

    @traitlets.validate("code")
    def _check_code(self, proposal):
        code, latents = proposal["value"], self.network["latents"]
        if len(code) not in (0, latents):
            raise traitlets.TraitError(f"code must be {latents} numbers, or none for that of the picture")
        return code


@torch.no_grad()
def _codes(method: VAE, images: Tensor) -> Tensor:
    """mu (N, latents) of pictures, as in evaluation."""
    training, device = method.training, next(method.parameters()).device
    method.eval()
    try:
        codes = [method.encode(some.to(device) / 255)[0].float().cpu() for some in images.split(512)]
    finally:
        method.train(training)
    return torch.cat(codes)
