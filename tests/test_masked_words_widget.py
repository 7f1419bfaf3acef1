"""MaskedWords: its state in Python, and its network in plain JavaScript against PyTorch, without a kernel."""

import base64
import json

import pytest
import torch
from conftest import FRAME, LEFT, MOUNT, UNLABELLED, encoded, serve, watch
from traitlets import TraitError

from sslbook import sentences
from sslbook.methods import MAE
from sslbook.methods.bert import BERT
from sslbook.sentences import LENGTH, MASK, WORDS
from sslbook.text import TextEncoder
from sslbook.vit import ViT
from sslbook.widgets import MaskedWords

TOKENS = sentences.draw(6, seed=2)[0]


def network(dim=16, depth=2, heads=2, **options):
    """With weights as large as trained ones: an untrained network says nearly the same everywhere."""
    torch.manual_seed(1)
    method = BERT(TextEncoder(len(WORDS), LENGTH, dim=dim, depth=depth, heads=heads, **options)).eval()
    with torch.no_grad():
        for p in method.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return method


def put(page, **traits):
    page.evaluate("(t) => { for (const pair of Object.entries(t)) mounted[0].model.set(...pair); }", traits)
    page.evaluate(FRAME)


def trait(page, name):
    return page.evaluate(f"mounted[0].model.get('{name}')")


def guesses(page):
    """{word: probability in per cent} of the bars."""
    rows = page.locator(".sslw-guesses li:visible").all_inner_texts()
    return {row.split()[0]: float(row.split()[-2]) for row in rows}


def test_state():
    widget = MaskedWords(network(), TOKENS, hidden=[3, 14])
    assert widget.shape == [LENGTH, 16, 2, 2, len(WORDS)] and widget.words == TOKENS[0].tolist()
    assert [i for i, hidden in enumerate(widget.hidden) if hidden] == [3, 14] and widget.place == 3
    assert (widget.block, widget.head) == (1, 0)
    assert len(widget.weights) == 4 * sum(n for _, n in widget.parts)
    whole = MaskedWords(BERT(TextEncoder(len(WORDS), LENGTH)), TOKENS)
    assert len(json.dumps(encoded(whole))) < 700_000, "the network of the chapter"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(method=MAE(ViT(16, 4, dim=8, depth=1, heads=2))), "must be a sslbook.methods.BERT, got MAE"),
        (dict(method=network(dim=192, depth=4)), "at most 1,000,000 bytes of weights"),
        (dict(examples=TOKENS[:, :5]), r"1 to 50 texts of 21 words, got \(6, 5\)"),
        (dict(examples=TOKENS + 20), r"numbers of words in \[0, 29\)"),
        (dict(vocabulary=["a"]), "the network's 29 words, got 1"),
        (dict(hidden=[21]), r"places in \[0, 21\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        MaskedWords(**dict(method=network(), examples=TOKENS) | arguments)


def test_what_a_kernel_sets_is_checked():
    widget = MaskedWords(network(), TOKENS)
    for wrong in (dict(words=[1, 2]), dict(words=[99] * LENGTH), dict(hidden=[1] * LENGTH)):
        with pytest.raises(TraitError, match="must be 21"):
            widget.set_trait(*next(iter(wrong.items())))


@pytest.mark.parametrize("options", [dict(), dict(depth=1, heads=4), dict(positions=False)])
def test_the_page_s_network_is_pytorch_s(mount, options):
    method = network(**options).double()
    widget = MaskedWords(method, TOKENS)
    page = mount(widget)
    seen = TOKENS.clone()
    seen[:, [3, 9]] = MASK
    for words in (TOKENS[1], seen[2]):
        made = page.evaluate(
            """(words) => {
              const { model, module } = mounted[0];
              const { buffer, byteOffset, byteLength } = model.get("weights");
              const numbers = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
              return module.forward(words, module.readWeights(numbers, model.get("parts")), model.get("shape"));
            }""",
            words.tolist(),
        )
        with torch.no_grad():
            expected = method.predict(words[None])[0].softmax(dim=1)
            attention = method.encoder.attention(words[None])[0]
        got = torch.tensor(made["probabilities"], dtype=torch.float64)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
        got = torch.tensor(made["attention"], dtype=torch.float64)
        torch.testing.assert_close(got, attention, rtol=1e-4, atol=1e-6)
        assert expected.max() > 3 / len(WORDS), "the network says something"


def test_a_click_hides_a_word_and_bars_and_attention_follow(mount):
    method = network()
    page = mount(MaskedWords(method, TOKENS))
    word = page.locator(".sslw-words button").nth(9)
    word.click()
    page.evaluate(FRAME)
    assert trait(page, "hidden").index(True) == 9 and trait(page, "place") == 9
    assert word.inner_text() == "?" and word.get_attribute("aria-pressed") == "true"
    seen = TOKENS[:1].clone()
    seen[0, 9] = MASK
    with torch.no_grad():
        p = method.predict(seen)[0, 9].softmax(dim=0)
        attention = method.encoder.attention(seen)[0, 1, :, 9]
    shown = guesses(page)
    truth = WORDS[TOKENS[0, 9]]
    assert truth in shown and len(shown) == 8
    for name, value in shown.items():
        assert value == pytest.approx(100 * p[WORDS.index(name)].item(), abs=0.51)
    entropy = -(p * p.log()).sum().item()
    assert float(page.locator("dl b").inner_text()) == pytest.approx(entropy, abs=0.006)
    heights = "[...document.querySelectorAll('.sslw-look i')].map((e) => parseFloat(e.style.height) / 100)"
    mean = attention.mean(dim=0)
    torch.testing.assert_close(torch.tensor(page.evaluate(heights)), mean / mean.max(), rtol=0, atol=1e-4)
    page.get_by_text("2", exact=True).last.click()
    page.evaluate(FRAME)
    assert trait(page, "head") == 2
    torch.testing.assert_close(
        torch.tensor(page.evaluate(heights)), attention[1] / attention[1].max(), rtol=0, atol=1e-4
    )
    assert page.locator("[aria-live]").inner_text().startswith("Word 10, hidden: ")
    word.click()
    page.evaluate(FRAME)
    assert not any(trait(page, "hidden")) and word.inner_text() == truth


def test_a_typed_sentence_is_read_and_a_wrong_one_is_explained(mount):
    page = mount(MaskedWords(network(), TOKENS))
    field = page.get_by_label("Sentence", exact=True)
    typed = "The small _ star is above the big blue ring, so the blue ring is below the red star."
    field.fill(typed)
    field.press("Enter")
    page.evaluate(FRAME)
    hidden = trait(page, "hidden")
    assert hidden.index(True) == 2 and sum(hidden) == 1
    said = [WORDS[word] for word in trait(page, "words")]
    assert said[:2] == ["the", "small"] and said[3] == "star" and said[-2:] == ["star", "."]
    for wrong, why in (("the cat .", "does not know the word “cat”"), ("the star .", "reads 21 words, these are 3")):
        field.fill(wrong)
        field.press("Enter")
        page.evaluate(FRAME)
        assert why in page.get_by_role("alert").inner_text()
        assert [WORDS[word] for word in trait(page, "words")] == said, "what was there stays"
    page.get_by_role("button", name="Another sentence").click()
    page.evaluate(FRAME)
    assert trait(page, "words") == TOKENS[1].tolist() and page.get_by_role("alert").inner_text() == ""
    page.get_by_role("button", name="Show all words").click()
    page.evaluate(FRAME)
    assert not any(trait(page, "hidden"))


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_fits_and_cleans_up(mount, width, theme):
    widget = MaskedWords(network(), TOKENS, hidden=[3])
    page = mount(widget, widget, theme=theme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.evaluate(UNLABELLED) == 0
    assert page.evaluate(LEFT) == [0, 0]


def test_a_link_opens_the_sentence(browser, tmp_path):
    (tmp_path / "index.html").write_text('<!doctype html><html data-content_root="./"><link rel="icon" href="data:,">')
    words = ",".join(str(word) for word in TOKENS[3].tolist())
    with serve(tmp_path) as address, browser.new_context() as context:
        page = context.new_page()
        watch(page, address)
        page.goto(f"{address}/index.html#masked.words={words}&masked.hidden=5,16&masked.place=16&masked.head=1")
        page.evaluate(MOUNT, [encoded(MaskedWords(network(), TOKENS))])
        assert trait(page, "words") == TOKENS[3].tolist() and trait(page, "place") == 16 and trait(page, "head") == 1
        assert [i for i, hidden in enumerate(trait(page, "hidden")) if hidden] == [5, 16]
        assert page.troubles == []


def test_a_network_in_a_file_beside_the_page_is_fetched(browser, tmp_path):
    state = encoded(MaskedWords(network(), TOKENS, hidden=[3]))
    (tmp_path / "weights.bin").write_bytes(base64.b64decode(state["binary"].pop("weights")))
    (tmp_path / "index.html").write_text('<!doctype html><html><link rel="icon" href="data:,">')
    with serve(tmp_path) as address, browser.new_context() as context:
        for file, title in (("weights.bin", "Word 4 is hidden"), ("no.bin", "The network did not come")):
            state["plain"]["weights"] = {"url": f"{address}/{file}", "bytes": 1e6}
            page = context.new_page()
            page.goto(f"{address}/index.html")
            page.evaluate(MOUNT, [state])
            page.wait_for_function(f"document.querySelector('.sslw-guesses')?.innerText.includes('{title}')")
            assert bool(guesses(page)) == (file == "weights.bin")
            page.locator(".sslw-words button").first.click()
            page.evaluate(FRAME)
            assert trait(page, "hidden")[0], "words can be hidden all the same"
