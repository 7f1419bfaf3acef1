"""How much a notebook may compute. One value decides image set, size, encoder and epochs; the code stays the same.

`smoke` runs in seconds and shows only that the code runs, `cpu` gives about a minute to a training on two cores and
is what the site shows, `gpu` is CIFAR-10 with a ResNet-18 for a class hour on a free Colab T4. Chosen by the hardware,
or by the environment variable SSLBOOK_BUDGET. `cifar10-cpu` shows real photos to two cores: some minutes a training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from sslbook import sets
from sslbook.encoders import make_encoder
from sslbook.images import ImageSet
from sslbook.methods import METHODS, Method, Recipe
from sslbook.views import Views, cifar_views, shapes_views
from sslbook.words import TextSet, load_sentences


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a notebook may spend."""

    name: str
    recipes: str  # under which name the methods register their recipes for it
    image_set: str
    size: int  # side of its images in pixels
    train: int | None = None  # how many images, None = all
    test: int | None = None
    epochs: int
    supervised_epochs: int
    batch_size: int
    encoders: Mapping[str, str]  # by what a method asks for, such as "vit": a name of `encoders.ENCODERS`
    sentences: tuple[int, int] | None  # how many the methods for text train and are tested on; None: they don't run
    views: Views  # for methods that take two views of equal strength
    device: str

    def load(self, what: str = "images") -> tuple[ImageSet, ImageSet] | tuple[TextSet, TextSet]:
        """(train, test) on the budget's device: "images", or "text", which is the embedded sentences."""
        if what == "text":
            if self.sentences is None:
                raise ValueError(f"the {self.name} budget has no text")
            train, test = self.sentences
            return load_sentences(train=train, test=test, device=self.device)
        return sets.load(self.image_set, train=self.train, test=self.test, device=self.device)

    def encoder(self, kind: str = "convnet", seed: int = 0) -> nn.Module:
        """An untrained encoder on the budget's device, a key of `encoders`; the same seed gives the same weights."""
        if kind not in self.encoders:
            raise ValueError(
                f"the {self.name} budget has encoders of the kinds {', '.join(self.encoders)}; got {kind!r}"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make_encoder(self.encoders[kind], self.size).to(self.device)

    def encoder_for(self, method: str, seed: int = 0) -> nn.Module:
        """The encoder that a method asks for."""
        self.recipe(method)
        return self.encoder(METHODS[method].encoder, seed)

    def make(self, method: str, seed: int = 0, **changes: Any) -> Method:
        """A method from random weights on the budget's device, with some arguments of its recipe changed."""
        torch.manual_seed(seed)
        arguments = self.recipe(method).method | changes
        return METHODS[method].method(self.encoder_for(method, seed), **arguments).to(self.device)

    def recipe(self, method: str) -> Recipe:
        """How to train a method of this name: its arguments, and all of `pretrain`'s."""
        known = [name for name, entry in METHODS.items() if self.recipes in entry.recipes]
        if method not in known:
            raise ValueError(f"the {self.name} budget has recipes for {', '.join(known)}; got {method!r}")
        recipe = METHODS[method].recipes[self.recipes]
        epochs = max(1, round(recipe.length * self.epochs))
        train = dict(epochs=epochs, batch_size=self.batch_size) | recipe.train
        if METHODS[method].reads == "images":
            train = dict(views=self.views) | train
        return replace(recipe, train=train)


SMALL = {"convnet": "convnet", "vit": "vit_micro", "text": "text_micro"}
SMOKE = Budget(
    name="smoke",
    recipes="cpu",
    image_set="shapes",
    size=32,
    train=512,
    test=256,
    epochs=2,
    supervised_epochs=2,
    batch_size=128,
    encoders=SMALL,
    sentences=(512, 256),
    # 24 px are .56 of the work of 32, and show a thing in a crop about as large as the test's 32 px show it whole
    # (Touvron et al., 2019)
    views=shapes_views(24),
    device="cpu",
)
CIFAR10_CPU = Budget(
    name="cifar10-cpu",
    recipes="cifar10-cpu",
    image_set="cifar10",
    size=32,
    epochs=10,
    supervised_epochs=8,
    batch_size=256,
    encoders={"convnet": "convnet", "vit": "vit_micro"},
    sentences=None,
    views=cifar_views(),
    device="cpu",
)
GPU = replace(
    CIFAR10_CPU,
    name="gpu",
    recipes="gpu",
    epochs=20,
    supervised_epochs=10,
    batch_size=512,
    encoders={"convnet": "resnet18", "vit": "vit_tiny", "text": "text_tiny"},
    sentences=(65_536, 4096),
    device="cuda",
)
BUDGETS = {
    "smoke": SMOKE,
    "cpu": replace(SMOKE, name="cpu", train=4096, test=1024, sentences=(4096, 1024), epochs=40, supervised_epochs=12),
    "cifar10-cpu": CIFAR10_CPU,
    "gpu": GPU,
}


def current() -> Budget:
    """The budget that SSLBOOK_BUDGET names, else `gpu` where there is a CUDA device and `cpu` where not."""
    name = os.environ.get("SSLBOOK_BUDGET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if name not in BUDGETS:
        raise ValueError(f"SSLBOOK_BUDGET must be one of {', '.join(BUDGETS)}; got {name!r}")
    return BUDGETS[name]
