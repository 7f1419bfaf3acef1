import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sslbook import sets
from sslbook.encoders import ConvNet
from sslbook.methods import BEiT
from sslbook.methods.beit import masked_code_loss
from sslbook.methods.vqvae import VQVAE
from sslbook.pretrain import pretrain
from sslbook.tokenisers import HashTokeniser, Tokeniser
from sslbook.views import crop_views
from sslbook.vit import ViT

GOLDEN = np.load(Path(__file__).parent / "golden/06_beit.npz")
TRAIN, _ = sets.load("shapes", train=256, test=1)
IMAGES = TRAIN.images / 255


def tiny(**options):
    torch.manual_seed(0)
    method = BEiT(ViT(32, 8, dim=16, depth=1, heads=2), **{"k": 8, "mask_ratio": 0.5, **options})
    method.before_epoch(TRAIN)
    return method


def test_the_loss_equals_the_official_one_in_value_and_gradient():
    logits = torch.tensor(GOLDEN["mim.logits"]).double().requires_grad_()
    codes, mask = torch.tensor(GOLDEN["mim.token_ids"]), torch.tensor(GOLDEN["mim.mask"]).bool()
    terms = masked_code_loss(logits, codes, mask)
    assert terms["loss"].item() == pytest.approx(float(GOLDEN["mim.loss_f64"]), rel=1e-6)
    terms["loss"].backward()
    np.testing.assert_allclose(logits.grad, GOLDEN["mim.grad_logits"], rtol=1e-5, atol=1e-8)
    assert not logits.grad[~mask].any()  # what is visible does not count
    right = (GOLDEN["mim.logits"].argmax(2) == GOLDEN["mim.token_ids"])[mask.numpy()].mean()
    assert terms["accuracy"].item() == pytest.approx(right) and not terms["accuracy"].requires_grad


def test_half_precision_is_computed_in_full():
    logits, codes = torch.randn(2, 4, 5).to(torch.bfloat16), torch.randint(5, (2, 4))
    mask = torch.ones(2, 4, dtype=torch.bool)
    expected = masked_code_loss(logits.float(), codes, mask)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(masked_code_loss(logits, codes, mask)["loss"], expected)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3), (2, 3)), ((2, 3, 5), (2, 4), (2, 4)), ((2, 3, 5), (2, 3), (2, 4))])
def test_the_loss_refuses_unlike_shapes(shapes):
    logits, codes, mask = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"logits must be \(n, L, K\)"):
        masked_code_loss(logits, codes.long(), mask.bool())


def test_the_method_asks_for_the_codes_of_the_picture_it_sees():
    method = tiny().double()
    torch.manual_seed(1)
    loss = method.loss([IMAGES[:6].double()])["loss"]
    torch.manual_seed(1)
    mask = method.draw_masks(6)
    codes = method.tokeniser(IMAGES[:6].double())
    logits, _ = method(IMAGES[:6].double(), mask)
    expected = F.cross_entropy(logits[mask], codes[mask])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_what_is_hidden_cannot_be_seen():
    method = tiny()
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 5] = True
    changed = IMAGES[:1].clone()
    changed[:, :, 8:16, 8:16] = 0.7  # patch 5 of a grid of 4 x 4
    before, after = (method.encode(x, mask) for x in (IMAGES[:1], changed))
    assert torch.equal(before, after)
    changed[:, :, :8, :8] = 0.7  # a visible one
    assert not torch.equal(before, method.encode(changed, mask))


def test_the_mask_token_stands_at_its_position():
    method = tiny()
    everything = torch.ones(1, 16, dtype=torch.bool)
    outputs = method.encode(IMAGES[:1], everything)[0, 1:]
    assert torch.pdist(outputs).min() > 1e-3  # else all hidden patches would get one answer


def test_the_tokeniser_learns_once_and_no_gradient_moves_it():
    method = BEiT(ViT(32, 8, dim=16, depth=1, heads=2), k=8)
    with pytest.raises(ValueError, match="call `fit` first"):
        method.loss([IMAGES[:4]])
    method.before_epoch(TRAIN)
    codebook = method.tokeniser.codebook.clone()
    assert codebook.any()
    method.before_epoch(TRAIN)
    pretrain(method, TRAIN, epochs=1, batch_size=64, show_progress=False)
    assert torch.equal(method.tokeniser.codebook, codebook)
    held = {id(p) for group in method.parameter_groups(0.1) for p in group["params"]}
    assert not held & {id(p) for p in method.tokeniser.parameters()}


def test_a_tokeniser_of_your_own_is_taken_as_it_is():
    own = Tokeniser("pixels", 5, 8).fit(IMAGES)
    codebook = own.codebook.clone()
    method = tiny(tokeniser=own)
    assert method.head.out_features == 5 and method.chance(4) == math.log(5)
    assert torch.equal(method.tokeniser.codebook, codebook)
    assert isinstance(tiny(tokeniser="hash").tokeniser, HashTokeniser)


def test_codes_of_another_hue_are_learnt_from_the_picture_as_it_is():
    seen = []
    method = tiny(any_hue=True, tokeniser="pixels")
    method.tokeniser.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    method.encoder.patch_embed.register_forward_pre_hook(lambda module, x: seen.append(x[0]))
    method.loss([IMAGES[:8]])
    coloured, shown = seen
    assert torch.equal(shown, IMAGES[:8])
    change = (coloured - IMAGES[:8]).abs().mean(dim=(1, 2, 3))
    assert (change > 1e-3).sum() >= 6
    assert torch.equal(coloured.amax(dim=1).round(decimals=3), IMAGES[:8].amax(dim=1).round(decimals=3))  # HSV's value


def test_masks_are_blocks_or_scattered():
    for blockwise in (True, False):
        torch.manual_seed(0)
        method = BEiT(ViT(32, 4, dim=16, depth=1, heads=2), k=8, mask_ratio=0.4, blockwise=blockwise)
        masks = method.draw_masks(500).view(-1, 8, 8)
        together = ((masks[:, :, 1:] & masks[:, :, :-1]).sum() / masks[:, :, :-1].sum()).item()
        assert together == pytest.approx(0.76 if blockwise else 24 / 63, abs=0.03)
        assert masks.sum(dim=(1, 2)).max() == 25


@pytest.mark.parametrize(
    "wrong",
    [
        dict(mask_ratio=0.0),
        dict(mask_ratio=1.0),
        dict(mask_ratio=0.01),
        dict(k=1),
        dict(tokeniser="taste"),
        dict(smallest=9),
    ],
)
def test_the_method_refuses_nonsense(wrong):
    word = {"k": "k must", "tokeniser": "one of pixels", "smallest": "the 8 hidden"}.get(*wrong, "mask_ratio must")
    with pytest.raises(ValueError, match=word):
        tiny(**wrong)


def test_it_refuses_an_encoder_without_patches_and_pictures_of_another_size():
    with pytest.raises(ValueError, match="needs a ViT, got a ConvNet"):
        BEiT(ConvNet(width=2))
    with pytest.raises(ValueError, match=r"images must be \(n, 3, 32, 32\)"):
        tiny().loss([torch.rand(2, 3, 16, 16)])


def test_codes_can_be_told_from_what_is_around_and_hashed_ones_cannot():
    """After a short training hidden codes of pixels are found more often than by their shares."""
    found = {}
    train, _ = sets.load("shapes", train=1024, test=1)
    for tokeniser in ("pixels", "hash"):
        torch.manual_seed(0)
        method = BEiT(ViT(32, 4, dim=32, depth=2, heads=2), tokeniser, k=16, mask_ratio=0.4)
        options = dict(batch_size=32, lr=3e-3, views=crop_views(32, 0.5), show_progress=False)
        history = pretrain(method, train, epochs=4, **options)
        shares = method.tokeniser(train.images / 255).flatten().bincount(minlength=16) / (64 * 1024)
        found[tokeniser] = history["accuracy"][-1] - shares.max().item()
    assert found["pixels"] > 0.05 and found["hash"] < 0.02


# ---- the tokeniser that is a network


def test_a_vq_vae_paints_from_codes_alone_and_uses_many():
    torch.manual_seed(0)
    tokeniser = VQVAE(k=16)
    history = pretrain(tokeniser, TRAIN, epochs=10, batch_size=32, lr=3e-3, show_progress=False)
    assert history["error"][-1] < history["error"][0] / 3 and history["codes used"][-1] > 4
    codes = tokeniser(IMAGES)
    assert codes.shape == (256, 64) and codes.max() < 16
    flat = F.mse_loss(IMAGES.mean(dim=(2, 3), keepdim=True).expand_as(IMAGES), IMAGES)
    assert F.mse_loss(tokeniser.pictures(codes), IMAGES) < 0.8 * flat
    method = BEiT(ViT(32, 4, dim=16, depth=1, heads=2), tokeniser)
    before = tokeniser.codebook.clone()
    tokeniser.zero_grad()
    method.train()
    method.loss([IMAGES[:8]])["loss"].backward()
    assert torch.equal(before, tokeniser.codebook) and method.head.out_features == 16
    assert all(p.grad is None for p in tokeniser.parameters())
    held = {id(p) for group in method.parameter_groups(0.1) for p in group["params"]}
    assert not held & {id(p) for p in tokeniser.parameters()}  # weight decay would move them


def test_the_gradient_passes_the_code_as_if_it_were_the_output():
    torch.manual_seed(0)
    method = VQVAE(k=8, dim=4, width=8, beta=0.0).eval()
    codebook = method.codebook.clone()
    method.loss([IMAGES[:4]])["loss"].backward()
    assert torch.equal(method.codebook, codebook)  # it follows in training mode only
    straight = [p.grad.clone() for p in method.encoder.parameters()]
    assert all(gradient.any() for gradient in straight)
    z = method.outputs(IMAGES[:4])
    shift = (method.codebook[method(IMAGES[:4])] - z).detach()
    expected = torch.autograd.grad(F.mse_loss(method.paint(z + shift), 4 * IMAGES[:4] - 2), method.encoder.parameters())
    for ours, theirs in zip(straight, expected):
        torch.testing.assert_close(ours, theirs)


def test_a_code_follows_the_outputs_that_chose_it():
    method = VQVAE(k=2, dim=1, width=2, decay=0.75, revive=False)
    for buffer in (method.codebook, method.sums):
        buffer.copy_(torch.tensor([[0.0], [10.0]]))
    method.follow(torch.tensor([[1.0], [3.0], [12.0]]), torch.tensor([0, 0, 1]))
    # counts .75 + .25 * (2, 1), sums .75 * (0, 10) + .25 * (4, 12)
    torch.testing.assert_close(method.codebook, torch.tensor([[1 / 1.25], [10.5]]))


def test_a_vq_vae_s_codes_are_the_same_in_half_precision():
    torch.manual_seed(0)
    method = VQVAE(k=64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = method(IMAGES)
    assert torch.equal(half, method(IMAGES))


def test_codes_that_nobody_uses_are_put_on_outputs():
    torch.manual_seed(0)
    for revive in (True, False):
        method = VQVAE(k=8, dim=4, width=8, revive=revive, decay=0.5)
        method.codebook[1:] = 1e3  # too far from anything
        method.counts[1:], method.sums[1:] = 0.1, 100.0
        method.loss([IMAGES[:4]])
        assert (method.codebook[1:].abs().max().item() < 100) is revive
