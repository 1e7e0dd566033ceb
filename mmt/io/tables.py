"""Tables for people, at any width of the terminal. It imports rich, which no help text needs."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from mmt.io.terminal import console

_NARROWEST = 12  # characters to which a column of names folds


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
