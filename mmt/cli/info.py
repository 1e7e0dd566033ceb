"""``mmt info``: describes what mmt wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command
from mmt.cli.options import MODEL, format_option
from mmt.io.terminal import print_json, print_table


@click.command("info", cls=Command)
@click.argument("path", type=MODEL)
@format_option
def info_command(path: Path, form: str) -> None:
    """Describe PATH: a model, an exported model, a run, a dataset, a feature store or an index."""
    from mmt.inference.describe import describe  # NumPy; the help needs none

    found = describe(path)
    if form == "json":
        print_json(found)
        return
    rows = [[name, _shown(value)] for name, value in found.items() if value not in (None, "", [], {})]
    print_table(["", str(path)], rows, text=(0, 1))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1000 else f"{value:,.1f}"
    if isinstance(value, dict):
        return "\n".join(f"{name.removeprefix('validation_')}: {_shown(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
