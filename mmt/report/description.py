"""What mmt wrote, described in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmt.inference.describe import describe
from mmt.io.tables import print_table
from mmt.io.terminal import print_json


def print_description(path: Path, *, json: bool = False) -> None:
    """Prints what ``describe`` says, as a table or as JSON. Raises MMTError as ``describe``."""
    found = describe(path)
    if json:
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
