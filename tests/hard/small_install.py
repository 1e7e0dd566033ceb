"""Installs the wheel without extras and uses it, as someone does who only translates and scores:

    python -m tests.hard.small_install PYTHON

PYTHON makes the environment, in a temporary folder. The interpreter that runs this makes the wheel, an exported
model and a feature store. Exit code 1 where the small install is too large, brings torch along, translates
otherwise than torch, or answers a command that it lacks with more than one line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import click

from mmt.data.tokenizer import train_tokenizer
from mmt.inference.onnx_export import export_model
from mmt.inference.torch_runtime import Translator
from tests.worlds import make_features, sentences, tiny_folder

MOST_MEGABYTES = 400
LINES = ["A dog sees the cat.", "A boat finds the ball.", "A ball."]
IMAGES = ["0.png", "", "1.png"]
ROOT = Path(__file__).parents[2]


def make_world(folder: Path) -> list[str]:
    """An exported model, ``exported``, with its ``features``, ``in.tsv``; what torch translates that into."""
    make_features(folder / "features", ["0.png", "1.png"])
    train_tokenizer((side for pair in sentences(60, 0) for side in pair), 330, folder / "tokenizer.model")
    model = tiny_folder(folder / "model", folder, "gated")
    export_model(model, folder / "exported", ["float32"])
    rows = [f"{line}\t{image}\n" for line, image in zip(LINES, IMAGES, strict=True)]
    (folder / "in.tsv").write_text("".join(rows), encoding="utf-8")
    return Translator.from_dir(model, folder / "features").translate(LINES, [image or None for image in IMAGES])


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def check_wheel(wheel: Path) -> None:
    """The package with scripts and recipes, and nothing else: no tests, no photographs, no results."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    for name in ("data_prep/multi30k.py", "eval/result.py", "recipes/configs/multi30k_en_de_none.yaml"):
        if f"mmt/scripts/{name}" not in names:
            raise SystemExit(f"{wheel.name}: expected mmt/scripts/{name}, found none.")
    kinds = (".py", ".json", ".typed", ".yaml", ".html", ".css", ".js", ".j2", ".txt")
    inside = [name for name in names if ".dist-info/" not in name]
    other = [name for name in inside if not name.startswith("mmt/") or not name.endswith(kinds) or "test" in name]
    if other:
        raise SystemExit(f"{wheel.name}: expected code and recipes alone, found {', '.join(other[:5])}.")


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
    found = run("translate", "--model", "exported", "--input", "in.tsv", "--images", "features").splitlines()
    if found != expected:
        raise SystemExit(f"small install: expected the translations {expected}, found {found}.")
    (folder / "out.de").write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    if "BLEU" not in run("score", "out.de", "--ref", "out.de"):
        raise SystemExit("small install: mmt score prints no BLEU.")
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
