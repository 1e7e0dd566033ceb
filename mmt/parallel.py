"""Several batches at a time on a CPU's cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each_on_a_core(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """``work``, done by torch, of each item, in order, as many at a time as torch has threads, each on one.

    Cores that share the small products of one batch wait for each other most of the time, and where others use the
    machine a hundred times as long. torch's number of threads is what it was again after the last result.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from in_threads(work, items, threads, lambda: torch.set_num_threads(1))
    finally:
        torch.set_num_threads(threads)


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
