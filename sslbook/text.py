"""A small Transformer for text: words (n, length) to features (n, features_dim)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslbook.vit import layer_norm, transformer


class TextEncoder(nn.Module):
    """A vector for each word, one for its place, then the blocks of the ViT; a text's features are the words' mean.

    Args:
        words: of the vocabulary.
        length: words of a text.
        dim, depth, heads: of the blocks.
        positions: False leaves the places out: then a text is a bag of words.
    """

    def __init__(self, words: int, length: int, dim: int = 64, depth: int = 2, heads: int = 4, positions: bool = True):
        if words < 1 or length < 1:
            raise ValueError(f"words and length must be at least 1, got {words} and {length}")
        super().__init__()
        self.words, self.length, self.features_dim, self.positions = words, length, dim, positions
        self.embed = nn.Embedding(words, dim)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.pos_embed = nn.Parameter(torch.empty(1, length, dim).normal_(std=0.02))
        if not positions:
            self.pos_embed.data.zero_()
            self.pos_embed.requires_grad_(False)
        self.blocks = transformer(dim, depth, heads)
        self.norm = layer_norm(dim)

    def requires_grad_(self, requires_grad: bool = True) -> TextEncoder:
        """As of any module; places that are left out stay so."""
        super().requires_grad_(requires_grad)
        self.pos_embed.requires_grad_(requires_grad and self.positions)
        return self

    def start(self, words: Tensor) -> Tensor:
        """Words and places before the first block: (n, length) to (n, length, dim)."""
        if words.dtype != torch.int64 or words.ndim != 2 or words.shape[1] != self.length:
            raise ValueError(f"texts must be int64 (n, {self.length}), got {words.dtype} {tuple(words.shape)}")
        return self.embed(words) + self.pos_embed

    def tokens(self, words: Tensor) -> Tensor:
        """A feature vector for each word in its context: (n, length) to (n, length, dim)."""
        return self.norm(self.blocks(self.start(words)))

    def attention(self, words: Tensor) -> Tensor:
        """Whom each word attends to, in all blocks: (n, depth, heads, length, length), rows sum to 1."""
        x, found = self.start(words), []
        for block in self.blocks:
            found.append(block.attn.weights(block.norm1(x)))
            x = block(x)
        return torch.stack(found, dim=1)

    def forward(self, words: Tensor) -> Tensor:
        return self.tokens(words).mean(dim=1)
