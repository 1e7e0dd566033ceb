"""File formats by name and first line: text, a table, or JSON lines, each compressed with gzip or not."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

from mmt.errors import MMTError
from mmt.io.text_files import parse_json

Kind = Literal["text", "tsv", "csv", "jsonl"]

SOURCES = ("source", "src", "sentence", "text", "question", "caption", "query")
TRANSLATIONS = ("translation", "hypothesis", "target", "tgt", "reference", "ref", "answer", "text", "sentence")
IMAGES = ("image", "image_id", "image_path", "image_file", "img", "picture", "photo", "recording", "audio")
"""Names of the columns with sentences, translations and images; the first that exists is used."""

_OTHERS = ("id", "line", "number", "split", "lang", "language", "label", "score")
_KNOWN = frozenset({*SOURCES, *TRANSLATIONS, *IMAGES, *_OTHERS})
_KINDS = {".tsv": "tsv", ".tab": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_LINES = "Write one object a line, to a .jsonl file"
_TABLE = "Save it as .csv, with a first line that names the columns"
_PLAIN = "Save it as text, one sentence a line"
_PACKED = "Unpack it, or pack it by gzip (.gz)"
_FOREIGN = {
    ".json": _LINES, ".yaml": _LINES, ".yml": _LINES, ".xml": _PLAIN, ".html": _PLAIN, ".htm": _PLAIN,
    ".sgm": _PLAIN, ".sgml": _PLAIN, ".tmx": _PLAIN, ".xlf": _PLAIN, ".xliff": _PLAIN, ".srt": _PLAIN,
    ".vtt": _PLAIN, ".doc": _PLAIN, ".docx": _PLAIN, ".odt": _PLAIN, ".rtf": _PLAIN, ".pdf": _PLAIN,
    ".xls": _TABLE, ".xlsx": _TABLE, ".ods": _TABLE, ".parquet": _TABLE, ".arrow": _TABLE, ".feather": _TABLE,
    ".pkl": _TABLE, ".npy": _TABLE, ".npz": _TABLE, ".h5": _TABLE,
    ".bz2": _PACKED, ".xz": _PACKED, ".zst": _PACKED, ".lz4": _PACKED, ".zip": _PACKED, ".7z": _PACKED,
    ".rar": _PACKED, ".tar": _PACKED, ".tgz": _PACKED,
}  # fmt: skip


def kind_of(path: Path) -> Kind:
    """The format of an input file, by its name; ``.gz`` at the end is ignored, an unknown suffix means text.

    Raises:
        MMTError: files of this format cannot be read.
    """
    suffix = _suffix(path)
    if suffix in _FOREIGN:
        raise MMTError(
            f"{path}: expected text, .tsv, .csv or .jsonl, found {suffix}. {_FOREIGN[suffix]}, or name another."
        )
    return cast(Kind, _KINDS.get(suffix, "text"))


def writes_json(path: Path | None) -> bool:
    """Whether ``path`` is written as JSON lines or as text; None is standard output.

    Raises:
        MMTError: the name is of another format than text or JSON lines, with or without ``.gz``.
    """
    suffix = _suffix(path) if path is not None else ""
    if suffix in _FOREIGN or suffix == ".csv":
        raise MMTError(f"{path}: {suffix} is not written. Name a .txt or a .jsonl file, or add .gz to one.")
    return _KINDS.get(suffix) == "jsonl"


@contextmanager
def packing(stream: IO[bytes], path: Path | None) -> Iterator[IO[bytes]]:
    """A stream into ``stream`` that compresses what is written with gzip if ``path`` ends in ``.gz``."""
    if path is None or path.suffix.lower() != ".gz":
        yield stream
        return
    with gzip.GzipFile(
        "", "wb", fileobj=stream, mtime=0
    ) as packed:  # without a time, so that equal content gives equal bytes
        yield cast(IO[bytes], packed)


@dataclass(frozen=True)
class Header:
    """The first line of a table: the columns' names, in lower case."""

    columns: list[str]

    def find(self, names: Sequence[str]) -> int | None:
        """The index of the first of ``names`` that is a column."""
        return next((self.columns.index(name) for name in names if name in self.columns), None)


def header_of(cells: Sequence[str]) -> Header | None:
    """``cells`` as a header, if they name a column of sentences, and another known one if there are several."""
    names = [_name(cell) for cell in cells]
    known = [name for name in names if name in _KNOWN]
    sentences = any(name in SOURCES or name in TRANSLATIONS for name in names)
    return Header(names) if sentences and len(known) >= min(2, len(names)) else None


def check_text(first: str, name: str, remedy: str) -> None:
    """Raises MMTError if the first line of a text file is that of a table or of JSON lines."""
    found = ""
    if "\t" in first and header_of(first.split("\t")):
        found = "a table (.tsv)"
    elif any(mark in first and header_of(first.split(mark)) for mark in ",;|"):
        found = "a table (.csv)"
    elif first.strip().strip('"') in (*SOURCES[:4], "target", "translation"):
        found = "a table of one column (.csv or .tsv)"
    elif first.startswith(("{", "[")):
        try:
            value = parse_json(first)
        except ValueError:
            value = None
        if isinstance(value, dict) and _KNOWN.intersection(value):
            found = "JSON lines (.jsonl)"
        elif first.strip() in ("{", "[", "[{") or (
            isinstance(value, list) and value and isinstance(value[0], dict)
        ):
            found = "JSON, which is read with one object a line (.jsonl)"
    if found:
        raise MMTError(f"{name}: expected one sentence a line, but its first line is that of {found}. {remedy}")


def table_rows(lines: Iterator[str], kind: Kind, name: str) -> tuple[Header | None, Iterator[list[str]]]:
    """The header of a table and its rows; of a ``.tsv`` without header, None and all rows.

    The first line of a CSV shows its separator: comma, semicolon, tab or bar; its empty lines are not rows. In a
    ``.tsv``, quotes are text, except around the names in the header.

    Raises:
        MMTError: a CSV without header; a row with more cells than the header, or, in a CSV, with fewer.
    """
    first = next(lines, None)
    marks = ",;\t|"
    if kind == "tsv":
        header = header_of(first.split("\t")) if first is not None else None
        if first is not None and header is None:
            return None, _tsv_rows([first], lines, None, name)
        if first is None or not first.startswith('"'):
            return header, _tsv_rows([], lines, header, name)
        marks = "\t"
    for mark in marks:
        header = Header([_name(cell) for cell in _first_cells(first or "", mark)])
        if header.find((*SOURCES, *TRANSLATIONS)) is not None:
            break
    else:
        raise MMTError(
            f"{name}: line 1: expected the names of the columns, one of them {', '.join(SOURCES[:4])}, found "
            f"{(first or '')[:80]!r}. Add such a line."
        )
    return header, _csv_rows(lines, mark, header, name)


def _tsv_rows(first: Sequence[str], lines: Iterator[str], header: Header | None, name: str) -> Iterator[list[str]]:
    yield from (line.split("\t") for line in first)
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if header is not None and len(cells) > len(header.columns):
            raise MMTError(
                f"{name}: line {number}: expected {len(header.columns)} columns, as in line 1, found {len(cells)}."
            )
        yield cells + [""] * (len(header.columns) - len(cells) if header is not None else 0)


def _csv_rows(lines: Iterator[str], mark: str, header: Header, name: str) -> Iterator[list[str]]:
    reader = csv.reader((line + "\n" for line in lines), delimiter=mark, strict=True)
    try:
        for cells in reader:
            if cells and len(cells) != len(header.columns):
                raise MMTError(
                    f"{name}: line {reader.line_num + 1}: expected {len(header.columns)} cells, as in line 1, "
                    f"found {len(cells)}. Put a text with '{mark}' into double quotes."
                )
            if cells:
                yield cells
    except csv.Error as error:
        raise MMTError(f"{name}: line {reader.line_num + 1}: not CSV ({error}). Correct its quotes.") from None


def _first_cells(line: str, mark: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:  # not a header
        return []


def _name(cell: str) -> str:
    return cell.strip().strip('"').strip().lower()


def _suffix(path: Path) -> str:
    """In lower case, without ``.gz``."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix
