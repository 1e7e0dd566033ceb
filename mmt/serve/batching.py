"""Dynamic batching: a thread translates its share of all sentences that wait, so that a lone one never waits.

Sentences of many requests share a batch. Clients often ask again as soon as they are answered, and a batch costs
little more than a sentence: a thread that has answered some waits for as many, an eighth of that batch's time at
most. Long sentences have a thread of their own, so that short ones do not wait for them. An error concerns only
the sentence that causes it: a batch that fails is translated again one by one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mmt.serve.limits import RefusedError

Options = TypeVar("Options", bound=Hashable)
Item = TypeVar("Item")
Result = TypeVar("Result")

GATHERING = 1 / 8
"""Of the time that the last batch took: the longest wait for the next one to be as large."""

Work = Callable[[Options, Sequence[Item]], Sequence[Result]]
"""Gives the results of items that share their options, in order; called by several threads."""


@dataclass(eq=False, slots=True)
class _Job(Generic[Options, Item, Result]):
    """Items of one request, which are answered together."""

    options: Options
    items: Sequence[Item]
    future: asyncio.Future[list[Result]]
    loop: asyncio.AbstractEventLoop
    deadline: float
    cancelled: bool = False
    remaining: int = 0
    results: list[Result | None] = field(default_factory=list)


_Place = tuple[_Job[Options, Item, Result], int]  # an item of a job


class _Lane(Generic[Options, Item, Result]):
    """A queue and the threads that empty it."""

    def __init__(self, threads: int, batch: int, lock: threading.Lock) -> None:
        self.queue: deque[_Place[Options, Item, Result]] = deque()
        self.threads, self.batch, self.active = threads, batch, 0  # active: items of the present batches
        self.changed = threading.Condition(lock)


class Batcher(Generic[Options, Item, Result]):
    """Collects items of requests into batches, and hands the results back to their requests' event loops."""

    def __init__(
        self,
        work: Work[Options, Item, Result],
        *,
        is_long: Callable[[Item], bool],
        threads: int = 1,
        batch: int = 64,
        waiting: int = 1024,
        observe: Callable[[int], object] = lambda size: None,
        name: str = "batch",
    ) -> None:
        """
        Args:
            is_long: whether an item goes to the thread for long ones, which takes one at a time.
            threads: for short items; each takes its share of what waits.
            batch: items taken at a time, at most.
            waiting: items accepted and not yet done; more are refused.
            observe: called with the size of each batch.
        """
        self._work, self._is_long, self._observe = work, is_long, observe
        self._limit, self.waiting = waiting, 0
        self._lock = threading.Lock()
        self._closed = False
        self._short = _Lane[Options, Item, Result](threads, batch, self._lock)
        self._long = _Lane[Options, Item, Result](1, 1, self._lock)
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"{name}-{number}", daemon=True)
            for lane in (self._short, self._long)
            for number in range(lane.threads)
        ]
        for thread in self._threads:
            thread.start()

    async def results(self, options: Options, items: Sequence[Item], deadline: float) -> list[Result]:
        """The results of the items, in order. Cancelling the call withdraws those not begun.

        Args:
            deadline: of ``time.monotonic``; what has not begun by then is dropped.
        Raises:
            RefusedError: too much is waiting (503), or the time is up (504).
            Exception: whatever an item raises.
        """
        if not items:
            return []
        loop = asyncio.get_running_loop()
        job = _Job[Options, Item, Result](options, items, loop.create_future(), loop, deadline)
        job.remaining, job.results = len(items), [None] * len(items)
        with self._lock:
            if self._closed:
                raise RefusedError(503, "the server is stopping. Try again.")
            if self.waiting + len(items) > self._limit:
                raise RefusedError(503, f"{self.waiting:,} sentences are waiting. Try again later.")
            self.waiting += len(items)
            for number, item in enumerate(items):
                lane = self._long if self._is_long(item) else self._short
                lane.queue.append((job, number))
                lane.changed.notify()  # not all: waking a thread for nothing costs as much as a short request
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await job.future
        except TimeoutError:
            raise RefusedError(
                504, "the translation takes longer than the limit. Send fewer or shorter ones."
            ) from None
        finally:
            job.cancelled = True

    def close(self) -> None:
        """Ends the threads after their present batches; what still waits gets no result."""
        with self._lock:
            self._closed = True
            for lane in (self._short, self._long):
                lane.changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, lane: _Lane[Options, Item, Result]) -> None:
        answered, seconds = 0, 0.0  # items of the last batch, and what it took
        while True:
            taken = self._take(lane, answered, seconds)
            if not taken:
                return
            started = time.monotonic()
            self._translate(taken)
            answered, seconds = len(taken), time.monotonic() - started
            with self._lock:
                lane.active -= answered

    def _take(
        self, lane: _Lane[Options, Item, Result], answered: int, seconds: float
    ) -> list[_Place[Options, Item, Result]]:
        """The next batch, this thread's share of what waits and is being translated; none if it is to end."""
        with self._lock:
            share = min(-(-(len(lane.queue) + lane.active + answered) // lane.threads), lane.batch)
            lane.changed.wait_for(lambda: self._closed or len(lane.queue) >= share, seconds * GATHERING)
            lane.changed.wait_for(lambda: self._closed or lane.queue)
            if self._closed:
                return []
            share = -(-(len(lane.queue) + lane.active) // lane.threads)
            taken = [lane.queue.popleft() for _ in range(min(share, lane.batch, len(lane.queue)))]
            lane.active += len(taken)
            if lane.queue:  # perhaps only this thread was notified
                lane.changed.notify()
            return taken

    def _translate(self, taken: list[_Place[Options, Item, Result]]) -> None:
        now = time.monotonic()
        groups: dict[Options, list[_Place[Options, Item, Result]]] = {}
        for job, number in taken:
            if not job.cancelled and job.deadline > now:
                groups.setdefault(job.options, []).append((job, number))
        self._done(len(taken) - sum(map(len, groups.values())))
        for options, places in groups.items():
            self._answer(options, places)

    def _done(self, count: int) -> None:
        with self._lock:
            self.waiting -= count

    def _answer(self, options: Options, places: list[_Place[Options, Item, Result]]) -> None:
        self._observe(len(places))
        try:
            results = self._work(options, [job.items[number] for job, number in places])
        except Exception as error:
            if len(places) > 1:
                for place in places:
                    self._answer(options, [place])
                return
            self._done(1)
            ((job, _),) = places
            job.cancelled = True  # its other items
            _call(job.loop, _fail, job.future, error)
            return
        self._done(len(places))
        loops: dict[asyncio.AbstractEventLoop, list[tuple[_Place[Options, Item, Result], Result]]] = {}
        for place, result in zip(places, results, strict=True):
            loops.setdefault(place[0].loop, []).append((place, result))
        for loop, of_loop in loops.items():
            _call(loop, _deliver, of_loop)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        if not loop.is_closed():  # else nobody waits any more
            raise


def _deliver(results: Sequence[tuple[_Place[Options, Item, Result], Result]]) -> None:
    """In the event loop: completes the jobs whose last items these are."""
    for (job, number), result in results:
        job.results[number] = result
        job.remaining -= 1
        if not job.remaining and not job.future.done():
            job.future.set_result(job.results)  # type: ignore[arg-type]  # none is None any more


def _fail(future: asyncio.Future[object], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
