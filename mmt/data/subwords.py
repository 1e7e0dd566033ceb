"""BPE-dropout: training sentences in other pieces in each epoch (Provilkov et al. 2020).

https://aclanthology.org/2020.acl-main.170. Merges of BPE are left out with a probability, so that a model sees
rare words in parts, and a word in several spellings. SentencePiece's own sampling gives other pieces in each
process for the same seed, with which no run could be resumed exactly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mmt.data.batch import Example
from mmt.data.tokenizer import Tokenizer

_SPACE = "\u2581"


class BPEDropout:
    """Splits sentences of a tokenizer of our own anew."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._merges = tokenizer.merges()
        self._pieces = tokenizer.pieces(range(tokenizer.vocab_size))

    def split(self, ids: Sequence[int], dropout_p: float, seed: int) -> list[int]:
        """``ids`` of a sentence in other pieces of the same text; tags, masks and bytes stay.

        In each step, each possible merge of a word is left out with probability ``dropout_p``, and the best of the
        others is made; a word is complete when there is none.

        Args:
            seed: the same pieces for the same seed, in every process.
        """
        generator = random.Random(seed)
        found: list[int] = []
        word: list[str] = []
        for number in ids:
            piece = self._pieces[number]
            if piece not in self._merges or piece.startswith(_SPACE):
                found += self._merged(word, dropout_p, generator)
                word = []
            if piece in self._merges:
                word += piece
            else:
                found.append(number)
        return found + self._merged(word, dropout_p, generator)

    def _merged(self, symbols: list[str], dropout_p: float, generator: random.Random) -> list[int]:
        """The ids of a word, from its characters."""
        merges, draw = self._merges, generator.random
        while True:
            best, place = -float("inf"), -1
            for number in range(len(symbols) - 1):
                merge = merges.get(symbols[number] + symbols[number + 1])
                if merge is not None and draw() >= dropout_p and merge[0] > best:
                    best, place = merge[0], number
            if place < 0:
                return [merges[symbol][1] for symbol in symbols]
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


@dataclass(frozen=True)
class SubwordSampling:
    """How the sentences of a training batch are split anew.

    dropout_p: the probability with which a merge is left out.
    max_length: a sentence that would have this many pieces or more stays as it is, see ``data.max_length``.
    updates: the number of updates after which sentences stay as they are.
    target: split target sentences, too.
    """

    tokenizer: Tokenizer
    dropout_p: float
    max_length: int
    updates: int
    target: bool = False
    _splitter: BPEDropout = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_splitter", BPEDropout(self.tokenizer))

    def sample(self, examples: Sequence[Example], seeds: Sequence[int]) -> list[Example]:
        """``examples`` in other pieces, the same for the same ``seeds``, of which there is one for each."""
        found = []
        for example, seed in zip(examples, seeds, strict=True):
            changed = replace(example, source=self._split(example.source, seed))
            if self.target:
                changed = replace(changed, target=self._split(example.target, seed + 1))
            found.append(changed)
        return found

    def _split(self, ids: list[int], seed: int) -> list[int]:
        other = self._splitter.split(ids, self.dropout_p, seed)
        return other if len(other) + 1 <= max(self.max_length, len(ids) + 1) else ids
