"""How many times as fast one model folder translates as another: python -m eval.bench.two_models BASE OTHER TEXT

Both translate the lines of TEXT with the runtime that ``mmt translate`` chooses for each, in one process and turn
by turn. The ratio is the median over the turns, after one turn to warm up.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.inference.open import open_translator
from mmt.io.atomic import write_whole
from mmt.io.text_files import read_lines


@click.command(cls=Command, help=__doc__.partition("\n\n")[0])
@click.argument("base", type=PATH)
@click.argument("other", type=PATH)
@click.argument("text", type=PATH)
@click.option("--precision", default="float32", help="Precision of BASE.")
@click.option("--other-precision", default="float32", help="Precision of OTHER.")
@click.option("--beam", type=click.IntRange(min=1), default=5, help="Beam size of both.")
@click.option("--threads", type=click.IntRange(min=1), default=1, help="Number of threads.")
@click.option("--repeats", type=click.IntRange(min=1), default=5, help="Number of turns.")
@click.option("--out", type=PATH, help="File for the result.")
def main(
    base: Path,
    other: Path,
    text: Path,
    precision: str,
    other_precision: str,
    beam: int,
    threads: int,
    repeats: int,
    out: Path | None,
) -> None:
    lines = read_lines(text)
    sides = {
        "base": open_translator(base, None, precision, "auto", threads),  # type: ignore[arg-type]
        "other": open_translator(other, None, other_precision, "auto", threads),  # type: ignore[arg-type]
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, translator in sides.items():
            begun = time.perf_counter()
            translator.translate(lines, beam_size=beam)
            seconds[name].append(time.perf_counter() - begun)
    ratios = [one / two for one, two in zip(seconds["base"][1:], seconds["other"][1:], strict=True)]
    result = {
        "sentences": len(lines),
        "threads": threads,
        "precision": {"base": precision, "other": other_precision},
        "sentences_a_second": {
            name: round(len(lines) / statistics.median(s[1:]), 1) for name, s in seconds.items()
        },
        "other_vs_base": round(statistics.median(ratios), 3),
        "range": [round(min(ratios), 3), round(max(ratios), 3)],
        "load": round(os.getloadavg()[0], 2),
    }
    if out is not None:
        write_whole(out, json.dumps(result, indent=1) + "\n")
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
