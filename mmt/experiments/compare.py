"""``mmt compare``: fusions, features and seeds under one budget, and a table that says which looks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import MinLen
from pydantic.dataclasses import dataclass

from mmt.errors import MMTError, nearest
from mmt.io.terminal import console, counted
from mmt.model.config import Count
from mmt.training.config import STRICT, Folder, Seed, Text, TrainConfig
from mmt.training.config_file import read_config, read_tree, settings_of, tree_of, validated


@dataclass(kw_only=True, config=STRICT)
class CompareConfig:
    """What ``mmt compare`` is told: a recipe, and what is to be varied in it."""

    recipe: Folder
    """The training configuration that all runs share; its fusion, features and seed are replaced. A relative path
    starts from the folder of this file."""

    fusions: list[Text] | dict[Text, list[Text]]
    """All of a list with all features; or each with its own, by their names. ``none``, text only, always runs."""

    features: dict[Text, Annotated[list[Folder], MinLen(1)]]
    """Feature stores by a name of your own; several stores in one name stand side by side."""

    seeds: list[Seed] = field(default_factory=lambda: [1, 2, 3])

    settings: list[Text] = field(default_factory=list)
    """``key=value`` for every run, after the recipe; not what the comparison sets itself. ``threads`` is not used:
    the trainings share the cores."""

    split: Text
    """What the systems are compared on."""

    draws: Count = 5
    """Draws of wrong images."""

    control_seed: Seed = 1
    """Of the first draw."""

    def systems(self) -> list[tuple[str, str]]:
        """(fusion, name of its features), text only first."""
        each = self.fusions if isinstance(self.fusions, dict) else {f: list(self.features) for f in self.fusions}
        pairs = [(fusion, name) for fusion, names in each.items() if fusion != "none" for name in names]
        return [("none", ""), *pairs]


class Cell(NamedTuple):
    """One run of the comparison."""

    fusion: str
    features: str
    seed: int
    stores: tuple[Path, ...]

    @property
    def system(self) -> str:
        return f"{self.fusion}.{self.features}" if self.features else self.fusion

    @property
    def name(self) -> str:
        return f"{self.system}.seed{self.seed}"


def read_compare(path: Path) -> tuple[CompareConfig, TrainConfig]:
    """Reads a comparison, and the recipe that it varies.

    Raises:
        MMTError: no such file, an unknown key, fusion or name of features, or a recipe that cannot be read.
    """
    from mmt.model.fusion import find_fusion

    config = validated(CompareConfig, read_tree(path), str(path))
    config.recipe = path.parent / config.recipe
    systems = config.systems()
    if len(systems) < 2 or not config.seeds:
        raise MMTError(f"{path}: expected at least one fusion with features, and one seed.")
    for fusion, name in systems:
        try:
            find_fusion(fusion)
        except MMTError as error:
            raise MMTError(f"{path}: fusions: {error}") from None
        if name and name not in config.features:
            raise MMTError(f"{path}: fusions: {fusion}: no features '{name}'.{nearest(name, config.features)}")
    for name, values in (("seeds", config.seeds), ("fusions and features", systems)):
        if len(set(values)) != len(values):
            raise MMTError(f"{path}: {name}: one stands twice in {values}. Name each once.")
    if varied := set(settings_of(config.settings, f"{path}: settings:")) & set(_VARIED):
        key = min(varied)
        raise MMTError(f"{path}: settings: {key} is the comparison's own. {_VARIED[key]}.")
    if any(not name or "." in name or "/" in name for name in config.features):
        raise MMTError(f"{path}: features: their names become folder names: use letters, without '.' and '/'.")
    recipes = [read_config(config.recipe, training_of(run, config)) for run in runs_of(config)]
    return config, recipes[0]


_VARIED = {
    "model.fusion": "Name the fusions in fusions",
    "images.features": "Name the feature stores in features",
    "seed": "Name the seeds in seeds",
}
_WITHOUT_IMAGES = {
    "images.features": "null",
    "objectives.imagination": "0",
    "objectives.contrastive": "0",
    "objectives.masked": "0",
    "start.freeze_text": "false",
    "images.dropout_p": "0",
}


def runs_of(config: CompareConfig) -> list[Cell]:
    """Every cell: seed by seed, so that the first complete comparison comes early."""
    return [
        Cell(fusion, name, seed, tuple(config.features[name]) if name else ())
        for seed in config.seeds
        for fusion, name in config.systems()
    ]


def training_of(run: Cell, config: CompareConfig) -> list[str]:
    """The settings of a cell, after the recipe's. Text only is spared what is learnt from images."""
    settings = settings_of(config.settings, "settings:") | {"model.fusion": run.fusion, "seed": str(run.seed)}
    if run.stores:
        settings["images.features"] = json.dumps([str(store) for store in run.stores])
    else:
        settings |= _WITHOUT_IMAGES
    return [f"{key}={value}" for key, value in settings.items()]


def compare(config_file: Path, out: Path, jobs: int, *, only_table: bool = False) -> None:
    """Trains what is not trained yet, scores it, and writes the comparison; see ``mmt compare --help``.

    Raises:
        MMTError: a setting, a feature store or the data does not fit, ``out`` holds another comparison, or a
            training failed.
    """
    from mmt.experiments.jobs import Training, claim, train_all
    from mmt.experiments.scores import check_images, read_scores, score_run
    from mmt.experiments.table import tabulate, write_comparison

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
        progress.print(
            f"{counted(len(runs), 'run')}, {len(runs) - todo} of them done; {jobs} at a time", soft_wrap=True
        )
        train_all(list(trainings.values()), jobs, progress)
    for run, training in trainings.items():
        if training.done:
            score_run(run, training.output / "model", out, config, recipe)
    # One process at a time, and by what is there then: of several, the last one writes the whole table.
    with claim(out / "table", wait=True) or nullcontext():
        scores = {}
        for run, training in trainings.items():
            if training.done and (found := read_scores(run, training.output / "model", out)) is not None:
                scores[run] = found
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
    from mmt.data.dataset import read_info
    from mmt.experiments.jobs import claim
    from mmt.io.atomic import make_folder, write_whole

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
