"""GAN: Generative Adversarial Nets (Goodfellow et al., 2014), small.

What is kept is the discriminator's body.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslbook.decoders import Decoder
from sslbook.distributed import randn
from sslbook.encoders import features_dim
from sslbook.losses import full_precision
from sslbook.methods.base import Method
from sslbook.methods.registry import Recipe, adamw, register
from sslbook.norms import spectral_norm, without_batch_norm
from sslbook.optim import ParameterGroup, frozen, parameter_groups
from sslbook.views import Views, crop_views

LOSSES = ("non-saturating", "hinge")
DISCRIMINATOR, GENERATOR = "discriminator", "generator"


@full_precision
def discriminator_loss(real: Tensor, fake: Tensor, kind: str = "non-saturating") -> Tensor:
    """Real pictures shall have high logits, painted ones low: both (n,), a scalar comes out.

    "non-saturating" is minus equation 1, -log D(x) - log(1 - D(G(z))) with D = sigmoid(logit);
    "hinge" wants a margin of 1 on either side (Miyato et al., 2018, equation 16).
    """
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


@full_precision
def generator_loss(fake: Tensor, kind: str = "non-saturating") -> Tensor:
    """Painted pictures shall have high logits (n,): -log D(G(z)) (section 3), hinge: -logit."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """|grad_x D(x)|^2 of each picture (n,): how steep D is there. It can be trained on."""
    [gradient] = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


class GAN(Method):
    """Two players: a generator paints, a discriminator tells its pictures from real ones.

    A step of the loop is a step of each (algorithm 1, with k = 1). Batch norm is taken out of the
    encoder, as a discriminator must judge each picture on its own, and spectral norm is put on.

    Args:
        encoder: the discriminator's body, changed in place.
        latents: numbers in a code z.
        loss: "non-saturating" or "hinge".
        spectral: divide each weight of the discriminator by its largest singular value.
        penalty: gamma of R1, the steepness at real pictures (Mescheder et al., 2018, equation 9).
        rate_g: the generator's learning rate, times the discriminator's.
        beta1: of AdamW, in place of momentum .9: what the other player did lately is soon untrue.
        scale: after each convolution, in place of batch norm.
        width: of the generator.
        size: side of its pictures.
    """

    takes = 1
    turns = (DISCRIMINATOR, GENERATOR)

    def __init__(
        self,
        encoder: nn.Module,
        latents: int = 64,
        loss: str = "non-saturating",
        spectral: bool = True,
        penalty: float = 0.5,
        rate_g: float = 1.0,
        beta1: float = 0.5,
        scale: float = 2.0,
        width: int = 32,
        size: int = 32,
    ):
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}")
        if penalty < 0 or rate_g <= 0 or not 0 <= beta1 < 1:
            numbers = f"penalty={penalty}, rate_g={rate_g}, beta1={beta1}"
            raise ValueError(f"GAN needs penalty >= 0, rate_g > 0, 0 <= beta1 < 1; got {numbers}")
        super().__init__(without_batch_norm(encoder, scale))
        self.head = nn.Linear(features_dim(encoder), 1)
        self.generator = Decoder(latents, size, width)
        self.kind, self.penalty, self.scale = loss, penalty, scale
        self.rate_g, self.beta1 = rate_g, beta1
        if spectral:
            spectral_norm(self.discriminator)

    @staticmethod
    def views(size: int) -> Views:
        """Whole pictures, every other one mirrored."""
        return crop_views(size, smallest=1.0)

    @property
    def discriminator(self) -> nn.Sequential:
        """D before its sigmoid, the modules held as `encoder` and `head`."""
        return nn.Sequential(self.encoder, self.head)

    def logits(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) in [0, 1] to (n,): above 0 is "real"."""
        return self.head(self.encoder(images)).squeeze(1)

    def paint(self, n: int, like: Tensor) -> Tensor:
        """(n, 3, size, size) from new codes, on the device of `like`."""
        z = randn((n, self.generator.latents)).to(like.device, non_blocking=True)
        return self.generator(z)

    @torch.no_grad()
    def sample(self, n: int, seed: int) -> Tensor:
        """Pictures (n, 3, size, size) in [0, 1], painted in eval mode: none depends on another."""
        z = torch.randn(n, self.generator.latents, generator=torch.Generator().manual_seed(seed))
        device, training = next(self.generator.parameters()).device, self.generator.training
        self.generator.eval()
        try:
            return torch.cat([self.generator(part.to(device)) for part in z.split(512)])
        finally:
            self.generator.train(training)

    def take(self, views: Sequence) -> Sequence:
        [view] = super().take(views)
        size = view.shape[-1] if isinstance(view, Tensor) else view.size
        if size != self.generator.size:
            raise ValueError(
                f"this GAN paints {self.generator.size} px and is shown views of {size} px, "
                f"which is no contest: GAN(encoder, size={size}), or other views"
            )
        return views

    def loss(self, views: list[Tensor]) -> dict[str, Tensor]:
        """Of the player whose turn it is; by hand the sum, of which each has its own gradient."""
        [images] = self.take(views)
        if self.now.turn == DISCRIMINATOR:
            return self.loss_of_discriminator(images)
        if self.now.turn == GENERATOR:
            return self.loss_of_generator(images)
        d, g = self.loss_of_discriminator(images), self.loss_of_generator(images)
        return d | {"loss": d["loss"] + g["loss"]}

    def loss_of_discriminator(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            painted = self.paint(len(images), images)
        images = images.detach().requires_grad_(self.penalty > 0)
        penalty = images.new_zeros(())
        with torch.autocast(images.device.type, enabled=False):  # a gradient's gradient wants it
            real = self.logits(images)
            if self.penalty:
                penalty = self.penalty / 2 * squared_gradient(real, images).mean()
        fake = self.logits(painted)
        right = torch.cat([real > 0, fake < 0]).float().mean()
        loss = discriminator_loss(real, fake, self.kind) + penalty
        return {"loss": loss, "penalty": penalty.detach(), "right": right}

    def loss_of_generator(self, images: Tensor) -> dict[str, Tensor]:
        with frozen(self.discriminator):
            fake = self.logits(self.paint(len(images), images))
        return {"loss": generator_loss(fake, self.kind)}

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Of each player, in its turn and with its rate."""
        groups = []
        for turn, rate in ((DISCRIMINATOR, 1.0), (GENERATOR, self.rate_g)):
            about = dict(turn=turn, lr_scale=rate, betas=(self.beta1, 0.99))
            groups += [g | about for g in parameter_groups(getattr(self, turn), weight_decay)]
        return groups


register(
    GAN,
    family="Generative",
    published="2014-06",
    paper="goodfellow2014gan",
    encoder="convnet",
    tiny=dict(latents=4, penalty=0.5, rate_g=0.5, width=2),
    recipes={
        "cpu": Recipe(
            # a strong R1 alone: with spectral norm beside it the pictures are worse, in the study
            dict(spectral=False, penalty=5.0),
            adamw(1e-3, weight_decay=0.0, batch_size=64, warmup_epochs=0, views=GAN.views(32)),
            length=0.2,
            source="some twenty short runs on other pictures, data seed 100: longer ones painted "
            "better and knew no more; experiments/gan_study.py has its neighbours",
            expected={"kNN": 0.282, "linear": 0.572},
            cost="90 CPU-seconds on one thread of an AMD EPYC",
        ),
        "cifar10-cpu": Recipe(
            dict(spectral=False, penalty=5.0),
            adamw(1e-3, weight_decay=0.0, batch_size=64, warmup_epochs=0, views=GAN.views(32)),
            length=0.4,
            source="the recipe of the shapes; not tuned",
            expected={"kNN": 0.391, "linear": 0.441},
            cost="9 CPU-minutes on one thread of an AMD EPYC",
        ),
        "gpu": Recipe(
            dict(spectral=False, penalty=5.0),
            adamw(1e-3, weight_decay=0.0, batch_size=64, warmup_epochs=0, views=GAN.views(32)),
            source="the recipe of the shapes; not tried yet",
        ),
    },
)
