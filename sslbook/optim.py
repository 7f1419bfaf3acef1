"""LARS, the cosine schedule with warm-up, and which parameters get no weight decay, or no gradient for a while."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class LARS(Optimizer):
    """SGD whose step is as long as the layer's weights allow (You et al., 2017), for large batches.

    Each tensor's update (gradient + weight decay) is scaled by `trust * |weights| / |update|`. Groups with
    `adapt=False` (biases and norms, see `parameter_groups`) get plain SGD with momentum.

    `lr_in_momentum` keeps the learning rate inside the momentum buffer, as google-research/simclr does; the default,
    as in Barlow Twins, BYOL and MoCo v3, multiplies by it last. The two differ only while the rate changes.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        lr_in_momentum: bool = False,
    ):
        if lr < 0 or not 0 <= momentum < 1 or weight_decay < 0 or trust <= 0:
            raise ValueError(
                "LARS needs lr >= 0, 0 <= momentum < 1, weight_decay >= 0 and trust > 0, "
                f"got lr={lr}, momentum={momentum}, weight_decay={weight_decay}, trust={trust}"
            )
        defaults = dict(lr=lr, momentum=momentum, weight_decay=weight_decay, trust=trust, adapt=True)
        super().__init__(params, defaults)
        self.lr_in_momentum = lr_in_momentum

    @torch.no_grad()
    def step(self, closure=None) -> None:
        if closure is not None:
            raise ValueError("LARS takes no closure: call loss.backward() first, then step()")
        for group in self.param_groups:  # a handful of kernels for each, however many tensors it has
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            updates = torch._foreach_add([p.grad for p in params], params, alpha=group["weight_decay"])
            if group["adapt"]:
                weights, sizes = (torch.stack(torch._foreach_norm(x)) for x in (params, updates))
                ratios = torch.where((weights > 0) & (sizes > 0), group["trust"] * weights / sizes, 1.0)
                torch._foreach_mul_(updates, list(ratios.unbind()))
            buffers = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in params]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates, alpha=group["lr"] if self.lr_in_momentum else 1.0)
            torch._foreach_sub_(params, buffers, alpha=1.0 if self.lr_in_momentum else group["lr"])


class SGD(torch.optim.SGD):
    """PyTorch's, with every momentum buffer there from the start.

    Its fused kernel wants a buffer of all parameters or of none, and stops with a TypeError where a layer that was
    frozen at first gets its first gradient later than the others. A buffer of zeros gives the same step.
    """

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if group["momentum"]:
                for p in group["params"]:
                    if p.grad is not None and self.state[p].get("momentum_buffer") is None:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return super().step(closure)


def can_fuse(device: torch.device) -> bool | None:
    """What PyTorch's optimisers take as `fused`: one kernel for all weights where there is one, else their default."""
    return device.type in ("cpu", "cuda") or None


class ParameterGroup(TypedDict, total=False):
    """What a group of parameters may say to the optimiser and to the loop."""

    params: list[nn.Parameter]
    weight_decay: float
    weight_decay_end: float  # to which weight decay rises or falls over the training, as half a cosine
    betas: tuple[float, float]  # of AdamW
    adapt: bool  # whether LARS scales the step by the layer
    constant_lr: bool  # the learning rate does not follow the schedule
    lr_scale: float  # times the learning rate of the others
    turn: str  # whose optimiser holds it, one of `Method.turns`


def parameter_groups(module: nn.Module, weight_decay: float) -> list[ParameterGroup]:
    """The trainable parameters in two groups: biases and norms (one axis) get neither weight decay nor adaptation."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay, "adapt": True},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0, "adapt": False},
    ]


def rate_of(group: Mapping[str, Any], lr: float | Tensor, rate: float | Tensor) -> float | Tensor:
    """A group's learning rate, where `rate` is what the schedule makes of `lr` now."""
    return (lr if group.get("constant_lr") else rate) * group.get("lr_scale", 1)


def warmup_cosine(step: int, total: int, warmup: int = 0) -> float:
    """Share of the base learning rate at a step: linear from 0 over `warmup` steps, then half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, its weights get no gradient, and let one pass."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
