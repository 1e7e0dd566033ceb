"""Tests and intervals by SciPy: Wilcoxon's signed ranks, McNemar's test, Wilson's interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from mmt.errors import MMTError


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a share, in percent: Wilson (1927), as scipy computes it.

    It takes the items for independent of each other.
    """
    interval = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def signed_rank(
    differences: Sequence[float], alternative: Literal["two-sided", "greater", "less"] = "two-sided"
) -> float | None:
    """p value of Wilcoxon's signed-rank test that paired differences are symmetric around 0, by scipy.

    Wilcoxon (1945), https://doi.org/10.2307/3001968. Differences of 0 are left out; None if all are. How p is
    computed, exactly for few differences and by the normal approximation for many, is scipy's choice.
    """
    # The same sums in another order may differ in their last digit, which would be ranked.
    moved = [rounded for difference in differences if (rounded := round(difference, 9))]
    return float(stats.wilcoxon(moved, alternative=alternative).pvalue) if moved else None


@dataclass(frozen=True)
class McNemar:
    """Of items that two systems judged, how many only the first got right, and how many only the second.

    ``p_value``: how likely so uneven a split, or a more uneven one, would be if neither were better; two-sided.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Exact test of whether one of two systems is right more often on the same items.

    McNemar (1947), https://doi.org/10.1007/BF02295996, its p value from the binomial distribution.

    Raises:
        MMTError: the systems judged different numbers of items.
    """
    if len(first) != len(second):
        raise MMTError(f"McNemar: expected the same items of both systems, got {len(first)} and {len(second)}.")
    only_first = sum(one and not other for one, other in zip(first, second, strict=True))
    only_second = sum(other and not one for one, other in zip(first, second, strict=True))
    if not only_first + only_second:
        return McNemar(0, 0, 1.0)
    return McNemar(only_first, only_second, float(stats.binomtest(only_first, only_first + only_second).pvalue))
