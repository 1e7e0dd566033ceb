"""Installs the wheel without extras and uses it, as someone does who only translates and scores:

    python -m tests.hard.small_install PYTHON

PYTHON makes the environment, in a temporary folder. The interpreter that runs this makes the wheel, an exported
model and a feature store. Exit code 1 where the install or the wheel is too large, the wheel has more than code,
recipes and the model that comes with mmt, the install brings torch along or translates otherwise than torch, ``mmt
demo`` takes long or shows something else, or a command that it lacks is answered with more than one line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import click

from mmt.data.tokenizer import train_tokenizer
from mmt.inference.onnx_export import export_model
from mmt.inference.torch_runtime import Translator
from tests.worlds import make_features, sentences, tiny_folder

MOST_MEGABYTES = 300
MOST_OF_WHEEL = 12
SECONDS_OF_DEMO = 5
LINES = ["A dog sees the cat.", "A boat finds the ball.", "A ball."]
IMAGES = ["0.png", "", "1.png"]
ROOT = Path(__file__).parents[2]


def make_world(folder: Path) -> list[str]:
    """An exported model, ``exported``, with its ``features``, ``in.tsv``; what torch translates that into."""
    make_features(folder / "features", ["0.png", "1.png"])
    train_tokenizer((side for pair in sentences(60, 0) for side in pair), 330, folder / "tokenizer.model")
    model = tiny_folder(folder / "model", folder, "gated")
    export_model(model, folder / "exported", ["float32"], backbone=None)
    rows = [f"{line}\t{image}\n" for line, image in zip(LINES, IMAGES, strict=True)]
    (folder / "in.tsv").write_text("".join(rows), encoding="utf-8")
    return Translator.from_dir(model, folder / "features").translate(LINES, [image or None for image in IMAGES])


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def check_wheel(wheel: Path) -> None:
    """The package with scripts, recipes and a model, and nothing else: no tests, no photographs, no results."""
    if wheel.stat().st_size > MOST_OF_WHEEL * 1e6:
        raise SystemExit(f"{wheel.name}: expected at most {MOST_OF_WHEEL} MB, found {wheel.stat().st_size / 1e6}.")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        examples = [line.split("\t") for line in file.read("mmt/box/examples.tsv").decode().splitlines()]
    box = {f"mmt/box/{image}" for _, image, *_ in examples[1:]}  # drawn by data_prep.pictures
    box |= {
        name for name in names if name.startswith("mmt/box/") and name.endswith((".md", ".onnx", ".model", ".tsv"))
    }
    for name in ("data_prep/multi30k.py", "eval/result.py", "recipes/configs/multi30k_en_de_none.yaml"):
        if f"mmt/scripts/{name}" not in names:
            raise SystemExit(f"{wheel.name}: expected mmt/scripts/{name}, found none.")
    kinds = (".py", ".json", ".typed", ".yaml", ".html", ".css", ".js", ".j2", ".txt")
    inside = [name for name in names if ".dist-info/" not in name]
    code = {name for name in inside if name.startswith("mmt/") and name.endswith(kinds) and "test" not in name}
    code |= {name for name in inside if name.startswith("mmt/report/templates/")}
    if other := sorted({*inside} - code - box):
        raise SystemExit(f"{wheel.name}: expected code, recipes and a model alone, found {', '.join(other[:5])}.")
    if missing := sorted(box - {*inside}):
        raise SystemExit(f"{wheel.name}: expected the pictures of examples.tsv, found no {missing[0]}.")


def install(python: str, folder: Path) -> None:
    """An environment ``venv`` with the wheel, which is built from this checkout."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", ROOT]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    check_wheel(wheel)
    begun = time.monotonic()
    pip = [folder / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    subprocess.run(pip, check=True)
    size, seconds = megabytes(folder / "venv"), time.monotonic() - begun
    click.echo(f"small install: {size:.0f} MB in {seconds:.0f} s")
    if size > MOST_MEGABYTES:
        raise SystemExit(f"small install: expected at most {MOST_MEGABYTES} MB, found {size:.0f}.")


def check(folder: Path, expected: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: object, code: int = 0) -> str:
        command = [str(folder / "venv/bin/mmt"), *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
        if done.returncode != code:
            raise SystemExit(
                f"{' '.join(command)}: expected exit code {code}, found {done.returncode}:\n{done.stderr}"
            )
        return done.stdout if code == 0 else done.stderr

    probe = [folder / "venv/bin/python", "-c", "import importlib.util as i; print(i.find_spec('torch'))"]
    if subprocess.run(probe, check=True, text=True, capture_output=True).stdout != "None\n":
        raise SystemExit("small install: expected no torch, found one.")
    run("--help")
    check_demo(folder, run)
    found = run("translate", "--model", "exported", "--input", "in.tsv", "--images", "features").splitlines()
    if found != expected:
        raise SystemExit(f"small install: expected the translations {expected}, found {found}.")
    many = "".join(f"Satz {number} steht hier.\n" for number in range(40))
    for name, text in {"ref.de": many, "one.de": many.replace("steht", "liegt"), "two.de": many}.items():
        (folder / name).write_text(text, encoding="utf-8")
    said = run("score", "one.de", "two.de", "--ref", "ref.de")
    if "BLEU" not in said:
        raise SystemExit(f"small install: mmt score prints no BLEU:\n{said}")
    run("recipe", "copy", "multi30k_en_de_none")
    for group, script in (("prepare", "jsonl"), ("evaluate", "result")):
        if script not in run(group, "--help"):
            raise SystemExit(f"mmt {group} --help: expected {script} among the commands.")
    (folder / "one.jsonl").write_text('{"source": "A ball.", "target": "Ein Ball."}\n', encoding="utf-8")
    for command in (
        ["train", "OUT"],
        ["export", "--model", "model", "--out", "again"],
        ["features", "--images", "."],
        ["prepare", "jsonl", "OUT", "--data", "one.jsonl", "--source", "en", "--target", "de", "--no-images"],
        ["evaluate", "result", "model", "DATA", "test", "OUT"],
    ):
        more = ["--out", "store"] if command[0] == "features" else []
        said = run(*command, *more, code=2)
        if said.count("\n") != 1 or "pip install 'mmt-toolkit[train]'" not in said:
            raise SystemExit(f"mmt {command[0]}: expected one line that names the extra, found:\n{said}")


def check_demo(folder: Path, run: Callable[..., str]) -> None:
    """``mmt demo``, and the translation of image files that it names."""
    begun, before = time.monotonic(), os.times()
    said = run("demo")
    seconds, after = time.monotonic() - begun, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    click.echo(said)
    click.echo(f"mmt demo: {seconds:.1f} s, {used:.1f} s of processor time")
    if used > SECONDS_OF_DEMO:  # others may use the machine
        raise SystemExit(f"mmt demo: expected at most {SECONDS_OF_DEMO} s of processor time, found {used:.1f}.")
    (examples,) = (folder / "venv").glob("lib/python*/site-packages/mmt/box/examples.tsv")
    wanted = [line.split("\t")[3] for line in examples.read_text(encoding="utf-8").splitlines()[1:]]
    found = run("translate", "--model", "pictures-en-de", "--input", examples).splitlines()
    if found != wanted or [line for line in wanted if line not in said]:
        raise SystemExit(f"mmt demo: expected the translations {wanted}, found {found} and:\n{said}")


@click.command(help=__doc__)
@click.argument("python")
def main(python: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        expected = make_world(folder)
        install(python, folder)
        check(folder, expected)
    click.echo(f"small install: works ({python})")


if __name__ == "__main__":
    main(prog_name="python -m tests.hard.small_install")
