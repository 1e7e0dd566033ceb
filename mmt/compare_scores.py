"""What each system of a comparison says under each control; kept, so that it is said once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.controls import Control, other_readings, wrong_images
from mmt.errors import MMTError
from mmt.lines import write_whole
from mmt.prepared import read_split

if TYPE_CHECKING:
    from mmt.compare import CompareConfig, Run
    from mmt.config import TrainConfig
    from mmt.translator import Translator


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
        raise MMTError(f"{data}: split '{split}' has {len(rows)} sentences with an image; two or more are needed.")
    return rows


def score_run(run: Run, model: Path, out: Path, config: CompareConfig, recipe: TrainConfig) -> RunScores:
    """Translates under every control, or reads what an earlier call has written to ``out/scores``.

    Raises:
        MMTError: an image has no features, or the model or the data cannot be read.
    """
    path = out / "scores" / f"{run.name}.json"
    if not path.exists():
        assert recipe.data.path is not None  # noqa: S101
        found = _scored(run, model, seen_rows(recipe.data.path, config.split), config)
        write_whole(path, json.dumps(vars(found), ensure_ascii=False) + "\n")
    return RunScores(**json.loads(path.read_text(encoding="utf-8")))


def _scored(run: Run, model: Path, rows: Sequence[dict[str, Any]], config: CompareConfig) -> RunScores:
    from mmt.measure import progress
    from mmt.memory import keep_freed_memory
    from mmt.translator import Translator

    keep_freed_memory()
    translator = Translator.from_dir(model, run.stores or None)
    sources, images = [row["source"] for row in rows], [row["image"] for row in rows]
    shown: dict[Control, list[list[str | None]]] = {"right": [[None] * len(rows)]}
    contrastive = "contrast" in rows[0]
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
    parameters = sum(parameter.numel() for parameter in translator.model.parameters())
    return RunScores(says, chooses, parameters, translator.card.training)


def _choices(translator: Translator, rows: Sequence[dict[str, Any]], images: Sequence[str | None]) -> list[bool]:
    """Whether each row's target is found more probable than its contrast; a tie is wrong."""
    from mmt.scoring import score_pairs

    targets = [row["target"] for row in rows] + [row["contrast"] for row in rows]
    given = [*images, *images] if any(image is not None for image in images) else None
    scores = score_pairs(translator, [row["source"] for row in rows] * 2, targets, given)
    costs = [-score.mean_log_prob for score in scores]
    return [right < other for right, other in zip(costs[: len(rows)], costs[len(rows) :], strict=True)]
