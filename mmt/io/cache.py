"""The user's cache: what can be computed again, so that each of its failures only costs time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmt.io.locks import NoLocksError, hold


def cache_folder(name: str) -> Path:
    """The folder for one purpose, in ``XDG_CACHE_HOME`` or ``~/.cache``, whether it exists or not."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mmt" / name


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Other processes that fill ``folder`` wait; without a writable folder or without locks, nobody waits."""
    lock = None
    with suppress(NoLocksError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(folder / ".lock", wait=True)
    try:
        yield
    finally:
        if lock is not None:
            lock.close()
