"""``mmt compare`` of systems: evaluates each on each dataset, and writes one table and page."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mmt import __version__
from mmt.data.feature_store import open_features
from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, evidence_of, prepare
from mmt.evidence.findings import NO_REFERENCES, Evidence
from mmt.evidence.leaderboard import FORMAT, Board, Cell, Ranked, rank
from mmt.evidence.measures import LABELS
from mmt.evidence.models import check_seeds
from mmt.evidence.options import kind_of
from mmt.evidence.stored import FailedSystemError
from mmt.evidence.systems import System
from mmt.experiments.leaderboard_answers import BoardData, Member, answered_system, checksum_of
from mmt.experiments.leaderboard_config import DatasetEntry, LeaderboardConfig, SystemEntry, read_leaderboard
from mmt.experiments.stored_metric import StoredMetric
from mmt.inference.threads import use_threads
from mmt.io.atomic import make_folder, write_whole
from mmt.io.shards import Shard
from mmt.io.terminal import console, print_note
from mmt.io.text_files import parse_json
from mmt.io.versions import versions
from mmt.metrics.external import NeuralMetric
from mmt.metrics.translation import leading_metric
from mmt.model.config import is_base
from mmt.report.evidence import write_report
from mmt.report.leaderboard import NAME, print_leaderboard, write_leaderboard

_RANKED = TypeAdapter(Ranked)


@dataclass(frozen=True)
class _Run:
    """What is evaluated: the seeds of each system, by its name; and where the results go."""

    config: LeaderboardConfig
    members: Mapping[str, list[Member]]
    metrics: tuple[StoredMetric, ...]
    out: Path
    only_table: bool
    threads: int | None


def leaderboard(config_file: Path, out: Path, *, only_table: bool = False, threads: int | None = None) -> Board:
    """Evaluates what is not evaluated yet, and writes the evidence on each dataset.

    Args:
        out: gets ``answers/``, what every system answered; the evidence on each dataset, in ``evidence/DATASET``;
            and ``leaderboard.json``, ``.md`` and ``.html``.
        only_table: evaluate nothing: systems without answers have no result.
        threads: of our models, as of ``mmt.inference.open.open_translator``.
    Returns:
        All results. A system that fails on a dataset has a cell with the reason.
    Raises:
        MMTError: a setting or dataset is wrong, or ``out`` holds other datasets under these names.
    """
    config, systems, members, stored, prepared = _opened(config_file, out)
    for metric in stored:
        metric.check()
    _claim(out, config, prepared)
    run = _Run(config, members, stored, out, only_table, threads)
    ranked = {data.name: _evaluate(data, run) for data in prepared}
    settings = {
        "draws": config.draws,
        "seed": config.control_seed,
        "date": time.strftime("%Y-%m-%d"),
        "mmt": __version__,
        **versions("sacrebleu", "scipy"),
    }
    board = Board({name: entry.specs for name, entry in systems.items()}, ranked, settings)
    write_leaderboard(board, out)
    return board


def claim_board(config_file: Path, out: Path) -> int:
    """Writes down what the leaderboard is of, as ``leaderboard`` does, before engines' workers ``answer``.

    Returns:
        How many answers there are: one for each seed of each system on each dataset.
    Raises:
        MMTError: as ``leaderboard``.
    """
    config, _, members, _, prepared = _opened(config_file, out)
    _claim(out, config, prepared)
    return len(prepared) * sum(map(len, members.values()))


def answer(config_file: Path, out: Path, shard: Shard | None, *, threads: int | None = None) -> None:
    """Stores the answers of one shard of the systems on the datasets, and writes nothing else.

    A system that fails has no answers; ``leaderboard`` says why.
    """
    use_threads(threads)
    _, _, members, _, prepared = _opened(config_file, out)
    each = [(data, member) for data in prepared for seeds in members.values() for member in seeds]
    for number, (data, member) in enumerate(each):
        if shard is None or shard.has(number):
            with suppress(FailedSystemError):
                answered_system(member, data, out / "answers", only_table=False, threads=threads)
                print_note(f"{data.name}, {member.name}: answered")


def _opened(
    config_file: Path, out: Path
) -> tuple[
    LeaderboardConfig, dict[str, SystemEntry], dict[str, list[Member]], tuple[StoredMetric, ...], list[BoardData]
]:
    config, systems, entries = read_leaderboard(config_file)
    members = {name: _members(name, entry) for name, entry in systems.items()}
    stored = tuple(StoredMetric(NeuralMetric.parse(spec), out / "answers") for spec in config.metrics)
    return config, systems, members, stored, [_prepare(n, e, config, stored) for n, e in entries.items()]


def print_leaderboard_of(config_file: Path, out: Path, *, only_table: bool, threads: int | None) -> Board:
    """``leaderboard``, which is printed, too, with the address of its page.

    Args:
        threads: of torch, and of ``leaderboard``; None takes one for each core.
    """
    use_threads(threads)
    board = leaderboard(config_file, out, only_table=only_table, threads=threads)
    print_leaderboard(board)
    print_note(str(out / f"{NAME}.html"))
    return board


def _members(name: str, entry: SystemEntry) -> list[Member]:
    """The seeds of a system. Raises MMTError for model folders that differ in more than their seed."""
    if not entry.seeds:
        return [Member(name, entry.specs[0], entry.options)]
    if all(kind_of(spec) is None and not is_base(spec) for spec in entry.seeds):
        check_seeds([Path(spec) for spec in entry.seeds])
    return [Member(f"{name}.seed{n}", spec, entry.options) for n, spec in enumerate(entry.seeds, 1)]


def _prepare(
    name: str, entry: DatasetEntry, config: LeaderboardConfig, metrics: tuple[StoredMetric, ...]
) -> BoardData:
    inputs = Inputs(
        {},
        entry.data,
        entry.split,
        commute=entry.commute,
        commute_images=entry.commute_images,
        draws=config.draws,
        seed=config.control_seed,
        metrics=metrics,
    )
    ready = prepare(inputs, [open_features(stores) for stores in entry.stores])
    if not ready.sentences.has_references:
        raise MMTError(
            f"{entry.data}: split '{entry.split}': expected references, by which systems are ranked, but "
            f"{NO_REFERENCES}. mmt evidence says what the image changes without any."
        )
    return BoardData(name, entry, ready)


def _claim(out: Path, config: LeaderboardConfig, prepared: list[BoardData]) -> None:
    """Writes down what the leaderboard is of; refuses a folder that holds another one."""
    now: dict[str, Any] = {
        "draws": config.draws,
        "control_seed": config.control_seed,
        "datasets": {data.name: _identity(data) for data in prepared},
    }
    make_folder(out)
    path = out / "comparison.json"
    if path.exists():
        before = parse_json(path.read_bytes())
        if "datasets" not in before:
            raise MMTError(f"{out}: holds a comparison of trainings. Name another folder.")
        for name in ("draws", "control_seed"):
            if before[name] != now[name]:
                raise MMTError(
                    f"{out}: holds a leaderboard with {name} {before[name]}, now it is {now[name]}. Name another "
                    "folder."
                )
        for name, identity in now["datasets"].items():
            known = before["datasets"].get(name, {})
            changed = [key for key, value in identity.items() if known and known.get(key) != value]
            if changed and not (changed == ["commute"] and known["commute"] is None):  # it may be added
                raise MMTError(
                    f"{out}: holds results on the dataset '{name}' with other {changed[0]}. Give it another name, "
                    "or name another folder."
                )
        now["datasets"] = before["datasets"] | now["datasets"]
    write_whole(path, json.dumps(now, indent=2) + "\n")


def _identity(data: BoardData) -> dict[str, Any]:
    """What a dataset is known by."""
    splits = data.ready.info.splits
    tasks = {task.key: task.pairs for task in data.ready.tasks}
    return {
        "split": data.entry.split,
        "rows": splits[data.entry.split].checksum,
        "sentences": len(data.ready.sentences.ids),  # those whose image is there
        "contrastive": checksum_of(asdict(tasks["contrastive"])) if "contrastive" in tasks else None,
        "commute": checksum_of(asdict(tasks["commute"])) if "commute" in tasks else None,
    }


def _evaluate(data: BoardData, run: _Run) -> Ranked:
    """All systems on one dataset, with its page; a system that fails is left out of it."""
    able: dict[str, System] = {}
    answered: dict[str, str] = {}
    failures: dict[str, str] = {}
    for member in (member for seeds in run.members.values() for member in seeds):
        try:
            system, identity = answered_system(
                member, data, run.out / "answers", only_table=run.only_table, threads=run.threads
            )
            able[member.name], answered[member.name] = system, identity
        except FailedSystemError as error:
            failures[member.name] = str(error)
            console(errors=True).print(f"{data.name}, {member.name}: no result: {error}", soft_wrap=True)
    while True:
        try:
            ranked = _ranked(data, run, able, [(name, answered[name]) for name in able])
            break
        except FailedSystemError as error:  # in what only the systems together need
            failures[error.name] = str(error)
            del able[error.name]
    cells = {}
    for name, seeds in run.members.items():
        missing = [(member.name, failures[member.name]) for member in seeds if member.name in failures]
        if missing:
            seed, reason = missing[0]
            cells[name] = Cell(failure=reason if len(seeds) == 1 else f"{seed}: {reason}")
        else:
            cells[name] = ranked.cells[name]
    return replace(ranked, cells=cells)


def _ranked(data: BoardData, run: _Run, able: Mapping[str, System], answered: list[tuple[str, str]]) -> Ranked:
    """The results of the systems that have answered, and their page; what was written for the same is read.

    Args:
        answered: of each system its name and the checksum of what it is.
    """
    seeds = {name: [member.name for member in own] for name, own in run.members.items()}
    complete = {name: own for name, own in seeds.items() if all(one in able for one in own)}
    folder, config = run.out / "evidence" / data.name, run.config
    path = folder / "results.json"
    metrics = [f"{metric.metric.kind}:{metric.metric.place}" for metric in run.metrics]
    made_of = checksum_of([__version__, FORMAT, _identity(data), answered, complete, metrics, config.pictures])
    if path.exists():
        before = parse_json(path.read_bytes())
        if before["made_of"] == made_of and (folder / "evidence.html").exists():
            return _RANKED.validate_python(before["results"])
    leading = LABELS[leading_metric(data.ready.sentences.references, data.ready.info.target_lang)[0]]
    if not able:
        return Ranked({"name": data.ready.info.name, "split": data.entry.split}, leading, [], {})
    systems = data.ready.systems(able)
    evidence = _with_seeds(evidence_of(systems, time.monotonic()), complete)
    ranked = rank(evidence, complete, contrasts=data.ready.sentences.contrasts is not None, leading=leading)
    write_report(evidence, folder, systems.files if config.pictures else None)
    results = {"made_of": made_of, "results": _RANKED.dump_python(ranked, mode="json")}
    write_whole(path, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return ranked


def _with_seeds(evidence: Evidence, complete: Mapping[str, list[str]]) -> Evidence:
    """With the numbers of seeds, so that the page does not say that each model was trained once."""
    several = {name: len(own) for name, own in complete.items() if len(own) > 1}
    return replace(evidence, settings=evidence.settings | {"seeds": several}) if several else evidence
