"""Dynamic batching: who shares a batch, and who never notices another's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from mmt.serve import batching
from mmt.serve.batching import Batcher
from mmt.serve.limits import RefusedError


class Worker:
    """Doubles its items, once the gate is open; a negative item fails. Items from 1000 have their own gate."""

    def __init__(self) -> None:
        self.gate, self.long_gate = threading.Event(), threading.Event()
        self.batches = list[list[int]]()  # in the order in which they were begun
        self._begun = threading.Semaphore(0)

    def __call__(self, options: str, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self._begun.release()
        assert (self.gate if max(items) < 1000 else self.long_gate).wait(60)
        if min(items) < 0:
            raise ValueError(f"{min(items)} is negative")
        return [2 * item for item in items]

    async def begun(self, batches: int = 1) -> None:
        """Waits until so many more batches have begun."""
        for _ in range(batches):
            assert await asyncio.to_thread(self._begun.acquire, timeout=60)


def batcher(worker: Worker, **settings: int) -> Batcher[str, int, int]:
    return Batcher(worker, is_long=lambda item: item >= 1000, **settings)


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


async def begin(batch: Batcher[str, int, int], *requests: tuple[str, list[int]]) -> list[asyncio.Task[list[int]]]:
    """Requests whose items are in the queue."""
    tasks = [asyncio.create_task(batch.results(options, items, soon())) for options, items in requests]
    await asyncio.sleep(0)  # each runs until it waits for its results
    return tasks


def test_all_that_waits_is_one_batch_and_a_lone_item_never_waits() -> None:
    worker = Worker()
    batch = batcher(worker)

    async def run() -> list[list[int]]:
        first = await begin(batch, ("a", [0]))
        await worker.begun()
        others = await begin(batch, ("a", [1, 2]), ("a", [3]), ("b", [4]), ("a", [5]))
        worker.gate.set()
        return [await task for task in (*first, *others)]

    assert asyncio.run(run()) == [[0], [2, 4], [6], [8], [10]]
    assert worker.batches == [[0], [1, 2, 3, 5], [4]]  # options are not mixed
    assert batch.waiting == 0
    batch.close()


def test_a_batch_has_a_limit() -> None:
    worker = Worker()
    batch = batcher(worker, batch=3)

    async def run() -> list[list[int]]:
        tasks = await begin(batch, ("a", [0]))
        await worker.begun()
        tasks += await begin(batch, ("a", list(range(1, 8))))
        worker.gate.set()
        return [await task for task in tasks]

    assert asyncio.run(run())[1] == [2, 4, 6, 8, 10, 12, 14]
    assert [len(one) for one in worker.batches] == [1, 3, 3, 1]
    batch.close()


@pytest.mark.parametrize(("first", "others"), [(0, [1, 2, 3, 4]), (1000, [1001, 1002])])
def test_a_full_batch_waits_for_no_more(first: int, others: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHERING", 1e6)
    worker = Worker()
    batch = batcher(worker, batch=2)

    async def run() -> list[list[int]]:
        tasks = await begin(batch, ("a", [first]))
        await worker.begun()
        tasks += await begin(batch, ("a", others))
        worker.gate.set()
        worker.long_gate.set()
        return [await task for task in tasks]

    assert asyncio.run(run()) == [[2 * first], [2 * item for item in others]]
    batch.close()


def test_idle_threads_share_what_waits() -> None:
    worker = Worker()
    batch = batcher(worker, threads=2)

    async def run() -> list[int]:
        (task,) = await begin(batch, ("a", list(range(8))))
        await worker.begun(2)
        worker.gate.set()
        return await task

    assert asyncio.run(run()) == [2 * item for item in range(8)]
    assert [len(one) for one in worker.batches] == [4, 4]
    batch.close()


def test_an_idle_thread_leaves_a_busy_one_its_share() -> None:
    worker = Worker()
    batch = batcher(worker, threads=2)

    async def run() -> list[list[int]]:
        tasks = await begin(batch, ("a", [0]))
        await worker.begun()
        tasks += await begin(batch, ("a", [1, 2, 3, 4]))
        await worker.begun()
        worker.gate.set()
        return [await task for task in tasks]

    assert asyncio.run(run()) == [[0], [2, 4, 6, 8]]
    assert [len(one) for one in worker.batches] == [1, 3, 1]
    batch.close()


def test_clients_that_ask_again_share_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has answered some waits for as many, so what comes later than the others joins them."""
    monkeypatch.setattr(batching, "GATHERING", 1e6)
    worker = Worker()
    batch = batcher(worker)

    async def run() -> None:
        first = await begin(batch, ("a", [0]))
        await worker.begun()
        tasks = await begin(batch, ("a", [1]), ("a", [2]), ("a", [3]))
        worker.gate.set()
        for task in first:
            await task
        await asyncio.sleep(0.01)  # if the thread did not wait, it would most likely begin now
        tasks += await begin(batch, ("a", [4]))
        for task in tasks:
            await task

    asyncio.run(run())
    assert worker.batches == [[0], [1, 2, 3, 4]]
    batch.close()


def test_a_lone_client_does_not_wait_until_others_come_back() -> None:
    worker = Worker()
    worker.gate.set()
    batch = batcher(worker)

    async def run() -> None:
        for task in await begin(batch, *(("a", [number]) for number in range(8))):
            await task
        assert await batch.results("a", [9], soon()) == [18]  # else it would wait to its deadline

    asyncio.run(run())
    batch.close()


def test_an_error_concerns_its_own_request_alone() -> None:
    worker = Worker()
    batch = batcher(worker)

    async def run() -> list[list[int] | BaseException]:
        tasks = await begin(batch, ("a", [0]))
        await worker.begun()
        tasks += await begin(batch, ("a", [1, 2]), ("a", [3, -1, 4]), ("a", [5]))
        worker.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third, fourth = asyncio.run(run())
    assert (first, second, fourth) == ([0], [2, 4], [10])
    assert isinstance(third, ValueError)
    batch.close()


def test_short_items_do_not_wait_for_long_ones() -> None:
    worker = Worker()
    worker.gate.set()
    batch = batcher(worker)

    async def run() -> None:
        (long,) = await begin(batch, ("a", [3, 4, 1000, 1001]))
        assert await batch.results("a", [1], soon()) == [2]
        assert not long.done()
        worker.long_gate.set()
        assert await long == [6, 8, 2000, 2002]

    asyncio.run(run())
    assert [1000] in worker.batches  # one at a time
    batch.close()


def test_too_much_is_refused_and_then_accepted_again() -> None:
    worker = Worker()
    batch = batcher(worker, waiting=3)

    async def run() -> None:
        tasks = await begin(batch, ("a", [0]), ("a", [1, 2]))
        with pytest.raises(RefusedError) as refused:
            await batch.results("a", [3], soon())
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        worker.gate.set()
        assert [await task for task in tasks] == [[0], [2, 4]]
        assert await batch.results("a", [3], soon()) == [6]

    asyncio.run(run())
    batch.close()


def test_what_is_cancelled_or_too_late_is_never_computed() -> None:
    worker = Worker()
    batch = batcher(worker)

    async def run() -> None:
        first = await begin(batch, ("a", [0]))
        await worker.begun()
        dropped = await begin(batch, ("a", [1]))
        with pytest.raises(RefusedError) as refused:
            await batch.results("a", [2], soon(0.1))
        assert refused.value.status == 504
        dropped[0].cancel()
        last = await begin(batch, ("a", [3]))
        worker.gate.set()
        assert [await task for task in first + last] == [[0], [6]]

    asyncio.run(run())
    assert worker.batches == [[0], [3]]
    assert batch.waiting == 0
    batch.close()


def test_a_closed_batcher_refuses() -> None:
    worker = Worker()
    worker.gate.set()
    batch = batcher(worker)
    batch.close()
    with pytest.raises(RefusedError):
        asyncio.run(batch.results("a", [1], soon()))
