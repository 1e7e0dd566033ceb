"""Scores of labels and of sentiment: by hand, by scikit-learn and scipy, and at the edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from mmt.errors import MMTError
from mmt.metrics.labels import draw_confusion, label_scores, sentiment_scores

# six items by hand: a is right 2 of 3 times, b 1 of 2, c (one item) never
TRUTH = ["a", "a", "a", "b", "b", "c"]
SAID = ["a", "a", "b", "b", "a", "a"]


def test_scores_of_labels_worked_by_hand() -> None:
    scores = label_scores(SAID, TRUTH)
    assert scores["labels"] == ["a", "b", "c"]
    assert scores["confusion"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    assert scores["accuracy"] == pytest.approx(50)
    a, b = 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3), 0.5  # c is never said: 0
    assert scores["macro_f1"] == pytest.approx(100 * (a + b + 0) / 3)
    assert scores["weighted_f1"] == pytest.approx(100 * (3 * a + 2 * b) / 6)
    assert scores["macro_precision"] == pytest.approx(100 * (0.5 + 0.5 + 0) / 3)
    assert scores["macro_recall"] == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert scores["by_label"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "number": 1}


def test_micro_averages_are_the_accuracy() -> None:
    scores = label_scores(SAID, TRUTH)
    for name in ("micro_precision", "micro_recall", "micro_f1"):
        assert scores[name] == pytest.approx(scores["accuracy"])


def test_a_label_that_is_said_but_never_true_counts_as_nothing_right() -> None:
    scores = label_scores(["a", "d"], ["a", "a"])
    assert scores["macro_f1"] == pytest.approx(100 * (2 / 3 + 0) / 2)
    assert scores["by_label"]["d"]["number"] == 0


def test_one_item_and_order() -> None:
    assert label_scores(["x"], ["x"])["macro_f1"] == 100
    turned = label_scores(SAID[::-1], TRUTH[::-1])
    assert turned == label_scores(SAID, TRUTH)


# seven items by hand; halves are rounded to the even number: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2
TRUE_SCORES = [-3.0, -1.2, 0.0, 0.0, 0.5, 1.5, 2.6]
SAID_SCORES = [-9.0, 0.4, -0.1, 0.0, 0.2, 2.5, 0.0]


def test_scores_of_sentiment_worked_by_hand() -> None:
    scores = sentiment_scores(SAID_SCORES, TRUE_SCORES)
    # y >= 0: truth - - + + + + +; said - + - + + + +: 5 of 7
    assert scores["acc2_has0"] == pytest.approx(100 * 5 / 7)
    # without the two zeros, y > 0: truth - - + + +; said - + + + -: 3 of 5
    assert scores["acc2_non0"] == pytest.approx(100 * 3 / 5)
    negative, positive = 2 * 1 / (2 + 2), 2 * 2 / (3 + 3)
    assert scores["f1_non0"] == pytest.approx(100 * (2 * negative + 3 * positive) / 5)
    # rounded: truth -3 -1 0 0 0 2 3; said -3 0 0 0 0 2 0
    assert scores["acc7"] == pytest.approx(100 * 5 / 7)
    # no further than 2: truth -2 -1 0 0 0 2 2; said -2 0 0 0 0 2 0
    assert scores["acc5"] == pytest.approx(100 * 5 / 7)
    assert scores["mae"] == pytest.approx((6 + 1.6 + 0.1 + 0 + 0.3 + 1 + 2.6) / 7)
    assert scores["pearson"] == pytest.approx(pearsonr(SAID_SCORES, TRUE_SCORES).statistic)


# What MMSA's metricsTop.py (commit a94e65d) makes of these, run once; it rounds to four digits.
MMSA_TRUTH = [-3.0, -2.6, -1.8, -1.2, -0.6, -0.2, 0.0, 0.0, 0.4, 0.8, 1.5, 2.4, 2.5, 3.0]
MMSA_SAID = [-3.7, -1.5, -2.5, 0.3, -0.4, -0.6, -0.1, 0.0, 0.5, 1.4, 2.5, 1.2, 3.4, -0.8]
MMSA = {
    "acc2_has0": 78.57, "f1_has0": 78.68, "acc2_non0": 83.33, "f1_non0": 83.33, "acc5": 64.29, "acc7": 50.0,
    "mae": 0.8786, "pearson": 0.7486,
}  # fmt: skip


def test_scores_of_sentiment_are_those_of_mmsa() -> None:
    scores = sentiment_scores(MMSA_SAID, MMSA_TRUTH)
    assert scores.keys() == MMSA.keys()
    for name, value in MMSA.items():
        assert scores[name] == pytest.approx(value, abs=0.00005 if name in ("mae", "pearson") else 0.005)


def test_weighted_f1_is_weighted_by_the_true_classes() -> None:
    """MMSA's; MulT's script gives scikit-learn the predictions as the truth."""
    truth, said = [1.0, 1.0, 1.0, 1.0, -1.0, -2.0], [1.0, -1.0, -1.0, 2.0, -1.0, -1.0]
    positive, negative = 2 * 2 / (4 + 2), 2 * 2 / (2 + 4)
    assert sentiment_scores(said, truth)["f1_has0"] == pytest.approx(100 * (4 * positive + 2 * negative) / 6)
    said[0] = -0.5
    positive, negative = 2 * 1 / (4 + 1), 2 * 2 / (2 + 5)
    assert sentiment_scores(said, truth)["f1_has0"] == pytest.approx(100 * (4 * positive + 2 * negative) / 6)


def test_scores_of_sentiment_agree_with_the_libraries_on_random_items() -> None:
    generator = np.random.default_rng(0)
    truth = np.round(generator.uniform(-3, 3, 200) * 2) / 2  # many zeros
    said = truth + generator.normal(size=200)
    scores = sentiment_scores(said.tolist(), truth.tolist())
    assert scores["f1_has0"] == pytest.approx(100 * f1_score(truth >= 0, said >= 0, average="weighted"))
    kept = truth != 0
    assert scores["f1_non0"] == pytest.approx(100 * f1_score(truth[kept] > 0, said[kept] > 0, average="weighted"))
    slope = np.polyfit(said, truth, 1)[0]
    assert scores["pearson"] == pytest.approx(slope * said.std() / truth.std())


def test_what_is_not_defined_is_none() -> None:
    assert sentiment_scores([1.0], [2.0])["pearson"] is None
    assert sentiment_scores([1.0, 1.0], [0.0, 2.0])["pearson"] is None
    zeros = sentiment_scores([0.5, -1.0], [0.0, 0.0])
    assert zeros["acc2_non0"] is None
    assert zeros["f1_non0"] is None
    assert zeros["acc2_has0"] == 50


@pytest.mark.parametrize("scores", [label_scores, sentiment_scores])
def test_unequal_numbers_and_none_are_refused(scores: object) -> None:
    for said, truth in (([1.0], [1.0, 2.0]), ([], [])):
        with pytest.raises(MMTError, match="expected as many predictions"):
            scores(said, truth)  # type: ignore[operator]


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(MMTError, match=r"predicted one of item 2, found nan"):
        sentiment_scores([1.0, float("nan")], [1.0, 2.0])


def test_the_plot_of_confusion_is_a_picture(tmp_path: Path) -> None:
    draw_confusion(label_scores(SAID, TRUTH), tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 200
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
