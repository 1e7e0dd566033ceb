"""Parquet files of any file system: their columns, and their rows in order, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmt.errors import MMTError
from mmt.io.locations import StoredFile, reading

SUFFIX = ".parquet"
_BUFFER = 1 << 20  # of a column that is being read; without one, pyarrow reads all of a row group


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turns what pyarrow and file systems raise while a file is read into an MMTError that names it."""
    import pyarrow  # as long as all of the help takes

    with reading(name):
        try:
            yield
        except pyarrow.ArrowException as error:
            reason = str(error).partition("\n")[0]
            raise MMTError(f"{name}: not a Parquet file, or damaged ({reason}).") from None


@contextmanager
def opened(file: StoredFile) -> Iterator[Any]:
    """pyarrow's ParquetFile.

    Raises:
        MMTError: the file is damaged or no Parquet, also where that shows in the block.
    """
    import pyarrow.parquet

    with (
        file.open() as stream,
        damage(file.name),
        pyarrow.parquet.ParquetFile(stream, buffer_size=_BUFFER) as found,
    ):
        yield found


def batches(found: Any, columns: Sequence[str], first_group: int = 0, rows: int = 1024) -> Iterator[Any]:
    """Record batches of what ``opened`` returned, from the row group of that number on.

    Args:
        columns: names; ``image.bytes`` is a field of the column ``image``.
        rows: at most, in a batch.
    """
    groups = range(first_group, found.num_row_groups)
    yield from found.iter_batches(rows, row_groups=groups, columns=list(columns), use_threads=False)
