"""Which sentences of several datasets an epoch reads: sampling by temperature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def sampling_shares(sizes: Sequence[int], temperature: float) -> NDArray[np.float64]:
    """(D,) the share of each dataset, p_i ~ n_i ** (1 / temperature), for D datasets of n_i sentences.

    1 samples in proportion to the sizes; the higher the temperature, the nearer the shares are to equal
    (Arivazhagan et al. 2019, https://arxiv.org/abs/1907.05019).
    """
    weights = np.asarray(sizes, dtype=np.float64) ** (1 / temperature)
    return np.asarray(weights / weights.sum())


class TemperatureSampling:
    """Draws the sentences of an epoch, as many as all datasets have, by ``sampling_shares``.

    A dataset that gives more sentences than it has is read as often as they suffice for, and the rest is drawn
    without replacement: with temperature 1, an epoch has each sentence once.

    Args:
        sizes: sentences of each dataset, which lie one after the other.
    """

    def __init__(self, sizes: Sequence[int], temperature: float) -> None:
        self._sizes = list(sizes)
        self.counts = np.rint(sum(sizes) * sampling_shares(sizes, temperature)).astype(np.int64).tolist()

    def rows(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """(N,) positions in the datasets together."""
        parts: list[NDArray[np.int64]] = []
        first = 0
        for size, count in zip(self._sizes, self.counts, strict=True):
            whole, rest = divmod(count, size)
            drawn = np.concatenate([np.tile(np.arange(size), whole), np.sort(generator.permutation(size)[:rest])])
            parts.append(first + drawn)
            first += size
        return np.concatenate(parts)
