"""The scripts of ``data_prep`` and ``eval`` as subcommands, ``mmt prepare`` and ``mmt evaluate``.

A wheel has them in ``mmt/scripts``, a checkout beside ``mmt``. Nothing here knows a script by name: each module
that runs with ``python -m`` is a subcommand.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

import mmt
from mmt.cli.command import Group, complete, first_sentence
from mmt.errors import nearest
from mmt.io.extras import missing_extra

_PACKAGE = Path(mmt.__file__).parent
_SAME_AS_A_COMMAND = {"score"}


def scripts_folder() -> Path:
    """The folder with ``data_prep``, ``eval`` and ``recipes``."""
    return inside if (inside := _PACKAGE / "scripts").is_dir() else _PACKAGE.parent


class ScriptGroup(Group):
    """Each script of a package is a subcommand, whose module is imported when it is called.

    Args:
        package: ``data_prep`` or ``eval``, in ``scripts_folder()``.
    """

    def __init__(self, *args: Any, package: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        path = self._files().get(cmd_name)
        if path is None:
            return None
        root = str(scripts_folder())
        if root not in sys.path:
            sys.path.insert(0, root)
        name = ".".join(path.relative_to(scripts_folder()).with_suffix("").parts)
        try:
            command: click.Command = import_module(name).main
        except ModuleNotFoundError as error:
            if (missing := missing_extra(error)) is None:
                raise
            click.echo(f"error: {ctx.command_path} {cmd_name}: {missing}", err=True)
            sys.exit(2)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in (known := self._files()):
            ctx.fail(f"No such command '{args[0]}'.{nearest(args[0], known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self._summaries().items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return complete(self, ctx, incomplete, self._summaries())

    def _summaries(self) -> dict[str, str]:
        return {name: _summary(path) for name, path in self._files().items()}

    def _files(self) -> dict[str, Path]:
        """The scripts' files by the names of their subcommands."""
        folder = scripts_folder() / self.package
        files = {path.stem: path for path in folder.glob("*.py")} | {
            path.parent.name: path for path in folder.glob("*/__main__.py")
        }
        return {
            name.replace("_", "-"): path
            for name, path in files.items()
            if "__main__" in path.read_text(encoding="utf-8") and name not in _SAME_AS_A_COMMAND
        }


def _summary(path: Path) -> str:
    """The first sentence of the docstring; of a package's script, of the package's."""
    if path.stem == "__main__":
        path = path.with_name("__init__.py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return first_sentence(" ".join(text.partition("\n\n")[0].replace("``", "").split()))
