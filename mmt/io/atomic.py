"""Atomic writing: no reader ever sees half of an output, and two processes never write the same one.

An output is written beside its place, under a name of this process's own (``NAME.PID-TOKEN.writing``), and renamed
when it is complete. Meanwhile the process holds the output's lock (``mmt.io.locks``). The next writer removes what
a killed one left.

This module also exports the locks, and the errors of the disk (``mmt.io.disk``): all that a writer needs.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from mmt.errors import MMTError
from mmt.io.disk import check_file, disk_error, make_folder, remedy, unwritable, writing
from mmt.io.locks import (
    LOCK,
    Lock,
    NoLocksError,
    hold,
    holder,
    holder_of,
    lock_output,
    only_writer,
    only_writer_in,
    short_name,
)

__all__ = [
    "Lock",
    "NoLocksError",
    "check_file",
    "disk_error",
    "hold",
    "holder",
    "holder_of",
    "is_temporary",
    "made_beside",
    "make_folder",
    "only_writer",
    "only_writer_in",
    "remedy",
    "remove_folder",
    "replaced",
    "replacing",
    "replacing_folder",
    "restore",
    "sweep",
    "sweep_beside",
    "unwritable",
    "write_together",
    "write_whole",
    "writing",
]

_TEMPORARY = re.compile(r"\.[0-9]+-[0-9a-f]{8}\.writing")
_FILE_SECONDS = 10.0  # that the writer of one file waits for another


# --- files ------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path | None) -> Iterator[IO[bytes]]:
    """A binary stream into a file that replaces ``path`` when it is complete; standard output for None.

    ``/dev/stdout`` is standard output as well, even where the shell appends that to a file. Devices and pipes,
    such as the shell's ``>(gzip)``, are written directly.

    Raises:
        MMTError: it cannot be written there, or another process is writing it.
    """
    if path is None or str(path) == "/dev/stdout":
        if sys.stdout is None:
            raise MMTError("standard output is closed. Name a file with --output.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    check_file(path)
    if path.exists() and not path.is_file():  # a device or a pipe, which may be linked to without having a name
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()  # replaces a link's file, not the link
    with lock_output(path, patience=_FILE_SECONDS, warn=False) as locked:
        if locked:
            _sweep_locked(path)
        beside = _own_name(path)
        try:
            stream = beside.open("xb")
        except OSError as error:
            raise unwritable(path, error) from None
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
        except BaseException as error:  # also a signal's
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            if (cause := disk_error(error)) is not None:
                raise unwritable(path, cause) from None
            raise
        finally:
            _live.discard(str(beside))


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file atomically; creates its folder if that is missing.

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


# --- folders ----------------------------------------------------------------------------------------------


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder that replaces ``folder`` when it is complete; a link is followed, not replaced.

    Killed at any moment, it leaves the old folder or the new one. The old one may still bear the name
    ``replaced(folder)``, until ``restore``.

    Raises:
        MMTError: it cannot be written, or another process is writing it.
    """
    folder = Path(os.path.realpath(folder))
    with writing(folder), only_writer(folder):
        restore(folder)
        with made_beside(folder) as beside:
            yield beside
            _apply_umask(beside)
            old = replaced(folder)
            try:
                if folder.exists():
                    folder.rename(old)
                beside.rename(folder)
            except BaseException:  # also a signal's
                restore(folder)
                raise
            if old.exists():
                remove_folder(old, folder)


@contextmanager
def made_beside(folder: Path, *, patience: float = 0.0) -> Iterator[Path]:
    """A new folder beside ``folder``, on the same disk, for what becomes a part of it; removed at the end.

    Args:
        patience: as for ``only_writer``.
    Raises:
        MMTError: it cannot be written, or another process is writing ``folder``.
    """
    folder = Path(os.path.realpath(folder))
    with writing(folder), only_writer(folder, patience=patience):
        _sweep_locked(folder)
        beside = _own_name(folder)
        beside.mkdir(parents=True)
        try:
            yield beside
        finally:
            _live.discard(str(beside))
            shutil.rmtree(beside, ignore_errors=True)


def replaced(folder: Path) -> Path:
    """The name of an old folder while the new one takes its place."""
    return folder.with_name(f".{folder.name}.replaced")


def restore(folder: Path) -> None:
    """Repairs what a kill left between the two renames of ``replacing_folder``."""
    old = replaced(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    elif old.exists():
        remove_folder(old, folder)


def remove_folder(folder: Path, output: Path | None = None) -> None:
    """Removes a folder in one step: a kill leaves all of it, or a leftover that ``sweep_beside`` removes.

    ``output``: of which it is a leftover then; ``folder`` itself if None.
    """
    removed = _own_name(output or folder)
    try:
        folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
    finally:
        _live.discard(str(removed))


def _apply_umask(folder: Path) -> None:
    """Gives files the mode that the umask asks for: safetensors, for one, hides its files from other users."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        about = path.lstat()
        # A link, even a hard one, is another owner's file.
        if path.is_file() and not path.is_symlink() and about.st_nlink == 1 and about.st_mode & 0o777 != mode:
            path.chmod(mode)


# --- temporary names --------------------------------------------------------------------------------------

_live: set[str] = set()  # this process's


def _own_name(path: Path) -> Path:
    own = path.with_name(f"{short_name(path)}.{os.getpid()}-{secrets.token_hex(4)}.writing")
    _live.add(str(own))
    return own


def is_temporary(name: str) -> bool:
    """Whether a file of that name is a lock, or a leftover of a killed writer."""
    return (name.endswith(LOCK) and name.startswith(".")) or _TEMPORARY.search(name) is not None


def sweep_beside(path: Path) -> None:
    """Removes the leftovers of killed writers of ``path``, unless a process is writing it now."""
    path = Path(os.path.realpath(path))
    with suppress(MMTError), lock_output(path, warn=False) as locked:
        if locked:
            _sweep_locked(path)


def _sweep_locked(path: Path) -> None:
    """Removes the leftovers of killed writers of ``path``: only for the holder of its lock."""
    sweep(path.parent, re.escape(short_name(path)))


def sweep(folder: Path, names: str) -> None:
    """Removes the leftovers of killed writers in ``folder``, of files and folders whose names match a pattern.

    Only for the holder of the lock that all these writers share.
    """
    wanted = re.compile(f"(?:{names}){_TEMPORARY.pattern}")
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if wanted.fullmatch(entry.name) and entry.path not in _live]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(entry.path)
