"""VAE: Auto-Encoding Variational Bayes (Kingma & Welling, 2014)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.decoders import Decoder
from sslbook.distributed import all_reduce_mean, randn
from sslbook.encoders import features_dim
from sslbook.losses import full_precision
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register
from sslbook.views import Augmentation, Views

LIKELIHOODS = ("gaussian", "bernoulli")


@full_precision
def kl_to_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Nats of each latent beyond a standard normal, KL(N(mu, sigma^2) || N(0, 1)) (appendix B).

    Args:
        mu, logvar: (n, latents), the mean and the logarithm of the variance of q(z | x).

    Returns:
        (n, latents), none negative, 0 for a mean of 0 and a variance of 1: nothing is said then.
    """
    return (mu.square() + logvar.exp() - 1 - logvar) / 2


@full_precision
def reparameterise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z = mu + sigma * eps (section 2.4): what is random comes from outside, so that mu and sigma
    have a gradient. All are (n, latents), eps drawn from a standard normal."""
    return mu + (logvar / 2).exp() * eps


@full_precision
def reconstruction_error(
    pictures: Tensor, images: Tensor, likelihood: str = "gaussian", sigma: float = 0.1
) -> Tensor:
    """-log p(x | z) in nats, summed over a picture's pixels and colours (appendix C): (n,).

    Args:
        pictures: (n, ...) in [0, 1], what the decoder paints.
        images: (n, ...) in [0, 1], what it should have painted.
        likelihood: "gaussian" has a standard deviation of `sigma` at each pixel; its constant,
            log(sigma sqrt(2 pi)) a pixel, is left out, so that 0 is a perfect picture. "bernoulli"
            is binary cross-entropy, which is not 0 even then, unless each pixel is 0 or 1.
    """
    if pictures.shape != images.shape:
        shapes = f"{tuple(pictures.shape)} and {tuple(images.shape)}"
        raise ValueError(f"pictures and images must have one shape, got {shapes}")
    if likelihood == "bernoulli":
        error = F.binary_cross_entropy(pictures, images, reduction="none")
    else:
        error = (pictures - images).square() / (2 * sigma**2)
    return error.flatten(1).sum(dim=1)


class VAE(Method):
    """Say a picture in a few numbers that are nearly normal, and paint it again from them.

    The encoder and `head` say which codes a picture may have, q(z | x) = N(mu, sigma^2). One is
    drawn, the decoder paints from it, and the loss is minus the evidence lower bound (equation 3).

    >>> method = VAE(encoder, latents=16, sigma=0.2)
    >>> pretrain(method, images, epochs=30, batch_size=64, lr=5e-3)
    >>> mu, logvar = method.encode(images)

    Args:
        encoder: pictures (n, 3, size, size) in [0, 1] to features h, which are kept and judged.
        latents: numbers in a code z.
        beta: weight of the KL divergence. 1 is the paper's; more is beta-VAE's (Higgins et al.,
            2017); 0 is an autoencoder, whose codes lie anywhere.
        sigma: deviation of a pixel from its mean, for "gaussian". The smaller, the more a picture
            weighs against the KL: half of it is a quarter of beta.
        likelihood: "gaussian" or "bernoulli", see `reconstruction_error`.
        free_bits: nats that each latent may say for nothing, in the batch's mean (Kingma et al.,
            2016).
        warmup: the share of the training in which beta rises from 0 (Bowman et al., 2016).
        reparameterise: False cuts the gradient between z and what it was drawn from.
        sampling: False paints from mu.
        width: channels of the decoder's last grid.
        size: side of the pictures in pixels, see `Decoder`.
    """

    takes = 1

    def __init__(
        self,
        encoder: nn.Module,
        latents: int = 32,
        beta: float = 1.0,
        sigma: float = 0.1,
        likelihood: str = "gaussian",
        free_bits: float = 0.0,
        warmup: float = 0.0,
        reparameterise: bool = True,
        sampling: bool = True,
        width: int = 32,
        size: int = 32,
    ):
        for name, value in dict(beta=beta, free_bits=free_bits).items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, got {sigma}")
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup is a share of the training, in [0, 1], got {warmup}")
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood must be one of {', '.join(LIKELIHOODS)}; got {likelihood!r}"
            )
        super().__init__(encoder)
        self.decoder = Decoder(latents, size, width)
        self.head = nn.Linear(features_dim(encoder, size), 2 * latents)
        self.beta, self.sigma, self.likelihood = beta, sigma, likelihood
        self.free_bits, self.warmup = free_bits, warmup
        self.reparameterise, self.sampling = reparameterise, sampling

    @staticmethod
    def views(size: int) -> Views:
        """The whole picture, mirrored half of the time: a crop would hide where a thing lies."""
        return Views([Augmentation(size, ratio=(1.0, 1.0), flip=0.5)])

    def take(self, views: Sequence) -> Sequence:
        """The view, if there is one and it is as large as what is painted; ValueError if not."""
        [view] = super().take(views)
        side = view.shape[-1] if isinstance(view, Tensor) else view.size
        self._check_size(side, side)
        return [view]

    def _check_size(self, *sides: int) -> None:
        size = self.decoder.size
        if sides != (size, size):
            height, width = sides
            raise ValueError(
                f"this VAE paints pictures of {size} x {size} px and was shown {height} x {width}: "
                f"give it size={height}, or pictures of {size} px"
            )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z | x), each (n, latents), of images (n, 3, size, size)."""
        self._check_size(*images.shape[2:])
        mu, logvar = self.head(self.encoder(images)).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Pictures (n, 3, size, size) in [0, 1] from codes (n, latents)."""
        return self.decoder(z)

    def draw(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """A code z (n, latents) of each picture: from q(z | x), or mu itself without sampling."""
        if not self.sampling:
            return mu
        z = reparameterise(mu, logvar, randn(mu.shape).to(mu.device, non_blocking=True))
        return z if self.reparameterise else z.detach()

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Minus the ELBO (equation 3), a mean over pictures, and its two terms in nats."""
        [images] = self.take(views)
        mu, logvar = self.encode(images)
        pictures = self.decode(self.draw(mu, logvar))
        error = reconstruction_error(pictures, images, self.likelihood, self.sigma).mean()
        said = kl_to_normal(mu, logvar).mean(dim=0)  # by each latent
        paid = said
        if self.free_bits:
            paid = all_reduce_mean(said).clamp(min=self.free_bits)
        beta = self.beta
        if self.now.progress < self.warmup:
            beta *= self.now.progress / self.warmup
        loss = error + beta * paid.sum()
        return {"loss": loss, "reconstruction": error.detach(), "KL": said.detach().sum()}


register(
    VAE,
    family="Generative",
    published="2013-12",
    paper="kingma2014vae",
    encoder="convnet",
    tiny=dict(latents=4, width=2),
    recipes={
        "cpu": Recipe(
            dict(latents=16, sigma=0.2, width=16),
            adamw(5e-3, batch_size=64, views=VAE.views(32)),
            length=0.75,
            source="short runs on other pictures; experiments/vae_recipe.py has its neighbours",
            expected={"kNN": 0.431, "linear": 0.710},
            cost="1.6 CPU-minutes on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(latents=32, sigma=0.1, width=16),
            adamw(5e-3, batch_size=128, views=VAE.views(32)),
            length=0.5,
            source="as for the shapes, with twice the latents and half of sigma; not tuned",
            expected={"kNN": 0.407, "linear": 0.437},
            cost="4 CPU-minutes on one thread of an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(latents=64, sigma=0.1, width=64),
            adamw(1e-3, batch_size=256, views=VAE.views(32), warmup_epochs=2),
            source="not tried yet; a smaller rate for a larger encoder",
        ),
    },
)
