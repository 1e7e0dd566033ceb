"""Kills work at random moments, again and again: ``python -m tests.hard.kill OUT --kills 50 --seed 1``.

Each kind of work is done once undisturbed, and once killed (SIGKILL) and begun again until it has been killed so
many times; half of the kills of a training fall on the writing of a checkpoint. Then it may end, and must have
made the same files, bit by bit. Exit code 1 if it has not, or if a restart failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

SETTINGS = {
    "text.vocab_size": 600,
    "data.max_tokens": 512,
    "model.num_encoder_layers": 1,
    "model.num_decoder_layers": 1,
    "regime.num_steps": 400,
    "regime.report_every": 5,
    "regime.validate_every": 5,
    "regime.keep_last": 4,
    "decoding.export": "false",
    "threads": 1,
}


SMALL = ("--train", 600, "--val", 30, "--test", 30, "--contrastive", 16)


@dataclass(frozen=True)
class Work:
    """A command that makes ``made`` (in its folder), and what of that must be the same each time."""

    name: str
    command: Callable[[Path], list[str]]
    made: Callable[[Path], list[Path]]
    half: str = ""
    """Files that are there while something is half done: every second kill waits for one that is being written."""


def _python(*arguments: object) -> list[str]:
    return [sys.executable, "-m", *(str(one) for one in arguments)]


def _works(out: Path) -> list[Work]:
    data, store = out / "data", out / "store"

    def train(folder: Path) -> list[str]:
        config = ["--config-file", "recipes/configs/pictures_en_de_gated.yaml"]
        settings = SETTINGS | {"data.path": data, "images.features": store}
        for key, value in settings.items():
            config += ["--config", f"{key}={value}"]
        return _python("mmt.cli", "train", folder, *config)

    def features(folder: Path) -> list[str]:
        return _python("mmt.cli", "features", "--images", data, "--out", folder, "--batch-size", 4)

    def prepare(folder: Path) -> list[str]:
        return _python("data_prep.pictures", folder, "--train", 1500, "--val", 200, "--test", 200)

    def translate(folder: Path) -> list[str]:
        model = out / "training" / "undisturbed" / "model"
        folder.mkdir(parents=True, exist_ok=True)
        given = ["--data", data, "--split", "train", "--images", store, "--threads", 1, "--max-tokens", 256]
        return _python("mmt.cli", "translate", "--model", model, *given, "--output", folder / "out.txt")

    return [
        Work(
            "training",
            train,
            lambda folder: [
                folder / "model/model.safetensors",
                *sorted(folder.glob("checkpoints/*/model/**/*.pt")),
            ],
            "checkpoints/*.tmp/*/**/*.pt",
        ),
        Work("features", features, lambda folder: sorted(one for one in folder.iterdir() if one.is_file())),
        Work(
            "preparing",
            prepare,
            lambda folder: sorted(one for one in folder.rglob("*") if one.is_file()),
        ),
        Work("translating", translate, lambda folder: sorted(folder.iterdir())),
    ]


def _is_half(work: Work, folder: Path, since: float) -> bool:
    """Whether something is half done, by the work that began at ``since``."""
    with contextlib.suppress(FileNotFoundError):  # it is done just now
        return any(path.stat().st_mtime >= since for path in (folder.glob(work.half) if work.half else ()))
    return False


def _begin(work: Work, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(work.command(folder), stdout=stream, stderr=stream, start_new_session=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _state(work: Work, folder: Path) -> dict[str, str]:
    """The sum of each file made."""
    sums = {}
    for path in work.made(folder):
        content = path.read_bytes()
        if path.suffix == ".pt":  # a zip file, which holds the folder's name and the time
            import torch

            weights = torch.load(path, weights_only=True)
            content = b"".join(name.encode() + weights[name].numpy().tobytes() for name in sorted(weights))
        sums[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return sums


def _unequal(expected: dict[str, str], found: dict[str, str]) -> str:
    names = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    return f"{len(names)} files differ: {', '.join(names[:3])}" if names else ""


def _disturbed(
    work: Work, folder: Path, expected: dict[str, str], kills: int, lasted: float, rng: random.Random
) -> tuple[str, int, int]:
    """Does the work with so many kills.

    Returns:
        What went wrong, or nothing; how often it was finished; how many kills left something half done.
    """
    log = folder.with_suffix(".log")
    done = finished = half = 0
    with tqdm(total=kills, desc=work.name, unit=" kills") as bar:
        while done < kills:
            since = time.time()
            process, begun = _begin(work, folder, log), time.monotonic()
            # Anywhere in the work, more often early than late: the work goes on from there.
            until = begun + rng.uniform(0, min(lasted, 20.0))
            waits = bool(work.half) and done % 2 == 0
            while process.poll() is None:
                if time.monotonic() > until and not waits:
                    break
                if waits and _is_half(work, folder, since):
                    time.sleep(rng.uniform(0, 0.02))
                    break
                time.sleep(0.0005)
            if process.poll() is None:
                _kill(process)
                done += 1
                half += _is_half(work, folder, since)
                bar.update()
            elif process.returncode:
                return f"a restart failed after {done} kills, see {log}", finished, half
            elif wrong := _unequal(expected, _state(work, folder)):
                return f"after {done} kills {wrong}", finished, half
            else:
                finished += 1
                shutil.rmtree(folder)
    if _begin(work, folder, log).wait():
        return f"the last restart failed, see {log}", finished, half
    return _unequal(expected, _state(work, folder)), finished + 1, half


@click.command(help=__doc__.partition("\n\n")[0])
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kills", default=50, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["training", "features", "preparing", "translating"]),
    help="Repeatable.",
)
def main(out: Path, kills: int, seed: int, only: tuple[str, ...]) -> None:
    out = out.resolve()
    out.mkdir(parents=True)
    for command in (
        _python("data_prep.pictures", out / "data", *SMALL),
        _python("mmt.cli", "features", "--images", out / "data", "--out", out / "store"),
    ):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results: list[dict[str, Any]] = []
    for work in _works(out):
        if only and work.name not in only and not (work.name == "training" and "translating" in only):
            continue
        whole, broken = out / work.name / "undisturbed", out / work.name / "killed"
        whole.parent.mkdir()
        begun = time.monotonic()
        if _begin(work, whole, whole.with_suffix(".log")).wait():
            raise click.ClickException(f"{work.name} fails undisturbed, see {whole.with_suffix('.log')}")
        lasted = time.monotonic() - begun
        if only and work.name not in only:
            continue
        expected = _state(work, whole)
        wrong, finished, half = _disturbed(work, broken, expected, kills, lasted, random.Random(seed))
        results.append(
            {
                "work": work.name,
                "kills": kills,
                "half": half,
                "finished": finished,
                "files": len(expected),
                "wrong": wrong,
            }
        )
        (out / "result.json").write_text(json.dumps(results, indent=1))
    table = Table("work", "kills", "half-written left", "times finished", "files compared", "result")
    for one in results:
        figures = (str(one[name]) for name in ("work", "kills", "half", "finished", "files"))
        table.add_row(*figures, one["wrong"] or "bit-equal")
    Console().print(table)
    sys.exit(any(one["wrong"] for one in results))


if __name__ == "__main__":
    main(prog_name="python -m tests.hard.kill")
