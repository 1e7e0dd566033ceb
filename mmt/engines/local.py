"""Workers that are processes on this machine."""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mmt.engines.losses import Losses
from mmt.engines.spec import Engine
from mmt.engines.worker import Job, Outcome, launch
from mmt.io.shards import Shard

_GRACE = 30.0  # seconds in which a worker that is told to end can do so


class LocalCrew:
    """Processes of ``mmt.engines.worker``, each of which does one shard after the other. A context."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._job = job
        self.workers = engine.workers or engine.on_this_machine()
        self.losses = Losses()
        self.cpus = engine.cpus
        self._all: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._all:
            worker.stop()
        for worker in self._all:
            worker.end()

    def launch(self, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts ``mmt`` with these words in a process of its own; its output goes to ``log``."""
        return launch(words, log, self.cpus)

    def results(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Outcome]]:
        """Runs the command for each shard; yields outcomes as they come.

        Raises:
            MMTError: workers are killed again and again.
        """
        todo, idle, busy = deque(shards), list[_Worker](), dict[_Worker, Shard]()
        with selectors.DefaultSelector() as selector:
            while todo or busy:
                while todo and len(busy) < self.workers:
                    if not idle:
                        worker = _Worker(self._job, todo[0].count)
                        self._all.append(worker)
                        selector.register(worker.answers, selectors.EVENT_READ, worker)
                        idle.append(worker)
                    worker = idle.pop()
                    busy[worker] = shard = todo.popleft()
                    worker.begin(shard)
                for key, _ in selector.select():
                    worker = key.data
                    done = busy.pop(worker, None)
                    line = worker.answers.readline()  # not whole if the worker was killed meanwhile
                    outcome = Outcome(**json.loads(line)) if line.endswith("\n") else None
                    if done is None:  # it ended while it had nothing to do
                        selector.unregister(worker.answers)
                        idle.remove(worker)
                    elif outcome is not None and not outcome.stopped:
                        self.losses.finished()
                        idle.append(worker)
                        yield done, outcome
                    else:
                        selector.unregister(worker.answers)
                        todo.appendleft(done)
                        how = worker.end()
                        self.losses.lost(how if outcome is None else outcome.last_line, self.workers)


class _Worker:
    def __init__(self, job: Job, count: int) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        self.process = subprocess.Popen(  # our own interpreter and module
            [sys.executable, "-m", "mmt.engines.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl+C reaches the driver, which ends its workers
        )
        assert self.process.stdin is not None  # noqa: S101
        assert self.process.stdout is not None  # noqa: S101
        self.answers: IO[str] = self.process.stdout
        self._tell(json.dumps({"job": asdict(job), "count": count}))

    def begin(self, shard: Shard) -> None:
        self._tell(str(shard.number))

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its answers say
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Tells the process to end."""
        with contextlib.suppress(OSError):
            self.process.terminate()
        # A worker that takes the signal for the end of its shard neither waits for another one nor for a reader.
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def end(self) -> str:
        """Ends the process; returns how it ended, or had ended."""
        self.stop()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._errors.closed:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how} ({lines[-1]})" if lines else how
