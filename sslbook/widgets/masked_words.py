"""Write a sentence, hide words of it, and see what a small Transformer in the page expects, and where it looks."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import torch
import traitlets
from torch import Tensor

from sslbook import sentences
from sslbook.methods.bert import BERT
from sslbook.widgets._network import packed
from sslbook.widgets._source import source

MOST_BYTES = 1_000_000  # of weights that a page carries
MOST_EXAMPLES = 50


class MaskedWords(anywidget.AnyWidget):
    """A sentence whose words the reader hides and shows, with the network's guesses and attention for one place.

    The network runs in the page itself, in JavaScript: its weights, at most 1 MB, travel with the widget.

    Args:
        method: the network, with its predictions.
        examples: (N, L) int64, sentences to begin with, N in 1..50.
        vocabulary: the words, as many as the network has.
        hidden: places of the first sentence that are hidden at first.

    With a kernel `words` (L numbers), `hidden` (L bools), `place`, `block` and `head` (0 is the mean of all heads) can
    be read and set.

    Raises:
        ValueError: the network, examples, vocabulary or places do not fit together, or the network is too large.
    """

    _esm = source("page.js", "weights.js", "transformer.js", "masked_words.js")
    _css = source("widgets.css", "masked_words.css")
    shape = traitlets.List().tag(sync=True)  # [length, dim, blocks, heads, words]
    weights = traitlets.Bytes().tag(sync=True)  # float32, one tensor after the other
    parts = traitlets.List().tag(sync=True)  # for each tensor [name, how many numbers]
    vocabulary = traitlets.List().tag(sync=True)
    examples = traitlets.List().tag(sync=True)
    words = traitlets.List().tag(sync=True)
    hidden = traitlets.List().tag(sync=True)
    place = traitlets.Int(0).tag(sync=True)
    block = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        method: BERT,
        examples: Tensor,
        vocabulary: Sequence[str] = sentences.WORDS,
        hidden: Sequence[int] = (),
        **kwargs,
    ):
        if not isinstance(method, BERT):
            raise ValueError(f"method must be a sslbook.methods.BERT, got {type(method).__name__}")
        encoder = method.encoder
        if len(vocabulary) != encoder.words:
            raise ValueError(f"vocabulary must have the network's {encoder.words} words, got {len(vocabulary)}")
        if examples.ndim != 2 or examples.shape[1] != encoder.length or not 1 <= len(examples) <= MOST_EXAMPLES:
            wanted = f"1 to {MOST_EXAMPLES} texts of {encoder.length} words"
            raise ValueError(f"examples must be {wanted}, got {tuple(examples.shape)}")
        if examples.min() < 0 or examples.max() >= encoder.words:
            raise ValueError(f"examples must hold numbers of words in [0, {encoder.words})")
        if any(not 0 <= place < encoder.length for place in hidden):
            raise ValueError(f"hidden must be places in [0, {encoder.length}), got {list(hidden)}")
        numbers, parts = packed(method.state_dict(), torch.float32)
        if len(numbers) > MOST_BYTES:
            raise ValueError(f"a page carries at most {MOST_BYTES:,} bytes of weights, these are {len(numbers):,}")
        depth, heads = len(encoder.blocks), encoder.blocks[0].attn.heads
        super().__init__(
            shape=[encoder.length, encoder.features_dim, depth, heads, encoder.words],
            weights=numbers,
            parts=parts,
            vocabulary=[str(word) for word in vocabulary],
            examples=examples.tolist(),
            words=examples[0].tolist(),
            hidden=[place in set(hidden) for place in range(encoder.length)],
            place=kwargs.pop("place", min(hidden, default=0)),
            block=kwargs.pop("block", depth - 1),
            **kwargs,
        )

    @traitlets.validate("words")
    def _check_words(self, proposal):
        words = proposal["value"]
        length, count = self.shape[0], self.shape[4]
        if len(words) != length or not all(isinstance(word, int) and 0 <= word < count for word in words):
            raise traitlets.TraitError(f"words must be {length} numbers in [0, {count})")
        return words

    @traitlets.validate("hidden")
    def _check_hidden(self, proposal):
        hidden, length = proposal["value"], self.shape[0]
        if len(hidden) != length or not all(isinstance(h, bool) for h in hidden):
            raise traitlets.TraitError(f"hidden must be {length} bools, one for each word")
        return hidden
