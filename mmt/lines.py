"""Text files: one sentence a line, plain or gzip, strictly UTF-8."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from mmt.errors import MMTError


def read_lines(path: Path) -> list[str]:
    r"""Reads the sentences of a file, one a line.

    A line ends at ``\n`` and nowhere else: files that are parallel line by line come apart where a Unicode line
    separator inside a sentence counts as an end. Surrounding whitespace (with the ``\r`` of Windows) and a byte
    order mark at the start are dropped; blank lines stay, as "".

    Args:
        path: the file; decompressed if it ends in ``.gz``.
    Raises:
        MMTError: the file is missing, damaged, empty, or not UTF-8 (with the line and the byte).
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except FileNotFoundError:
        raise MMTError(f"{path}: no such file.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MMTError(f"{path}: not a whole gzip file ({error}). Fetch it again.") from None
    except OSError as error:
        raise MMTError(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = error.start - raw.rfind(b"\n", 0, error.start)
        raise MMTError(
            f"{path}: line {line}, byte {byte}: expected UTF-8 text, found 0x{raw[error.start]:02x} "
            f"({error.reason}). Convert the file to UTF-8, for example with iconv."
        ) from None
    if not text.strip():
        raise MMTError(f"{path}: expected one sentence a line, but the file is empty.")
    return [line.strip() for line in text.removesuffix("\n").split("\n")]
