"""How often people agree with a difference between two systems' scores: Kocmi et al. (2024)."""

from __future__ import annotations

from mmt.errors import MMTError

_NAMES = {"bleu": "bleu", "chrf": "chrf", "comet": "comet22"}


def human_agreement(metric: str, difference: float) -> float | None:
    """The share of people, 0.5 to 1, who would prefer the system that a metric prefers by this difference.

    Of pairs of systems in WMT's evaluations, by package mt-thresholds: "Navigating the Metrics Maze",
    https://aclanthology.org/2024.acl-long.110. Where its curve is below a half, the metric says nothing.

    Args:
        metric: a key of ``mmt.metrics.translation.METRICS``.
        difference: in the metric's points, of either sign.
    Returns:
        None for a metric without a curve.
    Raises:
        MMTError: the package is missing.
    """
    if metric not in _NAMES:
        return None
    try:
        import mt_thresholds
    except ImportError:
        raise MMTError("the package mt-thresholds is missing. pip install mt-thresholds.") from None
    percent: float = mt_thresholds.accuracy(abs(difference), _NAMES[metric])
    return max(percent / 100, 0.5)
