"""What each system of a comparison translates and chooses under each control; stored, so that it is run once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmt.data.feature_store import open_features
from mmt.data.image_names import Names
from mmt.errors import MMTError
from mmt.evidence.controls import run_controls
from mmt.evidence.models import model_in_torch, open_systems
from mmt.evidence.sentences import Sentences, read_sentences
from mmt.experiments.config import Cell, CompareConfig
from mmt.experiments.jobs import claim
from mmt.inference.controls import Control, other_readings
from mmt.io.atomic import write_whole
from mmt.io.terminal import counted
from mmt.model.card import read_card
from mmt.training.config import TrainConfig


@dataclass(frozen=True)
class RunScores:
    """One run on the sentences that have an image; see ``mmt.evidence.controls.Outputs``.

    hypotheses: by control the translations, of ``wrong`` one list a draw.
    choices: by control whether the model finds the right one of two translations more probable, likewise; {} where
        the split has no contrastive pairs.
    """

    hypotheses: dict[Control, list[list[str]]]
    choices: dict[Control, list[list[bool]]]
    parameters: int
    training: dict[str, Any]


def draws_of(sentences: Sentences, config: CompareConfig) -> list[list[str]]:
    """The wrong images of each draw: of contrastive pairs the picture of the sentence's other meaning, as wrong as
    can be.

    Raises:
        MMTError: there are no wrong images.
    """
    if sentences.contrasts is not None:
        return [other_readings(sentences.sources, sentences.references, sentences.images)]
    return sentences.draws(config.draws, config.control_seed)


def check_images(config: CompareConfig, recipe: TrainConfig) -> dict[str, Any]:
    """Sees to it, before the long part, that every system can be scored.

    Returns:
        The signatures of the features, by their name in the comparison.
    Raises:
        MMTError: no such split, too few sentences with an image, a feature store that cannot be read, an image
            without features, or no wrong images to be drawn.
    """
    assert recipe.data.path is not None  # noqa: S101
    sentences = read_sentences(recipe.data.path, config.split)
    draws_of(sentences, config)  # may fail, better now than after the training
    signatures = {}
    for name, folders in config.features.items():
        store = open_features(folders)
        missing = [image for image in sentences.images if image not in store]
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
            scores = _scored(run, model, recipe.data.path, config)
            record = {
                "says": scores.hypotheses,
                "chooses": scores.choices,
                "parameters": scores.parameters,
                "training": scores.training,
            }
            write_whole(path, json.dumps(record, ensure_ascii=False) + "\n")


def read_scores(run: Cell, model: Path, out: Path) -> RunScores | None:
    """What ``score_run`` has written; None where there is nothing, or the model has been retrained since."""
    try:
        text = (out / "scores" / f"{run.name}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    record = json.loads(text)
    scores = RunScores(record["says"], record["chooses"], record["parameters"], record["training"])
    return scores if scores.training == read_card(model).training else None


def _scored(run: Cell, model: Path, data: Path, config: CompareConfig) -> RunScores:
    sentences = read_sentences(data, config.split)
    draws = draws_of(sentences, config) if run.stores else []
    with open_systems({run.name: [model]}, data, run.stores) as systems:
        (system,) = systems[run.name]
        outputs = run_controls(
            system, sentences, draws, score=False, choose=sentences.contrasts is not None, name=run.name
        )
    named = model_in_torch(system).model.named_parameters()
    parameters = sum(weight.numel() for name, weight in named if not name.startswith("heads."))
    return RunScores(outputs.hypotheses, outputs.choices, parameters, system.card.training)
