"""What Gradio holds of the page's requests: waiting ones count towards the limit, answered ones are forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr
    from gradio.queueing import Event
    from starlette.types import Scope

_SIZE = "mmt.bytes"  # of the body, in the request's scope
_KNOWN = 1024  # answered requests of which Gradio keeps the id, far more than can wait at a time


def note_size(scope: Scope, size: int) -> None:
    """Before Gradio gets the request."""
    scope[_SIZE] = size


def held_bytes(blocks: gr.Blocks) -> int:
    """Bodies of the requests that wait for their turn or are being answered."""
    return sum(int(event.request.scope.get(_SIZE, 0)) for event in _open(blocks))


def _open(blocks: gr.Blocks) -> Iterator[Event]:
    for waiting in blocks._queue.event_queue_per_concurrency_id.values():
        yield from waiting.queue
    for job in blocks._queue.active_jobs:
        yield from job or ()


def forget_answered(blocks: gr.Blocks) -> None:
    """Makes Gradio drop a request's inputs once it is answered.

    It would keep each event with its data as long as it runs, and the last inputs of each of its sessions. It
    needs neither: no input of the page is a state.
    """
    queue, sessions = blocks._queue, blocks.state_holder
    answer = queue.process_events

    async def process_events(events: list[Event], batch: bool, begin_time: float) -> None:
        for event in events:
            for name in ("_body", "_json"):  # Starlette's copies, which timers keep beyond the answer
                vars(event.request).pop(name, None)
        try:
            await answer(events, batch, begin_time)
        finally:
            for event in events:
                event.data = None
                event.request = None  # type: ignore[assignment]  # nothing reads it any more
                sessions.session_data.pop(event.session_hash, None)
                sessions.time_last_used.pop(event.session_hash, None)
            queue._asyncio_tasks[:] = [task for task in queue._asyncio_tasks if not task.done()]
            for known in (queue.event_ids_to_events, queue.event_analytics):
                while len(known) > _KNOWN:
                    del known[next(iter(known))]

    queue.process_events = process_events  # type: ignore[method-assign]
