"""Out-of-domain detection: lines unlike a model's training text, whose translations may be unrelated to them.

A model folder stores how often each piece of the vocabulary occurs on the source side of the training text. A line
is out of domain if more than half of its pieces are bytes, unknown, or missing in that text; or if it carries more
bits per character, by the frequencies of the pieces, than all but a few training lines. The second rule catches
words that are spelled in single letters, each of which is frequent ("Stainless steel" with a vocabulary of 1,000
pieces): they take more pieces for the same number of characters. Every line is allowed a few extra bits, which
matters for short
ones: a word may be rare. ``mmt evaluate out-of-domain`` measures the accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError, unreadable
from mmt.io.text_files import parse_json

if TYPE_CHECKING:
    from mmt.data.tokenizer import Tokenizer

PIECES = "pieces.json"
"""The file in a model folder."""

LEVEL = 99.6
"""Percentile of the training lines' bits per character above which a line is out of domain; by measurement."""

_GRANTED = 6.0
"""Bits that a rare piece of the training text carries more than a usual one; by measurement, as LEVEL."""

_SAMPLE = 1 << 17  # lines that are enough for a percentile


@dataclass(frozen=True)
class TrainingPieces:
    """The source side of a training text: ``counts`` (V,) of each piece, and ``most_bits`` per character."""

    counts: NDArray[np.int64]
    most_bits: float

    @classmethod
    def of(cls, lines: Iterable[Sequence[int]], tokenizer: Tokenizer) -> TrainingPieces:
        """Counts the pieces of the training text's encoded source lines.

        For the percentile, each line is scored by counts without itself, as a new line would be.
        """
        vocab_size = tokenizer.vocab_size
        counts = np.zeros(vocab_size, np.int64)
        sample: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for line in lines:
            pieces, often = np.unique(np.asarray(line, np.int64), return_counts=True)
            counts[pieces] += often
            if len(pieces) and len(sample) < _SAMPLE:
                sample.append((pieces, often))
        characters, total = tokenizer.lengths, counts.sum()
        bits = [
            _a_character(
                (often * _bits(counts[pieces] - often, int(total - often.sum()), vocab_size)).sum(),
                int((often * characters[pieces]).sum()),
            )
            for pieces, often in sample
        ]
        return cls(counts, float(np.percentile(bits, LEVEL)) if bits else 0.0)

    def is_unlike(self, line: NDArray[np.int64], characters: NDArray[np.int64]) -> bool:
        """Whether the line carries too many bits per character; ``characters`` (V,) of the pieces."""
        bits = _bits(self.counts[line], int(self.counts.sum()), len(self.counts)).sum()
        return _a_character(bits, int(characters[line].sum())) > self.most_bits

    def to_json(self) -> str:
        value = {"about": "how often each piece occurs in the training text's source side; mmt/data/domain.py",
                 "most_bits_a_character": self.most_bits, "counts": self.counts.tolist()}  # fmt: skip
        return json.dumps(value) + "\n"


def read_pieces(folder: Path, vocab_size: int) -> TrainingPieces | None:
    """Reads a model folder's file; None if it is missing, as in folders of earlier versions.

    Raises:
        MMTError: it is damaged.
    """
    path = folder / PIECES
    try:
        value: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        counts, most_bits = value["counts"], value["most_bits_a_character"]
        if len(counts) != vocab_size or not all(type(one) is int and 0 <= one < 1 << 40 for one in counts):
            raise ValueError(f"expected a count for each of {vocab_size:,} pieces")
        if not 0 <= float(most_bits) <= 1000:
            raise ValueError(f"{most_bits} bits")
        return TrainingPieces(np.asarray(counts, np.int64), float(most_bits))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None


def is_out_of_domain(tokenizer: Tokenizer, ids: Sequence[int]) -> bool:
    """Whether an encoded source line is out of domain for the model with this tokenizer; a blank line is not.

    Without ``tokenizer.training``, only bytes and unknown pieces count.
    """
    if not ids:
        return False
    line = np.asarray(ids, np.int64)
    strange, training = tokenizer.strange[line], tokenizer.training
    if training is not None:
        strange = strange | (training.counts[line] == 0)
    if 2 * int(strange.sum()) > len(line):
        return True
    return training is not None and training.is_unlike(line, tokenizer.lengths)


def _a_character(bits: float, characters: int) -> float:
    return float((bits - _GRANTED) / characters)


def _bits(counts: NDArray[np.int64], total: int, vocab_size: int) -> NDArray[np.float64]:
    """Information of a piece with that count, plus half an occurrence for each (Krichevsky & Trofimov)."""
    bits: NDArray[np.float64] = -np.log2((counts + 0.5) / (total + 0.5 * vocab_size))
    return bits
