"""Shards: several processes share one job, each writes a part of the output, and the last one merges the parts.

``OUT.parts/`` lies beside ``OUT``, where all processes see it: ``plan.json`` describes the job, ``2-of-8`` is the
part of shard 2, and ``2-of-8.done`` marks it as complete. When all parts are complete, one process merges them
into ``OUT``, exactly as one process alone would have written it, and removes the folder. The same command resumes
or restarts an unfinished part; any of the processes can resume the merge. Locks, which end with their process,
keep two processes from working on one shard and from merging at the same time: the file system must support locks
between machines.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mmt.errors import MMTError
from mmt.io.atomic import (
    Lock,
    hold,
    holder,
    made_beside,
    remove_folder,
    replacing,
    sweep_beside,
    write_whole,
)
from mmt.io.text_files import parse_json

_PLAN = "plan.json"
# What launchers set: the number from 0, and the count. SLURM sets these in a step of srun, not in a batch script.
_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))
WORKER_SHARD = "MMT_SHARD"
"""The environment variable from which a worker of an engine (``mmt.engines``) takes its shard, ``2/8``."""
_PATIENCE = 60.0  # seconds that a worker waits for its shard: an earlier worker may be about to end


@dataclass(frozen=True)
class Shard:
    """One process's share of a job: number ``number`` of ``count``, from 0.

    ``has`` deals items out in turn. ``mmt features`` gives each shard neighbouring batches instead.
    """

    number: int
    count: int

    @classmethod
    def of(cls, given: str | None) -> Shard | None:
        """The shard of ``--shard`` (``2/8``), otherwise the engine's or the launcher's; None is the whole job.

        Raises:
            MMTError: ``given`` is not a shard, or the launcher's variables contradict each other.
        """
        given = given if given is not None else os.environ.get(WORKER_SHARD)
        if given is not None:
            match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", given)
            if not match or not 1 <= int(match[1]) <= int(match[2]):
                raise MMTError(f"--shard {given}: expected K/N with K from 1 to N, such as 2/8.")
            number, count = int(match[1]) - 1, int(match[2])
        else:
            for names in _LAUNCHERS:
                values = [os.environ.get(name, "") for name in names]
                if all(value.isdecimal() for value in values):
                    number, count = map(int, values)
                    if number >= count:
                        raise MMTError(
                            f"{names[0]}={number} with {names[1]}={count}: expected a number below {count}. "
                            "Correct them, or set --shard K/N."
                        )
                    break
            else:
                return None
        return cls(number, count) if count > 1 else None

    def has(self, item: int) -> bool:
        """Whether the item of that number, from 0, belongs to this shard."""
        return item % self.count == self.number

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.count}"


def parts_folder(output: Path) -> Path:
    """Where the parts of ``output`` are."""
    return output.with_name(f"{output.name}.parts")


def joined_note(output: Path) -> Path:
    """Where ``Parts`` notes what it merged into ``output``."""
    return output.with_name(f".{output.name}.joined")


def shards_there(output: Path) -> int | None:
    """Into how many shards the job is divided whose parts, or merged output, are there; None without any."""
    for path, keys in ((parts_folder(output) / _PLAN, ("shards",)), (joined_note(output), ("plan", "shards"))):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            value = parse_json(path.read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
            return int(value)
    return None


def done_parts(output: Path) -> list[Path]:
    """The parts of ``output`` if all are complete, otherwise none."""
    marks = sorted(parts_folder(output).glob("*.done"))
    counts = {mark.stem.rpartition("-")[2] for mark in marks}
    return [mark.with_suffix("") for mark in marks] if counts == {str(len(marks))} else []


def drop_parts(output: Path) -> None:
    """Removes the parts of ``output``, which are merged already, unless another process is removing them."""
    with contextlib.suppress(FileNotFoundError):
        lock = hold(parts_folder(output) / _PLAN)
        if lock is not None:
            with lock:
                remove_folder(parts_folder(output))


class Parts:
    """The parts of one output, and their merge. A context in which no other process works on this shard."""

    def __init__(self, output: Path, shard: Shard, plan: Mapping[str, Any], *, remember: bool = False) -> None:
        """
        Args:
            output: the file or folder to write.
            plan: what all processes must have in common (JSON): checksums of the input, and settings.
            remember: note beside ``output``, in ``.OUT.joined``, what was merged, so that running the same command
                again does nothing: for an output that does not show this by itself.
        Raises:
            MMTError: the parts there belong to another job, none can be written, or another process works on this
                shard.
        """
        self.output, self.shard = output, shard
        self.folder = parts_folder(output)
        self._plan = json.loads(json.dumps({"shards": shard.count, **plan}))
        self._note = joined_note(output) if remember else None
        self._lock: Lock | None = None
        sweep_beside(self.folder)  # left by a process that was killed while it removed the parts
        while not self._is_joined():
            # The folder is gone if another process has merged the parts meanwhile.
            with contextlib.suppress(FileNotFoundError):
                self._begin()
                lock = self.folder / f"{self._name(shard.number)}.lock"
                until = time.monotonic() + (_PATIENCE if WORKER_SHARD in os.environ else 0)
                while (held := hold(lock, note=True)) is None and time.monotonic() < until:
                    time.sleep(0.1)
                self._lock = held
                if self._lock is None:
                    raise MMTError(
                        f"{self.folder}: shard {shard} is being processed by {holder(lock)}. Wait for it to end."
                    )
                break
        else:
            drop_parts(output)  # left by a process that was killed before it removed them
        self.is_done = self._lock is None or self._mark(shard.number).exists()
        """Whether this process's part is complete already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def is_merged(self) -> bool:
        """Whether the output was complete when this was created; with ``remember`` only."""
        return self._lock is None

    @property
    def part(self) -> Path:
        """Where this process's part goes, a file or a folder."""
        return self.of(self.shard.number)

    def of(self, number: int) -> Path:
        """Where the part of that number, from 0, is."""
        return self.folder / self._name(number)

    def finish(self, about: Mapping[str, Any], join: Callable[[list[dict[str, Any]]], None]) -> str:
        """Marks this part as complete, and merges all parts if they are complete.

        Args:
            about: facts about this part (JSON), for ``join``; ignored if the part was complete already.
            join: writes the output from the parts, given the facts about each, in order. It may be called again
                after a kill.
        Returns:
            A message about what happened, to print; in an engine's worker "" until the parts are merged.
        """
        if self._lock is None:
            return f"{self.output}: merged already. Remove it to start again."
        if not self.is_done:
            with replacing(self._mark(self.shard.number)) as stream:
                stream.write(json.dumps(about).encode() + b"\n")
        done = [self._mark(number).exists() for number in range(self.shard.count)]
        if not all(done) and self.folder.exists():
            left = done.count(False)
            if WORKER_SHARD in os.environ:  # the engine says how far it is
                return ""
            return (
                f"{self.folder}: part {self.shard} is complete, {left} are missing; the last process merges them"
            )
        try:
            lock = hold(self.folder / _PLAN)
        except FileNotFoundError:
            return f"{self.output}: merged by another process"
        if lock is None:
            return f"{self.output}: another process is merging the parts"
        with lock:
            marks = [self._mark(number) for number in range(self.shard.count)]
            if not all(mark.exists() for mark in marks):  # of another job, started since
                return f"{self.output}: merged by another process"
            join([parse_json(mark.read_text(encoding="utf-8")) for mark in marks])
            if self._note is not None:
                write_whole(self._note, json.dumps(self._as_joined(), indent=2) + "\n")
            remove_folder(self.folder)
        return f"{self.output}: merged from {self.shard.count} parts"

    def agreed(self, name: str, make: Callable[[], Any] | None = None) -> Any:
        """What the first process of all shards made, for all of them, until the parts are merged.

        Args:
            name: of what it is.
            make: makes it (JSON), while the others wait; without it, None is returned where none was made.
        Raises:
            MMTError: the file is damaged.
        """
        path = self.folder / f"{name}.json"
        with hold(self.folder / f"{name}.lock", wait=True) or contextlib.nullcontext():
            if not path.exists():
                if make is None:
                    return None
                write_whole(path, json.dumps(make()) + "\n")
            try:
                return parse_json(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise MMTError(f"{path}: damaged ({error}). Remove {self.folder}.") from None

    def drop(self) -> None:
        """Removes all parts, if no output can be made of them; only within ``join``."""
        remove_folder(self.folder)

    def _begin(self) -> None:
        """Creates the folder if it is missing; refuses one of another job."""
        path = self.folder / _PLAN
        if not path.exists():
            # Several processes may be here at once, even with different plans: the first one wins, all check it.
            with made_beside(self.folder, patience=60.0) as own:
                (own / _PLAN).write_text(json.dumps(self._plan, indent=2) + "\n", encoding="utf-8")
                try:
                    own.rename(self.folder)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                        raise
        try:
            theirs = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if not self.folder.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
            raise MMTError(f"{path}: damaged ({error}). Remove {self.folder}.") from None
        for key in self._plan:
            if not isinstance(theirs, dict) or theirs.get(key) != self._plan[key]:
                was = theirs.get(key) if isinstance(theirs, dict) else theirs
                raise MMTError(
                    f"{self.folder}: holds parts of another job: {key} {was} there, {self._plan[key]} now. "
                    "Finish that job, or remove the folder."
                )

    def _is_joined(self) -> bool:
        """Whether the output is the one in the note, of exactly this plan."""
        if self._note is None:
            return False
        try:
            noted = parse_json(self._note.read_text(encoding="utf-8"))
            return bool(noted == self._as_joined())
        except (OSError, ValueError):
            return False

    def _as_joined(self) -> dict[str, Any]:
        about = self.output.stat()
        return {"plan": self._plan, "bytes": about.st_size, "changed": about.st_mtime_ns}

    def _mark(self, number: int) -> Path:
        return self.folder / f"{self._name(number)}.done"

    def _name(self, number: int) -> str:
        return f"{number + 1}-of-{self.shard.count}"
