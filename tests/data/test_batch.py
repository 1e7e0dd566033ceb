"""Laws of examples and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmt.data.batch import Example, collate, read_examples
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer
from mmt.errors import MMTError
from tests.worlds import make_features


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


def test_some_sentences_of_a_batch_are_the_batch_of_these_sentences(world: Path) -> None:
    """Without the others' padding; images, labels and prompts stay with their sentences."""
    store = FeatureStore.open(world / "features")
    examples = [
        Example([5] * n, [6] * (7 - n), store.ids[n] if n % 2 else None, n, n / 2, (3, 9)) for n in range(1, 6)
    ]
    rows = [2, 0, 3]
    found, expected = (
        collate(examples, store).take(torch.tensor(rows)),
        collate([examples[n] for n in rows], store),
    )
    assert found.image_ids == []
    for name, value in vars(expected).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(found, name), value), name
        elif name != "image_ids":
            assert getattr(found, name) == value, name
    whole = collate(examples)
    assert whole.take(torch.arange(5)) is whole
    assert whole.take(torch.tensor([4, 3, 2, 1, 0])).source[0].tolist() == whole.source[4].tolist()
