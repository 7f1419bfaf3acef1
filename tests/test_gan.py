from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import pictures
from torch import nn
from torch.nn.utils import parametrizations

from sslbook import evaluate, pretrained, sets
from sslbook.encoders import ConvNet, make_encoder, resnet18
from sslbook.methods import GAN, Now
from sslbook.methods.gan import discriminator_loss, generator_loss, squared_gradient
from sslbook.norms import NoBatchNorm2d, SpectralNorm, spectral_norm, without_batch_norm
from sslbook.optim import frozen
from sslbook.pretrain import pretrain

GOLDEN = np.load(Path(__file__).parent / "golden/14_vae_gan.npz")
IMAGES = pictures(8, size=32)
NAMES = {"non-saturating": "BCEWithLogits", "hinge": "Hinge"}
each_loss = pytest.mark.parametrize("kind", NAMES)


def tiny(turn="all", **options):
    torch.manual_seed(0)
    method = GAN(ConvNet(width=2), **{"latents": 4, "width": 2, **options})
    method.now = Now(turn=turn)
    return method


def loss_of(method, seed=3):
    torch.manual_seed(seed)
    return method.loss([IMAGES])


def gradients(module):
    return [p.grad for p in module.parameters() if p.requires_grad]


# -- losses


@each_loss
def test_the_losses_equal_the_official_ones_in_value_and_gradient(kind):
    name = f"gan.{NAMES[kind]}"
    real, fake = (torch.tensor(GOLDEN[f"gan.logits_{x}"]).double().requires_grad_() for x in ("real", "fake"))
    loss = discriminator_loss(real, fake, kind)
    assert loss.item() == pytest.approx(float(GOLDEN[f"{name}.d_loss_f64"]), rel=1e-6)
    for x, gradient in zip((real, fake), torch.autograd.grad(loss, [real, fake])):
        which = "real" if x is real else "fake"
        np.testing.assert_allclose(gradient, GOLDEN[f"{name}.d_grad_{which}"], rtol=1e-5, atol=1e-8)
    loss = generator_loss(fake, kind)
    assert loss.item() == pytest.approx(float(GOLDEN[f"{name}.g_loss_f64"]), rel=1e-6)
    np.testing.assert_allclose(torch.autograd.grad(loss, fake)[0], GOLDEN[f"{name}.g_grad_fake"], rtol=1e-5, atol=1e-8)


@each_loss
def test_half_precision_is_computed_in_full(kind):
    real, fake = (torch.randn(9).to(torch.bfloat16) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        d, g = discriminator_loss(real, fake, kind), generator_loss(fake, kind)
    assert torch.equal(d, discriminator_loss(real.float(), fake.float(), kind))
    assert torch.equal(g, generator_loss(fake.float(), kind))


def test_the_generator_learns_where_the_discriminator_is_sure():
    """It saturates in the other form, log(1 - D): there the gradient at a logit of -10 is 5e-5."""
    fake = torch.tensor([-10.0], requires_grad=True)
    assert torch.autograd.grad(generator_loss(fake), fake)[0].item() == pytest.approx(-1, abs=1e-4)


@each_loss
def test_the_method_s_losses_are_these(kind):
    method = tiny("discriminator", loss=kind, penalty=0.0, spectral=False)
    loss = loss_of(method)["loss"]
    torch.manual_seed(3)
    painted = method.generator(torch.randn(8, 4))
    expected = discriminator_loss(method.logits(IMAGES), method.logits(painted), kind)
    assert loss.item() == pytest.approx(expected.item())
    method = tiny("generator", loss=kind, penalty=0.0, spectral=False)
    loss = loss_of(method)["loss"]
    torch.manual_seed(3)
    assert loss.item() == pytest.approx(generator_loss(method.logits(method.generator(torch.randn(8, 4))), kind).item())


# -- turns


@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_a_turn_s_gradient_is_its_player_s_alone(turn):
    method = tiny(turn)
    loss_of(method)["loss"].backward()
    other = {"discriminator": "generator", "generator": "discriminator"}[turn]
    assert all(gradient is not None and gradient.any() for gradient in gradients(getattr(method, turn)))
    assert all(gradient is None for gradient in gradients(getattr(method, other)))
    assert all(p.requires_grad for p in method.parameters() if p.ndim > 1), "afterwards all of them can learn"


def test_by_hand_each_player_has_the_gradient_of_its_own_turn():
    together, method = tiny(), tiny("discriminator")
    terms = loss_of(together)
    terms["loss"].backward()
    torch.manual_seed(3)
    d = method.loss([IMAGES])["loss"]
    method.now = Now(turn="generator")
    g = method.loss([IMAGES])["loss"]
    (d + g).backward()
    assert terms["loss"].item() == pytest.approx((d + g).item())
    for one, other in zip(gradients(together), gradients(method)):
        torch.testing.assert_close(one, other)


def test_each_optimiser_moves_its_player_at_its_own_rate():
    groups = tiny(rate_g=0.25, beta1=0.5).parameter_groups(0.1)
    assert [(g["turn"], g["lr_scale"]) for g in groups] == 2 * [("discriminator", 1)] + 2 * [("generator", 0.25)]
    assert all(g["betas"] == (0.5, 0.99) for g in groups)
    method = tiny()
    before = {name: p.clone() for name, p in method.named_parameters()}
    images, _ = sets.load("shapes", train=32, test=1)
    history = pretrain(method, images, epochs=1, batch_size=16, views=method.views(32), show_progress=False)
    still = [name for name, p in method.named_parameters() if torch.equal(p, before[name])]
    assert all(name.startswith("encoder.") and name.endswith(".1.weight") for name in still), "the factors only"
    for name in ("discriminator loss", "discriminator penalty", "discriminator right", "generator loss"):
        assert len(history[name]) == 1
    assert history["loss"][0] == pytest.approx(history["discriminator loss"][0] + history["generator loss"][0])


def test_frozen_weights_let_a_gradient_pass_and_what_was_frozen_stays_so():
    layer, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    layer.bias.requires_grad_(False)
    with pytest.raises(KeyError), frozen(layer):
        layer(x).sum().backward()
        raise KeyError
    assert layer.weight.grad is None and torch.equal(x.grad[0], layer.weight[0])
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def test_right_counts_both_kinds_of_pictures():
    method = tiny("discriminator", penalty=0.0, spectral=False)
    for bias, right in ((100.0, 0.5), (-100.0, 0.5)):
        nn.init.constant_(method.head.bias, bias)
        assert loss_of(method)["right"].item() == right


# -- R1


def test_r1_is_the_formula_s_on_a_linear_discriminator():
    """D(x) = w x: the gradient is w at every picture, so the penalty is gamma / 2 |w|^2."""
    method = tiny("discriminator", penalty=3.0, spectral=False)
    w = torch.randn(1, 3 * 32 * 32) / 50
    method.encoder, method.head = nn.Flatten(), nn.Linear(3 * 32 * 32, 1)
    method.head.weight.data.copy_(w)
    terms = loss_of(method)
    assert terms["penalty"].item() == pytest.approx(3 / 2 * w.square().sum().item(), rel=1e-5)
    method.penalty = 0.0
    plain = loss_of(method)
    assert plain["penalty"] == 0
    torch.testing.assert_close(terms["loss"] - plain["loss"], terms["penalty"], rtol=1e-4, atol=1e-5)
    with_it, without = (torch.autograd.grad(x["loss"], method.head.weight)[0] for x in (terms, plain))
    torch.testing.assert_close(with_it - without, 3 * w, rtol=1e-4, atol=1e-5)


def test_the_penalty_is_trained_on():
    """Its own gradient reaches the weights: gamma w for D(x) = w x."""
    w = torch.randn(1, 3 * 32 * 32, requires_grad=True)
    images = IMAGES.clone().requires_grad_()
    steepness = squared_gradient((images.flatten(1) @ w.T).squeeze(1), images)
    assert steepness.shape == (8,)
    torch.testing.assert_close(steepness, w.square().sum().expand(8))
    torch.testing.assert_close(torch.autograd.grad(steepness.mean() / 2, w)[0], w)


def test_the_penalty_is_of_real_pictures_only():
    asked = []
    method = tiny("discriminator")
    method.encoder.register_forward_hook(lambda module, inputs, output: asked.append(inputs[0].requires_grad))
    loss_of(method)
    assert asked == [True, False]


def test_with_autocast_the_penalty_is_computed_in_full_precision():
    whole, half = tiny("discriminator", penalty=100.0), tiny("discriminator", penalty=100.0)
    expected = loss_of(whole)["penalty"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss_of(half)["penalty"], expected, rtol=1e-5, atol=0)


# -- spectral norm, and no batch norm


def test_the_largest_singular_value_of_every_layer_is_near_1():
    method = tiny()
    pretrain(method, sets.load("shapes", train=64, test=1)[0], epochs=3, batch_size=16, views=method.views(32),
             lr=0.01, show_progress=False)  # fmt: skip
    layers = [layer for layer in method.eval().discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 6
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert largest == pytest.approx(1, abs=0.1)
    plain = [m for m in tiny(spectral=False).modules() if isinstance(m, SpectralNorm)]
    assert plain == [] and not any(isinstance(m, SpectralNorm) for m in method.generator.modules())


def test_spectral_norm_is_pytorch_s_in_value_and_gradient():
    """At its end: PyTorch's iteration has u before v, the paper's v before u."""
    torch.manual_seed(0)
    layer, other = nn.Conv2d(3, 5, 3).double(), nn.Conv2d(3, 5, 3).double()
    other.load_state_dict(layer.state_dict())
    spectral_norm(layer)
    parametrizations.spectral_norm(other)
    x = pictures(2).double()
    for conv in (layer, other):
        with torch.no_grad():
            for _ in range(300):
                conv(x)
        conv(x).square().sum().backward()
    torch.testing.assert_close(layer.weight, other.weight)
    weights = [conv.parametrizations.weight.original for conv in (layer, other)]
    torch.testing.assert_close(weights[0].grad, weights[1].grad)


def test_u_and_v_are_clear_of_the_gradient():
    """Two batches before one backward pass, as real and painted pictures are."""
    layer = spectral_norm(nn.Sequential(nn.Linear(4, 3)))
    (layer(torch.ones(1, 4)).sum() + layer(torch.zeros(1, 4)).sum()).backward()
    assert layer[0].parametrizations.weight.original.grad.isfinite().all()


def test_in_eval_mode_nothing_moves_and_a_second_call_changes_nothing():
    method = tiny().eval()
    before = {name: x.clone() for name, x in method.state_dict().items()}
    evaluate.embed(method.encoder, IMAGES)
    method.logits(IMAGES)
    assert all(torch.equal(x, before[name]) for name, x in method.state_dict().items())
    keys = list(method.state_dict())
    spectral_norm(method.discriminator)
    assert list(method.state_dict()) == keys


def test_without_batch_norm_a_picture_is_judged_on_its_own():
    method = tiny(spectral=False).train()
    together = method.logits(IMAGES)
    alone = torch.cat([method.logits(image[None]) for image in IMAGES])
    torch.testing.assert_close(together, alone)
    assert not any(type(m) is nn.BatchNorm2d for m in method.encoder.modules())


def test_what_stands_for_batch_norm_is_a_factor_and_a_bias_for_each_channel():
    network = without_batch_norm(nn.Sequential(nn.Sequential(nn.BatchNorm2d(3))), scale=1.5)
    (norm,) = network[0]
    assert isinstance(norm, NoBatchNorm2d)
    norm.bias.data.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = pictures(2)
    expected = 1.5 * x + torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    torch.testing.assert_close(network(x), expected)
    torch.testing.assert_close(network.eval()(x), expected)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["0.0.bias"]
    plain = nn.BatchNorm2d(3)
    plain.load_state_dict(norm.state_dict())
    torch.testing.assert_close(plain.eval()(x), expected)


@pytest.mark.parametrize("make", [lambda: make_encoder("convnet"), resnet18], ids=["convnet", "resnet18"])
def test_a_saved_discriminator_is_a_plain_encoder_with_the_same_features(make, tmp_path):
    torch.manual_seed(0)
    encoder = make()
    method = GAN(encoder, scale=1.5)
    for p in method.encoder.parameters():
        p.data.add_(0.01 * torch.randn_like(p))
    name = "convnet" if encoder.features_dim == 128 else "resnet18"
    method.train()
    before = method.state_dict()
    pretrained.save_encoder(tmp_path / "encoder.safetensors", method.encoder, name, 32)
    assert method.encoder.training and method.state_dict().keys() == before.keys()
    loaded = pretrained.load_encoder(tmp_path / "encoder.safetensors")
    assert loaded.state_dict().keys() == make_encoder(name).state_dict().keys()
    expected = evaluate.embed(method.encoder, IMAGES)
    apart = (evaluate.embed(loaded, IMAGES) - expected).norm() / expected.norm()
    assert apart < 1e-5 < 1e-4 < expected.std(dim=0).mean() / expected.mean()


# -- pictures


def test_a_sample_depends_on_its_seed_alone():
    method = tiny()
    before = torch.manual_seed(5).get_state()
    one = method.sample(600, seed=1)
    assert one.shape == (600, 3, 32, 32) and 0 <= one.min() <= one.max() <= 1 and not one.requires_grad
    assert torch.equal(torch.get_rng_state(), before) and method.generator.training
    torch.testing.assert_close(method.sample(3, seed=1)[0], method.sample(2, seed=1)[0])  # of no other picture
    assert not torch.equal(method.sample(3, seed=2), method.sample(3, seed=1))


def test_pictures_are_shown_whole():
    (view,) = GAN.views(32).render((255 * IMAGES).round().byte(), torch.Generator().manual_seed(0))
    whole = (255 * IMAGES).round() / 255
    same = [torch.allclose(v, w, atol=1e-6) or torch.allclose(v, w.flip(2), atol=1e-6) for v, w in zip(view, whole)]
    assert all(same)


# -- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(loss="wasserstein"), "loss must be one of non-saturating, hinge; got 'wasserstein'"),
        (dict(penalty=-1.0), "penalty >= 0.*got penalty=-1"),
        (dict(rate_g=0.0), "rate_g > 0.*rate_g=0"),
        (dict(beta1=1.0), "0 <= beta1 < 1.*beta1=1"),
        (dict(scale=0.0), "scale must be positive, got 0"),
        (dict(latents=0), "latents and width must be at least 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


def test_views_of_another_size_are_refused_before_the_first_step():
    method = tiny()
    message = r"paints 32 px and is shown views of 24 px, which is no contest: GAN\(encoder, size=24\)"
    with pytest.raises(ValueError, match=message):
        method.loss([pictures(2, size=24)])
    with pytest.raises(ValueError, match=message):
        pretrain(method, sets.load("shapes", train=32, test=1)[0], epochs=1, batch_size=16, views=GAN.views(24))
