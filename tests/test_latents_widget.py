"""LatentExplorer: its state in Python, and its network in JavaScript, without a kernel, against PyTorch's."""

import json

import pytest
import torch
import torch.nn.functional as F
import traitlets
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, canvases, encoded, serve, swipe, watch

from sslbook.methods import IJEPA, MAE
from sslbook.vit import ViT, vit_micro
from sslbook.widgets import LatentExplorer, latents

MODULE = """
([name, values]) => {
  const { module, model } = window.mounted[0];
  const { buffer, byteOffset, byteLength } = model.get("weights");
  const halves = new Uint16Array(buffer.slice(byteOffset, byteOffset + byteLength));
  const network = () => module.networkOf(module.fromHalves(halves), model.get("network"));
  const image = (data) => ({ data: Float32Array.from(data) });
  const calls = {
    halves: () => [...module.fromHalves(Uint16Array.from(values))],
    predict: () => [...module.predict(network(), image(values[0]), values[1], values[2])],
  };
  return calls[name]();
}
"""


def method(**options):
    """With weights that half precision holds, so that page and Python have the same."""
    torch.manual_seed(0)
    encoder = ViT(16, 4, dim=16, depth=2, heads=2, pool="mean", mean=(0.5,) * 3, std=(0.25,) * 3)
    made = IJEPA(encoder, **{"dim": 12, "depth": 2, "heads": 3, "blocks": 1, **options})
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p)).copy_(p.half().float())  # norms and biases too
    return made


def pictures(n=4, size=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (255 * F.interpolate(torch.rand(n, 3, 4, 4, generator=g), size=size, mode="bilinear")).round().byte()


def places(cells, kind):
    return [i for i, cell in enumerate(cells) if cell == kind]


def put(page, **traits):
    page.evaluate("(t) => Object.entries(t).forEach((e) => mounted[0].model.set(...e))", traits)
    page.evaluate(FRAME)


def predicted(made, images, image, cells):
    """(targets, D) as PyTorch has it."""
    context, targets = (torch.tensor([places(cells, kind)], dtype=torch.long) for kind in (1, 2))
    return made.predict(images[image : image + 1] / 255, context, targets[:, None])[0, 0]


def number(text):
    return float(text.replace("\u2212", "-"))


# -- Python


def test_state():
    made, images = method(), pictures()
    widget = LatentExplorer(made, images, labels="abcd", seed=3)
    truth = made.targets(images / 255)
    stored = torch.frombuffer(bytearray(widget.latents), dtype=torch.float16).view(4, 16, 16).float()
    torch.testing.assert_close(stored, truth, rtol=1e-3, atol=1e-3)
    assert widget.labels == list("abcd") and len(widget.drawn) == latents.DRAWN and widget.cells == widget.drawn[0]
    assert all(set(cells) <= {0, 1, 2} and 1 in cells and 2 in cells for cells in widget.drawn)
    assert widget.drawn != LatentExplorer(made, images, seed=4).drawn
    count = sum(p.numel() for m in (made.student, made.predictor) for p in m.parameters())
    assert len(widget.weights) // 2 == count - made.predictor.pos_embed[:, :1].numel() - made.student.cls_token.numel()
    json.dumps(widget.network)


def test_the_colours_are_the_directions_of_most_variance():
    made, images = method(), pictures()
    widget = LatentExplorer(made, images)
    mean, *axes = torch.frombuffer(bytearray(widget.colours), dtype=torch.float32).view(4, 16)
    along = (made.targets(images / 255).flatten(0, 1) - mean) @ torch.stack(axes).T
    torch.testing.assert_close(along.std(dim=0, correction=0), torch.full((3,), 0.2), rtol=1e-3, atol=0)
    assert (torch.corrcoef(along.T) - torch.eye(3)).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(method=MAE(vit_micro())), "method must be a sslbook.methods.IJEPA, got MAE"),
        (dict(images=pictures(1)), "images must be at least 2"),
        (dict(images=pictures(2, 32)), r"\(N, 3, 16, 16\)"),
        (dict(labels="ab"), "labels must name each of the 4 images"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        LatentExplorer(**(dict(method=method(), images=pictures()) | wrong))


def test_a_network_too_large_for_a_page_is_refused(monkeypatch):
    monkeypatch.setattr(latents, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1,000 bytes of weights"):
        LatentExplorer(method(), pictures())


def test_cells_are_checked():
    widget = LatentExplorer(method(), pictures())
    for wrong in ([0] * 15, [3] * 16):
        with pytest.raises(traitlets.TraitError, match="cells must be 16 of 0 neither"):
            widget.cells = wrong


# -- the browser


def test_halves_are_numpy_s(mount):
    page = mount(LatentExplorer(method(), pictures()))
    bits = [0, 1, 0x3C00, 0xBC00, 0x7BFF, 0x0400, 0x8001, 0x3555]
    expected = torch.tensor(bits, dtype=torch.int32).to(torch.uint16).view(torch.float16).float()
    assert page.evaluate(MODULE, ["halves", bits]) == expected.tolist()


@pytest.mark.parametrize("norm", ["layer", "position"])
def test_the_page_predicts_what_python_predicts(mount, norm):
    made, images = method(norm=norm), pictures()
    page = mount(LatentExplorer(made, images))
    for image, context, targets in ((0, [5, 6, 9], [0, 1, 15]), (2, list(range(12)), [13]), (1, [], [3, 4])):
        cells = [1 if i in context else 2 if i in targets else 0 for i in range(16)]
        expected = predicted(made, images, image, cells)
        ours = page.evaluate(MODULE, ["predict", [(images[image] / 255).flatten().tolist(), context, targets]])
        torch.testing.assert_close(torch.tensor(ours).view(-1, 16), expected, rtol=1e-3, atol=2e-4)


def test_numbers_and_colours_are_those_of_the_prediction(mount):
    made, images = method(), pictures()
    widget = LatentExplorer(made, images)
    page = mount(widget)
    truth = made.targets(images / 255)
    mean, *axes = torch.frombuffer(bytearray(widget.colours), dtype=torch.float32).view(4, 16)
    for image, cells in ((0, widget.drawn[1]), (3, [2] * 4 + [1] * 12)):
        put(page, image=image, cells=cells)
        s, targets = predicted(made, images, image, cells), places(cells, 2)
        error = (s - truth[image, targets]).square().sum()
        R2 = 1 - error / (truth.mean(dim=0)[targets] - truth[image, targets]).square().sum()
        R2_shown, seen, asked = page.locator(".sslw-readouts b").all_inner_texts()
        assert number(R2_shown) == pytest.approx(R2.item(), abs=0.02)
        assert (int(seen), int(asked)) == (cells.count(1), len(targets))
        [drawn] = canvases(page, ".sslw-picture-predicted canvas")
        [true] = canvases(page, ".sslw-picture-true canvas")
        for rows, canvas, at in ((s, drawn, targets), (truth[image, targets], true, targets)):
            colours = (0.5 + (rows - mean) @ torch.stack(axes).T).clamp(0, 1)
            corner = torch.stack([canvas[:, 4 * (i // 4) + 1, 4 * (i % 4) + 1] for i in at]) / 255
            torch.testing.assert_close(corner, colours, rtol=0, atol=0.02)


def test_a_target_is_filled_with_the_nearest_patch_of_another_picture(mount):
    made, images = method(), pictures()
    page = mount(LatentExplorer(made, images))
    cells = [1] * 15 + [2]
    put(page, image=1, cells=cells)
    truth = made.targets(images / 255)
    distances = (truth - predicted(made, images, 1, cells)).square().sum(dim=2)
    distances[1] = float("inf")
    image, place = divmod(distances.argmin().item(), 16)
    [shown] = canvases(page, ".sslw-picture-nearest canvas")
    row, column = 4 * (place // 4), 4 * (place % 4)
    expected = images[image, :, row : row + 4, column : column + 4].int()
    assert (shown[:, 12:, 12:].int() - expected).abs().max() <= 1
    assert (shown[:, :12, :12].int() - images[1, :, :12, :12].int()).abs().max() <= 1, "what is seen is shown"


def test_brush_buttons_and_keys(mount):
    page = mount(LatentExplorer(method(), pictures()))
    cells = "mounted[0].model.get('cells')"
    put(page, cells=[1] * 16)
    page.get_by_text("Target", exact=True).click()
    box = page.locator(".sslw-lattice").bounding_box()
    side = box["width"] / 4
    page.mouse.move(box["x"] + side / 2, box["y"] + side / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 1.5 * side, box["y"] + side / 2)
    page.mouse.up()
    assert page.evaluate(cells) == [2, 2] + [1] * 14
    page.locator(".sslw-lattice button").first.focus()
    for key in ("ArrowDown", "End", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate(cells)[7] == 2
    page.get_by_role("button", name="See nothing").click()
    page.evaluate(FRAME)
    assert sorted(set(page.evaluate(cells))) == [0, 2]
    assert page.locator(".sslw-readouts b").nth(1).inner_text() == "0", "a prediction from nothing but places"
    page.get_by_role("button", name="See all the rest").click()
    assert sorted(set(page.evaluate(cells))) == [1, 2]
    before = page.evaluate(cells)
    page.get_by_role("button", name="New blocks").click()
    assert page.evaluate(cells) != before
    put(page, cells=[0] * 16)
    assert page.locator(".sslw-readouts b").first.inner_text() == "\u2013"


def test_a_finger_that_scrolls_past_the_picture_paints_nothing(mount):
    page = mount(LatentExplorer(method(), pictures()), has_touch=True, viewport={"width": 375, "height": 800})
    page.get_by_text("Neither", exact=True).tap()
    before = page.evaluate("mounted[0].model.get('cells')")
    assert swipe(page, ".sslw-picture-picture") > 50
    assert page.evaluate("mounted[0].model.get('cells')") == before


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_labels_are_there_and_nothing_stays(mount, width, theme):
    widget = LatentExplorer(method(), pictures())
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) and page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0, 0]


def as_file(widget, url):
    """The widget as a page holds it whose weights are a file."""
    state = encoded(widget)
    size = len(widget.weights)
    del state["binary"]["weights"]
    state["plain"]["weights"] = {"url": url, "bytes": size}
    return state


def test_a_link_opens_a_mask_and_weights_beside_the_page_are_fetched(browser, tmp_path):
    widget = LatentExplorer(method(), pictures())
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    (tmp_path / "weights.bin").write_bytes(widget.weights)
    cells = [2] * 2 + [1] * 14
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#latents.image=3&latents.cells={''.join(map(str, cells))}")
        page.evaluate(MOUNT, [as_file(widget, f"{address}/weights.bin")])
        page.get_by_text("The network runs in this page").wait_for()
        page.evaluate(FRAME)
        assert page.evaluate("mounted[0].model.get('cells')") == cells
        assert page.locator(".sslw-readouts b").first.inner_text() not in ("", "\u2013")
        assert page.troubles == []


def test_weights_that_do_not_come_are_said_and_asked_for_again(browser, tmp_path):
    widget = LatentExplorer(method(), pictures())
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/index.html")
        page.evaluate(MOUNT, [as_file(widget, f"{address}/weights.bin")])
        page.get_by_text("The network did not come").wait_for()
        (tmp_path / "weights.bin").write_bytes(widget.weights)
        page.get_by_role("button", name="Try again").click()
        page.get_by_text("The network runs in this page").wait_for()
