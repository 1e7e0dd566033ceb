"""Pieces become the words of the text, with the sum or the mean of their values."""

from __future__ import annotations

import numpy as np

from mmt.data.tokenizer import Tokenizer
from mmt.evidence.words import merge_words


def test_words_keep_the_sum_and_take_the_mean() -> None:
    pieces = ["▁a", "▁", "[MASK_C]", "▁ca", "f", "<0xC3>", "<0xA9>", ".", "</s>"]
    values = np.arange(9.0)
    words, sums = merge_words(pieces, values, "sum")
    assert words == ["a", "[MASK_C]", "café.", "</s>"]
    assert sums.tolist() == [0, 1 + 2, 3 + 4 + 5 + 6 + 7, 8]
    assert merge_words(pieces, values, "mean")[1].tolist() == [0, 1.5, 5, 8]
    regions = np.stack([values, -values], 1)
    assert merge_words(pieces, regions, "mean")[1].tolist() == [[0, 0], [1.5, -1.5], [5, -5], [8, -8]]
    assert merge_words([], np.zeros((0, 4)), "sum")[0] == []


def test_words_are_those_of_the_text(tokenizer: Tokenizer) -> None:
    text = "A dog sees the Straße, 語!"
    pieces = tokenizer.pieces(tokenizer.encode(text))
    assert merge_words(pieces, np.zeros(len(pieces)), "sum")[0] == text.split(" ")
