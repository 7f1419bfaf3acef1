import base64
import io
import itertools

import matplotlib.pyplot as plt
import torch
from matplotlib.text import Text
from PIL import Image

from sslbook import figures, views
from sslbook.history import History

IMAGES = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
HISTORY = History(epochs=[{"epoch": e, "loss": 1 / e, "knn": 0.1 * e, "spread": 1.0} for e in (1, 2, 3)])


def views_of(n):
    """What is drawn for n views of the first image, and the views."""
    view = views.cifar_views(32)[0]
    p = view.sample(n, 32, 32, torch.Generator().manual_seed(0))
    return p, view.apply(IMAGES[[0] * n], p)


def drawings():
    yield figures.image_grid(IMAGES)
    yield figures.image_grid(IMAGES / 255, list("abcde"), columns=2)
    yield figures.crops(IMAGES[0], *views_of(3))
    yield figures.curves({"a": HISTORY, "b": HISTORY}, ("loss", "knn", "spread"))
    yield figures.bars({"kNN": {"a": 0.1, "b": 0.9}, "linear": {"a": 0.3, "b": 0.8}}, ylabel="x", chance=0.1)
    yield figures.lines({"a": {1: [0.1, 0.2], 10: [0.3]}, "b": {1: [0.5]}}, xlabel="k", ylabel="x")
    spectrum = [[1, 0.1, 0], [0.9, 0.2, 1e-9]]
    yield figures.spectra({name: {"a": spectrum, "b": spectrum[:1]} for name in "wxyz"})
    cells = {"all": {"x": [0.1, 0.2], "y": [0.9]}, "none": {"x": [0.8]}}  # nobody asked it for y
    yield figures.heat_map(
        {"h": cells, "z": {"all": {"v": [0.1]}, "w": {"v": [0.9]}, "x": {"v": [0.2]}}}, reference="all"
    )
    yield figures.scatter(
        {"a": {"x": [[(0, 1), (1, 2)]], "y": [[(2, 2)]]}, "b": {"y": [[(1, 1)]]}}, xlabel="", ylabel=""
    )
    yield figures.dots({"kNN": {"a": [0.1, 0.2], "b": [0.9]}, "linear": {"a": [0.3], "b": [0.8]}})


def test_every_drawing_is_a_picture_that_fits_the_page():
    for picture in drawings():
        html = picture._repr_html_()
        assert 'alt=""' in html and "max-width:100%" in html, "the cell's metadata says it in words"
        image = Image.open(io.BytesIO(base64.b64decode(html.split("base64,")[1].split('"')[0])))
        assert image.width >= picture.width > 50
        assert len(set(image.convert("L").get_flattened_data())) > 2, "something is drawn"
    assert plt.get_fignums() == [], "no figure stays open"


def test_letters_are_readable_on_a_phone(monkeypatch):
    """At 343 px, however many panels a figure has: as large as the small print of a map, if not as text."""
    drawn = []
    monkeypatch.setattr(figures, "Picture", drawn.append)
    list(drawings())
    many = {f"question {k}": {"a": [0.1, 0.2]} for k in range(4)}
    figures.dots(many)
    figures.scatter({n: {m: [[(0, 1), (1, 2)]] for m in "abcdefg"} for n in many}, xlabel="x", ylabel="y")
    figures.panels({name: {"a": [1.0, 2.0]} for name in many}, xlabel="x")
    figures.curves({"a": HISTORY}, ("loss", "knn", "spread", "loss"))
    figures.crops(IMAGES[0], *views_of(7))
    figures.image_grid(IMAGES[[0] * 8], ["triangle"] * 8)
    cells = {row: {column: [0.1, 0.2] for column in "uvwxyz"} for row in "ab"}
    figures.heat_map({"h": cells, "z": cells}, reference="a")
    for figure in drawn:
        figure.canvas.draw()
        shrunk = min(1, 343 / (figure.get_figwidth() * figures.STYLE["figure.dpi"]))
        words = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
        smallest = min((text.get_fontsize() for text in words), default=99) * figures.STYLE["figure.dpi"] / 72
        assert smallest * shrunk > 5.5, words
        titles = [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))
        plt.close(figure)


def test_a_drawing_has_a_dark_twin_with_the_same_colours():
    for picture in drawings():
        light, dark = (Image.open(io.BytesIO(png)).convert("RGB") for png in (picture.png, picture.dark_png))
        assert light.size == dark.size and light.getpixel((0, 0)) == (255, 255, 255)
        assert dark.getpixel((0, 0)) == (0x18, 0x1B, 0x20)
        html = picture._repr_html_()
        assert html.count('<img class="figure" alt="" data-on=') == 2, "both get the alternative text of the cell"
    light, dark = (torch.tensor(list(Image.open(io.BytesIO(p)).convert("RGB").get_flattened_data())) for p in (
        figures.lines({"a": {1: [0.1], 10: [0.3]}}, xlabel="k", ylabel="x").png,
        figures.lines({"a": {1: [0.1], 10: [0.3]}}, xlabel="k", ylabel="x").dark_png,
    ))  # fmt: skip
    ink = torch.tensor([int(figures.COLORS[0][k : k + 2], 16) for k in (1, 3, 5)])
    assert all((image - ink).abs().sum(dim=1).eq(0).sum() > 500 for image in (light, dark)), "a line keeps its colour"
    assert (dark.min(dim=1).values > 200).any() and not (dark.max(dim=1).values < 20).any(), "ink is light, none black"


def test_numbers_on_a_picture_stay_dark_in_the_dark():
    figure, ax = plt.subplots()
    ax.imshow([[0.0, 1.0]])
    on, beside = ax.text(0, 0, "7"), ax.set_xlabel("k")
    figures.Picture(figure)
    assert on.get_color() == "black" and beside.get_color() == figures.INK


def test_the_growing_table():
    table = figures.Table(
        [{"encoder": "pixels", "kNN": 0.25}, {"encoder": "<b>", "kNN": 1.0, "hue": None}], "Cap & tion"
    )
    html = table._repr_html_()
    assert '<th scope="row">pixels</th><td>0.250</td><td>–</td>' in html, "a question not asked is a dash"
    assert "&lt;b&gt;" in html and "<caption>Cap &amp; tion</caption>" in html
    assert repr(table).splitlines()[1].split() == ["encoder", "kNN", "hue"]


def test_numbers_in_small_cells_are_short():
    assert [figures._short(x) for x in (0.518, -0.031, -0.001, 1.0, 0.999, -1.2)] == [
        ".52", "-.03", ".00", "1.00", "1.00", "-1.20"
    ]  # fmt: skip
