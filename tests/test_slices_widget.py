"""Projections against the Gaussian: the state in Python, and the shipped JavaScript in a real browser, no kernel."""

import json

import pytest
import torch
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, serve, watch

from sslbook.losses import epps_pulley
from sslbook.widgets import GaussianSlices

# of the statistic: the page has each feature in 255 steps
CLOSE = dict(rel=0.02, abs=0.02)


def snapshots(n=100, size=12, epochs=3):
    """Embeddings that begin in one corner, thin, and become Gaussian."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, size, generator=g)
    return {5 * e: (0.1 + 0.45 * e) * z + (2 - e) / 2 for e in range(epochs)}


# -- Python


def test_state():
    z = snapshots()
    widget = GaussianSlices(z)
    assert widget.shape == [3, 100, 12] and widget.epochs == ["0", "5", "10"]
    assert (widget.epoch, widget.direction, widget.t_max, widget.knots) == (2, 0, 5.0, 17)
    steps = torch.frombuffer(bytearray(widget.features), dtype=torch.int8).view(3, 100, 12)
    assert (steps.abs().amax(dim=1) == 127).all(), "every feature uses the whole range"
    restored = steps * torch.tensor(widget.scales)[:, None]
    torch.testing.assert_close(restored, torch.stack(list(z.values())), atol=0.02, rtol=0)


def test_takes_half_precision_gradients_and_what_never_changes():
    z = torch.randn(20, 6, requires_grad=True)
    GaussianSlices({0: z.half(), 1: torch.zeros(20, 6)})


def test_a_chapters_widget_is_small():
    z = {e: torch.randn(256, 64) for e in range(5)}
    assert len(json.dumps(encoded(GaussianSlices(z)))) < 250_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(snapshots={}), "at least one epoch"),
        (dict(snapshots=torch.randn(9, 3)), "a dict {epoch"),
        (dict(snapshots={3: torch.randn(9)}), r"epoch 3: .* \(N, D\), got \(9,\)"),
        (dict(snapshots={3: [1, 2]}), "epoch 3: .* got list"),
        (dict(snapshots={3: torch.full((9, 3), torch.nan)}), "epoch 3: .* did the training diverge"),
        (dict(snapshots=snapshots() | {7: torch.randn(100, 3)}), r"epoch 7: .* \(100, 12\) as in the first"),
        (dict(snapshots={0: torch.randn(7, 3)}), "8 to 512 pictures .* got 7 and 3"),
        (dict(snapshots={0: torch.randn(9, 513)}), "1 to 512 features, got 9 and 513"),
        (dict(snapshots={e: torch.randn(256, 256) for e in range(8)}), "524 kB of embeddings, more than 450 kB"),
        (dict(t_max=0.0), "t_max > 0"),
        (dict(knots=16), "odd number of knots"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        GaussianSlices(**{"snapshots": snapshots(), **arguments})


# -- the browser


def put(page, **traits):
    page.evaluate("(t) => Object.entries(t).forEach((e) => mounted[0].model.set(...e))", traits)
    page.evaluate(FRAME)


def number(text):
    return float(text.replace("\u2212", "-"))


def readouts(page):
    """The four numbers, in their order."""
    return [number(text) for text in page.locator(".sslw-readouts b").all_inner_texts()]


def directions(page, numbers, size=12):
    """The unit vectors with these numbers, as the page has them: (size, numbers)."""
    call = "([numbers, size]) => numbers.map((k) => [...mounted[0].module.directionOf(k, size)])"
    return torch.tensor(page.evaluate(call, [list(numbers), size]), dtype=torch.float64).T


def test_the_page_s_statistic_is_the_package_s(mount):
    page = mount(GaussianSlices(snapshots()))
    x = torch.randn(50, 4, dtype=torch.float64) * torch.tensor([1, 0.1, 3, 0]) + torch.tensor([0, 1, -2, 0])
    call = "([x, t, knots]) => x.map((column) => mounted[0].module.eppsPulley(column, t, knots))"
    for t_max, knots in ((5.0, 17), (3.0, 33), (2.0, 3)):
        said = page.evaluate(call, [x.T.tolist(), t_max, knots])
        assert said == pytest.approx(epps_pulley(x, t_max, knots).tolist(), rel=1e-12)


def test_directions_are_unit_vectors_all_ways_alike(mount):
    page = mount(GaussianSlices(snapshots()))
    a = directions(page, range(2000))
    torch.testing.assert_close(a.norm(dim=0), torch.ones(2000, dtype=torch.float64))
    torch.testing.assert_close(a @ a.T / 2000, torch.eye(12, dtype=torch.float64) / 12, atol=0.01, rtol=0)
    assert a.mean(dim=1).abs().max() < 0.02
    assert torch.equal(a[:, :3], directions(page, range(3))), "the number says which"


def test_readouts_follow_epoch_and_direction(mount):
    z = snapshots()
    page = mount(GaussianSlices(z))
    a = directions(page, range(64))
    for e, at in enumerate(z.values()):
        for k in (0, 7):
            put(page, epoch=e, direction=k)
            x = at.double() @ a
            said = epps_pulley(x)
            statistic, mean, centre, deviation = readouts(page)
            assert statistic == pytest.approx(said[k].item(), **CLOSE)
            assert mean == pytest.approx(said.mean().item(), **CLOSE)
            assert centre == pytest.approx(x[:, k].mean().item(), abs=0.016)
            assert deviation == pytest.approx(x[:, k].std(correction=0).item(), abs=0.016)
    assert page.locator(".sslw-slider output").inner_text() == "10"


def test_bars_are_the_shares_of_the_pictures(mount):
    z = snapshots()
    page = mount(GaussianSlices(z, direction=3))
    x = z[10].double() @ directions(page, [3])[:, 0]
    expected = torch.histc(x.clamp(-3.999, 3.999), 32, -4, 4) / 100
    heights = torch.tensor(
        page.locator(".sslw-column").evaluate_all("bars => bars.map((b) => +b.getAttribute('height'))")
    )
    shares = heights / heights.sum()
    assert (shares - expected).abs().max() < 0.021, "two pictures may lie at a border"
    call = "(x) => [...mounted[0].module.histogram(x)]"
    said = torch.tensor(page.evaluate(call, x.tolist()), dtype=torch.float64)
    torch.testing.assert_close(said, expected)
    assert page.evaluate(call, [-9, 9, 0])[0] == pytest.approx(1 / 3), "what is outside counts at the end"


def test_the_curves_are_the_characteristic_functions(mount):
    z = snapshots()
    page = mount(GaussianSlices(z, epoch=1, direction=2))
    x = z[5].double() @ directions(page, [2])[:, 0]
    curves = page.locator(".sslw-slice .sslw-curve").evaluate_all("c => c.map((p) => p.getAttribute('points'))")
    t = torch.linspace(0, 5, 81, dtype=torch.float64)
    tx = t[:, None] * x
    expected = [torch.exp(-(t**2) / 2), tx.cos().mean(dim=1), tx.sin().mean(dim=1)]
    for points, values in zip(curves[1:], expected):
        y = torch.tensor([float(point.split(",")[1]) for point in points.split()], dtype=torch.float64)
        torch.testing.assert_close((0.55 - y / 180) / 0.5, values, atol=0.01, rtol=0)


def test_another_direction_and_the_worst_of_a_hundred(mount):
    z = torch.randn(200, 6)
    z[:, 2] = z[:, 2].sign()  # not Gaussian along one axis, and less so the nearer to it
    page = mount(GaussianSlices({0: z}))
    page.get_by_role("button", name="Another direction").click()
    page.evaluate(FRAME)
    assert page.evaluate("mounted[0].model.get('direction')") == 1
    assert "direction 1" in page.locator("[aria-live]").inner_text()
    page.get_by_role("button", name="The worst of 100").click()
    page.evaluate(FRAME)
    said = epps_pulley(z.double() @ directions(page, range(100), 6))
    assert page.evaluate("mounted[0].model.get('direction')") == said.argmax().item()
    assert page.get_by_role("slider").count() == 0, "one epoch has nothing to play"


def test_keys_reach_everything_and_play_ends_at_the_last_epoch(mount):
    page = mount(GaussianSlices(snapshots(), epoch=0))
    page.get_by_role("slider", name="Epoch").press("ArrowRight")
    page.evaluate(FRAME)
    assert page.evaluate("mounted[0].model.get('epoch')") == 1
    page.get_by_role("button", name="Play").press("Enter")
    page.get_by_role("button", name="Play").wait_for()
    page.evaluate(FRAME)
    assert page.evaluate("mounted[0].model.get('epoch')") == 2
    assert page.locator("[aria-live]").inner_text().startswith("Epoch 10, direction 0: statistic")


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_labels_are_there(mount, width, theme):
    widget = GaussianSlices(snapshots())
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) and page.evaluate(UNLABELLED) == 0
    assert all(page.locator("svg").evaluate_all("all => all.map((s) => s.ariaLabel)"))


def test_clean_up_leaves_nothing(mount):
    page = mount(GaussianSlices(snapshots()))
    page.get_by_role("button", name="Play").click()
    assert page.evaluate(LEFT) == [0]
    page.wait_for_timeout(800)
    assert page.evaluate("window.mounted[0].model.get('epoch')") == 0, "nothing plays on"


def test_a_link_opens_epoch_and_direction(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#slices.epoch=5&slices.direction=41")
        page.evaluate(MOUNT, [encoded(GaussianSlices(snapshots()))])
        assert page.evaluate("['epoch', 'direction'].map((k) => mounted[0].model.get(k))") == [1, 41]
        page.get_by_role("button", name="Another direction").click()
        page.wait_for_function("location.hash === '#slices.epoch=5&slices.direction=42'")
        assert page.troubles == []
