"""``mmt compare``: fusions, features and seeds under one budget, and a table that says which looks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.dataclasses import dataclass

from mmt.config import STRICT, TrainConfig, read_config, read_tree, validated
from mmt.errors import MMTError, nearest

if TYPE_CHECKING:
    from mmt.side_by_side import Training


@dataclass(kw_only=True, config=STRICT)
class CompareConfig:
    """What ``mmt compare`` is told: a recipe, and what is to be varied in it."""

    recipe: Path
    """The training configuration that all runs share; its fusion, features and seed are replaced. A relative path
    starts from the folder of this file."""

    fusions: list[str] | dict[str, list[str]]
    """All of a list with all features; or each with its own, by their names. ``none``, text only, always runs."""

    features: dict[str, list[Path]]
    """Feature stores by a name of your own; several stores in one name stand side by side."""

    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])

    settings: list[str] = field(default_factory=list)
    """``key=value`` for every run, beside the recipe."""

    split: str
    """What the systems are compared on."""

    draws: int = 5
    """Draws of wrong images."""

    control_seed: int = 1
    """Of the first draw."""

    def systems(self) -> list[tuple[str, str]]:
        """(fusion, name of its features), text only first."""
        each = self.fusions if isinstance(self.fusions, dict) else {f: list(self.features) for f in self.fusions}
        pairs = [(fusion, name) for fusion, names in each.items() if fusion != "none" for name in names]
        return [("none", ""), *pairs]


@dataclass(frozen=True, config={"arbitrary_types_allowed": True})
class Run:
    """One cell of the comparison."""

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
    from mmt.fusion import FUSIONS

    config = validated(CompareConfig, read_tree(path), str(path))
    config.recipe = path.parent / config.recipe
    systems = config.systems()
    if len(systems) < 2 or not config.seeds:
        raise MMTError(f"{path}: expected at least one fusion with features, and one seed.")
    for fusion, name in systems:
        if fusion not in FUSIONS:
            raise MMTError(f"{path}: fusions: unknown '{fusion}'.{nearest(fusion, FUSIONS)}")
        if name and name not in config.features:
            raise MMTError(f"{path}: fusions: {fusion}: no features '{name}'.{nearest(name, config.features)}")
    for name, values in (("seeds", config.seeds), ("fusions and features", systems)):
        if len(set(values)) != len(values):
            raise MMTError(f"{path}: {name}: one stands twice in {values}. Name each once.")
    if not all(config.features.values()):
        raise MMTError(f"{path}: features: expected at least one feature store in each.")
    if any("." in name or "/" in name for name in config.features):
        raise MMTError(f"{path}: features: names without '.' and '/', please: they become names of folders.")
    if config.draws < 1:
        raise MMTError(f"{path}: draws: expected at least 1, found {config.draws}.")
    recipe = read_config(config.recipe, [*config.settings, "model.fusion=none"])
    return config, recipe


def runs_of(config: CompareConfig) -> list[Run]:
    """Every cell: seed by seed, so that the first complete comparison comes early."""
    return [
        Run(fusion, name, seed, tuple(config.features[name]) if name else ())
        for seed in config.seeds
        for fusion, name in config.systems()
    ]


def training_of(run: Run, config: CompareConfig, recipe: TrainConfig, out: Path) -> Training:
    """``mmt train`` for a cell, in ``out/runs``."""
    from mmt.side_by_side import Training

    settings = [*config.settings, f"model.fusion={run.fusion}", f"seed={run.seed}"]
    if run.stores:
        settings.append(f"images.features={json.dumps([str(store) for store in run.stores])}")
    return Training(run.name, out / "runs" / run.name, config.recipe, tuple(settings), recipe.regime.num_steps)


def compare(config_file: Path, out: Path, jobs: int, *, only_table: bool = False) -> None:
    """Trains what is not trained yet, scores it, and writes the comparison; see ``mmt compare --help``."""
    from rich.console import Console

    from mmt.lines import make_folder

    console = Console(stderr=True, highlight=False)
    config, recipe = read_compare(config_file)
    runs = runs_of(config)
    _claim(out, config, recipe)
    make_folder(out / "scores")
    trainings = {run: training_of(run, config, recipe, out) for run in runs}
    if not only_table:
        from mmt.side_by_side import train_all

        todo = sum(not training.done for training in trainings.values())
        console.print(f"{len(runs)} runs, {len(runs) - todo} of them done; {jobs} at a time", soft_wrap=True)
        train_all(list(trainings.values()), jobs, console)

    from mmt.compare_scores import score_run
    from mmt.compare_table import tabulate, write_comparison

    done = [run for run in runs if trainings[run].done]
    scores = {run: score_run(run, trainings[run].output / "model", out, config, recipe) for run in done}
    rows = tabulate(scores, config, recipe)
    write_comparison(rows, config, recipe, out)
    left = [run.name for run in runs if run not in done]
    if left:
        console.print(
            f"{len(left)} of {len(runs)} runs are not done yet, such as {left[0]}: the table is of the others. "
            "Give the command again.",
            soft_wrap=True,
        )


def _claim(out: Path, config: CompareConfig, recipe: TrainConfig) -> None:
    """Writes down what is compared on what; refuses a folder that holds another comparison."""
    from mmt.lines import make_folder, write_whole
    from mmt.prepared import read_info

    assert recipe.data.path is not None  # noqa: S101
    info = read_info(recipe.data.path)
    if config.split not in info.splits:
        raise MMTError(f"split: no '{config.split}' in {recipe.data.path}.{nearest(config.split, info.splits)}")
    now: Mapping[str, Any] = {
        "data": info.name,
        "checksum": info.splits[config.split].checksum,
        "split": config.split,
        "draws": config.draws,
        "control_seed": config.control_seed,
    }
    path = out / "comparison.json"
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        for name, value in before.items():
            if now[name] != value:
                raise MMTError(
                    f"{out}: holds a comparison with {name} {value}, now it is {now[name]}. Name another folder."
                )
    else:
        make_folder(out)
        write_whole(path, json.dumps(now, indent=2) + "\n")
