"""VQ-VAE: Neural Discrete Representation Learning (van den Oord et al., 2017), small.

A tokeniser that is a network, as that of BEiT's authors. What is kept are its codes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.distributed import all_gather, rand
from sslbook.kmeans import nearest
from sslbook.losses import full_precision
from sslbook.methods.base import Method
from sslbook.views import adjust_hue, crop_views


class VQVAE(Method):
    """Say a picture in codes, one for each patch of 4 px, and paint it again from them alone.

    The encoder sees half a patch around each patch. Its output gives way to the nearest row of the
    codebook (equation 1); the gradient passes as if it had not (section 3.2). The codebook follows
    the outputs as their moving average (appendix A.1).

    >>> tokeniser = VQVAE(k=64)
    >>> pretrain(tokeniser, images, epochs=3, batch_size=64, lr=2e-3)
    >>> method = BEiT(encoder, tokeniser)

    Args:
        k: how many codes.
        dim: numbers in a code.
        width: channels of the networks.
        beta: how strongly outputs are bound to their codes (equation 3).
        decay: of the moving average.
        revive: put codes that nobody uses on outputs of the batch; else they stay unused.
        any_hue: turn the hue of each picture at random, before it is coded and painted.
    """

    views, takes = staticmethod(crop_views), 1
    patch = 4

    def __init__(
        self,
        k: int = 64,
        dim: int = 16,
        width: int = 32,
        beta: float = 0.25,
        decay: float = 0.95,
        revive: bool = True,
        any_hue: bool = False,
    ):
        if k < 2:
            raise ValueError(f"k must be at least 2, got {k}")
        encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, dim, 1),
        )
        super().__init__(encoder)
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, width, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
        )
        self.k, self.beta, self.decay = k, beta, decay
        self.revive, self.any_hue = revive, any_hue
        self.register_buffer("codebook", torch.randn(k, dim))
        self.register_buffer("sums", self.codebook.clone())
        self.register_buffer("counts", torch.ones(k))

    def outputs(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) in [0, 1] to (n, L, dim), patches row by row."""
        return self.encoder(4 * images - 2).flatten(2).transpose(1, 2)

    @full_precision
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The code of each patch: (n, L) int64."""
        return nearest(self.outputs(images), self.codebook)

    def paint(self, quantised: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) from a grid of codebook rows (n, L, dim)."""
        side = round(quantised.shape[1] ** 0.5)
        return self.decoder(quantised.transpose(1, 2).unflatten(2, (side, side)))

    @torch.no_grad()
    def pictures(self, codes: Tensor) -> Tensor:
        """What codes (n, L) look like: (n, 3, H, W) in [0, 1]."""
        return ((self.paint(self.codebook[codes]) + 2) / 4).clamp(0, 1)

    @torch.no_grad()
    def follow(self, z: Tensor, codes: Tensor) -> None:
        """Move each code to the mean of the outputs z (m, dim) that chose it, lately."""
        z, codes = all_gather(z), all_gather(codes)  # the codebook is the same in every process
        members = F.one_hot(codes, self.k).to(z)
        self.counts.lerp_(members.sum(dim=0), 1 - self.decay)
        self.sums.lerp_(members.T @ z, 1 - self.decay)
        self.codebook.copy_(self.sums / self.counts.clamp(min=1e-3)[:, None])
        unused = self.counts < 0.01 * len(z) / self.k
        if self.revive and unused.any():
            rows = torch.randint(len(z), (self.k,)).to(z.device)
            self.sums[unused] = self.codebook[unused] = z[rows[unused]].to(z)
            self.counts[unused] = 1.0

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        """How far the painted picture is off, and the outputs from their codes (equation 3)."""
        [images] = self.take(views)
        if self.any_hue:
            images = adjust_hue(images, rand((len(images),)).to(images))
        z = self.outputs(images)
        codes = nearest(z.detach(), self.codebook)
        e = self.codebook[codes]
        painted = self.paint(z + (e - z).detach())  # straight through
        error = F.mse_loss(painted, 4 * images - 2)
        commitment = F.mse_loss(z, e)
        if self.training:
            self.follow(z.detach().flatten(0, 1).float(), codes.flatten())
        use = F.one_hot(codes.flatten(), self.k).float().mean(dim=0)
        used = torch.special.entr(use).sum().exp()
        return {"loss": error + self.beta * commitment, "error": error.detach(), "codes used": used}
