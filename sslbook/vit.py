"""The Vision Transformer (Dosovitskiy et al., 2021) as in MAE (He et al., 2022, appendix A.1).

Parameters are named as in the official checkpoints: cls_token, pos_embed, patch_embed.proj, norm,
and blocks.i with norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2; so are timm's and DINO's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class ViT(nn.Module):
    """Cut an image into patches, and let every patch look at every other one in each block.

    It takes images (n, 3, size, size) in [0, 1] to features (n, dim). Positions are fixed; for
    images of another size, as multi-crop has them, they are interpolated.

    >>> encoder = ViT(size=32, patch=4, dim=192, depth=12, heads=3)
    >>> encoder = vit_base(**IMAGENET)  # ready for official weights

    Args:
        size: side of the images in pixels; a multiple of `patch`, the side of a patch.
        dim, depth, heads: width, number of blocks, attention heads in each.
        pool: the features are the CLS token's output ("cls": MAE's linear probe, DINO, MoCo v3) or
            the mean of the patches' outputs ("mean": I-JEPA; MAE's fine-tuning, which moves the
            last norm behind the mean). An attribute: it can be changed at any time.
        mean, std: of each colour, to standardise images with. Official weights want `**IMAGENET`;
            by default images stay as they are. Plain numbers, no entries of the state dict.

    Raises:
        ValueError: sizes that do not divide, an unknown `pool`, only one of `mean` and `std`.
    """

    def __init__(
        self,
        size: int = 32,
        patch: int = 4,
        dim: int = 192,
        depth: int = 12,
        heads: int = 3,
        pool: str = "cls",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        if patch < 1 or size < patch or size % patch:
            raise ValueError(f"size must be a multiple of patch, got size={size} and patch={patch}")
        if pool not in ("cls", "mean"):
            raise ValueError(f"pool must be 'cls' or 'mean', got {pool!r}")
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got mean={mean} and std={std}")
        super().__init__()
        self.size, self.patch, self.pool, self.mean, self.std = size, patch, pool, mean, std
        self.features_dim = dim
        self.patch_embed = PatchEmbed(patch, dim)
        self.cls_token = token(dim)
        self.pos_embed = fixed_positions(dim, size // patch)
        self.blocks = transformer(dim, depth, heads)
        self.norm = layer_norm(dim)

    def requires_grad_(self, requires_grad: bool = True) -> ViT:
        """As of any module, but for the positions: they stay fixed."""
        super().requires_grad_(requires_grad)
        self.pos_embed.requires_grad_(False)
        return self

    @property
    def patches(self) -> int:
        """L, the number of patches of an image."""
        return (self.size // self.patch) ** 2

    def standardise(self, images: Tensor) -> Tensor:
        """From [0, 1] to what the network sees: (x - mean) / std for each colour."""
        if self.mean is None:
            return images
        return (images - _colours(images, self.mean)) / _colours(images, self.std)

    def unstandardise(self, images: Tensor) -> Tensor:
        """The way back."""
        if self.mean is None:
            return images
        return images * _colours(images, self.std) + _colours(images, self.mean)

    def tokens(self, images: Tensor) -> Tensor:
        """Patches with their positions, row by row: (n, 3, size, size) to (n, L, dim).

        Images of another side, a multiple of `patch`, have another L: positions are interpolated.
        """
        if not images.is_floating_point():
            raise ValueError(f"images are floats in [0, 1], got {images.dtype}: divide by 255")
        side = images.shape[-1]
        if images.shape[1:] != (3, side, side) or not side or side % self.patch:
            raise ValueError(
                f"images must be (n, 3, {self.size}, {self.size}), or of another side that is a "
                f"multiple of the patch, {self.patch}; got {tuple(images.shape)}"
            )
        positions = resize_positions(self.pos_embed, side // self.patch)
        return self.patch_embed(self.standardise(images)) + positions[:, 1:]

    def encode(self, tokens: Tensor) -> Tensor:
        """All blocks, on any subset of patches: (n, k, dim) to (n, 1 + k, dim), CLS first."""
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return self.norm(self.blocks(torch.cat([cls, tokens], dim=1)))

    def patch_features(self, images: Tensor) -> Tensor:
        """The last norm's output for every patch, row by row: (n, L, dim)."""
        return self.encode(self.tokens(images))[:, 1:]

    def attention(self, images: Tensor) -> Tensor:
        """How CLS shares out its attention in the last block: (n, heads, rows, columns).

        The patches of an image get what CLS does not keep for itself: their sum is below 1.
        """
        tokens = self.tokens(images)
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        x = self.blocks[:-1](torch.cat([cls, tokens], dim=1))
        last = self.blocks[-1]
        weights = last.attn.weights(last.norm1(x))[:, :, 0, 1:]
        return weights.unflatten(2, (images.shape[2] // self.patch, -1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.encode(self.tokens(images))
        return x[:, 0] if self.pool == "cls" else x[:, 1:].mean(dim=1)


def vit_micro(size: int = 32, patch: int = 4, **options) -> ViT:
    """For two CPU cores: 96 features, 3 blocks, 0.35 M parameters; images to about [-2, 2]."""
    defaults = dict(dim=96, depth=3, heads=3, pool="mean", mean=(0.5,) * 3, std=(0.25,) * 3)
    return ViT(size, patch, **(defaults | options))


def vit_tiny(size: int = 32, patch: int = 4, **options) -> ViT:
    """ViT-Ti (Touvron et al., 2021, table 1): 192 features, 5.4 M parameters. For small images."""
    return ViT(size, patch, **(dict(dim=192, depth=12, heads=3) | options))


def vit_base(size: int = 224, patch: int = 16, **options) -> ViT:
    """ViT-B/16 (Dosovitskiy et al., 2021, table 1): 768 features, 86 M parameters."""
    return ViT(size, patch, **(dict(dim=768, depth=12, heads=12) | options))


class PatchEmbed(nn.Module):
    """One linear map for every patch, written as a convolution: (n, 3, H, W) to (n, L, dim)."""

    def __init__(self, patch: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)
        nn.init.xavier_uniform_(self.proj.weight.data.view(dim, -1))  # as the linear map it is

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


def patchify(images: Tensor, patch: int) -> Tensor:
    """(n, 3, H, W) to (n, L, 3 p^2): patches row by row; so are their pixels, colours last."""
    x = images.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # n, 3, rows, p, columns, p
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def transformer(dim: int, depth: int, heads: int) -> nn.Sequential:
    """`depth` blocks, (n, tokens, dim) to the same shape."""
    return nn.Sequential(*(Block(dim, heads) for _ in range(depth)))


class Block(nn.Module):
    """Attention, then an MLP; each sees normed tokens and adds to the plain ones ("pre-norm")."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 4):
        super().__init__()
        self.norm1 = layer_norm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = layer_norm(dim)
        self.mlp = MLP(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """softmax(q k^T / sqrt(dim / heads)) v in every head: (n, tokens, dim) to the same shape."""

    def __init__(self, dim: int, heads: int):
        if heads < 1 or dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got dim={dim} and heads={heads}")
        super().__init__()
        self.heads = heads
        self.qkv = linear(dim, 3 * dim)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (n, heads, tokens, dim / heads)."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1))  # (n, tokens, 3, heads, dim / heads)
        return qkv.transpose(1, 3).unbind(2)

    def weights(self, x: Tensor) -> Tensor:
        """The softmax itself, (n, heads, tokens, tokens): whom each token attends to, for a look."""
        q, k, _ = self.split(x)
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=3)


class MLP(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = linear(dim, hidden)
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer that starts as in MAE's code (appendix A.1): Xavier uniform, bias 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def layer_norm(dim: int) -> nn.LayerNorm:
    """With the ViT's eps; PyTorch's own is ten times larger."""
    return nn.LayerNorm(dim, eps=1e-6)


def token(dim: int) -> nn.Parameter:
    """One learnt token (1, 1, dim), from N(0, 0.02)."""
    return nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))


def fixed_positions(dim: int, grid: int) -> nn.Parameter:
    """`sincos_positions` as (1, 1 + grid^2, dim): part of the weights, but no gradient moves it."""
    return nn.Parameter(sincos_positions(dim, grid)[None], requires_grad=False)


def sincos_positions(dim: int, grid: int, cls_token: bool = True) -> Tensor:
    """Where each of grid x grid patches lies: (grid^2, dim), preceded by zeros for the CLS token.

    Half the numbers tell the column, the other half the row, each as sines and then cosines of
    place / 10000^(i / (dim / 4)) for i from 0 to dim / 4 - 1 (Vaswani et al., 2017, in two axes).
    """
    if dim % 4:
        raise ValueError(f"sines and cosines of two axes need dim to be a multiple of 4, got {dim}")
    frequency = 10000 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, dim / 2)
    column, row = axis.repeat(grid, 1), axis.repeat_interleave(grid, dim=0)
    table = torch.cat([column, row], dim=1).float()
    return torch.cat([torch.zeros(1, dim), table]) if cls_token else table


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Positions (1, 1 + g^2, dim) for grid x grid patches: (1, 1 + grid^2, dim), CLS's first.

    Bicubic, as in DINO's code: a small crop's few patches spread over the same whole.
    """
    cls, patches = positions[:, :1], positions[:, 1:]
    old = math.isqrt(patches.shape[1])
    if old == grid:
        return positions
    picture = patches.unflatten(1, (old, old)).movedim(3, 1)
    picture = F.interpolate(picture, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([cls, picture.flatten(2).transpose(1, 2)], dim=1)


def _colours(images: Tensor, numbers: Sequence[float]) -> Tensor:
    return images.new_tensor(numbers).view(3, 1, 1)
