"""Systems under controls: what they say and how probable they find the references, and what that proves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from mmt.data.image_names import Names
from mmt.errors import MMTError
from mmt.evidence.findings import SMALLEST_GAIN, Awareness, Comparison, ControlRow, Verdict
from mmt.inference.controls import Control, wrong_images
from mmt.inference.torch_runtime import Translator
from mmt.io.terminal import counted
from mmt.metrics.accuracy import word_hits
from mmt.metrics.masked_words import can_be_scored, gold_items, probe_accuracy
from mmt.metrics.significance import FEWEST_SENTENCES, Spread, p_text, paired_bootstrap, signed_rank
from mmt.metrics.translation import corpus_scores, normalized

_ROUNDING = 1e-5  # nats a token: float32 log-probabilities of the same thing differ by as much
_SIGNIFICANT = 0.05
_TEST = "Wilcoxon's signed-rank test over sentences, two-sided, by scipy"
_LOG_P = "log-probability per token"
_NAMES = {"bleu": "BLEU", "chrf": "chrF2"}


@dataclass(frozen=True)
class Sentences:
    """The sentences of a split that have an image; what a dataset lacks (answers, masks) is None."""

    ids: list[str]
    sources: list[str]
    references: list[str]
    images: list[str]
    answers: list[str] | None
    masked: list[list[str]] | None
    unmasked: list[str] | None
    without_image: int
    missing: list[str]
    """Missing images that the dataset names; their sentences are left out."""


def read_sentences(data: Path, split: str, known: Callable[[str], bool]) -> Sentences:
    """Reads the sentences that have an image.

    Args:
        known: whether the image of this name can be had.
    Raises:
        MMTError: fewer than two sentences have one.
    """
    from mmt.data.dataset import read_split

    rows = read_split(data, split)
    kept, missing, without = [], [], 0
    for row in rows:
        if not row["has_image"]:
            without += 1
        elif known(row["image"]):
            kept.append(row)
        else:
            missing.append(row["image"])
    if len(kept) < 2:
        lost = f", and {counted(len(missing), 'image')} missing: {Names(()).listed(missing)}" if missing else ""
        raise MMTError(
            f"{data}: split '{split}' has {counted(len(kept), 'sentence')} with an image{lost}; evidence needs "
            "two or more. Name another split, or the images with --images."
        )

    def column(name: str) -> list[Any] | None:
        return [row[name] for row in kept] if name in rows.column_names else None

    answers = column("answer")
    return Sentences(
        [row["id"] for row in kept],
        [row["source"] for row in kept],
        [row["target"] for row in kept],
        [row["image"] for row in kept],
        answers if answers and any(answers) else None,
        column("masked"),
        column("unmasked"),
        without,
        missing,
    )


@dataclass(frozen=True)
class System:
    """One model on the sentences: what it says, and how probable it finds the references, by control.

    ``wrong`` has one list a draw of wrong images. A text-only model has ``right`` alone: what it says of the text.
    ``log_p`` is a token's mean log-probability of each reference.
    """

    translator: Translator
    says: dict[Control, list[list[str]]]
    log_p: dict[Control, list[list[float]]]

    @property
    def uses_images(self) -> bool:
        return self.translator.card.features is not None


def named_systems(model: System, against: System | None) -> list[tuple[str, System]]:
    return [("model", model)] + ([("against", against)] if against is not None else [])


def run_system(translator: Translator, sentences: Sentences, draws: int, seed: int) -> System:
    """Translates and scores the sentences with the right images, ``draws`` draws of wrong ones, and none."""
    from mmt.inference.scoring import score_pairs

    images = sentences.images
    shown: dict[Control, list[Sequence[Any] | None]] = {"right": [None]}
    if translator.card.features is not None:
        wrong = [wrong_images(images, seed + draw) for draw in range(draws)]
        shown = {"right": [images], "wrong": list(wrong), "blank": [None]}
    system = System(translator, {}, {})
    for control, draw_images in shown.items():
        system.says[control], system.log_p[control] = [], []
        for number, given in enumerate(draw_images, 1):
            draw = f", draw {number}" if len(draw_images) > 1 else ""
            name = f"{control} image{draw}" if translator.card.features is not None else "text only"
            with progress(f"translating, {name}", len(images)) as advance:
                found = translator.hypotheses(sentences.sources, given, progress=advance)
            system.says[control].append(normalized([best[0].text for best in found]))
            with progress(f"scoring, {name}", len(images)) as advance:
                pairs = score_pairs(translator, sentences.sources, sentences.references, given, progress=advance)
            system.log_p[control].append([pair.mean_log_prob for pair in pairs])
    return system


def awareness(system: System) -> Awareness:
    """Elliott's image awareness with a token's log-probability of the reference as the sentence's score."""
    right = np.array(system.log_p["right"][0])
    to_wrong = _rounded(right - np.mean(system.log_p["wrong"], axis=0))
    to_blank = _rounded(right - np.array(system.log_p["blank"][0]))
    says = system.says
    other = [[a != b for a, b in zip(says["right"][0], draw, strict=True)] for draw in says["wrong"]]
    return Awareness(
        float(to_wrong.mean()),
        float(to_wrong.std(ddof=1)),
        signed_rank(to_wrong.tolist()),
        to_wrong.tolist(),
        float(to_blank.mean()),
        signed_rank(to_blank.tolist()),
        float(np.mean(other)),
        fmean(a != b for a, b in zip(says["right"][0], says["blank"][0], strict=True)),
    )


def verdict(found: Awareness | None) -> Verdict:
    """The answer, decided by one test that was fixed beforehand: Wilcoxon's, on the awareness of each sentence."""
    if found is None:
        return Verdict("no", "No: this is a text-only model; it reads no image.")
    num = len(found.per_sentence)
    if not any(found.per_sentence) and not found.changed:
        return Verdict(
            "no",
            f"No: over {counted(num, 'sentence')}, another sentence's image changes no translation and no "
            "probability (right minus wrong = 0).",
        )
    numbers = (
        f"Each reference token is on average {_times(found.difference)} times as likely with the right image as "
        f"with a wrong one ({p_text(found.p_value)}, {num:,} sentences); a wrong image changes "
        f"{100 * found.changed:.0f} % of the translations."
    )
    if found.p_value is not None and found.p_value < _SIGNIFICANT:
        helps = (signed_rank(found.per_sentence, "greater") or 0.0) < 0.5  # by the ranks that the test goes by
        if helps and found.difference > 0:
            return Verdict("yes", f"Yes: the model uses the image. {numbers}")
        if not helps and found.difference < 0:
            return Verdict("not shown", f"Not shown: the right image does harm, if anything. {numbers}")
    return Verdict("not shown", f"Not shown: this data does not show that the image helps. {numbers}")


def compare(
    sentences: Sentences, model: System, against: System | None, rows: Sequence[ControlRow] = ()
) -> Comparison:
    """Is the model better than the other one? The rule, fixed in advance, is in ``Comparison``.

    Args:
        rows: of ``control_rows``; their word scores and reference probabilities are added to the sentence.
    """
    from scipy.stats import ttest_1samp

    if against is None:
        return Comparison(
            "Better than text-only?",
            "not compared",
            "Not compared: train a text-only model on the same data (model.fusion=none) and name its folder with "
            "--against.",
        )
    other = "the other model" if against.uses_images else "the text-only model"
    question = "Better than the other model?" if against.uses_images else "Better than text-only?"
    says = model.says["right"][0], against.says["right"][0]
    num = len(sentences.ids)
    if says[0] == says[1]:
        said = f"No: all {num:,} translations are the same as those of {other}."
        return Comparison(question, "no", said)
    ours, theirs = (np.array(sentence_chrf(texts, sentences.references)) for texts in says)
    means = float(ours.mean()), float(theirs.mean())
    gain = means[0] - means[1]
    scores = (
        f"Mean sentence chrF2 {means[0]:.1f}, {other} {means[1]:.1f} ({num:,} sentences; "
        f"difference {_points(gain)}"
    )
    beside = _beside(rows, other)
    if num < FEWEST_SENTENCES:
        few = f"too few sentences for a test; {FEWEST_SENTENCES} are needed"
        return Comparison(question, "not shown", f"Not shown: {few}. {scores}).{beside}", means, gain)
    test = ttest_1samp(ours - theirs, 0)
    low, high = (float(end) for end in test.confidence_interval(0.95))
    scores += f", 95 % interval {_points(low)} to {_points(high)}, {p_text(float(test.pvalue))}).{beside}"
    if low > 0:
        answer, said = "yes", "Yes: its translations are closer to the references."
    elif high < 0:
        answer, said = "worse", "Worse: its translations are farther from the references."
    elif high < SMALLEST_GAIN:
        answer, said = "no", f"No: if it is better at all, then by less than {SMALLEST_GAIN:g} point."
    else:
        answer, said = "not shown", "Not shown: the difference may be chance."
    return Comparison(question, answer, f"{said} {scores}", means, gain, (low, high), float(test.pvalue))  # type: ignore[arg-type]


def _beside(rows: Sequence[ControlRow], other: str) -> str:
    """What else tells the two systems apart: the words that the data marks, and how likely the references are."""
    as_used = {row.system: row for row in rows if row.control in ("right", "text")}
    if not as_used:
        return ""
    ours, theirs = as_used["model"], as_used["against"]
    said = ""
    for name, score in theirs.scores.items():
        if name in (*_NAMES.values(), _LOG_P) or name.endswith("relaxed") or name not in ours.scores:
            continue
        what = "The right word" if name == "right word" else f"Masked words ({name})"
        said += f" {what}: {ours.scores[name].mean:.0f} % against {score.mean:.0f} %{_p_of(theirs, name)}."
    if _LOG_P in theirs.scores:
        ratio = _times(ours.scores[_LOG_P].mean - theirs.scores[_LOG_P].mean)
        said += (
            f" Each reference token is on average {ratio} times as likely as with {other}{_p_of(theirs, _LOG_P)}."
        )
    return said


def _p_of(row: ControlRow, name: str) -> str:
    return f" ({p_text(value)})" if (value := row.p_values.get(name)) is not None else ""


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """sacreBLEU's chrF2 of each sentence, 0 to 100; both sides are normalised first."""
    import sacrebleu

    pairs = zip(normalized(hypotheses), normalized(references), strict=True)
    return [sacrebleu.sentence_chrf(hypothesis, [reference]).score for hypothesis, reference in pairs]


def control_rows(
    sentences: Sentences, model: System, against: System | None, target_lang: str, probe: str
) -> tuple[list[ControlRow], dict[str, str]]:
    """Scores of every system under every control, with their difference from the model with the right image.

    Args:
        probe: the kind of word that the dataset masks, "" for none.
    Returns:
        The rows, and how each score was computed.
    """
    signatures: dict[str, str] = {}
    tests: dict[str, str] = {}

    def row(name: str, control: str, says: list[list[str]], log_p: list[list[float]] | None) -> ControlRow:
        scores: dict[str, Spread] = {}
        p_values: dict[str, float | None] = {}
        drawn = [corpus_scores(draw, sentences.references, target_lang=target_lang, only=_NAMES) for draw in says]
        names = {key: label for key, label in _NAMES.items() if key in drawn[0]}
        for key, label in names.items():
            scores[label] = Spread.of([draw[key].value for draw in drawn])
            signatures[label] = drawn[0][key].signature
        baseline = model.says["right"]
        if says is not baseline and len(sentences.ids) >= FEWEST_SENTENCES:
            (compared,) = paired_bootstrap(
                baseline[0], [says[0]], sentences.references, target_lang=target_lang, only=_NAMES
            )
            p_values |= {label: compared[key].p_value for key, label in names.items()}
            for label in names.values():
                tests[label] = "; p: paired bootstrap, one-sided, of the first draw"
        for label, (items, hits) in _word_hits(sentences, [*says, *baseline], target_lang, probe).items():
            scores[label] = Spread.of([100 * sum(draw) / sum(items) for draw in hits[: len(says)]])
            if says is not baseline:
                p_values[label] = signed_rank((np.array(hits[-1]) - np.mean(hits[:-1], axis=0)).tolist())
            signatures[label] = f"share of {sum(items):,} words, in percent; {_TEST}"
        if log_p is None:
            return ControlRow(name, control, scores, p_values)
        scores[_LOG_P] = Spread.of([fmean(draw) for draw in log_p])
        if says is not baseline:
            p_values[_LOG_P] = signed_rank(_rounded(model.log_p["right"][0] - np.mean(log_p, axis=0)).tolist())
        return ControlRow(name, control, scores, p_values)

    rows = []
    for name, system in named_systems(model, against):
        for control in system.says:
            shown = control if system.uses_images else "text"
            # Where the tokens are others, so is the mean of one.
            log_p = system.log_p[control] if _same_tokens(system, model) else None
            rows.append(row(name, shown, system.says[control], log_p))
    for label, test in tests.items():
        signatures[label] += test
    signatures[_LOG_P] = f"natural logarithm, mean over sentences; {_TEST}"
    return rows, signatures


def _word_hits(
    sentences: Sentences, says: list[list[str]], target_lang: str, probe: str
) -> dict[str, tuple[list[int], list[list[int]]]]:
    """By score, how many words are looked for in each sentence, and how many each list of translations has."""
    found: dict[str, tuple[list[int], list[list[int]]]] = {}
    if sentences.answers is not None:
        asked = [row for row, answer in enumerate(sentences.answers) if answer]
        answers = [sentences.answers[row] for row in asked]
        drawn = [[int(hit) for hit in word_hits([draw[row] for row in asked], answers)] for draw in says]
        found["right word"] = ([1] * len(asked), drawn)
    if sentences.masked is not None and can_be_scored(probe, target_lang) and _has_gold(sentences, target_lang):
        scores = [
            probe_accuracy(sentences.masked, sentences.references, draw, probe, target_lang) for draw in says
        ]
        items = [hit.items for hit in scores[0].hits]
        found[f"{probe}, restricted"] = (items, [[hit.restricted for hit in score.hits] for score in scores])
        found[f"{probe}, relaxed"] = (items, [[hit.relaxed for hit in score.hits] for score in scores])
    return found


def _has_gold(sentences: Sentences, target_lang: str) -> bool:
    pairs = zip(sentences.masked or [], sentences.references, strict=True)
    return any(form for words, reference in pairs for form in gold_items(words, reference, target_lang))


def _same_tokens(one: System, other: System) -> bool:
    paths = [system.translator.tokenizer.path for system in (one, other)]
    return paths[0] == paths[1] or paths[0].read_bytes() == paths[1].read_bytes()


def _rounded(differences: Any) -> Any:
    """What float32 cannot tell from 0 is 0."""
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


def _times(nats: float) -> str:
    """A difference of log-probabilities as a factor: two decimals, and more only where these say nothing."""
    factor = float(np.exp(nats))
    return f"{factor:.2f}" if abs(factor - 1) >= 0.01 else f"{factor:.4f}"


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm

    with tqdm(total=total, desc=what, unit="", disable=None, leave=False) as bar:
        yield bar.update
