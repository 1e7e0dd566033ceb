"""Writing: nobody ever reads half of an output, and two processes never write the same one.

What is written goes beside its place, under a name of this process's own (``NAME.PID-TOKEN.writing``), and is
renamed when it is whole. Meanwhile the process holds a lock: ``.NAME.lock`` beside what is replaced, ``.lock`` in
a folder that is filled. The lock file says who has it and is removed at the end. The operating system ends a lock
with its process, so what a killed one leaves blocks nobody, and the next writer removes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mmt.errors import MMTError

_LOCK = ".lock"
_TEMPORARY = re.compile(r"\.[0-9]+-[0-9a-f]{8}\.writing")
_LONGEST_NAME = 220  # bytes, of the 255 that file systems allow
_SHORT = 10.0  # seconds that one short write waits for another
_NOTED = 0.5  # seconds from a lock to the note of who has it, at most
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)

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


# --- what the disk says -----------------------------------------------------------------------------------


def disk_error(error: BaseException | None) -> OSError | None:
    """What the disk said, if that is why ``error`` came about: full, read-only, forbidden, or broken."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REMEDIES:
            return error
        for number in _REMEDIES:  # as safetensors has it, which is Rust
            if f"(os error {number})" in str(error):
                return OSError(number, os.strerror(number))
        if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # as NumPy has it
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error = error.__cause__ or error.__context__
    return None


def remedy(error: OSError) -> str:
    """What to do about an error of the disk, in a sentence."""
    return _REMEDIES.get(error.errno or 0, "Name another place.")


def unwritable(path: Path, error: OSError) -> MMTError:
    """What to raise where the disk does not take what is written to ``path``."""
    return MMTError(f"{path}: cannot be written ({error.strerror or error}). {remedy(error)}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For what writes into ``path``, a folder or a file, in its own way.

    Raises:
        MMTError: the disk is full, read-only or broken, or permission is missing.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (said := disk_error(error)) is not None:
            raise unwritable(path, said) from None
        raise


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
    """Makes a folder where there is none. Raises MMTError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MMTError(f"{folder}: cannot be made a folder ({error.strerror}). {remedy(error)}") from None


# --- locks ------------------------------------------------------------------------------------------------


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
        """For a child process, which then holds it, too."""
        return self._descriptor

    def close(self) -> None:
        """Ends it, and removes its file if it was made for the lock alone."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            with suppress(OSError):  # while it is held: whoever waits sees that the file is gone
                if self._remove and os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    self._path.unlink()
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Closes it in a forked worker, which would else hold it when its parent has ended."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


_open_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_locks() -> None:
    for lock in list(_open_locks):
        lock.forget()


os.register_at_fork(after_in_child=_forget_locks)


def hold(path: Path, *, wait: bool = False, note: bool = False, remove: bool = False) -> Lock | None:
    """A lock on a file, made if need be; None where another process, on any machine, has it.

    Args:
        wait: until the other one is through, instead.
        note: write into the file who holds it, for ``holder``.
        remove: the file is made for the lock alone, and removed with it.
    Raises:
        NoLocksError: the file system has no locks.
        FileNotFoundError: there is no such folder, or the file was removed meanwhile.
        OSError: the file cannot be made.
    """
    from filelock import lock_descriptor

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
    """Who holds a lock, in words, as far as its file says."""
    until = time.monotonic() + _NOTED
    while True:
        try:
            about = json.loads(path.read_bytes())
            return f"process {about['pid']} on {about['host']}, since {about['since']} ({about['command']})"
        except (OSError, ValueError, LookupError, TypeError):
            if time.monotonic() >= until:
                return "another process"
            time.sleep(0.01)  # of two that start together, the first one is just about to note it


@contextmanager
def only_writer(*outputs: Path | None, patience: float = 0.0) -> Iterator[None]:
    """While no other process writes the outputs, files or folders that are replaced when they are whole.

    Within one thread it may be nested. Standard output (None), devices and pipes are left alone. Where the file
    system has no locks, it says so: the outputs come out whole, and of two processes the later one's stays.

    Args:
        patience: seconds to wait for the other process.
    Raises:
        MMTError: another process writes one of them; it is named.
    """
    with ExitStack() as stack:
        for output in outputs:
            if output is None or (output.exists() and not output.is_file() and not output.is_dir()):
                continue
            output = Path(os.path.realpath(output))
            make_folder(output.parent)
            stack.enter_context(_alone(_lock_beside(output), output, patience=patience))
        yield


@contextmanager
def only_writer_in(folder: Path) -> Iterator[None]:
    """As ``only_writer``, for a folder that is filled; made if there is none, and removed if it stays empty."""
    made = not folder.exists()
    make_folder(folder)
    try:
        with _alone(folder / _LOCK, folder):
            yield
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()


_of_thread = threading.local()


@contextmanager
def _alone(path: Path, output: Path, *, patience: float = 0.0, warn: bool = True) -> Iterator[bool]:
    """Holds the lock ``path`` of ``output``; False where there are none."""
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


def holder_of(folder: Path) -> str:
    """Who fills a folder, in words: see ``only_writer_in``."""
    return holder(folder / _LOCK)


def _lock_beside(output: Path) -> Path:
    return output.with_name(f".{_short(output.name)}{_LOCK}")


def _short(name: str) -> str:
    raw = os.fsencode(name)
    return name if len(raw) <= _LONGEST_NAME else hashlib.sha256(raw).hexdigest()[:32]


# --- files ------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path | None) -> Iterator[IO[bytes]]:
    """A binary stream into a file that takes the place of ``path`` when it is whole; standard output for None.

    ``/dev/stdout`` is standard output, too, where it was directed to a file, to be added to it. Into a device or a
    pipe, such as the shell's ``>(gzip)``, is written as it comes.

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
    if path.exists() and not path.is_file():  # a device or a pipe; what such a link leads to may have no name
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()  # a link's file is replaced, and not the link
    with _alone(_lock_beside(path), path, patience=_SHORT, warn=False) as alone:
        if alone:
            _sweep(path)
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
        except BaseException as error:  # stopped by a signal, too
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            if (said := disk_error(error)) is not None:
                raise unwritable(path, said) from None
            raise
        finally:
            _live.discard(str(beside))


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


# --- folders ----------------------------------------------------------------------------------------------


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder, which takes the place of ``folder`` when it is whole; a link is followed, not replaced.

    Killed at any moment, it leaves the old folder or the new one, if only under the name ``replaced(folder)``,
    until ``restore``.

    Raises:
        MMTError: it cannot be written, or another process is writing it.
    """
    folder = Path(os.path.realpath(folder))
    with writing(folder), only_writer(folder):
        restore(folder)
        with made_beside(folder) as beside:
            yield beside
            _allow_as_usual(beside)
            old = replaced(folder)
            try:
                if folder.exists():
                    folder.rename(old)
                beside.rename(folder)
            except BaseException:  # stopped by a signal, too
                restore(folder)
                raise
            if old.exists():
                old.rename(beside)  # so that what bears a name that is read is always whole


@contextmanager
def made_beside(folder: Path, *, patience: float = 0.0) -> Iterator[Path]:
    """A new folder beside ``folder``, on the same disk, for what becomes a part of it; gone at the end.

    Args:
        patience: as for ``only_writer``.
    Raises:
        MMTError: it cannot be written, or another process is writing ``folder``.
    """
    folder = Path(os.path.realpath(folder))
    with writing(folder), only_writer(folder, patience=patience):
        _sweep(folder)
        beside = _own_name(folder)
        beside.mkdir(parents=True)
        try:
            yield beside
        finally:
            _live.discard(str(beside))
            shutil.rmtree(beside, ignore_errors=True)


def replaced(folder: Path) -> Path:
    """Where an old folder waits while the new one takes its name."""
    return folder.with_name(f".{folder.name}.replaced")


def restore(folder: Path) -> None:
    """Ends what a kill left between the two renames of ``replacing_folder``."""
    old = replaced(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    elif old.exists():
        beside = _own_name(folder)
        _live.discard(str(beside))
        old.rename(beside)
        shutil.rmtree(beside, ignore_errors=True)


def _allow_as_usual(folder: Path) -> None:
    """Gives files the mode that the umask wants: safetensors, for one, lets nobody else read what it writes."""
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        about = path.lstat()
        # A link, hard ones included, is a file of somebody else.
        if path.is_file() and not path.is_symlink() and about.st_nlink == 1 and about.st_mode & 0o777 != mode:
            path.chmod(mode)


# --- temporary names --------------------------------------------------------------------------------------

_live: set[str] = set()  # this process's


def _own_name(path: Path) -> Path:
    found = path.with_name(f"{_short(path.name)}.{os.getpid()}-{secrets.token_hex(4)}.writing")
    _live.add(str(found))
    return found


def is_temporary(name: str) -> bool:
    """Whether a file of that name is a lock, or what a writer that was killed left."""
    return (name.endswith(_LOCK) and name.startswith(".")) or _TEMPORARY.search(name) is not None


def _sweep(path: Path) -> None:
    """Removes what killed writers of ``path`` left: only for who holds its lock, which all of them have to."""
    sweep(path.parent, re.escape(_short(path.name)))


def sweep(folder: Path, names: str) -> None:
    """Removes what killed writers left in ``folder`` of files and folders whose names match a regular expression.

    Only for who holds the lock that all of them have to.
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
