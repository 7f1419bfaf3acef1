from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up import StopsAt

from sslbook import evaluate, sentences
from sslbook.callbacks import Checkpoints
from sslbook.checkpoint import CheckpointError
from sslbook.encoders import ConvNet
from sslbook.methods.bert import BERT, masked_word_loss
from sslbook.pretrain import pretrain
from sslbook.text import TextEncoder
from sslbook.words import IGNORED, HideWords, load_sentences

GOOGLE, HF = (np.load(Path(__file__).parent / f"golden/13_{name}.npz") for name in ("bert_google", "mlm_hf"))
V, L = len(sentences.WORDS), sentences.LENGTH


def tiny(**options):
    torch.manual_seed(0)
    return BERT(TextEncoder(V, L, dim=16, depth=1, heads=2), **options)


# -- which words, against the official statistics


def of_many(words=1000, special=0.04, **options):
    """What becomes of 500,000 words, of which some are special: asked, hidden, replaced, kept."""
    g = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, words, (4000, 128), generator=g)
    tokens[torch.rand(tokens.shape, generator=g) < special] = sentences.UNKNOWN
    seen, targets = HideWords(128, words, **options)(tokens, g)
    return tokens, seen, targets != IGNORED, targets


@pytest.mark.parametrize("golden, asked_of", [(HF, "frac_selected"), (GOOGLE, None)], ids=["huggingface", "google"])
def test_the_shares_are_the_official_ones(golden, asked_of):
    """Within five deviations of both samples."""
    tokens, seen, asked, _ = of_many()
    n = asked.sum().item()
    shares = {
        "frac_mask": (seen[asked] == sentences.MASK).float().mean().item(),
        "frac_keep": (seen[asked] == tokens[asked]).float().mean().item(),
    }
    shares["frac_random"] = 1 - sum(shares.values())
    for name, ours in shares.items():
        theirs, sizes = float(golden[f"{name}_f64"]), (1 / n + 1 / int(golden["n_selected"]))
        assert ours == pytest.approx(theirs, abs=5 * (theirs * (1 - theirs) * sizes) ** 0.5), name
    if asked_of:  # HF's draw is one for each word, as here; Google takes a fixed number of each text
        ordinary = tokens != sentences.UNKNOWN
        ours, theirs = asked[ordinary].float().mean().item(), float(golden[f"{asked_of}_f64"])
        sizes = 1 / ordinary.sum().item() + 1 / int(golden["n_nonspecial_tokens"])
        assert ours == pytest.approx(theirs, abs=5 * (theirs * (1 - theirs) * sizes) ** 0.5)
        own = asked.float().mean(dim=1).std().item() / (1 - 0.04) ** 0.5
        assert own == pytest.approx(float(golden["per_sequence_frac_mean_std"][1]), rel=0.1)
        assert int(golden["n_special_selected"]) == 0


def test_special_words_are_never_asked_for_nor_put_in():
    tokens, seen, asked, targets = of_many(words=20)
    assert not asked[tokens == sentences.UNKNOWN].any()
    replaced = asked & (seen != tokens) & (seen != sentences.MASK)
    assert seen[replaced].min() == 2 and seen[replaced].max() == 19
    counts = seen[replaced].bincount(minlength=20)[2:].float()
    assert (counts / counts.mean() - 1).abs().max() < 0.15, "each other word as often"
    assert torch.equal(targets[asked], tokens[asked]) and torch.equal(seen[~asked], tokens[~asked])


def test_one_number_decides_and_another_names_the_word():
    tokens = torch.full((1, 6), 5)
    u = torch.tensor([0.0, 0.119, 0.121, 0.134, 0.136, 0.151])
    seen, targets = HideWords(6, 10).render(tokens, torch.stack([u, torch.full((6,), 0.999)])[:, None])
    assert seen.tolist() == [[0, 0, 9, 9, 5, 5]]
    assert targets.tolist() == [[5, 5, 5, 5, 5, IGNORED]]


# -- the loss


def test_the_loss_is_the_cross_entropy_of_what_is_asked_in_value_and_gradient():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, dtype=torch.float64, generator=g).requires_grad_()
    targets = torch.randint(0, 7, (3, 5), generator=g)
    asked = torch.rand(3, 5, generator=g) < 0.4
    targets[~asked] = IGNORED
    terms = masked_word_loss(logits, targets)
    terms["loss"].backward()
    p = logits.detach().softmax(dim=2)
    n, losses, expected = int(asked.sum()), [], torch.zeros_like(logits)
    for i, j in asked.nonzero().tolist():
        losses.append(-p[i, j, targets[i, j]].log().item())
        expected[i, j] = (p[i, j] - F.one_hot(targets[i, j], 7)) / n
    assert 0 < n < 15
    assert terms["loss"].item() == pytest.approx(sum(losses) / n, rel=1e-12)
    torch.testing.assert_close(logits.grad, expected)
    right = (logits.argmax(2) == targets)[asked].double().mean().item()
    assert terms["accuracy"].item() == pytest.approx(right) and not terms["accuracy"].requires_grad


def test_nothing_asked_costs_nothing():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    terms = masked_word_loss(logits, torch.full((2, 3), IGNORED))
    terms["loss"].backward()
    assert terms["loss"].item() == 0 and logits.grad.abs().sum() == 0
    with pytest.raises(ValueError, match=r"logits must be \(n, L, V\) and targets \(n, L\)"):
        masked_word_loss(logits, torch.zeros(2, 4, dtype=torch.long))


def test_word_vectors_are_read_and_predicted_from():
    method = tiny()
    names = [name for name, _ in method.named_parameters()]
    assert sum(p.shape == (V, 16) for p in method.parameters()) == 1, "tied"
    assert "bias" in names
    seen, _ = method.hide(load_sentences(train=4, test=1)[0].tokens)
    assert method.predict(seen).shape == (4, L, V)
    absent = next(word for word in range(5, V) if (seen[:1] != word).all())
    others = [word for word in range(V) if word != absent]
    with torch.no_grad():
        method.encoder.embed.weight[absent] += torch.linspace(-3, 3, 16)
        changed = method.predict(seen[:1]) - tiny().predict(seen[:1])
    assert changed[:, :, absent].abs().max() > 0.1 and changed[:, :, others].abs().max() < 1e-5


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="BERT needs a TextEncoder, got a ConvNet"):
        BERT(ConvNet(width=2))
    with pytest.raises(ValueError, match="the encoder reads 21 words, texts have 24"):
        tiny().views(24)
    for wrong in (dict(share=0), dict(share=1.2), dict(mask=0.9, other=0.2), dict(other=-0.1)):
        with pytest.raises(ValueError, match="share"):
            tiny(**wrong)
    with pytest.raises(ValueError, match=r"texts must be int64 \(n, 21\)"):
        tiny().encoder(torch.zeros(2, 20, dtype=torch.long))
    with pytest.raises(ValueError, match=r"texts must be \(n, 21\)"):
        tiny().hide(torch.zeros(2, 20, dtype=torch.long), torch.Generator())


def test_an_argument_that_changed_is_refused(tmp_path):
    texts, _ = load_sentences(train=64, test=1)
    options = dict(epochs=1, batch_size=16, show_progress=False, callbacks=[Checkpoints(tmp_path)])
    pretrain(tiny(), texts, **options)
    for other in (dict(share=0.2), dict(mask=0.7), dict(other=0.2)):
        with pytest.raises(CheckpointError, match="with other settings"):
            pretrain(tiny(**other), texts, **options)
    with pytest.raises(CheckpointError, match="checksum"):
        pretrain(tiny(), load_sentences(train=64, test=1, seed=1)[0], **options)


def test_images_are_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="the encoder reads 21 words, texts have 32"):
        pretrain(tiny(), torch.zeros(64, 3, 32, 32, dtype=torch.uint8), epochs=1, batch_size=8, show_progress=False)


# -- what it learns, and what breaks it


def learnt(positions=True, **options):
    """A sentence of one colour and one place: after a few steps the two words that repeat are known."""
    texts, _ = load_sentences(train=1024, test=1)
    torch.manual_seed(0)
    method = BERT(TextEncoder(V, L, dim=32, depth=1, heads=2, positions=positions), **options)
    history = pretrain(method, texts, epochs=12, batch_size=64, lr=1e-2, weight_decay=0.0, show_progress=False)
    return method.eval(), history["loss"][-1]


@torch.no_grad()
def hidden_alone(method, place, n=256):
    """Share of right guesses at one place, the only hidden one."""
    tokens = load_sentences(train=n, test=1, seed=9)[0].tokens
    seen = tokens.clone()
    seen[:, place] = sentences.MASK
    return (method.predict(seen)[:, place].argmax(1) == tokens[:, place]).float().mean().item()


def test_it_knows_the_kind_of_a_hidden_word_by_its_place_and_without_places_it_does_not():
    method, loss = learnt()
    assert hidden_alone(method, 0) == 1 and hidden_alone(method, 4) == 1
    bag, worse = learnt(positions=False)
    assert loss < worse - 0.3
    assert not bag.encoder.pos_embed.requires_grad and not bag.encoder.pos_embed.any()
    bag.encoder.requires_grad_(False).requires_grad_(True)
    assert not bag.encoder.pos_embed.requires_grad


def test_a_bag_of_words_has_no_order():
    encoder = TextEncoder(V, L, dim=16, depth=2, heads=2, positions=False)
    tokens = load_sentences(train=4, test=1)[0].tokens
    torch.testing.assert_close(encoder(tokens), encoder(tokens.flip(1)), rtol=1e-4, atol=1e-6)
    ordered = tiny().encoder
    assert (ordered(tokens) - ordered(tokens.flip(1))).abs().max() > 1e-4


def test_attention_is_that_of_the_forward_pass():
    encoder = TextEncoder(V, L, dim=16, depth=2, heads=2)
    tokens = load_sentences(train=3, test=1)[0].tokens
    weights = encoder.attention(tokens)
    assert weights.shape == (3, 2, 2, L, L)
    torch.testing.assert_close(weights.sum(dim=4), torch.ones(3, 2, 2, L))
    block = encoder.blocks[0]
    x = encoder.start(tokens)
    _, _, v = block.attn.split(block.norm1(x))
    x = x + block.attn.proj((weights[:, 0] @ v).transpose(1, 2).flatten(2))
    x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(encoder.norm(encoder.blocks[1](x)), encoder.tokens(tokens))


def test_features_are_asked_as_those_of_images():
    train, test = load_sentences(train=300, test=100)
    report = evaluate.report(tiny().encoder, train, test)
    assert {"kNN", "linear", "linear, 1 % of labels"} <= report.keys() and "linear, hue" not in report


def test_a_training_goes_on_where_it_stopped(tmp_path):
    texts, _ = load_sentences(train=64, test=1)
    options = dict(epochs=2, batch_size=16, show_progress=False)
    whole, broken = tiny(), tiny()
    expected = pretrain(whole, texts, **options)
    with pytest.raises(KeyboardInterrupt):
        pretrain(broken, texts, callbacks=[Checkpoints(tmp_path, every=0.5), StopsAt(5)], **options)
    history = pretrain(tiny(), texts, callbacks=[Checkpoints(tmp_path, every=0.5)], **options)
    assert history.losses == expected.losses
