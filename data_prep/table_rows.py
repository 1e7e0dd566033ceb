"""The rows of one table, whatever its format: tab- or comma-separated text, JSON lines or Parquet."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmt.errors import MMTError, nearest
from mmt.io.formats import kind_of
from mmt.io.normalization import is_blank
from mmt.io.text_files import decode_lines, open_text, parse_json

Quotes = Literal["csv", "text"]

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ZIP = b"PK\x03\x04"  # an Excel workbook
_MARKS = ",;\t|"
_CONVERT = "Name its encoding, such as --encoding cp1252, or save it as UTF-8."


@dataclass(frozen=True)
class Table:
    """A table's columns and rows. Blank rows are no rows.

    columns: their names, in order. rows: where each row is, such as ``line 3``, and its values by column.
    """

    name: str
    columns: list[str]
    rows: list[tuple[str, dict[str, Any]]]

    def column(self, wanted: str | None, defaults: Sequence[str], option: str, *, required: bool) -> str | None:
        """The name of a column: the one that the user named, else the first of ``defaults`` that exists.

        Upper and lower case are the same, unless two columns differ in nothing else.

        Args:
            wanted: by the user; None for none.
            option: which names it, such as ``--source``.
            required: raise an error if there is none.
        Raises:
            MMTError: there is no such column, or there are two.
        """
        plain = [column.strip().lower() for column in self.columns]
        for one in [wanted] if wanted is not None else defaults:
            if one in self.columns and self.columns.count(one) == 1:
                return one
            found = [number for number, column in enumerate(plain) if column == one.strip().lower()]
            if len(found) > 1:
                places = " and ".join(str(number + 1) for number in found)
                raise MMTError(
                    f"{self.name}: {len(found)} columns are called '{one}' (columns {places}). Rename one of them."
                )
            if found:
                return self.columns[found[0]]
        if wanted is None and not required:
            return None
        there = f"its columns are {', '.join(map(repr, self.columns))}"
        if wanted is not None:
            raise MMTError(f"{self.name}: no column '{wanted}'; {there}.{nearest(wanted, self.columns)}")
        raise MMTError(
            f"{self.name}: expected a column {' or '.join(map(repr, defaults))}; {there}. Name it with {option}."
        )


def read_table(path: Path, *, encoding: str | None = None, quotes: Quotes | None = None) -> Table:
    """Reads a table, packed with gzip or not.

    ====================  ==============================================================================
    .tsv, .tab, .txt      the first line names the columns; quotes are text
    .csv                  the same, separated by comma, semicolon, tab or bar, as the first line shows
    .jsonl, .ndjson       one object a line, with the same names
    .parquet              as pyarrow reads it
    ====================  ==============================================================================

    What spreadsheets write is read: a byte order mark, UTF-16, CR LF, a first line ``sep=;``, blank rows.

    Args:
        encoding: of a text file; None for UTF-8, or for UTF-16 with a byte order mark.
        quotes: ``csv``: a cell in double quotes may contain separators and line breaks; ``text``: quotes are
            text. None for what the format's row says.
    Raises:
        MMTError: it is missing or damaged, of another format or encoding, or ragged; with the line.
    """
    if _suffix(path) == ".parquet":
        return _parquet(path)
    kind = kind_of(path)
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise MMTError(
                f"--encoding {encoding}: no such encoding. Say, for example, cp1252 or utf-16."
            ) from None
    with open_text(path) as stream:
        lines = _lines(stream, path, encoding)
        table = _json_lines(lines, path) if kind == "jsonl" else _delimited(lines, path, kind, quotes)
    if not table.rows:
        raise MMTError(f"{path}: has no rows below its first line, or is empty.")
    return table


def _lines(stream: Any, path: Path, encoding: str | None) -> Iterator[str]:
    start = stream.peek(4)[:4]
    if start == _ZIP:
        raise MMTError(f"{path}: is an Excel workbook or a zip file. Save it as 'CSV UTF-8', or as .tsv.")
    if encoding is None and start[:2] in _UTF16:
        encoding = "utf-16"
    if encoding is None:
        yield from decode_lines(stream, str(path), remedy=_CONVERT)
        return
    try:
        for line in io.TextIOWrapper(stream, encoding=encoding, newline="\n"):
            yield line.lstrip("\ufeff").removesuffix("\n").removesuffix("\r")
    except UnicodeError as error:
        raise MMTError(f"{path}: expected {encoding}, found something else ({error}).") from None


def _delimited(lines: Iterator[str], path: Path, kind: str, quotes: Quotes | None) -> Table:
    first, before = next(lines, ""), 0
    mark = "\t" if kind != "csv" else ""
    if first.lower().startswith("sep=") and len(first) == 5:  # a spreadsheet's own hint
        mark, first, before = first[4], next(lines, ""), 1
    mark = mark or max(_MARKS, key=first.count)
    quotes = quotes or ("csv" if kind == "csv" else "text")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes == "csv" else csv.QUOTE_NONE
    text = (line + "\n" for line in itertools.chain([first], lines))
    reader = csv.reader(text, delimiter=mark, strict=True, quoting=quoting)
    rows = []
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        while columns and not columns[-1]:  # as spreadsheets leave them behind
            columns.pop()
        for cells in reader:
            where = f"line {reader.line_num + before}"
            if all(map(is_blank, cells)):
                continue
            if len(cells) < len(columns) or any(cells[len(columns) :]):
                remedy = f"Put a text with {mark!r} into double quotes" if quotes == "csv" else "Count its tabs"
                if quotes == "text" and any(cell.startswith('"') for cell in cells):
                    remedy += ", or give --quotes csv if a spreadsheet wrote the file"
                raise MMTError(
                    f"{path}: {where}: expected {len(columns)} cells, as in the first line, found {len(cells)}. "
                    f"{remedy}."
                )
            rows.append((where, dict(zip(columns, cells, strict=False))))
    except csv.Error as error:
        remedy = "Correct its quotes, or give --quotes text if they are text."
        raise MMTError(f"{path}: line {reader.line_num + before}: not CSV ({error}). {remedy}") from None
    return Table(str(path), columns, rows)


def _json_lines(lines: Iterable[str], path: Path) -> Table:
    rows = []
    for number, line in enumerate(lines, 1):
        if is_blank(line):
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise MMTError(f"{path}: line {number}: not JSON ({error}).") from None
        if not isinstance(value, dict):
            raise MMTError(
                f'{path}: line {number}: expected an object such as {{"source": "...", "image": "..."}}.'
            )
        rows.append((f"line {number}", value))
    return Table(str(path), list(dict.fromkeys(name for _, row in rows for name in row)), rows)


def _parquet(path: Path) -> Table:
    import pyarrow  # as long as all of the help takes
    import pyarrow.parquet

    with open_text(path) as stream:
        source = stream if path.suffix.lower() != ".gz" else pyarrow.BufferReader(stream.read())
        try:
            table = pyarrow.parquet.ParquetFile(source).read()
            names, values = table.column_names, [column.to_pylist() for column in table.columns]
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise MMTError(f"{path}: not a Parquet file, or damaged ({reason}).") from None
    rows = [(f"row {number}", dict(zip(names, row, strict=True))) for number, row in
            enumerate(zip(*values, strict=True), 1)]  # fmt: skip
    if not rows:
        raise MMTError(f"{path}: has no rows.")
    return Table(str(path), names, rows)


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
