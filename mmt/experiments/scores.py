"""What each system of a comparison says under each control; kept, so that it is said once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.data.dataset import read_split
from mmt.data.feature_store import open_features
from mmt.data.image_names import Names
from mmt.errors import MMTError
from mmt.experiments.jobs import claim
from mmt.inference.controls import Control, other_readings, wrong_images
from mmt.io.atomic import write_whole
from mmt.io.terminal import counted
from mmt.metrics.accuracy import choice_hits
from mmt.model.card import read_card

if TYPE_CHECKING:
    from mmt.experiments.compare import Cell, CompareConfig
    from mmt.inference.torch_runtime import Translator
    from mmt.training.config import TrainConfig


@dataclass(frozen=True)
class RunScores:
    """One run on the sentences that have an image.

    says: by control the translations, of ``wrong`` one list a draw.
    chooses: by control whether the model finds the right one of two translations more probable, likewise; {} where
        the split has no contrastive pairs.
    """

    says: dict[Control, list[list[str]]]
    chooses: dict[Control, list[list[bool]]]
    parameters: int
    training: dict[str, Any]


def seen_rows(data: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split that have an image. Raises MMTError if there are fewer than two."""
    rows = [row for row in read_split(data, split) if row["has_image"]]
    if len(rows) < 2:
        found = counted(len(rows), "sentence")
        raise MMTError(f"{data}: split '{split}' has {found} with an image; two or more are needed.")
    return rows


def are_contrastive(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every sentence has a second translation, which its picture speaks against."""
    return all(row.get("contrast") for row in rows)


def check_images(config: CompareConfig, recipe: TrainConfig) -> dict[str, Any]:
    """Sees to it, before the long part, that every system can be scored.

    Returns:
        The signatures of the features, by their name in the comparison.
    Raises:
        MMTError: no such split, too few sentences with an image, a feature store that cannot be read, an image
            without features, or no wrong images to be drawn.
    """
    assert recipe.data.path is not None  # noqa: S101
    rows = seen_rows(recipe.data.path, config.split)
    images = [row["image"] for row in rows]
    if are_contrastive(rows):  # the draw itself may fail, better now than after the training
        other_readings([row["source"] for row in rows], [row["target"] for row in rows], images)
    else:
        wrong_images(images, config.control_seed)
    signatures = {}
    for name, folders in config.features.items():
        store = open_features(folders)
        missing = [image for image in images if image not in store]
        if missing:
            raise MMTError(
                f"features '{name}': {store.folder} lacks {counted(len(set(missing)), 'image')} of "
                f"'{config.split}': {Names(store.ids).listed(missing)}. Run mmt features for the dataset."
            )
        signatures[name] = store.signature.to_dict()
    return signatures


def score_run(run: Cell, model: Path, out: Path, config: CompareConfig, recipe: TrainConfig) -> None:
    """Translates under every control, into ``out/scores``, unless that is done or another process is at it."""
    path = out / "scores" / f"{run.name}.json"
    lock = claim(path)
    if lock is None:
        return
    with lock:
        if read_scores(run, model, out) is None:
            assert recipe.data.path is not None  # noqa: S101
            found = _scored(run, model, seen_rows(recipe.data.path, config.split), config)
            write_whole(path, json.dumps(vars(found), ensure_ascii=False) + "\n")


def read_scores(run: Cell, model: Path, out: Path) -> RunScores | None:
    """What ``score_run`` has written, None where there is nothing, or it is of a model that is no longer there."""
    try:
        text = (out / "scores" / f"{run.name}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    found = RunScores(**json.loads(text))
    return found if found.training == read_card(model).training else None


def _scored(run: Cell, model: Path, rows: Sequence[dict[str, Any]], config: CompareConfig) -> RunScores:
    from mmt.evidence.systems import progress
    from mmt.inference.torch_runtime import Translator

    translator = Translator.from_dir(model, run.stores or None)
    sources, images = [row["source"] for row in rows], [row["image"] for row in rows]
    shown: dict[Control, list[list[str | None]]] = {"right": [[None] * len(rows)]}
    contrastive = are_contrastive(rows)
    if run.stores:
        if contrastive:  # the picture of the other meaning is as wrong as can be
            wrong: list[list[str | None]] = [[*other_readings(sources, [row["target"] for row in rows], images)]]
        else:
            wrong = [wrong_images(images, config.control_seed + draw) for draw in range(config.draws)]
        shown = {"right": [images], "wrong": wrong, "blank": [[None] * len(rows)]}
    says: dict[Control, list[list[str]]] = {}
    chooses: dict[Control, list[list[bool]]] = {}
    total = sum(map(len, shown.values())) * len(rows)
    with progress(f"translating, {run.name}", total) as advance:
        for control, draws in shown.items():
            found = [translator.hypotheses(sources, given, progress=advance) for given in draws]
            says[control] = [[best[0].text for best in draw] for draw in found]
    if contrastive:
        with progress(f"choosing, {run.name}", total) as advance:
            for control, draws in shown.items():
                chooses[control] = [_choices(translator, rows, given) for given in draws]
                advance(len(rows) * len(draws))
    named = translator.model.named_parameters()
    parameters = sum(weight.numel() for name, weight in named if not name.startswith("heads."))
    return RunScores(says, chooses, parameters, translator.card.training)


def _choices(translator: Translator, rows: Sequence[dict[str, Any]], images: Sequence[str | None]) -> list[bool]:
    """Whether each row's target is found more probable than its contrast; a tie is wrong."""
    from mmt.inference.scoring import score_pairs

    targets = [row["target"] for row in rows] + [row["contrast"] for row in rows]
    given = [*images, *images] if any(image is not None for image in images) else None
    scores = score_pairs(translator, [row["source"] for row in rows] * 2, targets, given)
    costs = [-score.mean_log_prob for score in scores]
    return choice_hits(list(zip(costs[: len(rows)], costs[len(rows) :], strict=True)), [0] * len(rows))
