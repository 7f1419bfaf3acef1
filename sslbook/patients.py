"""Methods without one of their parts: the patients of the collapse lab and of `experiments/collapse.py`.

>>> method = remove(plan, "SimSiam", "stop-gradient")
>>> pretrain(method, images, **options(plan, "SimSiam", "stop-gradient"))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from sslbook.budget import Budget
from sslbook.losses import negative_cosine
from sslbook.methods import Method, SimCLR

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
ARGUMENTS = {  # parts that a method's own arguments take away
    "stop-gradient": {"stop_gradient": False},
    "predictor": {"predictor": False},
    "slow target": {"tau": 0.0, "schedule": False},
    "slow keys, m = 0": {"m": 0.0},
    "slow keys, m = 0.9": {"m": 0.9},
}
# None is the complete method
PATIENTS: dict[str, tuple[str | None, ...]] = {
    "SimCLR": (None, "negatives", "batch norm in the heads"),
    "MoCo": (None, "slow keys, m = 0", "slow keys, m = 0.9"),
    "BYOL": (None, "predictor", "slow target", "batch norm in the heads", "batch statistics"),
    "SimSiam": (None, "stop-gradient", "predictor", "batch norm in the heads", "batch statistics", "weight decay"),
}


class OnlyPull(SimCLR):
    """SimCLR without negatives: partners must agree, and nothing is pushed apart."""

    def loss(self, views: list[Tensor]) -> Tensor:
        z1, z2 = self.project(torch.cat(views)).chunk(2)
        return negative_cosine(z1, z2)


class Standardised(nn.Module):
    """Weights whose rows have mean 0 and, over all inputs, the sum of squares 1 (Qiao et al., 2019, equation 5)."""

    def forward(self, weight: Tensor) -> Tensor:
        rows = weight.flatten(1)
        rows = rows - rows.mean(dim=1, keepdim=True)
        return (rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-6)).view_as(weight)


def remove(plan: Budget, name: str, part: str | None = None, seed: int = 0) -> Method:
    """A method from random weights by the budget's recipe, without one of its parts (a key of `PATIENTS`).

    "batch norm in the heads" leaves nothing in its place. "batch statistics" puts group norm and standardised weights
    in the place of every batch norm, which know nothing of the other images (Richemond et al., 2020).
    """
    if part not in PATIENTS[name]:
        raise ValueError(f"from {name} can be removed: {', '.join(filter(None, PATIENTS[name]))}; got {part!r}")
    if part == "negatives":
        torch.manual_seed(seed)
        return OnlyPull(plan.encoder_for(name, seed), **plan.recipe(name).method).to(plan.device)
    method = plan.make(name, seed, **ARGUMENTS.get(part, {}))
    if part == "batch norm in the heads":  # those of the encoder are 2d
        replace(method, nn.BatchNorm1d, lambda norm: nn.Identity())
    if part == "batch statistics":
        replace(method, BATCH_NORMS, group_norm)
        for layer in list(method.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                register_parametrization(layer, "weight", Standardised())
    return method.to(plan.device)


def options(plan: Budget, name: str, part: str | None = None) -> dict[str, Any]:
    """All of `pretrain`'s options for a patient: the recipe's, or those without weight decay."""
    train = plan.recipe(name).train
    return train | {"weight_decay": 0.0} if part == "weight decay" else train


def replace(method: nn.Module, kinds: type | tuple[type, ...], make: Callable[[nn.Module], nn.Module]) -> None:
    """Put another layer in the place of each one of some kinds, in place."""
    for module in list(method.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, kinds):
                setattr(module, name, make(layer))


def group_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.GroupNorm:
    """A group norm for as many channels, in 16 groups where that is possible."""
    channels = norm.num_features
    return nn.GroupNorm(math.gcd(16, channels), channels, affine=norm.affine)


def to_z(method: Method) -> nn.Sequential:
    """The network whose outputs a method's loss compares: encoder and projector, which a paper may call expander."""
    head = method.projector if hasattr(method, "projector") else method.expander
    return nn.Sequential(method.encoder, head)
