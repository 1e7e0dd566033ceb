"""Parts of a user's own: modules that a command imports before it builds or loads a model."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mmt.errors import MMTError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_META = "mmt.import"

imported: list[str] = []
"""What this process was asked to import, for the processes that it starts."""


def import_option(command: _Command) -> _Command:
    """Adds ``--import`` to a command that builds or loads models; ``mmt.cli.command.Command`` does what it
    asks.
    """

    def keep(ctx: click.Context, _: click.Parameter, modules: tuple[str, ...]) -> None:
        ctx.meta[_META] = modules

    return click.option(
        "--import",
        "modules",
        multiple=True,
        metavar="MODULE",
        expose_value=False,
        callback=keep,
        help="Module or .py file that adds a fusion to mmt.model.fusion.FUSIONS; repeatable.",
    )(command)


def import_given(ctx: click.Context) -> None:
    """Imports what ``--import`` of this command names."""
    import_modules(ctx.meta.get(_META, ()))


def import_modules(modules: Sequence[str]) -> None:
    """Imports modules by name, from the current folder, too, and ``.py`` files by path.

    Raises:
        MMTError: there is none, or it fails.
    """
    for module in modules:
        if module in imported:
            continue
        try:
            if module.endswith(".py"):
                _import_file(Path(module))
            else:
                if os.getcwd() not in sys.path:
                    sys.path.append(os.getcwd())
                importlib.import_module(module)
        except Exception as error:  # it is not our code
            reason = " ".join(str(error).split()) or "no message"
            raise MMTError(
                f"--import {module}: {type(error).__name__}: {reason}. Expected an installed module, one in the "
                "current folder, or the path of a .py file."
            ) from None
        imported.append(module)


def _import_file(path: Path) -> None:
    """As ``import`` does where the file's folder is on the path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError("no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
