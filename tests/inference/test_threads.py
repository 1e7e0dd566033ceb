"""Work spread over threads gives the same results, in the same order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from mmt.inference.threads import each_on_a_core


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads_of_one_core_each() -> None:
    meeting = threading.Barrier(2, timeout=300)  # passed only by two at a time

    later = threading.Semaphore(0)

    def work(number: int) -> tuple[int, int]:
        meeting.wait()
        if number % 2 == 0:  # the second result is there before the first
            later.acquire()
        else:
            later.release()
        return number, torch.get_num_threads()

    assert list(each_on_a_core(work, range(6))) == [(number, 1) for number in range(6)]
    assert torch.get_num_threads() == 2


def test_a_single_item_has_one_core() -> None:
    assert list(each_on_a_core(lambda _: torch.get_num_threads(), [1])) == [1]


def test_an_error_ends_the_work_and_gives_the_threads_back() -> None:
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("no")
        time.sleep(0.5 if number else 0)  # far longer than a busy machine needs to see the error
        return number

    with pytest.raises(ValueError, match="no"):
        list(each_on_a_core(work, range(100)))
    assert len(begun) < 50
    assert torch.get_num_threads() == 2
