"""A trained network as an ONNX file, which a browser runs with onnxruntime-web: no server and no kernel."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn

from sslbook.methods.mae import MAE

OPSET = 18  # what torch's exporter writes without a conversion; onnxruntime has read it since 1.14


class Reconstruction(nn.Module):
    """Every patch as a MAE predicts it, the visible ones too.

    Takes images (n, 3, S, S) in [0, 1] with `visible` (k,) and `ids_restore` (L,) from `mask_indices`, the same mask
    for all, and gives pictures (n, 3, S, S) in [0, 1]. k is any number from 0 to L. Where a patch is hidden, this is
    what `MAE.reconstruct` shows: with `norm_pix_loss`, true means and deviations are put back.
    """

    def __init__(self, mae: MAE):
        super().__init__()
        self.mae = mae

    def forward(self, images: Tensor, visible: Tensor, ids_restore: Tensor) -> Tensor:
        encoder = self.mae.encoder
        latent = encoder.encode(encoder.tokens(images)[:, visible])
        _, mean, std = self.mae.target(images)
        patches = self.mae.decode(latent, ids_restore[None]) * std + mean
        return encoder.unstandardise(self.mae.unpatchify(patches)).clamp(0, 1)


def mask_indices(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Of a mask, bool (L,): the visible patches in row order, and the place of each patch when they come first."""
    order = hidden.to(torch.uint8).argsort(stable=True)
    return order[: (~hidden).sum()], order.argsort()


def mae_to_onnx(mae: MAE) -> bytes:
    """`Reconstruction` as an ONNX model: image (1, 3, S, S), visible (k,), ids_restore (L,) to reconstruction.

    It holds float32 weights and nothing of this machine. The MAE itself stays where and as it is.

    Raises:
        ValueError: this is no MAE.
        ImportError: onnx or onnxscript, which torch's exporter needs, is missing.
    """
    if not isinstance(mae, MAE):
        raise ValueError(f"mae must be a MAE, got {type(mae).__name__}")
    try:
        import onnxscript  # noqa: F401  (brings onnx)
    except ImportError as error:
        raise ImportError(f"exporting to ONNX needs {error.name}; run: pip install onnx onnxscript") from error
    encoder = mae.encoder
    hidden = torch.arange(encoder.patches) % 2 == 0
    k = torch.export.Dim("k", min=0, max=encoder.patches)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch 2.11's, of its own code
        program = torch.onnx.export(
            Reconstruction(copy.deepcopy(mae).cpu().float()).eval(),
            (torch.zeros(1, 3, encoder.size, encoder.size), *mask_indices(hidden)),
            input_names=["image", "visible", "ids_restore"],
            output_names=["reconstruction"],
            dynamic_shapes={"images": None, "visible": {0: k}, "ids_restore": None},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    graph = model.graph
    del graph.value_info[:]
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # stack traces with the paths of this machine
    return model.SerializeToString()
