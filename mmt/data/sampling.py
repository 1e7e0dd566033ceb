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


def temperature_counts(sizes: Sequence[int], temperature: float) -> list[int]:
    """Sentences of each dataset in an epoch that has as many as all datasets together, by ``sampling_shares``."""
    return [int(n) for n in np.rint(sum(sizes) * sampling_shares(sizes, temperature))]


def upsampled_counts(sizes: Sequence[int], ratios: Sequence[float]) -> list[int]:
    """Sentences of each dataset in an epoch that reads dataset i ``ratios[i]`` times; at least one."""
    return [max(1, round(size * ratio)) for size, ratio in zip(sizes, ratios, strict=True)]


class EpochSampling:
    """Draws the sentences of an epoch.

    A dataset that gives more sentences than it has is read as often as they suffice for, and the rest is drawn
    without replacement: where the counts are the sizes, an epoch has each sentence once.

    Args:
        sizes: sentences of each dataset, which lie one after the other.
        counts: sentences of each dataset in an epoch.
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int]) -> None:
        self._sizes, self.counts = list(sizes), list(counts)

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
