"""Tests and intervals agree with R, the textbook and their definitions."""

from __future__ import annotations

import math

import pytest

from mmt.errors import MMTError
from mmt.metrics.p_values import mcnemar, signed_rank, wilson_interval


@pytest.mark.parametrize(("right", "total"), [(0, 5), (5, 5), (12, 20), (150, 300)])
def test_the_wilson_interval_is_where_the_score_test_turns(right: int, total: int) -> None:
    """Wilson (1927): the shares q from which the seen share lies z standard errors, those of q, away."""
    low, high = wilson_interval(right, total)
    for q in (low / 100, high / 100):
        if 0 < q < 1:
            away = abs(right / total - q) / math.sqrt(q * (1 - q) / total)
            assert away == pytest.approx(1.959964, abs=1e-5)
    assert 0 <= low <= 100 * right / total <= high <= 100
    assert low < high


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 1, 2 * (1 + 6) / 2**6),
        (1, 5, 2 * (1 + 6) / 2**6),
        (8, 0, 2 / 2**8),
        (4, 4, 1.0),
    ],
)
def test_mcnemar_counts_what_only_one_got_right(only_first: int, only_second: int, p_value: float) -> None:
    both = [True] * 7 + [False] * 3
    first = both + [True] * only_first + [False] * only_second
    second = both + [False] * only_first + [True] * only_second
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(p_value)
    with pytest.raises(MMTError, match="same items"):
        mcnemar(first, second[1:])


def test_signed_rank_agrees_with_the_textbook() -> None:
    """All 5 differences of one sign: p = 2 / 2**5."""
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 32)
    assert signed_rank([1.0, 2.0, 0.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 32)  # a zero says nothing
    assert signed_rank([0.0, 0.0]) is None
    assert signed_rank([1.0, 2.0, 3.0, 4.0, 5.0], "greater") == pytest.approx(1 / 32)
    assert signed_rank([1e-12, 0.0]) is None  # rounding is no difference


# The example of R's wilcox.test: depression of nine patients before and after (Hollander and Wolfe 1973).
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]


def test_signed_rank_is_that_of_r() -> None:
    """V = 40 of 45, and of 512 ways to give signs to nine ranks 10 give as much."""
    differences = [before - after for before, after in zip(BEFORE, AFTER, strict=True)]
    assert signed_rank(differences, "greater") == pytest.approx(0.01953, abs=5e-6)
    assert signed_rank(differences) == pytest.approx(0.03906, abs=5e-6)
