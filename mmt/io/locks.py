"""Locks: two processes never write the same output.

A process that writes an output holds a lock: on ``.NAME.lock`` beside an output that is replaced, on ``.lock`` in
a folder that is filled. The lock file names its holder and is removed at the end. The operating system releases a
lock with its process, so a killed process blocks nobody.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shlex
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mmt.errors import MMTError
from mmt.io.disk import make_folder, unwritable

LOCK = ".lock"
"""The name of the lock in a folder that is filled, and the suffix of the one beside an output."""

_NAME_BYTES = 220  # of the 255 that file systems allow
_NOTE_SECONDS = 0.5  # at most, from taking a lock to noting its holder
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


class NoLocksError(MMTError):
    """The file system has no locks, as Lustre without the mount option ``flock`` and some network folders."""


class Lock:
    """A lock on a file, held until it is closed or the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int, *, remove: bool) -> None:
        self._path, self._descriptor, self._remove = path, descriptor, remove
        _open_locks.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The descriptor, to pass to a child process, which then holds the lock as well."""
        return self._descriptor

    def close(self) -> None:
        """Releases the lock, and removes its file if that was created for the lock alone."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            with suppress(OSError):  # while it is held: a process that waits for it sees that the file is gone
                if self._remove and os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    self._path.unlink()
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Closes it in a forked worker, which would otherwise still hold it after its parent has ended."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


_open_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_locks() -> None:
    for lock in list(_open_locks):
        lock.forget()


os.register_at_fork(after_in_child=_forget_locks)


def hold(path: Path, *, wait: bool = False, note: bool = False, remove: bool = False) -> Lock | None:
    """Locks a file, which is created if it is missing; None where another process, on any machine, holds the lock.

    Args:
        wait: wait for the other process instead.
        note: write the holder into the file, for ``holder``.
        remove: the file exists for the lock alone, and is removed with it.
    Raises:
        NoLocksError: the file system has no locks.
        FileNotFoundError: there is no such folder, or the file was removed meanwhile.
        OSError: the file cannot be created.
    """
    from filelock import lock_descriptor  # as long as all of mmt --help takes, for those that write nothing

    while True:
        descriptor = _opened(path)
        try:
            if not lock_descriptor(descriptor, blocking=wait):
                os.close(descriptor)
                return None
            there = path.stat() if path.exists() else None
            if there is not None and os.path.samestat(os.fstat(descriptor), there):
                break
            if not remove:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            os.close(descriptor)  # its last holder removed it
        except OSError as error:
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                raise NoLocksError(
                    f"{path.parent}: cannot be locked ({error.strerror}), which several processes need. Mount the "
                    "file system with locks (Lustre: -o flock), or name a folder elsewhere."
                ) from None
            raise
        except BaseException:
            os.close(descriptor)
            raise
    if note:
        with suppress(OSError):  # whatever the umask: another user must be able to tell that this process is dead
            os.fchmod(descriptor, 0o644)
        with suppress(OSError):  # a full disk, or another user's file
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_self()).encode() + b"\n", 0)
    return Lock(path, descriptor, remove=remove)


def _opened(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError as error:
        try:  # another user's, whose process may be dead: a lock needs no permission to write
            return os.open(path, flags | os.O_RDONLY)
        except OSError:
            raise error from None


def _self() -> dict[str, Any]:
    words = sys.orig_argv
    module = words.index("-m") if "-m" in words[:4] else 0
    command = ["python", *words[module:]] if module else [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(command)[:200],
    }


def holder(path: Path) -> str:
    """Names the process that holds a lock, as far as its file tells."""
    until = time.monotonic() + _NOTE_SECONDS
    while True:
        try:
            about = json.loads(path.read_bytes())
            return f"process {about['pid']} on {about['host']}, since {about['since']} ({about['command']})"
        except (OSError, ValueError, LookupError, TypeError):
            if time.monotonic() >= until:
                return "another process"
            time.sleep(0.01)  # when two processes start together, the first is about to write its note


def holder_of(folder: Path) -> str:
    """Names the process that fills a folder: see ``only_writer_in``."""
    return holder(folder / LOCK)


@contextmanager
def only_writer(*outputs: Path | None, patience: float = 0.0) -> Iterator[None]:
    """Keeps other processes from writing the outputs: files or folders that are replaced when they are complete.

    A thread may nest it. Standard output (None), devices and pipes are left alone. On a file system without locks
    it prints a warning: each output is still complete, and of two writers the later one wins.

    Args:
        patience: seconds to wait for the other process.
    Raises:
        MMTError: another process writes one of them; the message names it.
    """
    with ExitStack() as stack:
        for output in outputs:
            if output is None or (output.exists() and not output.is_file() and not output.is_dir()):
                continue
            output = Path(os.path.realpath(output))
            make_folder(output.parent)
            stack.enter_context(lock_output(output, patience=patience))
        yield


@contextmanager
def only_writer_in(folder: Path) -> Iterator[None]:
    """As ``only_writer``, for a folder that is filled; created if it is missing, and removed if it stays empty."""
    created = not folder.exists()
    make_folder(folder)
    try:
        with _locked(folder / LOCK, folder):
            yield
    finally:
        if created:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def lock_output(output: Path, *, patience: float = 0.0, warn: bool = True) -> Iterator[bool]:
    """Holds the lock of one output, a resolved path in an existing folder.

    Args:
        patience: seconds to wait for the other process.
        warn: print a warning where the file system has no locks.
    Yields:
        Whether it is locked; False where the file system has no locks.
    Raises:
        MMTError: another process writes it, or the lock file cannot be created.
    """
    with _locked(output.with_name(f".{short_name(output)}{LOCK}"), output, patience=patience, warn=warn) as locked:
        yield locked


_of_thread = threading.local()


@contextmanager
def _locked(path: Path, output: Path, *, patience: float = 0.0, warn: bool = True) -> Iterator[bool]:
    """Holds the lock ``path`` of ``output``; False where there are no locks."""
    held: set[str] = _of_thread.__dict__.setdefault("held", set())
    key = os.path.realpath(path)
    if key in held:
        yield True
        return
    until = time.monotonic() + patience
    lock = None
    try:
        while (lock := hold(path, note=True, remove=True)) is None:
            if time.monotonic() >= until:
                raise MMTError(
                    f"{output}: another process is writing it: {holder(path)}. Wait for it to end, or name "
                    "another output."
                )
            time.sleep(0.05)
    except NoLocksError:
        if warn:
            print(
                f"{output}: this file system has no locks, so that a second process that writes there is not "
                "noticed. Start one at a time.",
                file=sys.stderr,
            )
    except OSError as error:
        raise unwritable(output, error) from None
    if lock is None:
        yield False
        return
    held.add(key)
    try:
        with lock:
            yield True
    finally:
        held.discard(key)


def short_name(path: Path) -> str:
    """The name of ``path``, or a hash of it where a lock's or a temporary name would be too long."""
    raw = os.fsencode(path.name)
    return path.name if len(raw) <= _NAME_BYTES else hashlib.sha256(raw).hexdigest()[:32]
