"""The cross-correlation matrix: its state in Python, and the shipped JavaScript in a real browser without a kernel."""

import json

import numpy as np
import pytest
import torch
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, rgba, serve, watch

from sslbook.widgets import CorrelationMatrix

HEAT = ".sslw-heat"
TOLERANCE = 0.01  # of C in the page, which has the features in 255 steps; the widget promises it


def snapshots(n=40, size=12, epochs=3, seed=0):
    """Features that start as noise, agree more with every epoch, and stay entangled for a while."""
    g = torch.Generator().manual_seed(seed)
    signal, mix = torch.randn(n, size, generator=g), torch.randn(size, size, generator=g)
    noise1, noise2 = torch.randn(2, n, size, generator=g)
    result = {}
    for e in range(epochs):
        shared = e * (signal + signal @ mix / (e + 1))
        result[5 * e] = (3 + shared + noise1, shared + noise2)
    return result


def oracle(z1, z2):
    """C by NumPy: the correlations of columns of z1 with columns of z2."""
    size = z1.shape[1]
    return torch.from_numpy(np.corrcoef(z1.double(), z2.double(), rowvar=False)[:size, size:])


def views(n=40, side=8, seed=0):
    return torch.rand(2, n, 3, side, side, generator=torch.Generator().manual_seed(seed))


# -- Python


def test_state():
    z = snapshots()
    widget = CorrelationMatrix(z, *views(), names=range(40))
    assert widget.shape == [3, 12, 40] and widget.epochs == ["0", "5", "10"] and widget.epoch == 2
    features = torch.frombuffer(bytearray(widget.features), dtype=torch.int8).view(3, 2, 12, 40)
    assert (features.abs().amax(dim=3) == 127).all(), "every feature uses the whole range"
    for e, (z1, z2) in enumerate(z.values()):
        c = oracle(z1, z2)
        apart = oracle(features[e, 0].T, features[e, 1].T) - c
        assert apart.abs().max() < TOLERANCE and apart.square().mean().sqrt() < TOLERANCE / 5
        off = c[~torch.eye(12, dtype=torch.bool)]
        assert widget.measures[e] == pytest.approx(
            {
                "diagonal": c.diagonal().mean().item(),
                "off": off.square().mean().sqrt().item(),
                "invariance": (1 - c.diagonal()).square().sum().item(),
                "redundancy": off.square().sum().item(),
            }
        )
    assert widget.tiles == [[8, 8], 8] and len(widget.names) == 40


def test_whitened_features_give_the_identity():
    x = torch.cat([torch.ones(64, 1), torch.randn(64, 9)], dim=1).double()
    z = 5 * torch.linalg.qr(x)[0][:, 1:] + 2  # columns that are orthogonal to each other and to a constant one
    measures = CorrelationMatrix({0: (z, z)}).measures[0]
    assert measures == pytest.approx({"diagonal": 1, "off": 0, "invariance": 0, "redundancy": 0}, abs=1e-7)


def test_constant_features_have_no_correlation():
    z = torch.randn(30, 4)
    z[:, 2] = 0.1  # what float32 cannot write exactly
    widget = CorrelationMatrix({0: (z, z)})
    assert widget.measures[0]["diagonal"] == pytest.approx(0.75)
    assert widget.measures[0]["invariance"] == pytest.approx(1)
    features = torch.frombuffer(bytearray(widget.features), dtype=torch.int8).view(2, 4, 30)
    assert not features[:, 2].any() and features[:, 3].any()
    collapsed = CorrelationMatrix({0: (torch.ones(30, 4), torch.ones(30, 4))})
    assert collapsed.measures[0] == {"diagonal": 0, "off": 0, "invariance": 4, "redundancy": 0}


def test_independent_features_show_the_noise_floor():
    z1, z2 = torch.randn(2, 256, 128, generator=torch.Generator().manual_seed(0))
    assert CorrelationMatrix({0: (z1, z2)}).measures[0]["off"] == pytest.approx(1 / 16, rel=0.02)


def test_takes_half_precision_gradients_and_bytes():
    z = torch.randn(20, 6, requires_grad=True)
    images = (255 * views(20)).byte()
    widget = CorrelationMatrix({0: (z.half(), z)}, images[0])
    assert widget.measures[0]["diagonal"] == pytest.approx(1, abs=1e-5)
    assert CorrelationMatrix({0: (z, z)}, torch.rand(20, 3, 40, 100)).tiles[0] == [13, 32]
    assert CorrelationMatrix({0: (z, z)}, images[0] / 255).sheet == widget.sheet


def test_a_chapters_widget_is_small():
    """128 pictures, 64 features, eight epochs, thumbnails."""
    z = snapshots(128, 64, epochs=8)
    assert len(json.dumps(encoded(CorrelationMatrix(z, *views(128, 24))))) < 600_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(snapshots={}), "at least one epoch"),
        (dict(snapshots=[(torch.randn(4, 3), torch.randn(4, 3))]), "a dict {epoch"),
        (dict(snapshots={3: torch.randn(2, 4, 3)}), r"epoch 3: expected a pair of tensors \(z1, z2\)"),
        (dict(snapshots={3: (torch.randn(4, 3), torch.randn(4, 2))}), r"epoch 3: .* got \(4, 3\) and \(4, 2\)"),
        (dict(snapshots={3: (torch.randn(4), torch.randn(4))}), r"must both be \(N, D\)"),
        (dict(snapshots={3: (torch.randn(4, 3), torch.full((4, 3), torch.nan))}), "epoch 3: .* did the training"),
        (dict(snapshots=snapshots() | {7: (torch.randn(40, 3),) * 2}), r"epoch 7: .* \(40, 12\) as in the first"),
        (dict(snapshots={0: (torch.randn(1, 3),) * 2}), "needs 2 pictures, and a page draws 512 at most, got 1"),
        (dict(snapshots={0: (torch.randn(513, 3),) * 2}), "got 513"),
        (dict(snapshots={0: (torch.randn(9, 129),) * 2}), "2 to 128 columns, got 129"),
        (dict(snapshots={0: (torch.randn(9, 1),) * 2}), "2 to 128 columns, got 1"),
        (dict(snapshots=snapshots(256, 128, epochs=8)), "524 kB of features and 0 kB of images, more than 450 kB"),
        (dict(names=["cat"]), "each of the 40 pictures once, got 1"),
        (dict(images2=views()[0]), "pass images1 too"),
        (dict(images1=views(39)[0]), r"images1 must be \(40, 3, height, width\)"),
        (dict(images1=views()[0], images2=views(side=9)[0]), "images2 must be .* of one size"),
        (dict(images1=views()[0] - 0.5), "undo the normalisation"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        CorrelationMatrix(**{"snapshots": snapshots(), **arguments})


# -- the browser


def shown(page, reach=1.0, at=0):
    """C as the heat map's colours say: the hue is the sign, the opacity the size."""
    pixels = rgba(page, HEAT)[at]
    sign = torch.where(pixels[..., 0] >= pixels[..., 2], 1, -1)
    return sign * pixels[..., 3] * reach / 255


def put(page, at=0, **traits):
    page.evaluate("([at, t]) => Object.entries(t).forEach((e) => mounted[at].model.set(...e))", [at, traits])
    page.evaluate(FRAME)


def number(text):
    return float(text.replace("\u2212", "-"))


def readouts(page):
    """{name: value} of the read-outs."""
    cards = page.locator(".sslw-readouts > div")
    return {c.locator("dt").inner_text(): number(c.locator("b").inner_text()) for c in cards.all()}


def cell(page):
    """(i, j, C[i, j]) as the heading says."""
    i, j, value = page.evaluate(
        r"document.querySelector('.sslw-value').textContent.match(/C\[(\d+), (\d+)\] = (.+)/).slice(1)"
    )
    return int(i), int(j), number(value)


def test_colours_are_the_correlations(mount):
    z = snapshots()
    page = mount(CorrelationMatrix(z))
    for e, pair in enumerate(z.values()):
        for reach in (1.0, 0.25):
            put(page, epoch=e, reach=reach)
            expected = oracle(*pair).clamp(-reach, reach)
            assert (shown(page, reach) - expected).abs().max() < TOLERANCE + 0.5 * reach / 255


def test_large_matrix(mount):
    z = snapshots(256, 128, epochs=2)
    page = mount(CorrelationMatrix(z))
    assert (shown(page) - oracle(*z[5])).abs().max() < TOLERANCE
    box = page.locator(HEAT).bounding_box()
    assert box["width"] == pytest.approx(box["height"], abs=1)


def test_slider_moves_readouts_and_colours(mount):
    z = snapshots()
    widget = CorrelationMatrix(z, weight=0.01)
    page = mount(widget)
    last = shown(page)
    for e in (0, 1, 2):
        page.get_by_role("slider", name="Epoch").fill(str(e))
        page.evaluate(FRAME)
        m = widget.measures[e]
        expected = {
            "Diagonal, mean": m["diagonal"],
            "Off the diagonal, RMS": m["off"],
            "Invariance term": m["invariance"],
            "Redundancy term": m["redundancy"],
        }
        assert readouts(page) == pytest.approx(expected, abs=0.0051)
        cards = page.locator(".sslw-readouts").inner_text()
        assert "1/\u221a40 = 0.158" in cards and f"\u03bb = 0.01: {0.01 * m['redundancy']:.2f}" in cards
        assert page.locator(".sslw-slider output").first.inner_text() == str(5 * e)
        assert not torch.equal(shown(page), last)
        last = shown(page)
        assert f"Epoch {5 * e}: diagonal" in page.locator("[aria-live]").inner_text()


def test_keys_move_the_cursor(mount):
    z = snapshots()
    c = oracle(*z[10])
    page = mount(CorrelationMatrix(z, row=3, column=4))
    heat = page.locator(HEAT)
    for key, (i, j) in {
        "ArrowDown": (4, 4),
        "ArrowRight": (4, 5),
        "ArrowUp": (3, 5),
        "ArrowLeft": (3, 4),
        "Shift+ArrowDown": (11, 4),
        "Shift+ArrowLeft": (11, 0),
        "Enter": (11, 11),
        "Home": (11, 0),
        "PageUp": (0, 0),
        "End": (0, 11),
        "ArrowUp ": (0, 11),
        "PageDown": (11, 11),
    }.items():
        heat.press(key.strip())
        page.evaluate(FRAME)
        assert cell(page) == pytest.approx((i, j, c[i, j].item()), abs=TOLERANCE + 0.005)
        said = page.locator("[aria-live]").inner_text()
        assert said.startswith(f"C[{i}, {j}] = ") and ("to 1" in said) == (i == j)
    assert page.evaluate("[mounted[0].model.get('row'), mounted[0].model.get('column')]") == [11, 11]
    cursor = page.locator(".sslw-cursor-cell").bounding_box()
    box = heat.bounding_box()
    assert cursor["x"] - box["x"] == pytest.approx(box["width"] * 11 / 12, abs=1)
    assert cursor["height"] == pytest.approx(box["height"] / 12, abs=1)


def at(page, i, j, size=12):
    side = page.locator(HEAT).bounding_box()["width"]
    return {"x": (j + 0.5) * side / size, "y": (i + 0.5) * side / size}


def test_mouse_hovers_and_chooses(mount):
    page = mount(CorrelationMatrix(snapshots(), row=3, column=4))
    heat = page.locator(HEAT)
    said = page.locator("[aria-live]").inner_text()
    heat.hover(position=at(page, 7, 2))
    assert cell(page)[:2] == (7, 2)
    assert page.locator("[aria-live]").inner_text() == said, "a pointer that passes is not read aloud"
    page.mouse.move(2, 2)
    assert cell(page)[:2] == (3, 4)
    heat.click(position=at(page, 9, 11))
    page.mouse.move(2, 2)
    page.evaluate(FRAME)
    assert cell(page)[:2] == (9, 11)
    page.get_by_role("slider", name="Row i").fill("1")
    page.get_by_role("slider", name="Column j").fill("0")
    page.evaluate(FRAME)
    assert cell(page)[:2] == (1, 0)


def test_finger_chooses(mount):
    page = mount(CorrelationMatrix(snapshots()), has_touch=True, viewport={"width": 375, "height": 800})
    page.locator(HEAT).tap(position=at(page, 5, 6))
    page.evaluate(FRAME)
    assert cell(page)[:2] == (5, 6)


DOTS = "[...document.querySelectorAll('.sslw-dot')].map((d) => [+d.getAttribute('x') + 2, +d.getAttribute('y') + 2])"


def test_scatter_shows_the_two_features(mount):
    z = snapshots()
    page = mount(CorrelationMatrix(z, *views(), names=[f"p{k}" for k in range(40)], row=3, column=7))
    standard = [(x - x.mean(dim=0)) / x.std(dim=0, correction=0) for x in z[10]]
    across, up = standard[0][:, 3], standard[1][:, 7]
    edge = 1.05 * max(across.abs().max(), up.abs().max()).item()
    dots = torch.tensor(page.evaluate(DOTS)) / 100 - 1
    torch.testing.assert_close(edge * dots, torch.stack([across, -up], dim=1), atol=0.03, rtol=0)

    line = page.locator(".sslw-slope").evaluate("l => ['x1', 'y1', 'x2', 'y2'].map((k) => +l.getAttribute(k))")
    slope = -(line[3] - line[1]) / (line[2] - line[0])
    assert slope == pytest.approx(oracle(*z[10])[3, 7].item(), abs=TOLERANCE)

    order = [across.argsort().tolist(), up.argsort().tolist()]
    lists = [li.inner_text().split() for li in page.locator(".sslw-ends li").all()]
    assert [name for name, _ in lists] == [f"p{k}" for o in order for k in o[:3] + o[-3:]]
    assert number(lists[0][1]) == pytest.approx(across.min().item(), abs=0.1)
    marked = page.locator(".sslw-dot").evaluate_all("d => d.flatMap((x, k) => x.matches('.sslw-extreme') ? [k] : [])")
    assert marked == sorted({k for o in order for k in o[:3] + o[-3:]})


def test_pictures_are_those_of_their_view(mount):
    """Grey pictures, one level each: those of view 1 from dark to bright, of view 2 the other way round."""
    levels = torch.linspace(0, 240, 40).round().byte()
    images = levels[:, None, None, None].expand(40, 3, 8, 8)
    z = torch.arange(40.0)[:, None] * torch.tensor([1.0, 2.0])
    page = mount(CorrelationMatrix({0: (z, z)}, images, images.flip(0)))
    drawn = rgba(page, ".sslw-ends canvas")
    expected = levels[[0, 1, 2, 37, 38, 39]].tolist() + levels.flip(0)[[0, 1, 2, 37, 38, 39]].tolist()
    assert [int(end.flatten(0, 1)[36, 0]) for end in drawn] == pytest.approx(expected, abs=6)
    assert "picture 39" in page.locator(".sslw-ends li").nth(5).inner_text(), "said, though not seen"


def test_constant_features_are_said(mount):
    z1, z2 = torch.randn(2, 30, 4)
    z1[:, 2] = 0.1
    z2[:] = -1
    page = mount(CorrelationMatrix({0: (z1, z1), 1: (z1, z2)}, epoch=0, row=2, column=1))
    assert "the same for all pictures: 1 of view 1, 1 of view 2" in page.locator(".sslw-field").inner_text()
    assert "Feature 2 of view 1 is the same for all" in page.locator("[aria-live]").inner_text()
    assert cell(page) == (2, 1, 0)
    put(page, epoch=1, row=0)
    assert not shown(page).any()
    assert "Feature 1 of view 2 is the same for all" in page.locator("[aria-live]").inner_text()
    put(page, epoch=0, row=0)
    assert shown(page)[2].eq(0).all() and shown(page)[0, 0] == 1


def test_plays_to_the_end(mount):
    page = mount(CorrelationMatrix(snapshots()))
    page.get_by_role("button", name="Play").click()
    page.evaluate(FRAME)
    assert page.evaluate("window.mounted[0].model.get('epoch')") == 0
    said = page.locator("[aria-live]").inner_text()
    page.wait_for_function("window.mounted[0].model.get('epoch') == 1")
    assert page.locator("[aria-live]").inner_text() == said, "epochs that rush by are not read aloud"
    page.get_by_role("button", name="Play").wait_for()
    page.evaluate(FRAME)
    assert page.evaluate("window.mounted[0].model.get('epoch')") == 2
    assert page.locator("[aria-live]").inner_text().startswith("Epoch 10: ")


def test_one_epoch_has_nothing_to_play(mount):
    page = mount(CorrelationMatrix({0: snapshots()[10]}))
    assert page.get_by_role("button").count() == 0 and page.get_by_role("slider").count() == 2
    assert page.locator(".sslw-ends").count() == 0, "neither pictures nor names"


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_labels_are_there(mount, width, theme):
    widget = CorrelationMatrix(snapshots(), *views(), names=["a rather long name"] * 40)
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(UNLABELLED) == 0
    put(page, at=1, epoch=0)
    assert not torch.equal(shown(page, at=0), shown(page, at=1)), "two on a page are two"


def test_clean_up_leaves_nothing(mount):
    page = mount(CorrelationMatrix(snapshots(), *views()))
    page.get_by_role("button", name="Play").click()
    assert page.evaluate(LEFT) == [0]
    page.wait_for_timeout(700)
    assert page.evaluate("window.mounted[0].model.get('epoch')") == 0, "nothing plays on"


# -- the page's address


@pytest.fixture
def visit(browser, tmp_path):
    """visit(hash, widget) -> a page that Sphinx could have made, opened with this hash."""
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:

        def visit(hash, widget):
            page = context.new_page()
            watch(page, address)
            page.goto(f"{address}/index.html{hash}")
            page.evaluate(MOUNT, [encoded(widget)])
            return page

        yield visit
        assert [page.troubles for page in context.pages] == [[]] * len(context.pages)


TRAITS = "['epoch', 'row', 'column', 'reach'].map((k) => mounted[0].model.get(k))"


def test_a_link_opens_the_epoch_and_the_cell(visit):
    link = "#correlation.epoch=5&correlation.i=3&correlation.j=11&correlation.reach=0.25"
    page = visit(link, CorrelationMatrix(snapshots()))
    assert page.evaluate(TRAITS) == [1, 3, 11, 0.25] and cell(page)[:2] == (3, 11)
    page.locator(HEAT).press("ArrowUp")
    page.get_by_text("colours to").click()
    page.wait_for_function("location.hash === '#correlation.epoch=5&correlation.i=2&correlation.j=11'")
    page = visit(
        "#correlation.epoch=7&correlation.i=99&correlation.j=x&correlation.reach=2", CorrelationMatrix(snapshots())
    )
    assert page.evaluate(TRAITS) == [1, 11, 0, 1], "the nearest that there is, else as at first"
