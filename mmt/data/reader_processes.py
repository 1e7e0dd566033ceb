"""Processes that read a streamed split ahead of the trainer, so that it does not wait for its next batch."""

from __future__ import annotations

import copy
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmt.data.batch import Batch
from mmt.data.feature_store import FeatureStore
from mmt.data.reader import ReaderSettings, Streamed, StreamReader
from mmt.errors import MMTError

_AHEAD = 4  # batches that a process prepares before the trainer takes the first of them


class _Drawn(NamedTuple):
    """What a process sends: a batch, the number of its stream and that stream's next place; or what went wrong."""

    batch: Batch | None = None  # its tensors as arrays
    stream: int = 0
    place: tuple[int, int, int] = (0, 0, 0)
    error: str = ""


class AheadReader(StreamReader):
    """The batches of ``StreamReader``, in the same order, with the same state, read by other processes.

    The processes are torch's (``DataLoader``). Each reads streams of its own; the trainer takes their batches in
    turn. Batches of other datasets (``beside``) are read by the trainer, as they are in memory.

    Args:
        processes: how many; ``streams`` is a multiple of ``world_size`` times as many.
    Raises:
        MMTError: see ``StreamReader``. From ``next``: also if a process is killed.
    """

    def __init__(
        self,
        split: Streamed,
        features: FeatureStore | None,
        *,
        processes: int,
        streams: int,
        max_tokens: int,
        **settings: Unpack[ReaderSettings],
    ) -> None:
        self._processes = processes
        self._arriving: list[Iterator[_Drawn]] = []  # one at most; the processes end when it is dropped
        # before the interpreter's exit handlers, which would wait for the processes
        weakref.finalize(self, self._arriving.clear)
        super().__init__(split, features, streams=streams, max_tokens=max_tokens, **settings)
        if streams % (processes * self._world_size):
            raise MMTError(
                f"data.streams: expected a multiple of data.readers x the number of processes ({processes} x "
                f"{self._world_size}), found {streams}."
            )

    def __next__(self) -> list[Batch]:
        batches = []
        for _ in range(self._num_accumulate):
            drawn = self._receive()
            if drawn.batch is None:
                raise MMTError(drawn.error)
            self._streams[drawn.stream].seek(*drawn.place)
            batch = _replaced(drawn.batch, np.ndarray, torch.from_numpy)
            batch.beside = self._others()
            batches.append(batch)
            self._drawn += self._world_size
        self._updates += 1
        return batches

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._arriving.clear()  # ends the processes, which have read ahead from the previous place
        super().load_state_dict(state_dict)

    def _receive(self) -> _Drawn:
        try:
            if not self._arriving:
                loader = DataLoader(
                    _Ahead(copy.copy(self)),  # a copy: no cycle keeps this reader, and with it the processes
                    batch_size=None,
                    num_workers=self._processes,
                    prefetch_factor=_AHEAD,
                    worker_init_fn=_leave_signals,
                    multiprocessing_context="fork",  # the split, its features and the tokenizer are open
                )
                with _without_child_signals():
                    self._arriving.append(iter(loader))
            return next(self._arriving[0])
        except (RuntimeError, OSError, EOFError) as error:  # of DataLoader, and of what a process sent it
            if str(error).startswith("Caught "):  # an error of the code there: its traceback says where
                raise
            raise MMTError(
                f"data.readers: a process that read the training data has ended ({_first_line(error)}). It was "
                "killed, or memory is full. Free some, or set data.readers lower, and run the same command "
                "again: it resumes."
            ) from error

    def drawn_by(self, process: int) -> Iterator[_Drawn]:
        """The batches that one of the processes reads, from this reader's place on, without end."""
        number = process
        while True:
            stream = (self._drawn + self._rank + number * self._world_size) % len(self._all)
            update = self._updates + number // self._num_accumulate
            try:
                examples, place = self._streams[stream].next()
                batch = self._alone(examples, stream, *place, update=update)
            except MMTError as error:
                yield _Drawn(error=str(error))
                return
            except (OSError, MemoryError) as error:
                reason = _first_line(error) or type(error).__name__
                yield _Drawn(
                    error=f"data.readers: the training data cannot be read ({reason}). Mend what it names, or set "
                    "data.readers lower if memory is short, and run the same command again: it resumes."
                )
                return
            yield _Drawn(_replaced(batch, Tensor, Tensor.numpy), stream, self._streams[stream].place)
            number += self._processes


def _replaced(batch: Batch, kind: type, become: Callable[[Any], Any]) -> Batch:
    """The batch with each of its fields of ``kind`` as what ``become`` makes of it.

    It travels as arrays, in one message: tensors would each have a file of shared memory and a connection.
    """
    values = {one.name: getattr(batch, one.name) for one in fields(batch)}
    return replace(batch, **{name: become(value) for name, value in values.items() if isinstance(value, kind)})


class _Ahead(IterableDataset[_Drawn]):
    """What torch runs in each process."""

    def __init__(self, reader: AheadReader) -> None:
        self._reader = reader

    def __iter__(self) -> Iterator[_Drawn]:
        worker: Any = get_worker_info()  # None only outside of such a process
        return self._reader.drawn_by(worker.id)


@contextmanager
def _without_child_signals() -> Iterator[None]:
    """Undoes DataLoader's handler, which raises an error wherever the trainer is when a process of its is killed.

    Without it, the reader notices when it waits for that process.
    """
    if threading.current_thread() is not threading.main_thread():  # DataLoader sets none there
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if before is not None:  # else a handler in C, which Python cannot set again
            signal.signal(signal.SIGCHLD, before)


def _leave_signals(_: int) -> None:
    """The trainer decides when to stop: a launcher signals all processes, and it may need another batch.

    A process of ``DataLoader`` ends when the trainer has ended, however that ended.
    """
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
