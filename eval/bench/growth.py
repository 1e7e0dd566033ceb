"""Measures how ``mmt translate`` behaves as its input grows: speed, memory, and whether it streams.

    python -m eval.bench.growth MODEL DATA [--lines 1000 --lines 10000] [--repeats 3] [--stream LINES]

The command itself, as a process, translates the sentences of DATA's first test split, gone through again and
again in a new order each time. Turn by turn, one size after the other; each figure is the median of the turns,
each ratio the median of the turns' own, also by the process's own processor time, which a busy machine disturbs
least. Start-up is left out: the input is a named pipe, which the command opens when its model is ready, and the
time is from there to the last byte that it writes. Peak memory is the process's own (VmHWM), looked at twenty
times a second. ``--stream`` gives one long input by standard input instead, start-up included, and looks at the
process every few seconds on the way.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

from mmt.cli.command import Command
from mmt.cli.options import MODEL, PATH
from mmt.data.dataset import first_test_split, read_split
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError

_LOOKS = 20  # at the process, a second


def shuffled(sentences: list[str], count: int, seed: int) -> Iterator[list[str]]:
    """``count`` sentences, in parts that are the whole list in another order, the last one perhaps cut."""
    generator = np.random.default_rng(seed)
    while count > 0:
        part = [sentences[place] for place in generator.permutation(len(sentences))[:count]]
        count -= len(part)
        yield part


@dataclass
class Run:
    """One run of the command, as it is seen from outside. Times are of ``time.perf_counter``."""

    begun: float = 0.0
    opened: float = 0.0
    ended: float = 0.0
    processor_opened: float = 0.0
    processor_ended: float = 0.0
    lines_in: int = 0
    lines_out: int = 0
    lines_out_when_all_were_in: int | None = None
    peak: int = 0
    samples: list[dict[str, float]] = field(default_factory=list)


def _status(pid: int) -> dict[str, int]:
    """Bytes of VmHWM and VmRSS; nothing of a process that is ending."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {name: 1024 * int(kilobytes) for name, kilobytes in re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", text)}


def _processor(pid: int) -> float | None:
    """Seconds that the process has computed so far; None if it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(command: list[str], parts: Iterator[list[str]], output: Path, pipe: Path | None, every: float) -> Run:
    """Runs the command, feeds it and watches it.

    Args:
        parts: of its input.
        output: where its standard output goes.
        pipe: a named pipe that is its input; None for standard input.
        every: seconds between two samples, 0 for none; they are printed as they come.
    """
    seen = Run(begun=time.perf_counter())
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 (gone with its last user)
    process = subprocess.Popen(  # noqa: S603 (our own command)
        command,
        stdin=subprocess.PIPE if pipe is None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
    )

    def feed() -> None:
        try:
            with process.stdin or open(pipe, "wb") as stream:  # type: ignore[arg-type]  # returns when it is opened
                seen.opened = time.perf_counter()
                seen.processor_opened = _processor(process.pid) or 0.0
                for part in parts:
                    stream.write("".join(f"{line}\n" for line in part).encode())
                    seen.lines_in += len(part)
        except BrokenPipeError:
            pass  # it has failed, which its exit status says
        seen.lines_out_when_all_were_in = seen.lines_out

    def take() -> None:
        with output.open("wb") as stream:
            while block := process.stdout.read1(1 << 16):  # type: ignore[union-attr]
                seen.ended = time.perf_counter()
                seen.processor_ended = _processor(process.pid) or seen.processor_ended
                seen.lines_out += block.count(b"\n")
                stream.write(block)

    # A daemon: if the command fails before it opens its input, nobody ever will.
    threading.Thread(target=feed, daemon=True).start()
    taking = threading.Thread(target=take)
    taking.start()
    last = Run(ended=seen.begun)
    try:
        while process.poll() is None:
            status = _status(process.pid)
            seen.peak = max(seen.peak, status.get("VmHWM", 0))
            now = time.perf_counter()
            if every and now - last.ended >= every and "VmRSS" in status:
                out = seen.lines_out
                sample = {
                    "seconds": round(now - seen.begun, 1),
                    "lines_in": seen.lines_in,
                    "lines_out": out,
                    "processor_seconds": _processor(process.pid) or 0.0,
                    "sentences_a_second": round((out - last.lines_out) / (now - last.ended), 1),
                    "rss_mb": round(status["VmRSS"] / 1e6, 1),
                    "peak_mb": round(status["VmHWM"] / 1e6, 1),
                    "open_files": len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
                }
                seen.samples.append(sample)
                click.echo(json.dumps(sample), err=True)
                last = Run(ended=now, lines_out=out)
            time.sleep(1 / _LOOKS)
    finally:
        process.kill()  # interrupted; else it has ended
    taking.join()
    if process.returncode:
        complaints.seek(0)
        raise MMTError(f"mmt translate ended with {process.returncode}: {complaints.read().decode()[-500:]}")
    return seen


@dataclass
class Bench:
    """What is the same for all runs."""

    model: Path
    sentences: list[str]
    options: list[str]
    folder: Path

    def turn(self, count: int, seed: int, every: float = 0.0) -> dict[str, Any]:
        """One run on ``count`` lines, by standard input if it is sampled."""
        output, pipe = self.folder / "output", None
        command = [
            sys.executable,
            "-m",
            "mmt.cli",
            "translate",
            "--model",
            str(self.model),
            "--quiet",
            *self.options,
        ]
        if not every:
            pipe = self.folder / "input"
            if not pipe.exists():
                os.mkfifo(pipe)
            command += ["--input", str(pipe)]
        seen = run(command, shuffled(self.sentences, count, seed), output, pipe, every)
        tokenizer = Tokenizer(self.model / "tokenizer.model")
        tokens_of: dict[str, int] = {}  # the same sentences come again and again
        translations: dict[str, set[str]] = {}
        tokens = 0
        with output.open(encoding="utf-8", newline="\n") as stream:
            sources = (line for part in shuffled(self.sentences, count, seed) for line in part)
            for source, line in zip(sources, stream, strict=False):  # counted above
                if line not in tokens_of:
                    tokens_of[line] = len(tokenizer.encode(line)) + 1  # and eos
                tokens += tokens_of[line]
                translations.setdefault(source, set()).add(line)
        seconds = seen.ended - (seen.begun if every else seen.opened)
        return {
            "lines_in": seen.lines_in,
            "lines_out": seen.lines_out,
            **({"start_up_seconds": round(seen.opened - seen.begun, 2)} if not every else {}),
            "seconds": round(seconds, 3),
            "sentences_a_second": round(seen.lines_out / seconds, 1),
            "tokens_a_second": round(tokens / seconds, 1),
            "tokens_a_processor_second": round(tokens / (seen.processor_ended - seen.processor_opened), 1),
            "peak_mb": round(seen.peak / 1e6, 1),
            # 1, unless lines come out in another order, or rounding turned a search
            "translations_of_one_sentence": max(map(len, translations.values())),
            **(_course(seen) if every else {}),
        }


def _course(seen: Run) -> dict[str, Any]:
    """How a sampled run went: whether it streamed, and its second half beside its first."""
    samples = [one for one in seen.samples if one["lines_out"]]
    found: dict[str, Any] = {
        "lines_out_when_all_were_in": seen.lines_out_when_all_were_in,
        "most_lines_behind": max((one["lines_in"] - one["lines_out"] for one in samples), default=None),
    }
    if len(samples) > 2:
        three = [samples[0], samples[len(samples) // 2], samples[-1]]
        for kind in ("seconds", "processor_seconds"):
            first, second = (
                (after["lines_out"] - before["lines_out"]) / (after[kind] - before[kind])
                for before, after in pairwise(three)
            )
            found[f"lines_a_{kind.removesuffix('s')}_second_half_vs_first"] = round(second / first, 3)
        for kind in ("rss_mb", "open_files"):
            found[kind] = dict(zip(("begin", "half", "end"), (one[kind] for one in three), strict=True))
    return {**found, "samples": seen.samples}


def _growth(bench: Bench, sizes: list[int], repeats: int) -> dict[str, Any]:
    turns: list[dict[int, dict[str, Any]]] = []
    for repeat in range(repeats):
        turns.append({})
        for size in sizes if repeat % 2 == 0 else reversed(sizes):
            turns[-1][size] = bench.turn(size, seed=repeat)
            click.echo(json.dumps(turns[-1][size]), err=True)
    compared = ("tokens_a_second", "tokens_a_processor_second", "peak_mb")
    figures = ("start_up_seconds", "sentences_a_second", *compared)
    found: dict[str, Any] = {
        "all_lines_came_out": all(one["lines_out"] == size for turn in turns for size, one in turn.items()),
        "lines": {
            size: {name: statistics.median(turn[size][name] for turn in turns) for name in figures}
            for size in sizes
        },
    }
    for name in compared:
        found[f"{name}_vs_{sizes[0]}"] = {
            size: round(statistics.median(turn[size][name] / turn[sizes[0]][name] for turn in turns), 3)
            for size in sizes[1:]
        }
    return {**found, "turns": turns}


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.argument("model", type=MODEL)
@click.argument("data", type=PATH)
@click.option("--lines", "sizes", multiple=True, type=int, default=[1_000, 10_000, 100_000],
              help="Size of an input, in lines; repeatable.")  # fmt: skip
@click.option("--repeats", default=3, help="Number of turns.")
@click.option("--threads", default=2, help="Number of CPU threads.")
@click.option("--beam", default=1, help="Beam size.")
@click.option("--stream", type=int, help="One run of this many lines from standard input, instead of --lines.")
@click.option("--every", default=10.0, help="Seconds between two samples of --stream.")
def main(
    model: Path,
    data: Path,
    sizes: tuple[int, ...],
    repeats: int,
    threads: int,
    beam: int,
    stream: int | None,
    every: float,
) -> None:
    sentences = list(read_split(data, first_test_split(data))["source"])
    with tempfile.TemporaryDirectory() as folder:
        options = ["--beam-size", str(beam), "--threads", str(threads)]
        bench = Bench(model, sentences, options, Path(folder))
        found = bench.turn(stream, 0, every) if stream else _growth(bench, sorted(sizes), repeats)
    settings = {"model": model.name, "sentences": len(sentences), "threads": threads, "beam": beam}
    click.echo(json.dumps({**settings, **found, "load": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.growth")
