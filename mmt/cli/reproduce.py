"""``mmt reproduce``: repeats the experiment that a ``result.json`` describes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmt.cli.command import Command, be_quiet, write_alone_in
from mmt.cli.options import PATH, import_option, quiet_option


@click.command("reproduce", cls=Command, when_stopped="Rerun the same command to resume.")
@click.argument("result", type=PATH)
@click.argument("out", type=PATH)
@click.option("--data", type=PATH, help="Prepared dataset.  [default: the result's]")
@click.option("--images", type=PATH, multiple=True,
              help="Feature store; repeat it for several feature sets.  [default: the result's]")  # fmt: skip
@quiet_option
@import_option
def reproduce_command(result: Path, out: Path, data: Path | None, images: tuple[Path, ...], quiet: bool) -> None:
    """Retrain and rescore the experiment described in RESULT (result.json), and check that the scores match.

    OUT gets the run and its scores. Exit code 1 if the translations are not the same, byte for byte.
    """
    be_quiet(quiet=quiet)
    write_alone_in(out)
    from mmt.experiments.reproduce import reproduce

    found = reproduce(result, out, data, images)
    if not quiet:
        for name, was, now in found.scores:
            click.echo(f"{was:6.2f} was, {now:6.2f} is now  {name}")
        for name, before, after in found.versions:
            click.echo(f"{name} {before} was, {after} is now")
        if found.note:
            click.echo(f"settings: {found.note}", err=True)
        click.echo("agrees: the same translations, byte for byte" if found.exact else "does not agree to the byte")
    sys.exit(not found.exact)
