"""The embedded text: sentences about two shapes, drawn from a seed, every factor a label.

    the small red star is above the big blue ring , so the blue ring is below the red star .

The second half follows from the first. It names the two things in the same order with the same relation, or in the
other order with the opposite one. So each colour, shape and relation can be told from the rest of a sentence, if one
looks in the right place. The two sizes are said once and can only be guessed. What a reader who knows the grammar can
know of a hidden word is computed exactly here: `posterior`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbook.shapes import CLASSES

SHAPES = CLASSES
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
SIZES = ("tiny", "small", "big", "huge")
RELATIONS = ("above", "below", "before", "behind")
OPPOSITE = (1, 0, 3, 2)  # of each relation
PLAIN = ("the", "is", ",", "so", ".")
MASK, UNKNOWN = 0, 1  # the numbers of the two special words, in every vocabulary
SPECIAL = ("[MASK]", "[UNK]")
WORDS = (*SPECIAL, *PLAIN, *SIZES, *COLOURS, *SHAPES, *RELATIONS)
NUMBER = {word: number for number, word in enumerate(WORDS)}

# what stands at each place: a plain word, or the name of a factor; `draw` says what they are
PATTERN = (
    *("the", "size 1", "colour 1", "shape 1", "is", "relation", "the", "size 2", "colour 2", "shape 2", ",", "so"),
    *("the", "colour 3", "shape 3", "is", "relation 2", "the", "colour 4", "shape 4", "."),
)
LENGTH = len(PATTERN)
FREE = tuple(place for place, name in enumerate(PATTERN) if name.startswith("size"))  # said once: a guess
# told by the rest of the sentence, and not simply by the place
DETERMINED = tuple(place for place, name in enumerate(PATTERN) if name.startswith(("colour", "shape", "relation")))


def draw(n: int, seed: int = 0) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Draw n sentences; the same n and seed give the same ones.

    Returns:
        words (n, 21) int64, indices into `WORDS`; labels (n,) int64, indices into `SHAPES`: which of the two things is
        above or before the other; and the factors, each (n,) int64: size, colour and shape of both things, the relation
        of the first to the second, and "turned", 1 if the second half names them in the other order.
    """
    if n < 1:
        raise ValueError(f"n is how many sentences to draw, at least 1, got {n}")
    digest = hashlib.sha256(f"sentences {seed}".encode()).digest()  # as for the shapes: nobody types this seed
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))

    def some(kinds: int) -> Tensor:
        return torch.randint(kinds, (n,), generator=generator)

    factors = {"size 1": some(len(SIZES)), "size 2": some(len(SIZES))}
    for name, kinds in (("colour", len(COLOURS)), ("shape", len(SHAPES))):
        factors[f"{name} 1"] = some(kinds)
        factors[f"{name} 2"] = (factors[f"{name} 1"] + 1 + some(kinds - 1)) % kinds  # another one
    factors |= {"relation": some(len(RELATIONS)), "turned": some(2)}
    first = factors["relation"] % 2 == 0  # "above" or "before": the first thing is the answer
    labels = torch.where(first, factors["shape 1"], factors["shape 2"])
    return written(factors), labels, factors


def written(factors: dict[str, Tensor]) -> Tensor:
    """The sentences (n, 21) that say what `draw` drew."""
    turned = factors["turned"].bool()
    all_of = dict(factors)
    for name in ("colour", "shape"):
        one, two = factors[f"{name} 1"], factors[f"{name} 2"]
        all_of[f"{name} 3"], all_of[f"{name} 4"] = torch.where(turned, two, one), torch.where(turned, one, two)
    opposite = torch.tensor(OPPOSITE)[factors["relation"]]
    all_of["relation 2"] = torch.where(turned, opposite, factors["relation"])
    starts = {"size": SIZES[0], "colour": COLOURS[0], "shape": SHAPES[0], "relation": RELATIONS[0]}
    columns = []
    for name in PATTERN:
        kind = name.split()[0]
        if kind in starts:
            columns.append(NUMBER[starts[kind]] + all_of[name])
        else:
            columns.append(torch.full_like(turned, NUMBER[name], dtype=torch.long))
    return torch.stack(columns, dim=1)


def numbers(text: str) -> Tensor:
    """A sentence as (length,) int64; "_" or "[MASK]" hides a word. Raises ValueError for a word that is not there."""
    words = [SPECIAL[MASK] if word == "_" else word for word in text.split()]
    unknown = [word for word in words if word not in NUMBER]
    if unknown:
        raise ValueError(f"there is no word {unknown[0]!r}; there are {', '.join(WORDS)}")
    return torch.tensor([NUMBER[word] for word in words])


def text(words: Tensor) -> str:
    """A sentence (length,) as it is read."""
    return " ".join(WORDS[word] for word in words.tolist())


def kinds_of(of_places: Tensor) -> dict[str, float]:
    """Means over the places of a kind, from a number for each place (21,): plain, size, colour, shape, relation."""
    found: dict[str, list[float]] = {}
    for name, value in zip(PATTERN, of_places.tolist()):
        kind = name.split()[0]
        found.setdefault("plain" if kind in PLAIN else kind, []).append(value)
    return {kind: sum(values) / len(values) for kind, values in found.items()}


@torch.no_grad()
def hidden_alone(predict: Callable[[Tensor], Tensor], words: Tensor) -> Tensor:
    """For each place (21,): how often the highest score is the true word's, where that word alone is hidden.

    `predict` gives a score for every word at every place, (n, 21) to (n, 21, words).
    """
    right = []
    for place in range(LENGTH):
        seen = words.clone()
        seen[:, place] = MASK
        right.append((predict(seen)[:, place].argmax(dim=1) == words[:, place]).float().mean())
    return torch.stack(right)


@torch.no_grad()
def mended(predict: Callable[[Tensor], Tensor], words: Tensor, seed: int = 0) -> float:
    """How often a wrong word that is seen is mended: nothing is hidden, one word of the second half is exchanged for
    another of its kind, and at its place the highest score is the true word's."""
    generator = torch.Generator().manual_seed(seed)
    right = []
    for place in (place for place in DETERMINED if place > PATTERN.index(",")):
        kind = {"colour": COLOURS, "shape": SHAPES, "relation": RELATIONS}[PATTERN[place].split()[0]]
        shift = torch.randint(1, len(kind), (len(words),), generator=generator).to(words.device)
        first = NUMBER[kind[0]]
        seen = words.clone()
        seen[:, place] = first + (words[:, place] - first + shift) % len(kind)
        right.append((predict(seen)[:, place].argmax(dim=1) == words[:, place]).float().mean().item())
    return sum(right) / len(right)


def best_loss(seen: Tensor, targets: Tensor, **hidden: float) -> float:
    """The mean loss that nobody can beat who does not know the sentences: of `posterior`, at the words asked for.

    `targets` (n, 21) are -100 where nobody asks; `hidden` are the shares that `posterior` takes.
    """
    asked = targets >= 0
    p = posterior(seen, **hidden)[asked]
    return -p.gather(1, targets[asked][:, None]).log().mean().item()


def posterior(seen: Tensor, *, share: float = 0.15, mask: float = 0.8, other: float = 0.1) -> Tensor:
    """What can be known of each word, given what is seen and that the loss asks for this very word.

    By Bayes' rule over all sentences of the grammar. A word that is seen may lie: with probability `share` a word was
    asked for, and then hidden (`mask`), replaced by any ordinary word (`other`), or left. With share=0 or mask=1 what
    is seen is true, and what is hidden unknown.

    Args:
        seen: (n, 21) int64, words of the grammar.

    Returns:
        (n, 21, words) float64, each a distribution.

    Raises:
        ValueError: `seen` has another length, or nobody could have written it.
    """
    if seen.ndim != 2 or seen.shape[1] != LENGTH:
        raise ValueError(f"seen must be (n, {LENGTH}), got {tuple(seen.shape)}")
    ordinary = len(WORDS) - len(SPECIAL)
    lie = share * other / ordinary
    table = torch.full((len(WORDS), len(WORDS)), lie, dtype=torch.float64)  # [true, seen]
    table.fill_diagonal_(1 - share + share * (1 - mask - other) + lie)
    asked = torch.full_like(table, other / ordinary).fill_diagonal_(1 - mask - other + other / ordinary)
    table[:, MASK] = asked[:, MASK] = 1.0  # a mask says nothing of the word below it
    likely, likely_if_asked = (t[:, seen].permute(1, 2, 0) for t in (table, asked))  # (n, 21, words)
    if share == 0 or mask == 1:
        likely_if_asked = likely
    known = _marginals(likely)
    # of all sentences: what the others say of a place, times what is seen there when the loss asks
    without = torch.where(likely > 0, known / likely.clamp(min=1e-300), 0.0)
    found = without * likely_if_asked
    total = found.sum(dim=2, keepdim=True)
    if not (total > 0).all():
        raise ValueError("no sentence of the grammar fits what is seen")
    return found / total


def _marginals(likely: Tensor) -> Tensor:
    """For each place and word the weight of all sentences that have it there, from `likely` (n, 21, words)."""
    every = _every_sentence()
    log = likely.clamp(min=1e-300).log()
    sizes = list(FREE)
    others = [place for place in range(LENGTH) if place not in FREE]
    one_hot = F.one_hot(every[:, others], len(WORDS)).to(torch.float64).flatten(1)  # (sentences, places x words)
    found = torch.zeros_like(likely)
    for rows in torch.arange(len(likely)).split(256):
        weights = log[rows][:, others].flatten(1) @ one_hot.T
        top = weights.max(dim=1, keepdim=True).values
        weights = (weights - top).exp() * (top > -600)
        weights = torch.where(weights > 1e-200, weights, 0.0)  # what is smaller says a word that cannot stand there
        found[rows[:, None], others] = (weights @ one_hot).unflatten(1, (len(others), -1))
    size_words = slice(NUMBER[SIZES[0]], NUMBER[SIZES[-1]] + 1)
    found[:, sizes, size_words] = likely[:, sizes, size_words]
    return found


@cache
def _every_sentence() -> Tensor:
    """All of them but for the sizes, which depend on nothing: (13440, 21)."""
    pairs = [list(itertools.permutations(range(len(kinds)), 2)) for kinds in (COLOURS, SHAPES)]
    rows = torch.tensor(
        [(*colours, *shapes, relation, turned)
         for colours, shapes, relation, turned in itertools.product(*pairs, range(len(RELATIONS)), range(2))]
    )  # fmt: skip
    names = ("colour 1", "colour 2", "shape 1", "shape 2", "relation", "turned")
    factors = dict(zip(names, rows.unbind(dim=1)))
    tiny = torch.zeros(len(rows), dtype=torch.long)
    return written(factors | {"size 1": tiny, "size 2": tiny})
