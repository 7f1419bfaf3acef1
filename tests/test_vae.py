import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sslbook import evaluate, sets
from sslbook.callbacks import Callback
from sslbook.encoders import ConvNet
from sslbook.methods import VAE, Now
from sslbook.methods.vae import kl_to_normal, reconstruction_error, reparameterise
from sslbook.pretrain import pretrain
from sslbook.views import Augmentation, Views, shapes_views

GOLDEN = np.load(Path(__file__).parent / "golden/14_vae_gan.npz")
TRAIN, _ = sets.load("shapes", train=512, test=1)
IMAGES = TRAIN.images / 255


def g(name):
    return torch.tensor(GOLDEN[f"vae.{name}"]).double()


def tiny(**options):
    torch.manual_seed(0)
    return VAE(ConvNet(width=2), **{"latents": 4, "width": 2, **options})


# ---- equal to others' code


def test_the_bound_equals_pytorch_s_example_in_value_and_gradients():
    recon, mu, logvar = (g(name).requires_grad_() for name in ("recon", "mu", "logvar"))
    error = reconstruction_error(recon, g("x"), "bernoulli")
    said = kl_to_normal(mu, logvar)
    assert error.shape == (3,) and said.shape == (3, 8)
    assert error.sum().item() == pytest.approx(float(GOLDEN["vae.bce_sum_f64"]), rel=1e-6)
    assert said.sum().item() == pytest.approx(float(GOLDEN["vae.kl_sum_f64"]), rel=1e-6)
    bound = error.sum() + said.sum()
    assert bound.item() == pytest.approx(float(GOLDEN["vae.elbo_bce_sum_f64"]), rel=1e-6)
    bound.backward()
    for ours, name in ((recon, "recon"), (mu, "mu"), (logvar, "logvar")):
        np.testing.assert_allclose(ours.grad, GOLDEN[f"vae.grad_{name}"], rtol=1e-4, atol=1e-6)


def test_with_a_gaussian_pixel_it_is_the_other_library_s_loss_times_a_number():
    """That one is a mean over pixels, with a weight of its own for the KL: beta is that weight in nats."""
    sigma, pixels = 0.3, 784
    error = reconstruction_error(g("recon"), g("x"), "gaussian", sigma)
    scale = 2 * sigma**2 / pixels
    assert (scale * error.mean()).item() == pytest.approx(float(GOLDEN["vae.mse_mean_f64"]), rel=1e-6)
    said = kl_to_normal(g("mu"), g("logvar")).sum(dim=1).mean()
    assert said.item() == pytest.approx(float(GOLDEN["vae.kl_mean_over_batch_f64"]), rel=1e-6)
    beta = float(GOLDEN["vae.antixk_M_N_f64"]) / scale
    loss = scale * (error.mean() + beta * said)
    assert loss.item() == pytest.approx(float(GOLDEN["vae.antixk_loss_f64"]), rel=1e-6)


def test_codes_are_drawn_as_in_the_other_library():
    torch.testing.assert_close(reparameterise(g("mu"), g("logvar"), g("eps")), g("z_reparam"), rtol=1e-6, atol=1e-6)


# ---- the method


def test_the_loss_is_what_the_formulas_say():
    method = tiny(beta=3.0, sigma=0.2).double().eval()
    torch.manual_seed(1)
    terms = method.loss([IMAGES[:6].double()])
    torch.manual_seed(1)
    eps = torch.randn(6, 4).double()
    mu, logvar = method.encode(IMAGES[:6].double())
    pictures = method.decode(mu + (logvar / 2).exp() * eps)
    error = (pictures - IMAGES[:6]).square().sum(dim=(1, 2, 3)).mean() / 0.08
    said = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, (logvar / 2).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    assert terms["reconstruction"].item() == pytest.approx(error.item(), rel=1e-6)
    assert terms["KL"].item() == pytest.approx(said.sum(dim=1).mean().item(), rel=1e-6)
    assert terms["loss"].item() == pytest.approx((error + 3 * said.sum(dim=1).mean()).item(), rel=1e-6)
    assert not terms["reconstruction"].requires_grad and not terms["KL"].requires_grad


def test_without_sampling_it_paints_from_mu_and_draws_nothing():
    method = tiny(sampling=False).eval()
    before = torch.get_rng_state()
    first, second = (method.loss([IMAGES[:6]])["loss"] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)
    drawn = tiny().eval()
    assert drawn.loss([IMAGES[:6]])["loss"] != drawn.loss([IMAGES[:6]])["loss"]


def test_one_eps_for_each_picture_and_latent():
    z = tiny().draw(torch.zeros(200, 4), torch.zeros(200, 4))
    assert z.unique().numel() == 800 and z.std().item() == pytest.approx(1, abs=0.1)


def test_with_the_trick_the_picture_s_error_reaches_the_encoder_and_without_it_does_not():
    for reparameterised in (True, False):
        method = tiny(beta=0.0, reparameterise=reparameterised)
        method.loss([IMAGES[:8]])["loss"].backward()
        reached = any(p.grad is not None and bool(p.grad.any()) for p in method.encoder.parameters())
        assert reached is reparameterised
        assert all(p.grad.any() for p in method.decoder.parameters() if p.ndim > 1)


def test_without_the_trick_codes_stop_telling_pictures_apart():
    said = {}
    for reparameterised in (True, False):
        torch.manual_seed(0)
        method = VAE(ConvNet(width=4), latents=8, width=4, reparameterise=reparameterised)
        options = dict(epochs=10, batch_size=32, lr=3e-3, show_progress=False)
        history = pretrain(method, TRAIN, **options)
        assert history["reconstruction"][-1] < history["reconstruction"][0]
        said[reparameterised] = history["KL"][-1]
        mu, _ = method.eval().encode(IMAGES)
        assert (evaluate.active_units(mu) > 0) is reparameterised
    assert said[True] > 5 > 0.5 > said[False]


def test_beta_rises_over_the_warm_up():
    method = tiny(beta=2.0, warmup=0.4, sampling=False).eval()
    weights = []
    for progress in (0.0, 0.1, 0.4, 0.9):
        method.now = Now(progress=progress)
        terms = method.loss([IMAGES[:6]])
        weights.append(((terms["loss"] - terms["reconstruction"]) / terms["KL"]).item())
    assert weights == pytest.approx([0, 0.5, 2, 2], abs=0.01)


def test_free_bits_are_for_each_latent_in_the_batch_s_mean():
    method = tiny(free_bits=0.5, sampling=False, beta=2.0).eval()
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.bias.zero_()
        method.head.bias[:4] = torch.tensor([2.0, 0.8, 0.0, 1.2])  # KL 2, .32, 0, .72
    terms = method.loss([IMAGES[:6]])
    assert terms["KL"].item() == pytest.approx(3.04, rel=1e-5)
    assert ((terms["loss"] - terms["reconstruction"]) / 2).item() == pytest.approx(2 + 0.5 + 0.5 + 0.72, rel=1e-3)
    (gradient,) = torch.autograd.grad(terms["loss"] - method.loss([IMAGES[:6]])["loss"].detach(), method.head.bias)
    with torch.no_grad():
        method.free_bits = 0.0
    (without,) = torch.autograd.grad(method.loss([IMAGES[:6]])["loss"], method.head.bias)
    pushed = (gradient - without)[:4].abs() > 1e-6
    assert pushed.tolist() == [False, True, False, False], "what is free has no gradient from the KL"


def test_half_precision_is_computed_in_full():
    mu, logvar = torch.randn(2, 3, 4).to(torch.bfloat16)
    pictures, images = torch.rand(2, 3, 3, 8, 8).to(torch.bfloat16)
    for function, arguments in (
        (kl_to_normal, (mu, logvar)),
        (reparameterise, (mu, logvar, torch.ones(3, 4))),
        (reconstruction_error, (pictures, images)),
        (reconstruction_error, (pictures, images, "bernoulli")),
    ):
        expected = function(*(x.float() if isinstance(x, torch.Tensor) else x for x in arguments))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(function(*arguments), expected)


def test_its_view_is_the_whole_picture():
    (view,) = VAE.views(32).render(TRAIN.images[:64], torch.Generator().manual_seed(0))
    same = (view - IMAGES[:64]).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (view.flip(3) - IMAGES[:64]).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (same | mirrored).all() and 16 < same.sum() < 48


# ---- what it refuses


@pytest.mark.parametrize(
    "wrong, match",
    [
        (dict(beta=-1.0), "beta must be finite and not negative"),
        (dict(beta=math.inf), "beta must be finite and not negative"),
        (dict(free_bits=-0.1), "free_bits must be finite and not negative"),
        (dict(sigma=0.0), "sigma must be positive and finite"),
        (dict(warmup=1.5), "warmup is a share of the training"),
        (dict(likelihood="poisson"), "likelihood must be one of gaussian, bernoulli; got 'poisson'"),
        (dict(latents=0), "latents and width must be at least 1"),
        (dict(size=33), "size must be 4, 5, 6 or 7 doubled"),
    ],
)
def test_the_method_refuses_nonsense(wrong, match):
    with pytest.raises(ValueError, match=match):
        tiny(**wrong)


def test_pictures_of_another_size_are_refused_before_the_first_step():
    class Begins(Callback):
        def start(self, run):
            raise AssertionError("the training has begun")

    method = tiny()
    options = dict(epochs=1, batch_size=32, callbacks=[Begins()], show_progress=False)
    for wrong in (Views([Augmentation(24)]), shapes_views(24)[:1]):
        with pytest.raises(ValueError, match="paints pictures of 32 x 32 px and was shown 24 x 24: give it size=24"):
            pretrain(method, TRAIN, views=wrong, **options)
    with pytest.raises(ValueError, match="was shown 16 x 16"):
        method.loss([torch.rand(4, 3, 16, 16)])
    with pytest.raises(ValueError, match="was shown 32 x 16"):
        method.encode(torch.rand(4, 3, 32, 16))
    with pytest.raises(ValueError, match=r"codes must be \(n, 4\)"):
        method.decode(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="pictures and images must have one shape"):
        reconstruction_error(torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8))


def test_pictures_of_48_px_can_be_painted():
    method = tiny(size=48)
    loss = method.loss(VAE.views(48).render(TRAIN.images[:4]))["loss"]
    assert loss.isfinite() and method.decode(torch.zeros(2, 4)).shape == (2, 3, 48, 48)
