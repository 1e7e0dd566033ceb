"""Parallel work on a CPU's cores: in threads or in processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mmt.errors import MMTError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    work: Callable[[_Item], _Result],
    items: Sequence[_Item],
    threads: int,
    begin: Callable[[], object] | None = None,
) -> Iterator[_Result]:
    """Applies ``work`` to each item, ``threads`` at a time; results are in order. Threads start with ``begin``."""
    if begin is None and (threads == 1 or len(items) == 1):  # to start a thread takes as long as a short sentence
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, initializer=begin)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, only items that have started are finished


def in_processes(work: Callable[[_Item], _Result], items: Sequence[_Item], processes: int) -> Iterator[_Result]:
    """Applies ``work`` to each item, ``processes`` at a time; results come in order.

    Not with ``multiprocessing.Pool``, which waits forever for the result of a killed process.

    Raises:
        MMTError: one of the processes was killed.
    """
    if processes == 1:
        yield from map(work, items)
        return
    pool = ProcessPoolExecutor(processes, initializer=_end_with_parent)
    try:
        yield from pool.map(work, items, chunksize=16)
    except BrokenProcessPool:
        raise MMTError(
            f"one of {processes} processes was killed, perhaps because memory ran out. Use fewer."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, only items that have started are finished


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  # this is a process of a pool

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def rank() -> int:
    """This process's number among the training processes, as set by the launcher."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
