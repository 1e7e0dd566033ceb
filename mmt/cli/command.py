"""The base classes of all commands and scripts: errors in one line, signals, locks of outputs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from mmt.cli.options import ARGUMENTS, IMPORTED
from mmt.errors import MMTError
from mmt.io import runtime
from mmt.io.atomic import disk_error, only_writer, only_writer_in, remedy
from mmt.io.extras import missing_extra
from mmt.io.plugins import import_modules
from mmt.io.signals import Stopped, outlive_terminal, stopping_at_once
from mmt.io.terminal import any_encoding
from mmt.io.terminal import quiet as silence

# At import: libraries that a script imports after this module read the environment when they are loaded.
runtime.start()


def first_sentence(text: str) -> str:
    """Of a help text, docstring or comment."""
    return re.split(r"(?<=[.?])(?<!et al\.)\s|\n\n", text.strip(), maxsplit=1)[0]


def write_alone(*outputs: Path | None) -> None:
    """Locks the outputs until the running command ends; see ``mmt.io.atomic.only_writer``."""
    click.get_current_context().with_resource(only_writer(*outputs))


def be_quiet(*, quiet: bool) -> None:
    """Prints nothing but errors until the running command ends, if ``quiet``; see ``mmt.io.terminal.quiet``."""
    if quiet:
        click.get_current_context().with_resource(silence())


def write_alone_in(folder: Path) -> None:
    """Locks a folder that the command fills; see ``mmt.io.atomic.only_writer_in``."""
    click.get_current_context().with_resource(only_writer_in(folder))


@contextlib.contextmanager
def _disk_errors_in_one_line() -> Iterator[None]:
    """Ends the process with one line and exit code 2 where a disk is full or fails."""
    try:
        yield
    except (MMTError, BrokenPipeError):  # which have their own lines, though a disk's error may have caused them
        raise
    except Exception as error:
        if (cause := disk_error(error)) is None:
            raise
        click.echo(f"error: {cause.filename or 'the output'}: {cause.strerror}. {remedy(cause)}", err=True)
        sys.exit(2)


def complete(
    group: click.Group, ctx: click.Context, incomplete: str, summaries: Mapping[str, str]
) -> list[CompletionItem]:
    """For ``shell_complete`` of a group: the names of its commands, of which none is imported, and its options."""
    names = [
        CompletionItem(name, help=summaries[name]) for name in sorted(summaries) if name.startswith(incomplete)
    ]
    return names + click.Command.shell_complete(group, ctx, incomplete)


class Group(click.Group):
    """Several commands under one name, with ``-h`` and with the defaults in the help."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("context_settings", {"help_option_names": ["-h", "--help"], "show_default": True})
        super().__init__(*args, **settings)
        if self.help and not self.short_help:
            self.short_help = first_sentence(self.help)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _disk_errors_in_one_line():  # of printing the help
            return super().parse_args(ctx, args)


class Command(click.Command):
    """Reports an ``MMTError`` or a full disk in one line, with exit code 2, and a signal that stopped it.

    Args:
        when_stopped: what to tell the user then, such as how to resume.
    """

    def __init__(
        self, *args: Any, when_stopped: str = "Rerun the same command to start again.", **settings: Any
    ) -> None:
        settings["context_settings"] = {"help_option_names": ["-h", "--help"], "show_default": True} | (
            settings.get("context_settings") or {}
        )
        super().__init__(*args, **settings)
        self._when_stopped = when_stopped
        if self.help and not self.short_help:  # else click cuts it to one line
            self.short_help = first_sentence(self.help)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        with _disk_errors_in_one_line():  # of printing the help
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        outlive_terminal()
        any_encoding()
        try:
            with _disk_errors_in_one_line(), stopping_at_once():
                try:
                    import_modules(ctx.meta.get(IMPORTED, ()))
                    return super().invoke(ctx)
                finally:
                    ctx.close()  # releases the locks while a second signal cannot end the process
        except Stopped as stop:
            name = signal.Signals(stop.signum).name
            click.echo(f"stopped by {name}. {str(stop) or self._when_stopped}", err=True)
            sys.exit(128 + stop.signum)
        except MMTError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except ModuleNotFoundError as error:
            if (missing := missing_extra(error)) is None:
                raise
            click.echo(f"error: {ctx.command_path}: {missing}", err=True)
            sys.exit(2)
        except BrokenPipeError:  # the reader, such as head, has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(141)
