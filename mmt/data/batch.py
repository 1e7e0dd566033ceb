"""Examples and batches. Legend: N sentences, S source tokens, T target tokens, R image regions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq2.device import SupportsDeviceTransfer
from fairseq2.nn import BatchLayout
from numpy.typing import NDArray
from torch import Tensor

from mmt.data.dataset import read_split
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import BOS, EOS, PAD, Tokenizer
from mmt.errors import MMTError


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence as ids (without prompt and eos), with the id of its image or None."""

    source: list[int]
    target: list[int]
    image: str | None = None
    label: int = -1
    """Its class; -1 if it has none, or one that did not occur in training."""
    score: float = math.nan
    prompt: tuple[int, ...] = (BOS,)
    """What the decoder reads before the target, see ``Tokenizer.prompt``; of one length in a batch."""
    dataset: int = 0
    """The number of its dataset, from 0, in a run on several."""


@dataclass
class Batch(SupportsDeviceTransfer):
    """Sentences with and without image, padded.

    source: (N, S) ids ending in eos; target: (N, P + T) ids from the prompt to eos; image: (N, R, dim) features,
    None in a text-only batch; image_pad: (N, R) bool, True where there is no region: a row of True is a sentence
    without image; label: (N) classes, -1 for none; score: (N), nan for none.
    """

    source: Tensor
    source_lens: list[int]
    target: Tensor
    target_lens: list[int]
    image: Tensor | None = None
    image_pad: Tensor | None = None
    num_images: int = 0
    beside: list[Batch] = field(default_factory=list)
    """One batch of each dataset that is learned beside this one."""
    image_ids: list[str] = field(default_factory=list)
    """The image ids of the sentences with an image, in order; of a batch that was read from a dataset."""
    label: Tensor | None = None
    score: Tensor | None = None
    prompt_len: int = 1
    """P, the tokens at the beginning of each target that are given and not predicted, see ``Tokenizer.prompt``."""
    datasets: list[int] = field(default_factory=list)
    """``Example.dataset`` of each sentence."""

    @property
    def num_target_tokens(self) -> int:
        """Target tokens to predict: eos counts, the prompt and padding do not."""
        return sum(self.target_lens) - (self.prompt_len - 1) * len(self.target_lens)

    @property
    def labels(self) -> Tensor:
        """(N, T) the target tokens to predict."""
        return self.target[:, self.prompt_len :]

    def target_places(self) -> Tensor:
        """(M) where the tokens to predict are in the flattened ``labels``; a GPU is not waited for."""
        return (self.labels != PAD).flatten().nonzero_static(size=self.num_target_tokens)[:, 0]

    def source_layout(self) -> BatchLayout:
        return BatchLayout.of(self.source, self.source_lens)

    def target_layout(self) -> BatchLayout:
        """Lengths of the decoder's input, ``target[:, :-1]``."""
        return BatchLayout.of(self.target[:, :-1], self.target_lens)

    def add_images(self, rows: Sequence[int], regions: NDArray[np.float32]) -> None:
        """Adds the images of the sentences in ``rows``: ``regions`` (len(rows), R, dim). The others have none.

        A region of nan is missing: a recording may be shorter than the longest that its store has room for.
        """
        image = np.zeros((len(self.source), *regions.shape[1:]), np.float32)
        pad = np.ones(image.shape[:2], bool)
        missing = np.isnan(regions[:, :, 0])
        image[rows] = np.where(missing[:, :, None], 0, regions) if missing.any() else regions
        pad[rows] = missing
        self.image, self.image_pad = torch.from_numpy(image), torch.from_numpy(pad)
        self.num_images = len(rows)

    def take(self, rows: Tensor) -> Batch:
        """The sentences in ``rows`` (M), in that order, without the padding that none of them needs.

        ``beside`` and ``image_ids`` are left out.
        """
        if len(rows) == len(self.source) and bool((rows[1:] > rows[:-1]).all()):
            return self
        numbers = rows.tolist()
        source_lens, target_lens = (
            [lens[row] for row in numbers] for lens in (self.source_lens, self.target_lens)
        )
        source, target = self.source[rows, : max(source_lens)], self.target[rows, : max(target_lens) + 1]
        made = Batch(source, source_lens, target, target_lens, prompt_len=self.prompt_len)
        if self.image is not None:
            made.image, made.num_images = self.image[rows], len(rows)
        if self.image_pad is not None:
            made.image_pad = self.image_pad[rows]
            made.num_images = int((~made.image_pad).any(dim=1).sum())
        if self.label is not None and self.score is not None:
            made.label, made.score = self.label[rows], self.score[rows]
        made.datasets = [self.datasets[row] for row in numbers] if self.datasets else []
        return made

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
    target, target_lens = _pad([[*example.prompt, *example.target, EOS] for example in examples])
    batch = Batch(source, source_lens, target, [length - 1 for length in target_lens])
    batch.prompt_len = len(examples[0].prompt)
    batch.datasets = [example.dataset for example in examples]
    batch.label = torch.tensor([example.label for example in examples])
    batch.score = torch.tensor([example.score for example in examples], dtype=torch.float32)
    if features is not None:
        rows = [row for row, example in enumerate(examples) if example.image is not None]
        images = [example.image for example in examples if example.image is not None]
        # Even if no sentence has an image, so that every process has a gradient for every parameter.
        shape = (features.signature.num_regions, features.signature.dim)
        batch.image_ids = images
        batch.add_images(rows, features.get(images) if rows else np.zeros((0, *shape), np.float32))
    return batch


def read_examples(
    folder: Path, split: str, tokenizer: Tokenizer, features: FeatureStore | None, missing: str = "skip"
) -> list[Example]:
    """Encodes one split of a prepared dataset.

    Args:
        features: the images' features; None reads text only.
        missing: what to do with a sentence whose image has no features: ``skip`` reads it without image,
            ``refuse`` raises.
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
    """Encodes rows of a split; ``first``, from 0, is the number of the first. See ``read_examples``."""
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
        Example(tokenizer.encode(source), tokenizer.encode_target(target), image, prompt=tokenizer.prompt)
        for source, target, image in zip(columns["source"], columns["target"], images, strict=True)
    ]


def check_images(columns: Mapping[str, Sequence[Any]], features: FeatureStore, folder: Path, split: str) -> None:
    """Raises MMTError if rows have images but ``features`` has none of them."""
    images = [image for image, has in zip(columns["image"], columns["has_image"], strict=True) if has]
    if images and not any(image in features for image in images):
        raise MMTError(
            f"{features.folder}: none of the images of {folder} ({split}) is in it, e.g. no '{images[0]}'"
            f"{features.hint(images[0])}. "
            f"Run mmt features --images {folder}."
        )


def missing_images(columns: Mapping[str, Sequence[Any]], features: FeatureStore) -> list[str]:
    """The images of the rows that have no features, each once."""
    rows = zip(columns["image"], columns["has_image"], strict=True)
    return list(dict.fromkeys(image for image, has in rows if has and image not in features))


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    lens = [len(row) for row in rows]
    padded = np.full((len(rows), max(lens)), PAD, dtype=np.int64)
    within = np.arange(padded.shape[1]) < np.array(lens)[:, None]
    padded[within] = np.fromiter(itertools.chain.from_iterable(rows), np.int64, sum(lens))
    return torch.from_numpy(padded), lens
