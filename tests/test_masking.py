"""The MAE explorer: a real small MAE in the page, by onnxruntime-web, by Python, or from stored pictures."""

import functools
import re
import statistics

import pytest
import torch
import torch.nn.functional as F
import traitlets
from conftest import FRAME, LEFT, answers, canvases, encoded, rgba

from sslbook.export import mask_indices
from sslbook.methods import MAE
from sslbook.vit import ViT, vit_micro
from sslbook.widgets import MAEExplorer, masking

PANELS = [f".sslw-picture-{kind} canvas" for kind in ("original", "masked", "reconstruction", "pasted")]
SETTLED = "() => document.querySelector('.sslw-masking')?.getAttribute('aria-busy') === 'false'"
LIVE = "() => document.querySelector('.sslw-touchable')?.getAttribute('aria-busy') === 'false'"


@functools.cache
def network(**options):
    torch.manual_seed(0)
    return MAE(vit_micro(), mask_ratio=0.6, decoder_dim=48, decoder_depth=2, decoder_heads=2, **options)


@pytest.fixture(scope="module", autouse=True)
def export_once():
    """Seconds for each widget otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "mae_to_onnx", functools.cache(masking.mae_to_onnx))
        yield


def pictures(n=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (255 * F.interpolate(torch.rand(n, 3, 6, 6, generator=g), size=32, mode="bilinear")).round().byte()


def mask(*shown):
    """All hidden but these."""
    hidden = torch.ones(64, dtype=torch.bool)
    hidden[list(shown)] = False
    return hidden


# -- Python


def test_state_holds_pictures_masks_and_the_network():
    mae, images = network(), pictures()
    widget = MAEExplorer(mae, images, labels="abc", seed=5)
    assert widget.pixels == images.numpy().tobytes() and widget.shape == [3, 32, 4]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5)).tolist()
    assert widget.order == order and widget.counts == [16, 32, 48, 58]
    hidden = torch.tensor(widget.hidden)
    assert hidden.sum() == 48 and set(hidden.nonzero().flatten().tolist()) == set(order[:48])
    stored = torch.frombuffer(bytearray(widget.stored), dtype=torch.uint8).view(3, 4, 3, 32, 32)
    for k, count in enumerate(widget.counts):
        hidden = torch.zeros(64, dtype=torch.bool)
        hidden[order[:count]] = True
        pasted, _ = mae.reconstruct(images / 255, hidden.expand(3, -1))
        where = mae.unpatchify(hidden[None, :, None].expand(3, -1, 48)) == 1
        assert ((stored[:, k] / 255 - pasted)[where]).abs().max() < 0.51 / 255
    assert 1_500_000 < len(widget.network) < 2_000_000
    assert MAEExplorer(mae, images, mask_ratio=0.3).counts == [16, 20, 32, 48, 58]


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_python_answers_with_the_reconstruction(norm_pix_loss):
    mae, images = network(norm_pix_loss=norm_pix_loss), pictures()
    widget = MAEExplorer(mae, images)
    hidden = mask(3, 17, 40)
    content, (buffer,) = answers(widget, {"id": "x", "image": 2, "hidden": hidden.tolist()})
    assert content == {"id": "x"} and widget.true_moments is norm_pix_loss
    pasted, _ = mae.reconstruct(images[2:] / 255, hidden[None])
    got = torch.frombuffer(bytearray(buffer), dtype=torch.float32).view(1, 3, 32, 32)
    patches = torch.where(hidden[None, :, None], mae.patchify(got), mae.patchify(images[2:] / 255))
    torch.testing.assert_close(mae.unpatchify(patches), pasted)


def test_without_the_exporter_or_with_a_large_network_the_page_holds_none(monkeypatch):
    def missing(mae):
        raise ImportError("exporting to ONNX needs onnxscript")

    with monkeypatch.context() as patch:
        patch.setattr(masking, "mae_to_onnx", missing)
        assert MAEExplorer(network(), pictures()).network == b""
    monkeypatch.setattr(masking, "MOST_BYTES", 1_000_000)
    assert MAEExplorer(network(), pictures()).network == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(mae=vit_micro()), "must be a sslbook.methods.MAE, got ViT"),
        (dict(images=pictures()[0]), r"\(N, 3, 32, 32\), the size of this MAE's encoder, got \(3, 32, 32\)"),
        (dict(images=torch.zeros(1, 3, 64, 64, dtype=torch.uint8)), r"got \(1, 3, 64, 64\)"),
        (dict(images=pictures().numpy()), "got ndarray"),
        (dict(images=pictures() / 255), "uint8, got torch.float32"),
        (dict(images=pictures(25)), "1 to 24 pictures, got 25"),
        (dict(mask_ratio=1), r"mask_ratio must lie in \(0, 1\), got 1"),
        (dict(labels=["cat"]), "each of the 3 images, got 1"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        MAEExplorer(**{"mae": network(), "images": pictures(), **arguments})


def test_a_mask_of_another_form_is_refused():
    widget = MAEExplorer(network(), pictures())
    widget.hidden = mask(1).tolist()
    for wrong in (mask(1).tolist()[1:], [0] * 64):
        with pytest.raises(traitlets.TraitError, match="64 bools, one for each patch"):
            widget.hidden = wrong
    assert widget.hidden == mask(1).tolist()


# -- the page: as the book's site serves it, with its own scripts and onnxruntime-web from node_modules


def drawn(page):
    """The four panels, each (3, 32, 32) in [0, 1], and where the masked one is open, bool (64,)."""
    page.wait_for_function(SETTLED)
    panels = [canvases(page, panel)[0] / 255 for panel in PANELS]
    alpha = rgba(page, PANELS[1])[0].view(8, 4, 8, 4, 4)[..., 3]
    open_ = (alpha == 0).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    assert (open_.all(dim=1) == open_.any(dim=1)).all(), "a patch is hidden as a whole"
    return panels, open_.any(dim=1)


def assert_shows(page, mae, image, hidden):
    """Pixels and numbers are those of Python."""
    page.wait_for_function("n => document.querySelectorAll('[aria-pressed=true]').length === n", arg=int(hidden.sum()))
    (original, masked, reconstruction, pasted), holes = drawn(page)
    assert torch.equal(holes, hidden)
    x = image / 255
    expected, _ = mae.reconstruct(x[None], hidden[None])
    where = mae.unpatchify(hidden[None, :, None].expand(1, -1, 48).float())[0] == 1
    half = 0.51 / 255
    assert torch.equal(original, x) and torch.equal(masked[~where], x[~where])
    assert (pasted - expected[0]).abs().max() < half
    every = masking.Reconstruction(mae)(x[None], *mask_indices(hidden))[0]
    assert (reconstruction - every).abs().max() < half
    error, guess = [float(s) for s in page.locator("dd b").all_inner_texts()[:2]]
    mean = x.mean(dim=(1, 2), keepdim=True).expand_as(x)
    assert error == pytest.approx(F.mse_loss(expected[0][where], x[where]).item(), abs=6e-5)
    assert guess == pytest.approx(F.mse_loss(mean[where], x[where]).item(), abs=6e-5)


def pressed(page):
    states = page.locator(".sslw-lattice button").evaluate_all("all => all.map((b) => b.ariaPressed === 'true')")
    return torch.tensor(states)


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_the_network_in_the_page_equals_python(visit, norm_pix_loss):
    mae, images = network(norm_pix_loss=norm_pix_loss), pictures()
    widget = MAEExplorer(mae, images)
    page = visit(widget)
    page.wait_for_function(LIVE)
    assert {u for u in page.wants if "/ort/" in u} == {
        "/vendor/ort/ort.wasm.bundle.min.mjs",
        "/vendor/ort/ort-wasm-simd-threaded.wasm",
    }
    masks = [mask(), mask(63), mask(0, 9, 33), mask(*range(16)), mask(*range(63)), mask(*range(64))]
    masks += [torch.rand(64, generator=torch.Generator().manual_seed(i)) < 0.6 for i in range(4)]
    got = page.evaluate(
        """async ({ esm, file, images, masks }) => {
          const { inPage, runtime } = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
          const bytes = Uint8Array.from(atob(file), (c) => c.charCodeAt(0));
          const pictures = images.map((x) => Float32Array.from(x, (v) => v / 255));
          const { run, stop } = await inPage(await runtime(document.documentElement.dataset.ort), bytes, pictures, 32);
          const all = [];
          for (const [i, hidden] of masks) all.push([...await run(i, hidden)]);
          await stop();
          return all;
        }""",
        {
            "esm": widget._esm,
            "file": encoded(widget)["binary"]["network"],
            "images": [x.flatten().tolist() for x in images],
            "masks": [(i % 3, hidden.tolist()) for i, hidden in enumerate(masks)],
        },
    )
    for i, hidden in enumerate(masks):
        x = images[i % 3][None] / 255
        expected, _ = mae.reconstruct(x, hidden[None])
        predicted = mae.patchify(torch.tensor(got[i]).view(1, 3, 32, 32))
        pasted = mae.unpatchify(torch.where(hidden[None, :, None], predicted, mae.patchify(x)))
        assert (pasted - expected).abs().max() < 1e-3
    assert len(got) == len(masks)
    assert ("contrast" in page.locator("figure").nth(2).inner_text()) == norm_pix_loss


def test_mouse_keyboard_slider_and_new_mask(visit):
    mae, images = network(), pictures()
    widget = MAEExplorer(mae, images, labels=["cat", "dog", "owl"])
    page = visit(widget)
    page.wait_for_function(LIVE)
    hidden = torch.tensor(widget.hidden)
    assert_shows(page, mae, images[0], hidden)
    assert "in this page" in page.locator("dl").inner_text()

    box = page.locator(".sslw-picture-masked").bounding_box()
    at = lambda i: (box["x"] + box["width"] * (i % 8 + 0.5) / 8, box["y"] + box["height"] * (i // 8 + 0.5) / 8)  # noqa: E731
    page.mouse.click(*at(19))
    hidden[19] = ~hidden[19]
    assert_shows(page, mae, images[0], hidden)

    # a stroke does everywhere what it did to its first patch, outside the picture nothing
    page.mouse.move(*at(40))
    page.mouse.down()
    for i in (41, 42, 50, 58):
        page.mouse.move(*at(i), steps=4)
    page.mouse.move(at(58)[0], box["y"] + box["height"] + 30)
    page.mouse.up()
    page.mouse.move(*at(3))
    hidden[[40, 41, 42, 50, 58]] = ~hidden[40]
    assert_shows(page, mae, images[0], hidden)
    page.locator(".sslw-picture-pasted").click(position={"x": 3, "y": 3})  # a mouse hides on any of the pictures
    hidden[0] = ~hidden[0]
    assert_shows(page, mae, images[0], hidden)

    page.get_by_role("radio", name="dog").check(force=True)
    page.wait_for_function("() => document.querySelector('figcaption')?.textContent.includes('dog')")
    assert_shows(page, mae, images[1], hidden)

    patch = page.get_by_role("button", name="row 1, column 1", exact=True)
    assert page.locator(".sslw-lattice [tabindex='0']").count() == 1
    patch.focus()
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowDown", "End", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.ariaLabel") == "row 3, column 7"
    assert page.locator(".sslw-lattice [tabindex='0']").get_attribute("aria-label") == "row 3, column 7"
    page.keyboard.press("Space")
    hidden[22] = ~hidden[22]
    assert_shows(page, mae, images[1], hidden)
    assert page.locator("[aria-live]").inner_text().startswith(f"{hidden.sum()} of 64 patches hidden. Error 0.")

    slider = page.get_by_role("slider", name="Hidden")
    for count in (16, 64):
        slider.fill(str(count))
        hidden = torch.zeros(64, dtype=torch.bool)
        hidden[widget.order[:count]] = True
        assert_shows(page, mae, images[1], hidden)
    page.get_by_role("button", name="New mask").click()  # from all or none: as many as at first
    page.wait_for_function("() => document.querySelectorAll('[aria-pressed=true]').length === 48")
    hidden = pressed(page)
    assert not torch.equal(hidden, torch.tensor(widget.hidden))
    assert_shows(page, mae, images[1], hidden)
    slider.fill("0")
    page.wait_for_function("() => !document.querySelectorAll('[aria-pressed=true]').length")
    _, holes = drawn(page)
    assert not holes.any() and page.locator("dd b").first.inner_text() == "\u2013", "no error where nothing is hidden"


def test_all_none_and_undo(visit):
    """Undo takes back a click, a whole stroke and a button, one after the other, and then does nothing."""
    widget = MAEExplorer(network(), pictures())
    page = visit(widget)
    page.wait_for_function(LIVE)
    masks, go = [pressed(page)], lambda name: page.get_by_role("button", name=name, exact=True)
    go("row 3, column 4").press("Space")
    page.evaluate(FRAME)
    masks.append(pressed(page))
    box = page.locator(".sslw-picture-masked").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 5, steps=12)
    page.mouse.up()
    page.evaluate(FRAME)
    masks.append(pressed(page))
    assert (masks[2] != masks[1]).sum() > 1
    go("Show all").click()
    page.wait_for_function("() => !document.querySelector('[aria-pressed=true]')")
    masks.append(torch.zeros(64, dtype=torch.bool))
    go("Hide all").click()
    page.wait_for_function("() => document.querySelectorAll('[aria-pressed=true]').length === 64")
    for mask in [*masks[::-1], masks[0]]:
        go("Undo").click()
        page.evaluate(FRAME)
        assert torch.equal(pressed(page), mask)


def test_a_finger_hides_on_the_masked_picture_and_scrolls_on_the_others(visit):
    page = visit(MAEExplorer(network(), pictures()), has_touch=True, viewport={"width": 375, "height": 700})
    page.wait_for_function(LIVE)
    before = pressed(page)
    for kind, changes in (("pasted", 0), ("original", 0), ("masked", 1)):
        page.locator(f".sslw-picture-{kind}").tap(position={"x": 70, "y": 70})
        page.evaluate(FRAME)
        assert (pressed(page) != before).sum() == changes, kind
    actions = page.locator(".sslw-picture").evaluate_all("all => all.map((e) => getComputedStyle(e).touchAction)")
    assert actions == ["auto", "pan-y", "auto", "auto"], "a swipe up or down scrolls"


def test_time_from_click_to_picture(visit):
    page = visit(MAEExplorer(network(), pictures()))
    page.wait_for_function(LIVE)
    times = page.evaluate(
        """async () => {
          const root = document.querySelector(".sslw-masking"), times = [];
          for (const patch of [...document.querySelectorAll(".sslw-lattice button")].slice(0, 40)) {
            const start = performance.now();
            patch.click();
            while (root.getAttribute("aria-busy") !== "false") await new Promise((r) => setTimeout(r));
            times.push(performance.now() - start);
          }
          return times;
        }"""
    )
    print(f"\nfrom click to picture: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms")
    assert statistics.median(times) < 500


def test_the_runtime_is_fetched_when_the_widget_comes_near(visit):
    page = visit(MAEExplorer(network(), pictures()), above=3000)
    page.wait_for_timeout(300)
    assert not [u for u in page.wants if "/ort/" in u]
    (_, masked, reconstruction, _), _ = drawn(page)
    assert reconstruction.std() > 0 and masked.std() > 0, "the stored picture is there at once"
    page.locator(".sslw-masking").scroll_into_view_if_needed()
    page.wait_for_function(LIVE)


def test_a_link_opens_pictures_and_masks(visit):
    mae, images = network(), pictures()
    hash = "#masking2.image=3&masking2.hidden=x0123456789abcdef&masking.hidden=60"
    page = visit(MAEExplorer(mae, images), MAEExplorer(mae, images), book='data-content_root="./"', hash=hash)
    page.wait_for_function("document.querySelectorAll('.sslw-touchable').length === 2")
    page.wait_for_function("[...document.querySelectorAll('.sslw')].every((e) => e.ariaBusy === 'false')")
    first, second = pressed(page).view(2, 64)
    assert first.sum() == 60 and "60 of 64" in page.locator("figcaption").nth(1).inner_text()
    assert [int("".join(str(int(h)) for h in second), 2)] == [0x0123456789ABCDEF]
    assert page.get_by_role("radio", name="image 3").last.is_checked()
    page.get_by_role("button", name="row 1, column 1", exact=True).last.press("Space")
    page.wait_for_function("location.hash.startsWith('#masking2.image=3&masking2.hidden=x8123456789abcdef&masking.')")


def test_masks_made_while_the_network_is_loading_are_answered(visit):
    """The size is said, a click shows at once, and what it leaves is drawn when the network has come."""
    mae, images = network(), pictures()
    hold = "new Promise((go) => (window.held ??= []).push(go))"
    script = f"{{ const get = fetch; fetch = async (...all) => (await {hold}, get(...all)); }}"
    page = visit(MAEExplorer(mae, images), script=script)
    page.wait_for_function("window.held?.length === 2")
    assert re.search(r"Loading the network, 0 of 1[0-9] MB", page.locator(".sslw-state").inner_text())
    hidden = pressed(page)
    page.get_by_role("button", name="row 2, column 3", exact=True).click(force=True)
    page.get_by_role("button", name="row 5, column 5", exact=True).press("Space")
    hidden[[10, 36]] = ~hidden[[10, 36]]
    page.evaluate(FRAME)
    assert torch.equal(pressed(page), hidden) and page.locator(".sslw").get_attribute("aria-busy") == "true"
    page.evaluate("window.held.forEach((go) => go())")
    page.wait_for_function(LIVE)
    assert_shows(page, mae, images[0], hidden)


@pytest.mark.parametrize("lost", ["ort.wasm.bundle", ".wasm", "widgets/"])
def test_a_lost_download_says_so_and_can_be_tried_again(visit, lost):
    mae, images = network(), pictures()
    refuse = [lost]
    page = visit(MAEExplorer(mae, images), refuse=refuse)
    page.wait_for_function(FALLEN_BACK)
    assert "the download failed. The slider chooses among stored masks." in page.locator(".sslw-state").inner_text()
    refuse.clear()
    page.get_by_role("button", name="Try again").click()
    page.wait_for_function(LIVE)
    assert page.get_by_role("button", name="Try again").is_hidden()
    page.get_by_role("button", name="row 1, column 1", exact=True).press("Space")
    page.wait_for_function(LIVE)
    assert_shows(page, mae, images[0], pressed(page))
    assert all("net::ERR_FAILED" in t or "does not run in this page" in t for t in page.troubles)
    page.troubles.clear()


def test_a_page_that_is_a_file_says_what_it_needs(visit, vendored):
    folder, _ = vendored
    page = visit(MAEExplorer(network(), pictures()))
    page.wait_for_function(LIVE)
    page.goto((folder / "index.html").as_uri())
    page.wait_for_function(FALLEN_BACK)
    assert "opened as a file" in page.locator(".sslw-state").inner_text()
    assert "python -m http.server" in page.locator(".sslw-state").inner_text()
    page.troubles = [t for t in page.troubles if not t.startswith("request: file:")]


# -- without onnxruntime-web, and without WebAssembly


def assert_chooses_among_stored(page, widget, mae, image):
    slider = page.get_by_role("slider", name="Hidden")
    for stop, count in enumerate(widget.counts):
        slider.fill(str(stop))
        hidden = torch.zeros(64, dtype=torch.bool)
        hidden[widget.order[:count]] = True
        assert_shows(page, mae, image, hidden)
        assert f"{count} of 64" in page.locator("figcaption").nth(1).inner_text()
    assert slider.get_attribute("max") == str(len(widget.counts) - 1)
    page.locator(".sslw-picture-masked").click()
    page.get_by_role("button", name="row 2, column 2", exact=True).press("Enter")
    page.evaluate(FRAME)
    assert torch.equal(pressed(page), hidden), "no patch can be hidden by hand"
    assert page.get_by_role("button", name="New mask").is_disabled()
    assert "stored" in page.locator("dl").inner_text()


FALLEN_BACK = "() => document.querySelector('.sslw-masking')?.textContent.includes('Clicking on patches needs')"


def test_without_webassembly_the_slider_chooses_among_stored_masks(visit):
    mae, images = network(), pictures()
    widget = MAEExplorer(mae, images)
    page = visit(widget, script="delete window.WebAssembly")
    page.wait_for_function(FALLEN_BACK)
    assert "needs WebAssembly, which does not run here" in page.locator(".sslw").inner_text()
    assert not [u for u in page.wants if "/ort/" in u]
    assert_chooses_among_stored(page, widget, mae, images[0])


def test_a_runtime_that_fails_is_told_and_replaced(mount):
    widget = MAEExplorer(network(), pictures())
    page = mount(widget, ort="data:,")  # no folder at all
    page.wait_for_function(FALLEN_BACK)
    (warning,) = page.troubles
    assert "The network does not run in this page" in warning
    page.troubles.clear()


def test_without_a_runtime_a_kernel_reconstructs(mount):
    mae, images = network(), pictures()
    widget = MAEExplorer(mae, images)
    page = mount(widget, kernel=True)
    page.wait_for_function(LIVE)
    hidden = torch.tensor(widget.hidden)
    assert_shows(page, mae, images[0], hidden)
    assert "in Python" in page.locator("dl").inner_text()
    page.get_by_role("button", name="row 5, column 2", exact=True).press("Enter")
    hidden[33] = ~hidden[33]
    assert_shows(page, mae, images[0], hidden)
    page.evaluate("h => window.mounted[0].model.set('hidden', h)", mask(1, 2, 3).tolist())  # as a cell may
    assert_shows(page, mae, images[0], mask(1, 2, 3))
    assert not page.evaluate(FALLEN_BACK)


def test_an_answer_to_another_view_is_none_to_this_one(mount):
    page = mount(MAEExplorer(network(), pictures()))
    answer = "f => f({ id: 'another' }, [new DataView(new ArrayBuffer(4 * 3 * 32 * 32))])"
    assert page.evaluate("window.mounted[0].listeners['msg:custom'].size") == 1
    page.evaluate(f"window.mounted[0].listeners['msg:custom'].forEach({answer})")
    page.wait_for_function(FALLEN_BACK)
    assert page.locator(".sslw-touchable").count() == 0


def test_a_mask_that_is_not_stored_waits_for_a_network_and_then_gives_way(mount):
    widget = MAEExplorer(network(), pictures())
    widget.hidden = mask(*range(30)).tolist()
    page = mount(widget, widget, viewport={"width": 1000, "height": 100})
    count = "() => document.querySelectorAll('.sslw-masking')[1].querySelectorAll('[aria-pressed=true]').length"
    second = page.locator(".sslw-masking").nth(1)  # too far below to have begun
    assert page.evaluate(count) == 34 and second.locator("dd b").first.inner_text() == "\u2013"
    second.scroll_into_view_if_needed()
    page.wait_for_function(f"() => ({count})() === 32")  # the nearest that is stored
    assert "Clicking on patches needs" in second.inner_text()


# -- how it looks


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_panels_wrap_and_fit(mount, width, theme):
    widget = MAEExplorer(network(), pictures(12))
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tops = page.locator("figure").evaluate_all("all => all.slice(0, 4).map((e) => e.getBoundingClientRect().top)")
    assert len(set(tops)) == (2 if width == 375 else 1)
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate("new Set([...document.querySelectorAll('[type=radio]')].map((e) => e.name)).size") == 2
    assert page.evaluate("[...document.querySelectorAll('canvas')].every((e) => e.ariaLabel || e.ariaHidden)")


def test_larger_patches_have_their_own_grid(mount):
    torch.manual_seed(0)
    mae = MAE(ViT(32, 8, dim=24, depth=1, heads=2), decoder_dim=24, decoder_depth=1, decoder_heads=2)
    page = mount(MAEExplorer(mae, pictures()), kernel=True)
    page.wait_for_function(LIVE)
    assert page.get_by_role("button", name=re.compile("row 4, column 4")).count() == 1
    assert page.locator(".sslw-lattice button").count() == 16


def test_clean_up_leaves_nothing(mount):
    for kernel in (True, False):
        page = mount(MAEExplorer(network(), pictures()), kernel=kernel)
        assert page.evaluate(LEFT) == [0]
        page.wait_for_timeout(100)
