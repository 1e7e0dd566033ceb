"""Training data that are read as they are needed, for splits that memory does not hold.

The rows of a split lie in blocks. An epoch deals its blocks, shuffled, to a number of *streams* that does not
depend on how many processes train; each stream reads its blocks in turn, and sorts the sentences of a block into
batches. Batch ``n`` of a training comes from stream ``n`` modulo their number, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from fairseq2.datasets import DataReader

from mmt.data.batch import Batch, BatchReader, Example, drawn_batch
from mmt.data.buckets import length_batches
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError

if TYPE_CHECKING:
    from datasets import Dataset

BLOCK = 4096
"""Rows that are read, sorted by length and shuffled at a time, of each stream."""


@dataclass(frozen=True)
class Streamed:
    """A split whose rows are read by and by.

    Attributes:
        rows: memory-mapped.
        examples: what becomes of the rows from one number to another; those too long to be learnt are left out.
        num_with_image: as the dataset counts them.
    """

    rows: Dataset
    examples: Callable[[int, int], list[Example]]
    num_with_image: int

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self) -> Iterator[Example]:
        """Sentences all over the split: of up to 128 blocks of 1,024 rows, evenly spaced; all of a small split."""
        for first in range(0, len(self), max(1024, len(self) // 128)):
            yield from self.examples(first, min(first + 1024, len(self)))


class _Stream:
    """One of ``count`` streams: where it is, and the batches of the block that it is in."""

    def __init__(self, split: Streamed, number: int, count: int, max_tokens: int, seed: int) -> None:
        self._split, self._number, self._count = split, number, count
        self._max_tokens, self._seed = max_tokens, seed
        self._num_own = -(-len(split) // (count * BLOCK))
        self._num_blocks = count * self._num_own  # equally many a stream, or one would run ahead of another
        self.epoch = self.block = self.position = 0
        self._batches: list[list[Example]] | None = None

    def next(self) -> tuple[list[Example], tuple[int, int, int]]:
        """The next batch, and what it is: epoch, block, position."""
        without = 0
        while True:
            if self._batches is None:
                self._batches = self._read()
            if self.position < len(self._batches):
                place = self.epoch, self.block, self.position
                self.position += 1
                return self._batches[place[2]], place
            without = 0 if self._batches else without + 1
            self.block, self.position, self._batches = self.block + 1, 0, None
            if self.block == self._num_own:
                self.epoch, self.block = self.epoch + 1, 0
            if without > self._num_blocks:
                raise MMTError(
                    f"data.max_length leaves no sentence in {without} blocks of a stream. Set it higher, or "
                    "data.streams lower."
                )

    def _read(self) -> list[list[Example]]:
        order = np.random.default_rng((self._seed, self.epoch)).permutation(self._num_blocks)
        block = int(order[self._number :: self._count][self.block])
        first, end = (number * len(self._split) // self._num_blocks for number in (block, block + 1))
        examples = self._split.examples(first, end)
        lengths = [(len(example.source) + 1, len(example.target) + 1) for example in examples]
        generator = np.random.default_rng((self._seed, self.epoch, self._number, self.block))
        return [
            [examples[row] for row in rows]
            for rows in (length_batches(lengths, self._max_tokens, generator) if examples else [])
        ]


class StreamReader(DataReader[Batch]):
    """Reads batches of streams, without end; an epoch may end in one stream before it does in another.

    Args:
        streams: how many; a multiple of ``world_size``.
        num_accumulate, image_dropout_p, beside, rank, world_size: see ``BatchReader``.
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
        seed: int = 0,
        num_accumulate: int = 1,
        image_dropout_p: float = 0.0,
        beside: Sequence[BatchReader] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if streams % world_size:
            raise MMTError(
                f"data.streams: expected a multiple of the number of processes, {world_size}, found {streams}."
            )
        if streams > len(split):
            raise MMTError(f"data.streams: {streams} streams of {len(split):,} sentences. Set it lower.")
        self._features, self._seed = features, seed
        self._num_accumulate, self._image_dropout_p, self._beside = num_accumulate, image_dropout_p, beside
        self._all = [_Stream(split, number, streams, max_tokens, seed) for number in range(streams)]
        self._count, self._rank, self._world_size = streams, rank, world_size
        self._go_on_from(0)

    def _go_on_from(self, drawn: int) -> None:
        """After ``drawn`` batches of all together, this process's streams are those that it then meets."""
        self._drawn = drawn
        first = (drawn + self._rank) % self._world_size
        self._streams = {number: self._all[number] for number in range(first, self._count, self._world_size)}

    @property
    def epoch(self) -> int:
        """The epoch, from 1, of the stream of this process that is furthest behind."""
        return 1 + min(stream.epoch for stream in self._streams.values())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Batch]:
        batches = []
        for _ in range(self._num_accumulate):
            number = (self._drawn + self._rank) % self._count
            examples, place = self._streams[number].next()
            # Of the batch, not of who reads it.
            seed = (self._seed, number, *place)
            batches.append(drawn_batch(examples, self._features, self._image_dropout_p, seed, self._beside))
            self._drawn += self._world_size
        return batches

    def reset(self) -> None:
        pass  # it has no end

    def state_dict(self) -> dict[str, Any]:
        """Of all processes together but for ``streams``, which has those of this process."""
        return {
            "drawn": self._drawn,
            "streams": {number: [s.epoch, s.block, s.position] for number, s in self._streams.items()},
            "beside": [reader.state_dict() for reader in self._beside],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._go_on_from(int(state_dict["drawn"]))
        for number, stream in self._streams.items():
            stream.epoch, stream.block, stream.position = map(int, state_dict["streams"][number])
            stream._batches = None
        for reader, state in zip(self._beside, state_dict["beside"], strict=True):
            reader.load_state_dict(state)

    @property
    def num_accumulate(self) -> int:
        return self._num_accumulate


def joined_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The state from which any process goes on, of those of all processes; also those of ``BatchReader``."""
    if "streams" not in states[0]:
        return states[0]
    return states[0] | {"streams": {key: place for one in states for key, place in one["streams"].items()}}
