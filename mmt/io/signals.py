"""Stopping when asked to, with a state from which the same command resumes.

By Ctrl+C (SIGINT), SIGTERM, a hangup (SIGHUP), and SIGUSR1 and SIGUSR2, of which SLURM and others send one before
the time is up. A signal that is ignored stays so: SIGHUP under nohup, SIGINT in a script's background jobs.
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
"""What stops a command, as far as it is not ignored."""
_PR_SET_PDEATHSIG = 1  # of Linux


class Stopped(BaseException):  # as KeyboardInterrupt: no ``except Exception`` on the way may swallow it
    """A signal asked the process to stop. The message says what becomes of the work."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message)
        self.signum = signum


class _Handlers:
    """In the main thread, within a ``with``, handles the signals; elsewhere Python does not allow it."""

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
    """In a forked worker: a signal that is noted just before it waits for a lock would be acted on after that."""
    for signum in SIGNALS:
        if isinstance(getattr(signal.getsignal(signum), "__self__", None), _Handlers):
            signal.signal(signum, signal.SIG_DFL)


os.register_at_fork(after_in_child=_end_as_usual)


class stopping_at_once(_Handlers):  # noqa: N801  # reads as a statement: with stopping_at_once()
    """Raises ``Stopped`` where the work is; for a second after that, no other signal cuts the cleaning up off.

    A terminal that is closed sends SIGHUP itself and by its shell; ``timeout`` and systemd send two signals, too.
    """

    _since: float = -1.0

    def _handle(self, signum: int) -> None:
        now = time.monotonic()
        if self._since < 0 or now - self._since >= 1:
            self._since = now
            super()._handle(signum)


class StopSwitch(_Handlers):
    """Notes a signal, for the work to stop where that is good; a second later, the same one stops at once."""

    asked: int = 0
    """The signal, 0 while there is none."""
    _since: float = 0.0

    def ask(self, signum: int) -> None:
        """What a signal does, for who takes it for himself; nothing if it was ignored."""
        if signum in self._before:
            self._handle(signum)

    def _handle(self, signum: int) -> None:
        now = time.monotonic()
        if self.asked == signum:
            if now - self._since < 1:  # one that came to the launcher and from it, or a key held down
                return
            super()._handle(signum)
        self.asked, self._since = signum, now
        said = f"{signal.Signals(signum).name}: stopping after this update.\n"
        with contextlib.suppress(OSError):  # whoever read it may be gone, by the same Ctrl+C
            os.write(2, said.encode())  # not print, which may be at work just now


def stop_with_launcher() -> None:
    """Under torchrun, asks for SIGTERM when the launcher is gone, however it ended.

    It passes SIGINT, SIGTERM and SIGHUP on, but SIGUSR1 and SIGUSR2 end it and would leave its processes behind.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


# --- terminals that vanish --------------------------------------------------------------------------------


class _Lasting(io.FileIO):
    """Standard error, whose reader may vanish: what is written then is lost, and the work goes on."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), self.fileno())
            return len(data)


def outlive_terminal() -> None:
    """Prepares the standard streams for being closed, from the beginning or from some time on.

    A closed one becomes the null device, or the next file opened would take its place and get the messages.
    ``sys.stdin`` and ``sys.stdout`` stay None then, which those that need them refuse.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which is the lowest number that is free
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
