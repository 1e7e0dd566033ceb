"""Measures the feature pipeline against its bare decoding and its backbone's bare forward pass, and its memory.

    python -m eval.bench.features IMAGES_FOLDER [--threads 1] [--images 400] [--repeats 5]
    python -m eval.bench.features IMAGES_FOLDER --earlier CHECKOUT [--runtime openvino] [...]

In the same run, turn by turn: the bare network on ready batches, decoding alone (read, decode, resize, crop; on
as many threads), and the whole pipeline (all of these, normalise, write) into a fresh store. Each figure is the
median of the turns, each ratio the median of the turns' own ratios, since a busy machine slows all of a turn
alike. On a CPU network and decoding share the cores, so the second ratio is to what both together allow: the
time that an image takes in one plus in the other. The third is of the processor time that an image costs by the
network alone and by the pipeline, which other processes disturb least. Memory is the peak of a process of its
own that makes features of N and of 4 N images.

With ``--earlier``, the whole pipeline is measured against that of another checkout of this repository, in
processes of their own that take turns: in float32 and in bfloat16 (``--precision`` for one of them, as on a CPU
without bfloat16), by the clock and in processor time.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH
from mmt.errors import MMTError
from mmt.features.images import find_images
from mmt.io.processes import in_threads
from mmt.io.runtime import keep_freed_memory, peak_memory
from mmt.io.tables import print_table


def measure_speed(
    folder: Path, backbone_name: str, num_images: int, repeats: int, batch_size: int
) -> dict[str, Any]:
    """Images/s of the bare network, of decoding and of the pipeline; a dictionary for JSON."""
    # Imported here: when it is loaded, torch counts the cores, to which main() has restricted this process.
    import torch

    from mmt.features.extract import extract_features
    from mmt.features.load import load_backbone

    keep_freed_memory()  # for both sides alike
    backbone = load_backbone(backbone_name)
    images = dict(itertools.islice(find_images(folder).items(), num_images))
    threads = torch.get_num_threads()
    paths = list(images.values())
    ready = backbone.normalise(backbone.stack([backbone.read(path) for path in paths[:batch_size]]))
    num_batches = len(images) // batch_size

    def bare() -> tuple[float, float]:  # images a second, images a second of processor time
        start, processor = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for _ in range(num_batches):
                backbone.features(ready)
        done = num_batches * len(ready)
        return done / (time.perf_counter() - start), done / (time.process_time() - processor)

    def decoding() -> float:
        start = time.perf_counter()
        done = sum(1 for _ in in_threads(backbone.read, paths, threads))
        return done / (time.perf_counter() - start)

    def pipeline() -> tuple[float, float]:
        processor = time.process_time()
        with tempfile.TemporaryDirectory() as out:
            report = extract_features(images, backbone, Path(out, "store"), batch_size=batch_size, progress=False)
        return report.done / report.seconds, report.done / (time.process_time() - processor)

    bare(), pipeline()  # the first pass pays for memory and code
    turns = [(bare(), decoding(), pipeline()) for _ in range(repeats)]
    ratios = [whole[0] / min(alone[0], decoded) for alone, decoded, whole in turns]
    shared = [whole[0] * (1 / alone[0] + 1 / decoded) for alone, decoded, whole in turns]
    return {
        "signature": str(backbone.signature),
        "images": len(images),
        "batch_size": batch_size,
        "threads": threads,
        "cores": len(os.sched_getaffinity(0)),
        "bare": statistics.median(alone[0] for alone, _, _ in turns),
        "decoding": statistics.median(decoded for _, decoded, _ in turns),
        "pipeline": statistics.median(whole[0] for _, _, whole in turns),
        "ratio": statistics.median(ratios),
        "ratios": sorted(round(ratio, 3) for ratio in ratios),
        "of_both": statistics.median(shared),
        "of_both_turns": sorted(round(ratio, 3) for ratio in shared),
        "processor_ratio": statistics.median(whole[1] / alone[1] for alone, _, whole in turns),
    }


def peak_of_run(folder: Path, backbone_name: str, num_images: int, batch_size: int) -> int:
    """Bytes: the peak resident size of a process that makes features of ``num_images`` images."""
    command = [sys.executable, "-m", "eval.bench.features", str(folder), "--backbone", backbone_name]
    command += ["--images", str(num_images), "--batch-size", str(batch_size), "--only-memory"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 (our own command)
    return int(result.stdout.split()[-1])


def _run_for_memory(folder: Path, backbone_name: str, num_images: int, batch_size: int) -> None:
    from mmt.features.extract import extract_features
    from mmt.features.load import load_backbone

    images = list(find_images(folder).values())
    # a small folder is gone through several times, under other names
    asked = {f"{i}.jpg": images[i % len(images)] for i in range(num_images)}
    with tempfile.TemporaryDirectory() as out:
        extract_features(
            asked, load_backbone(backbone_name), Path(out, "store"), batch_size=batch_size, progress=False
        )
    print(peak_memory())


_WORKER = """
import itertools, json, sys, tempfile, time
from pathlib import Path
from mmt.features.extract import extract_features
from mmt.features.images import find_images
from mmt.features.load import load_backbone
folder, backbone, num_images, batch_size = json.loads(sys.argv[1])
images = dict(itertools.islice(find_images(Path(folder)).items(), num_images))
loaded = load_backbone(backbone)
for line in sys.stdin:
    start = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        report = extract_features(
            images, loaded, Path(out, "store"), batch_size=batch_size, progress=False, **json.loads(line)
        )
    processor = time.process_time() - start
    print(json.dumps([report.done / report.seconds, report.done / processor]), flush=True)
"""


def compare(
    folder: Path,
    earlier: Path,
    backbone: str,
    runtime: str,
    precisions: Sequence[str],
    num_images: int,
    repeats: int,
    batch_size: int,
) -> dict[str, Any]:
    """Images/s of this code and of an earlier checkout's, turn by turn; a dictionary for JSON.

    Raises:
        MMTError: one of the processes ended early; its own message is above.
    """
    ways: dict[str, tuple[Path, dict[str, str]]] = {"earlier": (earlier, {})}
    for precision in precisions:
        ways[precision] = Path.cwd(), {"runtime": runtime, "precision": precision}
    arguments = json.dumps([str(folder.absolute()), backbone, num_images, batch_size])
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                subprocess.Popen(  # noqa: S603 (our own command)
                    [sys.executable, "-c", _WORKER, arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | {"PYTHONPATH": str(code.absolute())},
                    cwd=code,
                )
            )
            for name, (code, _) in ways.items()
        }

        def turn(name: str) -> tuple[float, float]:
            worker = workers[name]
            assert worker.stdin is not None  # noqa: S101 (a pipe)
            assert worker.stdout is not None  # noqa: S101 (a pipe)
            print(json.dumps(ways[name][1]), file=worker.stdin, flush=True)
            answer = worker.stdout.readline()
            if not answer:
                raise MMTError(f"features of '{name}': the process ended without a result, see above.")
            wall, processor = json.loads(answer)
            return wall, processor

        for name in ways:  # the first pass pays for memory and code
            turn(name)
        turns = [{name: turn(name) for name in ways} for _ in range(repeats)]
        for worker in workers.values():
            assert worker.stdin is not None  # noqa: S101 (a pipe)
            worker.stdin.close()
    result: dict[str, Any] = {"images": num_images, "runtime": runtime, "threads": os.environ["OMP_NUM_THREADS"]}
    for name in ways:
        result[name] = statistics.median(one[name][0] for one in turns)
    for name in precisions:
        for place, what in enumerate(("ratios", "processor_ratios")):
            ratios = sorted(one[name][place] / one["earlier"][place] for one in turns)
            result[f"{name}_{what}"] = [round(ratio, 3) for ratio in ratios]
            result[f"{name}_{what[:-1]}"] = round(statistics.median(ratios), 3)
    result["load"] = os.getloadavg()[0]
    return result


@click.command(cls=Command, help=__doc__.split("\n\n")[0])
@click.argument("folder", type=PATH)
@click.option("--backbone", default="efficientnet_lite0", help="Backbone, as in mmt features.")
@click.option("--images", "num_images", default=400, help="Images in a turn.")
@click.option("--repeats", default=5, help="Number of turns.")
@click.option("--batch-size", default=32, help="Images in a batch.")
@click.option("--threads", default=0, help="Number of cores and of threads; 0 is all.")
@click.option("--memory/--no-memory", default=True, help="Measure memory at N and 4 N images.")
@click.option("--earlier", type=PATH, help="Measure against this checkout of the repository.")
@click.option("--runtime", default="openvino", help="With --earlier: the runtime of this code.")
@click.option("--precision", "precisions", type=click.Choice(["float32", "bfloat16"]), multiple=True,
              default=["float32", "bfloat16"], help="With --earlier: this code's precision.")  # fmt: skip
@click.option("--only-memory", is_flag=True, hidden=True)
def main(
    folder: Path,
    backbone: str,
    num_images: int,
    repeats: int,
    batch_size: int,
    threads: int,
    memory: bool,
    earlier: Path | None,
    runtime: str,
    precisions: tuple[str, ...],
    only_memory: bool,
) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if threads or earlier:
        threads = threads or len(cores)
        os.sched_setaffinity(0, set(cores[-threads:]))  # before torch counts them; child processes inherit it
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if only_memory:
        _run_for_memory(folder, backbone, num_images, batch_size)
        return
    if earlier is not None:
        print(json.dumps(compare(folder, earlier, backbone, runtime, precisions, num_images, repeats, batch_size)))
        return
    result = measure_speed(folder, backbone, num_images, repeats, batch_size)
    if memory:
        for factor in (1, 4):
            num = factor * num_images
            result[f"peak_bytes_{factor}n"] = peak_of_run(folder, backbone, num, batch_size)
    _print(result)
    print(json.dumps(result))


def _print(result: dict[str, Any]) -> None:
    title = f"{result['signature']}, {result['threads']} threads on {result['cores']} cores"
    rows = [
        ["bare forward pass, images/s", f"{result['bare']:.1f}"],
        ["decoding alone, images/s", f"{result['decoding']:.1f}"],
        ["whole pipeline, images/s", f"{result['pipeline']:.1f}"],
        ["pipeline / the slower of the two", f"{result['ratio']:.3f}"],
        ["pipeline / both on the same cores", f"{result['of_both']:.3f}"],
        ["pipeline / forward pass, in processor time", f"{result['processor_ratio']:.3f}"],
    ]
    for factor in (1, 4):
        if f"peak_bytes_{factor}n" in result:
            label = f"peak memory, {factor * result['images']:,} images, MB"
            rows.append([label, f"{result[f'peak_bytes_{factor}n'] / 1e6:.0f}"])
    print_table(("what", "figure"), rows, title=title)


if __name__ == "__main__":
    main()
