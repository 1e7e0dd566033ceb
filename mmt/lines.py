"""Text files: read line by line, plain or gzip, strictly UTF-8; written beside their name and renamed."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from mmt.errors import MMTError
from mmt.normalization import is_blank

_LONGEST = 1 << 24  # bytes: no sentence, but a file of another kind
_UNPACKED, _PACKED = 1 << 27, 200  # bytes of text that are fine, and times its size that more may be


class LineStream(Protocol):
    """What is read line by line: a file, or standard input as it comes."""

    def readline(self, size: int, /) -> bytes: ...


def decode_lines(stream: LineStream, name: str) -> Iterator[str]:
    r"""Decodes a binary stream line by line, holding one line at a time.

    A line ends at ``\n`` and nowhere else: files that are parallel line by line come apart where a Unicode line
    separator inside a sentence counts as an end. The ``\r`` of Windows at a line's end is dropped, and byte order
    marks at its start: of files that were concatenated, they stand in the middle.

    Raises:
        MMTError: not UTF-8, with ``name``, the line and the byte; or a line of over 16 MiB.
    """
    for number, raw in enumerate(iter(partial(stream.readline, _LONGEST + 1), b""), 1):
        if len(raw) > _LONGEST:
            raise MMTError(
                f"{name}: line {number} is over {_LONGEST:,} bytes. Expected text, one sentence a line."
            )
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MMTError(
                f"{name}: line {number}, byte {error.start + 1}: expected UTF-8 text, found "
                f"0x{raw[error.start]:02x} ({error.reason}). Convert the file to UTF-8, for example with iconv."
            ) from None
        yield text.lstrip("\ufeff").removesuffix("\n").removesuffix("\r")


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """A file's bytes to read, unpacked if it is packed by gzip, whatever it is called.

    Raises:
        MMTError: it is missing, or cannot be read or unpacked.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".gz" or file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as stream:
                    yield stream
            else:
                yield file
    except FileNotFoundError:
        raise MMTError(f"{path}: no such file.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MMTError(f"{path}: not a whole gzip file ({error}). Fetch it again.") from None
    except OSError as error:
        raise MMTError(f"{path}: cannot be read ({error.strerror}).") from None


def read_lines(path: Path) -> list[str]:
    """Reads the sentences of a file, one a line (see ``decode_lines``), without the white space around them.

    Args:
        path: the file; unpacked if it is packed by gzip. Blank lines (see ``mmt.normalization``) stay, as "".
    Raises:
        MMTError: the file is missing, damaged, empty, blank, or not UTF-8 (with the line and the byte); or it
            unpacks to over 200 times its size.
    """
    lines: list[str] = []
    with open_text(path) as stream:
        most = max(_UNPACKED, _PACKED * path.stat().st_size)
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
    """Raises MMTError where all of ``lines``, those of ``path``, are empty, or there are none."""
    if not any(lines):
        found = f"all of its {len(lines):,} lines are blank" if lines else "the file is empty"
        raise MMTError(f"{path}: expected one sentence a line, but {found}.")


def parse_json(text: str | bytes) -> Any:
    """``json.loads``, but whatever is wrong is a ValueError: lists in lists without end are, too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or objects in each other without end") from None


def file_checksum(path: Path, num_bytes: int | None = None) -> str:
    """SHA-256 (hex) of a file, or of its first ``num_bytes``. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    left = sys.maxsize if num_bytes is None else num_bytes
    with path.open("rb") as stream:
        while left and (part := stream.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)


@contextmanager
def replacing(path: Path | None) -> Iterator[IO[bytes]]:
    """A binary stream into a file that takes the place of ``path`` when it is whole; standard output for None.

    Raises:
        MMTError: it cannot be written there.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    check_file(path)
    path = path.resolve()  # a link's file is replaced, and not the link
    if path.exists() and not path.is_file():  # a device or a pipe
        with path.open("wb") as stream:
            yield stream
        return
    beside = path.with_name(path.name + ".writing")
    try:
        stream = beside.open("wb")
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except BaseException as error:  # stopped by a signal, too
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if (said := disk_error(error)) is not None:
            raise unwritable(path, said) from None
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For what writes into ``path``, a folder or a file, in its own way.

    Raises:
        MMTError: the disk is full, read-only or broken.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (said := disk_error(error)) is not None:
            raise unwritable(path, said) from None
        raise


def disk_error(error: BaseException | None) -> OSError | None:
    """What the disk said, if that is why ``error`` came about: full, read-only, or broken."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return error
        for number in _DISK_ERRORS:  # as safetensors has it, which is Rust
            if f"(os error {number})" in str(error):
                return OSError(number, os.strerror(number))
        if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # as NumPy has it
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = error.__cause__ or error.__context__
    return None


def check_file(path: Path | None) -> None:
    """Raises MMTError where no file of that name can be written, as far as can be told before the work.

    None, for standard output, is fine.
    """
    if path is None:
        return
    if not path.name or path.is_dir():
        raise MMTError(f"{path}: expected a file to write, found a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise MMTError(f"{path}: cannot be written, there is no folder {path.parent}. Make it first.")


def make_folder(folder: Path) -> None:
    """Makes a folder where there is none. Raises MMTError where there is something else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMTError(f"{folder}: cannot be made a folder ({error.strerror}). Name another.") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file, and its folder where there is none, so that nobody ever reads half of it.

    Raises:
        MMTError: it cannot be written there.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Writes files as ``write_whole`` does, none of them unless there is room for all."""
    with ExitStack() as stack:
        for path, content in contents.items():
            make_folder(path.parent)
            with writing(path):
                stream = stack.enter_context(replacing(path))
                stream.write(content.encode() if isinstance(content, str) else content)
                stream.flush()


def unwritable(path: Path, error: OSError) -> MMTError:
    """What to raise where the disk does not take what is written to ``path``."""
    return MMTError(f"{path}: cannot be written ({error.strerror or error}). Check the path and the free space.")
