"""Measures training, translating and features on a GPU against plain PyTorch and transformers, in under 8 minutes.

    eval/bench/gpu.sh OUT.json                        # on a machine with a GPU
    eval/bench/gpu.sh OUT.json --tiny                 # on any machine: that every section works

It needs no data: ids, weights and pictures are random. Each section gets a part of the time that is left. Its two
sides, ours and the plain one, take turns. A ratio is the median of the turns' own, over 1 where ours is faster.
OUT.json is written after each section, so that what is measured is kept if the rest is stopped. A section whose
package is missing is skipped with a line, and so is one for which no time is left. On a GPU it also counts how
often the host waits for it in one turn (``torch.cuda.set_sync_debug_mode``).

With another torch than 2.9.1, fairseq2n does not load: an empty module takes its place (eval.bench.any_torch).
"""

from __future__ import annotations

import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from eval.bench.any_torch import stand_in_for_fairseq2n
from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.io.atomic import write_whole

_LEAST_TURNS = 3


def sections() -> dict[str, Callable[[str, bool], Any]]:
    """By name: what makes the two sides for a device."""
    from eval.bench import gpu_sides as sides

    return {
        "training_float32": partial(sides.training, bfloat16=False),
        "training_bfloat16": partial(sides.training, bfloat16=True),
        "translation_float32": partial(sides.translation, shape="marian", precision="float32"),
        "features_float32": sides.features,
        "loss_float32": sides.loss,
        "translation_bfloat16": partial(sides.translation, shape="nllb-600m", precision="bfloat16"),
    }


class Clock:
    """The time that is left, in seconds."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return self._end - time.monotonic()


def measure(sides: Any, device: str, clock: Clock, most_turns: int = 15) -> dict[str, Any]:
    """Alternates the two sides until ``clock`` has run down, at least 3 times."""

    def seconds(work: Callable[[], object]) -> float:
        _finish(device)
        begun = time.perf_counter()
        work()
        _finish(device)
        return time.perf_counter() - begun

    for work in (sides.ours, sides.plain):  # pays for memory and code
        work()
    turns: list[tuple[float, float]] = []
    while len(turns) < _LEAST_TURNS or (len(turns) < most_turns and clock.left > sum(turns[-1])):
        turns.append((seconds(sides.ours), seconds(sides.plain)))
    ratios = [plain / ours for ours, plain in turns]
    return {
        **sides.about,
        "unit": sides.unit,
        "ours_a_second": sides.units / statistics.median(ours for ours, _ in turns),
        "plain_a_second": sides.units / statistics.median(plain for _, plain in turns),
        "ours_vs_plain": statistics.median(ratios),
        "ratios": sorted(round(ratio, 3) for ratio in ratios),
        **_waits(sides, device),
    }


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _waits(sides: Any, device: str) -> dict[str, int]:
    """How often the host waits for a GPU in a turn of each side."""
    if device == "cpu":
        return {}
    found = {}
    for name, work in (("ours", sides.ours), ("plain", sides.plain)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found[f"waits_a_turn_{name}"] = sum("synchroniz" in str(one.message) for one in caught)
    return found


def run(out: Path, device: str, tiny: bool, seconds: float, only: tuple[str, ...]) -> dict[str, Any]:
    """Measures the sections and writes ``out`` after each."""
    clock, why = Clock(seconds), stand_in_for_fairseq2n()
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device != "cpu" else f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "fairseq2n": why or "loaded",
        "tiny": tiny,
        "sections": {},
        "skipped": {},
    }
    chosen = {name: make for name, make in sections().items() if not only or name in only}
    for number, (name, make) in enumerate(chosen.items()):
        share = clock.left / (len(chosen) - number)
        begun = time.monotonic()
        try:
            if clock.left < seconds / 20:
                raise TimeoutError("no time left")
            sides = make(device, tiny)
            try:
                left = Clock(share - (time.monotonic() - begun))
                result["sections"][name] = measure(sides, device, left, *([_LEAST_TURNS] if tiny else []))
            finally:
                sides.close()
        except Exception as error:  # the next section may work
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            result["skipped"][name] = reason
            click.echo(f"{name}: skipped, {reason}")
        else:
            ratio = result["sections"][name]["ours_vs_plain"]
            click.echo(f"{name}: {ratio:.2f} times as fast as plain, {time.monotonic() - begun:.0f} s")
        result["load"] = os.getloadavg()[0]
        write_whole(out, json.dumps(result, indent=1) + "\n")
        if device != "cpu":
            torch.cuda.empty_cache()
    return result


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.argument("out", type=PATH)
@click.option("--device", default="", help="Where to compute.  [default: cuda, or with --tiny cpu]")
@click.option(
    "--tiny", is_flag=True, help="Test that every section works, on tiny sizes: its figures mean nothing."
)
@click.option("--minutes", type=click.FloatRange(min=0), default=7.0, help="Time for all sections.")
@click.option("--only", multiple=True, help="Name of a section; repeatable.")
def main(out: Path, device: str, tiny: bool, minutes: float, only: tuple[str, ...]) -> None:
    device = device or ("cpu" if tiny else "cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise click.ClickException("this machine has no GPU that torch can use. Try --tiny.")
    result = run(out, device, tiny, 60 * minutes, only)
    if not result["sections"]:
        raise click.ClickException("nothing was measured.")


if __name__ == "__main__":
    main(prog_name="python -m eval.bench.gpu")
