"""Output of commands for people: counts and lines, in any encoding."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_SIGNS = {
    "±": "+-", "−": "-", "–": "-", "—": "-", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "„": '"',
    "×": "x", "↓": "v", "→": "->", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun: ``1 image``, ``2,000 images``, ``1 query``, ``3 queries``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


_quiet = ContextVar("quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, nothing is printed but errors, by what prints through this module: as ``--quiet`` asks."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


def is_quiet() -> bool:
    """Whether this runs inside ``quiet``."""
    return _quiet.get()


def no_bar() -> bool | None:
    """For ``disable`` of tqdm: None, which shows the bar in a terminal alone, or True."""
    return True if is_quiet() else None


def any_encoding() -> None:
    """Makes standard output and standard error replace characters that their encoding lacks, instead of failing.

    This concerns terminals that are not UTF-8, and file names that are not valid text.
    """
    codecs.register_error("mmt", _otherwise)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="mmt")


def _otherwise(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_SIGNS.get(sign, "?") for sign in signs), error.end


def print_json(value: Any) -> None:
    """Prints a value as JSON; characters beyond ASCII are escaped unless the encoding is UTF-8."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, indent=2, ensure_ascii=not utf8), flush=True)


def print_note(text: str) -> None:
    """Prints a line on standard error; nothing where that is closed, and inside ``quiet``."""
    if sys.stderr is not None and not is_quiet():  # else print() would take standard output
        print(text, file=sys.stderr, flush=True)


def console(*, err: bool = False, errors: bool = False) -> Console:
    """A rich console that prints names as they are, even with brackets and colons. Inside ``quiet`` it is silent.

    Args:
        err: prints to standard error.
        errors: prints what went wrong, to standard error, also inside ``quiet``.
    """
    from rich.console import Console  # as long as all of mmt --help takes, for those that print no table

    quiet = is_quiet() and not errors
    return Console(stderr=err or errors, quiet=quiet, highlight=False, markup=False, emoji=False)
