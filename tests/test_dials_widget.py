"""The three dials: their state in Python, and the shipped JavaScript in a real browser without a kernel."""

import pytest
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, serve, watch

from sslbook.widgets import ThreeDials
from sslbook.widgets.dials import collapse_of

# every variance and covariance at full invariance, and two with less
WEIGHTS = [(25, mu, nu) for mu in (0, 1, 25) for nu in (0, 1, 25)] + [(0, 25, 1), (5, 25, 1)]


def row(weights=None, seed=0):
    """A run that collapses as its weights say."""
    rank, deviation, knn = (2.0, 0.2, 0.2) if weights is None else (24.0 + seed, 0.9, 0.5)
    if weights and weights[2] == 0:
        rank, knn = 3.0, 0.3
    if weights and weights[1] == 0:
        deviation, knn = 0.002, 0.1
    falling = [round(-k / rank, 3) for k in range(32)]
    about = {"kNN": knn + seed / 100, "linear": 0.5, "deviation of z": deviation, "spread of z": 0.95}
    for place in ("z", "h"):
        about |= {f"RankMe of {place}": rank, f"spectrum of {place}": falling}
    if weights is None:
        return about | dict(lambd=None, curves=None)
    lambd, mu, nu = weights
    curves = dict(invariance=[1.0, lambd / 100], variance=[1.0, mu / 100], covariance=[1.0, nu / 100])
    return about | dict(lambd=lambd, mu=mu, nu=nu, curves=curves)


def logs(seeds=2):
    return [dict(seed=s, rows=[row(seed=s)] + [row(weights, s) for weights in WEIGHTS]) for s in range(seeds)]


def changed(rows, seed=0):
    return [dict(seed=seed, rows=rows)]


# -- Python


def test_state():
    widget = ThreeDials(logs())
    assert widget.dials == [[0, 5, 25], [0, 1, 25], [0, 1, 25]] and widget.seeds == ["0", "1"]
    assert (widget.invariance, widget.variance, widget.covariance) == (2, 2, 1) and widget.place == "z"
    assert len(widget.runs) == 22 and [before["knn"] for before in widget.untrained] == [0.2, 0.21]
    last = widget.runs[-1]
    assert (last["weights"], last["seed"], last["knn"], last["terms"]) == ([5, 25, 1], "1", 0.51, [0.05, 0.25, 0.01])
    assert last["z"]["rank"] == 25 and len(last["h"]["spectrum"]) == 32


def test_which_collapse():
    assert collapse_of(0.09, 30, 30) == collapse_of(0.0, 1, 30) == "point"
    assert collapse_of(0.1, 14.9, 30) == "few directions"
    assert collapse_of(0.1, 15, 30) == collapse_of(1.0, 30, 30) == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "at least one seed"),
        (changed([row()]), "seed 0 must have runs and one untrained network, got 0 and 1"),
        (changed([row(w) for w in WEIGHTS]), "got 11 and 0"),
        (logs(1) + changed(logs(2)[1]["rows"][:-1], seed=1), "seed 1 must have each run of seed 0 once"),
        (changed(logs(1)[0]["rows"] + [row((5, 25, 1))]), "seed 0 must have each run"),
        (changed([row(), row((25, 1, 1))]), r"recipe must be one of the runs \[\[25, 1, 1\]\], got \[25, 25, 1\]"),
        (logs(11), "at most 120 runs, got 121"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        ThreeDials(wrong)


# -- the browser


def put(page, **traits):
    page.evaluate("(t) => Object.entries(t).forEach((e) => mounted[0].model.set(...e))", traits)
    page.evaluate(FRAME)


def readouts(page):
    """{name: text} of the read-outs."""
    cards = page.locator(".sslw-readouts > div")
    return {c.locator("dt").inner_text(): c.locator("b").inner_text() for c in cards.all()}


def stands(page):
    return page.evaluate("['invariance', 'variance', 'covariance'].map((t) => mounted[0].model.get(t))")


def test_readouts_verdict_and_spectrum_follow_the_run(mount):
    widget = ThreeDials(logs())
    page = mount(widget)
    for run in widget.runs:
        places = [widget.dials[i].index(weight) for i, weight in enumerate(run["weights"])]
        put(page, **dict(zip(("invariance", "variance", "covariance"), places)), seed=int(run["seed"]))
        shown = readouts(page)
        assert float(shown["kNN"]) == pytest.approx(run["knn"], abs=0.0051)
        assert float(shown["RankMe"]) == pytest.approx(run["z"]["rank"], abs=0.051)
        assert float(shown["Deviation of z"]) == pytest.approx(run["deviation"], abs=0.00051)
        terms = [float(term) for term in shown["Terms, last epoch"].split(", ")]
        assert terms == pytest.approx(run["terms"], abs=0.0051)
        fallen = collapse_of(run["deviation"], run["z"]["rank"], 24.0 + int(run["seed"]))
        word = {"point": "one point", "few directions": "dimensional collapse", "": "no collapse"}[fallen]
        assert word in page.locator(".sslw-verdict").inner_text()
        points = page.locator(".sslw-run-line").get_attribute("points").split()
        heights = [float(point.split(",")[1]) for point in points]
        assert len(points) == 32 and heights == sorted(heights), "a falling spectrum falls"
    assert page.locator("svg g > polyline").count() == 10 and page.locator(".sslw-dot").count() == 11


def test_a_dial_that_is_moved_holds_and_the_others_go_to_the_nearest_run(mount):
    page = mount(ThreeDials(logs()))
    covariance = page.get_by_role("slider", name="covariance")
    covariance.fill("0")
    page.evaluate(FRAME)
    assert stands(page) == [2, 2, 0] and "dimensional collapse" in page.locator(".sslw-verdict").inner_text()
    page.get_by_role("slider", name="invariance").fill("0")  # trained with covariance 1 only
    page.evaluate(FRAME)
    assert stands(page) == [0, 2, 1]
    page.get_by_role("slider", name="variance").first.focus()
    page.get_by_role("slider", name="μ").press("ArrowLeft")  # trained with full invariance only
    page.evaluate(FRAME)
    assert stands(page) == [2, 1, 1]
    assert page.get_by_role("slider", name="μ").get_attribute("aria-valuetext") == "1"
    page.get_by_role("button", name="Back to 25, 25, 1").click()
    page.evaluate(FRAME)
    assert stands(page) == [2, 2, 1]


def test_h_and_another_seed(mount):
    page = mount(ThreeDials(logs()))
    page.get_by_text("h, what is kept").click()
    page.get_by_text("seed 1").click()
    page.evaluate(FRAME)
    assert "of h; untrained" in page.locator(".sslw-readouts").inner_text()
    assert readouts(page)["kNN"] == "0.51" and "untrained 0.21" in page.locator(".sslw-readouts").inner_text()


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_labels_are_there(mount, width, theme):
    widget = ThreeDials(logs())
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(UNLABELLED) == 0


def test_cleans_up(mount):
    page = mount(ThreeDials(logs()))
    assert page.evaluate(LEFT) == [0]


def test_a_link_opens_a_run(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#dials.variance=0&dials.covariance=25&dials.of=h&dials.seed=1")
        page.evaluate(MOUNT, [encoded(ThreeDials(logs()))])
        assert stands(page) == [2, 0, 2] and page.evaluate("mounted[0].model.get('place')") == "h"
        assert page.evaluate("mounted[0].model.get('seed')") == 1
        assert page.troubles == []
