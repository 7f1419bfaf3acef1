"""The embedded text: its grammar, what can be known of it, and a reader's own file."""

import math

import pytest
import torch

from sslbook import sentences
from sslbook.sentences import DETERMINED, FREE, LENGTH, MASK, NUMBER, PATTERN, WORDS, posterior
from sslbook.words import IGNORED, HideWords, TextSet, from_file, load_sentences, word_counts


def test_a_sentence_says_what_its_factors_are():
    words, labels, factors = sentences.draw(400, seed=3)
    again = sentences.draw(400, seed=3)[0]
    assert torch.equal(words, again) and not torch.equal(words, sentences.draw(400, seed=4)[0])
    for i in range(400):
        f = {name: int(values[i]) for name, values in factors.items()}
        one = f"{sentences.COLOURS[f['colour 1']]} {sentences.SHAPES[f['shape 1']]}"
        two = f"{sentences.COLOURS[f['colour 2']]} {sentences.SHAPES[f['shape 2']]}"
        relation = sentences.RELATIONS[f["relation"]]
        opposite = dict(above="below", below="above", before="behind", behind="before")[relation]
        sizes = [sentences.SIZES[f[f"size {k}"]] for k in (1, 2)]
        half = f"the {two} is {opposite} the {one}" if f["turned"] else f"the {one} is {relation} the {two}"
        said = f"the {sizes[0]} {one} is {relation} the {sizes[1]} {two} , so {half} ."
        assert sentences.text(words[i]) == said
        assert one.split()[0] != two.split()[0] and one.split()[1] != two.split()[1]
        answer = one if relation in ("above", "before") else two
        assert sentences.SHAPES[labels[i]] == answer.split()[1]


def test_every_factor_is_uniform_and_the_two_halves_are_other_sentences():
    train, test = load_sentences(train=6000, test=600)
    for name, values in train.factors.items():
        counts = values.bincount().float()
        assert (counts / counts.mean() - 1).abs().max() < 0.2, name
    seen = {tuple(row) for row in train.tokens.tolist()}
    assert sum(tuple(row) in seen for row in test.tokens.tolist()) < 60
    assert sentences._every_sentence().unique(dim=0).shape == (13_440, LENGTH)


@torch.no_grad()
def losses(seen, tokens, **how):
    return -posterior(seen, **how).gather(2, tokens[:, :, None])[:, :, 0].log()


def test_alone_each_place_is_determined_or_free():
    """The best possible loss of each place if it is hidden and all else is true: ln 4 for sizes, else 0."""
    tokens = sentences.draw(50)[0]
    for place, name in enumerate(PATTERN):
        seen = tokens.clone()
        seen[:, place] = MASK
        best = losses(seen, tokens, share=0)[:, place]
        expected = math.log(4) if place in FREE else 0.0
        torch.testing.assert_close(best, torch.full((50,), expected, dtype=torch.float64), msg=name)
    assert set(FREE) | set(DETERMINED) == {i for i, name in enumerate(PATTERN) if name not in sentences.PLAIN}
    assert not set(FREE) & set(DETERMINED)


def test_what_is_hidden_twice_is_a_guess_among_those_that_are_left():
    tokens = sentences.numbers(
        "the small red star is above the big blue ring , so the red star is above the blue ring ."
    )[None]
    seen = tokens.clone()
    seen[0, [3, 14]] = MASK
    known = posterior(seen, share=0)[0]
    for place in (3, 14):  # any shape but a ring
        assert known[place, NUMBER["ring"]] == 0 and known[place, NUMBER["star"]].item() == pytest.approx(1 / 7)
    seen = tokens.clone()
    seen[0, [2, 3, 13, 14, 18, 19]] = MASK  # nobody says now in which order the second half names them
    known = posterior(seen, share=0)[0]
    assert known[3, NUMBER["ring"]] == 0 and known[14, NUMBER["ring"]] == 0, "the relations are the same: not turned"
    seen[0, [5]] = MASK
    known = posterior(seen, share=0)[0]
    assert known[14, NUMBER["ring"]].item() == pytest.approx(0.5)
    assert known[5, NUMBER["above"]].item() == pytest.approx(0.5) == known[5, NUMBER["below"]].item()


def test_the_posterior_is_bayes_rule_spelled_out():
    """Words may lie: against a sum over all sentences, word by word."""
    share, mask, other = 0.2, 0.6, 0.3
    tokens = sentences.draw(3, seed=5)[0]
    hide = HideWords(LENGTH, len(WORDS), share, mask, other)
    seen, targets = hide.render(tokens, torch.Generator().manual_seed(2))
    asked_places = (targets != IGNORED).nonzero().tolist()
    every, ordinary = sentences._every_sentence(), len(WORDS) - 2
    found = posterior(seen, share=share, mask=mask, other=other)
    others = [i for i in range(LENGTH) if i not in FREE]
    assert len(asked_places) > 5
    for row, place in asked_places:
        if place in FREE:
            continue
        weights = torch.ones(len(every), dtype=torch.float64)
        for i in others:
            s, true = int(seen[row, i]), every[:, i]
            asked = other / ordinary + (true == s) * (1 - mask - other)
            if i == place:
                weights *= 1.0 if s == MASK else asked
            else:
                weights *= 1.0 if s == MASK else share * asked + (1 - share) * (true == s)
        expected = torch.zeros(len(WORDS), dtype=torch.float64).index_add(0, every[:, place], weights)
        torch.testing.assert_close(found[row, place], expected / expected.sum(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(3, LENGTH, dtype=torch.float64))


def test_no_guess_is_better_on_average_than_the_posterior():
    tokens = sentences.draw(300, seed=6)[0]
    seen, targets = HideWords(LENGTH, len(WORDS))(tokens, torch.Generator().manual_seed(0))
    asked = targets != IGNORED
    best = losses(seen, tokens)[asked].mean()
    for wrong in (dict(share=0.3), dict(share=0.05), dict(mask=0.5, other=0.4)):
        assert losses(seen, tokens, **wrong)[asked].mean() > best - 1e-3
    assert 0.15 < best < 0.35


def test_where_every_asked_word_is_hidden_what_is_seen_is_true():
    tokens = sentences.draw(50, seed=7)[0]
    seen, targets = HideWords(LENGTH, len(WORDS), share=0.4, mask=1.0, other=0.0).render(
        tokens, torch.Generator().manual_seed(0)
    )
    found = posterior(seen, share=0.4, mask=1.0, other=0.0)
    torch.testing.assert_close(found, posterior(seen, share=0))
    of_seen = found.gather(2, tokens[:, :, None])[:, :, 0][targets == IGNORED]
    torch.testing.assert_close(of_seen, torch.ones_like(of_seen))
    assert 0 < sentences.best_loss(seen, targets, share=0.4, mask=1.0, other=0.0) < 1


def test_what_nobody_could_write_is_refused():
    tokens = sentences.draw(1)[0]
    with pytest.raises(ValueError, match=r"seen must be \(n, 21\), got \(1, 20\)"):
        posterior(tokens[:, 1:])
    wrong = tokens.clone()
    wrong[0, 0] = NUMBER["is"]
    with pytest.raises(ValueError, match="no sentence of the grammar fits"):
        posterior(wrong, share=0)
    with pytest.raises(ValueError, match=r"there is no word 'cat'; there are .*star"):
        sentences.numbers("the cat")
    with pytest.raises(ValueError, match="n is how many sentences"):
        sentences.draw(0)
    assert sentences.numbers("the _ star").tolist() == [NUMBER["the"], MASK, NUMBER["star"]]


# -- a set of texts


def test_a_set_is_indexed_moved_and_told_apart():
    train, _ = load_sentences(train=40, test=3)
    part = train[torch.tensor([3, 1])]
    assert len(part) == 2 and torch.equal(part.tokens[0], train.tokens[3])
    assert part.factors["relation"].tolist() == train.factors["relation"][[3, 1]].tolist()
    assert train.size == (LENGTH,) and train.text(0) == sentences.text(train.tokens[0])
    assert "40 texts of 21 words" in repr(train)
    assert train.checksum() == train.to("cpu").checksum() != part.checksum()
    counts = word_counts(train)
    assert counts.shape == (40, len(WORDS)) and (counts.sum(dim=1) == LENGTH).all()
    assert (counts[:, NUMBER["the"]] == 4).all()


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (dict(tokens=torch.zeros(3, 4)), TypeError, "int64"),
        (dict(tokens=torch.zeros(3, dtype=torch.long)), ValueError, r"\(N, length\)"),
        (dict(tokens=torch.full((3, 4), 9)), ValueError, r"in \[0, 3\), got 9 to 9"),
        (dict(vocabulary=("a", "b", "c")), ValueError, r"begins with \[MASK\] and \[UNK\]"),
        (dict(labels=torch.zeros(2, dtype=torch.long)), ValueError, r"3 texts need labels of shape \(3,\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong, error, message):
    parts = dict(
        tokens=torch.zeros(3, 4, dtype=torch.long), vocabulary=("[MASK]", "[UNK]", "a"), labels=torch.full((3,), -1)
    )
    TextSet(**parts)
    with pytest.raises(error, match=message):
        TextSet(**parts | wrong)


# -- a reader's own file


def test_a_file_becomes_pieces_of_its_words(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff" + "The cat, the DOG: the ünïcode.\n" * 30, encoding="utf-8")
    train, test = from_file(path, length=9, most_words=4)
    assert train.vocabulary == ("[MASK]", "[UNK]", "the", ",", ".", ":")
    assert train.text(0) == "the [UNK] , the [UNK] : the [UNK] ." and test.size == (9,)
    assert len(train) == 27 and len(test) == 3
    path.write_text("a b c d e f " * 40 + "z z z z z z " * 4)
    first, last = from_file(path, length=6)
    assert "z" not in first.vocabulary and last.text(3) == " ".join(["[UNK]"] * 6), "the test part decides nothing"
    path.write_text("a ---- b!? c..." * 40)
    assert from_file(path, length=6)[0].text(0) == "a ---- b ! ? c"
    assert (train.labels == -1).all() and train.name == "mine.txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "mine.txt is empty"),
        (b" \n\t ", "mine.txt is empty"),
        (b"\x89PNG\r\n\0\0\0", "no text file: it holds zero bytes"),
        ("naïve".encode("latin-1") * 99, "no text in UTF-8: byte 2 does not fit"),
        (b"too few words", "has 3 words, too few: at least 72 for pieces of 24"),
        (b"word " * 71, "has 71 words, too few"),
    ],
)
def test_a_file_that_is_no_text_is_refused(content, message, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        from_file(path)


def test_other_mistakes_with_files(tmp_path):
    with pytest.raises(ValueError, match="is a folder: give a text file"):
        from_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        from_file(tmp_path / "none.txt")
    for wrong in (dict(length=1), dict(most_words=0), dict(test=1)):
        with pytest.raises(ValueError, match="length must be at least 2"):
            from_file(tmp_path, **wrong)


def test_a_training_on_a_file_is_one_line(tmp_path):
    from sslbook.methods import BERT
    from sslbook.pretrain import pretrain
    from sslbook.text import TextEncoder

    path = tmp_path / "mine.txt"
    path.write_text("the cat sat on the mat . " * 100)
    train, _ = from_file(path, length=7)
    method = BERT(TextEncoder(len(train.vocabulary), 7, dim=16, depth=1, heads=2))
    history = pretrain(method, train, epochs=20, batch_size=16, lr=1e-2, show_progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
