"""Several trainings on one machine, each in a process of its own, with a progress bar for each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mmt.errors import MMTError
from mmt.inference.describe import last_report
from mmt.io.atomic import Lock, hold
from mmt.io.plugins import imported

# A training process must not take itself for one of several that train one model together.
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_")


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


def threads_of(jobs: int) -> int:
    """How many cores each of ``jobs`` trainings at a time gets."""
    return max((os.cpu_count() or 2) // jobs, 1)


def train_all(
    trainings: Iterable[Training],
    jobs: int,
    console: Console,
    *,
    hopeless: Callable[[Training], bool] | None = None,
    ended: Callable[[Training, str | None], object] | None = None,
) -> list[Training]:
    """Runs the trainings that are not done, ``jobs`` at a time; an interrupted one resumes.

    Args:
        trainings: the next is taken when there is room for it.
        hopeless: asked again and again of a running training; if so, it is stopped.
        ended: called with each training that ended and, if it failed, why. A failure is then no error.
    Returns:
        Those that another process is running.
    Raises:
        MMTError: one failed, with the last line of its log; the others are stopped, and resume another time.
    """
    threads = threads_of(jobs)
    waiting, elsewhere = iter(trainings), []
    running: dict[TaskID, tuple[Training, subprocess.Popen[bytes], Lock]] = {}
    stopped: set[TaskID] = set()
    name = TextColumn("{task.description}", markup=False)  # a run's name has the user's name of features
    columns = (name, BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        try:
            more = True
            while more or running:
                while more and len(running) < jobs:
                    training = next(waiting, None)
                    if training is None:
                        more = False
                    elif (lock := _free(training)) is not None:
                        bar = progress.add_task(training.name, total=training.num_steps, loss="")
                        running[bar] = (training, _begin(training, threads, lock), lock)
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


def _begin(training: Training, threads: int, lock: Lock) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mmt.cli", "train", str(training.output)]
    command += ["--config-file", str(training.config_file)]
    for module in imported:
        command += ["--import", module]
    # Without graphs, which take as long to write as a small training: these models are compared, and few are kept.
    settings = ["decoding.export=false", *(s for s in training.settings if not s.startswith("threads="))]
    for setting in (*settings, f"threads={threads}"):
        command += ["--config", setting]
    training.output.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER)}
    environment["OMP_NUM_THREADS"] = str(threads)
    with (training.output / "train.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[lock.fileno()],  # so that it holds the lock, too, should it outlive this process
        )


def _last_report(output: Path) -> tuple[int, float]:
    """The last reported update of a run and its loss."""
    last = last_report(output / "metrics" / "train.jsonl")
    return (last["Step"], last["NLL Loss"]) if last else (0, 0.0)


def _failure(training: Training) -> str:
    log = (training.output / "train.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    why = log[-1].removeprefix("error: ") if log else "no output."
    return f"training {training.name} failed: {why} See {training.output}/train.log."
