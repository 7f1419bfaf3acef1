"""Choose what an I-JEPA sees of a picture and what it is asked, and see the predicted features beside the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook.methods.ijepa import IJEPA
from sslbook.widgets._network import packed
from sslbook.widgets._pictures import as_bytes, check_pictures
from sslbook.widgets._source import source

NEITHER, CONTEXT, TARGET = range(3)
MOST_BYTES = 4_000_000  # of weights that a page carries
DRAWN = 12  # masks behind the button


class LatentExplorer(anywidget.AnyWidget):
    """A picture, the true features of its patches in colours, and those that an I-JEPA predicts from what it sees.

    The reader paints which patches are context, which are targets, and which neither. The network, context encoder
    and predictor, runs in the page, in plain JavaScript. The colours are the three directions in which the true
    features vary most; beside them, each target is filled with the patch of another picture whose true feature is
    nearest to the predicted one.

    Args:
        method: the network; its weights travel with the page, as float16.
        images: (N, 3, S, S) uint8, the pictures to choose from, N in 2..24. R² is against the mean of their features
            at each place, and nearest patches are searched in them.
        labels: N names of the images, for captions and screen readers.
        seed: of the masks that the button draws, as in training.

    With a kernel, `image` (an index) and `cells` (for each patch, row by row, 0 neither, 1 context, 2 target) can be
    read and set.

    Raises:
        ValueError: method, images or labels are of another kind, shape or number, or the network is too large.
    """

    _esm = source("page.js", "weights.js", "transformer.js", "latents.js")
    _css = source("widgets.css", "latents.css")
    pixels = traitlets.Bytes().tag(sync=True)  # (N, 3, S, S) uint8
    network = traitlets.Dict().tag(sync=True)  # sizes, see `_sizes`, and the names of the weights
    weights = traitlets.Bytes().tag(sync=True)  # float16, one tensor after the other
    latents = traitlets.Bytes().tag(sync=True)  # (N, L, D) float16: the true features
    colours = traitlets.Bytes().tag(sync=True)  # (4, D) float32: the mean, and three directions
    labels = traitlets.List().tag(sync=True)
    drawn = traitlets.List().tag(sync=True)  # cells of some masks of the training
    image = traitlets.Int(0).tag(sync=True)
    cells = traitlets.List().tag(sync=True)

    def __init__(self, method: IJEPA, images: Tensor, labels: Sequence[str] | None = None, seed: int = 0, **kwargs):
        if not isinstance(method, IJEPA):
            raise ValueError(f"method must be a sslbook.methods.IJEPA, got {type(method).__name__}")
        names = check_pictures(images, labels, method.encoder.size)
        if len(images) < 2:
            raise ValueError("images must be at least 2: features are compared with the mean over them")
        device = next(method.parameters()).device
        latents = method.targets(images.to(device) / 255).float().cpu()
        weights, parts = packed(_weights(method))
        if len(weights) > MOST_BYTES:
            raise ValueError(f"a page carries at most {MOST_BYTES:,} bytes of weights, got {len(weights):,}")
        drawn = _masks(method, seed)
        super().__init__(
            pixels=as_bytes(images),
            network=_sizes(method) | dict(parts=parts),
            weights=weights,
            latents=latents.half().numpy().tobytes(),
            colours=_colours(latents).numpy().tobytes(),
            labels=names,
            drawn=drawn,
            cells=kwargs.pop("cells", drawn[0]),
            **kwargs,
        )

    @traitlets.validate("cells")
    def _check_cells(self, proposal):
        cells, patches = proposal["value"], self.network["grid"] ** 2
        if len(cells) != patches or not set(cells) <= {NEITHER, CONTEXT, TARGET}:
            raise traitlets.TraitError(f"cells must be {patches} of 0 neither, 1 context, 2 target, row by row")
        return cells


def _sizes(method: IJEPA) -> dict[str, object]:
    """What latents.js must know beside the weights."""
    encoder, predictor = method.student, method.predictor
    mean, std = encoder.mean or (0.0,) * 3, encoder.std or (1.0,) * 3
    return dict(
        size=encoder.size,
        patch=encoder.patch,
        grid=encoder.size // encoder.patch,
        dim=encoder.features_dim,
        depth=len(encoder.blocks),
        heads=encoder.blocks[0].attn.heads,
        mean=list(mean),
        std=list(std),
        predictor_dim=predictor.embed.out_features,
        predictor_depth=len(predictor.blocks),
        predictor_heads=predictor.blocks[0].attn.heads,
    )


def _weights(method: IJEPA) -> dict[str, Tensor]:
    """All that the forward pass needs, by name. CLS has its position in it, and no other part knows of it."""
    state = {f"encoder.{name}": value for name, value in method.student.state_dict().items()}
    state |= {f"predictor.{name}": value for name, value in method.predictor.state_dict().items()}
    state["encoder.cls_token"] = state["encoder.cls_token"] + state["encoder.pos_embed"][:, :1]
    for name in ("encoder.pos_embed", "predictor.pos_embed"):
        state[name] = state[name][:, 1:]
    return state


def _colours(latents: Tensor) -> Tensor:
    """(4, D): the mean, and the three directions of most variance, so long that 5 deviations are from 0 to 1."""
    flat = latents.flatten(0, 1)
    mean = flat.mean(dim=0)
    _, deviations, axes = torch.linalg.svd(flat - mean, full_matrices=False)
    deviations = (deviations[:3] / len(flat) ** 0.5).clamp(min=1e-6)
    return torch.cat([mean[None], axes[:3] / (5 * deviations[:, None])]).float()


def _masks(method: IJEPA, seed: int) -> list[list[int]]:
    """Masks as the training draws them: cells of each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        context, targets = method.masks.draw(DRAWN)
    cells = torch.full((DRAWN, method.masks.grid**2), NEITHER)
    cells.scatter_(1, context, CONTEXT)
    return cells.scatter_(1, targets.flatten(1), TARGET).tolist()
