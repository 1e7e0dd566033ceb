"""Measures what Ray adds to a translation, and what a second worker gains.

    python -m eval.bench.engines OUT --lines 100000 --repeats 3

Lines of random words are translated by the built-in model, one thread in each process: by one process, and on a
Ray cluster of this machine with one worker and with two. Each is also run on few lines, as many as there are
shards: that is the time to start up, which is taken off. The runs alternate, and the medians of the ratios are
printed. ``ray_two_vs_one`` is how many times as fast two workers are as one; ``ray_overhead`` is the share by
which one worker of Ray takes longer than one process. Two workers need two idle cores.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.io import runtime
from mmt.io.atomic import write_whole

_WORDS = ("a", "red", "blue", "green", "small", "big", "ball", "dog", "cat", "tree", "house", "bank", "jam")


class Job:
    """A translation of a file, by one process or on the cluster."""

    def __init__(self, out: Path, model: str, shards: int, address: str) -> None:
        self._out, self._model, self._shards, self._address = out, model, shards, address

    def seconds(self, text: Path, workers: int) -> float:
        """Wall time; ``workers`` 0 is one process without Ray."""
        output = self._out / "translations.txt"
        output.unlink(missing_ok=True)
        command = [sys.executable, "-m", "mmt.cli", "translate", "--model", self._model, "--input", str(text)]
        command += ["--output", str(output), "--quiet"]
        on = ["--on", f"ray:{self._address},workers={workers},shards={self._shards}"]
        begun = time.perf_counter()
        subprocess.run([*command, *(on if workers else ["--threads", "1"])], check=True)  # noqa: S603 (our own)
        return time.perf_counter() - begun


def write_lines(path: Path, num: int) -> Path:
    """Writes ``num`` lines of random words that the built-in model knows, the same ones each time."""
    generator = random.Random(1)
    words = (" ".join(generator.choices(_WORDS, k=generator.randint(3, 8))) for _ in range(num))
    path.write_text("".join(f"{line}\n" for line in words))
    return path


@click.command(cls=Command, help=__doc__.partition("\n\n")[0])
@click.argument("out", type=PATH)
@click.option("--model", default="pictures-en-de", help="Model to translate with.")
@click.option("--lines", type=click.IntRange(min=100), default=100_000, help="Number of lines.")
@click.option("--shards", type=click.IntRange(min=2), default=20, help="Number of shards.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, help="Number of turns.")
def main(out: Path, model: str, lines: int, shards: int, repeats: int) -> None:
    from ray.cluster_utils import Cluster

    ways = (0, 1, 2)  # workers
    runtime.start()
    out.mkdir(parents=True)
    many, few = write_lines(out / "many.txt", lines), write_lines(out / "few.txt", shards)
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        job = Job(out, model, shards, cluster.address)
        turns = []
        for _ in range(repeats):
            turn = {}
            for workers in ways:
                start = job.seconds(few, workers)
                turn[workers] = (start, job.seconds(many, workers) - start)
            click.echo(json.dumps({"seconds": {f"{w} workers": [round(s, 2) for s in turn[w]] for w in turn}}))
            turns.append(turn)
    finally:
        cluster.shutdown()
    result = {
        "lines": lines,
        "shards": shards,
        "ray_two_vs_one": round(statistics.median(turn[1][1] / turn[2][1] for turn in turns), 3),
        "ray_overhead": round(statistics.median(turn[1][1] / turn[0][1] - 1 for turn in turns), 3),
        "start_seconds": {str(w): round(statistics.median(t[w][0] for t in turns), 2) for w in ways},
        "sentences_a_second": {
            str(w): round(statistics.median(lines / t[w][1] for t in turns)) for w in (0, 1, 2)
        },
        "load": round(os.getloadavg()[0], 2),
    }
    write_whole(out / "result.json", json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.engines")
