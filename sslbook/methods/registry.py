"""What the rest of the house knows of a method: each method's file ends with its registration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sslbook import sentences
from sslbook.encoders import ConvNet
from sslbook.methods.base import Method
from sslbook.text import TextEncoder
from sslbook.vit import ViT

# the families of book/methods.yml, in the order of the book's parts
FAMILIES = (
    "Contrastive",
    "Self-distillation",
    "Redundancy reduction",
    "Masked words",
    "Masked images",
    "Clustering",
    "Generative",
)
# encoders of a second's training, for tests, by what a method asks for
TINY_ENCODERS: dict[str, Callable[[], torch.nn.Module]] = {
    "convnet": lambda: ConvNet(width=2),
    "vit": lambda: ViT(32, 8, dim=16, depth=1, heads=2),
    "text": lambda: TextEncoder(len(sentences.WORDS), sentences.LENGTH, dim=16, depth=1, heads=2),
}


@dataclass(frozen=True)
class Recipe:
    """How a method is trained in a budget; what is not named stays at the budget's default."""

    method: dict[str, Any] = field(default_factory=dict)  # arguments of the method
    train: dict[str, Any] = field(default_factory=dict)  # arguments of `pretrain`
    length: float = 1.0  # times the budget's epochs, so that slower steps take no longer
    source: str = ""  # where the numbers come from
    expected: dict[str, float] = field(default_factory=dict)  # what the logs answer, in the mean
    cost: str = "not run yet"  # time and machine

    @property
    def config(self) -> dict[str, Any]:
        """The arguments as a log or a page has them: all but the views."""
        train = {name: value for name, value in self.train.items() if name != "views"}
        return {"method": self.method, "train": train}


@dataclass(frozen=True)
class Entry:
    """A method of the book."""

    method: type[Method]
    label: str  # its name in tables
    family: str  # one of FAMILIES
    published: str  # year and month, which order a family
    paper: str  # a key of book/references.bib
    encoder: str  # a key of TINY_ENCODERS and of `Budget.encoders`
    tiny: dict[str, Any]  # arguments of a tiny form, for tests
    recipes: Mapping[str, Recipe]  # by budget: "cpu", "cifar10-cpu", "gpu"

    @property
    def reads(self) -> str:
        """What it learns from: "images", or "text". No table compares the two."""
        return "text" if self.encoder == "text" else "images"

    def make_tiny(self, seed: int = 0) -> Method:
        """A form that trains in a second."""
        torch.manual_seed(seed)
        return self.method(TINY_ENCODERS[self.encoder](), **self.tiny)


METHODS: dict[str, Entry] = {}  # by the name of the class, in the order of the book


def reading(what: str) -> dict[str, Entry]:
    """The methods that learn from "images" or from "text", in the order of the book."""
    return {name: entry for name, entry in METHODS.items() if entry.reads == what}


def register(method: type[Method], *, label: str = "", **about: Any) -> None:
    """Put a method into METHODS, at the end of its file; `about` are the fields of `Entry`."""
    entry = Entry(method, label or method.__name__, **about)
    if entry.family not in FAMILIES:
        raise ValueError(
            f"{method.__name__}: family must be one of {', '.join(FAMILIES)}; got {entry.family!r}"
        )
    if entry.encoder not in TINY_ENCODERS:
        kinds = ", ".join(TINY_ENCODERS)
        raise ValueError(
            f"{method.__name__}: encoder must be one of {kinds}; got {entry.encoder!r}"
        )
    entries = [*METHODS.values(), entry]
    entries.sort(key=lambda e: (FAMILIES.index(e.family), e.published))
    METHODS.clear()
    METHODS.update((e.method.__name__, e) for e in entries)


def sgd(lr: float, weight_decay: float = 5e-4, **options: Any) -> dict[str, Any]:
    return dict(optimizer="sgd", lr=lr, weight_decay=weight_decay, **options)


def adamw(lr: float, weight_decay: float = 1e-3, **options: Any) -> dict[str, Any]:
    return dict(optimizer="adamw", lr=lr, weight_decay=weight_decay, **options)
