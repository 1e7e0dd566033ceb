"""A command for engines' tests: adds one to each number of a file, in shards of three lines."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mmt import __version__
from mmt.cli.command import Command
from mmt.engines.run import run_shards
from mmt.engines.spec import Engine
from mmt.engines.worker import Job
from mmt.errors import MMTError
from mmt.io.shards import Parts, Shard

LINES = 40
FAILING = "x"
CHUNK = 3


def count(source: Path, out: Path, shard: Shard | None, deaths: str = "", waits: Path | None = None) -> None:
    lines = source.read_text().splitlines()
    shard = shard or Shard(0, 1)
    if waits is not None:
        (waits / f"begun-{shard.number}-{os.getpid()}").write_text(os.environ.get("MMT_TEST_NODE", ""))
        while not ((waits / "go").exists() or (waits / f"go-{shard.number}").exists()):
            time.sleep(0.02)
    _die(deaths, "before", shard)
    chosen = []
    for number, line in enumerate(lines):
        if line == "bug":
            chosen.append(str(1 // 0))
        if not line.isdecimal():
            raise MMTError(f"line {number + 1}: no number")
        if shard.has(number // CHUNK):
            chosen.append(str(int(line) + 1))

    def join(about: list[dict[str, Any]]) -> None:
        parts_of = [parts.of(n).read_text().split() for n in range(shard.count)]
        owners = [(number // CHUNK) % shard.count for number in range(len(lines))]
        whole = [parts_of[owner].pop(0) for owner in owners]
        assert not any(parts_of), "nothing twice"
        out.write_text("".join(f"{number}\n" for number in whole))

    with Parts(out, shard, {"source": str(source)}, remember=True) as parts:
        if not parts.is_done and not parts.is_merged:
            parts.part.write_text(" ".join(chosen))
        parts.finish({}, join)
    _die(deaths, "after", shard)


def _die(deaths: str, moment: str, shard: Shard) -> None:
    """Kills this process: always, or at the first time that it has this shard."""
    when, _, folder = deaths.partition(":")
    if when == "always":
        os.kill(os.getpid(), signal.SIGKILL)
    mark = Path(folder) / str(shard.number)
    if when == moment and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@click.command(cls=Command)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--deaths", default="", help="When each shard's first worker kills itself, and a folder for marks.")
@click.option("--waits", type=click.Path(path_type=Path), help="Folder where shards wait for go or go-NUMBER.")
def main(source: Path, out: Path, deaths: str, waits: Path | None) -> None:
    count(source, out, Shard.of(None), deaths, waits)


def count_command(
    source: Path,
    out: Path,
    *,
    engine: str | None = None,
    shard: Shard | None = None,
    more: Sequence[str] = (),
    version: str = __version__,
) -> None:
    """``main``, in this process or on an engine."""
    if engine is None:
        count(source, out, shard)
        return
    job = Job("tests.engines.commands:main", (str(source), str(out), *more), os.getcwd(), version)
    run_shards(Engine.parse(engine), job, [out], quiet=True)
