"""The centre and sharpen pad: its state in Python, and the shipped JavaScript in a real browser without a kernel."""

import math

import pytest
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, serve, watch

from sslbook.widgets import CentringPad
from sslbook.widgets.centring import collapse_of

K, TEMPERATURES = 64, (0.02, 0.04, 0.1)


def row(centring, T, seed=0):
    """A run that collapses as its kind does."""
    entropy, used = [2.0, 1.5, 1.2], [40.0, 50.0, 55.0]
    if T == 0.1:
        entropy = [3.9, 4.1, math.log(K)]
    if centring == "none":
        entropy, used = [2.0, 0.4, 0.0], [30.0, 5.0, 1.0]
    curves = dict(entropy=entropy, KL=[1.0, 0.5, 0.25 + seed / 100], used=used, loss=[0.0] * 3)
    about = dict(pad=True, centring=centring, T_t=T, K=K)
    return about | dict(kNN=0.5 + T + seed / 100, untrained={"kNN": 0.2}, curves=curves)


def logs(seeds=2):
    return [
        dict(seed=s, rows=[dict(pad=False)] + [row(c, T, s) for T in TEMPERATURES for c in ("mean", "none")])
        for s in range(seeds)
    ]


def without(index):
    [log] = logs(1)
    return [log | dict(rows=log["rows"][:index] + log["rows"][index + 1 :])]


# -- Python


def test_state():
    widget = CentringPad(logs())
    assert widget.temperatures == [0.02, 0.04, 0.1] and widget.seeds == ["0", "1"] and widget.K == 64
    assert len(widget.runs) == 12 and widget.epoch == 2 and widget.untrained == [0.2, 0.2]
    last = widget.runs[-1]
    assert (last["centring"], last["T"], last["seed"], last["knn"]) == ("none", 0.1, "1", 0.61)
    assert last["KL"] == [1.0, 0.5, 0.26] and "loss" not in last


def test_which_collapse():
    assert collapse_of(math.log(K), 64, K) == collapse_of(0.96 * math.log(K), 64, K) == "uniform"
    assert collapse_of(0.0, 1.0, K) == collapse_of(math.log(K), 1.9, K) == "constant"
    assert collapse_of(math.log(30), 30, K) == collapse_of(math.log(30) - 0.09, 30, K) == "alike"
    assert collapse_of(math.log(30) - 0.11, 30, K) == collapse_of(0.0, 30, K) == ""


def longer():
    [log] = logs(1)
    log["rows"][1]["curves"]["KL"].append(0.0)
    return [log]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "at least one row with a 'pad'"),
        ([dict(seed=0, rows=[dict(pad=False)])], "at least one row with a 'pad'"),
        (without(2), "seed 0 must have one run with centring 'none' and T_t 0.02, got 0"),
        ([logs()[0] | dict(rows=logs()[0]["rows"] * 2)], "centring 'mean' and T_t 0.02, got 2"),
        (longer(), r"the same number of epochs, got \[3, 4\]"),
        (logs(11), "at most 60 runs, got 66"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        CentringPad(wrong)


# -- the browser


def number(text):
    return float(text.replace("\u2212", "-"))


def readouts(page):
    """{name: value} of the read-outs."""
    cards = page.locator(".sslw-readouts > div")
    return {c.locator("dt").inner_text(): number(c.locator("b").inner_text()) for c in cards.all()}


def put(page, **traits):
    page.evaluate("(t) => Object.entries(t).forEach((e) => mounted[0].model.set(...e))", traits)
    page.evaluate(FRAME)


def test_readouts_verdict_and_curves_follow_the_run(mount):
    widget = CentringPad(logs())
    page = mount(widget)
    for run in widget.runs:
        place = widget.temperatures.index(run["T"])
        for epoch in range(3):
            put(page, centring=run["centring"], temperature=place, seed=int(run["seed"]), epoch=epoch)
            expected = [run["entropy"][epoch], run["KL"][epoch], run["used"][epoch], run["knn"]]
            assert list(readouts(page).values()) == pytest.approx(expected, abs=0.0051)
            said = page.locator(".sslw-verdict").inner_text()
            fallen = collapse_of(run["entropy"][epoch], run["used"][epoch], K) or "No collapse"
            assert said.startswith(f"Epoch {epoch + 1}. ") and fallen in said
        points = page.locator("polyline.sslw-entropy").get_attribute("points").split()
        heights = [float(point.split(",")[1]) for point in points]
        rising = sorted(run["entropy"], reverse=True) == run["entropy"]
        assert (sorted(heights) == heights) == rising, "more entropy stands higher"
    assert page.locator("g > polyline").count() == 5, "the other runs of one seed"
    assert "untrained 0.20" in page.locator(".sslw-readouts").inner_text()


def test_the_pad_shows_all_runs_and_chooses(mount):
    page = mount(CentringPad(logs()))
    cells = page.locator(".sslw-pad button")
    assert [cell.split() for cell in cells.all_inner_texts()] == [
        ["0.52", "no", "collapse"],
        ["0.54", "no", "collapse"],
        ["0.60", "uniform"],
        ["0.52", "constant"],
        ["0.54", "constant"],
        ["0.60", "constant"],
    ]
    cells.nth(4).click()
    page.evaluate(FRAME)
    assert page.evaluate("['centring', 'temperature'].map((t) => mounted[0].model.get(t))") == ["none", 1]
    pressed = [cell.get_attribute("aria-pressed") for cell in cells.all()]
    assert pressed == ["false"] * 4 + ["true", "false"]
    page.locator(".sslw-switch label").first.click()
    page.get_by_role("slider", name="temperature").fill("2")
    page.evaluate(FRAME)
    assert "uniform collapse" in page.locator(".sslw-verdict").inner_text()
    page.get_by_text("seed 1").click()
    page.evaluate(FRAME)
    assert cells.first.inner_text().startswith("0.53")


def test_plays_to_the_end_and_cleans_up(mount):
    page = mount(CentringPad(logs()))
    page.get_by_role("button", name="Play").click()
    page.evaluate(FRAME)
    assert page.evaluate("mounted[0].model.get('epoch')") == 0
    page.get_by_role("button", name="Play").wait_for()
    assert page.evaluate("mounted[0].model.get('epoch')") == 2
    page.get_by_role("button", name="Play").click()
    assert page.evaluate(LEFT) == [0]


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_labels_are_there(mount, width, theme):
    widget = CentringPad(logs())
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(UNLABELLED) == 0


def test_a_link_opens_a_run(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#centring.centre=none&centring.T=0.04&centring.seed=1&centring.epoch=1")
        page.evaluate(MOUNT, [encoded(CentringPad(logs()))])
        traits = ["centring", "temperature", "seed", "epoch"]
        assert page.evaluate("(t) => t.map((k) => mounted[0].model.get(k))", traits) == ["none", 1, 1, 1]
        assert page.troubles == []
