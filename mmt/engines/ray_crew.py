"""Workers that are actors of a Ray cluster. Only this module imports Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    WorkerCrashedError,
)

from mmt.engines.losses import Losses
from mmt.engines.spec import Engine
from mmt.engines.worker import Facts, Job, Outcome
from mmt.errors import MMTError
from mmt.io.shards import Shard
from mmt.io.terminal import counted

_POLL = 1.0  # seconds between two looks at the cluster: nodes may have come
_HEALTH = 90  # seconds in which a busy machine, too, can tell whether Ray answers
_SILENT = 15  # seconds without an answer of the head
_LOST = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError, LocalRayletDiedError)


class RayCrew:
    """Actors, as many as fit into the cluster; each loads a model once and does one shard after the other.

    A shard whose worker or machine is lost is done again by another one. A context, in which the process is
    connected to the cluster.
    """

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine, self._job = engine, job
        self.losses = Losses()
        self.cpus = engine.cpus
        self._next_look = self._looked = self._answered = 0.0
        self._unanswered = 0  # looks in a row
        self.workers = engine.workers or 1  # known when connected

    def __enter__(self) -> Self:
        self._connect()
        try:
            with _in_one_line():
                fit = self._room()
            if not fit and self._engine.workers is None:
                raise MMTError(
                    f"ray: no machine of the cluster has {self._needs()} for a worker. Ask for less, or name "
                    "workers=N to wait for machines that are to come."
                )
        except BaseException:
            ray.shutdown()
            raise
        self.workers = self._engine.workers or fit
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray.shutdown()  # its actors end with it

    def results(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Outcome]]:
        """Runs the command for each shard; yields outcomes as they come.

        Raises:
            MMTError: a worker has another version of mmt, or none, or does not see the files; workers are lost
                again and again; the cluster is gone.
        """
        todo = deque(shards)
        tasks: dict[Any, tuple[Any, Shard | None]] = {}  # the actor, and what it does: None, it starts
        actor = self.actor()
        with _in_one_line():
            while todo or any(shard is not None for _, shard in tasks.values()):
                # First: what asks a head that is gone waits until Ray ends this process.
                if self.check_head() and todo and self._engine.workers is None:
                    self.workers = max(self._room(), 1)
                busy = sum(shard is not None for _, shard in tasks.values())
                for _ in range(len(tasks), min(self.workers, busy + len(todo))):
                    one = actor.remote(asdict(self._job))
                    tasks[one.facts.remote()] = one, None
                ready, _ = ray.wait(list(tasks), num_returns=1, timeout=_POLL)
                for task in ready:
                    one, shard = tasks.pop(task)
                    try:
                        result = ray.get(task)
                    except _LOST as error:
                        if shard is not None:
                            todo.appendleft(shard)
                        with contextlib.suppress(RayError):
                            ray.kill(one)
                        self.losses.lost(_first_line(error), self.workers)
                        continue
                    if shard is None:
                        self._check(Facts(**result))
                    elif (outcome := Outcome(**result)).stopped:
                        todo.appendleft(shard)
                        self.losses.lost(outcome.last_line, self.workers)
                        continue
                    else:
                        self.losses.finished()
                        yield shard, outcome
                    if todo:
                        following = todo.popleft()
                        tasks[one.run.remote(following.number, following.count)] = one, following

    def actor(self) -> Any:
        """The class of actors, with their resources."""
        return ray.remote(_actor_class()).options(num_cpus=self.cpus, num_gpus=self._engine.gpus, max_restarts=0)

    def launch(self, words: Sequence[str], log: Path) -> _Training:
        """Starts ``mmt`` with these words on a worker, in a process of its own; its output goes to ``log``."""
        with _in_one_line():
            return _Training(self, replace(self._job, words=tuple(words)), log)

    def check_head(self) -> bool:
        """Whether the cluster's head answered when it was last asked, at most a second ago.

        Raises:
            MMTError: it has not answered for long: Ray would end this process.
        """
        now = time.monotonic()
        if now < self._next_look:
            return self._answered >= self._looked
        self._next_look, self._looked = now + _POLL, now
        if _answers(self._address):
            self._answered, self._unanswered = now, 0
            return True
        self._unanswered += 1
        # Two looks: a process that was itself stopped for a while was there to see an answer between them.
        if self._unanswered > 1 and now - self._answered > _SILENT:
            raise MMTError(
                f"ray: the head of the cluster, {self._address}, has not answered for {_SILENT} s. What is "
                "complete is kept: rerun the command to resume, there or with --on local."
            )
        return False

    def _connect(self) -> None:
        address = self._engine.where or os.environ.get("RAY_ADDRESS") or None
        if address is not None and "://" not in address:
            _check_address(address)
        try:
            ray.init(
                address=address,
                namespace="mmt",
                logging_level=logging.ERROR,
                log_to_driver=False,
                configure_logging=False,
                include_dashboard=False if address is None else None,
            )
        except (RayError, ConnectionError, ImportError, OSError, RuntimeError, ValueError) as error:
            raise MMTError(f"ray: cannot connect to {address or 'a cluster'}: {_first_line(error)}") from None
        self._address: str = ray.get_runtime_context().gcs_address
        self._next_look = self._looked = self._answered = time.monotonic()  # connecting may have taken long

    def _room(self) -> int:
        """How many workers fit into all machines, were they idle."""
        count = 0
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            has = node["Resources"] if node["Alive"] else {}
            fits = has.get("CPU", 0) // self._engine.cpus
            if self._engine.gpus:
                fits = min(fits, has.get("GPU", 0) // self._engine.gpus)
            count += int(fits)
        return count

    def _needs(self) -> str:
        cpus, gpus = counted(self._engine.cpus, "CPU"), self._engine.gpus
        return f"{cpus} and {gpus:g} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else cpus

    def _check(self, worker: Facts) -> None:
        """Raises MMTError for a worker that would not do what the others do."""
        if worker.refusal:
            raise MMTError(f"ray: the worker on {worker.host}: {worker.refusal}")
        first: Facts | None = getattr(self, "_first", None)
        if first is None:
            self._first = worker
        elif first.libraries != worker.libraries:
            names = sorted({*first.libraries, *worker.libraries})
            name = next(one for one in names if first.libraries.get(one) != worker.libraries.get(one))
            raise MMTError(
                f"ray: {name} is {first.libraries.get(name, 'missing')} on {first.host} and "
                f"{worker.libraries.get(name, 'missing')} on {worker.host}: their parts might differ. Install one "
                "version everywhere."
            )


class _Training:
    """A process on a worker, started again if the worker is lost; a ``Process`` of ``mmt.engines.run``."""

    def __init__(self, crew: RayCrew, job: Job, log: Path) -> None:
        self._crew, self._job, self._log = crew, job, str(log.absolute())
        self.returncode: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._actor = self._crew.actor().remote(asdict(self._job))
        self._task = self._actor.apart.remote(self._log, self._crew.cpus)

    def poll(self) -> int | None:
        with _in_one_line():
            if self.returncode is None and ray.wait([self._task], timeout=0)[0]:
                try:
                    self.returncode = ray.get(self._task)
                    self._crew.losses.finished()
                except _LOST as error:
                    with contextlib.suppress(RayError):  # it may run on, where it cannot be reached for a while
                        ray.kill(self._actor)
                    self._crew.losses.lost(_first_line(error), self._crew.workers)
                    self._begin()
        self._crew.check_head()
        return self.returncode

    def terminate(self) -> None:
        if self.returncode is None:
            self.returncode = -signal.SIGTERM
            with contextlib.suppress(RayError):
                ray.kill(self._actor)  # its process gets SIGTERM then

    def wait(self) -> int:
        while (code := self.poll()) is None:
            with _in_one_line():
                ray.wait([self._task], timeout=_POLL)
        return code


def _actor_class() -> type[Any]:
    """The actors' class. Made here, so that it is sent to the workers, whether mmt is installed there or not."""

    class Actor:
        def __init__(self, job: dict[str, Any]) -> None:
            self._job: Any = job

        def facts(self) -> dict[str, Any]:
            import platform
            from dataclasses import asdict

            try:
                from mmt.engines import worker
            except ImportError as error:
                why = f"mmt is not installed there ({error}). Install it, as here."
                return {"host": platform.node(), "libraries": {}, "refusal": why}
            self._job = worker.Job(**{**self._job, "words": tuple(self._job["words"])})
            self._serving = worker.serving()
            self._serving.__enter__()
            return asdict(worker.facts(self._job))

        def apart(self, log: str, cpus: int) -> int:
            from pathlib import Path

            about = self.facts()
            if about["refusal"]:
                with Path(log).open("a", encoding="utf-8") as stream:
                    stream.write(f"error: the worker on {about['host']}: {about['refusal']}\n")
                return 2
            from mmt.engines import worker

            return worker.run_apart(self._job, Path(log), cpus)

        def run(self, number: int, count: int) -> dict[str, Any]:
            from dataclasses import asdict

            from mmt.engines import worker
            from mmt.io.shards import Shard

            return asdict(worker.run(self._job, Shard(number, count)))

    return Actor


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        raise MMTError(f"ray: {type(error).__name__}: {_first_line(error)} Rerun the command to resume.") from None


def _first_line(error: BaseException) -> str:
    return " ".join((str(error).strip().splitlines() or [type(error).__name__])[0].split())


def _check_address(address: str) -> None:
    """Raises MMTError where no Ray answers: Ray itself would wait for minutes, and end the process."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise MMTError(f"ray:{address}: expected HOST:PORT of the cluster's head, such as ray:10.0.0.1:6379.")
    why = "nothing listens there"
    if _answers(address):
        command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        try:
            if subprocess.run(command, capture_output=True, timeout=_HEALTH, check=False).returncode == 0:  # noqa: S603
                return
            why = "what listens there is no Ray, or another version of it"
        except subprocess.TimeoutExpired:
            why = "what listens there does not answer as Ray does"
    raise MMTError(f"ray:{address}: no Ray cluster: {why}. Start one (ray start --head), or use --on local.")


def _answers(address: str) -> bool:
    """Whether something listens there."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return True
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False
