"""How every command of this project, in ``mmt`` and in the scripts, meets a user's mistake."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from mmt.errors import MMTError


class Command(click.Command):
    """Turns an ``MMTError`` into one line on standard error and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MMTError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except BrokenPipeError:  # the reader, head for instance, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
