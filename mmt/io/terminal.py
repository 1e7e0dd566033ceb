"""Output of commands for people: counts, lines and tables, in any encoding and at any width."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_NARROWEST = 12  # characters to which a column of names folds
_SIGNS = {
    "±": "+-", "−": "-", "–": "-", "—": "-", "…": "...", "’": "'", "‘": "'", "“": '"', "”": '"', "„": '"',
    "×": "x", "↓": "v", "→": "->", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun: ``1 image``, ``2,000 images``, ``1 query``, ``3 queries``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


_hides_bars = ContextVar("hides_bars", default=False)


@contextmanager
def hidden_bars() -> Iterator[None]:
    """Progress bars made inside show nothing, if they ask ``no_bar``."""
    before = _hides_bars.set(True)
    try:
        yield
    finally:
        _hides_bars.reset(before)


def no_bar() -> bool | None:
    """For ``disable`` of tqdm: None, which shows the bar in a terminal alone, or True."""
    return True if _hides_bars.get() else None


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


def console(*, err: bool = False) -> Console:
    """A rich console that prints names as they are, even with brackets and colons."""
    from rich.console import Console  # as long as all of mmt --help takes, for those that print no table

    return Console(stderr=err, highlight=False, markup=False, emoji=False)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    text: Sequence[int] = (0,),
    lines: bool = False,
) -> None:
    """Prints a table in which numbers are never cut off, however narrow the terminal is.

    If the table is too wide, headings fold between words first, then names; then the frame is dropped; then
    headings break anywhere; finally each row becomes a list.

    Args:
        columns: the headings.
        rows: the cells; one may have several lines.
        text: the columns with names, which may fold; the others have numbers.
        lines: draw a line between rows.
    """
    from rich import box  # as in ``console``
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    out = console()
    heads = [max(map(cell_len, name.split()), default=0) for name in columns]
    cells = [
        max((cell_len(line) for row in rows for line in row[n].split("\n")), default=0)
        for n in range(len(columns))
    ]
    whole = [max(cell_len(name), cell) for name, cell in zip(columns, cells, strict=True)]
    words = [max(head, cell) for head, cell in zip(heads, cells, strict=True)]
    least = [min(cell, _NARROWEST) if n in text else cell for n, cell in enumerate(cells)]
    least = [max(width, min(head, _NARROWEST)) for width, head in zip(least, heads, strict=True)]
    framed, bare = 3 * len(columns) + 1, 2 * (len(columns) - 1)
    if title:
        out.print(title, style="italic", soft_wrap=True)
    if sum(least) + bare > out.width:
        for row in rows:
            out.print(row[0].replace("\n", ", "), style="bold", soft_wrap=True)
            for name, cell in list(zip(columns, row, strict=True))[1:]:
                value = cell.replace("\n", ", ")
                gap = " " if cell_len(f"  {name}: {value}") <= out.width else "\n    "
                if cell:
                    out.print(f"  {name}:{gap}{value}", soft_wrap=True)
        return
    unbroken = [least[n] if n in text else width for n, width in enumerate(words)]
    frame = sum(unbroken) + framed <= out.width
    if not frame and sum(unbroken) + bare > out.width:  # headings break between letters, frame or not
        frame = sum(least) + framed <= out.width
    room = out.width - (framed if frame else bare)
    shape = box.HEAVY_HEAD if frame else None
    table = Table(box=shape, padding=(0, 1) if frame else (0, 2, 0, 0), pad_edge=frame, show_lines=lines)
    for n, (name, width) in enumerate(zip(columns, _widths(whole, (words, unbroken, least), room), strict=True)):
        table.add_column(Text(name), width=width, justify="left" if n in text else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table)


def _widths(whole: Sequence[int], least: Sequence[Sequence[int]], room: int) -> list[int]:
    """The widest widths that fit: ``whole``, otherwise narrower, down to the first of ``least`` that suffices."""
    widths = list(whole)
    for limits in least:
        while sum(widths) > room:
            spare = [width - limit for width, limit in zip(widths, limits, strict=True)]
            if max(spare) <= 0:
                break
            widths[spare.index(max(spare))] -= 1
    return widths
