"""Walls of clusters: their state in Python, and the shipped JavaScript in a real browser without a kernel."""

import json

import numpy as np
import pytest
import torch
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, rgba, serve, watch

from sslbook import evaluate, sets
from sslbook.widgets import ClusterWall

N = 60
PARTS = {"class": (torch.arange(N) % 3, ["disc", "ring", "star"]), "hue": (torch.arange(N) // 30, ["warm", "cold"])}


def snapshots():
    """First by hue, then by class with one cluster of five empty; sizes 30 and 30, then 20, 20 and 20."""
    return {0: torch.arange(N) // 30, 4: torch.tensor([4, 1, 3])[torch.arange(N) % 3]}


def pictures(side=8):
    """Each of one grey level, i for picture i."""
    levels = 4 * torch.arange(N, dtype=torch.uint8)
    return levels[:, None, None, None].expand(N, 3, side, side)


def wall(**options):
    return ClusterWall(**{"snapshots": snapshots(), "images": pictures(), "factors": PARTS, **options})


# -- Python


def test_state():
    widget = wall()
    assert widget.shape == [2, 5, 2, N, N] and widget.epochs == ["0", "4"] and widget.epoch == 1
    sizes = np.frombuffer(widget.sizes, np.uint32).reshape(2, 5)
    assert sizes.tolist() == [[30, 30, 0, 0, 0], [0, 20, 0, 20, 20]] and widget.cluster in (1, 3, 4)
    counts = np.frombuffer(widget.counts, np.uint32).reshape(2, 5, 2)
    commonest = np.frombuffer(widget.commonest, np.uint8).reshape(2, 5, 2)
    assert counts[0, 0].tolist() == [10, 30] and commonest[0, 1, 1] == 1
    assert counts[1, 4].tolist() == [20, 10] and commonest[1, [4, 1, 3], 0].tolist() == [0, 1, 2]
    assert [[m["purity"] for m in row] for row in widget.measures] == [[pytest.approx(1 / 3), 1], [1, 0.5]]
    assert all(m["chance"] < 0.75 for row in widget.measures for m in row)
    assert [f["name"] for f in widget.factors] == ["class", "hue"]


def test_measures_are_of_all_pictures_and_the_page_gets_some():
    widget = wall(shown=7)
    assert widget.shape[3:] == [7, N] and len(widget.members) == 2 * 7
    assert widget.measures == wall().measures


def test_a_chapters_widget_is_small():
    """640 of 4,096 pictures, 64 clusters, five epochs, seven factors."""
    train, _ = sets.load("shapes", train=4096, test=1)
    generator = torch.Generator().manual_seed(0)
    clusters = {epoch: torch.randint(64, (4096,), generator=generator) for epoch in range(5)}
    widget = ClusterWall(clusters, train.images, evaluate.in_parts(train))
    assert len(json.dumps(encoded(widget))) < 300_000
    assert widget.measures[0][0]["purity"] == pytest.approx(widget.measures[0][0]["chance"], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(snapshots={}), "at least one epoch"),
        (dict(snapshots=[torch.zeros(N)]), "a dict {epoch"),
        (dict(snapshots={3: torch.zeros(N)}), r"epoch 3: clusters must be \(60,\) int64, .* got torch.float32 \(60,\)"),
        (dict(snapshots={3: torch.zeros(9).long()}), r"got torch.int64 \(9,\)"),
        (dict(snapshots={3: torch.zeros(N).long() - 1}), "clusters 0 to 255, got -1 to -1"),
        (dict(snapshots={3: torch.zeros(N).long() + 256}), "clusters 0 to 255, got 256 to 256"),
        (dict(images=torch.zeros(N, 8, 8)), r"images must be \(N, 3, height, width\), got \(60, 8, 8\)"),
        (dict(images=pictures().float() - 1), "float images must lie in"),
        (dict(factors={}), "at least one"),
        (dict(factors={"hue": (torch.zeros(9).long(), ["one"])}), r"factor 'hue': parts must be \(60,\) in \[0, 1\)"),
        (dict(factors={"hue": (torch.ones(N).long(), ["one"])}), r"in \[0, 1\)"),
        (dict(shown=0), "1 to 768 pictures, got shown=0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        wall(**arguments)


# -- the browser


@pytest.fixture
def mount(browser):
    """mount(widget, ...) -> a page that shows them; whatever went wrong there fails the test."""
    pages = []

    def mount(*widgets, theme="light", **options):
        context = browser.new_context(color_scheme=theme, **options)
        page = context.new_page()
        pages.append(page)
        watch(page)
        page.evaluate(MOUNT, [encoded(widget) for widget in widgets])
        return page

    yield mount
    troubles = [page.troubles for page in pages]
    for page in pages:
        page.context.close()
    assert troubles == [[]] * len(pages)


def traits(page, at=0):
    return page.evaluate(f"['epoch', 'factor', 'cluster'].map((k) => mounted[{at}].model.get(k))")


def text(page, selector):
    return [" ".join(part.split()) for part in page.locator(selector).all_inner_texts()]


def levels(page, selector):
    """The grey level in the middle of each picture of a canvas, 8 px a side, as the number of the picture."""
    (drawn,) = rgba(page, selector)
    centres = drawn[4::8, 4::8]
    return [round(level / 4) for level, opacity in centres[..., [0, 3]].flatten(0, 1).tolist() if opacity]


def test_walls_show_their_pictures_and_what_most_of_them_are(mount):
    page = mount(wall(cluster=3))
    assert text(page, ".sslw-walls button") == [f"{name} 100 % of 20" for name in ("ring", "star", "disc")]
    assert text(page, ".sslw-detail h4") == ["Cluster 3 in epoch 4: 20 pictures"]
    shown = levels(page, ".sslw-wall")
    assert len(shown) == 20 and all(abs(a - b) <= 1 for a, b in zip(shown, range(2, N, 3))), shown


def test_the_table_has_every_factor_beside_its_chance(mount):
    page = mount(wall(cluster=1))
    chance = wall().measures[1]
    assert text(page, ".sslw-factors tbody tr") == [
        f"class 1.00 {chance[0]['chance']:.2f} ring 100 %",
        f"hue 0.50 {chance[1]['chance']:.2f} warm 50 %",
    ]
    bars = page.locator(".sslw-level").evaluate_all("b => b.map((x) => x.firstChild.offsetWidth / x.offsetWidth)")
    assert bars == pytest.approx([1, 0.5], abs=0.02)


def test_a_click_chooses_a_cluster_and_a_factor(mount):
    page = mount(wall(epoch=0, cluster=0))
    assert text(page, ".sslw-readouts dd")[2].startswith("0.33")
    page.get_by_text("hue", exact=True).first.click()
    page.evaluate(FRAME)
    assert traits(page)[1] == 1 and text(page, ".sslw-readouts dd")[2].startswith("1.00")
    assert text(page, ".sslw-walls button") == ["warm 100 % of 30", "cold 100 % of 30"]
    page.get_by_role("button", name="cold").click()
    page.evaluate(FRAME)
    assert traits(page) == [0, 1, 1]
    assert page.get_by_role("button", name="cold").get_attribute("aria-pressed") == "true"
    assert "cold" in page.locator("[aria-live]").inner_text()


def test_another_epoch_follows_the_pictures(mount):
    first = {0: torch.arange(N) // 30, 4: 4 - torch.arange(N) // 30}
    page = mount(wall(snapshots=first, epoch=0, cluster=1))
    page.get_by_role("slider", name="Epoch").fill("1")
    page.evaluate(FRAME)
    assert traits(page) == [1, 0, 3]
    assert text(page, ".sslw-detail h4") == ["Cluster 3 in epoch 4: 30 pictures"]
    assert text(page, ".sslw-readouts dd")[0].startswith("2")


def test_plays_to_the_end(mount):
    page = mount(wall(epoch=1))
    page.get_by_role("button", name="Play").click()
    page.evaluate(FRAME)
    assert traits(page)[0] == 0
    page.get_by_role("button", name="Play").wait_for()
    page.evaluate(FRAME)
    assert traits(page)[0] == 1


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_labels_are_there(mount, width, theme):
    page = mount(wall(), wall(), theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(UNLABELLED) == 0


def test_clean_up_leaves_nothing(mount):
    page = mount(wall())
    page.get_by_role("button", name="Play").click()
    assert page.evaluate(LEFT) == [0]
    page.wait_for_timeout(1000)
    assert traits(page)[0] == 0, "nothing plays on"


def test_a_link_opens_what_it_says(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        for link, expected in (
            ("#clusters.epoch=0&clusters.factor=hue&clusters.cluster=1", [0, 1, 1]),
            ("#clusters.epoch=9&clusters.factor=size&clusters.cluster=99", [1, 0, 4]),
        ):
            page = context.new_page()
            watch(page, address)
            page.goto(f"{address}/index.html{link}")
            page.evaluate(MOUNT, [encoded(wall(cluster=3))])
            assert traits(page) == expected and page.troubles == []
