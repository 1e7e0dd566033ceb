"""Configuration of a search of ``mmt compare``: a recipe, the settings that are searched, and the budget."""

from __future__ import annotations

import json
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, MinLen
from pydantic import Strict
from pydantic.dataclasses import dataclass

from mmt.errors import MMTError
from mmt.model.config import Count
from mmt.training.config import STRICT, Folder, Seed, Text, TrainConfig
from mmt.training.config_file import read_config, read_tree, settings_of, validated

_OTHERS = ("fusions", "features", "seeds", "split", "systems", "datasets")


@dataclass(kw_only=True, config=STRICT)
class Range:
    """Numbers from ``low`` to ``high``, both included; whole numbers if all three are written as such."""

    low: Annotated[int, Strict()] | float
    """The lowest value."""

    high: Annotated[int, Strict()] | float
    """The highest value."""

    log: bool = False
    """Whether factors count rather than differences, as of a learning rate."""

    step: Annotated[int, Strict(), Gt(0)] | Annotated[float, Gt(0)] | None = None
    """The distance of two values; null is any number between, or, of whole numbers, 1."""

    @property
    def whole(self) -> bool:
        return all(isinstance(one, int) for one in (self.low, self.high, self.step or 1))


@dataclass(kw_only=True, config=STRICT)
class TuningConfig:
    """A search for the settings of a recipe that score best on its validation split."""

    recipe: Folder
    """The training configuration that all trials share. A relative path starts from the folder of this file."""

    search: dict[Text, Annotated[list[Any], MinLen(2)] | Range]
    """What is searched: by the name of a setting, such as ``optimizer.lr``, a list of its values or a range."""

    settings: list[Text] = field(default_factory=list)
    """``key=value`` for every trial, after the recipe. ``threads`` is not used: the trainings share the cores."""

    trials: Count = 20
    """The budget in trainings; a search that is given more resumes with more."""

    core_hours: Annotated[float, Gt(0)] | None = None
    """The budget in hours of one core: no trial begins after them, and those that run finish. null is no limit."""

    prune: bool = True
    """Stops a trial whose validation score is below the median of the earlier trials at the same update."""

    seed: Seed = 1
    """Of the sampler."""


def is_tuning(path: Path) -> bool:
    """Whether a configuration of ``mmt compare`` is of a search.

    Raises:
        MMTError: no such file, not YAML, or keys of another kind of comparison, too.
    """
    keys = set(read_tree(path))
    if "search" not in keys:
        return False
    if others := keys & set(_OTHERS):
        raise MMTError(
            f"{path}: a search has a recipe and settings to search, found {min(others)}, too. Write two files."
        )
    return True


def read_tuning(path: Path) -> tuple[TuningConfig, TrainConfig]:
    """Reads a search, and the recipe that it varies.

    Raises:
        MMTError: no such file, an unknown key, an empty range, a setting that is no training's, or a value that
            a training refuses.
    """
    config = validated(TuningConfig, read_tree(path), str(path))
    config.recipe = path.parent / config.recipe
    if not config.search:
        raise MMTError(f"{path}: search: expected at least one setting and its values, such as optimizer.lr.")
    fixed = settings_of(config.settings, f"{path}: settings:")
    recipe = read_config(config.recipe, config.settings)
    for name, values in config.search.items():
        where = f"{path}: search.{name}"
        if name in ("threads", "regime.score") or name.startswith("data."):
            raise MMTError(f"{where}: trials would not be comparable. Set it in settings.")
        if name in fixed:
            raise MMTError(f"{where}: it stands in settings, too. Remove one.")
        if isinstance(values, Range):
            _check_range(values, where)
        for value in [values.low, values.high] if isinstance(values, Range) else values:
            try:
                read_config(config.recipe, [*config.settings, setting(name, value)])
            except MMTError as error:
                raise MMTError(f"{where}: {value}: {error}") from None
    return config, recipe


def _check_range(values: Range, where: str) -> None:
    if values.step is not None and values.step > values.high - values.low:
        raise MMTError(f"{where}: expected a step of at most high - low, found {values.step}.")
    if values.low >= values.high:
        raise MMTError(f"{where}: expected low below high, found {values.low} and {values.high}.")
    if values.log and (values.low <= 0 or values.step is not None):
        raise MMTError(f"{where}: with log, expected low above 0 and no step.")


def setting(name: str, value: Any) -> str:
    """A setting as ``--config`` reads it."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"
