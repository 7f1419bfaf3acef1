"""A decoder as a page carries it; decoder.js runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslbook.decoders import Decoder
from sslbook.widgets._network import packed

MOST_BYTES = 4_000_000  # of weights that a page carries


def packed_decoder(decoder: Decoder) -> tuple[bytes, dict[str, object]]:
    """Its weights as float16, and what decoder.js must know beside them.

    Raises:
        ValueError: the decoder is too large for a page, or a weight too large for float16.
    """
    state = folded(decoder)
    weights, parts = packed(state)
    if len(weights) > MOST_BYTES:
        raise ValueError(f"a page carries at most {MOST_BYTES:,} bytes of weights, got {len(weights):,}")
    if any(not value.half().isfinite().all() for value in state.values()):
        raise ValueError("a weight of the decoder is no finite float16 number: did the training diverge?")
    layers = [layer for layer in decoder if isinstance(layer, (nn.ConvTranspose2d, Doubling))]
    about = dict(
        latents=decoder.latents,
        size=decoder.size,
        channels=[layer.in_channels for layer in layers] + [layers[-1].out_channels],
        parts=parts,
    )
    return weights, about


@torch.no_grad()
def folded(decoder: Decoder) -> dict[str, Tensor]:
    """Weight and bias of each layer, with the batch norm after it, as it is in evaluation, multiplied into them."""
    layers = [layer for layer in decoder if isinstance(layer, (nn.Linear, nn.ConvTranspose2d))]
    norms = [layer for layer in decoder if isinstance(layer, nn.BatchNorm2d)]
    state = {}
    for i, (layer, norm) in enumerate(zip(layers, [*norms, None])):  # the last layer has a bias instead
        weight, bias = layer.weight, layer.bias
        if norm is not None:
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            bias = norm.bias - norm.running_mean * scale
            if isinstance(layer, nn.Linear):  # each channel is a grid of its outputs
                cells = layer.out_features // norm.num_features
                weight = weight * scale.repeat_interleave(cells)[:, None]
            else:
                weight = weight * scale[:, None, None]
        state |= {f"{i}.weight": weight, f"{i}.bias": bias}
    return state
