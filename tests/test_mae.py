import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import pictures

from sslbook import sets
from sslbook.encoders import ConvNet
from sslbook.losses import masked_error
from sslbook.methods import MAE
from sslbook.pretrain import pretrain
from sslbook.vit import IMAGENET, ViT, sincos_positions, vit_base, vit_micro

GOLDEN = np.load(Path(__file__).parent / "golden/05_mae.npz")
DECODER = ("mask_token", "decoder_")


def golden(name):
    x = torch.tensor(GOLDEN[name])
    return x.double() if x.is_floating_point() else x


def official(norm_pix_loss=False):
    """The model behind the golden vectors, with its weights."""
    encoder = ViT(32, 4, dim=48, depth=2, heads=3)
    method = MAE(encoder, float(GOLDEN["mask_ratio_f64"]), norm_pix_loss, 32, 1, 4).double()
    method.load_state_dict(ours({k[6:]: golden(k) for k in GOLDEN.files if k.startswith("state.")}))
    return method


def ours(state):
    """Official names in ours: what is not the decoder's is the encoder's."""
    return {k if k.startswith(DECODER) else f"encoder.{k}": v for k, v in state.items()}


def tiny(norm_pix_loss=False, mask_ratio=0.75, **options):
    torch.manual_seed(0)
    return MAE(ViT(16, 4, dim=8, depth=1, heads=2, **options), mask_ratio, norm_pix_loss, 8, 1, 2)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_loss_prediction_and_gradients_equal_the_official_ones(norm_pix_loss):
    method, suffix = official(norm_pix_loss), "_norm_pix" if norm_pix_loss else ""
    loss, pred, mask = method(golden("imgs"), golden("noise"))
    assert loss.item() == pytest.approx(float(GOLDEN[f"loss{suffix}_f64"]), abs=1e-9)
    np.testing.assert_allclose(pred.detach(), GOLDEN["pred"], rtol=0, atol=5e-7)
    np.testing.assert_array_equal(mask, GOLDEN["mask"].astype(bool))
    loss.backward()
    keys = [k for k in GOLDEN.files if k.startswith(f"grad{suffix}.")]
    assert len(keys) == 9
    for key in keys:
        name = key.removeprefix(f"grad{suffix}.")
        gradient = method.get_parameter(name if name.startswith(DECODER) else f"encoder.{name}").grad
        np.testing.assert_allclose(gradient, GOLDEN[key], rtol=0, atol=2e-8, err_msg=key)


def test_features_of_the_visible_patches_equal_the_official_ones():
    latent, mask, ids_restore = official().encode(golden("imgs"), golden("noise"))
    np.testing.assert_allclose(latent.detach(), GOLDEN["latent"], rtol=0, atol=5e-7)
    np.testing.assert_array_equal(mask, GOLDEN["mask"].astype(bool))
    np.testing.assert_array_equal(ids_restore, GOLDEN["ids_restore"])


def test_patches_equal_the_official_ones_and_come_back():
    method, images = official(), golden("imgs")
    np.testing.assert_array_equal(method.patchify(images), GOLDEN["patchify"])
    np.testing.assert_array_equal(method.unpatchify(golden("unpatchify_in")), GOLDEN["unpatchify_out"])
    assert torch.equal(method.unpatchify(method.patchify(images)), images)
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(method.patchify(strided), method.patchify(images))
    assert torch.equal(method.patchify(images)[1, 9], images[1, :, 4:8, 4:8].permute(1, 2, 0).flatten())  # L = 8 x 8


def test_masking_keeps_the_lowest_noise():
    noise = torch.tensor([[0.4, 0.1, 0.9, 0.2], [0.3, 0.8, 0.7, 0.0]])
    method = tiny()
    method.keep = 2
    tokens = torch.arange(24.0).view(2, 4, 3)
    visible, mask, ids_restore = method.random_masking(tokens, noise)
    assert torch.equal(visible, torch.stack([tokens[0, [1, 3]], tokens[1, [3, 0]]]))
    assert mask.tolist() == [[True, False, True, False], [False, True, True, False]]
    assert ids_restore.tolist() == [[2, 0, 3, 1], [1, 3, 2, 0]]
    everything = torch.cat([visible, torch.full((2, 2, 3), -1.0)], dim=1)
    restored = everything.take_along_dim(ids_restore[:, :, None], dim=1)
    assert torch.equal(restored, tokens.masked_fill(mask[:, :, None], -1))


@pytest.mark.parametrize(("ratio", "keep"), [(0.75, 16), (0.9, 6), (0.6, 25), (0.01, 63)])
def test_as_many_patches_stay_as_officially(ratio, keep):
    method = MAE(ViT(32, 4, 8, 1, 2), ratio, decoder_dim=8, decoder_depth=1, decoder_heads=2)
    visible, mask, _ = method.random_masking(torch.zeros(3, 64, 8))
    assert visible.shape == (3, keep, 8) and (mask.sum(1) == 64 - keep).all()


def test_masks_are_drawn_from_the_global_cpu_generator():
    method, masks = tiny(), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(method.random_masking(torch.zeros(64, 16, 8))[1])
    torch.manual_seed(0)
    assert torch.equal(masks[0], method.random_masking(torch.zeros(64, 16, 8), torch.rand(64, 16))[1])
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert len(masks[0].unique(dim=0)) > 55, "every image has a mask of its own"


def test_the_encoder_does_not_see_hidden_patches_and_knows_where_the_visible_ones_are():
    method, images = tiny(), pictures()
    hidden = torch.zeros(2, 16, dtype=torch.bool)
    hidden[0, 3:9] = hidden[1, 7:13] = True
    patches = method.patchify(images)
    changed = method.unpatchify(patches.masked_fill(hidden[:, :, None], 0.0))
    latent, mask, _ = method.encode_visible(images, hidden)
    assert torch.equal(mask, hidden) and latent.shape == (2, 1 + 10, 8)
    assert torch.equal(latent, method.encode_visible(changed, hidden)[0])
    tokens = method.encoder.tokens(images)  # with positions, before anything is dropped
    expected = torch.stack([row[~h] for row, h in zip(tokens, hidden)])
    torch.testing.assert_close(latent, method.encoder.encode(expected))


def test_the_error_counts_hidden_patches_only():
    pred, target = torch.randn(2, 2, 4, 6, generator=torch.Generator().manual_seed(0)).unbind()
    mask = torch.tensor([[True, False, True, True], [False, False, True, False]])
    expected = ((pred - target) ** 2)[mask].mean()
    assert masked_error(pred, target, mask).item() == pytest.approx(expected.item())
    assert masked_error(torch.where(mask[:, :, None], pred, 99), target, mask).item() == pytest.approx(expected.item())


def test_targets_are_pixels_or_patches_standardised_by_themselves():
    images = pictures()
    plain, *_ = tiny().target(images)
    assert torch.equal(plain, tiny().patchify(images))
    target, mean, std = tiny(norm_pix_loss=True).target(images)
    torch.testing.assert_close(target.mean(2), torch.zeros(2, 16), rtol=0, atol=1e-5)
    torch.testing.assert_close(target.var(2), torch.ones(2, 16), rtol=0, atol=1e-4)  # unbiased: 1 / 47
    torch.testing.assert_close(target * std + mean, plain)
    flat = tiny(norm_pix_loss=True).target(torch.full((1, 3, 16, 16), 0.3))[0]
    assert flat.abs().max() < 1e-3, "eps keeps a flat patch finite"
    standard = tiny(**IMAGENET)
    assert torch.equal(standard.target(images)[0], standard.patchify(standard.encoder.standardise(images)))


@pytest.mark.parametrize("norm_pix_loss", [False, True])
@pytest.mark.parametrize("options", [{}, IMAGENET], ids=["plain", "standardised"])
def test_a_perfect_prediction_reconstructs_the_image(norm_pix_loss, options, monkeypatch):
    method, images = tiny(norm_pix_loss, **options), pictures()
    monkeypatch.setattr(method, "decode", lambda latent, ids_restore: method.target(images)[0])
    pixels, hidden = method.reconstruct(images)
    torch.testing.assert_close(pixels, images)
    assert (hidden.sum(1) == 12).all()
    monkeypatch.setattr(method, "decode", lambda latent, ids_restore: torch.zeros(2, 16, 48))
    grey, where = method.reconstruct(images, hidden)[0], method.unpatchify(hidden[:, :, None].expand(-1, -1, 48))
    assert torch.equal(grey[~where], images[~where]), "what is visible stays as it is"
    if norm_pix_loss:  # nothing but each patch's own mean is left
        means = method.patchify(method.encoder.standardise(images)).mean(2, keepdim=True).expand(-1, -1, 48)
        torch.testing.assert_close(grey[where], method.encoder.unstandardise(method.unpatchify(means))[where])
    elif options:  # the prediction 0 is the mean colour
        torch.testing.assert_close(grey, torch.where(where, torch.tensor(IMAGENET["mean"]).view(3, 1, 1), images))


@pytest.mark.parametrize("clicked", [[], [5], [0, 1, 2, 9, 15], list(range(16))])
def test_any_patches_of_an_image_can_be_hidden(clicked):
    method, image = tiny(), pictures(1)
    hidden = torch.zeros(1, 16, dtype=torch.bool)
    hidden[0, clicked] = True
    pixels, same = method.reconstruct(image, hidden)
    assert torch.equal(same, hidden) and pixels.isfinite().all() and 0 <= pixels.min() <= pixels.max() <= 1
    changed = (method.patchify(pixels) != method.patchify(image)).any(2)
    assert torch.equal(changed, hidden) and not pixels.requires_grad


def test_a_flat_official_vit_b_16_loads_strictly():
    names = dict(
        cls_token=(1, 1, 768), pos_embed=(1, 197, 768), mask_token=(1, 1, 512), decoder_pos_embed=(1, 197, 512)
    )
    layers = {"patch_embed.proj": (768, 3, 16, 16), "decoder_embed": (512, 768), "decoder_pred": (768, 512)}
    norms = {"norm": 768, "decoder_norm": 512}
    for blocks, depth, dim in (("blocks", 2, 768), ("decoder_blocks", 1, 512)):  # the official ones: 12 and 8
        for i in range(depth):
            layers |= {f"{blocks}.{i}.attn.qkv": (3 * dim, dim), f"{blocks}.{i}.attn.proj": (dim, dim)}
            layers |= {f"{blocks}.{i}.mlp.fc1": (4 * dim, dim), f"{blocks}.{i}.mlp.fc2": (dim, 4 * dim)}
            norms |= {f"{blocks}.{i}.norm1": dim, f"{blocks}.{i}.norm2": dim}
    for name, shape in (layers | {k: (v,) for k, v in norms.items()}).items():
        names |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    state = {name: torch.randn(1).expand(shape) for name, shape in names.items()}
    with torch.device("meta"):  # nothing is initialised that is overwritten anyway
        method = MAE(vit_base(depth=2, **IMAGENET), norm_pix_loss=True, decoder_depth=1)
    method.to_empty(device="cpu").load_state_dict(ours(state))
    assert all(torch.equal(method.state_dict()[name], x) for name, x in ours(state).items())


def test_the_decoder_starts_as_in_the_paper_s_code():
    torch.manual_seed(0)
    method = MAE(ViT(32, 4, 48, 1, 3), decoder_dim=256, decoder_depth=1, decoder_heads=4)
    for layer in (method.decoder_embed, method.decoder_pred, method.decoder_blocks[0].attn.qkv):
        bound = math.sqrt(6 / sum(layer.weight.shape))
        assert 0.98 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
    assert method.mask_token.std().item() == pytest.approx(0.02, rel=0.2) and method.decoder_norm.eps == 1e-6
    torch.testing.assert_close(method.decoder_pos_embed[0], sincos_positions(256, 8))


def test_everything_but_positions_learns_and_vectors_do_not_decay():
    method = tiny()
    method.loss([pictures()]).backward()
    fixed = {k for k, p in method.named_parameters() if p.grad is None}
    assert fixed == {"encoder.pos_embed", "decoder_pos_embed"}
    groups = method.parameter_groups(0.05)
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    for group in optimizer.param_groups:
        assert group["betas"] == (0.9, 0.95)
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.05}
    assert sum(len(g["params"]) for g in groups) == len(list(method.parameters())) - len(fixed)


def test_its_one_view_is_cropped_and_flipped_only():
    [view] = MAE.views(224)
    assert view.size == 224 and view.scale == (0.2, 1) and view.flip == 0.5
    assert not (view.jitter or view.grey or view.blur or view.solarize)


def train(epochs):
    images, _ = sets.load("shapes", train=256, test=8)
    torch.manual_seed(0)
    encoder = vit_micro(patch=8, dim=32, depth=1, heads=2)
    method = MAE(encoder, 0.5, decoder_dim=32, decoder_depth=1, decoder_heads=2)
    history = pretrain(method, images, epochs=epochs, batch_size=16, lr=5e-3, weight_decay=0.05, show_progress=False)
    return method, images, history.losses


def test_a_short_training_learns_to_fill_in():
    method, images, losses = train(epochs=30)
    x = method.encoder.standardise(images.images / 255)
    mean_colour = (x - x.mean((2, 3), keepdim=True)).square().mean().item()
    assert np.mean(losses[-16:]) < 0.95 * mean_colour < mean_colour < losses[0]


@pytest.mark.parametrize("ratio", [-0.1, 0, 0.97, 1, 1.5])
def test_refuses_a_mask_that_hides_nothing_or_all(ratio):
    with pytest.raises(ValueError, match=rf"in \(0, 1\) and keep a patch, got {ratio}"):
        tiny(mask_ratio=ratio)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="needs a ViT, got a ConvNet"):
        MAE(ConvNet())
    with pytest.raises(ValueError, match="dim=12 and heads=5"):
        MAE(ViT(depth=1), decoder_dim=12, decoder_heads=5)
    method = tiny()
    with pytest.raises(ValueError, match="one view of an image, got 2"):
        method.loss([pictures(), pictures()])
    with pytest.raises(ValueError, match=r"\(n, 3, 16, 16\), got \(2, 3, 32, 32\)"):
        method.loss([pictures(size=32)])
    for noise in (torch.rand(2, 9), torch.rand(16)):
        with pytest.raises(ValueError, match=r"noise must be \(2, 16\), got \("):
            method.encode(pictures(), noise)
    for hidden in (torch.zeros(2, 9) > 0, torch.zeros(16) > 0, torch.eye(2, 16).cumsum(1) > 0):
        with pytest.raises(ValueError, match=r"hidden must be bool \(n, 16\) and hide as many patches in each image"):
            method.reconstruct(pictures(), hidden)


def test_errors_are_those_of_hidden_pixels():
    method, x = tiny(), pictures(3)
    hidden = torch.zeros(3, 16, dtype=torch.bool)
    hidden[:, 5] = True  # rows and columns 4 to 8
    error, flat = method.errors(x, hidden)
    made, _ = method.reconstruct(x, hidden)
    patch = (..., slice(4, 8), slice(4, 8))
    assert error == pytest.approx((made - x)[patch].square().mean().item(), rel=1e-5)
    assert flat == pytest.approx((x.mean((2, 3), keepdim=True) - x)[patch].square().mean().item(), rel=1e-5)


def test_hidden_patches_are_said_by_true_and_false():
    """0 and 1 were taken for noise once, and hid three quarters of the patches instead of ten."""
    mae = MAE(vit_micro(), decoder_dim=16, decoder_depth=1, decoder_heads=2)
    hidden = torch.zeros(2, mae.encoder.patches)
    hidden[:, :10] = 1
    images = torch.rand(2, 3, 32, 32)
    for wrong in (hidden, hidden.long()):
        with pytest.raises(ValueError, match="hidden must be bool"):
            mae.reconstruct(images, wrong)
    assert mae.reconstruct(images, hidden.bool())[1].sum(dim=1).tolist() == [10, 10]


def test_pictures_of_0_to_255_are_refused():
    """Standardised as uint8 they are NaN: a deviation of .25 is 0 there."""
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], got torch.uint8: divide by 255"):
        vit_micro()(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
