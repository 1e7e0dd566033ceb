"""Examples, length buckets, batches. Legend: N sentences, S source tokens, T target tokens, R image regions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from fairseq2.datasets import DataReader
from fairseq2.device import SupportsDeviceTransfer
from fairseq2.nn import BatchLayout
from numpy.typing import NDArray
from torch import Tensor

from mmt.data.buckets import length_batches
from mmt.data.dataset import read_split
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer
from mmt.errors import MMTError


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence as ids (without bos and eos), with the id of its image or None."""

    source: list[int]
    target: list[int]
    image: str | None = None
    label: int = -1
    """Its class; -1 where there is none, or one that training has not seen."""
    score: float = math.nan


@dataclass
class Batch(SupportsDeviceTransfer):
    """Sentences with and without image, padded.

    source: (N, S) ids ending in eos; target: (N, T + 1) ids from bos to eos; image: (N, R, dim) features or
    None in a text-only batch; image_pad: (N, R) bool, True where there is no region, so a row of True is a
    sentence without image; label: (N) classes, -1 for none; score: (N), nan for none.
    """

    source: Tensor
    source_lens: list[int]
    target: Tensor
    target_lens: list[int]
    image: Tensor | None = None
    image_pad: Tensor | None = None
    num_images: int = 0
    beside: list[Batch] = field(default_factory=list)
    """Of each dataset that is learnt beside this one, a batch."""
    image_ids: list[str] = field(default_factory=list)
    """Of the sentences that have an image, in their order; of a batch that was read from a dataset."""
    label: Tensor | None = None
    score: Tensor | None = None

    @property
    def num_target_tokens(self) -> int:
        """Target tokens to predict: eos counts, bos and padding do not."""
        return sum(self.target_lens)

    def source_layout(self) -> BatchLayout:
        return BatchLayout.of(self.source, self.source_lens)

    def target_layout(self) -> BatchLayout:
        """Lengths of the decoder's input, ``target[:, :-1]``."""
        return BatchLayout.of(self.target[:, :-1], self.target_lens)

    def add_images(self, rows: Sequence[int], regions: NDArray[np.float32]) -> None:
        """Gives the sentences in ``rows`` their images, ``regions`` (len(rows), R, dim); the others none.

        A region of nan is no region: a recording is shorter than the longest that its store has room for.
        """
        image = np.zeros((len(self.source), *regions.shape[1:]), np.float32)
        pad = np.ones(image.shape[:2], bool)
        gone = np.isnan(regions[:, :, 0])
        image[rows], pad[rows] = np.where(gone[:, :, None], 0, regions) if gone.any() else regions, gone
        self.image, self.image_pad = torch.from_numpy(image), torch.from_numpy(pad)
        self.num_images = len(rows)

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        self.source = self.source.to(device, non_blocking=non_blocking)
        self.target = self.target.to(device, non_blocking=non_blocking)
        if self.image is not None:
            self.image = self.image.to(device, non_blocking=non_blocking)
        if self.image_pad is not None:
            self.image_pad = self.image_pad.to(device, non_blocking=non_blocking)
        if self.label is not None and self.score is not None:
            self.label = self.label.to(device, non_blocking=non_blocking)
            self.score = self.score.to(device, non_blocking=non_blocking)
        for batch in self.beside:
            batch.to(device, non_blocking=non_blocking)


def collate(examples: Sequence[Example], features: FeatureStore | None = None) -> Batch:
    """Pads ``examples`` to a batch; with ``features``, their images are looked up there by id."""
    source, source_lens = _pad([[*example.source, EOS] for example in examples])
    target, target_lens = _pad([[BOS, *example.target, EOS] for example in examples])
    batch = Batch(source, source_lens, target, [length - 1 for length in target_lens])
    batch.label = torch.tensor([example.label for example in examples])
    batch.score = torch.tensor([example.score for example in examples], dtype=torch.float32)
    if features is not None:
        rows = [row for row, example in enumerate(examples) if example.image is not None]
        images = [example.image for example in examples if example.image is not None]
        # Images even where no sentence has one: so every process has a gradient for every parameter.
        shape = (features.signature.num_regions, features.signature.dim)
        batch.image_ids = images
        batch.add_images(rows, features.get(images) if rows else np.zeros((0, *shape), np.float32))
    return batch


def read_examples(
    folder: Path, split: str, tokenizer: Tokenizer, features: FeatureStore | None, missing: str = "skip"
) -> list[Example]:
    """Encodes one split of a prepared dataset.

    Args:
        features: where the images' features are; None reads text only.
        missing: what becomes of a sentence whose image the dataset has but ``features`` lacks: ``skip`` keeps
            the sentence without image, ``refuse`` raises.
    Raises:
        MMTError: an image is missing and ``missing`` is ``refuse``, or no image of the split has features.
    """
    rows = read_split(folder, split)
    columns = {name: list(rows[name]) for name in ROW_COLUMNS}
    examples = encode_rows(columns, 0, split, tokenizer, features, missing)
    if features is not None:
        check_images(columns, features, folder, split)
    return examples


ROW_COLUMNS = ("image", "source", "target", "has_image")


def encode_rows(
    columns: Mapping[str, Sequence[Any]],
    first: int,
    split: str,
    tokenizer: Tokenizer,
    features: FeatureStore | None,
    missing: str,
) -> list[Example]:
    """Encodes rows of a split, of which ``first``, from 0, is the first; see ``read_examples``."""
    images: list[str | None] = [None] * len(columns["image"])
    if features is not None:
        for number, (image, has_image) in enumerate(zip(columns["image"], columns["has_image"], strict=True)):
            if has_image and image in features:
                images[number] = image
            elif has_image and missing == "refuse":
                raise MMTError(
                    f"{split} row {first + number + 1}: no features for image '{image}' in {features.folder} "
                    f"({len(features):,} ids){features.hint(image)}. Run mmt features, or set images.missing: "
                    "skip."
                )
    return [
        Example(tokenizer.encode(source), tokenizer.encode(target), image)
        for source, target, image in zip(columns["source"], columns["target"], images, strict=True)
    ]


def check_images(columns: Mapping[str, Sequence[Any]], features: FeatureStore, folder: Path, split: str) -> None:
    """Raises MMTError where rows have images, and ``features`` has none of them."""
    images = [image for image, has in zip(columns["image"], columns["has_image"], strict=True) if has]
    if images and not any(image in features for image in images):
        raise MMTError(
            f"{features.folder}: none of the images of {folder} ({split}) is in it, e.g. no '{images[0]}'"
            f"{features.hint(images[0])}. "
            f"Run mmt features --images {folder}."
        )


def missing_images(columns: Mapping[str, Sequence[Any]], features: FeatureStore) -> list[str]:
    """The images that rows have and ``features`` lacks, each once."""
    rows = zip(columns["image"], columns["has_image"], strict=True)
    return list(dict.fromkeys(image for image, has in rows if has and image not in features))


def drawn_batch(
    examples: Sequence[Example],
    features: FeatureStore | None,
    image_dropout_p: float,
    seed: tuple[int, ...],
    beside: Sequence[BatchReader],
) -> Batch:
    """A batch of training: some sentences without their image, by ``seed``; with what is learnt beside it."""
    if image_dropout_p:
        dropped = np.random.default_rng(seed).random(len(examples)) < image_dropout_p
        examples = [replace(e, image=None) if drop else e for e, drop in zip(examples, dropped, strict=True)]
    batch = collate(examples, features)
    batch.beside = [batch for reader in beside for batch in reader.cycle()]
    return batch


class BatchReader(DataReader[Batch]):
    """Reads batches in an order that the seed and the epoch alone decide, so that resuming is exact.

    Args:
        shuffle: a new order each epoch; without it the order is that of the lengths (validation).
        num_accumulate: batches a step.
        image_dropout_p: share of the sentences with an image that are read without it, others in each epoch.
        beside: of each of these readers, which begin anew when they are through, every batch gets one.
        rank, world_size: of several processes, each reads every ``world_size``-th batch. All do equally many
            steps, so that none waits for another: in training the last few batches of an epoch are left out,
            else some have none in the last step. A state that is loaded may be of another ``world_size``.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        features: FeatureStore | None,
        *,
        max_tokens: int,
        shuffle: bool,
        seed: int = 0,
        num_accumulate: int = 1,
        image_dropout_p: float = 0.0,
        beside: Sequence[BatchReader] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.examples, self.features = examples, features
        self._lengths = [(len(example.source) + 1, len(example.target) + 1) for example in examples]
        self._max_tokens, self._shuffle, self._seed = max_tokens, shuffle, seed
        self._num_accumulate, self._rank, self._world_size = num_accumulate, rank, world_size
        self._image_dropout_p, self._beside = image_dropout_p, beside
        self._epoch = 0
        self._begun = 0  # batches that all processes have read of the epoch, up to the first of ``_batches``
        self._position = 0  # in ``_batches``, this process's share of the rest
        self._batches: list[list[int]] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Batch]:
        if self._batches is None:
            self._batches = self._plan()
        chosen = self._batches[self._position : self._position + self._num_accumulate]
        if not chosen or (self._shuffle and len(chosen) < self._num_accumulate):
            raise StopIteration
        batches = [self._batch(rows, self._position + n) for n, rows in enumerate(chosen) if rows]
        self._position += len(chosen)
        return batches

    def _batch(self, rows: list[int], position: int) -> Batch:
        examples = [self.examples[i] for i in rows]
        number = self._begun + position * self._world_size + self._rank
        seed = (self._seed, self._epoch, 0, number)
        return drawn_batch(examples, self.features, self._image_dropout_p, seed, self._beside)

    def cycle(self) -> list[Batch]:
        """The next batches, from the beginning again after the last."""
        try:
            return next(self)
        except StopIteration:
            self.reset()
        return next(self)

    def _plan(self) -> list[list[int]]:
        generator = np.random.default_rng((self._seed, self._epoch)) if self._shuffle else None
        batches = length_batches(self._lengths, self._max_tokens, generator)[self._begun :]
        uneven = len(batches) % self._world_size
        if uneven and self._shuffle:
            del batches[-uneven:]
        elif uneven:
            batches += [[]] * (self._world_size - uneven)
        own = batches[self._rank :: self._world_size]
        if self._shuffle and not self._begun and len(own) < self._num_accumulate:  # no update would ever be made
            raise MMTError(
                f"{len(self.examples):,} sentences: expected batches for an update, optimizer.num_accumulate "
                f"({self._num_accumulate}) x processes ({self._world_size}), found fewer. Set one of them or "
                "data.max_tokens lower."
            )
        return own

    def reset(self) -> None:
        self._epoch, self._begun, self._position, self._batches = self._epoch + 1, 0, 0, None

    def state_dict(self) -> dict[str, object]:
        """The epoch, and how many of its batches all processes together have read: the same in each of them."""
        position = self._begun + self._position * self._world_size
        beside = [reader.state_dict() for reader in self._beside]
        return {"epoch": self._epoch, "position": position} | ({"beside": beside} if beside else {})

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        epoch, position = state_dict["epoch"], state_dict["position"]
        if not isinstance(epoch, int) or not isinstance(position, int):
            raise TypeError("the data reader's state is two numbers")
        self._epoch, self._begun, self._position, self._batches = epoch, position, 0, None
        for reader, state in zip(self._beside, state_dict.get("beside", []), strict=True):  # type: ignore[call-overload]
            reader.load_state_dict(state)

    @property
    def num_accumulate(self) -> int:
        return self._num_accumulate


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    lens = [len(row) for row in rows]
    padded = torch.full((len(rows), max(lens)), PAD, dtype=torch.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = torch.tensor(row)
    return padded, lens
