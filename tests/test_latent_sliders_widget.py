"""LatentSliders: its state in Python, and the decoder in JavaScript, without a kernel, against PyTorch's."""

import json

import pytest
import torch
import traitlets
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, canvases, encoded, serve, watch
from torch import nn

from sslbook.decoders import Decoder
from sslbook.widgets import LatentSliders, _decoder

LATENTS = 12
DECODE = """
([numbers, about, codes]) => {
  const { decoderOf, decode } = window.mounted[0].module;
  const network = decoderOf(Float32Array.from(numbers), about);
  return codes.map((code) => [...decode(network, code).data]);
}
"""


class Coder(nn.Module):
    """What the widget asks of a VAE: `encode` and `decoder`."""

    def __init__(self, size=16, latents=LATENTS):
        super().__init__()
        self.head = nn.Linear(3 * size**2, 2 * latents)
        self.decoder = Decoder(latents, size, width=4)

    def encode(self, images):
        mu, logvar = self.head(images.flatten(1)).chunk(2, dim=1)
        return 4 * mu, logvar


def lived(decoder, seed=0):
    """A decoder whose batch norms have seen something and whose weights half precision holds."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        decoder.train()(3 * torch.randn(64, decoder.latents, generator=g))
        for p in decoder.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g))
    return decoder.eval()


def method(**options):
    torch.manual_seed(0)
    made = Coder(**options)
    lived(made.decoder)
    return made.eval()


def pictures(n=4, size=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (255 * torch.rand(n, 3, size, size, generator=g)).round().byte()


def put(page, **traits):
    page.evaluate("(t) => Object.entries(t).forEach((e) => mounted[0].model.set(...e))", traits)
    page.evaluate(FRAME)


def drawn(page, panel):
    """(3, S, S) in [0, 1]: what a panel shows."""
    return canvases(page, ".sslw-panels canvas")[panel] / 255


# -- Python


def test_state():
    made, images = method(), pictures()
    widget = LatentSliders(made, images, labels="abcd", names=[f"name {k}" for k in range(LATENTS)])
    mu, _ = made.encode(images / 255)
    assert torch.equal(torch.frombuffer(bytearray(widget.codes), dtype=torch.float32).view(4, -1), mu.detach())
    variances = mu.var(dim=0, correction=0)
    assert widget.shown == variances.argsort(descending=True)[:10].tolist()
    assert widget.active == (variances > 0.01).sum() and widget.labels == list("abcd")
    assert widget.network["channels"] == [8, 4, 3] and len(widget.weights) == 2 * sum(
        n for _, n in widget.network["parts"]
    )
    known = pictures(50, seed=1)
    assert LatentSliders(made, images, known=known).variances != widget.variances
    json.dumps(widget.network)


def test_the_method_stays_as_it_was():
    made = method().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    LatentSliders(made, pictures())
    assert made.training and made.decoder.training
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(method=nn.Linear(2, 2)), "method must be a sslbook.methods.VAE, got Linear"),
        (dict(images=pictures(1)), "images must be at least 2"),
        (dict(images=pictures(2, 32)), r"\(N, 3, 16, 16\)"),
        (dict(labels="ab"), "labels must name each of the 4 images"),
        (dict(names=["hue"]), "names must be one for each of the 12 latents, got 1"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        LatentSliders(**(dict(method=method(), images=pictures()) | wrong))


def test_a_decoder_that_no_page_can_hold_is_refused(monkeypatch):
    made = method()
    monkeypatch.setattr(_decoder, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1,000 bytes of weights"):
        LatentSliders(made, pictures())
    monkeypatch.undo()
    made.decoder[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="did the training diverge"):
        LatentSliders(made, pictures())


def test_a_code_is_checked():
    widget = LatentSliders(method(), pictures())
    widget.code = [0.5] * LATENTS
    widget.code = []
    with pytest.raises(traitlets.TraitError, match="code must be 12 numbers, or none"):
        widget.code = [0.5] * 3


# -- the browser


@pytest.mark.parametrize(("size", "width"), [(16, 4), (24, 3), (32, 8)])
def test_the_page_paints_as_pytorch_does(mount, size, width):
    decoder = lived(Decoder(LATENTS, size, width))
    page = mount(LatentSliders(method(), pictures()))
    codes = 2 * torch.randn(3, LATENTS, generator=torch.Generator().manual_seed(1))
    state = _decoder.folded(decoder)
    about = _decoder.packed_decoder(decoder)[1]
    numbers = torch.cat([value.flatten() for value in state.values()]).tolist()
    ours = torch.tensor(page.evaluate(DECODE, [numbers, about, codes.tolist()]))
    with torch.no_grad():
        expected = decoder(codes)
    assert expected.std() > 0.05, "a test of grey pictures would prove nothing"
    torch.testing.assert_close(ours.view_as(expected), expected, rtol=0, atol=1e-4)


def test_the_arc_keeps_the_length_and_the_line_does_not(mount):
    page = mount(LatentSliders(method(), pictures()))
    a, b = torch.nn.functional.normalize(torch.randn(2, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    walk = (
        "([one, other]) => [0, 0.5, 1].map((t) => ['onLine', 'onArc'].map((f) => mounted[0].module[f](one, other, t)))"
    )
    places = torch.tensor(page.evaluate(walk, [a.tolist(), (2 * b).tolist()]))
    torch.testing.assert_close(places[0], torch.stack([a, a]))
    torch.testing.assert_close(places[2], torch.stack([2 * b, 2 * b]))
    line, arc = places[1]
    torch.testing.assert_close(line, (a + 2 * b) / 2)
    assert arc.norm() == pytest.approx(1.5, abs=1e-5)
    assert arc @ a == pytest.approx((arc @ b).item(), abs=1e-5), "halfway the angles are the same"


def test_normals_are_normal(mount):
    page = mount(LatentSliders(method(), pictures()))
    x = torch.tensor(page.evaluate("[...mounted[0].module.normals(20000, 3)]"))
    assert x.mean().abs() < 0.03 and x.std() == pytest.approx(1, abs=0.02)
    assert (x.abs() < 1.96).float().mean() == pytest.approx(0.95, abs=0.01)


def test_panels_show_the_code(mount):
    made, images = method(), pictures()
    widget = LatentSliders(made, images, labels="abcd")
    page = mount(widget)
    mu = made.encode(images / 255)[0].detach()
    with torch.no_grad():
        own = made.decoder(mu)
        middle = made.decoder((0.75 * mu[1] + 0.25 * mu[3])[None])[0]
    assert (drawn(page, 0) - images[0] / 255).abs().max() < 1e-2
    for panel in (1, 2):
        torch.testing.assert_close(drawn(page, panel), own[0], rtol=0, atol=0.01)
    put(page, image=1, other=3, t=0.25)
    torch.testing.assert_close(drawn(page, 1), own[1], rtol=0, atol=0.01)
    torch.testing.assert_close(drawn(page, 2), middle, rtol=0, atol=0.01)
    strip = canvases(page, ".sslw-strip canvas") / 255
    torch.testing.assert_close(strip[[0, 2, 8]], torch.stack([own[1], middle, own[3]]), rtol=0, atol=0.01)
    assert "25 % of the way to d" in page.locator("[aria-live]").first.inner_text()
    error = (own[1] - images[1] / 255).square().mean().sqrt()
    shown = [float(text) for text in page.locator(".sslw-readouts b").all_inner_texts()]
    assert shown == pytest.approx([widget.active, (0.75 * mu[1] + 0.25 * mu[3]).norm().item(), error.item()], abs=0.06)


def test_a_slider_moves_its_latent_alone_and_buttons_give_codes(mount):
    made, images = method(), pictures()
    widget = LatentSliders(made, images, names=["hue .62"] * LATENTS)
    page = mount(widget)
    latent = widget.shown[1]
    slider = page.get_by_label(f"Latent {latent}: hue .62")
    slider.evaluate("(e) => { e.value = -2; e.dispatchEvent(new Event('input')) }")
    page.evaluate(FRAME)
    z = made.encode(images[:1] / 255)[0].detach()
    z[0, latent] = -2
    with torch.no_grad():
        torch.testing.assert_close(drawn(page, 2), made.decoder(z)[0], rtol=0, atol=0.01)
    assert "moved by hand" in page.locator("[aria-live]").first.inner_text()
    slider.press("ArrowRight")
    assert page.evaluate("mounted[0].model.get('code')")[latent] == pytest.approx(-1.95)
    page.get_by_role("button", name="A code from the prior").click()
    page.evaluate(FRAME)
    code = page.evaluate("mounted[0].model.get('code')")
    assert len(code) == LATENTS and "drawn from the prior" in page.locator("[aria-live]").first.inner_text()
    page.get_by_role("button", name="A code from the prior").click()
    assert page.evaluate("mounted[0].model.get('code')") != code
    page.get_by_role("button", name="own code").click()
    assert page.evaluate("mounted[0].model.get('code')") == []
    put(page, code=code)
    page.get_by_role("radiogroup", name="Morph to").get_by_label("image 3").check(force=True)
    page.evaluate(FRAME)
    assert page.evaluate("[mounted[0].model.get('code'), mounted[0].model.get('other')]") == [[], 2]


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_labels_are_there_and_nothing_stays(mount, width, theme):
    widget = LatentSliders(method(), pictures())
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) and page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0, 0]


def test_a_link_opens_a_code_and_weights_beside_the_page_are_fetched(browser, tmp_path):
    widget = LatentSliders(method(), pictures())
    state = encoded(widget)
    del state["binary"]["weights"]
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    (tmp_path / "weights.bin").write_bytes(widget.weights)
    code = [0.5, -1.25] * (LATENTS // 2)
    with serve(tmp_path) as address, browser.new_context() as context:
        state["plain"]["weights"] = {"url": f"{address}/weights.bin", "bytes": len(widget.weights)}
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#sliders.image=3&sliders.code={','.join(map(str, code))}")
        page.evaluate(MOUNT, [state])
        page.get_by_text("The decoder runs in this page").wait_for()
        page.evaluate(FRAME)
        assert page.evaluate("['image', 'code'].map((trait) => mounted[0].model.get(trait))") == [2, code]
        assert drawn(page, 2).std() > 0.01
        assert page.troubles == []
