"""``mmt info``: describes what mmt wrote."""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.cli.options import MODEL, format_option


@click.command("info", cls=Command)
@click.argument("path", type=MODEL)
@format_option
def info_command(path: Path, form: str) -> None:
    """Describe PATH: a model, an exported model, a run, a dataset, a feature store or an index."""
    from mmt.report.description import print_description

    print_description(path, json=form == "json")
