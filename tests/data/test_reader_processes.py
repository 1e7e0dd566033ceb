"""Processes that read ahead: the batches and the state of a reader without them; an error where one ends."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmt.data import reader as streaming
from mmt.data.batch import Example
from mmt.data.reader import Streamed, StreamReader
from mmt.data.reader_processes import AheadReader
from mmt.errors import MMTError
from tests.worlds import make_features

NUM = 203
SETTINGS: dict[str, Any] = {"streams": 8, "max_tokens": 30, "seed": 3, "num_accumulate": 3}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 16)


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    gc.collect()  # an error that was caught holds the reader
    for child in multiprocessing.active_children():
        child.join(60)  # limits a hang
    assert not multiprocessing.active_children()


def split() -> Streamed:
    examples = [Example([5 + n] * (1 + n % 9), [6] * (1 + n % 7), f"{n}.png") for n in range(NUM)]
    rows: Any = range(NUM)
    return Streamed(rows, lambda first, end: examples[first:end], NUM)


def drawn(reader: StreamReader, num: int) -> list[Any]:
    """Of each update, its batches' ids and images, and the state after it."""
    return [
        ([(batch.source.tolist(), batch.image_ids) for batch in next(reader)], reader.state_dict())
        for _ in range(num)
    ]


@pytest.mark.parametrize(("processes", "world_size"), [(1, 1), (2, 1), (4, 1), (2, 2)])
def test_processes_change_neither_batches_nor_state(processes: int, world_size: int, tmp_path: Path) -> None:
    features = make_features(tmp_path / "features", [f"{n}.png" for n in range(NUM)])
    settings = {**SETTINGS, "image_dropout_p": 0.5, "world_size": world_size}
    for rank in range(world_size):
        ahead = AheadReader(split(), features, processes=processes, rank=rank, **settings)
        alone = StreamReader(split(), features, rank=rank, **settings)
        assert drawn(ahead, 40) == drawn(alone, 40)
        assert ahead.epoch == alone.epoch > 1


def test_either_reader_resumes_where_the_other_stopped() -> None:
    whole = drawn(StreamReader(split(), None, **SETTINGS), 30)
    found, state = [], None
    for make in (AheadReader, StreamReader, AheadReader):
        ahead = {"processes": 2} if make is AheadReader else {}
        reader = make(split(), None, **ahead, **SETTINGS)
        if state is not None:
            next(reader)  # somewhere else, from which it is taken back
            reader.load_state_dict(state)
        found += drawn(reader, 10)
        state = reader.state_dict()
    assert found == whole


def test_batches_of_other_datasets_are_read_beside_theirs() -> None:
    def others() -> streaming.BatchReader:
        examples = [Example([90 + n], [6], None) for n in range(5)]
        return streaming.BatchReader(examples, None, max_tokens=4, shuffle=True)

    ahead = AheadReader(split(), None, processes=2, beside=[others()], **SETTINGS)
    alone = StreamReader(split(), None, beside=[others()], **SETTINGS)
    for _ in range(5):
        pairs = zip(next(ahead), next(alone), strict=True)
        assert all(a.beside[0].source.tolist() == b.beside[0].source.tolist() for a, b in pairs)
    assert ahead.state_dict() == alone.state_dict()


class Marked:
    """Stands for ``SubwordSampling``: puts each sentence's seed in place of its target, before update 4."""

    updates = 4

    def sample(self, examples: list[Example], seeds: list[int]) -> list[Example]:
        return [replace(one, target=[seed % 1000]) for one, seed in zip(examples, seeds, strict=True)]


def test_sentences_are_split_anew_until_the_same_update() -> None:
    settings = {**SETTINGS, "subwords": Marked()}
    ahead, alone = AheadReader(split(), None, processes=2, **settings), StreamReader(split(), None, **settings)
    for _ in range(8):
        pairs = zip(next(ahead), next(alone), strict=True)
        assert all(a.target.tolist() == b.target.tolist() for a, b in pairs)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MMTError("row 7 is damaged."), r"^row 7 is damaged\.$"),
        (
            OSError(5, "Input/output error", "train.arrow"),
            r"cannot be read \(.*'train\.arrow'\)\. .* it resumes\.$",
        ),
        (MemoryError(), r"cannot be read \(MemoryError\)\."),
    ],
)
def test_an_error_in_a_process_is_the_readers_own(error: Exception, told: str) -> None:
    def examples(first: int, end: int) -> list[Example]:
        raise error

    rows: Any = range(NUM)
    reader = AheadReader(Streamed(rows, examples, 0), None, processes=2, **SETTINGS)
    with pytest.raises(MMTError, match=told):
        next(reader)


def test_a_bug_in_a_process_keeps_its_traceback() -> None:
    def examples(first: int, end: int) -> list[Example]:
        raise RuntimeError("not foreseen")

    rows: Any = range(NUM)
    reader = AheadReader(Streamed(rows, examples, 0), None, processes=2, **SETTINGS)
    with pytest.raises(RuntimeError, match=r"(?s)Original Traceback.*not foreseen") as raised:
        next(reader)
    assert not isinstance(raised.value, MMTError)


def test_a_killed_process_is_an_error_with_a_remedy() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    reader = AheadReader(split(), None, processes=2, **SETTINGS)
    next(reader)
    assert signal.getsignal(signal.SIGCHLD) is before, "an error belongs to the reader, not to what runs just then"
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(MMTError, match=r"data\.readers: a process .* has ended .* run the same command again"):
        drawn(reader, 100)  # what was read before it was killed comes first


def test_a_signal_to_all_processes_leaves_the_readers_alone() -> None:
    """As SLURM and a terminal send it: the trainer needs the batches of the update in which it stops."""
    reader = AheadReader(split(), None, processes=2, **SETTINGS)
    first = drawn(reader, 1)
    for child in multiprocessing.active_children():
        for number in (signal.SIGINT, signal.SIGTERM):
            assert child.pid is not None
            os.kill(child.pid, number)
    assert first + drawn(reader, 20) == drawn(StreamReader(split(), None, **SETTINGS), 21)


def test_streams_that_processes_cannot_share_are_refused() -> None:
    with pytest.raises(MMTError, match=r"expected a multiple of data\.readers x .* \(3 x 1\), found 8"):
        AheadReader(split(), None, processes=3, **SETTINGS)
