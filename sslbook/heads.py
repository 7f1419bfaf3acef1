"""Small networks on top of an encoder: projectors and predictors."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def mlp_head(widths: Sequence[int], *, norm: bool = True, norm_output: bool = False) -> nn.Sequential:
    """Linear layers of the given widths, batch norm (unless `norm=False`) and ReLU after all but the last.

    `norm_output` ends the head with a batch norm that has neither scale nor shift, as in SimSiam's projector; the one
    of SimCLR's official code has a scale and no shift. A linear layer that a batch norm follows has no bias: the norm
    would take it away again.

    >>> projector = mlp_head([512, 512, 128])
    """
    if len(widths) < 2:
        raise ValueError(f"widths are the input, any hidden layers and the output, at least two; got {list(widths)}")
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        last = i == len(widths) - 2
        layers.append(nn.Linear(inputs, outputs, bias=not (norm_output if last else norm)))
        if not last:
            layers += [nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
        elif norm_output:
            layers.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*layers)


class DINOHead(nn.Module):
    """DINO's h (Caron et al., 2021, appendix C): an MLP to a narrow layer, then cosines with K prototypes, in [-1, 1].

    The paper calls the last step a weight-normalised layer whose norms stay 1. `norm` puts batch norm behind the hidden
    layers: the official code has it as an option, off by default.
    """

    def __init__(self, inputs: int, hidden: int, bottleneck: int, K: int, norm: bool = False):
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, hidden):
            layers.append(nn.Linear(width, hidden, bias=not norm))
            layers += [nn.BatchNorm1d(hidden), nn.GELU()] if norm else [nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        self.last_layer = nn.Linear(bottleneck, K, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        z = F.normalize(self.mlp(features), dim=1)
        return F.linear(z, F.normalize(self.last_layer.weight, dim=1))
