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
    """Doubles its items, once the gate is open; a negative item fails."""

    def __init__(self) -> None:
        self.gate, self.batches = threading.Event(), list[list[int]]()

    def __call__(self, options: str, items: Sequence[int]) -> list[int]:
        if max(items) < 1000:  # the others are the long ones
            self.gate.wait(10)
        else:
            time.sleep(0.3)
        self.batches.append(list(items))
        if min(items) < 0:
            raise ValueError(f"{min(items)} is negative")
        return [2 * item for item in items]


def batcher(worker: Worker, **settings: int) -> Batcher[str, int, int]:
    return Batcher(worker, is_long=lambda item: item >= 1000, **settings)


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


async def begin(batch: Batcher[str, int, int], *requests: tuple[str, list[int]]) -> list[asyncio.Task[list[int]]]:
    tasks = [asyncio.create_task(batch.results(options, items, soon())) for options, items in requests]
    await asyncio.sleep(0.05)
    return tasks


def test_all_that_waits_is_one_batch_and_a_lone_item_never_waits() -> None:
    worker = Worker()
    batch = batcher(worker)

    async def run() -> list[list[int]]:
        first = await begin(batch, ("a", [0]))
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
        tasks += await begin(batch, ("a", list(range(1, 8))))
        worker.gate.set()
        return [await task for task in tasks]

    assert asyncio.run(run())[1] == [2, 4, 6, 8, 10, 12, 14]
    assert [len(one) for one in worker.batches] == [1, 3, 3, 1]
    batch.close()


@pytest.mark.parametrize(("first", "others"), [(0, [1, 2, 3, 4]), (1000, [1001, 1002])])
def test_a_full_batch_waits_for_no_more(first: int, others: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHERING", 1000)
    worker = Worker()
    batch = batcher(worker, batch=2)

    async def run() -> list[list[int]]:
        tasks = await begin(batch, ("a", [first]))
        tasks += await begin(batch, ("a", others))
        worker.gate.set()
        return [await task for task in tasks]

    assert asyncio.run(run()) == [[2 * first], [2 * item for item in others]]
    batch.close()


def test_idle_threads_share_what_waits() -> None:
    worker = Worker()
    worker.gate.set()
    batch = batcher(worker, threads=2)
    time.sleep(0.1)

    async def run() -> list[int]:
        return await batch.results("a", list(range(8)), soon())

    assert asyncio.run(run()) == [2 * item for item in range(8)]
    assert max(map(len, worker.batches)) == 4
    batch.close()


def test_clients_that_ask_again_and_again_share_batches() -> None:
    """Each batch takes as long, however large it is: what comes a little later than the others joins them."""
    sizes: list[int] = []

    def work(options: str, items: Sequence[int]) -> Sequence[int]:
        sizes.append(len(items))
        time.sleep(0.4)
        return items

    batch = Batcher[str, int, int](work, is_long=lambda item: False, threads=2)

    async def client(number: int) -> None:
        for _ in range(6):
            await batch.results("a", [number], soon())
            await asyncio.sleep(0.001 * number)  # not all of them at once

    async def run() -> None:
        await asyncio.gather(*(client(number) for number in range(8)))

    asyncio.run(run())
    batch.close()
    assert max(sizes) <= 5  # no thread takes what the other could translate at the same time
    assert len(sizes) <= 16  # 12 or 13 of 4; without waiting, 18


def test_a_lone_client_never_waits_for_others() -> None:
    batch = Batcher[str, int, int](lambda options, items: time.sleep(0.2) or items, is_long=lambda item: False)

    async def run() -> float:
        await asyncio.gather(*(batch.results("a", [number], soon()) for number in range(8)))
        started = time.monotonic()
        await batch.results("a", [1], soon())
        return time.monotonic() - started

    assert asyncio.run(run()) < 0.5
    batch.close()


def test_an_error_concerns_its_own_request_alone() -> None:
    worker = Worker()
    batch = batcher(worker)

    async def run() -> list[list[int] | BaseException]:
        tasks = await begin(batch, ("a", [0]))
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

    async def run() -> float:
        long = await begin(batch, ("a", [3, 4, 1000, 1001]))
        started = time.monotonic()
        assert await batch.results("a", [1], soon()) == [2]
        seconds = time.monotonic() - started
        assert await long[0] == [6, 8, 2000, 2002]
        return seconds

    assert asyncio.run(run()) < 0.2  # a long one takes 0.3 s
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
