"""The linear BYOL: its equations against one that autograd trains, and the shipped JavaScript in a real browser."""

import pytest
import torch
import traitlets
from conftest import FRAME, LEFT, UNLABELLED

from sslbook.widgets import LinearBYOL
from sslbook.widgets.linear_byol import KINDS, NOISE, STEP, TIME

STARTS = [(0.3, 0.3), (-0.4, 1.0), (0.05, 0.1), (1.2, 0.01), (0.9, 0.8)]
SETTINGS = [dict(decay=d, rate=r, kind=kind) for d, r in ((0.1, 1.0), (0.02, 3.0), (0.25, 0.5)) for kind in KINDS]
each_setting = pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s['kind']}, {s['decay']}")


def trained(p, s, *, decay, rate, kind, time, h=0.002):
    """(p, s) of a real linear BYOL with one direction for each start, by gradient descent in small steps."""
    turned = torch.linalg.qr(torch.randn(len(p), len(p), generator=torch.Generator().manual_seed(0)).double())[0]
    encoder = turned @ torch.tensor(s).double().sqrt().diag() @ turned.T
    predictor = turned @ torch.tensor(p).double().diag() @ turned.T
    if kind == "no predictor":
        predictor = torch.eye(len(p)).double()
    encoder.requires_grad_()
    predictor.requires_grad_()
    for _ in range(round(time / h)):
        target = encoder if kind == "no stop-gradient" else encoder.detach()
        # E |W_p W (x + e) - W (x + e')|^2 / 2 over inputs x of covariance 1 and noise of variance NOISE in both views
        both = predictor @ encoder
        power = (1 + NOISE) * (both.square().sum() + target.square().sum())
        loss = power / 2 - (both * target).sum()
        loss.backward()
        with torch.no_grad():
            encoder -= h * (encoder.grad + decay * encoder)
            if kind != "no predictor":
                predictor -= h * (rate * predictor.grad + decay * predictor)
        encoder.grad = predictor.grad = None
    inside = [turned.T @ matrix.detach() @ turned for matrix in (predictor, encoder @ encoder.T)]
    assert all((m - m.diagonal().diag()).abs().max() < 1e-6 for m in inside), "the directions stay apart"
    return torch.stack([matrix.diagonal() for matrix in inside], dim=1)


@each_setting
def test_the_equations_are_those_of_a_trained_linear_byol(settings):
    p, s = zip(*STARTS)
    expected = [LinearBYOL.course(*start, **settings, time=6)[-1] for start in STARTS]
    torch.testing.assert_close(trained(p, s, **settings, time=6), torch.tensor(expected).double(), atol=4e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_without_a_part_every_direction_dies(kind, decay):
    for start in STARTS:
        assert LinearBYOL.course(*start, decay=decay, kind=kind, time=100)[-1][1] < 1e-4


def test_complete_it_rests_where_it_is_said_to_rest():
    low, high = LinearBYOL.rests(0.1)
    assert high - 1.4 * high**2 == pytest.approx(0.1) == pytest.approx(low - 1.4 * low**2)
    for start, end in (((low + 0.02, (low + 0.02) ** 2), high), ((low - 0.02, (low - 0.02) ** 2), 0)):
        p, s = LinearBYOL.course(*start, decay=0.1, time=400)[-1]
        assert (p, s) == pytest.approx((end, end**2), abs=1e-3), "on the curve s = p^2 the lower one is the edge"
    assert LinearBYOL.rests(1 / 5.6 + 0.001) is None
    for start in STARTS:
        assert LinearBYOL.course(*start, decay=0.22, time=400)[-1][1] < 1e-3, "too strong a decay kills all"


def test_the_weight_decay_binds_the_two_together():
    """s - p^2 / rate shrinks as exp(-2 decay t), and without weight decay never changes (Tian et al., 2021)."""
    for decay in (0.0, 0.1):
        path = LinearBYOL.course(0.3, 0.8, decay=decay, rate=2)
        apart = [s - p**2 / 2 for p, s in path]
        for k in (100, 400):
            time = torch.tensor(-2 * decay * k * STEP)
            assert apart[k] == pytest.approx(apart[0] * time.exp().item(), abs=1e-6)


def test_without_weight_decay_small_positive_starts_live_and_large_ones_are_stuck():
    for p in (0.01, 0.3, 0.7):
        assert LinearBYOL.course(p, 0.05, decay=0, time=400)[-1][0] == pytest.approx(1 / 1.4, abs=1e-3)
    for p in (1.2, -0.4):  # s - p^2 never changes, so s is gone before p is near 1 / 1.4
        assert LinearBYOL.course(p, 0.05, decay=0, time=400)[-1][1] < 1e-4
    assert LinearBYOL.course(1.2, 0.05, decay=0.05, time=400)[-1][1] > 0.2, "a weight decay saves it"


def test_values_out_of_range_are_refused():
    with pytest.raises(traitlets.TraitError):
        LinearBYOL(decay=1.0)
    with pytest.raises(traitlets.TraitError):
        LinearBYOL(kind="no soul")


# -- the page

COURSES = """
(cases) => cases.map(([start, settings]) => window.mounted[0].module.course(start, { noise: 0.4, ...settings }))
"""


def test_the_page_computes_what_python_computes(mount):
    cases = [[list(start), settings] for start in STARTS for settings in SETTINGS]
    page = mount(LinearBYOL())
    for (start, settings), path in zip(cases, page.evaluate(COURSES, cases)):
        expected = LinearBYOL.course(*start, **settings)
        assert len(path) == len(expected) == round(TIME / STEP) + 1
        torch.testing.assert_close(torch.tensor(path), torch.tensor(expected), atol=1e-6, rtol=0)
    places = page.evaluate("window.mounted[0].module.rests({decay: 0.1, kind: 'complete', noise: 0.4})")
    assert places == pytest.approx(LinearBYOL.rests(0.1))


def readouts(page):
    return page.locator(".sslw-readouts dd").all_inner_texts()


def slide(page, name, value):
    page.get_by_label(name).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", value)
    page.evaluate(FRAME)


def test_sliders_and_switch_decide(mount):
    page = mount(LinearBYOL(p=0.4, s=0.2))
    assert "it lives" in readouts(page)[0] and "0.59" in readouts(page)[1]
    slide(page, "p at the start", "-0.8")
    assert "it dies" in readouts(page)[0]
    slide(page, "p at the start", "0.4")
    slide(page, "Weight decay", "0.22")
    assert "it dies" in readouts(page)[0] and "too strong" in readouts(page)[1]
    slide(page, "Weight decay", "0")
    assert "it lives" in readouts(page)[0]
    for kind in ("no predictor", "no stop-gradient"):
        page.get_by_text(kind, exact=True).click()
        page.evaluate(FRAME)
        assert "it dies" in readouts(page)[0] and "nowhere" in readouts(page)[1]
    assert "it dies" in page.locator("[aria-live]").inner_text()


def test_the_basin_is_tinted_where_starts_live(mount):
    page = mount(LinearBYOL(decay=0.1))
    tint = page.locator(".sslw-plot-frame canvas").evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, k) => k % 4 === 3)"
    )
    alive = torch.tensor(tint).view(30, 40) > 0
    assert 0.2 < alive.float().mean() < 0.95
    for row, column in ((29, 11), (0, 30), (15, 20), (25, 2), (2, 12)):
        p, s = -1 + 2.2 * (column + 0.5) / 40, 1 - (row + 0.5) / 30
        end = LinearBYOL.course(p, s, decay=0.1, time=300)[-1]
        assert alive[row, column] == (end[1] > 0.1), (p, s)


def test_a_click_chooses_a_start_and_keys_move_it(mount):
    page = mount(LinearBYOL())
    box = page.locator(".sslw-plane").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.5)
    page.evaluate(FRAME)
    slider = page.get_by_label("p at the start")
    assert float(slider.input_value()) == pytest.approx(0.65, abs=0.02)
    slider.press("ArrowRight")
    page.evaluate(FRAME)
    assert float(slider.input_value()) == pytest.approx(0.66, abs=0.02)


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_is_labelled_and_leaves(mount, width, theme):
    page = mount(LinearBYOL(), theme=theme, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0]
