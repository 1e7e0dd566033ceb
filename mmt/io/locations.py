"""Files of this machine or of a store such as S3: a folder, one file, or a pattern of files, by path or by URL.

``s3://bucket/folder``, ``gs://``, ``https://``, ``file://``, ``memory://``: whatever fsspec and its file systems
open. Each is configured as usual, such as ``AWS_ENDPOINT_URL`` for S3.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from mmt.errors import MMTError, is_url, without_password
from mmt.io.folders import files_below

Location = Path | str
"""A path of this machine, or a URL. Either may be a pattern: ``shard-{000..127}.tar``, ``shard-*.tar``."""

PATTERN_MARKS = "*?[{"
_MOST_EXPANDED = 1_000_000  # names of one pattern
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of any file system.

    Attributes:
        system: fsspec's.
        path: in it.
        name: a path or URL, for messages.
        size: in bytes.
    """

    system: Any
    path: str
    name: str
    size: int

    def open(self) -> IO[bytes]:
        """A stream that can seek. Raises MMTError if the file cannot be opened."""
        with reading(self.name):
            return cast(IO[bytes], self.system.open(self.path, "rb"))

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to before ``end``, by themselves. Raises what the file system raises."""
        return bytes(self.system.cat_file(self.path, start=start, end=end))


@contextmanager
def reading(name: str, what: str = "read") -> Iterator[None]:
    """Turns the error of any file system into an MMTError that names the file."""
    try:
        yield
    except MMTError:
        raise
    except FileNotFoundError:
        raise MMTError(f"{name}: no such file or folder. Check the name.") from None
    except Exception as error:  # each file system has exceptions of its own, most of them not OSError
        reason = str(error).strip().partition("\n")[0]
        raise MMTError(f"{name}: cannot be {what} ({type(error).__name__}: {reason}).") from None


def shown(location: Location) -> str:
    """The location for messages, without a password."""
    return without_password(str(location)).rstrip("/")


def as_local(location: Location) -> Path | None:
    """The path on this machine of a path or a ``file://`` URL; None for any other URL."""
    if isinstance(location, Path):
        return location
    if not is_url(location):
        return Path(location)
    return Path(location.removeprefix("file://")) if location.startswith("file://") else None


def check_location(location: Location) -> None:
    """Raises MMTError if a location on this machine does not exist; a pattern and a URL are not looked up."""
    local = as_local(location)
    if local is not None and not local.exists() and not _is_pattern(str(local)):
        raise MMTError(
            f"{shown(location)}: expected a folder of images, a prepared dataset, tars or Parquet files, found no "
            "such file or folder."
        )


def stored_files(location: Location) -> list[StoredFile]:
    """The file, all files below the folder, or those of the pattern; sorted by name, hidden ones left out.

    On this machine links are followed; broken and circular ones are listed on standard error.

    Raises:
        MMTError: nothing is there, the file system is unknown or its package is missing, or it refuses.
    """
    local = as_local(location)
    name = shown(location)
    if local is not None and local.exists():  # whatever characters its name has
        return _files(*opened_system(location), [str(local.absolute())], name)
    system, path = opened_system(location)
    if local is not None:
        path = str(local.absolute())
    found = _files(system, path, [*_expanded(path, name)], name)
    if not found:
        raise MMTError(f"{name}: expected files, found an empty folder.")
    return found


def opened_system(location: Location) -> tuple[Any, str]:
    """fsspec's file system of a location, and the path in it. Raises MMTError if there is none."""
    import fsspec  # with the install [train]; a tenth of a second

    url = str(location)
    if as_local(location) is not None:
        return fsspec.filesystem("file"), url
    kind = url.partition("://")[0].lower()
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = "pip install 'mmt-toolkit[s3]'" if kind in ("s3", "s3a") else str(error).partition("\n")[0]
        raise MMTError(f"{shown(location)}: the package for {kind}:// is missing. {extra}.") from None
    except ValueError as error:
        raise MMTError(f"{shown(location)}: cannot be opened ({error}).") from None
    return system, str(path)


def _files(system: Any, root: str, paths: Sequence[str], name: str) -> list[StoredFile]:
    protocols = [system.protocol] if isinstance(system.protocol, str) else system.protocol
    listed = _found_here if "file" in protocols else partial(_found_in, system)
    found: dict[str, int] = {}
    with reading(name):
        system.invalidate_cache()
        for path in paths:
            found |= listed(path, name)
    system.invalidate_cache()  # s3fs keeps what a pattern found, and takes it for all that is in the folder
    before = name[: len(name) - len(root)] if name.endswith(root) else ""
    return [
        StoredFile(system, path, without_password(before + path), size or 0)
        for path, size in sorted(found.items())
        if not _is_hidden(path)
    ]


def _found_in(system: Any, path: str, name: str) -> dict[str, int]:
    """The sizes of the files of one path of a store: a pattern, a folder or a file."""
    if _is_pattern(path) and not system.exists(path):
        matches = system.glob(path, detail=True)
        if not matches:
            raise MMTError(f"{name}: no file matches. Check the pattern.")
    else:
        about = system.info(path)
        matches = system.find(path, detail=True) if about["type"] == "directory" else {path: about}
    return {one: about["size"] for one, about in matches.items() if about["type"] == "file"}


def _found_here(path: str, name: str) -> dict[str, int]:
    """As ``_found_in``, on this machine. Follows links, as fsspec does not; says what is left out."""
    left_out: dict[str, str] = {}
    if _is_pattern(path) and not os.path.lexists(path):
        paths = glob.glob(path, recursive=True, include_hidden=True)
        if not paths:
            raise MMTError(f"{name}: no file matches. Check the pattern.")
    elif os.path.isdir(path):
        below, reasons = files_below(Path(path))
        paths = [os.path.join(path, one) for one in below]
        left_out = {os.path.join(path, one): reason for one, reason in reasons.items()}
    else:
        paths = [path]
    sizes: dict[str, int] = {}
    for one in paths:
        try:
            about = os.stat(one)
        except OSError as error:
            if one == path:
                raise
            broken = os.path.islink(one) and not os.path.exists(one)
            left_out[one] = "a link that leads nowhere" if broken else str(error.strerror).lower()
            continue
        if stat.S_ISREG(about.st_mode):
            sizes[one] = about.st_size
        elif not stat.S_ISDIR(about.st_mode):
            left_out[one] = "a pipe or a device"
    for one, reason in left_out.items():
        if not _is_hidden(one):
            print(f"{name}: left out: {one} ({reason})", file=sys.stderr)
    return sizes


def _is_pattern(path: str) -> bool:
    return any(mark in path for mark in PATTERN_MARKS)


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")


def _expanded(pattern: str, name: str) -> Iterator[str]:
    """Each name that the braces of a pattern mean: ``{000..127}``, ``{train,val}``."""
    parts = _BRACES.split(pattern)  # texts and contents of braces in turn
    choices, total = [], 1
    for number, part in enumerate(parts):
        one: Sequence[str] = [part]
        if number % 2:
            match = _RANGE.fullmatch(part)
            if match:
                first, last = int(match[1]), int(match[2])
                if first > last or last - first >= _MOST_EXPANDED:
                    raise MMTError(f"{name}: expected a range such as {{000..127}}, found {{{part}}}.")
                width = len(match[1])
                one = [f"{value:0{width}}" for value in range(first, last + 1)]
            elif "," in part:
                one = part.split(",")
            else:
                one = [f"{{{part}}}"]
        choices.append(one)
        total *= len(one)
        if total > _MOST_EXPANDED:
            raise MMTError(f"{name}: means more than {_MOST_EXPANDED:,} files. Name fewer.")
    for combined in itertools.product(*choices):
        yield "".join(combined)
