"""Rows of a dataset that memory does not hold: they are written to disk as they come."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmt.data.id_index import id_hash
from mmt.errors import MMTError

if TYPE_CHECKING:
    from datasets import Dataset

ROWS = 10_000
"""As many are in memory."""


def stream_rows(path: Path, split: str, rows: Iterable[Mapping[str, Any]]) -> Dataset:
    """Writes rows to an Arrow file, and opens it memory-mapped.

    What is in memory of all rows are 8 bytes each, hashes of the ids, and at least as many again while they are
    sorted.

    Args:
        path: the file to write.
        split: its name, for messages.
        rows: all with the columns of the first one: ``has_image`` is a bool, the others are texts.
    Raises:
        MMTError: there is no row, or an id occurs twice.
    """
    import pyarrow as pa
    from datasets import Dataset

    coming = iter(rows)
    first = next(coming, None)
    if first is None:
        raise MMTError(f"split '{split}': expected sentences, found none. Check the input files.")
    schema = pa.schema([(name, pa.bool_() if name == "has_image" else pa.string()) for name in first])
    hashes, coming = array("Q"), itertools.chain([first], coming)
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        while part := [dict(row) for row in itertools.islice(coming, ROWS)]:
            hashes.extend(id_hash(row["id"].encode()) for row in part)
            writer.write_batch(pa.RecordBatch.from_pylist(part, schema))
    table = Dataset.from_file(str(path))
    _refuse_repeated(split, table, np.frombuffer(hashes, np.uint64))
    return table


def _refuse_repeated(split: str, table: Dataset, hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
    ordered = np.sort(hashes)
    several = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])  # of equal ids, or by chance
    seen: dict[str, int] = {}
    for row in np.flatnonzero(np.isin(hashes, several)).tolist() if len(several) else ():
        row_id = table[row]["id"]
        first = seen.setdefault(row_id, row)
        if first != row:
            raise MMTError(
                f"split '{split}': the id '{row_id}' occurs in rows {first + 1:,} and {row + 1:,}. Ids must be "
                "unique."
            )
