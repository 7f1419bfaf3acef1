"""Codebooks: their state in Python, and the shipped JavaScript in a real browser without a kernel."""

import base64
import json

import numpy as np
import pytest
import torch
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, rgba, serve, swipe, watch

from sslbook import evaluate, sets
from sslbook.methods import METHODS
from sslbook.tokenisers import Tokeniser
from sslbook.vit import vit_micro
from sslbook.widgets import CodebookWall, codebook

KNOWN, TEST = sets.load("shapes", train=120, test=6)
METHOD = METHODS["BEiT"].make_tiny()
METHOD.encoder.mean, METHOD.encoder.std = (0.5,) * 3, (0.25,) * 3
METHOD.before_epoch(KNOWN)
with torch.no_grad():
    for p in METHOD.parameters():  # as large as trained ones, and such as half precision holds
        p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))).copy_(p.half().float())
BOOKS = {"gradients": METHOD.tokeniser, "pixels": Tokeniser("pixels", 5, 8).fit(KNOWN.images)}


def wall(**options):
    given = {"tokenisers": BOOKS, "images": TEST.images, "known": KNOWN, "method": METHOD}
    return CodebookWall(**given | options)


# -- Python


def test_state():
    widget = wall()
    assert widget.shape == [6, 32, 8] and [book["k"] for book in widget.books] == [8, 5]
    assert len(widget.palettes) == (8 + 5) * 3 * 64 and len(widget.codes) == 2 * 6 * 16
    codes = np.frombuffer(widget.codes, np.uint8).reshape(2, 6, 16)
    assert codes[1].tolist() == BOOKS["pixels"](TEST.images / 255).tolist()
    all_codes = BOOKS["pixels"](KNOWN.images / 255)
    assert widget.books[1]["of_patch"][0] == pytest.approx(evaluate.bits_of_a_patch(all_codes, KNOWN.labels), abs=1e-3)
    assert sum(widget.books[0]["shares"]) == pytest.approx(1, abs=0.01)
    assert [mask["name"] for mask in widget.masks] == ["blocks", "scattered"]
    hidden = [sum(mask["hidden"]) for mask in widget.masks]
    assert hidden[0] == hidden[1] > 0 and widget.hidden == widget.masks[0]["hidden"]


def test_guesses_are_the_method_s():
    widget = wall()
    guesses = np.frombuffer(widget.guesses, np.uint8).reshape(2, 6, 16)
    mask = torch.tensor(widget.masks[1]["hidden"]).expand(6, -1)
    with torch.no_grad():
        assert guesses[1].tolist() == METHOD(TEST.images / 255, mask)[0].argmax(2).tolist()
    assert wall(method=None).guesses == b""


def test_a_chapters_widget_is_small():
    books = {name: Tokeniser(name, 64, 4).fit(KNOWN.images) for name in ("gradients", "pixels", "windows")}
    assert len(json.dumps(encoded(wall(tokenisers=books, method=None, images=TEST.images)))) < 200_000
    about, weights = codebook._network(METHODS["BEiT"].method(vit_micro()))
    assert about["k"] == 64 and len(weights) < 800_000, "a file of its own on the site"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(tokenisers={}), "at least one"),
        (dict(images=TEST.images[:0]), "1 to 24 pictures, got 0"),
        (dict(tokenisers={"odd": lambda x: torch.zeros(len(x), 3).long()}), r"'odd' must give codes .* got \(6, 3\)"),
        (dict(tokenisers={"far": lambda x: torch.full((len(x), 4), 256)}), "codes 0 to 255, got 256 to 256"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        wall(**arguments)


def test_python_may_not_set_a_mask_of_another_size():
    with pytest.raises(Exception, match="hidden must be 16 bools"):
        wall().hidden = [True]


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


def trait(page, name):
    return page.evaluate(f"mounted[0].model.get('{name}')")


def text(page, selector):
    return [" ".join(part.split()) for part in page.locator(selector).all_inner_texts()]


def picture(page, kind):
    """A panel's pixels as (3, 32, 32) in [0, 1], and where it is opaque."""
    (drawn,) = rgba(page, f".sslw-picture-{kind} canvas")
    pixels = drawn.permute(2, 0, 1) / 255
    return pixels[:3], pixels[3] > 0.5


def test_the_picture_is_painted_with_the_looks_of_its_codes(mount):
    page = mount(wall(tokeniser=1, image=2))
    palette = np.frombuffer(wall().palettes, np.uint8)[8 * 192 :].reshape(5, 3, 8, 8)
    codes = BOOKS["pixels"](TEST.images[2:3] / 255)[0].view(4, 4)
    expected = torch.cat([torch.cat([torch.tensor(palette[c]) for c in row], 2) for row in codes.tolist()], 1)
    shown, _ = picture(page, "coded")
    assert (255 * shown - expected).abs().max() <= 1


def test_hidden_patches_are_blank_and_filled_with_guesses(mount):
    widget = wall()
    page = mount(widget)
    hidden = torch.tensor(widget.hidden).view(4, 4).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(picture(page, "masked")[1], ~hidden)
    assert picture(page, "guessed")[1].all()
    codes = np.frombuffer(widget.codes, np.uint8).reshape(2, 6, 16)[0, 0]
    guesses = np.frombuffer(widget.guesses, np.uint8).reshape(2, 6, 16)[0, 0]
    places = np.array(widget.hidden)
    right = int((codes == guesses)[places].sum())
    assert text(page, ".sslw-readouts dd")[0].startswith(f"{right} of {places.sum()}")


def paint_two_patches(page):
    """Hide the first two of a picture of which all is shown."""
    page.get_by_role("button", name="Show all").click()
    page.evaluate(FRAME)
    assert not any(trait(page, "hidden"))
    box = page.locator(".sslw-picture-masked").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 4, steps=4)
    page.mouse.up()
    page.evaluate(FRAME)
    assert trait(page, "hidden") == [True, True] + 14 * [False]


def test_the_network_of_the_page_says_what_pytorch_says(mount):
    page = mount(wall())
    hidden = torch.rand(16, generator=torch.Generator().manual_seed(3)) < 0.5
    scores = page.evaluate(
        """async (hidden) => {
          const { module, model } = mounted[0];
          const about = { ...model.get("network"), size: 32, patch: 8, grid: 4 };
          const bytes = (name) => model.get(name).buffer.slice(model.get(name).byteOffset);
          const weights = module.readWeights(module.fromHalves(new Uint16Array(bytes("weights"))), about.parts);
          const pixels = new Uint8Array(bytes("pixels")).slice(2 * 3 * 32 * 32);
          const image = { data: Float32Array.from(pixels, (x) => x / 255) };
          return [...module.scoresOf(image, hidden, weights, about).data];
        }""",
        hidden.tolist(),
    )
    with torch.no_grad():
        expected, _ = METHOD(TEST.images[2:3] / 255, hidden[None])
    assert torch.allclose(torch.tensor(scores).view(16, 8), expected[0], atol=1e-4)
    assert expected.std() > 0.1, "weights so small that any network says the same"


def test_the_page_guesses_under_any_mask(mount):
    page = mount(wall())
    paint_two_patches(page)
    assert picture(page, "guessed")[1].all()
    with torch.no_grad():
        guessed = METHOD(TEST.images[:1] / 255, torch.tensor([trait(page, "hidden")]))[0].argmax(2)[0]
    right = (guessed == METHOD.tokeniser(TEST.images[:1] / 255)[0])[:2].sum()
    assert text(page, ".sslw-readouts dd")[0].startswith(f"{right} of 2")
    page.get_by_label("pixels").check(force=True)
    page.evaluate(FRAME)
    assert text(page, ".sslw-readouts dd")[0].startswith("–")
    assert "codes of gradients only" in text(page, "figcaption")[2]


def test_without_a_network_guesses_are_there_for_stored_masks(mount, monkeypatch):
    monkeypatch.setattr(codebook, "MOST_BYTES", 1000)
    widget = wall()
    assert widget.weights == b"" and widget.network == {}
    page = mount(widget)
    assert picture(page, "guessed")[1].all()
    paint_two_patches(page)
    assert text(page, ".sslw-readouts dd")[0].startswith("–")
    opaque = picture(page, "guessed")[1]
    assert not opaque[:8, :16].any() and opaque[8:].all()
    page.get_by_role("button", name="Hide scattered").click()
    page.evaluate(FRAME)
    assert "of" in text(page, ".sslw-readouts dd")[0].split()


def test_a_large_network_is_fetched_from_its_file(browser, tmp_path):
    state = encoded(wall())
    (tmp_path / "weights.bin").write_bytes(base64.b64decode(state["binary"].pop("weights")))
    (tmp_path / "index.html").write_text('<!doctype html><html><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        for file, message in (("weights.bin", ""), ("no.bin", "The network did not come")):
            state["plain"]["weights"] = {"url": f"{address}/{file}", "bytes": 1e6}
            page = context.new_page()
            page.goto(f"{address}/index.html")
            page.evaluate(MOUNT, [state])
            page.wait_for_function("!document.querySelector('.sslw-note').innerText.includes('Loading')")
            assert message in page.locator(".sslw-note").inner_text()
            paint_two_patches(page)
            assert picture(page, "guessed")[1].all() == (file == "weights.bin")


def test_a_patch_finds_its_code_and_a_code_its_patches(mount):
    page = mount(wall(tokeniser=1))
    codes = BOOKS["pixels"](TEST.images[:1] / 255)[0].tolist()
    page.locator(".sslw-coded button").nth(9).click()
    page.evaluate(FRAME)
    assert trait(page, "code") == codes[9]
    pressed = page.locator(".sslw-coded button").evaluate_all("b => b.map((x) => x.ariaPressed === 'true')")
    assert pressed == [code == codes[9] for code in codes]
    book = wall().books[1]
    expected = [f"{bits[codes[9]]:.2f} bits" for bits in book["bits"]]
    assert text(page, ".sslw-bits tbody td:nth-child(2)") == expected
    page.locator(".sslw-codes button").first.click()
    page.evaluate(FRAME)
    assert trait(page, "code") == int(np.argmax(book["shares"]))


def test_keys_hide_patches(mount):
    page = mount(wall(hidden=16 * [False]))
    page.locator(".sslw-masked button").first.focus()
    for key in ("ArrowRight", "ArrowDown", " "):
        page.keyboard.press(key)
    page.evaluate(FRAME)
    assert [i for i, h in enumerate(trait(page, "hidden")) if h] == [5]


def test_a_finger_that_scrolls_past_the_masked_picture_hides_nothing(mount):
    page = mount(wall(), has_touch=True, viewport={"width": 375, "height": 800})
    before = page.evaluate("mounted[0].model.get('hidden')")
    assert swipe(page, ".sslw-picture-masked") > 50
    assert page.evaluate("mounted[0].model.get('hidden')") == before
    page.locator(".sslw-picture-masked").tap()
    assert page.evaluate("mounted[0].model.get('hidden')") != before


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_labels_are_there_and_nothing_is_left(mount, width, theme):
    page = mount(wall(), wall(), theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0, 0]


def test_a_link_opens_what_it_says(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#codebook.tokeniser=pixels&codebook.image=3&codebook.code=4")
        page.evaluate(MOUNT, [encoded(wall())])
        assert [trait(page, name) for name in ("tokeniser", "image", "code")] == [1, 2, 4]
        assert page.troubles == []
