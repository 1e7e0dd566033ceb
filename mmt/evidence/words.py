"""Words of the pieces that a model writes and reads. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def merge_words(
    tokens: Sequence[str], values: NDArray[np.float64], how: Literal["sum", "mean"]
) -> tuple[list[str], NDArray[np.float64]]:
    """Puts pieces together to words: ``sum`` for importance, ``mean`` for gates and attention.

    Args:
        tokens: pieces; U+2581 begins a word, and ``</s>`` is one of its own.
        values: (tokens, ...).
    Returns:
        The words, and (words, ...) values.
    """
    starts = [n for n, piece in enumerate(tokens) if n == 0 or piece.startswith("\u2581") or piece == "</s>"]
    words = [_word("".join(tokens[i:j])) for i, j in itertools.pairwise([*starts, len(tokens)])]
    if not words:
        return [], values
    merged = np.add.reduceat(values, starts, axis=0)
    if how == "mean":
        sizes = np.diff([*starts, len(tokens)])
        merged = merged / sizes.reshape(-1, *[1] * (values.ndim - 1))
    return words, merged


def _word(pieces: str) -> str:
    """Spaces and byte pieces as text: '\u2581caf<0xC3><0xA9>' is 'café'."""
    word = re.sub(
        r"(?:<0x[0-9A-F]{2}>)+",
        lambda run: bytes.fromhex(re.sub("<0x|>", "", run.group())).decode("utf-8", "replace"),
        pieces,
    )
    return word.replace("\u2581", " ").strip(" ")
