"""Workers that are SLURM jobs, through submitit. Only this module imports submitit."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import submitit

from mmt.engines.losses import Losses
from mmt.engines.spec import Engine
from mmt.engines.worker import Job, Outcome, facts, run, run_apart, serving
from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.shards import Shard

_POLL = 2.0  # seconds between two looks at the outcomes
_WORKERS = 8  # elements of a job array, unless workers=N says otherwise
_DAY = 24 * 60


class SlurmCrew:
    """A job array: each element loads a model once and does its shards one after the other.

    Outcomes are files in ``folder``, which all machines see. What elements leave undone, because their time was
    up or their machine failed, is submitted again. A context, which cancels what still runs at its end.
    """

    def __init__(self, engine: Engine, job: Job, folder: Path) -> None:
        """
        Args:
            folder: where submitit keeps scripts, logs and outcomes; removed when all went well.
        Raises:
            MMTError: no sbatch on this machine.
        """
        self._engine, self._job, self._folder = engine, job, folder
        self.losses = Losses()
        self.cpus = engine.cpus
        self.debugs = engine.where == "debug" and engine.kind == "submitit"
        self.workers = engine.workers or _WORKERS
        if engine.kind == "submitit":
            self.workers = engine.workers or engine.on_this_machine()
        elif shutil.which("sbatch") is None:
            raise MMTError(
                f"--on slurm:{engine.where}: no sbatch here. Run it on a login node of "
                "the cluster, or use --on local."
            )
        self._jobs: list[Any] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # its pickles are loaded by the jobs
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self._jobs:
            if not self.debugs and not job.done():
                job.cancel(check=False)
        if error is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def results(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Outcome]]:
        """Runs the command for each shard; yields outcomes as they come.

        Raises:
            MMTError: SLURM refuses the jobs, or they end again and again before their shards are done.
        """
        executor = self._executor()
        todo = list(shards)
        while todo:
            # A new folder each time: an earlier run that failed has left its outcomes.
            outcomes = Path(tempfile.mkdtemp(dir=self._folder.absolute(), prefix="outcomes-"))
            count = min(self.workers, len(todo))
            groups = [
                _Group(self._job, tuple(shard.number for shard in todo[n::count]), todo[0].count, str(outcomes))
                for n in range(count)
            ]
            jobs = self._submit(executor, groups)
            waiting = set(todo)
            while waiting:
                ended = [job.result() is None if self.debugs else job.done() for job in jobs]
                for shard in sorted(waiting, key=lambda one: one.number):
                    with suppress(FileNotFoundError):
                        outcome = Outcome(**json.loads((outcomes / f"{shard.number}.json").read_text("utf-8")))
                        waiting.discard(shard)
                        self.losses.finished()
                        yield shard, outcome
                if all(ended) or not waiting:
                    break
                time.sleep(_POLL)
            todo = sorted(waiting, key=lambda one: one.number)
            if todo:
                self.losses.lost(self._why(jobs))

    def launch(self, words: Sequence[str], log: Path) -> _Training:
        """Submits ``mmt`` with these words; its output goes to ``log``."""
        return _Training(self, replace(self._job, words=tuple(words)), log)

    def submit(self, work: Callable[[], Any]) -> Any:
        """Submits a function as a job of its own."""
        return self._submit(self._executor(), [work])[0]

    def _executor(self) -> Any:
        engine = self._engine
        name = "slurm" if engine.kind == "slurm" else engine.where
        executor = submitit.AutoExecutor(folder=self._folder / "jobs", cluster=name)
        try:
            minutes = int(engine.settings.get("time", _DAY))
            memory = int(engine.settings["mem"]) if "mem" in engine.settings else None
        except ValueError:
            raise MMTError("--on slurm: time= and mem=: expected whole minutes and GB.") from None
        parameters: dict[str, Any] = {
            "name": "mmt",
            "timeout_min": minutes,
            "cpus_per_task": engine.cpus,
            "gpus_per_node": int(engine.gpus) or None,
            "mem_gb": memory,
        }
        if engine.kind == "slurm":
            rest = {f"slurm_{key}": value for key, value in engine.settings.items() if key not in ("time", "mem")}
            parameters |= {"slurm_partition": engine.where, "slurm_array_parallelism": self.workers, **rest}
        executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
        return executor

    def _submit(self, executor: Any, groups: Sequence[Callable[[], Any]]) -> list[Any]:
        try:
            with executor.batch():
                jobs = [executor.submit(group) for group in groups]
        except (submitit.core.utils.FailedJobError, OSError) as error:  # sbatch's own message
            lines = str(error).strip().splitlines() or ["no message"]
            raise MMTError(f"--on slurm:{self._engine.where}: sbatch: {lines[-1].strip()}") from None
        self._jobs += jobs
        return jobs

    def _why(self, jobs: Sequence[Any]) -> str:
        """How the last of the jobs ended that left something undone."""
        for job in reversed(jobs):
            lines = [] if self.debugs else (job.stderr() or "").strip().splitlines()
            if lines:
                return f"{job.state}: {lines[-1].strip()} (logs: {self._folder / 'jobs'})"
        return f"logs: {self._folder / 'jobs'}"


class _Training:
    """A job, submitted again if it is lost; a ``Process`` of ``mmt.engines.run``."""

    def __init__(self, crew: SlurmCrew, job: Job, log: Path) -> None:
        self._crew, self._work = crew, _Apart(job, str(log.absolute()), crew.cpus)
        self.returncode: int | None = None
        self._job = crew.submit(self._work)

    def poll(self) -> int | None:
        if self.returncode is None and (self._crew.debugs or self._job.done()):
            try:
                self.returncode = self._job.result()
                self._crew.losses.finished()
            except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
                self._crew.losses.lost(str(error).strip().splitlines()[0], self._crew.workers)
                self._job = self._crew.submit(self._work)
        return self.returncode

    def terminate(self) -> None:
        if self.returncode is None:
            self.returncode = -signal.SIGTERM
            self._job.cancel(check=False)

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(_POLL)
        return code


class _Apart:
    """A command in a process of its own, as submitit stores and calls it."""

    def __init__(self, job: Job, log: str, cpus: int) -> None:
        self._job, self._log, self._cpus = job, log, cpus

    def __call__(self) -> int:
        return run_apart(self._job, Path(self._log), self._cpus)


class _Group:
    """The shards of one element of the array, as submitit stores and calls it."""

    def __init__(self, job: Job, numbers: tuple[int, ...], count: int, outcomes: str) -> None:
        self._job, self._numbers, self._count, self._outcomes = job, numbers, count, outcomes

    def __call__(self) -> None:
        about = facts(self._job)
        with serving():
            for number in self._numbers:
                outcome = Outcome(2, about.refusal, about.host) if about.refusal else None
                outcome = outcome or run(self._job, Shard(number, self._count))
                if outcome.stopped:  # its time is up, or another job needs the machine
                    return
                write_whole(Path(self._outcomes) / f"{number}.json", json.dumps(asdict(outcome)))
                if outcome.code:
                    return
