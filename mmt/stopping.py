"""Stopping when asked to, by Ctrl+C (SIGINT) or SIGTERM: with a state from which the same command goes on."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any, Self


class Stopped(BaseException):  # as KeyboardInterrupt: no ``except Exception`` on the way may swallow it
    """A signal asked the process to stop. The message says what becomes of the work."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message)
        self.signum = signum


class _Handlers:
    """In the main thread, within a ``with``, handles both signals; elsewhere Python does not allow it."""

    def __enter__(self) -> Self:
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        raise Stopped(signum)


class stopping_at_once(_Handlers):  # noqa: N801  # reads as a statement: with stopping_at_once()
    """Raises ``Stopped`` where the work is."""


class StopSwitch(_Handlers):
    """Notes a signal, for the work to stop where that is good; the same one again stops at once."""

    asked: int = 0
    """The signal, 0 while there is none."""

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.asked == signum:
            super()._handle(signum, frame)
        self.asked = signum
        print(f"{signal.Signals(signum).name}: stopping after this update.", file=sys.stderr, flush=True)
