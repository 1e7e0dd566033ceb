"""Which of two translations a model finds more probable, as a part of the evidence: CoMMuTE and the like."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmt.errors import MMTError
from mmt.evidence.contrastive import (
    FoundImages,
    Item,
    check_items,
    commute_languages,
    find_images,
    judge,
    read_commute,
)
from mmt.evidence.findings import ChoiceRow
from mmt.evidence.systems import progress
from mmt.inference.torch_runtime import Translator
from mmt.metrics.significance import mcnemar

if TYPE_CHECKING:
    from mmt.data.dataset import DatasetInfo


@dataclass(frozen=True)
class Choice:
    """Items of two translations each; ``files`` if their images are files, whatever the store holds."""

    name: str
    found: FoundImages
    files: bool


def check_commute(commute: Path, info: DatasetInfo) -> None:
    """Raises MMTError where the folder is none of CoMMuTE's, or not in the dataset's languages."""
    languages = commute_languages(commute)
    if languages != (info.source_lang, info.target_lang):
        raise MMTError(
            f"--commute {commute}: expected {info.source_lang}-{info.target_lang}, found {'-'.join(languages)}."
        )


def find_choices(
    commute: Path | None,
    commute_images: Path | None,
    info: DatasetInfo,
    contrastive: list[Item],
    translators: Mapping[str, Translator],
    not_run: list[tuple[str, str]],
) -> list[Choice]:
    """The items whose images can be had, checked before the long part begins.

    Args:
        commute: a folder such as ``CoMMuTE/en-de``, or None; its images are in ``commute_images``, or else in
            ``CoMMuTE/images``.
        contrastive: items of the dataset's own, whose images are in the translators' feature store.
        not_run: gets what does not apply, and why.
    Raises:
        MMTError: CoMMuTE was asked for and cannot be judged, or an item cannot be scored.
    """
    looking = [t for t in translators.values() if t.card.features is not None]
    choices = []
    if contrastive:
        name = f"{info.name} (contrastive)"
        try:
            found = FoundImages(contrastive, [], [], 0)
            if looking:
                found = find_images(contrastive, None, looking[0].features, "skip")
            choices.append(Choice(name, found, files=False))
        except MMTError as error:
            not_run.append((name, str(error)))
    if commute is None:
        not_run.append(("CoMMuTE", "no --commute"))
    else:
        choices.append(_commute_choice(commute, commute_images, looking))
    for choice, translator in itertools.product(choices, translators.values()):
        check_items(translator, choice.found.items, choice.name)
    return choices


def _commute_choice(commute: Path, images: Path | None, looking: Sequence[Translator]) -> Choice:
    items = read_commute(commute)
    found = FoundImages(items, [], [], 0)
    if looking:
        for translator in looking:
            translator.backbones  # noqa: B018  # must be there to read the photographs
        found = find_images(items, images or commute.parent / "images", None, "skip")
    return Choice("CoMMuTE", found, files=True)


def choice_rows(choice: Choice, systems: Mapping[str, Translator]) -> list[ChoiceRow]:
    """Which of two translations each system finds more probable: CoMMuTE and the contrastive split."""
    items, name = choice.found.items, choice.name
    rows: list[ChoiceRow] = []
    first: list[bool] | None = None
    for system, translator in systems.items():
        if choice.files:
            translator = Translator(translator.model, translator.tokenizer, translator.card)
        shown = choice.found.images if translator.card.features is not None else None
        with progress(f"choosing, {name}", len(items) * (4 if shown else 2)) as advance:
            found = judge(translator, items, shown, progress=advance)
        choices, pair = found.choices, found.choices.pair_accuracy
        low, high = choices.interval
        rows.append(
            ChoiceRow(
                name,
                system,
                found.num_items,
                choice.found.left_out,
                choices.accuracy.value / 100,
                (low / 100, high / 100),
                pair.value / 100 if pair else None,
                len(choices.pairs),
                found.blank.accuracy.value / 100 if found.blank else None,
                mcnemar(first, choices.hits).p_value if first is not None else None,
                choice.found.missing,
                [items[place].number for place in choices.same],
            )
        )
        first = first or choices.hits
    return rows
