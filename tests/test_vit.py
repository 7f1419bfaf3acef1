import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures
from torch import nn

from sslbook import encoders
from sslbook.evaluate import embed
from sslbook.vit import IMAGENET, ViT, sincos_positions, vit_base, vit_micro, vit_tiny

GOLDEN = np.load(Path(__file__).parent / "golden/05_mae.npz")


def golden(name):
    return torch.tensor(GOLDEN[name], dtype=torch.float64)


def tiny(**options):
    torch.manual_seed(0)
    return ViT(**{"size": 16, "patch": 4, "dim": 8, "depth": 2, "heads": 2, **options})


def block_by_hand(block, x):
    """Pre-norm, softmax written out, by the names of the official parameters."""
    p = dict(block.named_parameters())

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]
        )

    width, heads = x.shape[2], block.attn.heads
    head = width // heads
    q, k, v = linear(norm(x, "norm1"), "attn.qkv").split(width, dim=2)
    mixed = []
    for i in range(heads):
        qh, kh, vh = (y[..., i * head : (i + 1) * head] for y in (q, k, v))
        mixed.append((qh @ kh.mT / math.sqrt(head)).softmax(-1) @ vh)
    x = x + linear(torch.cat(mixed, dim=-1), "attn.proj")
    hidden = linear(norm(x, "norm2"), "mlp.fc1")
    return x + linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), "mlp.fc2")


@pytest.mark.parametrize("name", [k for k in GOLDEN.files if k.startswith("posembed_")])
def test_positions_equal_the_official_tables(name):
    dim, grid = (int(x) for x in re.findall(r"_[dg](\d+)", name))
    table = sincos_positions(dim, grid, cls_token=name.endswith("_cls"))
    np.testing.assert_allclose(table, GOLDEN[name], rtol=0, atol=1e-7)


def test_the_column_comes_first_and_cls_lies_nowhere():
    table = sincos_positions(8, 3)
    assert table.shape == (10, 8) and not table[0].any()
    grid = table[1:].view(3, 3, 8)
    assert torch.equal(grid[0], torch.cat([grid[0, :, :4], grid[0, :1, 4:].expand(3, -1)], dim=1))  # along a row
    assert grid[0, 1, 0] == pytest.approx(math.sin(1)) and grid[1, 0, 4] == pytest.approx(math.sin(1))


def test_without_a_mask_it_gives_the_official_features():
    encoder = ViT(32, 4, dim=48, depth=2, heads=3).double()
    state = {k[6:]: golden(k) for k in GOLDEN.files if k.startswith("state.")}
    result = encoder.load_state_dict(state, strict=False)
    assert not result.missing_keys and {k.split("_")[0] for k in result.unexpected_keys} == {"decoder", "mask"}
    for pool, name in (("cls", "latent_mask_ratio0_cls"), ("mean", "latent_mask_ratio0_mean_tokens")):
        encoder.pool = pool
        np.testing.assert_allclose(encoder(golden("imgs")).detach(), GOLDEN[name], rtol=0, atol=5e-7)


def test_a_block_is_pre_norm_attention_then_an_mlp():
    block = tiny(dim=12, heads=3).double().blocks[0]
    for p in block.parameters():  # none at its trivial start
        nn.init.normal_(p)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(block(x), block_by_hand(block, x), rtol=1e-9, atol=1e-9)


def test_names_and_shapes_are_those_of_the_official_vit_b_16():
    width = {"attn.qkv": 2304, "mlp.fc1": 3072}
    inputs = {"mlp.fc2": 3072}
    expected = {
        "cls_token": (1, 1, 768), "pos_embed": (1, 197, 768), "norm.weight": (768,), "norm.bias": (768,),
        "patch_embed.proj.weight": (768, 3, 16, 16), "patch_embed.proj.bias": (768,),
    }  # fmt: skip
    for i in range(12):
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
            out = width.get(layer, 768)
            expected[f"blocks.{i}.{layer}.bias"] = (out,)
            expected[f"blocks.{i}.{layer}.weight"] = (out,) if "norm" in layer else (out, inputs.get(layer, 768))
    with torch.device("meta"):
        encoder = vit_base()
    assert {k: tuple(v.shape) for k, v in encoder.state_dict().items()} == expected
    assert sum(p.numel() for p in encoder.parameters()) == 85_798_656


def test_every_norm_has_the_vit_s_eps():
    norms = [m for m in tiny().modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 5 and {m.eps for m in norms} == {1e-6}


def test_it_starts_as_in_the_paper_s_code():
    torch.manual_seed(0)
    encoder = ViT(32, 4, dim=96, depth=1, heads=3)
    for name, (inputs, outputs) in {"attn.qkv": (96, 288), "mlp.fc2": (384, 96)}.items():
        layer = encoder.blocks[0].get_submodule(name)
        bound = math.sqrt(6 / (inputs + outputs))
        assert 0.98 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
    bound = math.sqrt(6 / (48 + 96))  # the convolution counts as a linear layer of 48 inputs
    assert 0.98 * bound < encoder.patch_embed.proj.weight.abs().max() <= bound
    assert encoder.cls_token.std().item() == pytest.approx(0.02, rel=0.25)
    assert not encoder.pos_embed.requires_grad
    torch.testing.assert_close(encoder.pos_embed[0], sincos_positions(96, 8))


@pytest.mark.parametrize("build", [vit_micro, vit_tiny])
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_pictures_become_features(build, pool):
    encoder = build(pool=pool)
    features = embed(encoder, pictures(3, size=32))
    assert features.shape == (3, encoder.features_dim) == (3, encoders.features_dim(encoder))
    assert encoder.training and features.isfinite().all()


def test_a_subset_of_patches_will_do_and_their_order_does_not_matter():
    encoder = tiny().double()
    tokens = encoder.tokens(pictures().double())
    x = encoder.encode(tokens[:, [3, 7, 1]])
    assert x.shape == (2, 4, 8)
    torch.testing.assert_close(encoder.encode(tokens[:, [1, 3, 7]]), x[:, [0, 3, 1, 2]], rtol=1e-9, atol=1e-12)


def test_where_a_patch_lies_matters():
    encoder, x = tiny(), pictures()
    torch.testing.assert_close(encoder.tokens(x) - encoder.patch_embed(x), encoder.pos_embed[:, 1:].expand(2, -1, -1))
    assert not torch.allclose(encoder(x), encoder(x.flip(3)), atol=1e-3)


def test_pool_takes_cls_or_the_mean_of_the_patches():
    encoder, x = tiny(), pictures()
    outputs = encoder.encode(encoder.tokens(x))
    assert torch.equal(encoder(x), outputs[:, 0])
    encoder.pool = "mean"
    torch.testing.assert_close(encoder(x), outputs[:, 1:].mean(1))


def test_colours_are_standardised_if_it_is_told_to():
    plain, told, x = tiny(), tiny(**IMAGENET), pictures()
    mean, std = (torch.tensor(IMAGENET[k]).view(3, 1, 1) for k in ("mean", "std"))
    torch.testing.assert_close(told(x), plain((x - mean) / std))
    torch.testing.assert_close(told.unstandardise(told.standardise(x)), x)
    assert plain.standardise(x) is x and plain.unstandardise(x) is x
    assert told.state_dict().keys() == plain.state_dict().keys(), "the state dict has the official names only"


def test_no_gradient_reaches_the_positions():
    encoder = tiny()
    F.mse_loss(encoder(pictures()), torch.zeros(2, 8)).backward()
    assert [k for k, p in encoder.named_parameters() if p.grad is None] == ["pos_embed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size=30), "size=30 and patch=4"),
        (dict(size=2), "size=2 and patch=4"),
        (dict(patch=0), "patch=0"),
        (dict(heads=3), "dim=8 and heads=3"),
        (dict(dim=6), "a multiple of 4, got 6"),
        (dict(pool="max"), "'cls' or 'mean', got 'max'"),
        (dict(mean=(0.5, 0.5, 0.5)), "mean and std go together"),
    ],
)
def test_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


@pytest.mark.parametrize("shape", [(2, 3, 20, 16), (2, 3, 18, 18), (2, 3, 0, 0), (2, 1, 16, 16), (3, 16, 16)])
def test_refuses_images_that_it_cannot_cut(shape):
    with pytest.raises(ValueError, match=re.escape(f"a multiple of the patch, 4; got {shape}")):
        tiny()(torch.zeros(shape))


def test_a_small_crop_has_fewer_patches_spread_over_the_same_whole():
    encoder = tiny(dim=48).double()
    small = pictures(size=8).double()
    positions = (encoder.tokens(small) - encoder.patch_embed(small))[0].view(2, 2, 48)
    whole = encoder.pos_embed[0, 1:].view(4, 4, 48)
    slow = [5, 11, 17, 23]  # the lowest frequencies of the column, sines and cosines
    torch.testing.assert_close(
        positions[0, :, slow], (whole[0, 0::2] + whole[0, 1::2])[:, slow] / 2, rtol=0.02, atol=0.02
    )
    large = pictures(size=24)
    assert encoder.float()(large).shape == (2, 48) and encoder.tokens(large).shape == (2, 36, 48)
    assert (encoder.size, encoder.pos_embed.shape) == (16, (1, 17, 48)), "the weights stay those of its own size"


@torch.no_grad()
def test_attention_of_cls_is_what_the_last_block_multiplies_values_with():
    torch.manual_seed(0)
    encoder = ViT(size=16, patch=4, dim=8, depth=2, heads=2).double()
    images = pictures(3).double()
    attention = encoder.attention(images)
    assert attention.shape == (3, 2, 4, 4)
    seen = {}
    last = encoder.blocks[-1].attn
    last.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0]))
    encoder(images)
    weights = last.weights(seen["x"])
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(3, 2, 17).double())
    torch.testing.assert_close(weights[:, :, 0, 1:].unflatten(2, (4, 4)), attention)
    _, _, v = last.split(seen["x"])
    torch.testing.assert_close(last.proj((weights @ v).transpose(1, 2).flatten(2)), last(seen["x"]))
    assert (attention.sum(dim=(2, 3)) < 1).all(), "CLS keeps some for itself"
    assert encoder.attention(pictures(2, size=24).double()).shape == (2, 2, 6, 6)


def test_patch_features_are_what_the_mean_is_taken_of():
    encoder = ViT(size=16, patch=4, dim=8, depth=1, heads=2, pool="mean")
    images = pictures(3)
    features = encoder.patch_features(images)
    assert features.shape == (3, 16, 8)
    torch.testing.assert_close(features.mean(dim=1), encoder(images))


def test_thawing_leaves_the_positions_frozen():
    encoder = ViT(size=16, patch=4, dim=8, depth=1, heads=2).requires_grad_(False)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.requires_grad_() is encoder
    assert [name for name, p in encoder.named_parameters() if not p.requires_grad] == ["pos_embed"]
