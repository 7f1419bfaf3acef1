"""Sending what was drawn on the CPU to where it is used."""

import torch
from torch import Tensor


def send(x: Tensor, device: torch.device | str) -> Tensor:
    """A CPU tensor on `device`. If that is a GPU, the CPU does not wait for it.

    An ordinary `.to(device)` waits until the GPU has done all that it was given before. Only from pinned memory does a
    copy run beside the CPU's work.
    """
    if torch.device(device).type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)
