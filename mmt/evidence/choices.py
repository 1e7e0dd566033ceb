"""Choosing between two translations by the image, for any system: by perplexity, or by what it generates.

A system that scores chooses the translation that it finds more probable (``mmt.evidence.contrastive``). The
translation of one that only translates is nearer to one of the two: generative CoMMuTE, as in the DeDiT paper
(2025), here by sentence chrF2. The two accuracies are not comparable with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmt.evidence.answers import AnswersSystem
from mmt.evidence.contrastive import (
    Choices,
    CommuteResult,
    FoundImages,
    Item,
    find_images,
    judge,
    mirrored_pairs,
    read_commute,
)
from mmt.evidence.findings import ChoiceMethod, ChoiceRow
from mmt.evidence.measures import sentence_chrf
from mmt.evidence.models import ModelSystem, backbones_of
from mmt.evidence.plan import Pairs
from mmt.evidence.systems import ScoringSystem, System, progress, scorer
from mmt.inference.scoring import PairScore
from mmt.io.normalization import normalize
from mmt.metrics.p_values import mcnemar

COMMUTE, COMMUTE_KEY = "CoMMuTE", "commute"


@dataclass(frozen=True)
class ChoiceTask:
    """Items to choose between.

    key: its name in a plan, ``contrastive`` or ``commute``.
    files: its images are files, whatever the feature store holds.
    """

    name: str
    key: str
    items: FoundImages
    files: bool

    @property
    def images(self) -> list[str]:
        """The image of each item by the name that is in a plan."""
        return [f"{self.key}/{item.image}" if self.files else item.image for item in self.items.items]

    @property
    def pairs(self) -> Pairs:
        items = self.items.items
        return Pairs(
            self.key,
            [str(item.number) for item in items],
            [item.source for item in items],
            self.images,
            [(item.correct, item.incorrect) for item in items],
        )


def commute_task(commute: Path, images: Path, systems: Sequence[ModelSystem], *, with_images: bool) -> ChoiceTask:
    """CoMMuTE's items; those whose photograph is missing are left out, if some system is shown any."""
    items = FoundImages(read_commute(commute), [], [], 0)
    for system in systems:
        if system.uses_images:
            backbones_of(system.translator)  # must be there to read the photographs
    if with_images:
        items = find_images(items.items, images, None, "skip")
    return ChoiceTask(COMMUTE, COMMUTE_KEY, items, files=True)


def choice_rows(task: ChoiceTask, systems: Mapping[str, System]) -> tuple[list[ChoiceRow], list[str]]:
    """Each system's choices; the others are compared with the first one that chooses in the same way.

    By perplexity for the systems that score; where some do not, what all of them generate, too.

    Returns:
        The rows, and the names of the systems that do not answer the task.
    """
    scoring = {name: system for name, system in systems.items() if _scores(system, task)}
    ways: list[tuple[ChoiceMethod, Mapping[str, System]]] = [("perplexity", scoring)]
    if len(scoring) < len(systems):
        ways.append(("generation", {name: one for name, one in systems.items() if _translates(one, task)}))
    rows: list[ChoiceRow] = []
    for method, able in ways:
        first: list[bool] | None = None
        for name, system in able.items():
            result = _by_perplexity(task, system) if method == "perplexity" else _by_generation(task, system)
            rows.append(_row(task, name, method, result, first))
            first = first or result.choices.hits
    return rows, [name for name in systems if name not in {row.system for row in rows}]


def _scores(system: System, task: ChoiceTask) -> bool:
    if isinstance(system, AnswersSystem):
        return system.scores_pairs(task.key)
    return scorer(system) is not None


def _translates(system: System, task: ChoiceTask) -> bool:
    return not isinstance(system, AnswersSystem) or system.answers_pairs(task.key)


def _row(
    task: ChoiceTask, name: str, method: ChoiceMethod, result: CommuteResult, first: list[bool] | None
) -> ChoiceRow:
    choices, pair = result.choices, result.choices.pair_accuracy
    low, high = choices.interval
    return ChoiceRow(
        task.name,
        name,
        result.num_items,
        task.items.left_out,
        choices.accuracy.value / 100,
        (low / 100, high / 100),
        pair.value / 100 if pair else None,
        len(choices.pairs),
        result.blank.accuracy.value / 100 if result.blank else None,
        mcnemar(first, choices.hits).p_value if first is not None else None,
        task.items.missing,
        [task.items.items[place].number for place in choices.same],
        method,
    )


def _by_perplexity(task: ChoiceTask, system: System) -> CommuteResult:
    items = task.items.items
    if not isinstance(system, ModelSystem):
        assert isinstance(system, ScoringSystem)  # noqa: S101  # choice_rows() has seen to it
        return _judge(system, items, task.images if system.uses_images else None, task.name)
    scorer = system.in_torch or system.translator  # in torch a model folder scores a quarter faster
    model = scorer.with_features(None) if task.files else scorer
    images = task.items.images if system.uses_images else None
    with progress(f"choosing, {task.name}", len(items) * (4 if images else 2)) as advance:
        return judge(model, items, images, progress=advance)


def _judge(system: ScoringSystem, items: Sequence[Item], images: list[str] | None, name: str) -> CommuteResult:
    """``judge`` for a system of any kind. What is equal is scored once, so that it gets equal scores."""
    shown: list[list[str | None]] = [[None] * len(items)] if images is None else [[*images], [None] * len(items)]
    wanted = [
        (item.source, image, target)
        for control in shown
        for item, image in zip(items, control, strict=True)
        for target in (item.correct, item.incorrect)
    ]
    distinct = list(dict.fromkeys(wanted))
    with progress(f"choosing, {name}", len(distinct)) as advance:
        sources, pictures, targets = ([key[column] for key in distinct] for column in range(3))
        scores = system.score(sources, None if images is None else pictures, targets, advance)  # type: ignore[arg-type]
    known = {key: PairScore(score, 1, key[1] is not None) for key, score in zip(distinct, scores, strict=True)}
    found = [known[key] for key in wanted]
    pairs = mirrored_pairs(items)
    same = _alike(items)
    size = 2 * len(items)
    choices = [Choices(found[at : at + size : 2], found[at + 1 : at + size : 2], pairs, same) for at in (0, size)]
    return CommuteResult(choices[0], choices[1] if images is not None else None)


def _by_generation(task: ChoiceTask, system: System) -> CommuteResult:
    """A choice is right if the translation is nearer to the correct one by sentence chrF2; a tie is wrong."""
    items = task.items.items
    sources = [item.source for item in items]
    images: list[str | None] | None = [*task.images] if system.uses_images else None
    if isinstance(system, ModelSystem):
        images = [*task.items.images] if system.uses_images else None  # type: ignore[list-item]
        if task.files:
            system = ModelSystem(system.folder, system.translator.with_features(None))

    def chosen(shown: list[str | None] | None) -> Choices:
        with progress(f"translating, {task.name}", len(items)) as advance:
            texts = system.translate(sources, shown, advance)
        near = [sentence_chrf(texts, [getattr(item, side) for item in items]) for side in ("correct", "incorrect")]
        correct, incorrect = ([PairScore(value, 1, shown is not None) for value in side] for side in near)
        return Choices(correct, incorrect, mirrored_pairs(items), _alike(items))

    return CommuteResult(chosen(images), chosen(None) if images is not None else None)


def _alike(items: Sequence[Item]) -> list[int]:
    """Positions of items whose two translations are the same."""
    return [place for place, item in enumerate(items) if normalize(item.correct) == normalize(item.incorrect)]
