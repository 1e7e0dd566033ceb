"""Errors of the disk as messages with a remedy: full, read-only, broken, or permission is missing."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmt.errors import MMTError

_PERMISSION = "Permission is missing: check owner and mode with ls -ld, or name another place."
_REMEDIES = {
    errno.ENOSPC: "Free some space, or name a place on another disk.",
    errno.EDQUOT: "Your quota is used up: free some space, or name a place on another disk.",
    errno.EFBIG: "The file system, or a limit (ulimit -f), allows no larger file.",
    errno.EIO: "The disk reports an error: check it, or name a place on another disk.",
    errno.EROFS: "The file system is read-only: name a place on another one.",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
}


def disk_error(error: BaseException | None) -> OSError | None:
    """The disk's own error, if that caused ``error``: full, read-only, forbidden, or broken."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REMEDIES:
            return error
        for number in _REMEDIES:  # how safetensors, which is Rust, words it
            if f"(os error {number})" in str(error):
                return OSError(number, os.strerror(number))
        if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # how NumPy words it
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = error.__cause__ or error.__context__
    return None


def remedy(error: OSError) -> str:
    """What to do about an error of the disk, in a sentence."""
    return _REMEDIES.get(error.errno or 0, "Name another place.")


def unwritable(path: Path, error: OSError) -> MMTError:
    """The error to raise where the disk refuses what is written to ``path``."""
    return MMTError(f"{path}: cannot be written ({error.strerror or error}). {remedy(error)}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translates the disk's errors of any code that writes into ``path``, a folder or a file.

    Raises:
        MMTError: the disk is full, read-only or broken, or permission is missing.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (cause := disk_error(error)) is not None:
            raise unwritable(path, cause) from None
        raise


def check_file(path: Path | None) -> None:
    """Raises MMTError where no file of that name can be written, as far as this shows before the work.

    None, for standard output, is fine.
    """
    if path is None:
        return
    if not path.name or path.is_dir():
        raise MMTError(f"{path}: expected a file to write, found a folder. Name a file in it.")
    if not path.parent.is_dir():
        raise MMTError(f"{path}: cannot be written, there is no folder {path.parent}. Make it first.")


def make_folder(folder: Path) -> None:
    """Creates a folder if it is missing. Raises MMTError where it cannot be created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMTError(f"{folder}: cannot be made a folder ({error.strerror}). {remedy(error)}") from None
