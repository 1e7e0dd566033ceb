"""Laws of examples, buckets and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmt.data.batch import BatchReader, Example, collate, read_examples
from mmt.data.buckets import length_batches
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer
from mmt.errors import MMTError
from tests.worlds import make_features

LENGTHS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=80)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 300), st.booleans())
def test_every_sentence_is_in_one_batch_and_batches_fit(
    lengths: list[tuple[int, int]], max_tokens: int, shuffle: bool
) -> None:
    batches = length_batches(lengths, max_tokens, np.random.default_rng(0) if shuffle else None)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(max(lengths[i]) for i in batch) <= max_tokens


def test_batches_of_real_lengths_are_hardly_padding() -> None:
    generator = np.random.default_rng(0)
    targets = generator.gamma(9, 1.5, 5000).astype(int) + 2
    lengths = [(int(t + d), int(t)) for t, d in zip(targets, generator.integers(0, 3, 5000), strict=True)]
    batches = length_batches(lengths, 4096, generator)
    filled = sum(t for _, t in lengths) / sum(len(b) * max(lengths[i][1] for i in b) for b in batches)
    assert filled > 0.95


def test_collate_puts_bos_eos_and_padding_where_they_belong() -> None:
    batch = collate([Example([5, 6], [7]), Example([8], [9, 10])])
    assert batch.source.tolist() == [[5, 6, EOS], [8, EOS, PAD]]
    assert batch.target.tolist() == [[BOS, 7, EOS, PAD], [BOS, 9, 10, EOS]]
    assert (batch.source_lens, batch.target_lens, batch.num_target_tokens) == ([3, 2], [2, 3], 5)


def test_images_go_to_their_own_sentences(world: Path) -> None:
    store = FeatureStore.open(world / "features")
    examples = [Example([5], [6], "train-4.png"), Example([5], [6]), Example([5], [6], "train-0.png")]
    batch = collate(examples, store)
    assert batch.image is not None
    assert batch.image_pad is not None
    assert batch.image_pad.tolist() == [[False], [True], [False]]
    assert np.array_equal(batch.image[[0, 2]].numpy(), store.get(["train-4.png", "train-0.png"]))
    assert batch.num_images == 2


def reader(num: int = 50, **changes: object) -> BatchReader:
    generator = np.random.default_rng(0)
    examples = [Example([5] * int(n), [6] * int(n), None) for n in generator.integers(1, 12, num)]
    settings = {"max_tokens": 40, "shuffle": True, "seed": 3, **changes}
    return BatchReader(examples, None, **settings)  # type: ignore[arg-type]


def drain(source: BatchReader) -> list[list[list[int]]]:
    return [[batch.source.tolist() for batch in step] for step in source]


def test_resuming_reads_on_exactly() -> None:
    whole = reader()
    first = drain(whole)
    whole.reset()
    second = drain(whole)
    assert first != second, "each epoch has its own order"
    part = reader()
    for _ in first:
        next(part)
    part.reset()
    for _ in range(3):
        next(part)
    resumed = reader()
    resumed.load_state_dict(part.state_dict())
    assert drain(resumed) == second[3:]


@pytest.mark.parametrize("num", [44, 47, 50])  # even and odd numbers of batches
def test_processes_share_the_batches_evenly(num: int) -> None:
    shares = [[b for step in drain(reader(num, rank=rank, world_size=2)) for b in step] for rank in range(2)]
    assert len(shares[0]) == len(shares[1])
    whole = [b for step in drain(reader(num)) for b in step]
    together = [b for pair in zip(*shares, strict=True) for b in pair]
    assert together == whole[: len(together)]
    assert len(whole) - len(together) < 2


def test_validation_reads_everything_once() -> None:
    steps = drain(reader(shuffle=False))
    assert sum(len(batch) for step in steps for batch in step) == 50


def test_accumulated_steps_are_whole() -> None:
    assert {len(step) for step in reader(num_accumulate=3)} == {3}


def test_missing_features_are_refused_or_skipped_by_name(world: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(world / "tokenizer.model")
    store = make_features(tmp_path / "few", ["train-0.png", "train-2.png"])
    with pytest.raises(MMTError, match=r"train row 5: no features for image 'train-4\.png'"):
        read_examples(world / "data", "train", tokenizer, store, "refuse")
    examples = read_examples(world / "data", "train", tokenizer, store, "skip")
    assert [e.image for e in examples[:5]] == ["train-0.png", None, "train-2.png", None, None]


def test_features_of_other_images_are_refused(world: Path, tmp_path: Path) -> None:
    store = make_features(tmp_path / "other", ["elsewhere.png"])
    with pytest.raises(MMTError, match="none of the images"):
        read_examples(world / "data", "train", Tokenizer(world / "tokenizer.model"), store, "skip")


def test_moving_a_batch_moves_all_of_it(world: Path) -> None:
    batch = collate([Example([5], [6], "train-4.png")], FeatureStore.open(world / "features"))
    batch.to(torch.device("meta"))
    tensors = (batch.source, batch.target, batch.image, batch.image_pad)
    assert all(t is not None and t.device.type == "meta" for t in tensors)
