"""SinkhornBalance: its state in Python, and its JavaScript without a kernel against `losses.sinkhorn`."""

import json

import pytest
import torch
import torch.nn.functional as F
from conftest import FRAME, LEFT, MOUNT, encoded, rgba, serve, watch
from traitlets import TraitError

from sslbook import evaluate
from sslbook.losses import sinkhorn
from sslbook.widgets import SinkhornBalance


def scores(rows=12, columns=8, seed=0):
    """Cosines of which the first prototype is too popular."""
    g = torch.Generator().manual_seed(seed)
    x = 0.6 * F.normalize(torch.randn(rows, columns, generator=g), dim=1)
    x[:, 0] += 0.3
    return x


def put(page, **traits):
    page.evaluate(
        "(t) => { for (const pair of Object.entries(t)) mounted[0].model.set(...pair); }",
        traits,
    )
    page.evaluate(FRAME)


def shown(page):
    """The codes, as the cells' colours have them."""
    return torch.tensor(
        page.evaluate(
            "[...document.querySelectorAll('tbody tr')].map((r) => [...r.querySelectorAll('td:not(.sslw-sum)')]"
            ".map((c) => +c.style.getPropertyValue('--code')))"
        )
    )


def readouts(page):
    texts = page.locator("dl b").all_inner_texts()
    return [float(text.rstrip(" %")) for text in texts]


def sums(page, where):
    return [float(t) for t in page.locator(f"{where} .sslw-sum span").all_inner_texts()]


def test_state():
    widget = SinkhornBalance({0: scores(), 5: scores(seed=1)}, torch.rand(12, 3, 8, 8), names=range(12), epsilon=0.1)
    assert widget.shape == [2, 12, 8] and widget.epochs == ["0", "5"] and widget.epoch == 1
    assert (widget.epsilon, widget.steps) == (0.1, 0)
    assert len(json.dumps(encoded(widget))) < 60_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(scores=torch.rand(30, 4)), "2 to 24 images"),
        (dict(scores=torch.rand(4)), r"got \(4,\)"),
        (dict(scores={}), "at least one epoch"),
        (dict(scores={0: scores(), 1: scores(5)}), "epoch 1: scores must be"),
        (dict(scores=torch.full((4, 4), torch.nan)), "did the training diverge"),
        (dict(images=torch.rand(3, 3, 8, 8)), r"images must be \(12, 3, height, width\)"),
        (dict(names=["one"]), "each of the 12 images once, got 1"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        SinkhornBalance(**dict(scores=scores()) | arguments)
    with pytest.raises(TraitError):
        SinkhornBalance(scores(), epsilon=3.0)


@pytest.mark.parametrize("epsilon", [0.005, 0.05, 1.0])
def test_javascript_equals_python(mount, epsilon):
    page = mount(SinkhornBalance(scores(), epsilon=epsilon))
    for iterations in (1, 3, 10):
        put(page, steps=2 * iterations)
        codes = sinkhorn(scores().double(), epsilon, iterations)
        torch.testing.assert_close(shown(page), codes.float(), rtol=0, atol=1e-5)
        used, sharpness, kept, off = readouts(page)
        assert used == pytest.approx(evaluate.prototypes_used(codes), abs=0.06)
        assert sharpness == pytest.approx(evaluate.assignment_sharpness(codes), abs=0.06)
        assert kept == pytest.approx((codes * scores()).sum().item() / 12, abs=0.006)
        assert off == pytest.approx(100 * (codes.sum(0) * 8 / 12 - 1).abs().max().item(), abs=0.6)
        assert sums(page, "tbody") == pytest.approx([1] * 12, abs=0.01)
        assert sums(page, "tfoot") == pytest.approx(codes.sum(0).tolist(), abs=0.006)


def test_a_half_step_balances_the_columns_and_lets_go_of_the_rows(mount):
    page = mount(SinkhornBalance(scores(), epsilon=0.1))
    put(page, steps=1)
    assert sums(page, "tfoot") == pytest.approx([1.5] * 8, abs=0.01) and max(sums(page, "tbody")) > 1.1
    assert page.locator("tfoot .sslw-met").count() == 8
    put(page, steps=2)
    assert page.locator("tbody .sslw-met").count() == 12 and page.locator("tfoot .sslw-met").count() < 8
    assert page.locator("[aria-live]").inner_text().startswith("\u03b5 0.1, step 2: rows")


def test_dragging_epsilon_softens(mount):
    page = mount(SinkhornBalance(scores(), epsilon=0.02, steps=20))
    soft = []
    for stop in (10, 50, 100):
        page.get_by_label("\u03b5", exact=True).fill(str(stop))
        page.evaluate(FRAME)
        soft.append(readouts(page)[1])
    assert soft == sorted(soft) and soft[0] < 1.6 and soft[2] > 7.5
    page.get_by_role("button", name="Reset").click()
    page.evaluate(FRAME)
    assert page.evaluate("['epsilon', 'steps'].map((k) => mounted[0].model.get(k))") == [0.02, 20]


def test_pictures_epochs_and_playing(mount):
    images = torch.linspace(0, 240, 12).round().byte()[:, None, None, None].expand(12, 3, 8, 8)
    page = mount(SinkhornBalance({0: scores(), 9: scores(seed=2)}, images, names=[f"p{k}" for k in range(12)], epoch=0))
    drawn = [int(picture[0, 0, 0]) for picture in rgba(page, "tbody canvas")]
    assert drawn == pytest.approx(images[:, 0, 0, 0].tolist(), abs=2)
    before = shown(page)
    page.get_by_label("Epoch").fill("1")
    page.evaluate(FRAME)
    assert not torch.equal(shown(page), before)
    put(page, steps=19)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("window.mounted[0].model.get('steps') == 20")
    page.get_by_role("button", name="Play").wait_for()


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_cleans_up(mount, width, theme):
    images = torch.rand(12, 3, 24, 24)
    widget = SinkhornBalance({0: scores(), 9: scores()}, images, names=["triangle"] * 12)
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    page.get_by_role("button", name="Play").first.click()
    assert page.evaluate(LEFT) == [0, 0]
    page.wait_for_timeout(800)
    assert page.evaluate("window.mounted[0].model.get('steps')") == 0, "nothing plays on"


def test_a_link_opens_the_setting(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#sinkhorn.epsilon=0.3&sinkhorn.step=5&sinkhorn.epoch=0")
        page.evaluate(MOUNT, [encoded(SinkhornBalance({0: scores(), 9: scores()}))])
        traits = "['epsilon', 'steps', 'epoch'].map((k) => mounted[0].model.get(k))"
        assert page.evaluate(traits) == [0.3, 5, 0]
        assert page.troubles == []
