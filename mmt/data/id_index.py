"""Ids of millions of images in files: none is in memory, and an id is found with a few reads.

Beside ``ids.txt``, one id a line, lies ``ids.index``: a header (magic, the number N of ids, SHA-256 of
``ids.txt``), then little-endian arrays: the hashes of the ids in ascending order (N, uint64), the row of each
(N, uint32), and where the line of each row begins (N + 1, uint64). A hash only says where to look: the id is
compared, so that a damaged index finds nothing, rather than another image's features.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError
from mmt.io.atomic import replacing
from mmt.io.text_files import file_checksum

INDEX = "ids.index"
INDEXED_FROM = 1_000_000  # ids, which would take 135 MB of each process's memory
_MAGIC = b"mmt ids 1\n\0\0\0\0\0\0"
_HEADER = struct.Struct("<16sQ32s8x")  # 64 bytes, so that the arrays are aligned


def write_id_index(
    ids_file: Path, index_file: Path, ids: Iterable[str], num: int, owner: Callable[[int], str] | None = None
) -> None:
    """Writes the index of ``ids_file``, atomically.

    Args:
        ids: the lines of ``ids_file``, ``num`` of them; one is in memory at a time.
        owner: names where the id of a row comes from, for the message; None for one source.
    Raises:
        MMTError: an id occurs twice, or the index cannot be written.
    """
    hashes, offsets = np.empty(num, np.uint64), np.zeros(num + 1, np.uint64)
    lengths = np.empty(num, np.uint64)
    for row, image_id in enumerate(ids):
        raw = image_id.encode("utf-8", "surrogateescape")
        hashes[row] = id_hash(raw)
        lengths[row] = len(raw) + 1
    np.cumsum(lengths, out=offsets[1:])
    order = np.argsort(hashes, kind="stable").astype(np.uint32)
    hashes = hashes[order]
    _refuse_repeated(ids_file, hashes, order, offsets, owner)
    header = _HEADER.pack(_MAGIC, num, bytes.fromhex(file_checksum(ids_file)))
    with replacing(index_file) as stream:
        stream.write(header)
        for array in (hashes, order, np.zeros(num % 2, np.uint32), offsets):  # the zero aligns the offsets
            stream.write(np.ascontiguousarray(array).data)


def _refuse_repeated(
    ids_file: Path,
    hashes: NDArray[np.uint64],
    rows: NDArray[np.uint32],
    offsets: NDArray[np.uint64],
    owner: Callable[[int], str] | None,
) -> None:
    """Raises MMTError where two of the ids, whose hashes are equal, are equal."""
    twice = np.flatnonzero(hashes[1:] == hashes[:-1])
    if not len(twice):
        return
    with ids_file.open("rb") as stream:

        def line(row: int) -> bytes:
            stream.seek(int(offsets[row]))
            return stream.read(int(offsets[row + 1] - offsets[row]) - 1)

        for at in map(int, twice):
            first, second = int(rows[at]), int(rows[at + 1])
            if line(first) == line(second):
                name = line(first).decode("utf-8", "surrogateescape")
                if owner is None:
                    raise MMTError(f"{ids_file}: image id '{name}' occurs twice. Ids must be unique.")
                raise MMTError(
                    f"image id '{name}' is in both {owner(first)} and {owner(second)}. Ids must be unique: leave "
                    "one store out, or make it again without this image."
                )


class IndexedIds(Sequence[str]):
    """The ids of a store in row order, and the row of each, from the two files. No id is in memory."""

    def __init__(self, ids_file: Path, index_file: Path) -> None:
        """
        Raises:
            MMTError: the index is damaged, or of other ids.
        """
        self._file = index_file
        try:
            with index_file.open("rb") as stream:
                magic, num, self.checksum = _HEADER.unpack(stream.read(_HEADER.size))
                size = _HEADER.size + 8 * num + 4 * (num + num % 2) + 8 * (num + 1)
                if magic != _MAGIC or not num or index_file.stat().st_size != size:
                    raise ValueError("its size is not that of its ids")
                index = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            with ids_file.open("rb") as stream:
                self._text = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, struct.error) as error:
            raise MMTError(
                f"{index_file}: damaged ({error}). Remove this file: the ids are then read into memory."
            ) from None
        self._num: int = num
        at = _HEADER.size
        self._hashes = np.frombuffer(index, "<u8", num, at)
        self._rows = np.frombuffer(index, "<u4", num, at + 8 * num)
        self._offsets = np.frombuffer(index, "<u8", num + 1, at + 8 * num + 4 * (num + num % 2))

    @property
    def num_bytes(self) -> int:
        """Of the text of all ids, line breaks included."""
        return int(self._offsets[-1])

    def __len__(self) -> int:
        return self._num

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(self._num))]
        if not -self._num <= row < self._num:
            raise IndexError(row)
        return self._line(row % self._num).decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        at = 0
        for _ in range(self._num):
            end = self._text.find(b"\n", at)
            yield self._text[at:end].decode("utf-8", "surrogateescape")
            at = end + 1

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self.find([image_id])[0] >= 0

    def find(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id; -1 for one that is not there."""
        raws = [image_id.encode("utf-8", "surrogateescape") for image_id in image_ids]
        hashes = np.fromiter(map(id_hash, raws), np.uint64, len(raws))
        found = np.full(len(raws), -1, np.int64)
        for number, (raw, at) in enumerate(zip(raws, np.searchsorted(self._hashes, hashes), strict=True)):
            while at < self._num and self._hashes[at] == hashes[number]:
                row = int(self._rows[at])
                if row < self._num and self._line(row) == raw:
                    found[number] = row
                    break
                at += 1
        return found

    def _line(self, row: int) -> bytes:
        return self._text[int(self._offsets[row]) : int(self._offsets[row + 1]) - 1]


def id_hash(raw: bytes) -> int:
    """64 bits of an id, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
