"""The files of a feature store, and the rows of one whose shards stay where they are.

A sharded store has ``shards.json`` instead of ``features.bin``: a list of shards in the order of their rows, each
a feature store of its own with its ``folder`` (a name inside the store, or an absolute path), ``num_images``, and
the SHA-256 of its ids and of its rows. ``ids.txt`` and ``ids.index`` are those of all shards.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError, unreadable
from mmt.io.text_files import file_checksum, parse_json

META, IDS, ROWS, JOURNAL, SHARDS = "meta.json", "ids.txt", "features.bin", "journal.jsonl", "shards.json"


class StoreShard(NamedTuple):
    """A shard as ``shards.json`` describes it; ``ids`` and ``rows`` are checksums."""

    folder: str
    num_images: int
    ids: str
    rows: str


def shards_text(shards: Sequence[StoreShard]) -> str:
    """What ``shards.json`` holds."""
    return json.dumps([shard._asdict() for shard in shards], indent=1) + "\n"


def read_shards(folder: Path, checksum: str) -> list[StoreShard]:
    """Reads ``shards.json``. Raises MMTError if its checksum is another one, or a value is of the wrong type."""
    path = folder / SHARDS
    try:
        if file_checksum(path) != checksum:
            raise ValueError(f"its checksum differs from the one in {META}")
        shards = [StoreShard(**one) for one in parse_json(path.read_text(encoding="utf-8"))]
        for number, one in enumerate(shards, 1):
            texts = all(isinstance(value, str) for value in (one.folder, one.ids, one.rows))
            if not texts or type(one.num_images) is not int or one.num_images < 1:
                raise ValueError(f"shard {number}: expected a folder, 1 or more images and two checksums")
        return shards
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, TypeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Join the shards again.") from None


class ShardedRows:
    """The rows of several stores as if they were one array, memory-mapped."""

    def __init__(self, folder: Path, shards: Sequence[StoreShard], shape: tuple[int, ...], dtype: np.dtype[Any]):
        """
        Args:
            folder: the sharded store's.
            shape: of all rows, (num_images, R, D).
        Raises:
            MMTError: a shard is missing, damaged, or another one than when they were joined.
        """
        self._folder, self._shards, self._dtype, self._shape = folder, shards, dtype, shape[1:]
        self._starts = np.array([0, *itertools.accumulate(shard.num_images for shard in shards)])
        if self._starts[-1] != shape[0]:
            raise MMTError(f"{folder / SHARDS}: counts {self._starts[-1]:,} images, {META} {shape[0]:,}.")
        self._parts = [self._opened(shard) for shard in shards]

    def __getitem__(self, rows: Sequence[int]) -> NDArray[Any]:
        """(N, R, D) of N rows, a copy."""
        wanted = np.asarray(rows, np.int64)
        owners = np.searchsorted(self._starts, wanted, side="right") - 1
        found = np.empty((len(wanted), *self._shape), self._dtype)
        for number in np.unique(owners).tolist():
            mine = owners == number
            found[mine] = self._parts[number][wanted[mine] - self._starts[number]]
        return found

    def verify(self) -> None:
        """Reads all rows. Raises MMTError if those of a shard have another checksum."""
        for shard, part in zip(self._shards, self._parts, strict=True):
            path = self._folder / shard.folder / ROWS
            if file_checksum(path, part.nbytes) != shard.rows:
                raise MMTError(f"{path}: damaged, its checksum differs from the one in {self._folder / SHARDS}.")

    def _opened(self, shard: StoreShard) -> NDArray[Any]:
        folder = self._folder / shard.folder  # an absolute path replaces the folder
        shape = (shard.num_images, *self._shape)
        try:
            sums = parse_json((folder / META).read_text(encoding="utf-8"))["sha256"]
            if (sums[IDS], sums[ROWS]) != (shard.ids, shard.rows):
                raise ValueError("its images are others than when it was joined")
            if (folder / ROWS).stat().st_size < math.prod(shape) * self._dtype.itemsize:
                raise ValueError(f"{ROWS} is too short")
            part: NDArray[Any] = np.memmap(folder / ROWS, dtype=self._dtype, mode="r", shape=shape)
            return part
        except PermissionError as error:
            raise unreadable(error) from None
        except (OSError, ValueError, LookupError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MMTError(
                f"{self._folder}: its shard {folder}: {reason}. Bring it back, or join the others with mmt "
                "features --join."
            ) from None
