"""Runs a command's shards on an engine, from the process that the user started: the driver."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tqdm import tqdm

from mmt.engines.local import LocalCrew
from mmt.engines.losses import Losses
from mmt.engines.spec import Engine
from mmt.engines.worker import Job, Outcome
from mmt.errors import MMTError
from mmt.io.atomic import only_writer
from mmt.io.shards import Shard, parts_folder, shards_there

_SHARDS_A_WORKER = 4  # so that a slow or late worker delays the end by a quarter at most
_MERGES = 3  # attempts after the first


class Process(Protocol):
    """A command in a process of its own on a worker: what is used of ``subprocess.Popen``."""

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def wait(self) -> int: ...


class Crew(Protocol):
    """The workers of one engine; a context in which they exist. cpus: of each."""

    workers: int
    cpus: int
    losses: Losses

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def results(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Outcome]]:
        """Runs the command for each shard; yields each once, with its outcome, as they come."""

    def launch(self, words: Sequence[str], log: Path) -> Process:
        """Starts ``mmt`` with these words, in a process of its own; its output goes to ``log``."""


def crew_of(engine: Engine, job: Job, output: Path) -> Crew:
    """
    Args:
        output: beside which SLURM's jobs keep their files.
    Raises:
        MMTError: the engine is not there.
    """
    # Imported here: each is a library of its own, which the other engines do not need.
    if engine.kind == "ray":
        from mmt.engines.ray_crew import RayCrew

        return RayCrew(engine, job)
    if engine.kind in ("slurm", "submitit"):
        from mmt.engines.slurm import SlurmCrew

        return SlurmCrew(engine, job, output.with_name(f".{output.name}.submitit"))
    return LocalCrew(engine, job)


def run_shards(
    engine: Engine, job: Job, outputs: Sequence[Path], *, count: int | None = None, quiet: bool = False
) -> None:
    """Runs a command for every shard; the one that finishes last merges the parts of each output.

    Interrupted at any moment, the same call resumes from the parts that are complete, also on another engine.

    Args:
        count: the number of shards; None takes the engine's, that of the parts there, or four for each worker.
        quiet: show no progress bar and no messages.
    Raises:
        MMTError: the engine is not there, a shard failed, another process does the same, or workers are lost
            again and again.
        RuntimeError: a bug in the command, with its traceback.
    """
    output = outputs[0]
    with only_writer(output.with_name(f"{output.name}.on")), crew_of(engine, job, output) as crew:
        # Two at least: a command does not look at the parts there if its shard is the whole.
        count = max(count or engine.shards or shards_there(output) or _SHARDS_A_WORKER * crew.workers, 2)
        shards = [Shard(number, count) for number in range(count)]
        with tqdm(total=count, unit=" shards", disable=True if quiet else None) as bar:
            _run(crew, shards, bar, quiet=quiet)
            for _ in range(_MERGES):  # a worker was lost while it merged the parts
                if _parts_left(outputs):
                    _run(crew, shards[:1], bar, quiet=quiet)
    if left := _parts_left(outputs):
        raise MMTError(
            f"{left[0]}: expected its parts to be merged, but it is still there after {1 + _MERGES} attempts. "
            "Remove the folder if its parts are of another job, and rerun the command."
        )


def _parts_left(outputs: Sequence[Path]) -> list[Path]:
    return [folder for folder in map(parts_folder, outputs) if folder.exists()]


def _run(crew: Crew, shards: Sequence[Shard], bar: tqdm[Any], *, quiet: bool) -> None:
    for shard, outcome in crew.results(shards):
        where = f"shard {shard} on {outcome.host}"
        if outcome.code == 2:
            raise MMTError(f"{where}: {outcome.last_line}")
        if outcome.code:
            raise RuntimeError(f"{where}: exit code {outcome.code}\n{outcome.text}")
        bar.update()
        if crew.losses.total:
            bar.set_postfix_str(f"{crew.losses.total} workers lost")
        if not quiet:
            text = outcome.text.strip().replace("\n", "\n  ")
            bar.write(f"{where}: {text}", file=sys.stderr)
