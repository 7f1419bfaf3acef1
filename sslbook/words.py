"""Text as tensors: sentences from a grammar or from a reader's own file, and the view that hides words of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sslbook import sentences
from sslbook.images import as_rows, checksum
from sslbook.sentences import MASK, SPECIAL, UNKNOWN

IGNORED = -100  # the target of a word that nobody asks for, as PyTorch's cross-entropy has it
TEST_SEED = 2**31  # as for image sets


@dataclass(eq=False, repr=False)
class TextSet:
    """N pieces of text of L words each, and what is known of them, on one device.

    Raises TypeError or ValueError if the parts do not fit together.
    """

    tokens: Tensor  # (N, L) int64, indices into `vocabulary`
    vocabulary: tuple[str, ...]  # the first two are [MASK] and [UNK]
    labels: Tensor  # (N,) int64 in [0, len(classes)), -1 = not labelled
    classes: list[str] = field(default_factory=list)
    factors: dict[str, Tensor] = field(default_factory=dict)  # what generated a sentence, each (N,) int64
    name: str = ""

    def __post_init__(self):
        self.vocabulary = tuple(self.vocabulary)
        if self.tokens.dtype != torch.int64:
            raise TypeError(f"tokens must be int64, got {self.tokens.dtype}")
        if self.tokens.ndim != 2 or not self.tokens.numel():
            raise ValueError(f"tokens must be (N, length), at least one word, got {tuple(self.tokens.shape)}")
        if self.vocabulary[: len(SPECIAL)] != SPECIAL:
            raise ValueError(f"a vocabulary begins with {' and '.join(SPECIAL)}, got {self.vocabulary[:2]}")
        low, high = (int(x) for x in self.tokens.aminmax())
        if low < 0 or high >= len(self.vocabulary):
            raise ValueError(f"tokens must be in [0, {len(self.vocabulary)}), got {low} to {high}")
        for name, values in {"labels": self.labels, **self.factors}.items():
            if values.shape != (len(self),):
                raise ValueError(f"{len(self)} texts need {name} of shape ({len(self)},), got {tuple(values.shape)}")

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice | Tensor | Sequence) -> TextSet:
        """The set of these rows: a slice, indices or a bool mask. One text is `tokens[i]`."""
        rows = as_rows(rows, self.tokens.device, "tokens[i]")
        factors = {name: factor[rows] for name, factor in self.factors.items()}
        return replace(self, tokens=self.tokens[rows], labels=self.labels[rows], factors=factors)

    @property
    def size(self) -> tuple[int]:
        """How many words a text has."""
        return (self.tokens.shape[1],)

    def batches(self, rows: Sequence[Tensor]) -> Iterator[Tensor]:
        """The words (n, L) of each batch of rows, one batch after the other."""
        for index in rows:
            yield self.tokens.index_select(0, index.to(self.tokens.device))

    def checksum(self) -> str:
        """The same for the same text and vocabulary."""
        return checksum(self.vocabulary, [self.tokens])

    def to(self, device: torch.device | str) -> TextSet:
        factors = {name: factor.to(device) for name, factor in self.factors.items()}
        return replace(self, tokens=self.tokens.to(device), labels=self.labels.to(device), factors=factors)

    def text(self, i: int) -> str:
        """A text as it is read."""
        return " ".join(self.vocabulary[word] for word in self.tokens[i].tolist())

    def __repr__(self) -> str:
        parts = [
            f"{len(self):,} texts of {self.size[0]} words",
            f"{len(self.vocabulary):,} words",
            str(self.tokens.device),
        ]
        if self.factors:
            parts.append(f"factors {', '.join(self.factors)}")
        return f"<TextSet {self.name!r}: {'; '.join(parts)}>"


def load_sentences(
    *, train: int = 4096, test: int = 1024, seed: int = 0, device: torch.device | str = "cpu"
) -> tuple[TextSet, TextSet]:
    """The embedded sentences, drawn from `seed` in [0, 2**31); the test half has a seed of its own."""
    if not 0 <= seed < TEST_SEED:
        raise ValueError(f"seed must be in [0, 2**31), got {seed}")
    halves = []
    for n, own in ((train, seed), (test, seed + TEST_SEED)):
        tokens, labels, factors = sentences.draw(n, own)
        made = TextSet(tokens, sentences.WORDS, labels, list(sentences.SHAPES), factors, name="sentences")
        halves.append(made.to(device))
    return halves[0], halves[1]


def from_file(
    path: str | os.PathLike, *, length: int = 24, most_words: int = 2000, test: float = 0.1
) -> tuple[TextSet, TextSet]:
    """A reader's own text file, in UTF-8, as pieces of `length` words: (train, test).

    Words are in lower case; a mark of punctuation is a word, and so is a row of the same mark. The vocabulary is the
    `most_words` commonest words of the training part; every other word is [UNK]. The last `test` of the pieces are kept
    for testing. There are no labels, and the words at the end that fill no piece are left out.

    Raises:
        ValueError: the file is empty, is no text, or has too few words; or an argument is out of its range.
        OSError: it cannot be read.
    """
    if length < 2 or most_words < 1 or not 0 < test < 1:
        raise ValueError(
            f"length must be at least 2, most_words at least 1 and test in (0, 1); got {length}, {most_words}, {test}"
        )
    found = re.finditer(r"\w+|([^\w\s])\1*", _decoded(Path(path)).lower())
    words = [match.group() for match in found]
    pieces = len(words) // length
    kept = max(1, round(test * pieces))
    if pieces - kept < 2:
        raise ValueError(f"{path} has {len(words):,} words, too few: at least {3 * length} for pieces of {length}")
    counted = Counter(words[: (pieces - kept) * length])
    commonest = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:most_words]  # ties by alphabet
    vocabulary = (*SPECIAL, *(word for word, _ in commonest))
    number = {word: i for i, word in enumerate(vocabulary)}
    tokens = torch.tensor([number.get(word, UNKNOWN) for word in words[: pieces * length]]).view(pieces, length)
    parts = tokens.split([pieces - kept, kept])
    none = [torch.full((len(part),), -1) for part in parts]
    first, second = (TextSet(part, vocabulary, no, name=Path(path).name) for part, no in zip(parts, none))
    return first, second


def _decoded(path: Path) -> str:
    """What a text file says; ValueError if it is none."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a text file")
    data = path.read_bytes()
    if not data.strip():
        raise ValueError(f"{path} is empty")
    if b"\0" in data:
        raise ValueError(f"{path} is no text file: it holds zero bytes. Save it as plain text in UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: byte {error.start:,} does not fit. Save it as UTF-8") from error


def word_counts(texts: TextSet) -> Tensor:
    """How often each text has each word, (N, words) floats: a text as a bag of words."""
    return F.one_hot(texts.tokens, len(texts.vocabulary)).sum(dim=1).float()


@dataclass(frozen=True)
class HideWords:
    """Which words a text's reader has to guess, and what stands in their places.

    One uniform number for each word decides: below `share` the word is asked for, and the parts of this range are
    exclusive. The first `mask` of it hides the word, the next `other` puts any ordinary word there, and the rest leaves
    it as it is. A second number says which other word. [UNK] is never asked for.

    >>> seen, targets = HideWords(21, len(sentences.WORDS))(tokens, torch.Generator().manual_seed(0))
    """

    length: int  # words of a text
    words: int  # of the vocabulary, with the two special ones
    share: float = 0.15
    mask: float = 0.8
    other: float = 0.1

    def __post_init__(self):
        if self.length < 1 or self.words <= len(SPECIAL):
            raise ValueError(f"there must be words: got length={self.length} and words={self.words}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share of words that are asked for must lie in (0, 1], got {self.share}")
        if not (self.mask >= 0 and self.other >= 0 and self.mask + self.other <= 1 + 1e-9):
            raise ValueError(f"mask and other are shares that sum to at most 1, got {self.mask} and {self.other}")

    def __len__(self) -> int:
        return 2  # what is seen, and what is asked

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform numbers (2, n, length), on the CPU."""
        return torch.rand(2, n, self.length, generator=generator)

    def render(self, tokens: Tensor, draws: Tensor | torch.Generator | None = None) -> list[Tensor]:
        """What is seen, and the targets: both (n, length) int64; a target is -100 where nobody asks."""
        if not isinstance(draws, Tensor):
            draws = self.draw(len(tokens), draws)
        if tokens.shape != draws.shape[1:]:
            raise ValueError(f"texts must be (n, {self.length}), got {tuple(tokens.shape)}")
        u, which = draws.to(tokens.device, non_blocking=True)
        asked = (u < self.share) & (tokens >= len(SPECIAL))
        u = u / self.share  # of the words that are asked for, uniform again
        ordinary = self.words - len(SPECIAL)
        others = len(SPECIAL) + (which * ordinary).long().clamp(max=ordinary - 1)
        seen = torch.where(asked & (u < self.mask), MASK, tokens)
        seen = torch.where(asked & (u >= self.mask) & (u < self.mask + self.other), others, seen)
        return [seen, torch.where(asked, tokens, IGNORED)]

    def __call__(self, tokens: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        return self.render(tokens, generator)

    def settings(self) -> list[dict[str, Any]]:
        """What a log says of it: plain numbers."""
        return [dict(vars(self))]
