"""GeneratorWalk: its codes, and the generator in JavaScript, without a kernel, against PyTorch's."""

import pytest
import torch
import traitlets
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, canvases, encoded, serve, watch
from torch import nn

from sslbook.decoders import Decoder
from sslbook.widgets import GeneratorWalk

LATENTS = 8
CODE = "([place, seed, way]) => mounted[0].module.codeAt(place, mounted[0].module.anchorsOf(8, seed), way)"


def method(seed=0):
    """What the widget asks of a GAN; its batch norms have seen something."""
    torch.manual_seed(seed)
    made = nn.Module()
    made.generator = Decoder(LATENTS, size=16, width=4)
    with torch.no_grad():
        made.generator.train()(3 * torch.randn(64, LATENTS))
        for p in made.generator.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return made.eval()


def put(page, **traits):
    page.evaluate("(t) => Object.entries(t).forEach((e) => mounted[0].model.set(...e))", traits)
    page.evaluate(FRAME)


def trait(page, name):
    return page.evaluate("(name) => mounted[0].model.get(name)", name)


def large(page):
    return canvases(page, ".sslw-walk-large canvas")[0] / 255


def test_the_picture_is_the_generator_s_at_every_place(mount):
    made = method()
    page = mount(GeneratorWalk(made, seed=3))
    for place, way in ((0, "arc"), (2.25, "arc"), (2.25, "line"), (5.5, "arc"), (6, "arc")):
        put(page, place=place, way=way)
        code = torch.tensor([page.evaluate(CODE, [place, 3, way])])
        with torch.no_grad():
            torch.testing.assert_close(large(page), made.generator(code)[0], rtol=0, atol=0.01)
        length = float(page.locator(".sslw-readouts b").inner_text())
        assert length == pytest.approx(code.norm().item(), abs=0.06)


def test_the_way_round_is_closed_and_the_line_is_shorter_inside(mount):
    page = mount(GeneratorWalk(method()))
    at = {place: torch.tensor(page.evaluate(CODE, [place, 0, "arc"])) for place in (0, 1, 0.5, 5.999, 6)}
    torch.testing.assert_close(at[6], at[0])
    assert (at[5.999] - at[0]).norm() < 0.02
    assert at[0.5].norm() == pytest.approx((at[0].norm() + at[1].norm()).item() / 2, rel=1e-5)
    line = torch.tensor(page.evaluate(CODE, [0.5, 0, "line"]))
    torch.testing.assert_close(line, (at[0] + at[1]) / 2)
    assert line.norm() < at[0.5].norm()


def test_slider_tiles_switch_and_new_codes(mount):
    made = method()
    page = mount(GeneratorWalk(made))
    slider = page.get_by_label("Way round")
    slider.evaluate("(e) => { e.value = 2.5; e.dispatchEvent(new Event('input')) }")
    page.evaluate(FRAME)
    assert "50 % from C to D" in page.locator("[aria-live]").first.inner_text()
    strip = canvases(page, ".sslw-tiles-strip canvas")
    assert (strip[4] / 255 - large(page)).abs().max() < 0.01
    slider.press("ArrowRight")
    assert trait(page, "place") == pytest.approx(2.52)
    page.get_by_role("button", name="25 % from C to D").click()
    assert trait(page, "place") == 2.25
    page.get_by_role("button", name="code E").click()
    page.evaluate(FRAME)
    assert trait(page, "place") == 4
    anchors = canvases(page, ".sslw-tiles-anchors canvas")
    assert (anchors[4] / 255 - large(page)).abs().max() < 0.01
    page.get_by_text("Straight").click()
    assert trait(page, "way") == "line"
    page.get_by_role("button", name="New codes").click()
    page.evaluate(FRAME)
    assert trait(page, "seed") == 1
    assert (canvases(page, ".sslw-tiles-anchors canvas").int() - anchors.int()).abs().max() > 5


def test_errors():
    with pytest.raises(ValueError, match="GAN, got Linear"):
        GeneratorWalk(nn.Linear(2, 2))
    for wrong in (dict(place=7.0), dict(way="home"), dict(seed=-1)):
        with pytest.raises(traitlets.TraitError):
            GeneratorWalk(method(), **wrong)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_is_labelled_and_leaves(mount, width, theme):
    page = mount(GeneratorWalk(method()), theme=theme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0]


def test_a_link_opens_a_place_and_weights_that_do_not_come_are_asked_for_again(browser, tmp_path):
    widget = GeneratorWalk(method())
    state = encoded(widget)
    del state["binary"]["weights"]
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        state["plain"]["weights"] = {"url": f"{address}/weights.bin", "bytes": len(widget.weights)}
        page = context.new_page()
        page.goto(f"{address}/index.html#walk.seed=5&walk.place=1.5&walk.way=line")
        page.evaluate(MOUNT, [state])
        page.get_by_text("The network did not come, so nothing is painted").wait_for()
        assert [trait(page, name) for name in ("seed", "place", "way")] == [5, 1.5, "line"]
        (tmp_path / "weights.bin").write_bytes(widget.weights)
        watch(page, address)
        page.get_by_role("button", name="Try again").click()
        page.get_by_text("The generator runs in this page").wait_for()
        page.evaluate(FRAME)
        assert large(page).std() > 0.01 and page.troubles == []
