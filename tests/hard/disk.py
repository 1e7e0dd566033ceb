"""Lets every command meet a full disk and a read-only one, as root: ``python -m tests.hard.disk OUT``.

Each command is given a disk with room for a part of what it writes, and one that cannot be written at all. It must
say so in one line and exit with 2, leave what it was to replace as it was, and make the same files as on a disk
with room once there is some. Exit code 1 if it does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from tests.hard.kill import SETTINGS, SMALL

_ROOM = (0.02, 0.3, 0.6, 0.9)  # of what the command writes
_DISK_MB = 512
_LABELS: dict[str, object] = {  # text alone
    "images.features": "null",
    "model.fusion": "none",
    "model.readout": "mean",
    "model.text_encoder": "transformer",
    "model.num_decoder_layers": 0,
    "regime.num_steps": 10,
    "regime.cooldown_steps": 0,
}


@dataclass(frozen=True)
class Work:
    """A command: how it is called, ``first`` and then to replace or go on with what it made, and what it makes."""

    name: str
    command: Callable[[Path, bool], list[object]]
    kept: Callable[[Path], list[Path]]
    """Of what it made at first, the files that must stay as they are where it fails."""
    made: Callable[[Path], list[Path]]
    """What must come out the same in the end."""


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.is_file())


def _works(out: Path) -> list[Work]:
    data, store, model = out / "data", out / "store", out / "run" / "model"
    threads = ["--threads", 1]

    def train(folder: Path, first: bool) -> list[object]:
        more = {"objectives.contrastive": 0.1, "regime.num_steps": 20 if first else 60}
        return _training(folder / "run", "pictures_en_de_gated", data, {"images.features": store, **more})

    def train_new(folder: Path, first: bool) -> list[object]:
        more = {"images.features": store, "regime.num_steps": 20}
        return ["mmt.cli", "--version"] if first else _training(folder / "run", "pictures_en_de_gated", data, more)

    def compare(folder: Path, first: bool) -> list[object]:
        settings = {**SETTINGS, "data.path": str(data), "regime.num_steps": 10}
        config = {
            "recipe": os.path.abspath("recipes/configs/pictures_en_de_none.yaml"),
            "features": {"pool": [str(store)]},
            "fusions": {"gated": ["pool"]},
            "seeds": [1] if first else [1, 2],
            "split": "contrastive",
            "settings": [f"{key}={value}" for key, value in settings.items()],
        }
        (out / f"compare_{first}.yaml").write_text(json.dumps(config))  # JSON is YAML
        return ["mmt.cli", "compare", out / f"compare_{first}.yaml", folder / "compare"]

    def predict(folder: Path, first: bool) -> list[object]:
        given = ["--data", out / "topics", "--split", "val" if first else "train", *threads]
        return ["mmt.cli", "predict", "--model", out / "labels" / "model", *given, "--output", folder / "out.tsv"]

    def score_pairs(folder: Path, first: bool) -> list[object]:
        given = ["--data", data, "--split", "val" if first else "train", "--images", store, *threads]
        return ["mmt.cli", "score-pairs", "--model", model, *given, "--output", folder / "out.tsv"]

    def multi30k(folder: Path, first: bool) -> list[object]:
        given = ["--raw", out / "raw", "--image-splits", out / "raw", "--images", data / "images"]
        return ["data_prep.multi30k", folder / "data", *given, *(["--split", "val"] if first else [])]

    def translate(folder: Path, first: bool) -> list[object]:
        given = ["--data", data, "--split", "val" if first else "train", "--images", store, *threads]
        return ["mmt.cli", "translate", "--model", model, *given, "--output", folder / "out.txt"]

    def features(folder: Path, first: bool) -> list[object]:
        images = ["--images", data / "images" if not first else out / "few"]
        return ["mmt.cli", "features", *images, "--out", folder / "store", "--batch-size", 16]

    def prepare(folder: Path, first: bool) -> list[object]:
        sizes = ["--train", 100 if first else 600, "--val", 20, "--test", 20]
        return ["data_prep.pictures", folder / "data", *sizes]

    def export(folder: Path, first: bool) -> list[object]:
        more = [] if first else ["--precision", "int8"]
        given = ["--model", model, "--out", folder / "onnx", "--no-backbone", "--precision", "float32"]
        return ["mmt.cli", "export", *given, *more]

    def evidence(folder: Path, first: bool) -> list[object]:
        given = ["--data", data, "--split", "val" if first else "test", "--images", store, "--draws", 1, *threads]
        return ["mmt.cli", "evidence", "--model", model, *given, "--output", folder / "page"]

    def index(folder: Path, first: bool) -> list[object]:
        given = ["--images", store] if first else ["--sentences", data, "--split", "train"]
        return ["mmt.cli", "retrieve", "--model", model, "--index", folder / "index", *given, *threads]

    def answers(folder: Path, first: bool) -> list[object]:
        asked = ["a", "b", "c"] if first else [f"a picture {n}" for n in range(400)]
        given = ["--index", out / "index", *asked, *threads]
        pages = ["--html", folder / "page.html", "--output", folder / "answers.jsonl"]
        return ["mmt.cli", "retrieve", "--model", model, *given, *pages]

    def result(folder: Path, first: bool) -> list[object]:
        return ["eval.result", model, data, "val" if first else "test", folder / "result", "--images", store]

    def weights(folder: Path) -> list[Path]:
        return _files(folder / "run" / "model")

    def nothing(_: Path) -> list[Path]:
        return []

    def model_alone(folder: Path) -> list[Path]:
        return [folder / "run" / "model" / "model.safetensors"]

    return [
        Work("train", train, weights, model_alone),
        Work("features", features, nothing, lambda f: [f / "store" / "features.bin", f / "store" / "ids.txt"]),
        Work("data_prep.pictures", prepare, _files, _files),
        Work("translate", translate, _files, _files),
        Work("export", export, _files, _files),
        Work("evidence", evidence, _files, nothing),
        Work("retrieve, index", index, _files, _files),
        Work("retrieve, answers", answers, _files, _files),
        Work("eval.result", result, _files, nothing),
        Work("train, new", train_new, nothing, model_alone),
        Work("compare", compare, lambda f: sorted(f.glob("compare/compare.*")), nothing),
        Work("predict", predict, _files, _files),
        Work("score-pairs", score_pairs, _files, _files),
        Work("data_prep.multi30k", multi30k, _files, _files),
    ]


def _training(out: Path, recipe: str, data: Path, more: dict[str, object]) -> list[object]:
    command: list[object] = ["mmt.cli", "train", out, "--config-file", f"recipes/configs/{recipe}.yaml"]
    for key, value in {**SETTINGS, "data.path": data, **more}.items():
        command += ["--config", f"{key}={value}"]
    return command


def _write_raw(raw: Path, images: Path) -> None:
    """Data as Multi30K has it."""
    raw.mkdir()
    names = sorted(one.name for one in images.iterdir())
    for split, num in {"train": 400, "val": 20}.items():
        for language in ("en", "de"):
            lines = [f"sentence {number} of {split} in {language}" for number in range(num)]
            (raw / f"{split}.{language}").write_text("\n".join(lines) + "\n")
        (raw / f"{split}.txt").write_text("\n".join(names[:num]) + "\n")


def _run(command: list[object]) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def _sums(files: list[Path], folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.exists()}


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


@contextmanager
def _disk(place: Path) -> Iterator[None]:
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", place)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=False)
        place.rmdir()


def _fill(place: Path, room: int) -> Path:
    """A file that leaves ``room`` bytes."""
    ballast = place / "ballast"
    state = os.statvfs(place)
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, state.f_bavail * state.f_frsize - max(room, 4096)))
    return ballast


def _judged(code: int, said: str, folder: Path, before: dict[str, str], kept: list[Path]) -> str:
    """What is wrong with how a command failed, or nothing."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if code == 0:
        return ""  # it fitted
    if code != 2 or len(errors) != 1 or "Traceback" in said:
        return f"exit {code}: {said.strip()[-400:]}"
    if str(folder) not in errors[0]:
        return f"names no file: {errors[0]}"
    if _sums(kept, folder) != before:
        return f"what was there before has changed: {errors[0]}"
    return ""


def _meet(work: Work, out: Path, whole: Path, expected: dict[str, str], size: int) -> list[tuple[str, str, str]]:
    found = []
    for case in [*(f"room for {part:.0%}" for part in _ROOM), "read-only"]:
        place = out / "disk"
        with _disk(place):
            folder = place / "work"
            shutil.copytree(whole.with_name("first"), folder)
            before = _sums(work.kept(folder), folder)
            if case == "read-only":
                _mount("-o", "remount,ro", place)
            else:
                ballast = _fill(place, int(size * _ROOM[[f"room for {part:.0%}" for part in _ROOM].index(case)]))
            code, said = _run(work.command(folder, False))
            wrong = _judged(code, said, folder, before, [folder / name for name in before])
            line = next((one for one in said.splitlines() if one.startswith("error: ")), f"exit {code}")
            if case == "read-only":
                _mount("-o", "remount,rw", place)
                wrong = wrong or ("exit 0 on a read-only disk" if code == 0 else "")
            else:
                ballast.unlink()
            if not wrong:
                code, said = _run(work.command(folder, False))
                if code:
                    wrong = f"with room, exit {code}: {said.strip()[-400:]}"
                elif _sums(work.made(folder), folder) != expected:
                    wrong = "with room, other files come out"
        found.append((f"{work.name}, {case}", line.replace(str(folder), "OUT"), wrong))
    return found


@click.command(help=__doc__.partition("\n\n")[0])
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, help="Repeatable: names of commands.")
def main(out: Path, only: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        raise click.ClickException("only root can mount a disk.")
    out = out.resolve()
    out.mkdir(parents=True)
    (out / "few").mkdir()
    made = _works(out)
    train = made[0]
    for command in (
        ["data_prep.pictures", out / "data", *SMALL],
        ["mmt.cli", "features", "--images", out / "data", "--out", out / "store"],
        train.command(out, False),
        ["mmt.cli", "retrieve", "--model", out / "run/model", "--index", out / "index", "--images", out / "store"],
        ["data_prep.classes", "topics", out / "topics", "--train", 600, "--val", 30, "--test", 30],
        _training(out / "labels", "topics_vgg16_lstm", out / "topics", _LABELS),
    ):
        code, said = _run(list(command))
        if code:
            raise click.ClickException(said)
    for image in sorted((out / "data" / "images").iterdir())[:20]:
        shutil.copy(image, out / "few")
    _write_raw(out / "raw", out / "data" / "images")
    rows: list[tuple[str, str, str]] = []
    for work in tqdm([one for one in made if not only or one.name in only], unit=" commands"):
        whole = out / work.name.replace(", ", "_") / "whole"
        whole.mkdir(parents=True)
        for first in (True, False):
            code, said = _run(work.command(whole, first))
            if code:
                raise click.ClickException(f"{work.name} fails with room: {said}")
            if first:
                shutil.copytree(whole, whole.with_name("first"))
        size = sum(one.stat().st_size for one in _files(whole))
        size -= sum(one.stat().st_size for one in _files(whole.with_name("first")) if work.name == "train")
        rows += _meet(work, out, whole, _sums(work.made(whole), whole), size)
        (out / "result.json").write_text(json.dumps(rows, indent=1))
    table = Table("command", "it says", "wrong")
    for row in rows:
        table.add_row(*row)
    Console(width=160).print(table)
    sys.exit(any(wrong for _, _, wrong in rows))


if __name__ == "__main__":
    main(prog_name="python -m tests.hard.disk")
