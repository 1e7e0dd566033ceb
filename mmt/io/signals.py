"""Stopping on a signal, with a state from which the same command resumes.

The signals are Ctrl+C (SIGINT), SIGTERM, a hangup (SIGHUP), and SIGUSR1 and SIGUSR2, one of which SLURM and others
send before the time is up. An ignored signal stays ignored: SIGHUP under nohup, SIGINT in a script's background
jobs.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that stop a command, unless they are ignored."""
ENDS_WITH_PARENT = "MMT_ENDS_WITH_PARENT"
"""The environment variable that makes ``python -m mmt.cli`` end when the process that started it ends."""
_PR_SET_PDEATHSIG = 1  # of Linux


class Stopped(BaseException):  # as KeyboardInterrupt: no ``except Exception`` on the way may swallow it
    """A signal asked the process to stop. The message says what happens to the work."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message)
        self.signum = signum


class _Handlers:
    """Handles the signals within a ``with``, in the main thread; Python allows it nowhere else."""

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    self._before[signum] = signal.signal(signum, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _received(self, signum: int, _: FrameType | None) -> None:
        self._handle(signum)

    def _handle(self, signum: int) -> None:
        raise Stopped(signum)


def _end_as_usual() -> None:
    """For a forked worker, where a signal noted just before a lock would take effect only after it."""
    for signum in SIGNALS:
        if isinstance(getattr(signal.getsignal(signum), "__self__", None), _Handlers):
            signal.signal(signum, signal.SIG_DFL)


os.register_at_fork(after_in_child=_end_as_usual)


class stopping_at_once(_Handlers):  # noqa: N801  # reads as a statement: with stopping_at_once()
    """Raises ``Stopped`` at once; for a second after that, no other signal interrupts the cleanup.

    A closing terminal sends SIGHUP twice, itself and through its shell; ``timeout`` and systemd send two signals.
    """

    _since: float = -1.0

    def _handle(self, signum: int) -> None:
        now = time.monotonic()
        if self._since < 0 or now - self._since >= 1:
            self._since = now
            super()._handle(signum)


class StopSwitch(_Handlers):
    """Notes a signal, so that the work stops at a good place; the same signal a second later stops it at once."""

    signum: int = 0
    """The signal; 0 if there was none."""
    _since: float = 0.0

    def note(self, signum: int) -> None:
        """Does what the signal would do, for code that handles it itself; nothing if it was ignored."""
        if signum in self._before:
            self._handle(signum)

    def _handle(self, signum: int) -> None:
        now = time.monotonic()
        if self.signum == signum:
            if now - self._since < 1:  # sent to the launcher and passed on by it, or a key held down
                return
            super()._handle(signum)
        self.signum, self._since = signum, now
        message = f"{signal.Signals(signum).name}: stopping after this update.\n"
        with contextlib.suppress(OSError):  # the same Ctrl+C may have ended the reader
            os.write(2, message.encode())  # not print: the signal may have interrupted one


def stop_with_launcher() -> None:
    """Under torchrun, requests SIGTERM for when the launcher has ended, however it ended.

    The launcher passes on SIGINT, SIGTERM and SIGHUP, but SIGUSR1 and SIGUSR2 end it and leave its processes.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent()


def end_with_parent() -> None:
    """Requests SIGTERM for when the process that started this one has ended, however it ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


# --- terminals that close ---------------------------------------------------------------------------------


class _Lasting(io.FileIO):
    """Standard error whose reader may disappear: what is written then is lost, and the work continues."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), self.fileno())
            return len(data)


def outlive_terminal() -> None:
    """Prepares the standard streams for being closed, at the start or later.

    A closed one becomes the null device; otherwise the next file opened would take its place and get the messages.
    ``sys.stdin`` and ``sys.stdout`` stay None then; code that needs them raises an error.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    before = sys.stderr
    if before is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  # to the end
        return
    try:
        buffer = before.buffer
        own = before.fileno() != 2 or isinstance(getattr(buffer, "raw", buffer), _Lasting)
    except (AttributeError, OSError, ValueError):  # something in memory
        return
    if not own:
        before.flush()
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lasting(2, "w", closefd=False)),
            encoding=before.encoding,
            errors=before.errors,
            line_buffering=True,
            write_through=True,
        )
