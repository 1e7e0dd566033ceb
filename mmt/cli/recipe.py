"""``mmt recipe``: lists, shows and copies the training configurations that come with mmt."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mmt.cli.command import Command, Group, first_sentence, write_alone
from mmt.cli.options import PATH, format_option
from mmt.cli.scripts import scripts_folder
from mmt.errors import MMTError, nearest
from mmt.io.atomic import write_whole
from mmt.io.terminal import print_json


@click.group("recipe", cls=Group)
def recipe_command() -> None:
    """List, show and copy training configurations that come with mmt."""


@recipe_command.command("list", cls=Command)
@format_option
def list_command(form: str) -> None:
    """List the recipes, each with what its first comment says."""
    from mmt.io.tables import print_table  # rich; the help needs none

    found = {name: _about(path) for name, path in recipes().items()}
    if form == "json":
        print_json(found)
    else:
        print_table(["recipe", "what"], [[name, about] for name, about in found.items()], text=(0, 1))


@recipe_command.command("show", cls=Command)
@click.argument("name")
def show_command(name: str) -> None:
    """Print the recipe NAME."""
    click.echo(_find(name).read_text(encoding="utf-8"), nl=False)


@recipe_command.command("copy", cls=Command)
@click.argument("name")
@click.argument("folder", type=PATH, default=".")
def copy_command(name: str, folder: Path) -> None:
    """Copy the recipe NAME into FOLDER, to train with or to change.

    A comparison's recipe is copied with it. A file that is there already is not replaced.
    """
    path = _find(name)
    base = re.search(r"^recipe: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)  # no need of PyYAML
    paths = [path] if base is None else [path, path.parent / base[1]]
    outputs = [folder / one.name for one in paths]
    write_alone(*outputs)
    for output in outputs:
        if output.exists():
            raise MMTError(f"{output}: is there already. Name another folder, or remove the file.")
    for one, output in zip(paths, outputs, strict=True):
        write_whole(output, one.read_text(encoding="utf-8"))
        click.echo(output)


def recipes() -> dict[str, Path]:
    """Configuration files by name."""
    found = sorted((scripts_folder() / "recipes" / "configs").glob("*.yaml"))
    if not found:
        raise MMTError(f"{scripts_folder()}: no recipes. Install mmt-toolkit again, or work in a whole checkout.")
    return {path.stem: path for path in found}


def _find(name: str) -> Path:
    known = recipes()
    name = name.removesuffix(".yaml")
    if name not in known:
        raise MMTError(f"recipe '{name}': unknown.{nearest(name, known)} mmt recipe list shows all.")
    return known[name]


def _about(path: Path) -> str:
    """The first sentence of the comment at the head of the file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = lines[: next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return first_sentence(" ".join(line.lstrip("# ") for line in head))
