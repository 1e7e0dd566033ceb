"""Laws of what the outputs prove, with outputs written by hand: scores by control, both verdicts, the examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmt.evidence.controls import Outputs
from mmt.evidence.findings import (
    FEWEST_CHRF,
    SMALLEST_GAIN,
    Awareness,
    Comparison,
    ControlRow,
    Effects,
    GalleryItem,
)
from mmt.evidence.gallery import gallery
from mmt.evidence.measures import awareness, compare, control_rows, verdict
from mmt.evidence.models import ModelSystem
from mmt.evidence.sentences import Sentences
from mmt.inference.controls import Control
from mmt.metrics.p_values import signed_rank
from tests.worlds import NOUNS

LOG_P = "log-probability per token"


def some_sentences(num: int) -> Sentences:
    ids, nouns = [str(number) for number in range(num)], [*NOUNS.values()] * num
    references = [f"Er sieht {noun} Nummer {number}." for noun, number in zip(nouns, ids, strict=False)]
    return Sentences(ids, ["He sees it."] * num, references, ids, nouns[:num])


def by_hand(
    says: dict[Control, list[list[str]]],
    log_p: dict[Control, list[list[float]]] | None = None,
    tokenizer: Path = Path(__file__),
    features: str | None = "some",
) -> Outputs:
    """A model with images of which no more is known than what it says, and how probable it finds it."""
    translator: Any = SimpleNamespace(
        card=SimpleNamespace(features=features), tokenizer=SimpleNamespace(path=tokenizer)
    )
    alike: dict[Control, list[list[float]]] = {c: [[-1.0] * len(d) for d in draws] for c, draws in says.items()}
    return Outputs(ModelSystem(Path(), translator), says, log_p or alike, {})


def named(model: Outputs, against: Outputs | None = None) -> dict[str, Outputs]:
    return {"model": model} | ({"against": against} if against is not None else {})


def rows_of(sentences: Sentences, model: Outputs, against: Outputs | None = None) -> dict[str, ControlRow]:
    rows = control_rows(sentences, named(model, against), "de", "")[0]
    return {row.control if row.system == "model" else row.system: row for row in rows}


def test_words_are_tested_by_the_mean_over_draws() -> None:
    sentences = some_sentences(20)
    hits = np.random.default_rng(1).random((4, 20)) < np.array([[0.8], [0.3], [0.5], [0.2]])
    says = [
        [text if hit else "Er sieht nichts." for text, hit in zip(sentences.references, draw, strict=True)]
        for draw in hits
    ]
    wrong = rows_of(sentences, by_hand({"right": [says[0]], "wrong": says[1:]}))["wrong"]
    assert wrong.scores["right word"].mean == pytest.approx(100 * hits[1:].mean())
    expected = signed_rank((hits[0] - hits[1:].mean(0)).tolist())
    assert wrong.p_values["right word"] == pytest.approx(expected)
    assert expected not in [signed_rank((hits[0] - draw.astype(float)).tolist()) for draw in hits[1:]]


def test_whole_translations_are_tested_against_those_with_the_right_image() -> None:
    for num, tested in ((30, True), (29, False)):
        sentences = some_sentences(num)
        right, worse = sentences.references, ["Er sieht nichts."] * num
        rows = rows_of(sentences, by_hand({"right": [right], "wrong": [worse, right], "blank": [list(right)]}))
        for label in ("BLEU", "chrF2"):
            assert label not in rows["right"].p_values
            assert (label in rows["wrong"].p_values) == tested
            if tested:
                assert rows["wrong"].p_values[label] < 0.01
                assert rows["blank"].p_values[label] == 1


def test_what_float32_cannot_tell_apart_is_no_difference() -> None:
    sentences, right = some_sentences(20), [-1.0 - 0.1 * number for number in range(20)]
    for step, is_none in ((1e-6, True), (1e-3, False)):
        lower = [[value - step for value in right]]
        system = by_hand(
            {control: [sentences.references] for control in ("right", "wrong", "blank")},
            {"right": [right], "wrong": lower * 2, "blank": lower},
        )
        told, rows = awareness(system), rows_of(sentences, system)
        p_values = [told.p_value, told.p_value_blank, rows["wrong"].p_values[LOG_P], rows["blank"].p_values[LOG_P]]
        assert [p is None for p in p_values] == [is_none] * 4
        assert told.difference == told.difference_blank == (0 if is_none else pytest.approx(step))


def test_only_models_of_the_same_tokens_are_compared_by_their_probabilities(tmp_path: Path) -> None:
    for name, content in (("own", b"a"), ("copy", b"a"), ("other", b"b")):
        (tmp_path / name).write_bytes(content)
    sentences = some_sentences(4)
    own, copy, other = (
        by_hand({"right": [sentences.references]}, tokenizer=tmp_path / name) for name in ("own", "copy", "other")
    )
    for against, told in ((copy, True), (other, False)):
        row = rows_of(sentences, own, against)["against"]
        assert (LOG_P in row.scores, LOG_P in row.p_values) == (told, told)
        assert "BLEU" in row.scores


def seen(per_sentence: list[float], changed: float = 0.5) -> Awareness:
    return Awareness(
        float(np.mean(per_sentence)), 1.0, signed_rank(per_sentence), per_sentence, 0.0, None, changed, changed
    )


def test_the_verdict_goes_by_the_test() -> None:
    clear = [0.1 + 0.01 * number for number in range(20)]
    mixed = [(-1) ** number * value for number, value in enumerate(clear)]
    assert verdict(seen(clear)).answer == "yes"
    assert verdict(seen(mixed)).answer == "not shown"
    harm = verdict(seen([-value for value in clear]))
    assert (harm.answer, "wrong images do better" in harm.sentence) == ("yes, and it hurts", True)
    assert verdict(seen([0.0] * 20, changed=0.0)).answer == "no"
    assert verdict(seen([0.0] * 20, changed=0.1)).answer == "not shown"
    assert verdict(None).answer == "no"
    # A few great gains outweigh many small losses in the mean, but the test goes by ranks.
    few = [-0.010 - 0.001 * number for number in range(30)] + [3.0, 4.0]
    assert (np.mean(few) > 0, signed_rank(few) < 0.05) == (True, True)
    assert verdict(seen(few)).answer == "not shown"


@pytest.mark.parametrize(
    ("sign", "changed", "answer"),
    [
        (1, 0.1, "yes, and it hurts"),
        (0, 0.5, "yes, and it hurts"),
        (0, 0.4, "not shown"),
        (-1, 0.1, "yes, and it hurts"),
    ],
)
def test_a_system_that_does_better_without_its_images_is_hurt_by_them(
    sign: int, changed: float, answer: str
) -> None:
    """If it depends on them: by the test against wrong images, or as these change most translations."""
    clear = [0.1 + 0.01 * number for number in range(20)]
    to_wrong = [sign * value if sign else (-1) ** number * value for number, value in enumerate(clear)]
    to_blank = [-value for value in clear]
    aware = replace(
        seen(to_wrong, changed),
        per_sentence_blank=to_blank,
        difference_blank=float(np.mean(to_blank)),
        p_value_blank=signed_rank(to_blank),
    )
    assert verdict(aware).answer == answer
    if sign == 1:
        assert "no image at all does better" in verdict(aware).sentence
        helped = replace(aware, per_sentence_blank=clear, difference_blank=float(np.mean(clear)))
        assert verdict(helped).answer == "yes"


def compared(ours: list[str], theirs: list[str], features: str | None = None) -> Comparison:
    systems = [by_hand({"right": [says]}, features=given) for says, given in ((ours, "some"), (theirs, features))]
    return compare(some_sentences(len(ours)), *systems)


def test_the_comparison_goes_by_the_interval() -> None:
    sentences = some_sentences(200)
    right, slips = sentences.references, [f"{text[:-1]}!" for text in sentences.references]
    wrong = ["Wir gehen heim."] * 200

    def mixed(texts: list[str], odd: int, num: int) -> list[str]:
        return [texts[row] if row % 2 == odd else right[row] for row in range(num)]

    better, worse = compared(right, wrong), compared(wrong, right)
    assert (better.answer, worse.answer) == ("yes", "worse")
    assert better.difference == -(worse.difference or 0)
    assert better.interval is not None
    assert 0 < better.interval[0] < (better.difference or 0) < better.interval[1]
    assert better.p_value == worse.p_value
    assert compared(right, right).answer == "no"
    alike = compared(mixed(slips, 0, 200), mixed(slips, 1, 200))
    assert alike.interval is not None
    assert (alike.answer, alike.interval[0] < 0 < alike.interval[1] < SMALLEST_GAIN) == ("no", True)
    few = compared(mixed(wrong, 0, 40), mixed(wrong, 1, 40))
    assert few.interval is not None
    assert (few.answer, few.interval[1] > SMALLEST_GAIN) == ("not shown", True)
    assert compared(right[:30], wrong[:30]).answer == "yes"
    assert compared(right[:29], wrong[:29]).answer == "not shown"


def test_the_comparison_says_what_was_compared_with_what() -> None:
    sentences = some_sentences(40)
    right, wrong = sentences.references, ["Er sieht nichts."] * 40
    assert compared(right, wrong).question == "Better than text-only?"
    assert compared(right, wrong, features="some").question == "Better than the other model?"
    missing = compare(sentences, by_hand({"right": [right]}), None)
    assert (missing.question, missing.answer) == ("Better than text-only?", "not compared")
    assert "--against" in missing.sentence
    model, against = by_hand({"right": [right]}), by_hand({"right": [wrong]}, features=None)
    rows = control_rows(sentences, named(model, against), "de", "")[0]
    said = compare(sentences, model, against, rows).sentence
    assert "The right word: 100 % against 0 % (p < 0.001)" in said
    assert "times as likely as with the text-only model" in said


@pytest.mark.parametrize("ours", [None, "some"])
@pytest.mark.parametrize("theirs", [None, "some"])
def test_the_comparison_is_of_each_model_as_it_is_used(ours: str | None, theirs: str | None) -> None:
    """With its right images or, text-only, with none: never of one model's controls with each other."""
    sentences = some_sentences(40)
    right, wrong = sentences.references, ["Er sieht nichts."] * 40

    def system(features: str | None, says: list[str], log_p: float) -> Outputs:
        draws: dict[Control, list[list[str]]] = {"right": [says]}
        probable: dict[Control, list[list[float]]] = {"right": [[log_p] * 40]}
        if features is not None:
            draws |= {"wrong": [wrong], "blank": [wrong]}
            probable |= {"wrong": [[-3.0] * 40], "blank": [[-3.0] * 40]}
        return by_hand(draws, probable, features=features)

    model, against = system(ours, wrong, -2.0), system(theirs, right, -1.0)
    comparison = compare(sentences, model, against, control_rows(sentences, named(model, against), "de", "")[0])
    assert comparison.answer == "worse"
    assert "The right word: 0 % against 100 % (p < 0.001)" in comparison.sentence
    assert "on average 0.37 times as likely" in comparison.sentence


def examples(says: dict[Control, list[str]], against: list[str], size: int) -> tuple[Effects, list[GalleryItem]]:
    sentences = some_sentences(len(against))
    draws: dict[Control, list[list[str]]] = {control: [texts] for control, texts in says.items()}
    model, other = by_hand(draws, features=None), by_hand({"right": [against]}, features=None)
    aware = seen([0.1] * len(against))
    translator: Any = SimpleNamespace(card=SimpleNamespace(features=None))
    return gallery(translator, sentences, model, other, aware, sentences.images[::-1], {}, [], size)


def test_examples_are_where_the_image_helped_and_where_it_hurt() -> None:
    right = some_sentences(12).references
    bad = [f"Er sieht nichts {row}." for row in range(12)]
    says: dict[Control, list[str]] = {
        "right": [*right[:6], *bad[6:10], "Er", "Q"],
        "wrong": bad,
        "blank": [*bad[:6], *right[6:10], "Q", "Q"],
    }
    against = [*bad[:5], *right[5:10], "Q", "Q"]
    effects, items = examples(says, against, 12)
    # Number 5 is right without the image, too, by the text-only model; 10 is better, but no translation at all.
    assert effects == Effects(helped=6, hurt=4, unchanged=2, left_out=1)
    assert {item.id for item in items if item.gain > 0} == {str(row) for row in range(5)}
    assert {item.id for item in items if item.gain < 0} == {str(row) for row in range(6, 10)}
    for size, helped, hurt in ((0, 0, 0), (1, 1, 0), (4, 2, 2), (7, 4, 3), (9, 5, 4)):
        chosen = examples(says, against, size)[1]
        assert ([item.gain > 0 for item in chosen]) == [True] * helped + [False] * hurt
    assert all(max(item.chrf.values()) >= FEWEST_CHRF for item in items)
