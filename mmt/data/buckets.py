"""Batches of sentences of similar length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def length_batches(
    lengths: Sequence[tuple[int, int]], max_tokens: int, generator: np.random.Generator | None = None
) -> list[list[int]]:
    """Groups sentences of similar length into batches, so that there is little padding.

    Args:
        lengths: (source, target) tokens of each sentence.
        max_tokens: the maximal number of sentences times the longest side of a batch. A longer sentence is a
            batch of its own.
        generator: shuffles sentences of equal length, and the batches; None keeps both in order.
    Returns:
        Lists of positions in ``lengths``; every position occurs in exactly one.
    """
    sizes = np.asarray(lengths, dtype=np.int64).reshape(-1, 2)
    ties = np.arange(len(sizes)) if generator is None else generator.permutation(len(sizes))
    order = np.lexsort((ties, sizes[:, 0], sizes[:, 1]))
    batches: list[list[int]] = []
    widest = 0
    for position in order.tolist():
        widest = max(widest, *lengths[position])
        if not batches or widest * (len(batches[-1]) + 1) > max_tokens:
            batches.append([])
            widest = max(lengths[position])
        batches[-1].append(position)
    if generator is not None:
        generator.shuffle(batches)
    return batches
