"""Scores of labels (scikit-learn's) and of sentiment (MMSA's, of CMU-MOSI)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from mmt.errors import MMTError
from mmt.io.atomic import replacing
from mmt.io.figures import new_figure
from mmt.io.normalization import normalize


def label_scores(predicted: Sequence[str], truth: Sequence[str]) -> dict[str, Any]:
    """Accuracy, and precision, recall and F1, each as ``micro``, ``macro`` and ``weighted``, in [0, 100].

    Macro is the mean over the labels in ``predicted`` or ``truth``; 0 / 0, such as the precision of a label that
    was never predicted, counts as 0. By scikit-learn, on normalised labels (``mmt.io.normalization``).

    Returns:
        The scores by name (``accuracy``, ``macro_f1``, ...); ``labels`` in alphabetical order, ``confusion``,
        whose rows are the true labels, and ``by_label`` with precision, recall, f1 and number of each.
    Raises:
        MMTError: unequal numbers, or none.
    """
    _check(predicted, truth, "labels")
    predicted, truth = [normalize(label) for label in predicted], [normalize(label) for label in truth]
    labels = sorted({*predicted, *truth})
    scores: dict[str, Any] = {"accuracy": 100 * float(accuracy_score(truth, predicted))}
    for average in ("micro", "macro", "weighted"):
        values = precision_recall_fscore_support(truth, predicted, labels=labels, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), values, strict=False):
            scores[f"{average}_{name}"] = 100 * float(value)
    each = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    scores["labels"] = labels
    # for a single label, scikit-learn warns that there might be others
    confusion = confusion_matrix(truth, predicted, labels=labels).tolist() if len(labels) > 1 else [[len(truth)]]
    scores["confusion"] = confusion
    scores["by_label"] = {
        label: {
            "precision": 100 * float(each[0][row]),
            "recall": 100 * float(each[1][row]),
            "f1": 100 * float(each[2][row]),
            "number": int(each[3][row]),
        }
        for row, label in enumerate(labels)
    }
    return scores


def sentiment_scores(predicted: Sequence[float], truth: Sequence[float]) -> dict[str, float | None]:
    """Scores of sentiment in [-3, 3], those of MMSA, https://github.com/thuiar/MMSA, for CMU-MOSI and CMU-MOSEI.

    As its ``metricsTop.py`` computes them, but not rounded; MMSA is M-SENA's (https://arxiv.org/abs/2203.12441).
    ``acc2_has0`` and ``f1_has0``: negative (y < 0) against the rest; ``acc2_non0`` and ``f1_non0``: positive
    (y > 0) against the rest, items whose truth is 0 left out; F1 weighted by the true classes' sizes. ``acc7`` and
    ``acc5``: agreement of round(clip(y, -3, 3)) and round(clip(y, -2, 2)), halves to the even number as NumPy
    rounds. In [0, 100]. ``mae``: mean absolute error. ``pearson``: r. MulT's script (Tsai et al. 2019,
    https://aclanthology.org/P19-1656) differs: its F1 is weighted by the sizes of the predicted classes.

    Returns:
        The scores; None for an undefined one: r of a constant or of one item, non0 if every truth is 0.
    Raises:
        MMTError: unequal numbers, none, or one that is not finite.
    """
    _check(predicted, truth, "scores")
    ours, theirs = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    for name, values in (("predicted", ours), ("true", theirs)):
        if not np.isfinite(values).all():
            first = int(np.argmin(np.isfinite(values)))
            raise MMTError(
                f"scores: expected a finite number as the {name} one of item {first + 1}, found {values[first]}."
            )
    scores: dict[str, float | None] = {}
    polar = theirs != 0
    for name, a, b in (("has0", ours >= 0, theirs >= 0), ("non0", ours[polar] > 0, theirs[polar] > 0)):
        scores[f"acc2_{name}"] = 100 * float(accuracy_score(b, a)) if len(b) else None
        weighted = {"average": "weighted", "zero_division": 0}
        scores[f"f1_{name}"] = 100 * float(f1_score(b, a, **weighted)) if len(b) else None
    for name, most in (("acc7", 3), ("acc5", 2)):
        a, b = (np.round(np.clip(values, -most, most)) for values in (ours, theirs))
        scores[name] = 100 * float(np.mean(a == b))
    scores["mae"] = float(np.mean(np.abs(ours - theirs)))
    varies = len(ours) > 1 and np.ptp(ours) > 0 and np.ptp(theirs) > 0
    r = float(pearsonr(ours, theirs).statistic) if varies else math.nan
    scores["pearson"] = r if math.isfinite(r) else None
    return scores


def draw_confusion(scores: dict[str, Any], path: Path) -> None:
    """Draws the confusion matrix of ``label_scores`` as a PNG file: shares of each true label, and counts."""
    counts = np.array(scores["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 1.8 + 0.75 * len(counts)
    with new_figure(side + 1, side) as (figure, axes):
        shown = ConfusionMatrixDisplay(shares, display_labels=scores["labels"])
        shown.plot(ax=axes, cmap="Blues", values_format=".0%", xticks_rotation=45, im_kw={"vmin": 0, "vmax": 1})
        assert shown.text_ is not None  # noqa: S101  # plot() has made it
        for text, count in zip(shown.text_.ravel(), counts.ravel(), strict=True):
            text.set_text(f"{text.get_text()}\n{count:,}" if count else "0")
            text.set_fontsize(9)
        with replacing(path) as stream:
            figure.savefig(stream, dpi=110, format="png")


def _check(predicted: Sequence[object], truth: Sequence[object], what: str) -> None:
    if len(predicted) != len(truth) or not truth:
        raise MMTError(
            f"{what}: expected as many predictions as there are items, and at least one, found {len(predicted)} "
            f"for {len(truth)}."
        )
