"""A network that follows another as its exponential moving average: MoCo's keys, BYOL's target."""

from __future__ import annotations

import copy
import math

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def ema_copy(online: nn.Module) -> nn.Module:
    """A deep copy that no gradient trains: only `update_ema` moves it."""
    return copy.deepcopy(online).requires_grad_(False)


def update_ema(target: nn.Module, online: nn.Module, tau: float, *, copy_buffers=False) -> None:
    """target <- tau * target + (1 - tau) * online, all parameters in one call, without a gradient.

    Buffers are no part of the average. A target in train mode (MoCo, BYOL) keeps the batch-norm
    statistics of what it has seen itself; `copy_buffers=True` takes the online network's, for a
    target that never runs in train mode.

    Args:
        target: moved in place; the same architecture as `online`, for instance `ema_copy(online)`.
        online: left as it is.
        tau: momentum in [0, 1]. 1 leaves the target exactly where it is, 0 copies.

    Raises:
        ValueError: tau is outside [0, 1], or the two networks differ in shape.
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must lie in [0, 1], got {tau}")
    old, new = list(target.parameters()), list(online.parameters())
    if [p.shape for p in old] != [p.shape for p in new]:
        raise ValueError("target and online must be the same architecture; shapes differ")
    if old:
        get_ema_multi_avg_fn(tau)(old, new, None)  # a handful of kernels for the whole network
    if copy_buffers:
        for ours, theirs in zip(target.buffers(), online.buffers(), strict=True):
            ours.copy_(theirs)


def cosine_tau(progress: float, base: float) -> float:
    """1 - (1 - base) (cos(pi progress) + 1) / 2 (BYOL, section 3.3): `base` at 0, 1.0 from 1 on.

    The target follows quickly while there is much to learn, and stands still at the end.
    """
    return 1 - (1 - base) * (math.cos(math.pi * min(progress, 1.0)) + 1) / 2


def linear_tau(progress: float, base: float) -> float:
    """From `base` at 0 in a line to 1.0, and 1.0 from there on (Assran et al., 2023, appendix A.1)."""
    return base + (1 - base) * min(progress, 1.0)
