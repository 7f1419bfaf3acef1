"""See what codes look like and what they say, hide patches, and read what BEiT guesses in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook import evaluate
from sslbook.images import ImageSet
from sslbook.masks import DRAWS, blockwise_masks, scattered_masks
from sslbook.methods import BEiT
from sslbook.tokenisers import mean_patches
from sslbook.widgets._network import packed
from sslbook.widgets._pictures import as_bytes, check_pictures
from sslbook.widgets._source import source

MOST_CODES = 256
MOST_BYTES = 2_000_000  # of weights that a page carries


class CodebookWall(anywidget.AnyWidget):
    """Codebooks side by side: a code's look and what it says; a picture in codes; what is guessed under a mask.

    What a code looks like is the mean of the patches that have it. What it says of a factor are bits
    (`evaluate.information`), of which a few come by chance.

    Args:
        tokenisers: {name: a function from pictures (n, 3, S, S) in [0, 1] to codes (n, L) int64}, at most 256 codes.
        images: (N, 3, S, S) uint8, N in 1..24: the pictures to choose from.
        known: an `ImageSet` of pictures of this size, by which looks, shares and bits are measured.
        method: a trained BEiT with the first tokeniser. Up to 2 MB of weights, as float16, travel with the page, which
            then guesses under every mask; of a larger one only the guesses for the masks "blocks" and "scattered" do.
        labels: a name for each picture.
        seed: of the masks.

    With a kernel, `tokeniser`, `image`, `code` (indices) and `hidden` (L bools) can be read and set.

    Raises:
        ValueError: what is given does not fit together.
    """

    _esm = source("page.js", "weights.js", "transformer.js", "codebook.js")
    _css = source("widgets.css", "codebook.css")
    pixels = traitlets.Bytes().tag(sync=True)  # (N, 3, S, S) uint8
    shape = traitlets.List().tag(sync=True)  # [N, S, side of a patch]
    labels = traitlets.List().tag(sync=True)
    factors = traitlets.List().tag(sync=True)
    books = traitlets.List().tag(sync=True)  # for each {name, k, shares: k, bits: factors x k, of_patch: factors}
    palettes = traitlets.Bytes().tag(sync=True)  # one book after the other, each (k, 3, side, side) uint8
    codes = traitlets.Bytes().tag(sync=True)  # (books, N, L) uint8
    masks = traitlets.List().tag(sync=True)  # for each {name, hidden: L bools}
    guesses = traitlets.Bytes().tag(sync=True)  # (masks, N, L) uint8, of the first book; none without a method
    network = traitlets.Dict().tag(sync=True)  # sizes, see `_network`; empty where no network travels
    weights = traitlets.Bytes().tag(sync=True)  # float16, one tensor after the other
    tokeniser = traitlets.Int(0).tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    code = traitlets.Int(0).tag(sync=True)
    hidden = traitlets.List().tag(sync=True)

    def __init__(
        self,
        tokenisers: Mapping[str, Callable[[Tensor], Tensor]],
        images: Tensor,
        known: ImageSet,
        method: BEiT | None = None,
        labels: Sequence[str] | None = None,
        seed: int = 0,
        **kwargs,
    ):
        if not tokenisers:
            raise ValueError("tokenisers must hold at least one, {name: function to codes}")
        names = check_pictures(images, labels, known.size[0])
        codes = {name: _checked(name, tokeniser, images) for name, tokeniser in tokenisers.items()}
        side = round(images.shape[-1] / next(iter(codes.values())).shape[1] ** 0.5)
        parts = {name: part for name, (part, _) in evaluate.in_parts(known).items()}
        books, palettes = zip(*(_book(name, tokeniser, known, parts) for name, tokeniser in tokenisers.items()))
        masks = _masks(images.shape[-1] // side, seed)
        network, weights = ({}, b"") if method is None else _network(method)
        super().__init__(
            pixels=as_bytes(images),
            shape=[len(images), images.shape[-1], side],
            labels=names,
            factors=list(parts),
            books=list(books),
            palettes=b"".join(palettes),
            codes=torch.stack(list(codes.values())).to(torch.uint8).numpy().tobytes(),
            masks=[{"name": name, "hidden": mask.tolist()} for name, mask in masks.items()],
            guesses=b"" if method is None else _guesses(method, images, masks),
            network=network,
            weights=weights,
            code=kwargs.pop("code", int(codes[books[0]["name"]][0, 0])),
            hidden=kwargs.pop("hidden", next(iter(masks.values())).tolist()),
            **kwargs,
        )

    @traitlets.validate("hidden")
    def _check_hidden(self, proposal):
        hidden, patches = proposal["value"], (self.shape[1] // self.shape[2]) ** 2
        if len(hidden) != patches or not all(isinstance(h, bool) for h in hidden):
            raise traitlets.TraitError(f"hidden must be {patches} bools, one for each patch, row by row")
        return hidden


def _checked(name: str, tokeniser: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The codes of the pictures, on the CPU."""
    codes = tokeniser(images / 255).cpu()
    if codes.ndim != 2 or codes.dtype != torch.int64 or round(codes.shape[1] ** 0.5) ** 2 != codes.shape[1]:
        raise ValueError(f"{name!r} must give codes (n, L) int64 of a square grid, got {tuple(codes.shape)}")
    if codes.min() < 0 or codes.max() >= MOST_CODES:
        raise ValueError(f"{name!r}: a page has codes 0 to {MOST_CODES - 1}, got {int(codes.min())} to {codes.max()}")
    return codes


def _book(name: str, tokeniser: Callable, known: ImageSet, parts: Mapping[str, Tensor]) -> tuple[dict, bytes]:
    """What a page knows of a tokeniser, and its palette."""
    pictures = known.images / 255
    codes = torch.cat([tokeniser(some) for some in pictures.split(512)])
    k = int(getattr(tokeniser, "k", codes.max() + 1))
    side = round(pictures.shape[-1] / codes.shape[1] ** 0.5)
    shares = codes.flatten().bincount(minlength=k) / codes.numel()
    bits = []
    for part in parts.values():
        said = torch.zeros(k)
        found = evaluate.information(codes, part)
        said[: len(found)] = found
        bits.append(said)
    palette = mean_patches(pictures, codes, k).view(k, 3, side, side)
    about = dict(name=str(name), k=k, shares=_short(shares), bits=[_short(said) for said in bits])
    about["of_patch"] = [float((shares.cpu() * said).sum()) for said in bits]
    return about, as_bytes((255 * palette).round().byte())


def _short(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def _masks(grid: int, seed: int) -> dict[str, Tensor]:
    """Two masks that hide as many patches, (L,) bool: in blocks, and all over the picture."""
    generator = torch.Generator().manual_seed(seed)
    blocks = blockwise_masks(torch.rand(1, DRAWS, 4, generator=generator), grid, grid**2 // 2, min(4, grid**2 // 2))
    scattered = scattered_masks(torch.rand(1, grid**2, generator=generator), int(blocks.sum()))
    return {"blocks": blocks[0], "scattered": scattered[0]}


@torch.no_grad()
def _guesses(method: BEiT, images: Tensor, masks: Mapping[str, Tensor]) -> bytes:
    """The likeliest code of each patch, for each mask."""
    device = method.mask_token.device
    guesses = []
    for mask in masks.values():
        logits, _ = method((images / 255).to(device), mask.expand(len(images), -1))
        guesses.append(logits.argmax(dim=2))
    return torch.stack(guesses).cpu().to(torch.uint8).numpy().tobytes()


def _network(method: BEiT) -> tuple[dict, bytes]:
    """What codebook.js needs to run it, and its weights; both empty if they are too large for a page."""
    encoder = method.encoder
    state = {name: value for name, value in method.state_dict().items() if not name.startswith("tokeniser.")}
    weights, parts = packed(state)
    if len(weights) > MOST_BYTES:
        return {}, b""
    about = dict(
        dim=encoder.features_dim,
        depth=len(encoder.blocks),
        heads=encoder.blocks[0].attn.heads,
        k=method.head.out_features,
        mean=list(encoder.mean or (0.0,) * 3),
        std=list(encoder.std or (1.0,) * 3),
        parts=parts,
    )
    return about, weights
