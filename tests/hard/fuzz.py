"""Hands the readers what no user should, by the thousand: ``python -m tests.hard.fuzz --cases 100000 --seed 1``.

Each case is made from the seed, its reader's name and its number alone, so that it can be made again, and a run
that was interrupted goes on: ``OUT/results.jsonl`` has a line a case. A child process does the reading; one that
dies, hangs or takes too much memory is replaced. Whatever went wrong is kept, with the file that did it, in
``OUT/READER-NUMBER``; ``--only READER --number N`` does that one again, here and now. Exit code 1 if anything did.
"""

from __future__ import annotations

import collections
import contextlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np

from tests.hard import media, readers

READERS = {
    one.name: one
    for one in (
        readers.Text, readers.Output, readers.Tables, readers.Names, readers.Features, readers.Data,
        readers.Models,
        readers.Weights, readers.IndexReader, media.Images, media.Folders, media.Audio, media.Config,
    )
}  # fmt: skip
SHARES = {
    "text": 22, "output": 3, "tables": 14, "names": 4, "features": 12, "data": 5, "models": 5, "weights": 2,
    "index": 5, "images": 15,
    "folders": 3, "audio": 5, "config": 5,
}  # fmt: skip
"""Cases of each reader, of a hundred."""

FINE = ("accepted", "refused")
_GROWTH = 2 << 30  # bytes that one case may add to the process: a picture at PIL's limit takes 1.1 GB
_ADDRESSES = 6 << 30  # that the process may ask for, beyond what it had when it began
_SECONDS = 30.0


def run_case(reader: readers.Reader, seed: int, number: int, folder: Path) -> tuple[str, str]:
    """One case: its outcome and what there is to say about it."""
    rng = np.random.default_rng((seed, zlib.crc32(reader.name.encode()), number))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader.check(rng, folder)
    except readers.Wrong as error:
        return "wrong", str(error)
    except MemoryError:
        return "memory", traceback.format_exc()
    except BaseException:
        return "crash", traceback.format_exc()


def _child(pipe: Connection, name: str, seed: int, work: Path) -> None:
    """Reads the numbers of cases from ``pipe`` and answers each with its outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(os.open(work / "child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(2, 1)
    os.nice(5)
    import torch

    torch.set_num_threads(1)
    base = work / "base"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    reader = READERS[name](base)
    with contextlib.suppress(Exception):  # so that what is loaded late is not counted as one case's
        reader.check(np.random.default_rng(0), Path(tempfile.mkdtemp(dir=work)))
    limit = _status("VmSize") + _ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        folder = work / "case" / f"case{number}"
        folder.mkdir(parents=True)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, started = _status("VmRSS"), time.monotonic()
        outcome, detail = run_case(reader, seed, number, folder)
        seconds, growth = time.monotonic() - started, _status("VmHWM") - before
        if growth > _GROWTH and outcome in FINE:
            outcome, detail = "memory", f"{growth / 1e9:.1f} GB for: {detail}"
        if outcome in FINE:
            shutil.rmtree(folder, ignore_errors=True)
        pipe.send((outcome, detail[:6000], seconds, growth))


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0


class Worker:
    """A child process for one reader, begun anew when it has died."""

    def __init__(self, name: str, seed: int, work: Path) -> None:
        self.name, self.seed, self.work = name, seed, work
        self.process: Any = None

    def _start(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_child, args=(other, self.name, self.seed, self.work), daemon=True)
        self.process.start()
        other.close()
        if not self.pipe.poll(180) or self.pipe.recv() != "ready":
            raise RuntimeError(f"{self.name}: the child did not begin")

    def run(self, number: int) -> tuple[str, str, float, int]:
        if self.process is None:
            self._start()
        started = time.monotonic()
        self.pipe.send(number)
        try:
            if self.pipe.poll(_SECONDS):
                outcome: tuple[str, str, float, int] = self.pipe.recv()
                return outcome
        except (EOFError, ConnectionError):
            self.process.join(10)
            code = self.process.exitcode
            self.process = None
            said = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
            return "crash", f"the process died: {said}", time.monotonic() - started, 0
        self.process.kill()
        self.process.join()
        self.process = None
        return "hang", f"over {_SECONDS:.0f} s", _SECONDS, 0

    def stop(self) -> None:
        if self.process is not None:
            self.pipe.send(None)
            self.process.join(5)
            self.process.kill()
            self.process = None


@click.command(context_settings={"show_default": True})
@click.option("--cases", type=click.IntRange(min=1), default=100_000, help="In total, shared among the readers.")
@click.option("--seed", type=click.IntRange(min=0), default=1)
@click.option("--only", help=f"Readers, with commas: {', '.join(READERS)}.")
@click.option("--number", type=click.IntRange(min=0), help="One case of --only, in this process.")
@click.option("--out", type=click.Path(path_type=Path), default="fuzz", help="Results and what went wrong.")
def main(cases: int, seed: int, only: str | None, number: int | None, out: Path) -> None:
    """Reads damaged and hostile input by the thousand; exit code 1 if anything went wrong."""
    names = only.split(",") if only else list(READERS)
    unknown = [name for name in names if name not in READERS]
    if unknown:
        raise click.UsageError(f"--only {unknown[0]}: expected {', '.join(READERS)}.")
    if number is not None:
        sys.exit(_again(names[0], seed, number))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "results.jsonl"
    done: dict[tuple[str, int], dict[str, Any]] = {}
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            found = json.loads(line)
            if found["seed"] == seed:
                done[found["reader"], found["number"]] = found
    total = sum(SHARES[name] for name in names)
    todo = {name: -(-cases * SHARES[name] // total) for name in names}

    from tqdm import tqdm

    with path.open("ab") as log, tqdm(total=sum(todo.values()), unit=" cases", smoothing=0.02) as bar:
        for name in names:
            worker = Worker(name, seed, out / "work" / name)
            bar.set_description(name)
            for case in range(todo[name]):
                if (name, case) not in done:
                    shutil.rmtree(worker.work / "case", ignore_errors=True)
                    outcome, detail, seconds, growth = worker.run(case)
                    found = {"reader": name, "seed": seed, "number": case, "outcome": outcome}
                    found |= {"seconds": round(seconds, 3), "mb": round(growth / 1e6, 1)}
                    if outcome not in FINE:
                        found["detail"] = detail
                        kept = out / f"{name}-{case}"
                        shutil.rmtree(kept, ignore_errors=True)
                        _keep(worker.work / "case" / f"case{case}", kept)
                        (kept / "what.txt").write_text(
                            f"{outcome}: {detail}\n\n"
                            f"again: python -m tests.hard.fuzz --seed {seed} --only {name} --number {case}\n",
                            encoding="utf-8", errors="backslashreplace",
                        )  # fmt: skip
                        tqdm.write(f"{name} {case}: {outcome}: {detail.strip().splitlines()[-1][:200]}")
                    log.write(json.dumps(found).encode() + b"\n")
                    log.flush()
                    done[name, case] = found
                bar.update()
            worker.stop()
    chosen = [found for (name, case), found in done.items() if name in todo and case < todo[name]]
    _print(chosen)
    sys.exit(any(found["outcome"] not in FINE for found in chosen))


def _keep(case: Path, kept: Path) -> None:
    """Keeps the files of a case: no links, no pipes, nothing huge."""
    kept.mkdir(parents=True, exist_ok=True)
    for path in case.rglob("*") if case.exists() else ():
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 27:
            target = kept / path.relative_to(case)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _again(name: str, seed: int, number: int) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        base, folder = Path(temporary, "base"), Path(temporary, f"case{number}")
        base.mkdir()
        folder.mkdir()
        outcome, detail = run_case(READERS[name](base), seed, number, folder)
        print(f"{outcome}: {detail}")
        return outcome not in FINE


def _print(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    outcomes = (*FINE, "wrong", "crash", "hang", "memory")
    table = Table()
    for column in ("reader", "cases", *outcomes, "slowest, s", "most memory, MB"):
        table.add_column(column, justify="left" if column == "reader" else "right")
    by_reader = collections.defaultdict(list)
    for one in found:
        by_reader[one["reader"]].append(one)
    for name, of_reader in [*by_reader.items(), ("all", found)]:
        counts = collections.Counter(one["outcome"] for one in of_reader)
        slowest, most = (max((one[key] for one in of_reader), default=0) for key in ("seconds", "mb"))
        numbers = [f"{len(of_reader):,}", *(f"{counts[outcome]:,}" for outcome in outcomes)]
        table.add_row(name, *numbers, f"{slowest:.1f}", f"{most:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
