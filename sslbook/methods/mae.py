"""MAE: Masked Autoencoders Are Scalable Vision Learners (He et al., 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from sslbook.distributed import rand
from sslbook.losses import masked_error
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register
from sslbook.optim import ParameterGroup
from sslbook.views import crop_views
from sslbook.vit import ViT, fixed_positions, layer_norm, linear, patchify, token, transformer


class MAE(Method):
    """Hide most patches of an image and predict their pixels from the few that are left.

    The encoder sees the visible patches only (section 3). A small decoder gets their features, one
    learnt token for all that is hidden, and every position; only the encoder is kept afterwards.

    >>> method = MAE(vit_tiny(), decoder_dim=192, decoder_depth=4, decoder_heads=3)
    >>> pretrain(method, images, epochs=400, lr=6e-4, weight_decay=0.05, warmup_epochs=40)

    Args:
        encoder: a `ViT`, which also says how pixels are standardised.
        mask_ratio: the share of hidden patches, in (0, 1).
        norm_pix_loss: predict each patch standardised by its own mean and variance: better features
            (table 1d). The official `_full` weights do; the `visualize` ones predict plain pixels.
        decoder_dim, decoder_depth, decoder_heads: the paper's 512 x 8 x 16 serves every encoder.
    """

    views, takes = staticmethod(crop_views), 1  # more does not help (table 1e)

    def __init__(
        self,
        encoder: ViT,
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = False,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ):
        if not isinstance(encoder, ViT):
            raise ValueError(f"MAE needs a ViT, got a {type(encoder).__name__}: it drops patches")
        super().__init__(encoder)
        self.keep, self.norm_pix_loss = int(encoder.patches * (1 - mask_ratio)), norm_pix_loss
        if not 0 < self.keep < encoder.patches:
            raise ValueError(f"mask_ratio must lie in (0, 1) and keep a patch, got {mask_ratio}")
        self.decoder_embed = linear(encoder.features_dim, decoder_dim)
        self.mask_token = token(decoder_dim)
        self.decoder_pos_embed = fixed_positions(decoder_dim, encoder.size // encoder.patch)
        self.decoder_blocks = transformer(decoder_dim, decoder_depth, decoder_heads)
        self.decoder_norm = layer_norm(decoder_dim)
        self.decoder_pred = linear(decoder_dim, 3 * encoder.patch**2)

    def patchify(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) to (n, L, 3 p^2): patches row by row; so are their pixels, colours last."""
        return patchify(images, self.encoder.patch)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """The way back: (n, L, 3 p^2) to (n, 3, H, W)."""
        p, grid = self.encoder.patch, self.encoder.size // self.encoder.patch
        x = patches.unflatten(2, (p, p, 3)).unflatten(1, (grid, grid))  # n, rows, columns, p, p, 3
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def tokens(self, images: Tensor) -> Tensor:
        """The encoder's, of images of its own size only: the decoder's positions belong to it."""
        size = self.encoder.size
        if images.shape[1:] != (3, size, size):
            raise ValueError(f"images must be (n, 3, {size}, {size}), got {tuple(images.shape)}")
        return self.encoder.tokens(images)

    def random_masking(self, tokens: Tensor, noise: Tensor | None = None):
        """Keep the patches of lowest noise in each image (section 3, "Masking").

        From tokens (n, L, dim) and noise (n, L), drawn by default, to what `masked` returns.
        """
        if noise is None:
            noise = rand(tokens.shape[:2])
        if noise.shape != tokens.shape[:2]:
            raise ValueError(f"noise must be {tuple(tokens.shape[:2])}, got {tuple(noise.shape)}")
        ids_shuffle = noise.to(tokens.device, non_blocking=True).argsort(dim=1, stable=True)
        return self.masked(tokens, ids_shuffle, self.keep)

    def masked(self, tokens: Tensor, ids_shuffle: Tensor, keep: int):
        """Hide all but the first `keep` patches of an order (n, L).

        Returns the visible tokens (n, keep, dim), `mask` (n, L), True = hidden, and `ids_restore`
        (n, L), the place of each patch in the order.
        """
        ids_restore = ids_shuffle.argsort(dim=1)  # the way back
        visible = tokens.take_along_dim(ids_shuffle[:, :keep, None], dim=1)  # (n, keep, dim)
        mask = ids_restore >= keep  # (n, L)
        return visible, mask, ids_restore

    def encode(self, images: Tensor, noise: Tensor | None = None):
        """Features of CLS and visible patches (n, 1 + keep, dim), with `mask` and `ids_restore`."""
        visible, mask, ids_restore = self.random_masking(self.tokens(images), noise)
        return self.encoder.encode(visible), mask, ids_restore

    def encode_visible(self, images: Tensor, hidden: Tensor):
        """`encode` where bool (n, L) says which patches are hidden, as many in each image."""
        tokens = self.tokens(images)
        fits = hidden.dtype == torch.bool and hidden.shape == tokens.shape[:2]
        if not fits or len(hidden.sum(dim=1).unique()) != 1:
            raise ValueError(
                f"hidden must be bool (n, {tokens.shape[1]}) and hide as many patches in each image"
            )
        order = hidden.to(tokens.device, torch.uint8).argsort(dim=1, stable=True)
        keep = hidden.shape[1] - int(hidden[0].sum())
        visible, mask, ids_restore = self.masked(tokens, order, keep)
        return self.encoder.encode(visible), mask, ids_restore

    def decode(self, latent: Tensor, ids_restore: Tensor) -> Tensor:
        """A prediction for every patch, (n, L, 3 p^2), from (n, 1 + keep, dim)."""
        cls, visible = self.decoder_embed(latent).tensor_split([1], dim=1)
        hidden = self.mask_token.expand(len(latent), ids_restore.shape[1] - visible.shape[1], -1)
        x = torch.cat([visible, hidden], dim=1).take_along_dim(ids_restore[:, :, None], dim=1)
        x = self.decoder_blocks(torch.cat([cls, x], dim=1) + self.decoder_pos_embed)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def target(self, images: Tensor):
        """What to predict (n, L, 3 p^2), and the mean and deviation taken out of each patch."""
        pixels = self.patchify(self.encoder.standardise(images))
        mean, std = 0, 1
        if self.norm_pix_loss:
            var, mean = torch.var_mean(pixels, dim=2, keepdim=True)  # unbiased, as officially
            std = (var + 1e-6).sqrt()
        return (pixels - mean) / std, mean, std

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, the prediction (n, L, 3 p^2) and the mask (n, L), True = hidden."""
        latent, mask, ids_restore = self.encode(images, noise)
        pred = self.decode(latent, ids_restore)
        return masked_error(pred, self.target(images)[0], mask), pred, mask

    def loss(self, views: list[Tensor]) -> Tensor:
        [images] = self.take(views)
        return self(images)[0]

    @torch.no_grad()
    def reconstruct(self, images: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images with their hidden patches as predicted, in [0, 1], and `hidden`: bool (n, L).

        `hidden` is drawn by default, or says which patches: any number, the same in each image.
        With `norm_pix_loss` a patch's mean and deviation, which nobody predicts, are the true ones.
        """
        if hidden is None:
            latent, hidden, ids_restore = self.encode(images)
        else:
            latent, hidden, ids_restore = self.encode_visible(images, hidden)
        _, mean, std = self.target(images)
        pred = self.unpatchify(self.decode(latent, ids_restore) * std + mean)
        pred = self.encoder.unstandardise(pred).clamp(0, 1)
        pixels = torch.where(hidden[:, :, None], self.patchify(pred), self.patchify(images))
        return self.unpatchify(pixels), hidden

    @torch.no_grad()
    def errors(self, images: Tensor, hidden: Tensor | None = None) -> tuple[float, float]:
        """Mean squared error of hidden pixels in [0, 1], and that of each image's mean colour."""
        pictures, hidden = self.reconstruct(images, hidden)
        flat = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
        guesses = (self.patchify(guess) for guess in (pictures, flat))
        return tuple(masked_error(x, self.patchify(images), hidden).item() for x in guesses)

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """As always, with betas for AdamW: the second is .95 (table 8)."""
        return [dict(g, betas=(0.9, 0.95)) for g in super().parameter_groups(weight_decay)]


SMALL_DECODER = dict(decoder_dim=48, decoder_depth=2, decoder_heads=2)

register(
    MAE,
    family="Masked images",
    published="2021-11",
    paper="he2022mae",
    encoder="vit",
    tiny=dict(mask_ratio=0.75, decoder_dim=16, decoder_depth=1, decoder_heads=2),
    recipes={
        "cpu": Recipe(
            # a short training wants many small steps, and an easier task than the paper's .75
            SMALL_DECODER | dict(mask_ratio=0.6),
            adamw(3e-3, 0.05, batch_size=32, views=crop_views(32, 0.5)),
            length=0.45,
            source="experiments/mae_recipe.py",
            expected={"kNN": 0.237, "linear": 0.588},
            cost="122 s of training on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            SMALL_DECODER | dict(norm_pix_loss=True),
            adamw(3e-3, 0.05, batch_size=64, views=crop_views(32, 0.2)),
            length=0.6,
            source="tuned by hand in a few runs",
            expected={"kNN": 0.433, "linear": 0.529},
            cost="11.0 CPU-minutes on an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(norm_pix_loss=True, decoder_dim=192, decoder_depth=4, decoder_heads=3),
            adamw(1e-3, 0.05, views=crop_views(32, 0.2), warmup_epochs=2),
            source="the paper's rate, 1.5e-4 x batch / 256 (table 8), is for a batch of 4,096",
            expected={"kNN": 0.361, "linear": 0.485},
            cost="5 s an epoch on an H200",
        ),
    },
)
