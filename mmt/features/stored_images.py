"""Images that are no files of this machine: in webdataset tars, in Parquet, or in a store such as S3.

``find_stored`` lists them without reading them: of a tar the headers, of Parquet the column of ids. An image of a
tar or a store is then read by itself, by the thread that decodes it. Rows of Parquet are read in order, by
``in_order``, because a row alone cannot be.
"""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mmt.data.image_names import files_below, files_in
from mmt.errors import MMTError
from mmt.features.images import IMAGE_SUFFIXES, ImageError, find_images, image_file
from mmt.io import parquet, webdataset
from mmt.io.formats import IMAGES
from mmt.io.locations import PATTERN_MARKS, Location, StoredFile, as_local, check_location, shown, stored_files

Key = TypeVar("Key")

IDS = ("id", "key", "__key__", "image_id", "file_name", "filename")
"""Names of the column of ids; the first that exists is used."""

_PACKED = (webdataset.SUFFIX, parquet.SUFFIX)
_MAX_BYTES = 1 << 30  # of an image
_LISTED_AT_ONCE = 8  # tars; a store answers slowly
_ROWS = 64  # of Parquet, in memory at a time


class StoredImage:
    """An image that ``read`` gets; ``place`` names the file that it is in."""

    __slots__ = ()

    @property
    def place(self) -> str:
        raise NotImplementedError

    def read(self) -> bytes:
        """Its bytes. Raises ImageError."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FilePart(StoredImage):
    """A whole file, or a part of it such as a member of a tar."""

    file: StoredFile
    start: int
    size: int

    @property
    def place(self) -> str:
        return self.file.name

    def read(self) -> bytes:
        if self.size > _MAX_BYTES:
            raise ImageError(self.place, f"{self.size:,} bytes are over the limit of {_MAX_BYTES:,}")
        if not self.size:
            raise ImageError(self.place, "the file is empty")
        try:
            content = self.file.read(self.start, self.start + self.size)
        except Exception as error:  # of the file system, of any kind
            raise ImageError(self.place, f"cannot be read ({type(error).__name__}: {error})") from None
        if len(content) != self.size:
            raise ImageError(self.place, "is shorter than when it was listed")
        return content


@dataclass(frozen=True, slots=True)
class Row(StoredImage):
    """A row of Parquet; ``in_order`` reads it."""

    tables: _Tables
    file: int
    number: int

    @property
    def place(self) -> str:
        return self.tables.files[self.file].name


@dataclass(frozen=True, slots=True)
class Content(StoredImage):
    """Bytes that have been read from a file; None where the row has none."""

    file: StoredFile
    content: bytes | None

    @property
    def place(self) -> str:
        return self.file.name

    def read(self) -> bytes:
        if self.content is None:
            raise ImageError(self.place, "the row has no bytes of an image")
        return self.content


def in_order(images: Iterable[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
    """The images, rows of Parquet with their bytes; one thread calls this, in the order of the rows."""
    return [(key, image.tables.content(image) if isinstance(image, Row) else image) for key, image in images]


def find_sources(source: Location, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path | StoredImage]:
    """Lists images wherever they are: ``find_stored``, or ``find_images`` for image files of this machine.

    Raises:
        MMTError: as these.
    """
    local = as_local(source)
    if local is not None:
        check_location(local)
    if local is not None and not _is_collection(local, suffixes):
        return dict(find_images(local, suffixes))
    return dict(find_stored(source, suffixes))


def _is_collection(path: Path, suffixes: Sequence[str]) -> bool:
    """Whether a path is one file, a pattern, or a folder of tars or Parquet files, and not a folder of images."""
    if not path.is_dir():
        return path.is_file() or any(mark in str(path) for mark in PATTERN_MARKS)
    if (path / "dataset.json").is_file() or not any(name.lower().endswith(_PACKED) for name in files_in(path)):
        return False
    return not any(os.path.splitext(name)[1].lower() in suffixes for name in files_below(path)[0])


def find_stored(source: Location, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, StoredImage]:
    """Lists the images of tars, Parquet files, or a folder of a store, in the order of the files and their rows.

    Args:
        source: a folder, a file or a pattern.
        suffixes: of image files and of members of tars, lower case.
    Returns:
        image id -> image. Ids are the keys of webdataset, the column of ids of Parquet, or the names of files in
        the folder.
    Raises:
        MMTError: nothing there, several kinds of files, a damaged file, a missing column, an id that occurs twice.
    """
    files = stored_files(source)
    tars, tables, images = (
        [file for file in files if file.path.lower().endswith(endings)]
        for endings in (webdataset.SUFFIX, parquet.SUFFIX, tuple(suffixes))
    )
    if sum(map(bool, (tars, tables, images))) > 1:
        raise MMTError(
            f"{shown(source)}: expected images, tars or Parquet files, found "
            f"{' and '.join(kind[0].name for kind in (tars, tables, images) if kind)}. Name one kind by a "
            "pattern, such as 'FOLDER/*.tar'."
        )
    if tars:
        with ThreadPoolExecutor(_LISTED_AT_ONCE, "list") as pool:
            listed = _merged(itertools.chain.from_iterable(pool.map(partial(_of_tar, suffixes=suffixes), tars)))
    elif tables:
        listed = _merged(_of_tables(tables))
    else:
        listed = _merged((_name_in(file, source), FilePart(file, 0, file.size)) for file in images)
    if not listed:
        raise MMTError(
            f"{shown(source)}: expected images ({', '.join(suffixes)}), tars or Parquet files with them, found "
            f"none in {len(files):,} files."
        )
    return listed


def _merged(found: Iterable[tuple[str, StoredImage]]) -> dict[str, StoredImage]:
    images: dict[str, StoredImage] = {}
    for image_id, image in found:
        if (first := images.setdefault(image_id, image)) is not image:
            where = (
                f"both {first.place} and {image.place}" if first.place != image.place else f"{image.place} twice"
            )
            raise MMTError(f"image id '{image_id}' is in {where}. Ids must be unique: leave one out.")
        check_id(image_id, image.place)
    return images


def check_id(image_id: str, place: str) -> None:
    """Raises MMTError that names the file ``place`` if an image must not have that id: see ``image_file``."""
    try:
        image_file(Path(), image_id)
    except MMTError:
        raise MMTError(
            f"{place}: image id {image_id!r}: expected a name without '..', line breaks and a slash in front."
        ) from None


def _name_in(file: StoredFile, source: Location) -> str:
    """The name of a file below a folder, or below the last folder of a pattern."""
    local = as_local(source)
    root = shown(source if local is None else local.absolute())
    fixed = min((root.partition(mark)[0] for mark in PATTERN_MARKS), key=len)
    folder = root if fixed == root else fixed.rpartition("/")[0]
    whole = file.name if local is None else file.path
    name = whole.removeprefix(f"{folder}/")
    return name if name != whole else whole.rpartition("/")[2]


# --- webdataset -------------------------------------------------------------------------------------------


def _of_tar(tar: StoredFile, suffixes: Sequence[str]) -> list[tuple[str, StoredImage]]:
    found: dict[str, list[webdataset.Member]] = {}
    for member in webdataset.members(tar):
        if f".{member.suffix.rpartition('.')[2]}" in suffixes:
            found.setdefault(member.key, []).append(member)
    images: list[tuple[str, StoredImage]] = []
    for key, several in found.items():
        chosen = several if len(several) == 1 else [one for one in several if "." not in one.suffix]
        if len(chosen) != 1:
            raise MMTError(
                f"{tar.name}: the sample '{key}' has several images: {several[0].name}, {several[1].name}. A key "
                "ends at the first dot of a file's name. Rename them, or leave all but one out."
            )
        images.append((key, FilePart(tar, chosen[0].offset, chosen[0].size)))
    return images


# --- Parquet ----------------------------------------------------------------------------------------------


class _Tables:
    """Images in the rows of files, of which one is open. Going back in a file reads a row group again."""

    def __init__(self, files: Sequence[StoredFile]) -> None:
        self.files = files
        self._opened = ExitStack()
        self._file = -1
        self._found: Any = None
        self._column = ""
        self._starts: list[int] = []  # of the row groups, and the end of the last one
        self._batches: Iterator[Any] = iter(())
        self._first = 0  # row of ``_values``
        self._values: list[Any] = []

    def content(self, row: Row) -> Content:
        """The row's image. Raises MMTError if the file is damaged."""
        file = self.files[row.file]
        with parquet.damage(file.name):
            if row.file != self._file:
                self._open(row.file)
            if not self._first <= row.number < self._first + len(self._values):
                self._seek(row.number)
            value = self._values[row.number - self._first]
        return Content(file, value["bytes"] if isinstance(value, dict) else value)

    def _open(self, file: int) -> None:
        self._opened.close()
        self._found = self._opened.enter_context(parquet.opened(self.files[file]))
        self._file, self._column, self._values = file, image_column(self._found, self.files[file].name), []
        groups = (self._found.metadata.row_group(n).num_rows for n in range(self._found.num_row_groups))
        self._starts = [0, *itertools.accumulate(groups)]

    def _seek(self, number: int) -> None:
        end = self._first + len(self._values)
        group = bisect.bisect_right(self._starts, number) - 1
        if not self._values or number < end or self._starts[group] > end:
            self._batches = parquet.batches(self._found, [self._column], group, _ROWS)
            end = self._starts[group]
        while number >= end:
            self._values = next(self._batches).column(0).to_pylist()
            self._first, end = end, end + len(self._values)


def _of_tables(files: Sequence[StoredFile]) -> Iterator[tuple[str, StoredImage]]:
    tables = _Tables(files)
    for number, file in enumerate(files):
        with parquet.opened(file) as found:
            image_column(found, file.name)
            column = id_column(found, file.name)
            rows = itertools.chain.from_iterable(
                batch.column(0).to_pylist() for batch in parquet.batches(found, [column])
            )
            for row, value in enumerate(rows):
                image_id = id_text(value["path"] if isinstance(value, dict) else value, column, row, file.name)
                if not image_id:
                    raise MMTError(f"{file.name}: row {row + 1} has no id.")
                yield image_id, Row(tables, number, row)


def image_column(found: Any, name: str) -> str:
    """The column with the bytes of images: by its name, else the only one of its type.

    Args:
        found: what ``mmt.io.parquet.opened`` returned.
        name: of the file, for messages.
    Returns:
        The column, or its field ``bytes`` where it is a struct of ``datasets``.
    Raises:
        MMTError: there is none, or several.
    """
    schema = found.schema_arrow
    columns = [one.name for one in schema if has_bytes(one.type)]
    chosen = next(([one] for one in IMAGES if one in columns), columns)
    if len(chosen) != 1:
        there = ", ".join(f"'{one.name}' ({one.type})" for one in schema)
        raise MMTError(
            f"{name}: expected one column of images, bytes or a struct with a field 'bytes', found "
            f"{' and '.join(map(repr, columns)) or 'none'}; its columns are {there}. Name it 'image'."
        )
    return f"{chosen[0]}.bytes" if hasattr(schema.field(chosen[0]).type, "get_field_index") else chosen[0]


def has_bytes(kind: Any) -> bool:
    """Whether images may have that Arrow type: bytes, or a struct with a field ``bytes``."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0) and has_bytes(kind.field("bytes").type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def id_column(found: Any, name: str) -> str:
    """The column of ids; without one the paths that ``datasets`` keeps beside the bytes.

    Raises:
        MMTError: there is none, or its values are neither texts nor integers.
    """
    schema = found.schema_arrow
    names = schema.names
    column = next((one for one in IDS if one in names), None)
    if column is not None:
        return _checked_ids(column, schema.field(column).type, name)
    image = image_column(found, name)
    struct = image.removesuffix(".bytes")
    kind = schema.field(struct).type if image not in names else None
    if kind is not None and kind.get_field_index("path") >= 0:
        return _checked_ids(f"{struct}.path", kind.field("path").type, name)
    raise MMTError(
        f"{name}: expected a column of ids, {' or '.join(map(repr, IDS))}; its columns are "
        f"{', '.join(map(repr, names))}. Rename one."
    )


def _checked_ids(column: str, kind: Any, name: str) -> str:
    import pyarrow.types as types

    values = kind.value_type if types.is_dictionary(kind) else kind
    texts = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    if not any(fits(values) for fits in (*texts, types.is_integer, types.is_null)):
        raise MMTError(f"{name}: column '{column}': expected texts or integers as ids, found {kind}.")
    return column


def id_text(value: Any, column: str, row: int, name: str) -> str:
    """A value of ``id_column`` as text, "" for none; ``row`` counts from 0. Raises MMTError if it is not UTF-8."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeError:
            raise MMTError(
                f"{name}: row {row + 1:,}: column '{column}': expected an id in UTF-8, found other bytes."
            ) from None
    return "" if value is None else str(value)
