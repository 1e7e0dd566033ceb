"""Is a difference more than chance, and how far do the figures of several runs lie apart?

Every spread over seeds or draws that mmt reports comes from here, and ``p_text`` writes every p value. Tests that
need SciPy are in ``mmt.metrics.p_values``; these do without, in the small install, too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

import numpy as np

from mmt.errors import MMTError
from mmt.metrics.scores import check_parallel
from mmt.metrics.translation import metrics_for, normalized

# Koehn (2004) resamples hundreds of sentences. Of a handful, every resample is nearly the same, and the test
# would call any difference certain.
FEWEST_SENTENCES = 30


@dataclass(frozen=True)
class Spread:
    """One figure over several runs: seeds of a system, or draws of wrong images.

    mean: of ``values``. std: their sample standard deviation, None for a single run. values: one a run, in order.
    """

    mean: float
    std: float | None = None
    values: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, list(values))

    def to_dict(self, runs: str = "seeds") -> dict[str, object]:
        """For a JSON file; ``runs`` is the key of the values, ``seeds`` or ``draws``."""
        return {"mean": self.mean, "std": self.std, runs: self.values}

    def text(self, decimals: int = 1, times: float = 1) -> str:
        """``43.9 ± 0.9``; the mean alone for a single run. ``times`` 100 writes a share in percent."""
        spread = "" if self.std is None else f" ± {times * self.std:.{decimals}f}"
        return f"{times * self.mean:.{decimals}f}{spread}"

    def __str__(self) -> str:
        return self.text()


def p_text(value: float | None, *, equal: bool = False, label: bool = True) -> str:
    """A p value in words: ``p = 0.012`` with two digits, and ``p < 0.001`` below that.

    Args:
        value: None or not finite without a test: "no difference" if the two are ``equal``, else "not tested".
        label: False leaves out ``p =``, for the cell of a table whose heading says p.
    """
    if value is None or not math.isfinite(value):
        return "no difference" if equal else "not tested"
    text = "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
    return text if label else text.removeprefix("p ").removeprefix("= ")


@dataclass(frozen=True)
class Difference:
    """How much a system's score differs from the baseline's.

    ``p_value`` is that of sacrebleu's paired bootstrap, see ``paired_bootstrap``; None where there are fewer
    than ``FEWEST_SENTENCES`` sentences to resample.
    """

    value: float
    p_value: float | None
    signature: str


def paired_bootstrap(
    baseline: Sequence[str],
    systems: Sequence[Sequence[str]],
    references: Sequence[str],
    *,
    target_lang: str | None,
    sources: Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 12345,
    tokenized: bool = False,
    only: Collection[str] | None = None,
) -> list[dict[str, Difference]]:
    """Compares systems with a baseline by paired bootstrap resampling.

    Koehn 2004, https://aclanthology.org/W04-3250, as ``sacrebleu.significance.PairedTest`` does it, so that the
    p values are those of ``sacrebleu --paired-bs``. Two things to know about them. PairedTest takes the absolute
    difference of each resample before it centres them, which in effect leaves one tail: of equally good systems
    about 1 in 10 pairs gets p < 0.05, so ask for p < 0.025. And it says 1 / (samples + 1) of a system and
    itself; here p is 1 where two scores are equal.

    Args:
        baseline: its translations.
        systems: the translations of each other system.
        references: of both, in the same order.
        target_lang, sources, tokenized, only: as in ``corpus_scores``.
        samples: how often to resample.
        seed: of the resampling, at least 1 (PairedTest takes 0 for no seed).
    Returns:
        For each system, by the keys of ``corpus_scores``: system minus baseline.
    Raises:
        MMTError: as in ``corpus_scores``; or ``samples`` or ``seed`` is under 1.
    """
    if samples < 1 or seed < 1:
        raise MMTError(f"bootstrap: samples and seed must be at least 1, but are {samples} and {seed}.")
    for hypotheses in (baseline, *systems):
        check_parallel(hypotheses, references)
    differences: list[dict[str, Difference]] = [{} for _ in systems]
    everyone = [normalized(lines) for lines in (baseline, *systems)]
    metrics, _ = metrics_for(references, target_lang=target_lang, sources=sources, tokenized=tokenized, only=only)
    for key, metric in metrics.items():
        compared, signature = metric.paired_bootstrap(everyone, samples, seed)
        for of_system, (value, p_value) in zip(differences, compared, strict=True):
            if len(references) < FEWEST_SENTENCES:
                p_value = None
            elif value == 0:
                p_value = 1.0
            of_system[key] = Difference(value, p_value, signature)
    return differences


def mean_bootstrap(differences: Sequence[float], samples: int = 1000, seed: int = 12345) -> float | None:
    """p value of the mean of paired differences, such as of a neural metric, as ``paired_bootstrap`` computes it.

    It is the share of resamples whose centred absolute mean exceeds that found; None where there are fewer than
    ``FEWEST_SENTENCES`` differences.
    """
    values = np.array(differences)
    if len(values) < FEWEST_SENTENCES:
        return None
    found = abs(float(values.mean()))
    if found == 0:
        return 1.0
    draw = np.random.default_rng(seed)
    size = len(values)
    means = np.array([abs(values[draw.integers(0, size, size)].mean()) for _ in range(samples)])
    return float((np.count_nonzero(means - means.mean() > found) + 1) / (samples + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down correction of several tests; None, where there was nothing to test, stays."""
    order = sorted((p, n) for n, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, n) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[n] = least
    return corrected
