"""How each method is trained in each budget. Numbers only; where they come from stands beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sslbook import views


@dataclass(frozen=True)
class Recipe:
    """Arguments of a method and of `pretrain`; what is not named stays at the budget's or the function's default."""

    method: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    share: float = 1.0  # of the budget's epochs, so that slower steps take no longer
    vit: bool = False  # whether the method hides patches and so needs the budget's ViT


def sgd(lr: float, weight_decay: float = 5e-4, **options: Any) -> dict[str, Any]:
    return dict(optimizer="sgd", lr=lr, weight_decay=weight_decay, **options)


def adamw(lr: float, weight_decay: float = 1e-3, **options: Any) -> dict[str, Any]:
    return dict(optimizer="adamw", lr=lr, weight_decay=weight_decay, **options)


def crops(smallest: float, size: int = 32) -> views.Views:
    """MAE's only augmentation: one view, cropped and flipped."""
    return [views.Augmentation(size, scale=(smallest, 1), flip=0.5)]


# The small ConvNet on the shapes, about a minute on two cores. Tuned by hand in a few runs; MoCo, BYOL and SimSiam were
# chosen between on other images than the book's (data.load("shapes", seed=100)).
SHAPES = {
    "SimCLR": Recipe(dict(temperature=0.1), adamw(2e-3)),
    # a symmetric step does the work of two
    "MoCo": Recipe(dict(K=2048, m=0.99, T=0.2, symmetric=True), sgd(0.06), share=0.75),
    # A predictor no faster than the rest costs most: experiments/byol_recipe.py
    "BYOL": Recipe(dict(dim=128, hidden=512, tau=0.9, predictor_lr=10.0), sgd(0.2)),
    # Faster is better until, at 0.8, it collapses
    "SimSiam": Recipe(dict(dim=512, layers=2), sgd(0.3)),
    # vit_micro. A short training wants many small steps, and an easier task than the paper's .75
    "MAE": Recipe(
        dict(mask_ratio=0.6, decoder_dim=48, decoder_depth=2, decoder_heads=2),
        adamw(3e-3, 0.05, batch_size=32, views=crops(0.5)),
        share=0.45,
        vit=True,
    ),
}

# The same ConvNet on CIFAR-10, some minutes on two cores.
CIFAR10_CPU = {
    "SimCLR": Recipe(dict(temperature=0.2), adamw(3e-3)),
    "MoCo": Recipe(dict(K=4096, m=0.99, T=0.1), sgd(0.06)),
    "BYOL": Recipe(dict(dim=128, hidden=512, tau=0.97, predictor_lr=10.0), sgd(0.1)),
    "SimSiam": Recipe(dict(dim=512, layers=2), sgd(0.1)),
    "MAE": Recipe(
        dict(mask_ratio=0.75, norm_pix_loss=True, decoder_dim=48, decoder_depth=2, decoder_heads=2),
        adamw(3e-3, 0.05, batch_size=64, views=crops(0.2)),
        share=0.6,
        vit=True,
    ),
}

# ResNet-18 on CIFAR-10, batch 512.
CIFAR10 = {
    # dkobak/simclr-cifar10: rate 0.03 x batch / 256
    "SimCLR": Recipe(dict(temperature=0.5), sgd(0.06, warmup_epochs=0)),
    # the official CIFAR-10 demo of facebookresearch/moco, symmetric
    "MoCo": Recipe(dict(K=4096, m=0.99, T=0.1, symmetric=True), sgd(0.06, warmup_epochs=0)),
    # lightly's CIFAR-10 benchmark: rate 0.06 x batch / 128, head 1024-256, constant tau
    "BYOL": Recipe(dict(dim=256, hidden=1024, tau=0.99, schedule=False), sgd(0.24, warmup_epochs=0)),
    # SimSiam, appendix D: rate 0.03 x batch / 256, a projector of two layers, no warm-up
    "SimSiam": Recipe(dict(dim=2048, layers=2), sgd(0.06, warmup_epochs=0)),
    # ViT-Tiny/4, not run yet; the paper's rate 1.5e-4 x batch / 256 (table 8) belongs to a batch of 4,096
    "MAE": Recipe(
        dict(norm_pix_loss=True, decoder_dim=192, decoder_depth=4, decoder_heads=3),
        adamw(1e-3, 0.05, views=crops(0.2), warmup_epochs=2),
        vit=True,
    ),
}
