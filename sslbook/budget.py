"""How much a notebook may compute. One value decides image set, size, encoder and epochs; the code stays the same.

`smoke` runs in seconds and shows only that the code runs, `cpu` gives about a minute to a training on two cores and
is what the site shows, `gpu` is CIFAR-10 with a ResNet-18 for a class hour on a free Colab T4. Chosen by the hardware,
or by the environment variable SSLBOOK_BUDGET. `cifar10-cpu` shows real photos to two cores: some minutes a training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from sslbook import data, encoders, recipes, views
from sslbook.data import ImageSet
from sslbook.recipes import Recipe
from sslbook.views import Views
from sslbook.vit import ViT, vit_micro, vit_tiny


@dataclass(frozen=True)
class Budget:
    """What a notebook may spend."""

    name: str
    image_set: str
    train: int | None  # how many images, None = all
    test: int | None
    epochs: int
    supervised_epochs: int
    batch_size: int
    make_encoder: Callable[[], nn.Module]
    make_vit: Callable[[], ViT]
    views: Views  # for methods that take two views of equal strength
    device: str
    recipes: Mapping[str, Recipe]  # by the method's name

    def load(self) -> tuple[ImageSet, ImageSet]:
        """(train, test) on the budget's device."""
        return data.load(self.image_set, train=self.train, test=self.test, device=self.device)

    def encoder(self, seed: int = 0) -> nn.Module:
        """An untrained encoder on the budget's device; the same seed gives the same weights."""
        return self._untrained(self.make_encoder, seed)

    def vit(self, seed: int = 0) -> ViT:
        """The same for methods that hide patches: a ViT."""
        return self._untrained(self.make_vit, seed)

    def encoder_for(self, method: str, seed: int = 0) -> nn.Module:
        """The one of these two that the method's recipe wants."""
        return self.vit(seed) if self.recipe(method).vit else self.encoder(seed)

    def _untrained(self, make: Callable[[], nn.Module], seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make().to(self.device)

    def recipe(self, method: str) -> Recipe:
        """How to train a method of this name: its arguments, and all of `pretrain`'s."""
        if method not in self.recipes:
            raise ValueError(f"the {self.name} budget has recipes for {', '.join(self.recipes)}; got {method!r}")
        recipe = self.recipes[method]
        epochs = max(1, round(recipe.share * self.epochs))
        train = dict(epochs=epochs, batch_size=self.batch_size, views=self.views) | recipe.train
        return replace(recipe, train=train)


SMOKE = Budget(
    "smoke", "shapes", 512, 256, 2, 2, 128, encoders.ConvNet, vit_micro,
    # 24 px are .56 of the work of 32, and show a thing in a crop about as large as the test's 32 px show it whole
    # (Touvron et al., 2019)
    views.shapes(24), "cpu", recipes.SHAPES,
)  # fmt: skip
BUDGETS = {
    "smoke": SMOKE,
    "cpu": replace(SMOKE, name="cpu", train=4096, test=1024, epochs=40, supervised_epochs=12),
    "cifar10-cpu": Budget(
        "cifar10-cpu", "cifar10", None, None, 10, 8, 256, encoders.ConvNet, vit_micro,
        views.cifar(), "cpu", recipes.CIFAR10_CPU,
    ),
    "gpu": Budget(
        "gpu", "cifar10", None, None, 20, 10, 512, encoders.resnet18, vit_tiny,
        views.cifar(), "cuda", recipes.CIFAR10,
    ),
}  # fmt: skip


def current() -> Budget:
    """The budget that SSLBOOK_BUDGET names, else `gpu` where there is a CUDA device and `cpu` where not."""
    name = os.environ.get("SSLBOOK_BUDGET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in BUDGETS:
        raise ValueError(f"SSLBOOK_BUDGET must be one of {', '.join(BUDGETS)}; got {name!r}")
    return BUDGETS[name]
