import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import pictures

from sslbook.blocks import MultiBlock, block_places, block_sides
from sslbook.ema import linear_tau
from sslbook.encoders import ConvNet
from sslbook.finetune import supervised
from sslbook.losses import at, latent_loss, r_squared
from sslbook.methods.ijepa import IJEPA, normalised
from sslbook.sets import load
from sslbook.views import shapes_views
from sslbook.vit import ViT

GOLDEN = np.load(Path(__file__).parent / "golden/12_ijepa.npz")


def golden(name):
    return torch.tensor(GOLDEN[name]).double()


def tiny(**options):
    torch.manual_seed(0)
    encoder = ViT(32, 4, dim=16, depth=2, heads=2, pool="mean")
    return IJEPA(encoder, **{"dim": 12, "depth": 1, "heads": 2, **options})


def features(n=6, patches=16, dim=5, seed=0):
    return torch.randn(n, patches, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# -- the loss


def official():
    """Features, places (n, M, T) and predictions (n, M, T, D) of the golden run, which has the blocks outermost."""
    places = torch.tensor(GOLDEN["loss.masks_pred"]).movedim(0, 1)
    return golden("loss.target_encoder_out"), places, golden("loss.preds").unflatten(0, (4, 2)).movedim(0, 1)


def test_targets_loss_and_gradient_equal_the_official_ones():
    out, places, preds = official()
    preds.requires_grad_()
    h = normalised(out, "layer")
    targets = at(h, places)
    np.testing.assert_allclose(targets.movedim(1, 0).flatten(0, 1), GOLDEN["loss.targets"], rtol=0, atol=1e-6)
    terms = latent_loss(preds, h, places)
    terms["loss"].backward()
    assert terms["loss"].item() == pytest.approx(float(GOLDEN["loss.loss_f64"]), rel=1e-7)
    gradient = preds.grad.movedim(1, 0).flatten(0, 1)
    np.testing.assert_allclose(gradient, GOLDEN["loss.grad_preds"], rtol=0, atol=1e-8)
    assert not terms["R2"].requires_grad and not terms["std"].requires_grad


def test_the_momentum_is_the_official_schedule():
    theirs = GOLDEN["ema_schedule_0.996_1_30steps_f64"]
    np.testing.assert_allclose([linear_tau(k / 30, 0.996) for k in range(31)], theirs, rtol=0, atol=1e-12)
    assert linear_tau(1.5, 0.9) == 1


def test_r_squared_is_that_of_statistics():
    target = features()
    mean = target.mean(dim=0).expand_as(target)
    assert r_squared(target, target, mean) == 1 and r_squared(mean, target, mean) == 0
    halfway = (target + mean) / 2
    assert r_squared(halfway, target, mean).item() == pytest.approx(0.75)
    assert r_squared(2 * mean - target, target, mean).item() == pytest.approx(-3)
    assert r_squared(target + 1, mean, mean) == 0, "targets that are all alike leave nothing to predict"


def test_r_squared_and_std_tell_a_collapse_that_the_loss_praises():
    places = torch.arange(4).expand(6, 1, 4)
    place = features(1)  # a pattern that all images share
    alike = normalised((place + 0.001 * features(seed=1)).expand(6, -1, -1), "layer")
    s = at(alike.mean(dim=0).expand_as(alike), places)
    fallen = latent_loss(s, alike, places)
    healthy = normalised(features(), "layer")
    learning = latent_loss(0.5 * at(healthy, places), healthy, places)
    assert fallen["loss"] < 1e-3 < learning["loss"]
    assert fallen["R2"].item() == pytest.approx(0, abs=1e-6) and learning["R2"] > 0.5
    assert fallen["std"] < 0.01 and 0.7 < learning["std"] < 1.1


# -- norms of the targets


def test_position_takes_away_what_images_share_at_a_place():
    h = features(n=40)
    shared = 3 * features(1, seed=1)
    out = normalised(h + shared, "position")
    assert out.mean(dim=0).abs().max() < 1e-12
    torch.testing.assert_close(out.flatten(0, 1).square().mean(dim=0), torch.ones(5).double(), rtol=1e-4, atol=0)
    assert normalised(h + shared, "layer").mean(dim=0).abs().max() > 0.5


@pytest.mark.parametrize("norm", ["layer", "position"])
def test_targets_that_are_all_alike_stay_finite(norm):
    out = normalised(torch.ones(4, 9, 5), norm)
    assert out.isfinite().all()


# -- the masks


def test_sides_follow_share_and_aspect():
    assert block_sides(0.175, 1.0, 8) == (3, 3) and block_sides(0.2, 1.5, 8) == (4, 3)
    assert block_sides(0.2, 0.75, 14) == (5, 7) and block_sides(1.0, 1.5, 8) == (8, 7)
    assert block_sides(0.2, 1.0, 8) == (3, 3), "12.8 patches are 12"
    assert block_sides(0.001, 1.0, 8) == (1, 1)


def test_a_block_lies_anywhere_and_is_a_rectangle():
    u = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    places = block_places(u, 3, 2, 5)
    assert places.shape == (4000, 6) and places.min() == 0 and places.max() == 24
    rows, columns = places // 5, places % 5
    assert (rows.amax(1) - rows.amin(1) == 2).all() and (columns.amax(1) - columns.amin(1) == 1).all()
    assert all(len(set(p)) == 6 for p in places[:50].tolist())
    corners, counts = places[:, 0].unique(return_counts=True)
    assert corners.tolist() == [5 * r + c for r in range(3) for c in range(4)]
    assert counts.min() > 4000 / 12 * 0.8, "each place as likely as another"


@pytest.mark.parametrize(("grid", "most"), [(8, 0.86), (14, 0.9)])
def test_masks_are_those_of_the_official_code(grid, most):
    """Lengths alike, for a context that leaves out the last row and column, as the official one always does."""
    torch.manual_seed(0)
    masks = MultiBlock(grid, most=most)
    draws = [masks.draw(8) for _ in range(300)]
    official = {k.split(".")[1]: GOLDEN[k] for k in GOLDEN.files if k.startswith(f"g{grid}.")}
    lengths = np.array([targets.shape[2] for _, targets in draws])
    seen = np.array([context.shape[1] for context, _ in draws])
    assert lengths.mean() == pytest.approx(official["pred_len_mean_min_max"][0], rel=0.03)
    assert seen.mean() == pytest.approx(official["enc_len_mean_min_max"][0], rel=0.05)
    covered = torch.zeros(grid**2)
    for context, targets in draws:
        hidden = torch.zeros(8, grid**2).scatter_(1, targets.flatten(1), 1)
        assert (hidden.gather(1, context) == 0).all(), "no target is seen"
        assert all(len(set(row)) == len(row) for row in context.tolist())
        covered += hidden.sum(dim=0)
    covered = covered.view(grid, grid)
    assert covered[-1].min() > 0 and covered[:, -1].min() > 0
    assert official["pred_position_freq_per_block"][-1].max() == 0, "there they are never drawn"


def test_scattered_targets_are_as_many_and_no_block():
    torch.manual_seed(0)
    _, blocks = MultiBlock(8).draw(4)
    torch.manual_seed(0)
    context, single = MultiBlock(8, scattered=True).draw(4)
    assert single.shape == blocks.shape
    rows = single // 8
    assert (rows.amax(dim=2) - rows.amin(dim=2)).float().mean() > 4
    hidden = torch.zeros(4, 64).scatter_(1, single.flatten(1), 1)
    assert (hidden.gather(1, context) == 0).all() and context.shape[1] > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(blocks=0), "blocks must be at least 1, got 0"),
        (dict(smallest=0.3), "0 < smallest <= largest <= 1, got 0.3, 0.2"),
        (dict(most=1.1), "0 < least <= most <= 1, got 0.85, 1.1"),
        (dict(flattest=0.0), "0 < flattest <= tallest, got 0.0, 1.5"),
        (dict(blocks=6), "blocks=6 of up to 0.2 of the image can hide all 49 patches of a context in 8 x 8"),
    ],
)
def test_masks_refuse_nonsense(wrong, message):
    with pytest.raises(ValueError, match=message):
        MultiBlock(8, **wrong)
    with pytest.raises(ValueError, match=message):
        tiny(**wrong)


# -- the method


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(norm="batch"), "norm must be one of layer, position; got 'batch'"),
        (dict(tau=1.5), r"tau must lie in \[0, 1\], got 1.5"),
        (dict(latents=0.0), "weights must not be negative, nor both 0; got latents=0.0, pixels=0.0"),
        (dict(pixels=-1.0), "weights must not be negative"),
    ],
)
def test_refuses_nonsense(wrong, message):
    with pytest.raises(ValueError, match=message):
        tiny(**wrong)


def test_refuses_an_encoder_that_drops_no_patches():
    with pytest.raises(ValueError, match="IJEPA needs a ViT, got a ConvNet"):
        IJEPA(ConvNet(width=2))


def test_the_encoder_given_is_the_target_s_and_no_gradient_reaches_it():
    method = tiny()
    pairs = list(zip(method.encoder.parameters(), method.student.parameters(), strict=True))
    assert all(torch.equal(t, s) and t is not s for t, s in pairs)  # they begin alike
    method.loss([pictures(4, 0, 32)])["loss"].backward()
    assert all(t.grad is None and not t.requires_grad for t, _ in pairs)
    assert all(s.grad is not None for _, s in pairs if s.requires_grad)


def test_no_hidden_pixel_reaches_the_context_encoder_and_all_of_them_the_target_s():
    method = tiny().double()
    images = pictures(3, 1, 32).double()
    torch.manual_seed(0)
    context, places = method.masks.draw(3)
    changed = images.clone()
    for row in range(3):
        for place in places[row].flatten().tolist():
            top, left = 4 * (place // 8), 4 * (place % 8)
            changed[row, :, top : top + 4, left : left + 4] = 0.5
    assert torch.equal(method.predict(images, context, places), method.predict(changed, context, places))
    assert not torch.allclose(method.targets(images), method.targets(changed))


def test_each_block_is_predicted_alone_and_a_position_says_where():
    method = tiny().double()
    images = pictures(2, 1, 32).double()
    context = torch.arange(20, 40).expand(2, -1)
    places = torch.tensor([[[0, 1], [8, 9]], [[50, 51], [60, 61]]])
    both = method.predict(images, context, places)
    one = method.predict(images, context, places[:, 1:])
    torch.testing.assert_close(both[:, 1:], one)
    # the order of the context says nothing, its places do
    torch.testing.assert_close(method.predict(images, context.flip(1), places), both)
    assert not torch.allclose(both[0, 0, 0], both[0, 0, 1], atol=1e-3), "unlike places, unlike predictions"
    # features that are given: the predictor is told their places
    s = torch.randn(2, 20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    here, there = method.predictor(s, context, places), method.predictor(s, context - 20, places)
    assert not torch.allclose(here, there, atol=1e-3), "unlike places of the context, unlike predictions"


def test_the_loss_is_the_sum_of_its_parts():
    method = tiny(latents=0.5, pixels=2.0)
    images = pictures(4, 0, 32)
    torch.nn.init.normal_(method.student.patch_embed.proj.weight)  # no longer what the target encoder is
    torch.manual_seed(5)
    terms = method.loss([images])
    torch.manual_seed(5)
    context, places = method.masks.draw(4)
    s = method.predict(images, context, places)
    h = normalised(method.encoder.patch_features(images), "layer")  # the average's word, not the student's
    latent = F.smooth_l1_loss(s, at(h, places))
    assert terms["loss"].item() == pytest.approx(0.5 * latent.item() + 2 * terms["pixels"].item(), rel=1e-5)
    assert set(terms) == {"loss", "R2", "std", "pixels"} and set(tiny().loss([images])) == {"loss", "R2", "std"}


def test_the_target_encoder_follows_and_stands_still_at_the_end():
    method = tiny(tau=0.9)
    with torch.no_grad():
        for p in method.student.parameters():
            p.add_(1.0)
    old, new = (e.patch_embed.proj.weight.clone() for e in (method.encoder, method.student))
    method.after_step(0.5)
    torch.testing.assert_close(method.encoder.patch_embed.proj.weight, 0.95 * old + 0.05 * new)
    before = copy.deepcopy(method.encoder.state_dict())
    method.after_step(1.0)
    assert all(torch.equal(v, before[k]) for k, v in method.encoder.state_dict().items())
    no_average = tiny(tau=0.0, schedule=False)
    no_average.student.patch_embed.proj.weight.data += 1
    no_average.after_step(1.0)
    assert torch.equal(no_average.encoder.patch_embed.proj.weight, no_average.student.patch_embed.proj.weight)


def test_what_is_kept_can_be_trained_on():
    kept = tiny().encoder
    before = kept.patch_embed.proj.weight.clone()
    images = load("shapes", train=32, test=32)[0]
    view = shapes_views(32)[0]
    supervised(kept, images, epochs=1, batch_size=16, view=view, show_progress=False)
    assert not torch.equal(kept.patch_embed.proj.weight, before) and not kept.pos_embed.requires_grad
