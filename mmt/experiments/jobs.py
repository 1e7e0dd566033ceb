"""Several trainings, on one machine or an engine, each in a process of its own, with a progress bar for each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mmt.engines.run import Crew, Process, crew_of
from mmt.engines.spec import Engine
from mmt.engines.worker import Job, launch
from mmt.errors import MMTError
from mmt.inference.describe import last_report
from mmt.io.atomic import Lock, hold
from mmt.io.plugins import imported


@dataclass(frozen=True)
class Training:
    """One call of ``mmt train``; its output goes to ``output/train.log``."""

    name: str
    output: Path
    config_file: Path
    settings: tuple[str, ...]
    num_steps: int

    @property
    def done(self) -> bool:
        return (self.output / "model" / "mmt.json").is_file()


def claim(output: Path, *, wait: bool = False) -> Lock | None:
    """A lock on ``output``, held until it is closed; None if another process, on any machine, holds it.

    Args:
        wait: for the other process to release it, instead.
    Raises:
        MMTError: the file system has no locks.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    return hold(output.parent / f".{output.name}.claim", wait=wait, note=True, remove=True)


@dataclass(frozen=True)
class Places:
    """Where trainings run. jobs: how many at a time. threads: of each. crew: an engine's; None is this machine."""

    jobs: int
    threads: int
    crew: Crew | None = None

    @classmethod
    def here(cls, jobs: int) -> Places:
        """On this machine, whose cores ``jobs`` trainings share."""
        return cls(jobs, threads_of(jobs))


@contextmanager
def places(engine: Engine | None, out: Path, jobs: int) -> Iterator[Places]:
    """The places of an engine, or ``jobs`` on this machine.

    Args:
        out: beside which SLURM's jobs keep their files.
    Raises:
        MMTError: as ``crew_of``.
    """
    if engine is None:
        yield Places.here(jobs)
        return
    with crew_of(engine, Job("", (), os.getcwd()), out) as crew:
        yield Places(crew.workers, crew.cpus, crew)


def threads_of(jobs: int) -> int:
    """How many cores each of ``jobs`` trainings at a time gets."""
    return max((os.cpu_count() or 2) // jobs, 1)


def train_all(
    trainings: Iterable[Training],
    where: Places,
    console: Console,
    *,
    hopeless: Callable[[Training], bool] | None = None,
    ended: Callable[[Training, str | None], object] | None = None,
) -> list[Training]:
    """Runs the trainings that are not done, as many at a time as there are places; an interrupted one resumes.

    Args:
        trainings: the next is taken when there is room for it.
        hopeless: asked again and again of a running training; if so, it is stopped.
        ended: called with each training that ended and, if it failed, why. A failure is then no error.
    Returns:
        Those that another process is running.
    Raises:
        MMTError: one failed, with the last line of its log; the others are stopped, and resume another time.
    """
    waiting, elsewhere = iter(trainings), []
    running: dict[TaskID, tuple[Training, Process, Lock]] = {}
    stopped: set[TaskID] = set()
    name = TextColumn("{task.description}", markup=False)  # a run's name has the user's name of features
    columns = (name, BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        try:
            more = True
            while more or running:
                while more and len(running) < where.jobs:
                    training = next(waiting, None)
                    if training is None:
                        more = False
                    elif (lock := _free(training)) is not None:
                        bar = progress.add_task(training.name, total=training.num_steps, loss="")
                        running[bar] = (training, _begin(training, where, lock), lock)
                    elif not training.done:
                        elsewhere.append(training)
                    elif ended is not None:
                        ended(training, None)
                time.sleep(0.5 if running else 0)
                for bar, (training, process, lock) in list(running.items()):
                    step, loss = _last_report(training.output)
                    progress.update(bar, completed=step, loss=f"loss {loss:.2f}" if step else "")
                    if process.poll() is None:
                        if bar not in stopped and hopeless is not None and hopeless(training):
                            stopped.add(bar)
                            process.terminate()
                        continue
                    progress.remove_task(bar)
                    del running[bar]
                    lock.close()
                    failed = bar not in stopped and (process.returncode != 0 or not training.done)
                    if failed and ended is None:
                        raise MMTError(_failure(training))
                    if ended is not None:
                        ended(training, _failure(training) if failed else None)
        finally:
            for _, process, _ in running.values():
                process.terminate()
            for _, process, lock in running.values():
                process.wait()
                lock.close()
    return [training for training in elsewhere if not training.done]


def _free(training: Training) -> Lock | None:
    """The lock of a training that is neither done nor held by another process."""
    lock = None if training.done else claim(training.output)
    if lock is not None and training.done:  # by another process, in between
        lock.close()
        return None
    return lock


def _begin(training: Training, where: Places, lock: Lock) -> Process:
    command = ["train", str(training.output)]
    command += ["--config-file", str(training.config_file)]
    for module in imported:
        command += ["--import", module]
    # Without graphs, which take as long to write as a small training: these models are compared, and few are kept.
    settings = ["decoding.export=false", *(s for s in training.settings if not s.startswith("threads="))]
    for setting in (*settings, f"threads={where.threads}"):
        command += ["--config", setting]
    log = training.output / "train.log"
    if where.crew is not None:
        return where.crew.launch(command, log)
    # It holds the lock, too, should it outlive this process.
    return launch(command, log, where.threads, descriptors=[lock.fileno()])


def _last_report(output: Path) -> tuple[int, float]:
    """The last reported update of a run and its loss."""
    last = last_report(output / "metrics" / "train.jsonl")
    return (last["Step"], last["NLL Loss"]) if last else (0, 0.0)


def _failure(training: Training) -> str:
    log = (training.output / "train.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    why = log[-1].removeprefix("error: ") if log else "no output."
    return f"training {training.name} failed: {why} See {training.output}/train.log."
