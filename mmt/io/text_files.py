"""Reading of text files line by line, plain or gzip, strictly UTF-8. For writing see ``mmt.io.atomic``."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from mmt.errors import MMTError
from mmt.io.normalization import is_blank

_GZIP = b"\x1f\x8b"
MAX_LINE = 1 << 24  # bytes; a longer line means a file of another kind
MAX_UNPACKED, _PACKED = 1 << 27, 200  # always allowed bytes of unpacked text; beyond that, the maximal ratio


class LineStream(Protocol):
    """A stream that is read line by line: a file, or standard input as it arrives."""

    def readline(self, size: int, /) -> bytes: ...


_CONVERT = "Convert the file to UTF-8, for example with iconv."


def decode_lines(stream: LineStream, name: str, *, remedy: str = _CONVERT) -> Iterator[str]:
    r"""Decodes a binary stream line by line, holding one line at a time.

    A line ends at ``\n`` and nowhere else: if a Unicode line separator inside a sentence ended a line, parallel
    files would no longer match. The ``\r`` of Windows at a line's end is dropped, and byte order marks at its
    start, which concatenated files have in the middle.

    Args:
        remedy: of an error about the encoding.
    Raises:
        MMTError: not UTF-8, with ``name``, the line and the byte; a line of over 16 MiB; or ``\r`` at the end of
            every line, as old spreadsheets write it.
    """
    for number, raw in enumerate(iter(partial(stream.readline, MAX_LINE + 1), b""), 1):
        if len(raw) > MAX_LINE:
            raise MMTError(
                f"{name}: line {number} is over {MAX_LINE:,} bytes. Expected text, one sentence a line."
            )
        if number == 1:
            if raw.startswith(_GZIP):  # never UTF-8; files are unpacked before this
                raise MMTError(f"{name}: is compressed with gzip. Unpack it first, for example with zcat.")
            _check_first(raw, name, remedy)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MMTError(
                f"{name}: line {number}, byte {error.start + 1}: expected UTF-8 text, found "
                f"0x{raw[error.start]:02x} ({error.reason}). {remedy}"
            ) from None
        yield text.lstrip("\ufeff").removesuffix("\n").removesuffix("\r")


def _check_first(raw: bytes, name: str, remedy: str) -> None:
    """Refuses what looks like valid text: UTF-16 without a byte order mark, and lines without line feeds."""
    text = raw.rstrip(b"\n")
    if len(text) >= 4 and any(text) and not (any(text[::2]) and any(text[1::2])):
        raise MMTError(f"{name}: every second byte of line 1 is 0: expected UTF-8 text, found UTF-16. {remedy}")
    if text == raw and b"\r" in raw[:-1]:
        raise MMTError(
            f"{name}: its lines end in CR alone: expected LF or CR LF. Save it again, or convert it, for example "
            r"with tr '\r' '\n'."
        )


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file's bytes to read, unpacked if the file is gzip, whatever its name.

    Raises:
        MMTError: it is missing, or cannot be read or unpacked.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".gz" or file.peek(2)[:2] == _GZIP:
                with gzip.open(file) as stream:
                    yield stream
            else:
                yield file
    except FileNotFoundError:
        raise MMTError(f"{path}: no such file.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MMTError(f"{path}: not a complete gzip file ({error}). Fetch it again.") from None
    except OSError as error:
        raise MMTError(f"{path}: cannot be read ({error.strerror}).") from None


def read_lines(path: Path) -> list[str]:
    """Reads the sentences of a file, one a line (see ``decode_lines``), without the white space around them.

    Args:
        path: the file, unpacked if it is gzip. Blank lines (see ``mmt.io.normalization``) are kept, as "".
    Raises:
        MMTError: the file is missing, damaged, empty, blank, or not UTF-8 (with the line and the byte); or it
            unpacks to over 200 times its size.
    """
    lines: list[str] = []
    with open_text(path) as stream:
        most = max(MAX_UNPACKED, _PACKED * path.stat().st_size)
        for line in decode_lines(stream, str(path)):
            lines.append("" if is_blank(line) else line.strip())
            most -= len(line) + 1
            if most < 0 and isinstance(stream, gzip.GzipFile):
                raise MMTError(
                    f"{path}: unpacks to over {_PACKED} times its size. Unpack it yourself if it is text."
                )
    check_not_blank(lines, path)
    return lines


def check_not_blank(lines: Sequence[str], path: Path) -> None:
    """Raises MMTError if all of ``lines``, those of ``path``, are empty, or there are none."""
    if not any(lines):
        found = f"all of its {len(lines):,} lines are blank" if lines else "the file is empty"
        raise MMTError(f"{path}: expected one sentence a line, but {found}.")


def parse_json(text: str | bytes) -> Any:
    """``json.loads``, but any error is a ValueError, also for lists nested without end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or objects nested too deeply") from None


def file_checksum(path: Path, num_bytes: int | None = None) -> str:
    """SHA-256 (hex) of a file, or of its first ``num_bytes``. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    left = sys.maxsize if num_bytes is None else num_bytes
    with path.open("rb") as stream:
        while left and (part := stream.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()
