"""A network's weights as a page carries them; weights.js takes them apart by name again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def packed(state: Mapping[str, Tensor], dtype: torch.dtype = torch.float16) -> tuple[bytes, list[list]]:
    """The numbers of all tensors, one tensor after the other; and for each [name, how many numbers]."""
    numbers = b"".join(value.detach().to("cpu", dtype).contiguous().numpy().tobytes() for value in state.values())
    return numbers, [[name, value.numel()] for name, value in state.items()]
