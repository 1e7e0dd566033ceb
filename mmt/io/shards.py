"""One work done by several processes: each does its share beside the output, and the last one joins the parts.

``OUT.parts/`` lies beside ``OUT``, for all processes to see: ``plan.json`` says what work it is, ``2-of-8`` is the
second's part, and ``2-of-8.done`` says that it is whole. When all are, one of the processes makes ``OUT`` of them,
as one process alone would have made it, and removes the folder. A part that was not finished is begun again, or
taken up, by the same command; so is the joining, by any of them. Locks, which end with their process, keep two
processes from one share and from joining at the same time: the file system must have them between machines.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
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
# Of the launchers: number from 0, and how many. SLURM's are those of a step of srun, which a batch script is not.
_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))


@dataclass(frozen=True)
class Shard:
    """A process's share of a work: every ``count``-th item from ``number``, which is below ``count``."""

    number: int
    count: int

    @classmethod
    def of(cls, given: str | None) -> Shard | None:
        """The share that ``given`` (``2/8``) asks for, else the launcher; None is the whole work.

        Raises:
            MMTError: it is no share, or the launcher's variables contradict each other.
        """
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
        """Whether the item of that number, from 0, is in it."""
        return item % self.count == self.number

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.count}"


def parts_folder(output: Path) -> Path:
    """Where the parts of ``output`` are."""
    return output.with_name(f"{output.name}.parts")


def done_parts(output: Path) -> list[Path]:
    """The parts of ``output`` if all are whole, else none."""
    marks = sorted(parts_folder(output).glob("*.done"))
    counts = {mark.stem.rpartition("-")[2] for mark in marks}
    return [mark.with_suffix("") for mark in marks] if counts == {str(len(marks))} else []


def drop_parts(output: Path) -> None:
    """Removes the parts of ``output``, which are in it already, unless another process is at that."""
    with contextlib.suppress(FileNotFoundError):
        lock = hold(parts_folder(output) / _PLAN)
        if lock is not None:
            with lock:
                remove_folder(parts_folder(output))


class Parts:
    """The parts of one output, and how they become it: a context, in which no other process does this share."""

    def __init__(self, output: Path, shard: Shard, plan: Mapping[str, Any], *, remember: bool = False) -> None:
        """
        Args:
            output: what is to be made.
            plan: what all processes must have in common (JSON): checksums of what goes in, and settings.
            remember: note beside ``output``, in ``.OUT.joined``, what it was joined of, so that the same command
                once more does nothing: for an output that does not tell that by itself.
        Raises:
            MMTError: parts of another work lie there, none can be written, or another process does this share.
        """
        self.output, self.shard = output, shard
        self.folder = parts_folder(output)
        self._plan = json.loads(json.dumps({"shards": shard.count, **plan}))
        self._note = output.with_name(f".{output.name}.joined") if remember else None
        self._lock: Lock | None = None
        sweep_beside(self.folder)  # of a process killed while it removed it
        while not self._is_joined():
            # The folder is gone, meanwhile, where another process joined it.
            with contextlib.suppress(FileNotFoundError):
                self._begin()
                lock = self.folder / f"{self._name(shard.number)}.lock"
                self._lock = hold(lock, note=True)
                if self._lock is None:
                    raise MMTError(f"{self.folder}: share {shard} is done by {holder(lock)}. Wait for it to end.")
                break
        else:
            drop_parts(output)  # of a process killed before it removed them
        self.is_done = self._lock is None or self._mark(shard.number).exists()
        """Whether this process's part is whole already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    @property
    def part(self) -> Path:
        """Where this process's part goes, a file or a folder."""
        return self.of(self.shard.number)

    def of(self, number: int) -> Path:
        """Where the part of that number, from 0, is."""
        return self.folder / self._name(number)

    def finish(self, about: Mapping[str, Any], join: Callable[[list[dict[str, Any]]], None]) -> str:
        """Says that this part is whole, and joins all if they are.

        Args:
            about: what there is to say of this part (JSON); of one that is done, it has been said.
            join: makes the output of the parts, given what was said of each, in order. It may be called again
                after a kill.
        Returns:
            What became of it, to print.
        """
        if self._lock is None:
            return f"{self.output}: joined already. Remove it to have it made anew."
        if not self.is_done:
            with replacing(self._mark(self.shard.number)) as stream:
                stream.write(json.dumps(about).encode() + b"\n")
        done = [self._mark(number).exists() for number in range(self.shard.count)]
        if not all(done) and self.folder.exists():
            left = done.count(False)
            return f"{self.folder}: part {self.shard} is done, {left} are not yet; the last one joins them"
        try:
            lock = hold(self.folder / _PLAN)
        except FileNotFoundError:
            return f"{self.output}: joined by another process"
        if lock is None:
            return f"{self.output}: another process joins the parts"
        with lock:
            marks = [self._mark(number) for number in range(self.shard.count)]
            if not all(mark.exists() for mark in marks):  # of a work begun since
                return f"{self.output}: joined by another process"
            join([parse_json(mark.read_text(encoding="utf-8")) for mark in marks])
            if self._note is not None:
                write_whole(self._note, json.dumps(self._as_joined(), indent=2) + "\n")
            remove_folder(self.folder)
        return f"{self.output}: joined of {self.shard.count} parts"

    def drop(self) -> None:
        """Removes all parts, of which nothing can be made: only within ``join``."""
        remove_folder(self.folder)

    def _begin(self) -> None:
        """Makes the folder if there is none, and refuses another work's."""
        path = self.folder / _PLAN
        if not path.exists():
            # All may be here at the same time, with other plans even: the first one's stays, and all look at it.
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
                    f"{self.folder}: holds parts of another work: {key} {was} there, {self._plan[key]} now. "
                    "Finish that one, or remove the folder."
                )

    def _is_joined(self) -> bool:
        """Whether the output is what is noted, of this very plan."""
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
