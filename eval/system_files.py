"""``--system NAME=FILE`` of scripts that score files of text: which files are seeds of which system."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import click

from mmt.data.inputs import read_texts
from mmt.errors import MMTError, local_path
from mmt.io.formats import TRANSLATIONS


def system_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--system``, whose values are the argument ``named_files``; ``what`` begins its help."""
    return click.option(
        "--system",
        "named_files",
        multiple=True,
        required=True,
        metavar="NAME=FILE",
        help=f"{what}; repeat it with the same NAME for seeds, with others for other systems.",
    )


def files_by_system(
    named_files: Sequence[str], expected: str, reserved: Collection[str] = ()
) -> dict[str, list[Path]]:
    """The files of each system, in the order given.

    Args:
        expected: of the error, such as ``NAME=FILE, such as gated=answers.txt``.
        reserved: names that no system may have.
    Raises:
        MMTError: a value is not NAME=FILE, its name is reserved, its file is a URL, or a system has a file twice.
    """
    systems: dict[str, list[Path]] = {}
    for text in named_files:
        name, sign, file = text.partition("=")
        if not (name and sign and file) or name in reserved:
            raise MMTError(f"--system {text}: expected {expected}.")
        path, seeds = local_path(file), systems.setdefault(name, [])
        if path in seeds:
            raise MMTError(f"--system {text}: given twice. Each file is one seed of {name}.")
        seeds.append(path)
    return systems


def read_system(path: Path, name: str, num_lines: int, expected: str, remedy: str) -> list[str]:
    """The lines of a system's file.

    Args:
        expected: what each line is for, such as ``one for each question of DATA test``.
        remedy: the end of the error.
    Raises:
        MMTError: the file cannot be read, or has another number of lines.
    """
    lines = read_texts(path, TRANSLATIONS)
    if len(lines) != num_lines:
        raise MMTError(
            f"--system {name}={path}: expected {num_lines:,} lines, {expected}, but it has {len(lines):,}. "
            f"{remedy}"
        )
    return lines
