"""Benchmark of the id index of feature stores: python -m eval.bench.ids OUT --num 10000000

Synthetic ids, as of files in folders, without rows of features: how long the index takes to build, its bytes, the
own memory of a process that opens it (without cached pages of the files), and the time of a lookup.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.data.id_index import IndexedIds, write_id_index
from mmt.io.runtime import peak_memory
from mmt.io.tables import print_table
from mmt.io.text_files import file_checksum

_BATCH = 64  # ids of a lookup, as of a batch


def _ids(num: int) -> Iterator[str]:
    return (f"{number % 4096:03x}/{number:09}.jpg" for number in range(num))


def _own_memory() -> int:
    """Of this process, in bytes, without pages of files (Linux)."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def _look_up(out: Path, num: int, lookups: int, *, in_memory: bool) -> dict[str, float]:
    before = _own_memory()
    started = time.perf_counter(), time.process_time()
    ids = None if in_memory else IndexedIds(out / "ids.txt", out / "ids.index")
    rows = {name: row for row, name in enumerate(_ids(num))} if in_memory else {}
    opened, grown = time.perf_counter() - started[0], _own_memory() - before
    generator = random.Random(1)
    wanted = [generator.randrange(num) for _ in range(lookups)]
    names = [f"{number % 4096:03x}/{number:09}.jpg" for number in wanted]
    started = time.perf_counter(), time.process_time()
    if ids is not None:
        found = [row for at in range(0, lookups, _BATCH) for row in ids.find(names[at : at + _BATCH]).tolist()]
    else:
        found = [rows[name] for name in names]
    if found != wanted:
        raise RuntimeError("an id was not found in its row")
    return {
        "open_seconds": opened,
        "lookup_us": 1e6 * (time.perf_counter() - started[0]) / lookups,
        "lookup_cpu_us": 1e6 * (time.process_time() - started[1]) / lookups,
        "own_bytes": grown,
        "own_bytes_an_id": grown / num,
    }


@click.command(cls=Command)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--num", type=click.IntRange(min=2), default=10_000_000, help="Number of ids.")
@click.option("--lookups", type=click.IntRange(min=1), default=100_000, help="Number of random lookups.")
@click.option("--in-memory", is_flag=True, help="Measure a dictionary, as small stores have.")
@click.option("--only-lookups", is_flag=True, help="OUT is there already.")
def main(out: Path, num: int, lookups: int, in_memory: bool, only_lookups: bool) -> None:
    """Build the index of synthetic ids in OUT, and look ids up in processes of their own."""
    if only_lookups:
        click.echo(json.dumps(_look_up(out, num, lookups, in_memory=in_memory)))
        return
    out.mkdir(parents=True, exist_ok=True)
    with (out / "ids.txt").open("w") as stream:
        stream.writelines(f"{name}\n" for name in _ids(num))
    started = time.perf_counter(), time.process_time()
    write_id_index(out / "ids.txt", out / "ids.index", _ids(num), num)
    result: dict[str, float] = {
        "ids": num,
        "build_seconds": time.perf_counter() - started[0],
        "build_cpu_seconds": time.process_time() - started[1],
        "build_peak_bytes": peak_memory(),
        "index_bytes_an_id": (out / "ids.index").stat().st_size / num,
    }
    started = time.perf_counter(), time.process_time()
    file_checksum(out / "ids.txt")
    result["checksum_cpu_seconds"] = time.process_time() - started[1]
    for name, more in (("indexed", []), ("in memory", ["--in-memory"])) if in_memory else (("indexed", []),):
        command = [sys.executable, "-m", "eval.bench.ids", str(out), "--num", str(num), "--only-lookups", *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # our own module
        result |= {f"{name}: {key}": value for key, value in json.loads(done.stdout).items()}
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print_table(["", "value"], [[name, f"{value:,.4g}"] for name, value in result.items()])


if __name__ == "__main__":
    main()
