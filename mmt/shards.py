"""One work done by several processes: each does its share beside the output, and the last one joins the parts.

``OUT.parts/`` lies beside ``OUT``, for all processes to see: ``plan.json`` says what work it is, ``2-of-8`` is the
second's part, and ``2-of-8.done`` says that it is whole. When all are, one of the processes makes ``OUT`` of them,
as one process alone would have made it, and removes the folder. A part that was not finished is begun again, or
taken up, by the same command; so is the joining, by any of them.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mmt.errors import MMTError
from mmt.lines import parse_json, write_whole

_PLAN = "plan.json"
# Of the launchers: number from 0, and how many. SLURM's are those of a step of srun, which a batch script is not.
_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))

shard_option = click.option(
    "--shard",
    metavar="K/N",
    help="Do the K-th of N shares, and join all when they are done.  [default: by torchrun or srun]",
)
"""For the commands that can."""


@dataclass(frozen=True)
class Shard:
    """A process's share of a work: every ``count``-th item from ``number``, which is below ``count``."""

    number: int
    count: int

    @classmethod
    def of(cls, given: str | None) -> Shard | None:
        """The share that ``given`` (``2/8``) asks for, else the launcher; None is the whole work.

        Raises:
            MMTError: it is no share.
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


class Parts:
    """The parts of one output, and how they become it."""

    def __init__(self, output: Path, shard: Shard, plan: Mapping[str, Any]) -> None:
        """
        Args:
            output: what is to be made.
            plan: what all processes must have in common (JSON): checksums of what goes in, and settings.
        Raises:
            MMTError: parts of another work lie there, or none can be written.
        """
        self.output, self.shard = output, shard
        self.folder = parts_folder(output)
        ours = json.loads(json.dumps({"shards": shard.count, **plan}))
        shutil.rmtree(self._joined, ignore_errors=True)  # of a process killed while it removed it
        path = self.folder / _PLAN
        if not path.exists():
            # All may be here at the same time: the last one's stays, and each looks at what is there.
            own = f"{_PLAN}.{platform.node()}.{os.getpid()}.{threading.get_ident()}"
            write_whole(self.folder / own, json.dumps(ours, indent=2) + "\n")
            (self.folder / own).replace(path)
        try:
            theirs = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MMTError(f"{path}: damaged ({error}). Remove {self.folder}.") from None
        for key in ours:
            if not isinstance(theirs, dict) or theirs.get(key) != ours[key]:
                was = theirs.get(key) if isinstance(theirs, dict) else theirs
                raise MMTError(
                    f"{self.folder}: holds parts of another work: {key} {was} there, {ours[key]} now. "
                    "Finish that one, or remove the folder."
                )

    @property
    def part(self) -> Path:
        """Where this process's part goes, a file or a folder."""
        return self.of(self.shard.number)

    def of(self, number: int) -> Path:
        """Where the part of that number, from 0, is."""
        return self.folder / f"{number + 1}-of-{self.shard.count}"

    def is_done(self) -> bool:
        """Whether this process's part is whole already."""
        return self._mark(self.shard.number).exists()

    def finish(self, about: Mapping[str, Any], join: Callable[[list[dict[str, Any]]], None]) -> str:
        """Says that this part is whole, and joins all if they are.

        Args:
            about: what there is to say of this part (JSON).
            join: makes the output of the parts, given what was said of each, in order. It may be called again
                after a kill.
        Returns:
            What became of it, to print.
        """
        if not self.is_done():
            write_whole(self._mark(self.shard.number), json.dumps(about) + "\n")
        done = [self._mark(number).exists() for number in range(self.shard.count)]
        if not all(done):
            if not self.folder.exists():
                return f"{self.output}: joined by another process"
            left = done.count(False)
            return f"{self.folder}: part {self.shard} is done, {left} are not yet; the last one joins them"
        from mmt.side_by_side import claim  # what it imports is slow to load

        lock = claim(self.output)
        if lock is None:
            return f"{self.output}: another process joins the parts"
        with lock:
            marks = [self._mark(number) for number in range(self.shard.count)]
            if not all(mark.exists() for mark in marks):
                return f"{self.output}: joined by another process"
            join([parse_json(mark.read_text(encoding="utf-8")) for mark in marks])
            self.folder.rename(self._joined)  # in one step, or a kill would leave some of them
            shutil.rmtree(self._joined)
        return f"{self.output}: joined of {self.shard.count} parts"

    @property
    def _joined(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.joined")

    def _mark(self, number: int) -> Path:
        return self.folder / f"{number + 1}-of-{self.shard.count}.done"
