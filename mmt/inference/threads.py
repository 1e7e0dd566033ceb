"""torch's threads: how many there are, and several batches at a time, each on one core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from mmt.io.processes import in_threads

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def use_threads(threads: int | None) -> None:
    """Sets torch's number of threads; None leaves it to torch, which takes one for each core."""
    if threads is not None:
        torch.set_num_threads(threads)


def each_on_a_core(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """Applies ``work``, which uses torch, to each item: as many at a time as torch has threads, each on one core.

    Cores that share the small products of one batch wait for each other most of the time; on a machine that others
    use as well, this takes a hundred times as long. Results come in order. torch's number of threads is restored
    after the last one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from in_threads(work, items, threads, lambda: torch.set_num_threads(1))
    finally:
        torch.set_num_threads(threads)
