"""What the outputs under controls prove: scores by control, image awareness, and both verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import sacrebleu
import scipy  # which loads scipy.stats when it is first used

from mmt.evidence.controls import Outputs
from mmt.evidence.findings import (
    CHANGED,
    CHRF,
    LOG_P,
    MOSTLY,
    NO_REFERENCES,
    NOT_COMPARED,
    SMALLEST_GAIN,
    TEXT_ONLY,
    Awareness,
    Comparison,
    ComparisonAnswer,
    ControlRow,
    Verdict,
)
from mmt.evidence.sentences import Sentences
from mmt.evidence.systems import tokens_of
from mmt.inference.controls import Control
from mmt.io.terminal import counted
from mmt.metrics.accuracy import word_hits
from mmt.metrics.agreement import human_agreement
from mmt.metrics.masked_words import can_be_scored, gold_items, probe_accuracy
from mmt.metrics.p_values import signed_rank
from mmt.metrics.significance import FEWEST_SENTENCES, Spread, p_text, paired_bootstrap
from mmt.metrics.translation import corpus_scores, normalized

_ROUNDING = 1e-5  # nats a token: float32 log-probabilities of the same thing differ by as much
_SIGNIFICANT = 0.05
_TEST = "Wilcoxon's signed-rank test over sentences, two-sided, by scipy"
LABELS = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}
"""Scores of all systems, by the keys of ``mmt.metrics.translation.METRICS``."""
_JUDGED = LABELS | {"comet": "COMET wmt22-comet-da"}  # by whose differences people's agreement is known


def awareness(outputs: Outputs, chrf: Mapping[Control, list[list[float]]] | None = None) -> Awareness:
    """Elliott's image awareness, of a system that uses images.

    Args:
        chrf: sentence chrF2 of the translations, for a system without ``outputs.log_probs``.
    """
    scores = outputs.log_probs or chrf or {}
    right = np.array(scores["right"][0])
    to_wrong = _rounded(right - np.mean(scores["wrong"], axis=0))
    to_blank = _rounded(right - np.array(scores["blank"][0]))
    changed = changed_shares(outputs)
    return Awareness(
        float(to_wrong.mean()),
        float(to_wrong.std(ddof=1)),
        signed_rank(to_wrong.tolist()),
        to_wrong.tolist(),
        float(to_blank.mean()),
        signed_rank(to_blank.tolist()),
        fmean(changed["wrong"]),
        fmean(changed["blank"]),
        to_blank.tolist(),
        LOG_P if outputs.log_probs else CHRF,
    )


def changed_shares(outputs: Outputs) -> dict[Control, list[float]]:
    """Of each draw the share of the translations that differ from those with the right image."""
    (right,) = outputs.hypotheses["right"]
    return {
        control: [fmean(a != b for a, b in zip(right, draw, strict=True)) for draw in draws]
        for control, draws in outputs.hypotheses.items()
        if control != "right"
    }


def verdict(aware: Awareness | None) -> Verdict:
    """The answer, decided by tests that were fixed beforehand: Wilcoxon's, on the awareness of each sentence.

    Args:
        aware: None for a text-only system.
    """
    if aware is None:
        return TEXT_ONLY
    num = len(aware.per_sentence)
    if not any(aware.per_sentence) and not aware.changed:
        unmoved = "no translation" + (" and no probability" if aware.figure == LOG_P else "")
        over = f"No: over {counted(num, 'sentence')}, another sentence's image changes {unmoved}"
        return Verdict("no", f"{over} (right minus wrong = 0).")
    numbers = (
        f"{_in_words(aware.difference, aware.figure, 'a wrong one')} ({p_text(aware.p_value, equal=True)}, "
        f"{num:,} sentences); a wrong image changes {100 * aware.changed:.0f} % of the translations."
    )
    to_wrong = _direction(aware.per_sentence, aware.difference, aware.p_value)
    to_blank = _direction(aware.per_sentence_blank, aware.difference_blank, aware.p_value_blank)
    hurts = "Yes, and it hurts"
    if to_wrong < 0:
        return Verdict("yes, and it hurts", f"{hurts}: wrong images do better than the right one. {numbers}")
    if to_blank < 0 and (to_wrong > 0 or aware.changed >= MOSTLY):
        beside = f"{_in_words(aware.difference_blank, aware.figure, 'none')} ({p_text(aware.p_value_blank)})."
        return Verdict("yes, and it hurts", f"{hurts}: no image at all does better. {beside} {numbers}")
    if to_wrong > 0:
        return Verdict("yes", f"Yes: the model uses the image. {numbers}")
    return Verdict("not shown", f"Not shown: this data does not show that the image helps. {numbers}")


def what_changes(outputs: Outputs) -> Verdict:
    """What the image changes in the translations, where no references say whether that is for the better.

    Args:
        outputs: of a system that uses images, with normalised translations.
    """
    shares = changed_shares(outputs)
    num, draws = len(outputs.hypotheses["right"][0]), len(shares["wrong"])
    wrong, blank = (Spread.of([100 * share for share in shares[control]]) for control in ("wrong", "blank"))
    said = (
        f"Of {counted(num, 'translation')}, another sentence's image changes {wrong.text()} %"
        f"{f' ({draws} draws)' if draws > 1 else ''}, and no image {blank.text()} %."
    )
    return Verdict("not judged", f"Not judged: {NO_REFERENCES}. {said}")


def _direction(differences: Sequence[float], mean: float, p_value: float | None) -> int:
    """1 or -1 where the differences are certainly above or below 0, by their ranks and their mean; else 0."""
    if p_value is None or p_value >= _SIGNIFICANT:
        return 0
    above = (signed_rank(differences, "greater") or 0.0) < 0.5  # by the ranks that the test goes by
    return 1 if above and mean > 0 else -1 if not above and mean < 0 else 0


def _in_words(difference: float, figure: str, other: str) -> str:
    if figure == LOG_P:
        times = _times(difference)
        return f"Each reference token is on average {times} times as likely with the right image as with {other}"
    return f"With the right image mean sentence chrF2 is {_points(difference)} compared with {other}"


def compare(
    sentences: Sentences,
    model: Outputs,
    against: Outputs | None,
    rows: Sequence[ControlRow] = (),
    names: tuple[str, str] = ("model", "against"),
) -> Comparison:
    """Is the model better than the other one? The rule, fixed in advance, is in ``Comparison``.

    Args:
        rows: of ``control_rows``; their word scores and reference probabilities are added to the sentence.
        names: of the two systems in ``rows``.
    """
    if against is None:
        return NOT_COMPARED
    other = "the other model" if against.uses_images else "the text-only model"
    question = "Better than the other model?" if against.uses_images else "Better than text-only?"
    hypotheses = model.hypotheses["right"][0], against.hypotheses["right"][0]
    num = len(sentences.ids)
    if hypotheses[0] == hypotheses[1]:
        return Comparison(question, "no", f"No: all {num:,} translations are the same as those of {other}.")
    ours, theirs = (np.array(sentence_chrf(texts, sentences.references)) for texts in hypotheses)
    means = float(ours.mean()), float(theirs.mean())
    gain = means[0] - means[1]
    scores = (
        f"Mean sentence chrF2 {means[0]:.1f}, {other} {means[1]:.1f} ({num:,} sentences; "
        f"difference {_points(gain)}"
    )
    beside = _beside(rows, names, other)
    if num < FEWEST_SENTENCES:
        few = f"too few sentences for a test; {FEWEST_SENTENCES} are needed"
        return Comparison(question, "not shown", f"Not shown: {few}. {scores}).{beside}", means, gain)
    test = scipy.stats.ttest_1samp(ours - theirs, 0)
    low, high = (float(end) for end in test.confidence_interval(0.95))
    p_value = float(test.pvalue)
    scores += f", 95 % interval {_points(low)} to {_points(high)}, {p_text(p_value)}).{beside}"
    answer, reason = _answer(low, high)
    return Comparison(question, answer, f"{reason} {scores}", means, gain, (low, high), p_value)


def _answer(low: float, high: float) -> tuple[ComparisonAnswer, str]:
    """The verdict by the interval of the difference, in chrF2 points."""
    if low > 0:
        return "yes", "Yes: its translations are closer to the references."
    if high < 0:
        return "worse", "Worse: its translations are farther from the references."
    if high < SMALLEST_GAIN:
        return "no", f"No: if it is better at all, then by less than {SMALLEST_GAIN:g} point."
    return "not shown", "Not shown: the difference may be chance."


def _beside(rows: Sequence[ControlRow], names: tuple[str, str], other: str) -> str:
    """What else tells the two systems apart: the words that the data marks, and how likely the references are."""
    as_used = {row.system: row for row in rows if row.control in ("right", "text")}
    if not {*names} <= as_used.keys():
        return ""
    ours, theirs = (as_used[name] for name in names)
    text = ""
    for name, score in theirs.scores.items():
        if name not in ours.scores or not (name == "right word" or name.endswith("restricted")):
            continue
        what = "The right word" if name == "right word" else f"Masked words ({name})"
        text += f" {what}: {ours.scores[name].mean:.0f} % against {score.mean:.0f} %{_p_of(theirs, name)}."
    if LOG_P in theirs.scores:
        ratio = _times(ours.scores[LOG_P].mean - theirs.scores[LOG_P].mean)
        text += (
            f" Each reference token is on average {ratio} times as likely as with {other}{_p_of(theirs, LOG_P)}."
        )
    return text


def _p_of(row: ControlRow, name: str) -> str:
    return f" ({p_text(value)})" if (value := row.p_values.get(name)) is not None else ""


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """sacreBLEU's chrF2 of each sentence, 0 to 100; both sides are normalised first."""
    pairs = list(zip(normalized(hypotheses), normalized(references), strict=True))
    known = {pair: sacrebleu.sentence_chrf(pair[0], [pair[1]]).score for pair in dict.fromkeys(pairs)}
    return [known[pair] for pair in pairs]


def control_rows(
    sentences: Sentences, outputs: Mapping[str, Outputs], target_lang: str, probe: str
) -> tuple[list[ControlRow], dict[str, str]]:
    """Scores of every system under every control, with their difference from the first with the right image.

    Args:
        outputs: by name, the system under test first.
        probe: the kind of word that the dataset masks, "" for none.
    Returns:
        The rows, and how each score was computed.
    """
    first = next(iter(outputs.values()))
    baseline = first.hypotheses["right"]
    signatures: dict[str, str] = {}
    rows = []
    for name, system in outputs.items():
        for control, draws in system.hypotheses.items():
            row = ControlRow(name, control if system.uses_images else "text", {})
            if sentences.has_references:
                _add_corpus_scores(row, draws, sentences, target_lang, signatures)
                _add_word_scores(row, draws, baseline, sentences, target_lang, probe, signatures)
            if control != "right":
                row.scores[CHANGED] = Spread.of([100 * share for share in changed_shares(system)[control]])
            if system.log_probs and _same_tokens(system, first):  # of other tokens the mean means something else
                _add_log_probs(row, system.log_probs[control], first.log_probs["right"])
            rows.append(row)
    if len(rows) > 1 and len(sentences.ids) >= FEWEST_SENTENCES and sentences.has_references:
        others = [draws[0] for system in outputs.values() for draws in system.hypotheses.values()][1:]
        _add_bootstrap(rows[1:], baseline[0], others, sentences, target_lang)
        for label in set(LABELS.values()) & set(signatures):
            signatures[label] += "; p: paired bootstrap, one-sided, of the first draw"
    if any(CHANGED in row.scores for row in rows):
        signatures[CHANGED] = "percent of the translations that differ from the system's own with the right image"
    if first.log_probs:
        signatures[LOG_P] = f"natural logarithm, mean over sentences; {_TEST}"
    return rows, signatures


def _add_corpus_scores(
    row: ControlRow,
    draws: list[list[str]],
    sentences: Sentences,
    target_lang: str,
    signatures: dict[str, str],
) -> None:
    """BLEU, chrF2 and TER, those that mean something in the language."""
    references = sentences.references
    scores = [corpus_scores(draw, references, target_lang=target_lang, only=LABELS) for draw in draws]
    for key, score in scores[0].items():
        row.scores[LABELS[key]] = Spread.of([draw[key].value for draw in scores])
        signatures[LABELS[key]] = score.signature


def _add_bootstrap(
    rows: Sequence[ControlRow],
    baseline: list[str],
    others: Sequence[list[str]],
    sentences: Sentences,
    target_lang: str,
) -> None:
    """p of BLEU, chrF2 and TER by the paired bootstrap, of each row's first draw; in one go, as it is slow."""
    compared = paired_bootstrap(baseline, others, sentences.references, target_lang=target_lang, only=LABELS)
    for row, differences in zip(rows, compared, strict=True):
        row.p_values.update({LABELS[key]: difference.p_value for key, difference in differences.items()})


def add_agreement(rows: Sequence[ControlRow]) -> None:
    """How often people agree with each row's difference from the first one.

    Raises:
        MMTError: the package mt-thresholds is missing.
    """
    for row in rows[1:]:
        for key, label in _JUDGED.items():
            if label in row.scores and label in rows[0].scores:
                share = human_agreement(key, row.scores[label].mean - rows[0].scores[label].mean)
                if share is not None:
                    row.agreement[label] = share


def _add_word_scores(
    row: ControlRow,
    draws: list[list[str]],
    baseline: list[list[str]],
    sentences: Sentences,
    target_lang: str,
    probe: str,
    signatures: dict[str, str],
) -> None:
    """Shares of the words that the dataset marks, in percent."""
    for label, (items, hits) in _word_hits(sentences, [*draws, *baseline], target_lang, probe).items():
        row.scores[label] = Spread.of([100 * sum(draw) / sum(items) for draw in hits[: len(draws)]])
        if draws is not baseline:
            row.p_values[label] = signed_rank((np.array(hits[-1]) - np.mean(hits[:-1], axis=0)).tolist())
        signatures[label] = f"share of {sum(items):,} words, in percent; {_TEST}"


def _add_log_probs(row: ControlRow, draws: list[list[float]], baseline: list[list[float]]) -> None:
    row.scores[LOG_P] = Spread.of([fmean(draw) for draw in draws])
    if draws is not baseline:
        difference = np.array(baseline[0]) - np.mean(draws, axis=0)
        row.p_values[LOG_P] = signed_rank(_rounded(difference).tolist())


def _word_hits(
    sentences: Sentences, hypotheses: list[list[str]], target_lang: str, probe: str
) -> dict[str, tuple[list[int], list[list[int]]]]:
    """By score, how many words are looked for in each sentence, and how many each list of translations has."""
    hits: dict[str, tuple[list[int], list[list[int]]]] = {}
    if sentences.answers is not None:
        rows = [row for row, answer in enumerate(sentences.answers) if answer]
        answers = [sentences.answers[row] for row in rows]
        drawn = [[int(hit) for hit in word_hits([draw[row] for row in rows], answers)] for draw in hypotheses]
        hits["right word"] = ([1] * len(rows), drawn)
    if sentences.masked is not None and can_be_scored(probe, target_lang) and _has_gold(sentences, target_lang):
        scores = [
            probe_accuracy(sentences.masked, sentences.references, draw, probe, target_lang) for draw in hypotheses
        ]
        items = [hit.items for hit in scores[0].hits]
        hits[f"{probe}, restricted"] = (items, [[hit.restricted for hit in score.hits] for score in scores])
        hits[f"{probe}, relaxed"] = (items, [[hit.relaxed for hit in score.hits] for score in scores])
    return hits


def _has_gold(sentences: Sentences, target_lang: str) -> bool:
    pairs = zip(sentences.masked or [], sentences.references, strict=True)
    return any(form for words, reference in pairs for form in gold_items(words, reference, target_lang))


def _same_tokens(one: Outputs, other: Outputs) -> bool:
    """Whether two systems cut text into the same tokens, as far as that is known."""
    if one is other:
        return True
    tokens = tokens_of(one.system)
    return tokens is not None and tokens == tokens_of(other.system)


def _rounded(differences: Any) -> Any:
    """What float32 cannot tell from 0 is 0."""
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


def _times(nats: float) -> str:
    """A difference of log-probabilities as a factor: two decimals, and more only where these say nothing."""
    factor = float(np.exp(nats))
    return f"{factor:.2f}" if abs(factor - 1) >= 0.01 else f"{factor:.4f}"
