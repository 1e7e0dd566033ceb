"""Laws of readers: nothing twice or never, in an order that the number of processes does not change."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmt.data import reader as streaming
from mmt.data.batch import Example
from mmt.data.reader import BatchReader, Streamed, StreamReader, joined_states
from mmt.errors import MMTError
from tests.worlds import make_features

# --- a split held in memory -------------------------------------------------------------------------------


def batch_reader(num: int = 50, **changes: object) -> BatchReader:
    generator = np.random.default_rng(0)
    examples = [Example([5] * int(n), [6] * int(n), None) for n in generator.integers(1, 12, num)]
    settings = {"max_tokens": 40, "shuffle": True, "seed": 3, **changes}
    return BatchReader(examples, None, **settings)  # type: ignore[arg-type]


def drain(source: BatchReader) -> list[list[list[int]]]:
    return [[batch.source.tolist() for batch in step] for step in source]


def test_resuming_reads_on_exactly() -> None:
    whole = batch_reader()
    first = drain(whole)
    whole.reset()
    second = drain(whole)
    assert first != second, "each epoch has its own order"
    part = batch_reader()
    for _ in first:
        next(part)
    part.reset()
    for _ in range(3):
        next(part)
    resumed = batch_reader()
    resumed.load_state_dict(part.state_dict())
    assert drain(resumed) == second[3:]


@pytest.mark.parametrize("num", [44, 47, 50])  # even and odd numbers of batches
def test_processes_share_the_batches_evenly(num: int) -> None:
    shares = [[b for step in drain(batch_reader(num, rank=rank, world_size=2)) for b in step] for rank in range(2)]
    assert len(shares[0]) == len(shares[1])
    whole = [b for step in drain(batch_reader(num)) for b in step]
    together = [b for pair in zip(*shares, strict=True) for b in pair]
    assert together == whole[: len(together)]
    assert len(whole) - len(together) < 2


def test_validation_reads_everything_once() -> None:
    steps = drain(batch_reader(shuffle=False))
    assert sum(len(batch) for step in steps for batch in step) == 50


def test_accumulated_steps_are_whole() -> None:
    assert {len(step) for step in batch_reader(num_accumulate=3)} == {3}


# --- streams ----------------------------------------------------------------------------------------------

NUM = 203


class Rows(list):  # type: ignore[type-arg]
    pass


def split(num: int = NUM, longest: int = 99) -> Streamed:
    """Sentence ``n`` is of the piece 5 + n, so that each can be told; those that are too long are left out."""
    examples = [Example([5 + n] * (1 + n % 9), [6] * (1 + n % 7), f"{n}.png") for n in range(num)]
    rows: Any = Rows(examples)
    return Streamed(rows, lambda a, b: [e for e in examples[a:b] if len(e.source) < longest], num)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 16)


def reader(**changes: Any) -> StreamReader:
    given = changes.pop("split", split()), changes.pop("features", None)
    return StreamReader(*given, **{"streams": 4, "max_tokens": 30, "seed": 3, **changes})


def together(count: int, **changes: Any) -> list[StreamReader]:
    return [reader(rank=rank, world_size=count, **changes) for rank in range(count)]


def steps(readers: Sequence[StreamReader], num: int) -> list[list[list[list[int]]]]:
    """Of each step, its batches in the order of processes, as ids."""
    found = []
    for _ in range(num):
        each = [next(one) for one in readers]
        accumulated = len(each[0])
        # as one process would have read them
        found.append([each[r][a].source.tolist() for a in range(accumulated) for r in range(len(readers))])
    return found


def sentences(found: Sequence[Sequence[Sequence[Sequence[int]]]]) -> Counter[int]:
    return Counter(row[0] - 5 for step in found for batch in step for row in batch)


def test_an_epoch_has_every_sentence_once() -> None:
    one = reader()
    seen: Counter[int] = Counter()
    while one.epoch < 4:  # 1, 2 and 3 are through in every stream
        seen += sentences(steps([one], 1))
    assert set(seen) == set(range(NUM))
    assert min(seen.values()) >= 3
    assert max(seen.values()) <= 4  # a stream may be ahead of another


@pytest.mark.parametrize(("num", "streams"), [(80, 4), (150, 4), (90, 5)])
def test_no_stream_runs_away_from_another(num: int, streams: int) -> None:
    """Blocks of 16: some streams would have one more than others if the blocks were all full."""
    one = reader(split=split(num), streams=streams, max_tokens=20)
    seen: Counter[int] = Counter()
    while one.epoch <= 60:
        seen += sentences(steps([one], 1))
    assert max(epoch for epoch, _, _ in one.state_dict()["streams"].values()) <= 66
    assert max(seen.values()) <= 66


def test_a_stream_has_its_epochs_in_orders_of_their_own() -> None:
    one = reader(streams=1)
    epochs: list[list[int]] = []
    for epoch in (1, 2):
        order: list[int] = []
        while len(order) < NUM:
            order += [row[0] for batch in next(one) for row in batch.source.tolist()]
        assert len(set(order)) == NUM
        assert one.epoch == epoch
        epochs.append(order)
    assert epochs[0] != epochs[1]
    assert steps([reader()], 5) == steps([reader()], 5)
    assert steps([reader()], 5) != steps([reader(seed=4)], 5)


@pytest.mark.parametrize("count", [2, 4])
def test_the_number_of_processes_changes_nothing(count: int) -> None:
    alone = steps([reader(num_accumulate=4)], 30)
    assert steps(together(count, num_accumulate=4 // count), 30) == alone


def test_any_number_of_processes_goes_on() -> None:
    alone = steps([reader(num_accumulate=4, streams=8)], 44)
    found: list[Any] = []
    state: dict[str, Any] | None = None
    for count in (2, 1, 4, 2):
        readers = together(count, num_accumulate=4 // count, streams=8)
        for one in readers:
            if state is not None:
                one.load_state_dict(state)
        found += steps(readers, 11)
        state = joined_states([one.state_dict() for one in readers])
    assert found == alone


def test_whoever_goes_on_at_whatever_batch_reads_the_same() -> None:
    """Each process draws one batch at a time, so that the next ones begin in the midst of a round of streams."""
    counts = (1, 2, 4, 8, 2, 1, 4)
    alone = [batch for step in steps([reader(streams=8)], 3 * sum(counts)) for batch in step]
    found: list[Any] = []
    state: dict[str, Any] | None = None
    for count in counts:
        readers = together(count, streams=8)
        for one in readers:
            if state is not None:
                one.load_state_dict(state)
        found += [batch for step in steps(readers, 3) for batch in step]
        state = joined_states([one.state_dict() for one in readers])
    assert found == alone


def test_an_image_is_dropped_whoever_reads(tmp_path: Path) -> None:
    store = make_features(tmp_path / "features", [f"{n}.png" for n in range(NUM)])
    images: dict[int, list[list[str]]] = {}
    read: Counter[int] = Counter()
    for count in (1, 2):
        readers = together(count, num_accumulate=2 // count, image_dropout_p=0.5, features=store)
        batches = [batch for _ in range(10) for one in readers for batch in next(one)]
        images[count] = [batch.image_ids for batch in batches]
        read[count] = sum(len(batch.source) for batch in batches)
    assert images[1] == images[2]
    assert 0 < sum(map(len, images[1])) < read[1]


class Tracked(Example):
    """An example that tells whether it is still held."""

    __slots__ = ("__weakref__",)


def test_no_more_blocks_are_held_than_streams() -> None:
    blocks: list[list[weakref.ref[Example]]] = []

    def examples(first: int, end: int) -> list[Example]:
        found: list[Example] = [Tracked([5 + n] * (1 + n % 9), [6], f"{n}.png") for n in range(first, end)]
        blocks.append([weakref.ref(one) for one in found])
        return found

    rows: Any = range(NUM)
    readers = together(2, split=Streamed(rows, examples, NUM))
    for one in readers:
        next(one)
    assert len(blocks) == 2
    steps(readers, 30)
    assert max(map(len, blocks)) <= 16
    assert len(blocks) > 4
    gc.collect()
    assert 0 < sum(one() is not None for block in blocks for one in block) <= 4 * 16


def test_too_long_sentences_are_left_out_and_not_all_may_be() -> None:
    few = sentences(steps([reader(split=split(longest=5))], 60))
    assert set(few) == {n for n in range(NUM) if n % 9 < 4}
    with pytest.raises(MMTError, match=r"data\.max_length leaves no sentence"):
        next(reader(split=split(longest=1)))


def test_streams_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        MMTError, match=r"data\.streams: expected a multiple of the number of processes, 3, found 4"
    ):
        reader(world_size=3)
    with pytest.raises(MMTError, match=r"data\.streams: 4 streams of 3 sentences"):
        reader(split=split(3))
