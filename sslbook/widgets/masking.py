"""See what a masked autoencoder makes of a picture, whichever patches are hidden."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook.export import Reconstruction, mae_to_onnx, mask_indices
from sslbook.methods.mae import MAE
from sslbook.widgets._pictures import as_bytes, check_pictures
from sslbook.widgets._source import source

MOST_BYTES = 8_000_000  # of weights that a page carries
STORED_RATIOS = (0.25, 0.5, 0.75, 0.9)


class MAEExplorer(anywidget.AnyWidget):
    """A picture, the same with patches hidden, and what the MAE predicts: the reader hides and shows patches.

    Args:
        mae: the network. Up to 8 MB of weights travel with the page, which then runs it by itself.
        images: (N, 3, S, S) uint8, the pictures to choose from, N in 1..24, S the size of the MAE's encoder.
        mask_ratio: the share of hidden patches at first, in (0, 1).
        labels: N names of the images, for captions and screen readers.
        seed: seeds the first mask, and those of the button "New mask".

    The page takes the first way that works: the book's site has onnxruntime-web, which runs the network there; a
    kernel runs `mae` and sends the picture; with neither, the slider chooses among masks whose pictures were stored
    (3 S^2 bytes for an image and mask). The network is put into the page only where `onnx` and `onnxscript` are
    installed, which Python needs to write it. With a kernel, `image` (an index) and `hidden` (bools, row by row) can
    be read and set.

    Raises:
        ValueError: the MAE, images, mask_ratio or labels are of another kind, shape or number.
    """

    _esm = source("draws.js", "views.js", "page.js", "runtime.js", "masking.js")
    _css = source("widgets.css")
    pixels = traitlets.Bytes().tag(sync=True)  # (N, 3, S, S) uint8
    shape = traitlets.List().tag(sync=True)  # [N, S, side of a patch]
    labels = traitlets.List().tag(sync=True)
    true_moments = traitlets.Bool().tag(sync=True)  # are each patch's mean and deviation put back?
    network = traitlets.Bytes().tag(sync=True)  # ONNX; empty where Python could not write it
    order = traitlets.List().tag(sync=True)  # the patches in the order in which they are hidden
    counts = traitlets.List().tag(sync=True)  # numbers of hidden patches that are stored, rising
    stored = traitlets.Bytes().tag(sync=True)  # (N, counts, 3, S, S) uint8, every patch as predicted
    seed = traitlets.Int(0).tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    hidden = traitlets.List().tag(sync=True)  # L bools

    def __init__(
        self,
        mae: MAE,
        images: Tensor,
        mask_ratio: float = 0.75,
        labels: Sequence[str] | None = None,
        seed: int = 0,
        **kwargs,
    ):
        if not isinstance(mae, MAE):
            raise ValueError(f"mae must be a sslbook.methods.MAE, got {type(mae).__name__}")
        size, patches = mae.encoder.size, mae.encoder.patches
        names = check_pictures(images, labels, size)
        if not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in (0, 1), got {mask_ratio}")
        self._reconstruction, self._images = Reconstruction(mae), images
        order = torch.randperm(patches, generator=torch.Generator().manual_seed(seed)).tolist()
        count = _hidden_patches(patches, mask_ratio)
        counts = sorted({count, *(_hidden_patches(patches, ratio) for ratio in STORED_RATIOS)})
        masks = [[place in order[:count] for place in range(patches)] for count in counts]
        stored = torch.stack([self._reconstruct(images, mask) for mask in masks], dim=1)
        super().__init__(
            pixels=as_bytes(images),
            shape=[len(images), size, mae.encoder.patch],
            labels=names,
            true_moments=mae.norm_pix_loss,
            network=_network(mae),
            order=order,
            counts=counts,
            stored=as_bytes((255 * stored).round().byte()),
            seed=seed,
            hidden=masks[counts.index(count)],
            **kwargs,
        )
        self.on_msg(self._answer)

    @traitlets.validate("hidden")
    def _check_hidden(self, proposal):
        hidden, patches = proposal["value"], len(self.order)
        if len(hidden) != patches or not all(isinstance(h, bool) for h in hidden):
            raise traitlets.TraitError(f"hidden must be {patches} bools, one for each patch, row by row")
        return hidden

    @torch.no_grad()
    def _reconstruct(self, images: Tensor, hidden: Sequence[bool]) -> Tensor:
        device = next(self._reconstruction.parameters()).device
        mask = (indices.to(device) for indices in mask_indices(torch.tensor(hidden)))
        return self._reconstruction(images.to(device) / 255, *mask).cpu()

    def _answer(self, _widget, asked: dict, _buffers) -> None:
        """A page without onnxruntime-web asks for an image and a mask, and gets every patch as float32."""
        i = asked["image"]
        picture = self._reconstruct(self._images[i : i + 1], asked["hidden"])
        self.send({"id": asked["id"]}, buffers=[picture.numpy().tobytes()])


def _hidden_patches(patches: int, ratio: float) -> int:
    """How many patches a MAE of this mask ratio hides."""
    return patches - int(patches * (1 - ratio))


def _network(mae: MAE) -> bytes:
    """The MAE for a page, or nothing where it is too large or cannot be written."""
    if sum(p.numel() * p.element_size() for p in mae.parameters()) > MOST_BYTES:
        return b""
    try:
        return mae_to_onnx(mae)
    except ImportError:
        return b""
