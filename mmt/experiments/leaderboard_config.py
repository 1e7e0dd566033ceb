"""Configuration of a leaderboard of ``mmt compare``: systems of any kind, and the datasets that they run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from mmt.data.dataset import first_test_split
from mmt.errors import MMTError, nearest
from mmt.evidence.options import KINDS, SystemOptions, is_name, kind_of
from mmt.inference.ensemble import members_of
from mmt.model.config import BASES, Count, is_base
from mmt.training.config import STRICT, Folder, Seed, Text
from mmt.training.config_file import read_tree, validated

_OF_TRAININGS = ("recipe", "fusions", "features", "seeds", "settings", "split", "search")
_OF_BOARDS = ("systems", "datasets", "metrics", "pictures")
_LANGUAGE_MODELS = ("hf", "api")
_RESERVED = "answers"


@dataclass(kw_only=True, config=STRICT)
class SystemEntry:
    """One system: its SPEC alone, a list of the SPECs of its seeds, or these keys."""

    spec: Text | None = None
    """As in ``mmt evidence --system NAME=SPEC``."""

    seeds: list[Text] = field(default_factory=list)
    """Instead of ``spec``: the same system, trained or run several times."""

    prompt: Folder | None = None
    """Of ``hf:`` and ``api:``: the file of the prompt."""

    examples: Folder | None = None
    """Of ``hf:`` and ``api:``: a file of translations that the prompt shows."""

    text_only: bool = False
    """Of ``hf:`` and ``api:``: shows them no images."""

    device: Text = "cpu"
    """Of ``hf:``, such as cuda."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of ``hf:``: the type of its weights."""

    batch_size: Count = 8
    """Of ``hf:``: sentences in a batch."""

    concurrency: Count = 4
    """Of ``api:``: requests at a time."""

    max_requests: Count | None = None
    """Of ``api:``: the budget of each dataset, in requests."""

    @property
    def specs(self) -> list[str]:
        return self.seeds or [self.spec or ""]

    @property
    def options(self) -> SystemOptions:
        """Those that an entry can set; the others are the defaults."""
        known = {one.name for one in fields(SystemOptions)}
        return SystemOptions(**{name: value for name, value in vars(self).items() if name in known})


@dataclass(kw_only=True, config=STRICT)
class DatasetEntry:
    """One dataset: a split of a prepared dataset."""

    data: Folder
    """The prepared dataset."""

    split: Text = ""
    """If empty, the first whose name begins with test."""

    features: list[Folder | list[Folder]] = field(default_factory=list)
    """Feature stores; a list in it is of several that stand side by side. A model takes the one with its
    features. Without any, models read the dataset's image files."""

    commute: Folder | None = None
    """A folder of CoMMuTE, such as en-de, to evaluate, too."""

    commute_images: Folder | None = None
    """The folder of CoMMuTE's images; null is ``images/`` beside it."""

    @property
    def stores(self) -> list[list[Path]]:
        return [one if isinstance(one, list) else [one] for one in self.features]


@dataclass(kw_only=True, config=STRICT)
class LeaderboardConfig:
    """Systems x datasets. Relative paths start from the current folder."""

    systems: dict[Text, Any]
    """The systems by name: a SPEC, or a section of a system's keys."""

    datasets: dict[Text, Any]
    """The datasets by name: a path, or a section of a dataset's keys."""

    draws: Count = 5
    """Draws of wrong images."""

    control_seed: Seed = 1
    """Of the first draw."""

    metrics: list[Text] = field(default_factory=list)
    """Neural metrics, as in ``mmt evidence --metric``."""

    pictures: bool = True
    """Whether the evidence pages contain the photos."""


def is_leaderboard(path: Path) -> bool:
    """Whether a configuration of ``mmt compare`` is of systems rather than of trainings.

    Raises:
        MMTError: no such file, not YAML, or keys of both kinds.
    """
    keys = set(read_tree(path))
    of_trainings, of_boards = keys & set(_OF_TRAININGS), keys & set(_OF_BOARDS)
    if of_trainings and of_boards:
        raise MMTError(
            f"{path}: expected either a recipe to be trained, with fusions and features, or systems and datasets; "
            f"found both {min(of_trainings)} and {min(of_boards)}. Write two files."
        )
    return not of_trainings


def read_leaderboard(path: Path) -> tuple[LeaderboardConfig, dict[str, SystemEntry], dict[str, DatasetEntry]]:
    """Reads a leaderboard.

    Raises:
        MMTError: no such file, an unknown key, a wrong value, a name that cannot be a file's, or a SPEC that is
            nothing.
    """
    config = validated(LeaderboardConfig, read_tree(path), str(path))
    if not config.systems or not config.datasets:
        raise MMTError(f"{path}: expected at least one system and one dataset.")
    for name in (*config.systems, *config.datasets):
        if not is_name(name) or name == _RESERVED:
            raise MMTError(
                f"{path}: the name '{name}': expected up to 40 letters, digits, '.', '_' and '-', and not "
                f"'{_RESERVED}'."
            )
    systems = {name: _system(tree, f"{path}: systems.{name}") for name, tree in config.systems.items()}
    datasets = {name: _dataset(tree, f"{path}: datasets.{name}") for name, tree in config.datasets.items()}
    return config, systems, datasets


def _system(tree: Any, where: str) -> SystemEntry:
    if isinstance(tree, str):
        tree = {"spec": tree}
    elif isinstance(tree, list):
        tree = {"seeds": tree}
    elif not isinstance(tree, Mapping):
        raise MMTError(f"{where}: expected a SPEC, a list of them, or keys and values, found {tree!r}.")
    entry = validated(SystemEntry, tree, where)
    if (entry.spec is None) == (not entry.seeds):
        raise MMTError(f"{where}: expected either spec or seeds.")
    if len(set(entry.seeds)) != len(entry.seeds):
        raise MMTError(f"{where}: seeds: one stands twice. Name each once.")
    for spec in entry.specs:
        _check_spec(spec, where)
        if kind_of(spec) not in _LANGUAGE_MODELS and entry.options != SystemOptions():
            own = next(key for key in tree if key not in ("spec", "seeds"))
            raise MMTError(f"{where}: {own} is of hf: and api:, but the system is {spec}.")
    return entry


def _check_spec(spec: str, where: str) -> None:
    kind, colon, rest = spec.partition(":")
    if kind_of(spec) == "api" and not all(rest.rpartition("#")):
        raise MMTError(f"{where}: {spec}: expected api:URL#MODEL.")
    if kind_of(spec) is not None or all(is_base(one) or one.is_dir() for one in members_of(spec)):
        return
    known = [f"{word}:" for word in (*KINDS, *BASES)]
    guess = nearest(f"{kind}:", known) if colon else ""
    raise MMTError(
        f"{where}: {spec}: expected the folder of a model or an exported model, which is not there, or "
        f"{', '.join(known)} and what it names.{guess}"
    )


def _dataset(tree: Any, where: str) -> DatasetEntry:
    if isinstance(tree, str):
        tree = {"data": tree}
    elif not isinstance(tree, Mapping):
        raise MMTError(f"{where}: expected a folder, or keys and values, found {tree!r}.")
    entry = validated(DatasetEntry, tree, where)
    if entry.commute is None and entry.commute_images is not None:
        raise MMTError(f"{where}: commute_images: expected commute, the folder of CoMMuTE, too.")
    entry.split = entry.split or first_test_split(entry.data)
    return entry
