"""Several trainings on one machine, each in a process of its own, with a progress bar for each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
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


def train_all(trainings: Sequence[Training], jobs: int, console: Console) -> list[Training]:
    """Runs the trainings that are not done, ``jobs`` at a time; an interrupted one resumes.

    Returns:
        Those that another process is running.
    Raises:
        MMTError: one failed, with the last line of its log; the others are stopped, and resume another time.
    """
    threads = max((os.cpu_count() or 2) // jobs, 1)
    waiting, elsewhere = [training for training in trainings if not training.done], []
    running: dict[TaskID, tuple[Training, subprocess.Popen[bytes], Lock]] = {}
    name = TextColumn("{task.description}", markup=False)  # a run's name has the user's name of features
    columns = (name, BarColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    training = waiting.pop(0)
                    if (lock := claim(training.output)) is None:
                        elsewhere.append(training)
                        continue
                    if training.done:  # by another process, since the list was made
                        lock.close()
                        continue
                    bar = progress.add_task(training.name, total=training.num_steps, loss="")
                    running[bar] = (training, _begin(training, threads, lock), lock)
                time.sleep(0.5)
                for bar, (training, process, lock) in list(running.items()):
                    step, loss = _last_report(training.output)
                    progress.update(bar, completed=step, loss=f"loss {loss:.2f}" if step else "")
                    if process.poll() is not None:
                        progress.remove_task(bar)
                        del running[bar]
                        lock.close()
                        if process.returncode or not training.done:
                            raise MMTError(_failure(training))
        finally:
            for _, process, _ in running.values():
                process.terminate()
            for _, process, lock in running.values():
                process.wait()
                lock.close()
    return [training for training in elsewhere if not training.done]


def _begin(training: Training, threads: int, lock: Lock) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mmt.cli", "train", str(training.output)]
    command += ["--config-file", str(training.config_file)]
    for module in imported:
        command += ["--import", module]
    for setting in (*(s for s in training.settings if not s.startswith("threads=")), f"threads={threads}"):
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
