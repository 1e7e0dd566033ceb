"""Readers of training batches: of a split held in memory, or of one read as needed, in streams.

The order of batches depends on the seed alone, not on the number of processes or on interruptions.

Streams are for a split that memory does not hold. The rows of a split lie in blocks. An epoch deals its blocks,
shuffled, to a number of *streams* that does not depend on how many processes train. Each stream reads its blocks
in turn, and sorts the sentences of a block into batches. Batch ``n`` of a training comes from stream ``n`` modulo
the number of streams, whichever process reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import numpy as np
from fairseq2.datasets import DataReader

from mmt.data.batch import Batch, Example, collate
from mmt.data.buckets import length_batches
from mmt.data.feature_store import FeatureStore
from mmt.data.sampling import EpochSampling
from mmt.data.subwords import SubwordSampling
from mmt.errors import MMTError

if TYPE_CHECKING:
    from datasets import Dataset

_SUBWORDS = 1  # apart from the random numbers of image dropout
_SEEDS = 2**32 - 1

BLOCK = 4096
"""Rows of a stream that are read, sorted by length and shuffled at a time."""


def _lengths(examples: Sequence[Example]) -> list[tuple[int, int]]:
    """(source, target) tokens of each sentence, with eos."""
    return [(len(example.source) + 1, len(example.target) + 1) for example in examples]


class ReaderSettings(TypedDict, total=False):
    """Settings of both readers.

    num_accumulate: batches per step, 1 by default.
    image_dropout_p: share of the sentences with an image that are read without it, 0 by default; others in each
        epoch.
    subwords: splits the sentences of each batch anew; None, the default, does not.
    beside: readers of other datasets. Every batch gets one of each; a reader restarts after its end.
    rank, world_size: this process's number and how many there are; each reads every ``world_size``-th batch.
    """

    seed: int
    num_accumulate: int
    image_dropout_p: float
    subwords: SubwordSampling | None
    beside: Sequence[BatchReader]
    rank: int
    world_size: int


class _Reader(DataReader[Batch]):
    """What both readers share."""

    def __init__(self, features: FeatureStore | None, **settings: Unpack[ReaderSettings]) -> None:
        """``features``: of the images; None reads text alone."""
        self.features = features
        self._seed = settings.get("seed", 0)
        self._num_accumulate = settings.get("num_accumulate", 1)
        self._image_dropout_p = settings.get("image_dropout_p", 0.0)
        self._subwords = settings.get("subwords")
        self._updates = 0  # that have been read
        self._beside = settings.get("beside", ())
        self._rank, self._world_size = settings.get("rank", 0), settings.get("world_size", 1)

    def __iter__(self) -> Self:
        return self

    @property
    def num_accumulate(self) -> int:
        return self._num_accumulate

    def _batch(self, examples: Sequence[Example], *place: int) -> Batch:
        """Some sentences lose their image, and some are split anew; then a batch of each other dataset.

        Which ones, and how, depends on the seed, on the batch's ``place`` and on the update alone.
        """
        batch = self._alone(examples, *place, update=self._updates)
        batch.beside = self._others()
        return batch

    def _alone(self, examples: Sequence[Example], *place: int, update: int) -> Batch:
        """A batch without those of other datasets, of the update of this number."""
        if self._image_dropout_p:
            dropped = np.random.default_rng((self._seed, *place)).random(len(examples)) < self._image_dropout_p
            examples = [replace(e, image=None) if drop else e for e, drop in zip(examples, dropped, strict=True)]
        if self._subwords is not None and update < self._subwords.updates:
            generator = np.random.default_rng((self._seed, *place, _SUBWORDS))
            examples = self._subwords.sample(examples, generator.integers(_SEEDS, size=len(examples)).tolist())
        return collate(examples, self.features)

    def _others(self) -> list[Batch]:
        return [batch for reader in self._beside for batch in reader.cycle()]

    def _counted(self) -> dict[str, object]:
        """What a state has only where sentences are split anew."""
        return {} if self._subwords is None else {"updates": self._updates}


class BatchReader(_Reader):
    """Reads the batches of a split held in memory, in epochs.

    All processes do equally many steps, so that none waits for another: training leaves out the last few batches
    of an epoch, validation gives some processes no batch in the last step. A state may be loaded with another
    ``world_size``.

    Args:
        max_tokens: see ``length_batches``.
        shuffle: a new order in each epoch; without it, in the order of lengths (validation).
        sampling: draws the sentences of each epoch; None reads each once.
        settings: see ``ReaderSettings``.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        features: FeatureStore | None,
        *,
        max_tokens: int,
        shuffle: bool,
        sampling: EpochSampling | None = None,
        **settings: Unpack[ReaderSettings],
    ) -> None:
        super().__init__(features, **settings)
        self.examples = examples
        self._sampling = sampling
        self._lengths = _lengths(examples)
        self._max_tokens, self._shuffle = max_tokens, shuffle
        self._epoch = 0
        self._start = 0  # batches of the epoch that all processes together had read before ``_batches``
        self._position = 0  # in ``_batches``, this process's share of the others
        self._batches: list[list[int]] | None = None

    def __next__(self) -> list[Batch]:
        if self._batches is None:
            self._batches = self._plan()
        chosen = self._batches[self._position : self._position + self._num_accumulate]
        if not chosen or (self._shuffle and len(chosen) < self._num_accumulate):
            raise StopIteration
        first = self._start + self._position * self._world_size + self._rank
        batches = [
            self._batch([self.examples[i] for i in rows], self._epoch, 0, first + n * self._world_size)
            for n, rows in enumerate(chosen)
            if rows
        ]
        self._position += len(chosen)
        self._updates += 1
        return batches

    def cycle(self) -> list[Batch]:
        """The next batches; after the last, the first of the next epoch."""
        try:
            return next(self)
        except StopIteration:
            self.reset()
        return next(self)

    def _plan(self) -> list[list[int]]:
        generator = np.random.default_rng((self._seed, self._epoch)) if self._shuffle else None
        batches = self._epoch_batches(generator)[self._start :]
        uneven = len(batches) % self._world_size
        if uneven and self._shuffle:
            del batches[-uneven:]
        elif uneven:
            batches += [[]] * (self._world_size - uneven)
        own = batches[self._rank :: self._world_size]
        if self._shuffle and not self._start and len(own) < self._num_accumulate:  # there would never be an update
            raise MMTError(
                f"{len(self.examples):,} sentences: expected batches for an update, optimizer.num_accumulate "
                f"({self._num_accumulate}) x processes ({self._world_size}), found fewer. Set one of them or "
                "data.max_tokens lower."
            )
        return own

    def _epoch_batches(self, generator: np.random.Generator | None) -> list[list[int]]:
        if self._sampling is None or generator is None:
            return length_batches(self._lengths, self._max_tokens, generator)
        rows = self._sampling.rows(generator).tolist()
        batches = length_batches([self._lengths[row] for row in rows], self._max_tokens, generator)
        return [[rows[place] for place in batch] for batch in batches]

    def reset(self) -> None:
        self._epoch, self._start, self._position, self._batches = self._epoch + 1, 0, 0, None

    def state_dict(self) -> dict[str, object]:
        """The epoch, and how many of its batches all processes together have read: the same in each of them."""
        position = self._start + self._position * self._world_size
        beside = [reader.state_dict() for reader in self._beside]
        state = {"epoch": self._epoch, "position": position} | ({"beside": beside} if beside else {})
        return state | self._counted()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        epoch, position = state_dict["epoch"], state_dict["position"]
        if not isinstance(epoch, int) or not isinstance(position, int):
            raise TypeError("the data reader's state is two numbers")
        self._epoch, self._start, self._position, self._batches = epoch, position, 0, None
        self._updates = int(state_dict.get("updates", 0))
        for reader, state in zip(self._beside, state_dict.get("beside", []), strict=True):
            reader.load_state_dict(state)


# --- streams ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Streamed:
    """A split whose rows are read as needed.

    Attributes:
        rows: memory-mapped.
        examples: reads and encodes the rows from one number to another; sentences that are too long are left out.
        num_with_image: as the dataset counts them.
    """

    rows: Dataset
    examples: Callable[[int, int], list[Example]]
    num_with_image: int

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self) -> Iterator[Example]:
        """Sentences from the whole split: up to 128 blocks of 1,024 rows, evenly spaced; all of a small split."""
        for first in range(0, len(self), max(1024, len(self) // 128)):
            yield from self.examples(first, min(first + 1024, len(self)))


class _Stream:
    """One of ``count`` streams: its place, and the batches of its current block."""

    def __init__(self, split: Streamed, number: int, count: int, max_tokens: int, seed: int) -> None:
        self._split, self._number, self._count = split, number, count
        self._max_tokens, self._seed = max_tokens, seed
        self._num_own = -(-len(split) // (count * BLOCK))
        self._num_blocks = count * self._num_own  # the same for each stream, so that none gets ahead of another
        self.seek(0, 0, 0)

    def seek(self, epoch: int, block: int, position: int) -> None:
        self._epoch, self._block, self._position = epoch, block, position
        self._batches: list[list[Example]] | None = None

    @property
    def place(self) -> tuple[int, int, int]:
        """Epoch, block and position of the next batch, each from 0."""
        return self._epoch, self._block, self._position

    def next(self) -> tuple[list[Example], tuple[int, int, int]]:
        """The next batch, and its place."""
        without = 0
        while True:
            if self._batches is None:
                self._batches = self._read()
            if self._position < len(self._batches):
                place = self.place
                self._position += 1
                return self._batches[place[2]], place
            without = 0 if self._batches else without + 1
            last = self._block + 1 == self._num_own
            self.seek(self._epoch + last, 0 if last else self._block + 1, 0)
            if without > self._num_blocks:
                raise MMTError(
                    f"data.max_length leaves no sentence in {without} blocks of a stream. Set it higher, or "
                    "data.streams lower."
                )

    def _read(self) -> list[list[Example]]:
        order = np.random.default_rng((self._seed, self._epoch)).permutation(self._num_blocks)
        block = int(order[self._number :: self._count][self._block])
        first, end = (number * len(self._split) // self._num_blocks for number in (block, block + 1))
        examples = self._split.examples(first, end)
        if not examples:
            return []
        generator = np.random.default_rng((self._seed, self._epoch, self._number, self._block))
        batches = length_batches(_lengths(examples), self._max_tokens, generator)
        return [[examples[row] for row in rows] for rows in batches]


class StreamReader(_Reader):
    """Reads the batches of a streamed split, without end; an epoch may end in one stream before another.

    Args:
        streams: how many; a multiple of ``world_size``.
        max_tokens: see ``length_batches``.
        settings: see ``ReaderSettings``.
    Raises:
        MMTError: more streams than rows, or not a multiple of ``world_size``.
    """

    def __init__(
        self,
        split: Streamed,
        features: FeatureStore | None,
        *,
        streams: int,
        max_tokens: int,
        **settings: Unpack[ReaderSettings],
    ) -> None:
        super().__init__(features, **settings)
        if streams % self._world_size:
            raise MMTError(
                f"data.streams: expected a multiple of the number of processes, {self._world_size}, found "
                f"{streams}."
            )
        if streams > len(split):
            raise MMTError(f"data.streams: {streams} streams of {len(split):,} sentences. Set it lower.")
        self._all = [_Stream(split, number, streams, max_tokens, self._seed) for number in range(streams)]
        self._resume_after(0)

    def _resume_after(self, drawn: int) -> None:
        """Selects this process's streams, given how many batches all processes together have drawn."""
        self._drawn = drawn
        first = (drawn + self._rank) % self._world_size
        self._streams = {number: self._all[number] for number in range(first, len(self._all), self._world_size)}

    @property
    def epoch(self) -> int:
        """The epoch, from 1, of the stream of this process that is furthest behind."""
        return 1 + min(stream.place[0] for stream in self._streams.values())

    def __next__(self) -> list[Batch]:
        batches = []
        for _ in range(self._num_accumulate):
            number = (self._drawn + self._rank) % len(self._all)
            examples, place = self._streams[number].next()
            batches.append(self._batch(examples, number, *place))
            self._drawn += self._world_size
        self._updates += 1
        return batches

    def reset(self) -> None:
        """Does nothing: streams have no end."""

    def state_dict(self) -> dict[str, Any]:
        """The same in all processes, except for ``streams``: [epoch, block, position] of this process's own."""
        return {
            "drawn": self._drawn,
            "streams": {number: list(stream.place) for number, stream in self._streams.items()},
            "beside": [reader.state_dict() for reader in self._beside],
            **self._counted(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resume_after(int(state_dict["drawn"]))
        self._updates = int(state_dict.get("updates", 0))
        for number, stream in self._streams.items():
            stream.seek(*map(int, state_dict["streams"][number]))
        for reader, state in zip(self._beside, state_dict["beside"], strict=True):
            reader.load_state_dict(state)


def joined_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The state from which any process resumes, made of the states of all processes; for both readers."""
    if "streams" not in states[0]:
        return states[0]
    return states[0] | {"streams": {key: place for one in states for key, place in one["streams"].items()}}
