"""Several things at a time on a CPU's cores: batches in threads, other work in processes."""

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
    """``work`` of each item, in order, ``threads`` at a time; each thread begins with ``begin``."""
    pool = ThreadPoolExecutor(threads, initializer=begin)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted, it ends with what has begun


def in_processes(work: Callable[[_Item], _Result], items: Sequence[_Item], processes: int) -> Iterator[_Result]:
    """``work`` of each item, in order, ``processes`` at a time.

    Not by ``multiprocessing.Pool``, which waits for ever for what a killed process was to do.

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
            f"one of {processes} processes was ended from outside, perhaps for want of memory. Use fewer."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted, it ends with what has begun


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  # this is a process of a pool

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def rank() -> int:
    """This process's number among those that train, as the launcher has it."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))
