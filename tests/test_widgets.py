"""The widgets: their state in Python, and the shipped JavaScript in a real browser without any kernel.

The browser tests mount a widget's own module with its own embedded state on a plain page, with a model that only
stores values, as on the static site.
"""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import FRAME, LEFT, MOMENT, MOUNT, ROOT, UNLABELLED, canvases, encoded, serve, swipe, watch

from sslbook import views
from sslbook.losses import info_nce_loss
from sslbook.methods import MAE
from sslbook.views import DRAWS, Augmentation
from sslbook.vit import vit_micro
from sslbook.widgets import (
    AugmentationExplorer,
    ChoosingGuide,
    EmbeddingSphere,
    MAEExplorer,
    SimilarityMatrix,
    masking,
)

EVERYTHING = Augmentation(
    32, scale=(0.1, 1), flip=0.5, jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.4,
    grey=0.3, blur=0.7, solarize=0.4,
)  # fmt: skip


def pictures(n=3, height=32, width=32, seed=0):
    """Smooth colourful images with a grey one, a black pixel and a white one among them."""
    g = torch.Generator().manual_seed(seed)
    x = F.interpolate(torch.rand(n, 3, 5, 5, generator=g), size=(height, width), mode="bicubic")
    x = (x + 0.1 * torch.rand(n, 3, height, width, generator=g)).clamp(0, 1)
    x[-1] = x[-1].mean(dim=0, keepdim=True)
    x[0, :, 0, 0], x[0, :, 1, 1] = 0, 1
    return (255 * x).round().byte()


def batch(n=8, dim=16, epochs=3, seed=0):
    """Features of 2n views over some epochs: partners grow more alike."""
    g = torch.Generator().manual_seed(seed)
    image, noise = torch.randn(n, dim, generator=g), torch.randn(2 * n, dim, generator=g)
    return {e: torch.cat([image, image]) * (e + 0.5) + noise for e in range(epochs)}


def first_views(explorer, images, i, views=6, seed=9):
    """What the explorer must show at first for image i."""
    u = torch.rand(views, DRAWS, generator=torch.Generator().manual_seed(seed))
    a = explorer.augmentation
    return a.apply(images[[i] * views], a.parameters(u, *images.shape[2:]))


# -- Python


def test_explorer_state():
    images = pictures(12)
    explorer = AugmentationExplorer(images, EVERYTHING, labels=range(12), seed=3)
    assert explorer.pixels == images.numpy().tobytes() and explorer.shape == [12, 32, 32]
    u = torch.rand(6, DRAWS, generator=torch.Generator().manual_seed(3))
    assert explorer.uniforms == u.numpy().tobytes()
    assert explorer.augmentation == EVERYTHING
    assert len(json.dumps(encoded(explorer))) < 120_000  # what a page carries for a dozen of images


def test_explorer_reads_its_sliders_back():
    explorer = AugmentationExplorer(pictures(), EVERYTHING)
    explorer.sliders = {**explorer.sliders, "strength": 1.5, "scale": 0.5, "blur": 0.0}
    a = explorer.augmentation
    assert (a.scale, a.blur, a.hue) == ((0.5, 1), 0.0, 0.5)  # hue would be 0.6
    assert a.brightness == pytest.approx(1.2)


def test_explorer_of_a_crop_has_colours_to_add():
    crop = Augmentation(32, scale=(0.2, 1))
    explorer = AugmentationExplorer(pictures(), crop)
    assert explorer.augmentation.jitter == 0 and explorer.augmentation.brightness == 0.8
    assert torch.equal(first_views(explorer, pictures(), 1), crop.apply(
        pictures()[[1] * 6], crop.parameters(torch.rand(6, DRAWS, generator=torch.Generator().manual_seed(9)), 32, 32)
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(images=pictures()[0]), r"\(N, 3, height, width\), got \(3, 32, 32\)"),
        (dict(images=pictures().numpy()), "got ndarray"),
        (dict(images=pictures() / 255), r"uint8, got torch.float32"),
        (dict(images=pictures(25)), "1 to 24 pictures, got 25"),
        (dict(labels=["cat"]), "each of the 3 images, got 1"),
        (dict(views=0), r"views must lie in 1..12, got 0"),
        (dict(crops="five"), "'alike' or 'multi-crop', got 'five'"),
        (dict(split=1), r"share of the image in \(0, 1\), got 1"),
        (dict(small=33), "at most 32 px, got 33"),
    ],
)
def test_explorer_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        AugmentationExplorer(**{"images": pictures(), "augmentation": EVERYTHING, **arguments})


def test_matrix_state():
    z = batch(32, epochs=5)
    matrix = SimilarityMatrix(z, pictures(64), temperature=0.1, names=range(32))
    assert matrix.size == 64 and matrix.epochs == ["0", "1", "2", "3", "4"] and matrix.epoch == 4
    u = F.normalize(z[2], dim=1)
    triangle = torch.frombuffer(bytearray(matrix.triangles), dtype=torch.float32).view(5, -1)[2]
    torch.testing.assert_close(triangle, (u @ u.T)[*torch.triu_indices(64, 64, offset=1)])
    assert len(matrix.triangles) == 5 * 4 * 2016
    assert len(json.dumps(encoded(matrix))) < 350_000


def test_matrix_shrinks_large_images_and_takes_floats():
    z = batch(4, epochs=1)
    assert SimilarityMatrix(z[0], torch.rand(8, 3, 100, 200)).tiles == [[32, 64], 8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(features=torch.randn(15, 4)), "even number of rows in 4..128, got 15"),
        (dict(features=torch.randn(16)), r"\(2N, D\) ordered \[view 1; view 2\], got \(16,\)"),
        (dict(features=[torch.randn(16, 4), torch.randn(14, 4)]), "the 16 rows of the first epoch, got 14"),
        (dict(features=torch.full((16, 4), torch.nan)), "did the training diverge"),
        (dict(features=[torch.randn(16, 4)], epochs=[1, 2]), "each of the 1 features"),
        (dict(epochs=[1]), "leave epochs out"),
        (dict(images=pictures(8)), r"images must be \(16, 3, height, width\)"),
        (dict(images=pictures(16) - 0.5), r"undo the normalisation"),
        (dict(names=["cat"]), "each of the 8 images once, got 1"),
        (dict(temperature=0), "temperature must lie in"),
        (dict(views=["query"]), "views must name the two halves"),
    ],
)
def test_matrix_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        SimilarityMatrix(**{"features": batch(), "images": pictures(16), **arguments})


# -- JavaScript's form

MOST_LINES = 60


def top_statements(text):
    """Statements that begin in the first column, as lists of lines: every function lies within one of them."""
    statements = []
    for line in text.splitlines():
        if line and line[0] not in " })]/`":
            statements.append([])
        if statements and not line.startswith("/"):
            statements[-1].append(line)
    return ["\n".join(lines).strip().splitlines() for lines in statements]


@pytest.mark.parametrize("path", sorted(ROOT.glob("sslbook/widgets/*.js")), ids=lambda path: path.name)
def test_javascript_is_made_of_short_functions(path):
    statements = top_statements(path.read_text())
    assert len(statements) > 5
    assert [s[0] for s in statements if len(s) > MOST_LINES] == []


def test_the_measure_of_functions_sees_a_long_one():
    long = "\n".join(["function f() {", *["  g();"] * 59, "}"])
    assert [len(s) for s in top_statements(f"const a = 1;\n\n/** What f does. */\n{long}\n")] == [1, 61]


# -- the browser

PURE = """
({ u, family, pixels, height, width }) => {
  const { parameters, apply, steps } = window.mounted[0].module;
  const image = { data: Float32Array.from(pixels, (x) => x / 255), height, width };
  return u.map((row) => {
    const p = parameters(Float32Array.from(row), family, height, width);
    const x = apply(image, p, family).data, last = steps(image, p, family).at(-1).image.data;
    return { p, x: [...x], apart: x.reduce((m, v, i) => Math.max(m, Math.abs(v - last[i])), 0) };
  });
}
"""


def assert_shown(page, expected):
    """Native pixels of the views equal Python's within rounding to 1/255."""
    got = canvases(page, ".sslw-view canvas")
    assert got.shape == expected.shape
    assert (got / 255 - expected).abs().max() < (0.5 + 0.01) / 255


@pytest.mark.parametrize(
    ("height", "width", "augmentation"),
    [
        (32, 32, EVERYTHING),
        (48, 64, EVERYTHING),
        (40, 30, replace(EVERYTHING, size=64, jitter=1.0, grey=0.0, blur=1.0, sigma=(0.5, 3.0))),
        (20, 90, replace(EVERYTHING, size=24, scale=(0.9, 1.0), blur=1.0)),  # the fallback box
        (32, 32, views.byol_views(32)[1]),
        (96, 96, views.simclr_views(224)[0]),
    ],
    ids=["32", "48x64", "enlarge", "fallback", "byol", "224"],
)
def test_javascript_equals_python(mount, height, width, augmentation):
    n = 3 if augmentation.size > 64 else 60
    image = pictures(1, height, width, seed=n)[0]
    u = torch.rand(n, DRAWS, generator=torch.Generator().manual_seed(height))
    p = augmentation.parameters(u, height, width)
    expected = augmentation.apply(image.expand(n, -1, -1, -1), p)
    explorer = AugmentationExplorer(image[None], augmentation)
    got = mount(explorer).evaluate(
        PURE,
        dict(u=u.tolist(), family=explorer.family, pixels=image.flatten().tolist(), height=height, width=width),
    )
    for k, view in enumerate(got):
        assert view["p"]["box"] == p.box[k].tolist()
        assert view["p"]["order"] == p.order[k].tolist()
        assert [view["p"][b] for b in ("flip", "grey", "solarize")] == [
            bool(x[k]) for x in (p.flip, p.grey, p.solarize)
        ]
        torch.testing.assert_close(
            torch.tensor(view["p"]["factors"], dtype=torch.float32), p.factors[k], rtol=0, atol=1e-7
        )
        assert view["p"]["sigma"] == pytest.approx(p.sigma[k].item(), abs=1e-6)
        x = torch.tensor(view["x"]).view(3, augmentation.size, augmentation.size)
        assert (x - expected[k]).abs().max() < 2e-5
        assert view["apart"] < 1e-6  # the film's last picture is the view
    if n == 60 and augmentation.jitter == 1:
        assert len({tuple(order) for order in p.order.tolist()}) == 24  # every order of the four


def test_explorer_draws_first_views_and_follows_sliders(mount):
    images = pictures(3, 48, 64)
    explorer = AugmentationExplorer(images, EVERYTHING, labels=["a", "b", "c"], seed=5)
    page = mount(explorer)
    assert_shown(page, first_views(explorer, images, 0, seed=5))
    box = page.locator(".sslw-box.sslw-on .sslw-edge").evaluate(
        "e => ['y', 'x', 'height', 'width'].map((k) => +e.getAttribute(k))"
    )
    u = torch.rand(6, DRAWS, generator=torch.Generator().manual_seed(5))
    assert box == EVERYTHING.parameters(u, 48, 64).box[0].tolist()

    page.get_by_role("radio", name="b", exact=True).check(force=True)
    assert_shown(page, first_views(explorer, images, 1, seed=5))
    moves = [("Smallest crop", "scale", 0.6), ("Colour strength", "strength", 1.8), ("solarised", "solarize", 1.0)]
    moves += [
        ("blurred", "blur", 1.0),
        ("made grey", "grey", 0.0),
        ("mirrored", "flip", 0.0),
        ("recoloured", "jitter", 1),
    ]
    for label, name, value in moves:
        page.get_by_label(label).fill(str(value))
        page.evaluate(FRAME)
        explorer.sliders = {**explorer.sliders, name: value}
        assert_shown(page, first_views(explorer, images, 1, seed=5))
    assert page.evaluate("window.mounted[0].model.get('sliders')") == pytest.approx(explorer.sliders)

    # reset: the sliders and numbers of the start, still image b
    before = canvases(page, ".sslw-view canvas")
    page.get_by_role("button", name="New views").click()
    new = canvases(page, ".sslw-view canvas")
    assert not torch.equal(new, before)
    page.get_by_role("button", name="Reset").click()
    page.evaluate(FRAME)
    explorer.sliders = explorer.start
    assert_shown(page, first_views(explorer, images, 1, seed=5))


def multi_crop_shown(explorer, image, seed=9):
    """What Python makes of the views that the page shows, one for each."""
    u = torch.rand(6, DRAWS, generator=torch.Generator().manual_seed(seed))
    return explorer.made.render(image[None], u[:, None])


def shown_alone(page, k):
    """One view's native pixels."""
    return canvases(page, f".sslw-view:nth-child({k + 1}) canvas")[0] / 255


def test_multi_crop_shows_two_large_and_four_small_views(mount):
    images = pictures(2)
    explorer = AugmentationExplorer(images, EVERYTHING)
    page = mount(explorer)
    assert page.get_by_label("Small up to").is_hidden()
    page.get_by_label("Multi-crop").check(force=True)
    page.get_by_label("Small up to").fill("0.4")
    page.evaluate(FRAME)
    explorer.sliders = {**explorer.sliders, "crops": "multi-crop", "split": 0.4}
    assert [a.size for a in explorer.made] == [32, 32, 16, 16, 16, 16]
    assert [a.scale for a in explorer.made] == [(0.4, 1)] * 2 + [(0.1, 0.4)] * 4
    for k, expected in enumerate(multi_crop_shown(explorer, images[0])):
        assert (shown_alone(page, k) - expected[0]).abs().max() < (0.5 + 0.01) / 255
    boxes = [page.locator(".sslw-view canvas").nth(k).bounding_box() for k in (0, 2)]
    assert boxes[1]["width"] == pytest.approx(boxes[0]["width"] / 2, rel=0.05), "a small view is seen small"
    words = page.locator(".sslw-words").all_inner_texts()
    assert [w.startswith("small crop") for w in words] == [False] * 2 + [True] * 4
    page.get_by_label("Smallest crop").fill("0.6")
    page.evaluate(FRAME)
    explorer.sliders = {**explorer.sliders, "scale": 0.6}
    assert explorer.made[2].scale == (0.6, 0.6), "what is small can't be smaller than the smallest"
    for k, expected in enumerate(multi_crop_shown(explorer, images[0])):
        assert (shown_alone(page, k) - expected[0]).abs().max() < (0.5 + 0.01) / 255
    page.get_by_role("button", name="Reset").click()
    page.evaluate(FRAME)
    assert_shown(page, first_views(AugmentationExplorer(images, EVERYTHING), images, 0))


def test_a_link_may_ask_for_multi_crop(visit):
    reader = visit(
        "#augmentation.crops=multi-crop&augmentation.split=0.3", AugmentationExplorer(pictures(), EVERYTHING)
    )
    assert state(reader, "sliders")[0]["crops"] == "multi-crop"
    other = visit("#augmentation.crops=none", AugmentationExplorer(pictures(), EVERYTHING, crops="multi-crop"))
    assert state(other, "sliders")[0]["crops"] == "multi-crop"


@pytest.mark.parametrize("view", [views.simclr_views(32)[0], views.cifar_views(32)[0]], ids=["simclr", "cifar"])
def test_the_first_views_are_of_every_kind(view):
    """Or the first slider that a text names would change nothing that the reader sees."""
    p = view.parameters(torch.frombuffer(
        bytearray(AugmentationExplorer(pictures(), view).uniforms), dtype=torch.float32
    ).view(6, DRAWS), 32, 32)  # fmt: skip
    assert p.flip.sum() == 2 and p.grey.sum() == 1
    assert not p.grey[0] and (p.factors[0] != torch.tensor([1.0, 1, 1, 0])).all(), "the chosen view is recoloured"


@pytest.mark.parametrize(("width", "height"), [(375, 812), (720, 720)])  # a phone, the book's column on a laptop
def test_a_slider_is_in_sight_with_the_views_and_with_the_film(mount, width, height):
    page = mount(AugmentationExplorer(pictures(8), EVERYTHING), viewport={"width": width, "height": 900})
    top = page.locator(".sslw-views").bounding_box()["y"]
    strength, film = page.get_by_label("Colour strength").bounding_box(), page.locator(".sslw-film").bounding_box()
    room = height - 60  # the bar of the book stays on top
    assert strength["y"] + strength["height"] - top < 2 / 3 * room
    assert film["y"] + film["height"] - strength["y"] < room


def test_new_views_are_the_same_for_everyone(mount):
    explorers = [AugmentationExplorer(pictures(1), EVERYTHING, seed=s) for s in (0, 0, 1)]
    page = mount(*explorers)
    for button in page.get_by_role("button", name="New views").all():
        button.click()
        button.click()
    a, b, c = canvases(page, ".sslw-view canvas").split(6)
    assert torch.equal(a, b) and not torch.equal(a, c)
    u = torch.tensor(page.evaluate("[...window.mounted[0].module.uniforms(20000, 7)]"))
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.003


def test_explorer_by_keyboard(mount):
    page = mount(AugmentationExplorer(pictures(), EVERYTHING))
    page.get_by_role("radio", name="View 1").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".sslw-making h4").inner_text() == "How view 3 was made"
    assert page.locator("[aria-live]").inner_text().startswith("View 3: crop")
    assert "sslw-on" in page.locator(".sslw-box").last.get_attribute("class")  # its frame lies on top
    last = canvases(page, ".sslw-film canvas")[-1:]
    assert torch.equal(last, canvases(page, ".sslw-view canvas")[2:3])


READ = "k => Object.fromEntries([...document.querySelectorAll('dl div')].map(d => [d.firstChild.textContent, parseFloat(d.querySelector('b').textContent.replace('\\u2212', '-'))]))"  # noqa: E501
NAMES = ("InfoNCE loss", "Loss of guessing", "Partners\u2019 cosine", "Partner found")


def expected_readouts(z, temperature):
    u = F.normalize(z, dim=1)
    cosine, n = u @ u.T, len(z) // 2
    partner = (torch.arange(2 * n) + n) % (2 * n)
    others = cosine.masked_fill(torch.eye(2 * n, dtype=torch.bool), -torch.inf)
    loss = F.cross_entropy(others / temperature, partner)
    torch.testing.assert_close(loss, info_nce_loss(z, temperature))
    found = (others.argmax(dim=1) == partner).float().mean()
    return dict(zip(NAMES, (loss, torch.tensor(2 * n - 1.0).log(), cosine[range(2 * n), partner].mean(), 100 * found)))


def test_matrix_measures_equal_torch(mount):
    z = batch(32, epochs=3)
    page = mount(SimilarityMatrix(z, pictures(64)))
    last = None
    for e in z:
        for t in (0.02, 0.07, 0.5, 2.0):
            page.evaluate(
                "([e, t]) => { const m = window.mounted[0].model; m.set('epoch', e); m.set('temperature', t) }",
                [e, t],
            )
            page.evaluate(FRAME)
            got, expected = page.evaluate(READ), expected_readouts(z[e], t)
            for name in NAMES:
                tolerance = 0.51 if name == "Partner found" else 0.00051
                assert got[name] == pytest.approx(expected[name].item(), abs=tolerance), (name, e, t)
            heat = page.locator(".sslw-heat").evaluate("c => c.toDataURL()")
            assert t > 0.02 or heat != last  # another epoch, other colours
            last = heat


CLASSES = ["disc"] * 3 + ["ring"] * 3 + ["star"] * 2


def test_matrix_shows_classes_as_blocks_and_means(mount):
    z = batch(8)
    page = mount(SimilarityMatrix(z, pictures(16), names=CLASSES), SimilarityMatrix(z, pictures(16)))
    u = F.normalize(z[2], dim=1)
    cosine, image = u @ u.T, torch.arange(16) % 8
    kind = torch.tensor([["disc", "ring", "star"].index(CLASSES[i]) for i in image])
    others = image[:, None] != image[None]
    of = lambda a, b: (kind[:, None] == a) & (kind[None] == b) & others  # noqa: E731
    means = [cosine[of(a, b)].mean().item() for a in range(3) for b in range(3)]
    code = """([names]) => { const { module: m, model } = mounted[0];
      const { buffer, byteOffset: at, byteLength: n } = model.get("triangles");
      const cosine = m.fromTriangle(new Float32Array(buffer.slice(at + 960, at + 1440)), 16);
      return m.classMeans(cosine, 16, m.classesOf(names)); }"""
    assert page.evaluate(code, [CLASSES]) == pytest.approx(means, abs=1e-6)
    same = kind[:, None] == kind[None]
    shown = page.locator("dl").first.locator("div").nth(4).inner_text().replace("\u2212", "-")
    numbers = [float(x) for x in re.findall(r"-?\d\.\d+", shown)]
    assert numbers == pytest.approx([cosine[where].mean().item() for where in (same & others, ~same)], abs=6e-4)
    heat = page.locator(".sslw-heat").first
    before = heat.evaluate("c => c.toDataURL()")
    page.get_by_text("Mean per class", exact=True).click()
    page.evaluate(FRAME)
    assert heat.evaluate("c => c.toDataURL()") != before
    assert "disc, ring, star" not in page.locator(".sslw").last.inner_text(), "without names there are no classes"
    assert page.get_by_text("Mean per class", exact=True).count() == 1


@pytest.mark.parametrize("names", [list("abcdefgh"), list("abababab"), ["a"] * 8])
def test_names_that_are_no_sorted_classes_make_no_blocks(mount, names):
    page = mount(SimilarityMatrix(batch(8), pictures(16), names=names))
    assert page.evaluate("(names) => mounted[0].module.classesOf(names)", names) == []
    page.evaluate("mounted[0].model.set('shown', 'classes')")
    page.evaluate(FRAME)
    assert page.locator(".sslw-verdict").inner_text().startswith("cosine"), "shown as cosines"


def test_matrix_names_its_halves_and_goes_on_by_finger(mount):
    widget = SimilarityMatrix(batch(8), pictures(16), names="abcdefgh", views=("query", "key"))
    page = mount(widget, has_touch=True, viewport={"width": 375, "height": 800})
    assert page.locator(".sslw-axis").all_inner_texts()[0].split() == ["query", "key"]
    page.get_by_role("button", name="Next pair").tap()
    assert page.locator(".sslw-pair figcaption").all_inner_texts() == ["b, query", "b, key"]
    page.locator(".sslw-bars button").nth(1).press("Enter")
    assert page.locator(".sslw-pair figcaption").first.inner_text() == "b, query"


def test_a_finger_that_scrolls_past_a_slider_leaves_it_as_it_is(mount):
    page = mount(matrix(), has_touch=True, viewport={"width": 375, "height": 800})
    page.get_by_label("Temperature").fill("-3")
    before = page.evaluate("mounted[0].model.get('temperature')")
    assert swipe(page, ".sslw-slider input >> nth=-1") > 50
    assert page.evaluate("mounted[0].model.get('temperature')") == before


def test_matrix_sliders_and_switch(mount):
    z = batch(8)
    page = mount(SimilarityMatrix(z, pictures(16), names="abcdefgh"))
    heat = page.locator(".sslw-heat")
    picture = heat.evaluate("c => c.toDataURL()")
    page.get_by_role("slider", name="Epoch").fill("0")
    page.evaluate(FRAME)
    assert page.evaluate(READ)["InfoNCE loss"] == pytest.approx(info_nce_loss(z[0], 0.5).item(), abs=6e-4)
    assert (second := heat.evaluate("c => c.toDataURL()")) != picture
    page.get_by_text("Probability", exact=True).click()
    page.evaluate(FRAME)
    assert (third := heat.evaluate("c => c.toDataURL()")) != second
    page.get_by_label("Temperature").fill("-3")
    page.evaluate(FRAME)
    assert heat.evaluate("c => c.toDataURL()") != third
    t = page.evaluate("window.mounted[0].model.get('temperature')")
    assert t == pytest.approx(torch.tensor(-3.0).exp().item(), rel=1e-2)
    assert page.evaluate(READ)["InfoNCE loss"] == pytest.approx(info_nce_loss(z[0], t).item(), abs=6e-4)
    page.get_by_label("Temperature").press("ArrowLeft")
    assert page.evaluate("window.mounted[0].model.get('temperature')") == pytest.approx(t / 1.1, rel=1e-2)


def test_matrix_cell_by_mouse_and_keyboard(mount):
    z = batch(8)
    page = mount(SimilarityMatrix(z, pictures(16), temperature=0.2, names="abcdefgh"))
    u = F.normalize(z[2], dim=1)
    cosine = u @ u.T
    p = (cosine / 0.2).masked_fill(torch.eye(16, dtype=torch.bool), -torch.inf).softmax(dim=1)

    def assert_cell(i, j, shown):
        number = lambda s: float(page.locator(s).inner_text().rstrip("%").replace("\u2212", "-"))  # noqa: E731
        assert number(".sslw-cosine") == pytest.approx(cosine[i, j].item(), abs=6e-4)
        if p[i, j] > 1e-3:
            assert number(".sslw-probability") == pytest.approx(100 * p[i, j].item(), abs=0.06)
        assert page.locator(".sslw-pair figcaption").all_inner_texts() == shown
        assert ("\u2713" in page.locator(".sslw-verdict").inner_text()) == (abs(i - j) == 8)

    assert_cell(0, 8, ["a, first view", "a, second view"])  # at first: a pair of partners
    heat = page.locator(".sslw-heat")
    side = heat.bounding_box()["width"]
    margin = float(page.locator(".sslw").evaluate("e => e.style.getPropertyValue('--margin')").rstrip("px"))
    at = lambda i, j: {"x": margin + (j + 0.5) * (side - margin) / 16, "y": margin + (i + 0.5) * (side - margin) / 16}  # noqa: E731
    heat.hover(position=at(3, 13))
    assert_cell(3, 13, ["d, first view", "f, second view"])
    page.mouse.move(2, 2)  # away: back to the selected one
    assert_cell(0, 8, ["a, first view", "a, second view"])
    heat.click(position=at(9, 2))
    page.mouse.move(2, 2)
    assert_cell(9, 2, ["b, second view", "c, first view"])
    for key, (i, j) in {
        "ArrowDown": (10, 2),
        "ArrowRight": (10, 3),
        "ArrowUp": (9, 3),
        "ArrowLeft": (9, 2),
        "Enter": (9, 1),
    }.items():
        heat.press(key)
        assert_cell(i, j, [f"{'abcdefgh'[k % 8]}, {'first' if k < 8 else 'second'} view" for k in (i, j)])
    assert "partners" in page.locator("[aria-live]").inner_text()
    heat.press("End")
    heat.press("ArrowRight")  # stays inside
    assert "h, second view" in page.locator(".sslw-pair").inner_text()

    rows = page.locator(".sslw-bars li")
    order = p[9].argsort(descending=True)[:5]
    shown = [float(t.split("%")[0].strip().lstrip("< ")) for t in rows.all_inner_texts()[:5]]
    assert shown == pytest.approx([max(0.1, 100 * x) for x in p[9][order].tolist()], abs=0.06)
    heat.press("Home")
    heat.press("ArrowDown")


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_and_ids_are_unique(mount, width, theme):
    matrix = SimilarityMatrix(batch(8), pictures(16))
    explorer = AugmentationExplorer(pictures(12), EVERYTHING)
    page = mount(explorer, matrix, explorer, matrix, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)").__len__() == page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size"
    )
    assert page.evaluate("new Set([...document.querySelectorAll('[type=radio]')].map((e) => e.name)).size") == 8
    assert page.evaluate(UNLABELLED) == 0
    page.add_style_tag(content="h4, figcaption, p, dt { font-family: serif }")  # as a theme may
    fonts = page.locator(".sslw *:not(input)").evaluate_all(
        "all => [...new Set(all.map((e) => getComputedStyle(e).fontFamily))]"
    )
    assert len(fonts) == 1
    background = page.locator(".sslw").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if theme == "light" else "rgb(24, 27, 32)")


def test_clean_up_leaves_nothing(mount):
    page = mount(AugmentationExplorer(pictures(), EVERYTHING), SimilarityMatrix(batch(), pictures(16)))
    assert page.evaluate(LEFT) == [0, 0]


# -- the sphere


def sphere(epochs=4, n=40):
    """A healthy run that spreads and one that falls into a point."""
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, 6, generator=g)
    healthy = {e: z + (epochs - e) for e in range(epochs)}
    collapsed = {e: torch.ones(n, 6) + z * (1 - e / (epochs - 1)) for e in range(epochs)}
    measures = {"spread": {"healthy": [None, 0.4, math.inf, 1.0], "collapsed": [0.5, 0.2, 0.1, 0.0]}}
    return EmbeddingSphere(
        {"healthy": healthy, "collapsed": collapsed}, torch.arange(n) % 4, ["a", "b", "c", "d"], measures
    )


def test_sphere_state():
    widget = sphere()
    assert widget.shape == [2, 4, 40] and (widget.left, widget.right, widget.epoch) == (0, 1, 3)
    points = torch.frombuffer(bytearray(widget.points), dtype=torch.int8).view(2, 4, 40, 3) / 127
    assert (points.norm(dim=3) - 1).abs().max() < 0.02, "on the sphere"
    assert points[1, 3].std(dim=0).max() < 1e-6, "a collapsed run is one point"
    assert points[0, 3].std(dim=0).mean() > 0.3 and widget.dimensions == 6
    assert len(json.dumps(encoded(widget))) < 60_000
    named = EmbeddingSphere(
        {"a": {0: torch.randn(5, 2)}, "b": {0: torch.randn(5, 2)}}, [0] * 5, ["x"], left="b", right="a"
    )
    assert (named.left, named.right) == (1, 0)
    assert widget.measures[0][1][0] == [None, 0.4, None, 1.0], "JSON knows no infinity"
    assert widget.measures[0][2] is None


def test_runs_of_one_start_share_their_axes():
    """Before the training they are the same picture; a run of another start keeps its own."""
    g = torch.Generator().manual_seed(0)
    start, other = torch.randn(2, 30, 8, generator=g)
    runs = {"a": {0: start, 1: start + 2}, "b": {0: start, 1: torch.ones(30, 8)}, "c": {0: other, 1: other}}
    widget = EmbeddingSphere(runs, [0] * 30, ["x", "y"], {"kNN": {name: [0.1, 0.2] for name in runs}})
    points = torch.frombuffer(bytearray(widget.points), dtype=torch.int8).view(3, 2, 30, 3)
    assert torch.equal(points[0, 0], points[1, 0]) and not torch.equal(points[0, 0], points[2, 0])
    assert widget.measures[0][2] == 0.5, "chance of two classes"


def test_a_sphere_says_what_it_shows(mount):
    page = mount(sphere(), viewport={"width": 375, "height": 700})
    note = page.locator(".sslw > .sslw-note").inner_text()
    assert "the three of 6 directions" in note and "begin with the same network" in note
    left, right = (page.locator(".sslw-ball").nth(k).bounding_box() for k in (0, 1))
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"], "side by side on a phone"
    page.get_by_role("slider", name="Epoch").fill("0")
    page.evaluate(FRAME)
    assert page.locator(".sslw-balls .sslw-note").first.inner_text().startswith("untrained")
    assert page.locator(".sslw-epochs").inner_text().split("\n") == ["0", "epoch", "3"]


def test_losses_of_two_methods_have_a_scale_each_and_knn_has_chance(mount):
    g = torch.Generator().manual_seed(0)
    runs = {name: {e: torch.randn(8, 4, generator=g) for e in (0, 1, 40)} for name in ("SimCLR", "SimSiam")}
    losses = {"SimCLR": [3.85, 3.0, 1.0], "SimSiam": [-0.1, -0.5, -0.9]}
    measures = {"loss": losses, "kNN": {"SimCLR": [0.1, 0.2, 0.6], "SimSiam": [0.1, 0.4, 0.5]}}
    page = mount(EmbeddingSphere(runs, [0, 1] * 4, ["a", "b"], measures))
    loss, knn = page.locator(".sslw-charts > div").all()
    assert loss.locator(".sslw-range").inner_text().split() == ["3.85", "\u22120.10", "1.00", "\u22120.90"]
    assert "each on its own scale" in loss.locator("h4").inner_text()
    heights = lambda chart: [  # noqa: E731
        [float(point.split(",")[1]) for point in line.get_attribute("points").split()]
        for line in chart.locator("polyline").all()
    ]
    assert [(h[0], h[-1]) for h in heights(loss)] == [(2, 38), (2, 38)], "both fill the box"
    assert heights(knn)[0][-1] < heights(knn)[1][-1], "shares are compared on one scale"
    assert knn.locator(".sslw-range").inner_text().split() == ["0.60", "0.00"]
    assert "dotted: chance" in knn.locator("h4").inner_text() and knn.locator(".sslw-chance").count() == 1
    assert page.locator(".sslw-stops").inner_text().split() == ["0", "1", "40"], "the slider's stops are named"


def test_one_direction_of_all_epochs_keeps_a_run_comparable():
    """An embedding that only shrinks towards its mean moves straight there: the axes do not jump between epochs."""
    widget = sphere()
    points = torch.frombuffer(bytearray(widget.points), dtype=torch.int8).view(2, 4, 40, 3) / 127
    cosines = (points[1, 0] * points[1, 1]).sum(dim=1)
    assert cosines.median() > 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(runs={}), "at least one run"),
        (dict(runs={"a": {0: torch.randn(513, 4)}}, labels=[0] * 513), "1 to 512 points, got 513"),
        (dict(labels=[0, 1]), r"5 numbers in \[0, 2\)"),
        (dict(labels=[0, 1, 2, 0, 1]), r"5 numbers in \[0, 2\)"),
        (dict(runs={"a": {0: torch.randn(5, 4)}, "b": {1: torch.randn(5, 4)}}), r"'b' has the epochs \[1\]"),
        (dict(runs={"a": {0: torch.randn(5, 4)}, "b": {0: torch.randn(4, 4)}}), r"finite and \(5, D\), got \(4, 4\)"),
        (dict(runs={"a": {0: torch.full((5, 4), torch.nan)}}), "finite"),
        (dict(measures={"kNN": {"a": [0.1, 0.2]}}), "measure 'kNN' needs 1 values for run 'a'"),
        (dict(left="c"), "there is no run 'c'; there are a"),
    ],
)
def test_sphere_errors(arguments, message):
    good = dict(runs={"a": {0: torch.randn(5, 4)}}, labels=[0, 1, 0, 1, 0], classes=["x", "y"])
    with pytest.raises(ValueError, match=message):
        EmbeddingSphere(**good | arguments)


def test_sphere_follows_sliders_choices_and_keys(mount):
    page = mount(sphere())
    assert page.locator("h4.sslw-run").all_inner_texts() == ["healthy", "collapsed"]
    assert [t.strip() for t in page.locator(".sslw-balls .sslw-note").all_inner_texts()] == [
        "spread 1.00",
        "spread 0.00",
    ]
    drawn = canvases(page, ".sslw-ball")

    page.get_by_role("slider", name="Epoch").fill("0")
    page.evaluate(FRAME)
    assert page.locator(".sslw-balls .sslw-note").nth(1).inner_text() == "untrained \u00b7 spread 0.50"
    assert not torch.equal(canvases(page, ".sslw-ball")[1], drawn[1])
    assert page.locator(".sslw-now").get_attribute("x1") == "0"

    page.get_by_role("combobox", name="Right").select_option(label="healthy")
    page.evaluate(FRAME)
    left, right = canvases(page, ".sslw-ball")
    assert torch.equal(left, right), "the same run twice looks the same"
    page.locator(".sslw-ball").first.press("ArrowRight")
    page.evaluate(FRAME)
    assert not torch.equal(canvases(page, ".sslw-ball")[0], left), "an arrow key turns the sphere"
    assert drawn.shape[2] > 100


def test_sphere_plays_to_the_end(mount):
    page = mount(sphere())
    page.get_by_role("button", name="Play").click()
    assert page.get_by_role("button", name="Stop").count() == 1
    page.get_by_role("button", name="Play").wait_for()
    assert page.evaluate("window.mounted[0].model.get('epoch')") == 3


def test_turning_in_javascript_is_a_rotation(mount):
    page = mount(sphere())
    code = "([p, yaw, pitch]) => window.mounted[0].module.turned(p, yaw, pitch)"
    for point in ([1, 0, 0], [0.6, 0.0, 0.8], [0, 1, 0]):
        x = page.evaluate(code, [point, 0.7, -0.4])
        assert sum(v * v for v in x) == pytest.approx(1)
    assert page.evaluate(code, [[0.6, 0.0, 0.8], 0, 0]) == [0.6, 0, 0.8]


# -- the state in the page's address


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of an empty page that Sphinx could have made, with a heading far below."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "index.html").write_text(
        '<!doctype html><html lang="en" data-theme="light" data-content_root="./"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width"><div style="height: 1500px"></div>'
        '<h2 id="train-it">Train it</h2><div style="height: 1500px"></div>'
    )
    with serve(folder) as address:
        yield f"{address}/index.html"


@pytest.fixture
def visit(browser, site):
    """visit(hash, *widgets) -> a page of the book, opened with this hash, with the widgets at its end."""
    pages = []

    def visit(hash, *widgets, **options):
        page = browser.new_page(**{"viewport": {"width": 1000, "height": 900}} | options)
        watch(page, site)
        page.goto(site + hash)
        page.evaluate(MOUNT, [encoded(widget) for widget in widgets])
        pages.append(page)
        return page

    yield visit
    for page in pages:
        assert page.troubles == []
        page.close()


def address(page):
    """The page's hash when all has been written."""
    page.evaluate(MOMENT)
    return page.evaluate("location.hash")


def state(page, *traits, widget=0):
    return page.evaluate("([n, names]) => names.map((k) => window.mounted[n].model.get(k))", [widget, traits])


def matrix():
    return SimilarityMatrix(dict(zip((0, 5, 12, 40), batch(epochs=4).values())), pictures(16))


SET = "#similarity.epoch=12&similarity.tau=0.05&similarity.shown=probability&similarity.cell=2,10"


def test_matrix_opens_as_its_address_says(visit):
    page = visit(SET, matrix())
    assert state(page, "epoch", "temperature", "shown") == [2, 0.05, "probability"]
    assert page.locator(".sslw-verdict").inner_text().startswith("cosine")
    assert page.locator(".sslw-pair").inner_text().split("\n") == ["image 2, first view", "image 2, second view"]
    assert address(page) == SET
    top = page.locator(".sslw").bounding_box()["y"]
    assert -1 < top < 200, "the page shows the widget that its address names"


def test_what_a_reader_sets_comes_into_the_address_and_goes_with_the_reset(visit):
    page = visit("", AugmentationExplorer(pictures(), EVERYTHING), matrix())
    steps = page.evaluate("history.length")
    assert address(page) == "" and page.evaluate("scrollY") == 0
    page.get_by_role("slider", name="Epoch").fill("1")
    assert address(page) == "#similarity.epoch=5"
    page.get_by_label("made grey").fill("1")
    page.get_by_role("radio", name="View 3").check(force=True)
    page.get_by_role("button", name="New views").click()
    page.get_by_role("button", name="New views").click()
    assert address(page) == "#augmentation.view=3&augmentation.draw=2&augmentation.grey=1&similarity.epoch=5"
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("slider", name="Epoch").fill("3")
    assert address(page) == "" and "#" not in page.evaluate("location.href")
    assert page.evaluate("history.length") == steps, "the back button still leads to the page before"


def test_views_are_those_of_the_link(visit):
    images = pictures(3)
    reader = visit("", AugmentationExplorer(images, EVERYTHING))
    for _ in range(3):
        reader.get_by_role("button", name="New views").click()
    reader.get_by_label("Smallest crop").fill("0.5")
    reader.get_by_role("radio", name="image 2").check(force=True)
    link = address(reader)
    assert link == "#augmentation.image=2&augmentation.draw=3&augmentation.scale=0.5"
    other = visit(link, AugmentationExplorer(images, EVERYTHING))
    assert torch.equal(canvases(other, ".sslw-view canvas"), canvases(reader, ".sslw-view canvas"))


def test_a_sphere_keeps_its_runs_and_how_it_is_turned(visit):
    page = visit("#sphere.epoch=1&sphere.left=collapsed", sphere())
    assert state(page, "epoch", "left", "right") == [1, 1, 1]
    for _ in range(2):
        page.locator(".sslw-ball").first.press("ArrowLeft")
    link = address(page)
    assert link == "#sphere.epoch=1&sphere.left=collapsed&sphere.yaw=21"
    other = visit(link, sphere())
    assert other.get_by_role("combobox", name="Left").input_value() == "1"
    other.locator(".sslw-ball").first.press("ArrowUp")
    assert address(other) == link + "&sphere.pitch=-27"


def test_a_masked_picture_keeps_every_patch(visit, monkeypatch):
    monkeypatch.setattr(masking, "mae_to_onnx", lambda mae: b"")
    torch.manual_seed(0)
    mae = MAE(vit_micro(), decoder_dim=24, decoder_depth=1, decoder_heads=2)
    widget = MAEExplorer(mae, pictures())
    hidden = [i % 3 == 0 for i in range(64)]
    text = f"x{int(''.join(str(int(h)) for h in hidden), 2):016x}"
    page = visit(f"#masking.image=2&masking.hidden={text}", widget)
    assert state(page, "image", "hidden") == [1, hidden]
    both = "(text) => { const { module: m } = mounted[0]; const it = { firstOrder: mounted[0].model.get('order'), patches: 64 }; return m.maskText(m.maskOf(text, it), it.firstOrder); }"  # noqa: E501
    for same in (text, "0", "48", "64", "x8000000000000000"):
        assert page.evaluate(both, same) == same
    page.wait_for_function("document.querySelector('.sslw')?.textContent.includes('Clicking on patches needs')")
    assert sum(state(page, "hidden")[0]) == 16, "without a network the nearest mask that is stored"
    page.evaluate("location.hash = '#masking.hidden=30'")
    page.wait_for_function("mounted[0].model.get('hidden').filter(Boolean).length === 32")
    assert state(page, "image") == [0], "what the new address leaves out is as at first"


def test_answers_stand_in_the_address(visit):
    page = visit("#choosing.use=search&choosing.hardware=phone", ChoosingGuide({"use": "dense"}))
    assert state(page, "answers") == [{"use": "search"}]
    page.get_by_label("One GPU: batches of about 256").check()
    assert address(page) == "#choosing.hardware=one&choosing.use=search"
    page.get_by_role("button", name="Start again").click()
    link = address(page)
    assert link == "#choosing.use=", "what was answered at first is open now"
    assert state(visit(link, ChoosingGuide({"use": "dense"})), "answers") == [{}]


def test_answers_are_there_again_after_a_chapter_was_read(visit):
    page = visit("", ChoosingGuide())
    page.get_by_label("One GPU: batches of about 256").check()
    assert address(page) == "#choosing.hardware=one"
    page.goto("about:blank")
    page.go_back()
    page.evaluate(MOUNT, [encoded(ChoosingGuide())])
    assert state(page, "answers") == [{"hardware": "one"}]


def test_a_link_to_a_heading_stays_one_until_the_reader_touches_a_widget(visit):
    page = visit("#train-it", matrix())
    scrolled = page.evaluate("scrollY")
    assert scrolled > 1000
    page.evaluate("mounted[0].model.set('temperature', 0.1)")  # as Python may
    page.locator(".sslw").hover()
    assert address(page) == "#train-it" and page.evaluate("document.querySelector(':target').id") == "train-it"
    page.locator(".sslw-heat").press("Tab")  # changes nothing
    page.evaluate("mounted[0].model.set('temperature', 0.5)")
    assert address(page) == "#train-it"
    page.get_by_role("slider", name="Epoch").fill("0")
    assert address(page) == "#similarity.epoch=0"
    page.evaluate("location.hash = '#train-it'")
    assert address(page) == "#train-it" and state(page, "epoch") == [0], "a click on a heading resets nothing"
    page.go_back()
    page.evaluate("location.hash = '#similarity.epoch=5'")
    page.wait_for_function("mounted[0].model.get('epoch') === 1")


@pytest.mark.parametrize(
    ("hash", "expected"),
    [
        ("#similarity.epoch=zzz&similarity.tau=&similarity.shown=colour&similarity.cell=3", [3, 0.5, "cosine"]),
        ("#similarity.epoch=1000&similarity.tau=-7&similarity.cell=0,99", [3, 0.02, "cosine"]),
        ("#similarity.epoch=-1&similarity.tau=1e9&similarity.cell=a,b", [0, 2.0, "cosine"]),
        ("#similarity.epoch=11&similarity.tau=NaN&similarity.constructor=1&similarity.__proto__=2", [2, 0.5, "cosine"]),
        ("#similarity.tau=%E0%A4%A&%&=&&similarity=3&tau=0.1&sphere.epoch=1", [3, 0.5, "cosine"]),
        ("#similarity.epoch=Infinity&similarity.tau=0.1%20&similarity2.epoch=0", [3, 0.1, "cosine"]),
    ],
)
def test_nonsense_in_the_address_is_passed_over(visit, hash, expected):
    page = visit(hash, matrix())
    assert state(page, "epoch", "temperature", "shown") == expected


def test_two_widgets_of_a_kind_have_two_addresses(visit):
    link = "#similarity2.tau=0.1&similarity.epoch=5&sphere.epoch=0"
    page = visit(link, matrix(), sphere(), matrix())
    assert [state(page, "epoch", "temperature", widget=n) for n in (0, 2)] == [[1, 0.5], [3, 0.1]]
    assert state(page, "epoch", widget=1) == [0] and address(page) == link
    assert page.locator(".sslw-similarity").last.bounding_box()["y"] < 200, "the first that the address names"
    page.get_by_role("slider", name="Epoch").first.fill("2")
    expected = "#similarity.epoch=12&similarity2.tau=0.1&sphere.epoch=0"
    assert address(page) == expected, "the last that was touched stands first"


RENDER = """
async ([n, where]) => {
  const { module, model } = window.mounted[n];
  const el = document.createElement("div");
  await module.default.render({ model, el }); // before it is on the page, as html-manager does
  document.body[where](el);
}
"""


def test_a_widget_that_comes_late_takes_its_place(visit):
    page = visit("#similarity.epoch=5&similarity2.epoch=12", matrix(), matrix())
    page.evaluate("window.mounted.forEach(({ cleanup, model }) => { cleanup(); model.set('epoch', 3) })")
    page.evaluate(RENDER, [1, "append"])
    page.evaluate(FRAME)
    assert state(page, "epoch", widget=1) == [1], "alone it is the first"
    page.evaluate(RENDER, [0, "prepend"])
    page.evaluate(FRAME)
    assert [state(page, "epoch", widget=n)[0] for n in (0, 1)] == [1, 2]
    assert address(page) == "#similarity.epoch=5&similarity2.epoch=12"


def test_a_link_is_copied(visit):
    rights = {"permissions": ["clipboard-read", "clipboard-write"]}
    page = visit("#sphere.epoch=0", sphere(), matrix(), **rights)
    buttons = page.get_by_role("button", name="Copy link to this view")
    page.get_by_label("Temperature").press("ArrowLeft")
    buttons.last.press("Enter")
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("/index.html#similarity.tau=0.455"), "this widget's settings only"
    assert address(page) == "#similarity.tau=0.455&sphere.epoch=0"
    buttons.first.click()
    page.evaluate("mounted[0].model.set('epoch', 3)")
    buttons.first.click()
    assert page.evaluate("navigator.clipboard.readText()").endswith("#sphere.epoch=3"), "it leads to the widget anyway"

    page = visit("#train-it", matrix())
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject())")
    page.get_by_role("button", name="Copy link to this view").click()
    page.get_by_text("Copy it from the address bar.").wait_for()
    assert page.evaluate("location.hash") == "#similarity.epoch=40"


def test_in_a_notebook_the_address_is_left_alone(visit):
    page = visit("#similarity.epoch=0")
    page.evaluate("delete document.documentElement.dataset.content_root")
    page.evaluate(MOUNT, [encoded(matrix())])
    assert state(page, "epoch") == [3] and page.get_by_role("button", name="Copy link").count() == 0
    page.get_by_role("slider", name="Epoch").fill("1")
    assert address(page) == "#similarity.epoch=0"


def test_a_page_that_may_not_change_its_address_works(visit):
    page = visit("", matrix())
    page.evaluate("void (history.replaceState = () => { throw new DOMException('not here', 'SecurityError') })")
    page.get_by_role("slider", name="Epoch").fill("1")
    assert address(page) == "" and state(page, "epoch") == [1]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_button_fits_and_leaves_with_its_widget(visit, theme):
    page = visit("", sphere(), matrix(), ChoosingGuide(), viewport={"width": 375, "height": 800})
    page.evaluate("(theme) => (document.documentElement.dataset.theme = theme)", theme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    sizes = page.locator(".sslw-share button").evaluate_all("all => all.map((e) => e.getBoundingClientRect().height)")
    assert len(sizes) == 3 and min(sizes) >= 24, "large enough for a finger"
    page.get_by_role("slider", name="Epoch").first.fill("1")
    page.evaluate("window.mounted.forEach(({ cleanup }) => cleanup())")
    page.evaluate("location.hash = '#similarity.epoch=0&sphere.epoch=0'")
    assert page.locator(".sslw").count() == 0
    assert address(page) == "#similarity.epoch=0&sphere.epoch=0" and state(page, "epoch", widget=1) == [3]
