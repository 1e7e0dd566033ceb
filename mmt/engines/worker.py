"""A worker: runs a command for one shard after another, in one process, so that it loads a model once."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from mmt import __version__
from mmt.io.shards import WORKER_SHARD, Shard
from mmt.io.signals import ENDS_WITH_PARENT, end_with_parent

_Made = TypeVar("_Made")

# A process that a worker starts must not take itself for one of several that train one model together.
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_")

# Two versions of one of these may round differently, and the parts of one output must not.
_LIBRARIES = (
    "torch",
    "torchvision",
    "onnxruntime",
    "openvino",
    "numpy",
    "pillow",
    "sentencepiece",
    "tokenizers",
    "transformers",
)


@dataclass(frozen=True)
class Job:
    """A command, as its workers run it.

    entry: ``module:name`` of the click command that gets ``words``. words: the command's arguments.
    folder: the working folder, which all workers must see. version: of mmt, where the job comes from.
    """

    entry: str
    words: tuple[str, ...]
    folder: str
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How the command ended for one shard: its exit code, what it printed, and on which machine."""

    code: int
    text: str
    host: str

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped the worker, so that another one does the shard again."""
        return self.code > 128

    @property
    def last_line(self) -> str:
        return (self.text.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")


@dataclass(frozen=True)
class Facts:
    """What a worker is: its machine, its libraries; ``refusal`` says why it cannot do the job, or is empty."""

    host: str
    libraries: dict[str, str]
    refusal: str = ""


_kept: dict[str, Any] | None = None


def kept(name: str, make: Callable[[], _Made]) -> _Made:
    """What ``make`` returns; a worker, whose shards all have the same options, makes it once.

    Args:
        name: of what it is, once in a command.
    """
    if _kept is None:
        return make()
    if name not in _kept:
        _kept[name] = make()
    made: _Made = _kept[name]
    return made


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """In this block the process is a worker: what ``kept`` makes for one shard serves the next one, too."""
    global _kept
    before, _kept = _kept, {}
    try:
        yield
    finally:
        _kept = before


def facts(job: Job) -> Facts:
    """Of this process, for the job."""
    host = platform.node()
    refusal = ""
    if job.version != __version__:
        refusal = f"mmt {__version__} is installed there, {job.version} here. Install one version everywhere."
    elif not os.path.isdir(job.folder):
        refusal = f"it has no folder {job.folder}. All machines must see the same files under the same names."
    libraries = {}
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):  # a small install has no torch
            libraries[name] = version(name)
    return Facts(host, libraries, refusal)


def run(job: Job, shard: Shard) -> Outcome:
    """Runs the command for one shard; whatever happens is in the outcome."""
    module, _, name = job.entry.partition(":")
    printed = io.StringIO()
    folder, shard_before = os.getcwd(), os.environ.get(WORKER_SHARD)
    code = 0
    try:
        os.chdir(job.folder)
        os.environ[WORKER_SHARD] = str(shard)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                getattr(import_module(module), name).main(
                    args=list(job.words), prog_name="mmt", standalone_mode=False
                )
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except Exception as error:
                if (show := getattr(error, "show", None)) is not None:  # of click: a usage error
                    show(printed)
                    code = 2
                else:
                    traceback.print_exc(file=printed)
                    code = 1
    finally:
        os.chdir(folder)
        if shard_before is None:
            os.environ.pop(WORKER_SHARD, None)
    return Outcome(code, printed.getvalue(), platform.node())


def launch(
    words: Sequence[str], log: Path, cpus: int, *, descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Starts ``mmt`` with these words, in a process of its own; its output goes to ``log``.

    Args:
        cpus: its number of cores.
        descriptors: of this process, that it keeps open, such as a lock's; without any, it ends with this process.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER)}
    environment["OMP_NUM_THREADS"] = str(cpus)
    if not descriptors:
        environment[ENDS_WITH_PARENT] = "1"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "mmt.cli", *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=descriptors,
        )


def run_apart(job: Job, log: Path, cpus: int) -> int:
    """Runs the job's command in a process of its own, to its end, on a worker.

    Returns:
        Its exit code; 2 with a line in ``log`` where this worker cannot do the job.
    """
    if refusal := facts(job).refusal:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"error: the worker on {platform.node()}: {refusal}\n")
        return 2
    os.chdir(job.folder)
    process = launch(job.words, log, cpus)
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Runs the shards whose numbers come on standard input, one a line; outcomes go to standard output.

    The first line is the job and the number of shards, in JSON.
    """
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print does not get between the outcomes
    first = json.loads(sys.stdin.readline())
    job = Job(**{**first["job"], "words": tuple(first["job"]["words"])})
    with serving():
        for line in sys.stdin:
            outcome = run(job, Shard(int(line), first["count"]))
            answers.write(json.dumps(asdict(outcome)) + "\n")
            answers.flush()
            if outcome.stopped:
                break


if __name__ == "__main__":
    # Not as __main__, whose _kept would be another one than the commands'.
    from mmt.engines import worker

    worker.main()
