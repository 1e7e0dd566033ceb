"""Does the model use the image, and is it better than text-only? All results, for a JSON file and a page.

Definitions: Caglayan et al. (2019) for incongruent decoding, https://aclanthology.org/N19-1422; Elliott (2018) for
image awareness, https://aclanthology.org/D18-1329; Wu et al. (2021) for the gates,
https://aclanthology.org/2021.acl-long.480; Futeral et al. (2023) for CoMMuTE,
https://aclanthology.org/2023.acl-long.295.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mmt.metrics.significance import Spread

Answer = Literal["yes", "yes, and it hurts", "no", "not shown", "not judged"]
ComparisonAnswer = Literal["yes", "no", "worse", "not shown", "not compared"]
ChoiceMethod = Literal["perplexity", "generation"]

FORMAT = 2
"""Of evidence.json. 1: without ``systems`` and ``sentences``, and with at most two systems."""

CONTROLS = {"right": "right image", "wrong": "wrong image", "blank": "no image", "text": "text only"}
"""Controls in words; ``text`` is what a text-only system makes of the sentences, its only control."""

LOG_P, CHRF = "log-probability per token", "sentence chrF2"
"""A sentence's score, see ``Awareness``."""

CHANGED = "changed"
"""Percent of the translations that differ from those with the right image."""

SMALLEST_GAIN = 1.0
"""chrF2 points; a gain that is certainly smaller than this is no gain."""
MOSTLY = 0.5
"""A share of the translations."""
FEWEST_CHRF = 50.0
"""Sentence chrF2; a sentence for which no system reaches this is not shown as an example."""


@dataclass(frozen=True)
class Verdict:
    """Does the model use the image?

    answer: ``no`` if it makes no difference which image the model gets. ``yes`` if the right image does better
        than wrong ones, p < 0.05. ``yes, and it hurts`` if it does worse than wrong ones, p < 0.05; or worse than
        no image, p < 0.05, where the translations depend on it: it does better than wrong ones, or a wrong image
        changes ``MOSTLY`` or more of the translations. ``not judged`` if the data has no references: the sentence
        then says what the image changes. Else ``not shown``. See ``Awareness`` for "better".
    sentence: the same in words, with the numbers and the p value that say so.
    """

    answer: Answer
    sentence: str


TEXT_ONLY = Verdict("no", "No: this is a text-only system; it reads no image.")


@dataclass(frozen=True)
class Comparison:
    """Is the model better than the text-only one, ``against``? By translations alone, with the right images.

    The figure, fixed in advance, is the difference of sentence chrF2, model minus ``against``, averaged over the
    sentences that have an image; its 95 % interval and its two-sided p value are those of a paired t-test.

    question: "Better than text-only?", or "Better than the other model?" if ``against`` uses images, too.
    answer: ``yes`` if the interval is above 0; ``worse`` if it is below 0; ``no`` if the interval has 0 in it and
        ends below ``SMALLEST_GAIN``, or if every translation is the same; ``not shown`` otherwise, and where there
        are fewer than ``mmt.metrics.significance.FEWEST_SENTENCES`` sentences. ``not compared`` without
        ``against``.
    sentence: the same in words, with the numbers; or how to get an answer.
    scores: mean sentence chrF2 of the model and of ``against``.
    difference, interval, p_value: in chrF2 points; None where there is no test.
    """

    question: str
    answer: ComparisonAnswer
    sentence: str
    scores: tuple[float, float] | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None


NOT_COMPARED = Comparison(
    "Better than text-only?",
    "not compared",
    "Not compared: train a text-only model on the same data (model.fusion=none) and name its folder with "
    "--against, or as a --system.",
)

NO_REFERENCES = "the data has no references"
"""Why a section is not run."""
NOT_COMPARABLE = Comparison(
    "Better than text-only?",
    "not compared",
    f"Not compared: {NO_REFERENCES}. Translate some of the sentences, and evaluate on these.",
)


@dataclass(frozen=True)
class ControlRow:
    """One system under one control, over the sentences that have an image.

    system: its name; ``model`` and ``against`` are those of --model and --against.
    control: ``right``, ``wrong``, ``blank``, or ``text`` for a text-only system.
    scores: figure by name, such as ``BLEU``, ``chrF2``, ``right word``, ``colour (restricted)``; of ``wrong`` over
        draws.
    p_values: by the same names, of the difference from the first system with the right image; None where there is
        none.
    agreement: by the same names, the share of people who would agree with the sign of that difference, see
        ``mmt.metrics.agreement``.
    """

    system: str
    control: str
    scores: dict[str, Spread]
    p_values: dict[str, float | None] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Awareness:
    """Image awareness: a sentence's score with the right image less its mean over wrong ones.

    figure: the score: log-probability per token of the reference, or, for a system that only translates, sentence
        chrF2 of the translation.
    difference, std: over sentences. p_value: Wilcoxon's signed-rank test over sentences, two-sided; None if every
    difference is 0. per_sentence: in the split's order, sentences with an image only. changed: share of sentences
    translated otherwise with a wrong image; changed_blank: without one.
    """

    difference: float
    std: float
    p_value: float | None
    per_sentence: list[float]
    difference_blank: float
    p_value_blank: float | None
    changed: float
    changed_blank: float
    per_sentence_blank: list[float] = field(default_factory=list)
    figure: str = LOG_P


@dataclass(frozen=True)
class ChoiceRow:
    """Which of two translations a system prefers, given the image: CoMMuTE and the like.

    method: ``perplexity``: the more probable one; ``generation``: the one nearer to its own translation.

    accuracy, interval, pair_accuracy: shares; chance is 0.5 and 0.25. blank: accuracy without images. missing:
    items left out, because their image, one of ``missing_images``, is missing. same: the numbers of items whose
    two translations are the same to the model, so that no choice is right.
    """

    data: str
    system: str
    items: int
    missing: int
    accuracy: float
    interval: tuple[float, float]
    pair_accuracy: float | None
    pairs: int
    blank: float | None = None
    mcnemar: float | None = None
    missing_images: list[str] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    method: ChoiceMethod = "perplexity"

    @property
    def best(self) -> float:
        """The best accuracy that can be reached: of all items but ``same``."""
        return 1 - len(self.same) / self.items


@dataclass(frozen=True)
class SenseRow:
    """Ambiguous words of the source: share whose sense in the reference is also the hypothesis's, by surprise.

    f1: macro, over senses. usual: the accuracy of always taking a word's most frequent sense.
    """

    system: str
    control: str
    items: int
    accuracy: float
    f1: float
    by_surprise: dict[str, tuple[float, int]]
    """Accuracy and items of each bin of how surprising the right sense is."""
    usual: float | None = None


@dataclass(frozen=True)
class Gates:
    """Wu et al.'s gate statistics over the split; ``mean`` and the shares are None for a fusion without a gate.

    norm_ratio: of mean absolute values, see ``mmt.evidence.inside.GateNumbers``.
    """

    mean: float | None
    share_over_1e5: float | None
    share_over_1e10: float | None
    norm_ratio: float
    histogram: list[float] = field(default_factory=list)
    """Shares of sentences by their mean gate, in ten equal bins from 0 to 1; empty without a gate."""
    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    """Source pieces with the widest open gates: piece, mean gate (or norm ratio), occurrences."""


@dataclass(frozen=True)
class Region:
    """A box on the picture, in shares of its width and height from the top left."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Effects:
    """Sentences by what their own image does to the translation, by sentence chrF2.

    The translation with the image is compared with the model's own without one and, if ``against`` is text-only,
    with that model's. helped: closer to the reference than these. hurt: farther from it than these. unchanged:
    neither. left_out: of those helped or hurt, the ones that are no examples, as no translation has a chrF2 of
    ``FEWEST_CHRF`` or more.
    """

    helped: int
    hurt: int
    unchanged: int
    left_out: int


@dataclass(frozen=True)
class GalleryItem:
    """A sentence that its own image helped or hurt, see ``Effects``.

    image, wrong_image: names of the pictures. chrf: sentence chrF2 of ``right``, ``wrong``, ``blank`` and
    ``against``, by these names. gain: chrF2 with the right image minus the nearest of the others; above 0 if it
    helped.
    words, importance: words of ``right`` and, (words, regions), what each region adds to each word's
    log-probability; empty if it could not be computed. source_gates: (piece, gate mean) of the source, or empty.
    """

    id: str
    source: str
    reference: str
    image: str
    wrong_image: str
    right: str
    wrong: str
    blank: str
    chrf: dict[str, float]
    gain: float
    awareness: float
    against: str | None = None
    method: str = ""
    words: list[str] = field(default_factory=list)
    importance: list[list[float]] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    source_gates: list[tuple[str, float]] = field(default_factory=list)
    unmasked: str | None = None


@dataclass(frozen=True)
class SystemResult:
    """What is said of each system.

    about: what it says of itself. comparison: with the text-only system; None where there is none to compare with.
    """

    name: str
    about: dict[str, Any]
    uses_images: bool
    scores_references: bool
    verdict: Verdict
    comparison: Comparison | None = None
    awareness: Awareness | None = None


@dataclass(frozen=True)
class SentenceResult:
    """What every system makes of a sentence.

    wrong_images: of each draw. translations: by system and control, one a draw of ``wrong``. chrf: sentence
    chrF2 of these; of ``wrong`` at least of the first draw.
    """

    id: str
    source: str
    reference: str
    image: str
    wrong_images: list[str]
    translations: dict[str, dict[str, list[str]]]
    chrf: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Evidence:
    """All results of ``mmt evidence``; ``not_run`` lists what did not apply, and why. A section that did not run
    leaves its fields as they are here. ``verdict``, ``comparison``, ``awareness``, ``gates``, ``effects`` and
    ``gallery`` are of the first system, which ``model`` describes; ``systems`` has the verdicts of all.
    """

    verdict: Verdict = TEXT_ONLY
    comparison: Comparison = NOT_COMPARED
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    against: dict[str, Any] | None = None
    controls: list[ControlRow] = field(default_factory=list)
    awareness: Awareness | None = None
    choices: list[ChoiceRow] = field(default_factory=list)
    senses: list[SenseRow] = field(default_factory=list)
    gates: Gates | None = None
    effects: Effects | None = None
    gallery: list[GalleryItem] = field(default_factory=list)
    not_run: list[tuple[str, str]] = field(default_factory=list)
    signatures: dict[str, str] = field(default_factory=dict)
    """How each score was computed, by its name."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Draws, seeds, versions, date and time taken."""
    format: int = FORMAT
    systems: list[SystemResult] = field(default_factory=list)
    sentences: list[SentenceResult] = field(default_factory=list)
