"""The exported MAE, run by onnxruntime, against PyTorch."""

import sys

import onnx
import onnxruntime
import pytest
import torch

from sslbook.export import Reconstruction, mae_to_onnx, mask_indices
from sslbook.methods import MAE
from sslbook.vit import ViT, vit_micro

DECODER = dict(decoder_dim=48, decoder_depth=2, decoder_heads=2)


def network(patch=4, norm_pix_loss=False):
    torch.manual_seed(0)
    if patch == 4:
        return MAE(vit_micro(), mask_ratio=0.6, norm_pix_loss=norm_pix_loss, **DECODER)
    return MAE(ViT(32, patch, dim=24, depth=1, heads=2), norm_pix_loss=norm_pix_loss, **DECODER)


def some_hidden(patches, visible, seed=0):
    hidden = torch.ones(patches, dtype=torch.bool)
    hidden[torch.randperm(patches, generator=torch.Generator().manual_seed(seed))[:visible]] = False
    return hidden


def pasted(mae, images, every, hidden):
    return mae.unpatchify(torch.where(hidden[None, :, None], mae.patchify(every), mae.patchify(images)))


@pytest.mark.parametrize("norm_pix_loss", [False, True])
@pytest.mark.parametrize("patch", [4, 8])
def test_onnx_equals_reconstruct_for_any_number_of_visible_patches(patch, norm_pix_loss):
    mae = network(patch, norm_pix_loss)
    patches = mae.encoder.patches
    session = onnxruntime.InferenceSession(mae_to_onnx(mae))
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for k in (0, 1, patches // 4, patches - 1, patches):
        hidden = some_hidden(patches, k)
        visible, ids_restore = mask_indices(hidden)
        assert len(visible) == k
        inputs = {"image": image, "visible": visible, "ids_restore": ids_restore}
        (got,) = session.run(["reconstruction"], {name: x.numpy() for name, x in inputs.items()})
        expected, _ = mae.reconstruct(image, hidden[None])
        torch.testing.assert_close(pasted(mae, image, torch.tensor(got), hidden), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            torch.tensor(got), Reconstruction(mae)(image, visible, ids_restore), atol=1e-5, rtol=0
        )


def test_a_batch_shares_a_mask():
    mae, images, hidden = network(), torch.rand(3, 3, 32, 32), some_hidden(64, 20)
    with torch.no_grad():
        every = Reconstruction(mae)(images, *mask_indices(hidden))
    expected, _ = mae.reconstruct(images, hidden.expand(3, -1))
    torch.testing.assert_close(pasted(mae, images, every, hidden), expected)


def test_mask_indices_put_visible_patches_first_in_row_order():
    visible, ids_restore = mask_indices(torch.tensor([True, False, True, False, False]))
    assert visible.tolist() == [1, 3, 4] and ids_restore.tolist() == [3, 0, 4, 1, 2]


def test_the_file_is_small_valid_and_tells_nothing_of_this_machine():
    mae = network()
    mae.train()
    model = mae_to_onnx(mae)
    assert mae.training
    weights = 4 * sum(p.numel() for p in mae.parameters())
    assert weights < len(model) < weights + 100_000
    assert b".py" not in model
    onnx.checker.check_model(onnx.load_from_string(model))


def test_errors(monkeypatch):
    with pytest.raises(ValueError, match="must be a MAE, got ViT"):
        mae_to_onnx(vit_micro())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match="needs onnxscript; run: pip install onnx onnxscript"):
        mae_to_onnx(network())
