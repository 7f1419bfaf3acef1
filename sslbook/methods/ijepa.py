"""I-JEPA: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture
(Assran et al., 2023)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.blocks import MultiBlock
from sslbook.distributed import all_reduce_mean
from sslbook.ema import linear_tau, update_ema
from sslbook.losses import at, full_precision, latent_loss
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register
from sslbook.optim import ParameterGroup
from sslbook.views import crop_views
from sslbook.vit import ViT, fixed_positions, layer_norm, linear, patchify, token, transformer

NORMS = ("layer", "position")
SMALL_PREDICTOR = dict(dim=48, depth=1, heads=2)
# 36 of 64 patches, nearly six tenths, are asked for, scattered, from all others
SCATTERED = dict(
    scattered=True, blocks=1, smallest=0.6, largest=0.6, flattest=1.0, tallest=1.0, least=1.0
)


class Predictor(nn.Module):
    """g: from the context's features and the positions of hidden patches to what is there.

    A narrow ViT (section 3, "Prediction"). It is told where to look by a mask token with a
    position, one for each patch of a target block, and works on one block at a time.
    """

    def __init__(self, features_dim: int, dim: int, depth: int, heads: int, grid: int):
        super().__init__()
        self.embed = linear(features_dim, dim)
        self.mask_token = token(dim)
        self.pos_embed = fixed_positions(dim, grid)
        self.blocks = transformer(dim, depth, heads)
        self.norm = layer_norm(dim)
        self.proj = linear(dim, features_dim)

    def hidden(self, s: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """(n, M, T, dim) from features s (n, k, D) and the places (n, k) and (n, M, T)."""
        M = targets.shape[1]
        positions = self.pos_embed[0, 1:]
        seen = (self.embed(s) + positions[context]).repeat_interleave(M, dim=0)  # (n M, k, dim)
        asked = (self.mask_token + positions[targets]).flatten(0, 1)  # (n M, T, dim)
        x = self.blocks(torch.cat([seen, asked], dim=1))[:, seen.shape[1] :]
        return self.norm(x).unflatten(0, (-1, M))

    def forward(self, s: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """The prediction (n, M, T, D)."""
        return self.proj(self.hidden(s, context, targets))


class IJEPA(Method):
    """From a part of an image, predict what one's own average says of other parts (section 3).

    The context encoder sees a large block without the target blocks; a predictor says for each
    target block what the target encoder, which sees the whole image, has there. Nothing is drawn.

    What is kept is the target encoder: the one you give. The context encoder is a copy of it.

    >>> method = IJEPA(vit_base(pool="mean"))
    >>> pretrain(method, images, epochs=300, lr=1e-3, weight_decay=0.05, warmup_epochs=15)

    Args:
        encoder: f of the targets, a `ViT`; its `pool` should be "mean", as nothing trains CLS.
        blocks, smallest, largest, flattest, tallest, least, most, scattered: see `MultiBlock`.
        dim, depth, heads: of the predictor.
        tau: momentum of the target encoder in [0, 1] at the start; it rises in a line to 1.
        schedule: whether it rises.
        norm: of the targets. "layer" is the paper's code; "position" also takes away what the
            images share at a place, and scales each feature.
        latents, pixels: weights of the loss on features, and of one on the patches' pixels.
    """

    views, takes = staticmethod(crop_views), 1

    def __init__(
        self,
        encoder: ViT,
        blocks: int = 4,
        smallest: float = 0.15,
        largest: float = 0.2,
        flattest: float = 0.75,
        tallest: float = 1.5,
        least: float = 0.85,
        most: float = 1.0,
        scattered: bool = False,
        dim: int = 384,
        depth: int = 12,
        heads: int = 12,
        tau: float = 0.996,
        schedule: bool = True,
        norm: str = "layer",
        latents: float = 1.0,
        pixels: float = 0.0,
    ):
        if not isinstance(encoder, ViT):
            raise ValueError(f"IJEPA needs a ViT, got a {type(encoder).__name__}")
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {norm!r}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must lie in [0, 1], got {tau}")
        if not (latents >= 0 and pixels >= 0 and latents + pixels > 0):
            got = f"latents={latents}, pixels={pixels}"
            raise ValueError(f"weights must not be negative, nor both 0; got {got}")
        super().__init__(encoder)
        grid, D = encoder.size // encoder.patch, encoder.features_dim
        scales = dict(smallest=smallest, largest=largest, flattest=flattest, tallest=tallest)
        scales |= dict(least=least, most=most)
        self.masks = MultiBlock(grid, blocks, scattered=scattered, **scales)
        self.student = copy.deepcopy(encoder)
        encoder.requires_grad_(False).follows = True  # until another method takes it
        self.predictor = Predictor(D, dim, depth, heads, grid)
        self.to_pixels = linear(dim, 3 * encoder.patch**2) if pixels else None
        self.tau, self.schedule, self.norm = tau, schedule, norm
        self.latents, self.pixels = latents, pixels

    @torch.no_grad()
    def targets(self, images: Tensor) -> Tensor:
        """What the target encoder says of every patch (n, L, D), normalised."""
        return normalised(self.encoder.patch_features(images), self.norm)

    def context_features(self, images: Tensor, context: Tensor) -> Tensor:
        """s (n, k, D): what the context encoder makes of these patches (n, k) alone."""
        tokens = self.student.tokens(images).take_along_dim(context[:, :, None], dim=1)
        return self.student.encode(tokens)[:, 1:]

    @torch.no_grad()
    def predict(self, images: Tensor, context: Tensor, places: Tensor) -> Tensor:
        """The prediction (n, M, T, D) for places (n, M, T) from the patches `context` (n, k)."""
        return self.predictor(self.context_features(images, context), context, places)

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        [images] = self.take(views)
        masks = self.masks.draw(len(images))
        context, places = (x.to(images.device, non_blocking=True) for x in masks)
        h = self.targets(images)
        z = self.predictor.hidden(self.context_features(images, context), context, places)
        terms = latent_loss(self.predictor.proj(z), h, places)
        if self.pixels:
            pixels = patchify(self.encoder.standardise(images), self.encoder.patch)
            error = F.mse_loss(self.to_pixels(z), at(pixels, places))
            terms["loss"] = self.latents * terms["loss"] + self.pixels * error
            terms["pixels"] = error.detach()
        return terms

    def after_step(self, progress: float) -> None:
        tau = linear_tau(progress, self.tau) if self.schedule else self.tau
        update_ema(self.encoder, self.student, tau)

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """As always, with MAE's betas for AdamW; the official code has PyTorch's."""
        return [dict(g, betas=(0.9, 0.95)) for g in super().parameter_groups(weight_decay)]


@full_precision
def normalised(h: Tensor, norm: str) -> Tensor:
    """Features (n, L, D) as targets, by a key of `NORMS`; statistics are the joined batch's."""
    h = F.layer_norm(h, h.shape[-1:])
    if norm == "layer":
        return h
    h = h - all_reduce_mean(h.mean(dim=0))  # what all images have at a place
    return h / (all_reduce_mean(h.square().mean(dim=(0, 1))) + 1e-6).sqrt()


register(
    IJEPA,
    label="I-JEPA",
    family="Masked images",
    published="2023-01",
    paper="assran2023ijepa",
    encoder="vit",
    tiny=dict(blocks=2, dim=16, depth=1, heads=2, tau=0.9, pixels=0.5),
    recipes={
        "cpu": Recipe(
            # single patches in place of blocks, and pixels: without either it learns less
            SMALL_PREDICTOR | SCATTERED | dict(pixels=1.0),
            adamw(3e-3, 0.05, batch_size=32, views=crop_views(32, 0.5)),
            length=0.45,
            source="some 15 runs on other pictures; experiments/ijepa_recipe.py has its neighbours",
            expected={"kNN": 0.219, "linear": 0.542},
            cost="3.5 CPU-minutes, its probes included, on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            SMALL_PREDICTOR | SCATTERED | dict(pixels=1.0),
            adamw(3e-3, 0.05, batch_size=64, views=crop_views(32, 0.2)),
            length=0.6,
            source="as for the shapes, with a larger batch and wider crops; not tuned",
            expected={"kNN": 0.417, "linear": 0.492},
            cost="15 CPU-minutes with probes and questions, on one thread of an AMD EPYC",
        ),
        "gpu": Recipe(
            # blocks without pixels learnt little: results/studies/ijepa-h200.json
            SCATTERED | dict(pixels=1.0, dim=96, depth=3, heads=3),
            adamw(1e-3, 0.05, views=crop_views(32, 0.2), warmup_epochs=2),
            source="as on the CPU, with the paper's rate for a batch of 2,048 (appendix A.1)",
        ),
    },
)
