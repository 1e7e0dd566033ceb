"""Stopping when asked to, by Ctrl+C (SIGINT) or SIGTERM: with a state from which the same command goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, Self


class Stopped(BaseException):  # as KeyboardInterrupt: no ``except Exception`` on the way may swallow it
    """A signal asked the process to stop. The message says what becomes of the work."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message)
        self.signum = signum


class _Handlers:
    """In the main thread, within a ``with``, handles both signals; elsewhere Python does not allow it.

    A signal that is ignored, as a shell's script tells its background jobs to, stays so.
    """

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
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
    for signum in (signal.SIGINT, signal.SIGTERM):
        if isinstance(getattr(signal.getsignal(signum), "__self__", None), _Handlers):
            signal.signal(signum, signal.SIG_DFL)


os.register_at_fork(after_in_child=_end_as_usual)


class stopping_at_once(_Handlers):  # noqa: N801  # reads as a statement: with stopping_at_once()
    """Raises ``Stopped`` where the work is."""


class StopSwitch(_Handlers):
    """Notes a signal, for the work to stop where that is good; a second later, the same one stops at once."""

    asked: int = 0
    """The signal, 0 while there is none."""
    _since: float = 0.0

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
