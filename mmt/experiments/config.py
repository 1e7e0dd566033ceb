"""Configuration of ``mmt compare``: a recipe, and the fusions, features and seeds that vary in it."""

from __future__ import annotations

import json
from dataclasses import field
from pathlib import Path
from typing import Annotated, NamedTuple

from annotated_types import MinLen
from pydantic.dataclasses import dataclass

from mmt.errors import MMTError, nearest
from mmt.model.config import Count
from mmt.model.fusion import find_fusion
from mmt.training.config import STRICT, Folder, Seed, Text, TrainConfig
from mmt.training.config_file import read_config, read_tree, settings_of, validated


@dataclass(kw_only=True, config=STRICT)
class CompareConfig:
    """Configuration of ``mmt compare``: a recipe, and what varies in it."""

    recipe: Folder
    """The training configuration that all runs share; its fusion, features and seed are replaced. A relative path
    starts from the folder of this file."""

    fusions: list[Text] | dict[Text, list[Text]]
    """All of a list with all features; or each with its own, by their names. ``none``, text only, always runs."""

    features: dict[Text, Annotated[list[Folder], MinLen(1)]]
    """Feature stores by a name of your own; several stores in one name stand side by side."""

    seeds: list[Seed] = field(default_factory=lambda: [1, 2, 3])
    """Each fusion with each feature set is trained with each of these."""

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
    if recipes[0].data.datasets is not None:
        raise MMTError(f"{config.recipe}: data.datasets: a comparison is on one dataset. Name it with data.path.")
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
    "model.adapter_dim": "0",
    "model.lora_rank": "0",
}


def runs_of(config: CompareConfig) -> list[Cell]:
    """Every cell: seed by seed, so that the first complete comparison comes early."""
    return [
        Cell(fusion, name, seed, tuple(config.features[name]) if name else ())
        for seed in config.seeds
        for fusion, name in config.systems()
    ]


def training_of(run: Cell, config: CompareConfig) -> list[str]:
    """The settings of a cell, which override the recipe's; text-only has no objectives that need images."""
    settings = settings_of(config.settings, "settings:") | {"model.fusion": run.fusion, "seed": str(run.seed)}
    if run.stores:
        settings["images.features"] = json.dumps([str(store) for store in run.stores])
    else:
        settings |= _WITHOUT_IMAGES
    return [f"{key}={value}" for key, value in settings.items()]
