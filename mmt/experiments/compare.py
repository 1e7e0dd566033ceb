"""``mmt compare``: trains fusions, features and seeds under one budget, and writes a table of how they compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmt.data.dataset import read_info
from mmt.engines.spec import Engine
from mmt.errors import MMTError
from mmt.experiments.config import CompareConfig, read_compare, runs_of, training_of
from mmt.experiments.jobs import Training, claim, places, train_all
from mmt.experiments.scores import check_images, read_scores, score_run
from mmt.experiments.table import tabulate, write_comparison
from mmt.io.atomic import make_folder, write_whole
from mmt.io.terminal import console, counted
from mmt.training.config import TrainConfig
from mmt.training.config_file import tree_of


def compare(
    config_file: Path, out: Path, jobs: int, *, only_table: bool = False, engine: Engine | None = None
) -> None:
    """Trains what is not trained yet, scores it, and writes the comparison; see ``mmt compare --help``.

    Raises:
        MMTError: a setting, a feature store or the data does not fit, ``out`` holds another comparison, or a
            training failed.
    """
    progress = console(err=True)
    config, recipe = read_compare(config_file)
    runs = runs_of(config)
    signatures = check_images(config, recipe)
    _claim(out, config, recipe, signatures)
    steps = recipe.regime.num_steps
    trainings = {
        run: Training(run.name, out / "runs" / run.name, config.recipe, tuple(training_of(run, config)), steps)
        for run in runs
    }
    if not only_table:
        todo = sum(not training.done for training in trainings.values())
        with places(engine, out, jobs) as where:
            state = f"{counted(len(runs), 'run')}, {len(runs) - todo} of them done"
            progress.print(f"{state}; {where.jobs} at a time", soft_wrap=True)
            train_all(list(trainings.values()), where, progress)
    for run, training in trainings.items():
        if training.done:
            score_run(run, training.output / "model", out, config, recipe)
    # One process at a time, and by what is there then: of several, the last one writes the whole table.
    with claim(out / "table", wait=True) or nullcontext():
        scores = {}
        for run, training in trainings.items():
            if training.done and (done := read_scores(run, training.output / "model", out)) is not None:
                scores[run] = done
        if scores:
            write_comparison(tabulate(scores, config, recipe), config, recipe, out)
    left = [run.name for run in runs if run not in scores]
    if left:
        progress.print(
            f"{len(left)} of {len(runs)} runs are not done yet, such as {left[0]}"
            f"{': the table is of the others' if scores else ''}. Give the command again.",
            soft_wrap=True,
        )


def _claim(out: Path, config: CompareConfig, recipe: TrainConfig, signatures: Mapping[str, Any]) -> None:
    """Writes down what is compared on what; refuses a folder that holds another comparison."""
    assert recipe.data.path is not None  # noqa: S101
    info = read_info(recipe.data.path)
    settings = tree_of(recipe)
    for name in ("threads", "seed", "stack"):
        del settings[name]
    settings["data"].pop("path")
    now: dict[str, Any] = {
        "data": info.name,
        "checksums": {name: split.checksum for name, split in info.splits.items()},
        "split": config.split,
        "draws": config.draws,
        "control_seed": config.control_seed,
        "recipe": settings,
        "features": dict(signatures),
    }
    make_folder(out)
    with claim(out / "comparison", wait=True) or nullcontext():
        path = out / "comparison.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            for name, value in now.items():
                differs = before.get(name) != value
                if name == "features":  # more may be added
                    known = before.get(name, {})
                    differs = any(known.get(one, signature) != signature for one, signature in value.items())
                    value = known | value
                if differs:
                    long = name in ("checksums", "recipe", "features")
                    detail = f"other {name}" if long else f"{name} {before.get(name)}, now it is {value}"
                    raise MMTError(f"{out}: holds a comparison with {detail}. Name another folder.")
                now[name] = value
        write_whole(path, json.dumps(now, indent=2) + "\n")
