"""Laws of streams: nothing twice or never, in an order that the number of processes does not change."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmt.data import reader as streaming
from mmt.data.batch import Example
from mmt.data.dataset import open_split, read_rows, read_split
from mmt.data.reader import Streamed, StreamReader, joined_states
from mmt.errors import MMTError
from mmt.training.checkpoints import checkpoint_steps
from mmt.training.recipe import train
from tests.worlds import (
    assert_close_weights,
    assert_same_weights,
    begin,
    config,
    finish,
    make_features,
    reports,
    weights,
)

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
    return StreamReader(
        changes.pop("split", split()), None, **{"streams": 4, "max_tokens": 30, "seed": 3, **changes}
    )


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
    assert max(stream.epoch for stream in one._streams.values()) <= 66
    assert max(seen.values()) <= 66


def test_a_stream_has_its_epochs_in_orders_of_their_own() -> None:
    one = reader(streams=1)
    epochs: list[list[int]] = []
    for epoch in (1, 2):
        order: list[int] = []
        while len(order) < NUM:
            order += [row[0] for batch in next(one) for row in batch.source.tolist()]
        assert len(set(order)) == NUM
        assert one._streams[0].epoch == epoch - 1
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


def test_an_image_is_dropped_whoever_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: dict[int, list[list[str | None]]] = {}

    class Batch(list):  # type: ignore[type-arg]
        beside: list[Any]

    monkeypatch.setattr("mmt.data.batch.collate", lambda examples, _: Batch(examples))
    for count in (1, 2):
        readers = together(count, num_accumulate=2 // count, image_dropout_p=0.5)
        dropped[count] = [[e.image for e in batch] for _ in range(10) for one in readers for batch in next(one)]
    assert dropped[1] == dropped[2]
    assert any(None in batch for batch in dropped[1])
    assert any(image is not None for batch in dropped[1] for image in batch)


def test_no_more_blocks_are_held_than_streams() -> None:
    made = split()
    held: list[int] = []
    whole = Streamed(made.rows, lambda a, b: held.append(b - a) or made.examples(a, b), NUM)  # type: ignore[func-returns-value]
    readers = together(2, split=whole)
    for one in readers:
        next(one)
    assert len(held) == 2
    steps(readers, 30)
    assert max(held) <= 16
    rows_held = [e for one in readers for s in one._all for batch in s._batches or [] for e in batch]
    assert len(rows_held) <= 4 * 16


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


def test_rows_are_those_of_the_split(world: Path) -> None:
    whole = read_split(world / "data", "train")
    rows = open_split(world / "data", "train")
    found = read_rows(rows, ("source", "image"), 7, 19)
    assert found == {name: list(whole[name])[7:19] for name in ("source", "image")}


@pytest.mark.parametrize(("name", "value"), [("target", None), ("source", 3), ("has_image", "yes")])
def test_a_value_of_another_kind_is_named(name: str, value: object) -> None:
    from datasets import Dataset

    row = {"image": "", "source": "a", "target": "b", "has_image": False}
    columns = {key: [row[key]] * 3 for key in row} | {name: [value] * 3}
    if value is None:
        columns[name] = ["b", "b", None]
    with pytest.raises(MMTError, match=rf"row 1[23]: expected a \w+ as '{name}', found {value!r}"):
        read_rows(
            Dataset.from_dict({key: [columns[key][0]] * 11 + values[-2:] for key, values in columns.items()}),
            list(row),
            11,
            13,
        )


def test_damaged_rows_are_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "data", tmp_path / "data")
    info = json.loads((tmp_path / "data" / "dataset.json").read_text())
    info["splits"]["train"]["sentences"] += 1
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(MMTError, match=r"train: damaged .* not as many rows"):
        open_split(tmp_path / "data", "train")


STREAMS = ("data.streams=4", "model.dropout_p=0", "regime.keep_last=4")


@pytest.fixture(scope="module")
def streamed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "streamed"
    train(output, config(world, *STREAMS, "optimizer.num_accumulate=2"))
    return output


def test_a_training_of_streams_learns_and_resumes_exactly(streamed: Path, world: Path, tmp_path: Path) -> None:
    losses = [report["NLL Loss"] for report in reports(streamed, "valid")]
    assert losses[-1] < 0.9 * losses[0]
    assert reports(streamed, "train")[-1]["Data Epoch"] > 1
    output = tmp_path / "run"
    for num in (6, 12):
        train(output, config(world, *STREAMS, "optimizer.num_accumulate=2", f"regime.num_steps={num}"))
    assert_same_weights(weights(output, 12), weights(streamed, 12))
    card = json.loads((output / "model" / "mmt.json").read_text())
    assert card["training"]["sentences"] == 60
    assert card["training"]["images_in_use"] == 30


def test_two_processes_read_streams_as_one(streamed: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    said = finish(begin(world, output, *STREAMS, "regime.num_steps=6"))
    assert checkpoint_steps(output) == [3, 6], said
    assert_close_weights(output, streamed, 6)
    train(output, config(world, *STREAMS, "optimizer.num_accumulate=2"))
    assert_close_weights(output, streamed, 12)


def test_images_are_looked_for_in_the_whole_split(world: Path, tmp_path: Path) -> None:
    """Not in the first rows alone, of which none may have features."""
    few, none = tmp_path / "few", tmp_path / "none"
    valid = [f"val-{n}.png" for n in range(10)]
    make_features(few, [*valid, *(f"train-{n}.png" for n in range(40, 60))])
    make_features(none, valid)
    train(tmp_path / "run", config(world, *STREAMS, f"images.features={few}", "regime.num_steps=6"))
    with pytest.raises(MMTError, match=r"none of the images of .*data \(train\) is in it"):
        train(tmp_path / "run2", config(world, *STREAMS, f"images.features={none}", "regime.num_steps=6"))


def test_labels_are_not_streamed(world: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"data\.streams: labels and scores are read whole"):
        config(world, *STREAMS, "data.label=label", "objectives.classification=1")
