"""All commands and scripts of the repository, as click commands."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import click

import data_prep
import eval
import recipes
from mmt.cli.scripts import ScriptGroup


def leaves(command: click.Command) -> list[click.Command]:
    """The commands of a group and of its groups; not the scripts, see ``scripts``."""
    if isinstance(command, ScriptGroup):
        return []
    if isinstance(command, click.Group):
        context = click.Context(command)
        members = [command.get_command(context, name) for name in command.list_commands(context)]
        return [leaf for one in members if one is not None for leaf in leaves(one)]
    return [command]


def scripts() -> list[ModuleType]:
    """All that is run as ``python -m``."""
    found = []
    for package in (eval, data_prep, recipes):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            if "__main__" in path.read_text(encoding="utf-8"):
                name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
                found.append(importlib.import_module(name))
    return found


def commands_of(module: ModuleType) -> list[click.Command]:
    given = getattr(module, "main", None) or getattr(module, "score_command", None) or module.train_command
    return leaves(given) if isinstance(given, click.Command) else []  # two benchmarks run in another Python
