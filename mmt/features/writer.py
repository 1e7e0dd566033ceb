"""Writing of feature stores: a kill loses at most the batch being written. Format: ``mmt.data.feature_store``."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import DTYPES, FORMAT, DType, FeatureStore, ids_checksum, read_ids, read_meta
from mmt.data.id_index import INDEX, INDEXED_FROM, write_id_index
from mmt.data.store_files import IDS, JOURNAL, META, ROWS, SHARDS
from mmt.errors import MMTError
from mmt.features.runtimes import Computed, recorded
from mmt.io.atomic import is_temporary, only_writer_in, unwritable, write_whole, writing
from mmt.io.text_files import file_checksum, parse_json


def finished_ids(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The finished ids in the store of ``folder``, and the left-out images with reasons; both may be empty."""
    meta = read_meta(folder)
    return (read_ids(folder, meta[2], meta[4]), meta[3]) if meta is not None else ([], {})


def check_folder(folder: Path, signature: FeatureSignature, dtype: DType) -> None:
    """Raises MMTError if ``folder`` is not a store of these features, and cannot become one."""
    if dtype not in DTYPES:
        raise MMTError(f"dtype must be one of {', '.join(DTYPES)}, but is '{dtype}' instead.")
    if folder.exists() and not folder.is_dir():
        raise MMTError(f"{folder}: expected a folder for the features, found a file. Name another folder.")
    if (folder / SHARDS).exists() and not (folder / META).exists():
        raise MMTError(
            f"{folder}: a join of shards was interrupted here. Run its command again, with the same shards "
            "(mmt features --keep-shards or --join), or name another folder."
        )
    if (folder / SHARDS).exists():
        raise MMTError(
            f"{folder}: is a store of several shards, to which no image is added. Make a store of the new "
            "images, and join it with the shards (mmt features --join)."
        )
    known = {META, IDS, INDEX, ROWS, JOURNAL}
    there = [path.name for path in folder.iterdir()] if folder.exists() else []
    foreign = sorted(name for name in there if name not in known and not is_temporary(name))
    if foreign:
        raise MMTError(
            f"{folder}: expected a new folder or a feature store, found '{foreign[0]}' in it. "
            "Name another folder for the features."
        )
    meta = read_meta(folder)
    if meta is not None:
        check_same(folder, (meta[0], meta[1]), (signature, dtype))


def check_same(folder: Path, existing: tuple[FeatureSignature, str], wanted: tuple[FeatureSignature, str]) -> None:
    """Raises MMTError if the features in ``folder`` differ from those wanted in signature or number type."""
    if existing[0].differences(wanted[0]) == ["precision"]:
        raise MMTError(
            f"{folder}: holds features of precision {existing[0].precision}, but {wanted[0].precision} was "
            f"requested. Use --precision {existing[0].precision}, or name another folder."
        )
    try:
        existing[0].check(wanted[0], f"{folder} (made earlier)")
    except MMTError as error:
        raise MMTError(f"{error} Or name another folder.") from None
    if existing[1] != wanted[1]:
        raise MMTError(
            f"{folder}: holds {existing[1]}, but {wanted[1]} was requested. "
            f"Use --dtype {existing[1]}, or name another folder."
        )


_open: set[str] = set()


@contextlib.contextmanager
def _only_one_of_this_process(folder: Path) -> Iterator[None]:
    """Refuses a second writer in this process, since a thread may nest the lock of a folder."""
    key = os.path.realpath(folder)
    if key in _open:
        raise MMTError(f"{folder}: another FeatureWriter of this process is writing it. Close that one first.")
    _open.add(key)
    try:
        yield
    finally:
        _open.discard(key)


class FeatureWriter:
    """Adds rows to a store, batch by batch, so that a kill loses at most the batch being written.

    On an unfinished folder it resumes after the last batch; on a finished store it adds rows. A second writer at
    the same time is refused. Use it as a context manager, and call ``finish`` after the last row; without
    ``finish``, the rows wait for the next writer. A new folder without rows is removed.

    Attributes:
        computed: what computes the rows, which the store records; None as long as there are none. Set it before
            the first ``append``.
    """

    def __init__(self, folder: Path, signature: FeatureSignature, dtype: DType) -> None:
        """
        Args:
            folder: the store's; created if it is missing.
            signature: of the features.
            dtype: ``float16`` or ``float32``.
        Raises:
            MMTError: the folder holds something else, features with another signature or number type, or
                another process is writing to it.
        """
        check_folder(folder, signature, dtype)
        self.folder, self.signature, self.dtype = folder, signature, dtype
        self.left_out: dict[str, str] = {}
        self.ids: list[str] = []
        self._row_bytes = signature.num_regions * signature.dim * np.dtype(dtype).itemsize
        self._rows: IO[bytes] | None = None
        self._journal: IO[bytes] | None = None
        self._num_finished = 0
        self._heading = False  # whether the journal has its own
        self.computed: Computed | None = None
        self._alone = contextlib.ExitStack()
        self._alone.enter_context(_only_one_of_this_process(folder))
        self._alone.enter_context(only_writer_in(folder))
        try:
            meta = read_meta(folder)
            if meta is not None:
                self.ids, self.left_out = read_ids(folder, meta[2], meta[4]), meta[3]
            self._num_finished = len(self.ids)
            self._finished_left_out = dict(self.left_out) if meta is not None else None
            try:
                self._journal = open(folder / JOURNAL, "ab+")  # noqa: SIM115 (held open until close)
            except OSError as error:
                raise unwritable(folder, error) from None
            self.computed = recorded(folder)
            with writing(folder):
                self._resume(self._journal)
            if not self._num_finished and not self._heading:
                self.computed = None  # its rows are lost
        except BaseException:
            self.close()
            raise
        self._seen = set(self.ids)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._seen

    def __len__(self) -> int:
        return len(self.ids)

    def append(
        self, image_ids: Sequence[str], features: NDArray[Any], left_out: Mapping[str, str] | None = None
    ) -> None:
        """Adds a batch; after this returns, a kill does not lose it.

        Args:
            image_ids: N new ids, without line breaks.
            features: (N, R, D), any float type; stored as ``dtype``. A region of NaN is missing: there is room for
                the longest recording, others are shorter. Each image has at least one region.
            left_out: image id -> why it has no features, for the images of this batch that failed.
        Raises:
            MMTError: an id occurs twice or has a line break, a value cannot be stored as ``dtype``, or the disk is
                full: what was appended before stays.
            ValueError: the shape is not (N, R, D).
        """
        shape = (len(image_ids), self.signature.num_regions, self.signature.dim)
        if features.shape != shape:
            raise ValueError(f"features must have the shape {shape}, but have {features.shape} instead.")
        new: set[str] = set()
        for image_id in image_ids:
            if "\n" in image_id:
                raise MMTError(f"image id {image_id!r}: ids must not have line breaks. Rename the image.")
            if image_id in self._seen or image_id in new:
                raise MMTError(f"image id '{image_id}' occurs twice in {self.folder}. Ids must be unique.")
            new.add(image_id)
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(features, dtype=np.dtype(self.dtype).newbyteorder("<"))
        absent = np.isnan(rows).all(axis=-1)  # (N, R)
        finite = (np.isfinite(rows).all(axis=-1) | absent).all(axis=-1) & ~absent.all(axis=-1)
        if not finite.all():
            bad = image_ids[int(np.argmin(finite))]
            raise MMTError(
                f"image '{bad}': {self.signature} gives a value that is infinite, not a number, or too large for "
                f"{self.dtype}. Check the weights, or store float32."
            )
        assert self._rows is not None, "the writer is closed"  # noqa: S101 (a bug in the caller, not a user's)
        entry: dict[str, Any] = {"ids": list(image_ids)}
        if left_out:
            entry["left_out"] = dict(left_out)
        with writing(self.folder):
            self._rows.write(rows.tobytes())
            self._rows.flush()
            # The batch counts from now on: its rows are written before its line in the journal.
            if not self._heading:
                self._write_heading()
            self._write_journal(entry)
        self._take(entry)

    def finish(self) -> FeatureStore:
        """Turns everything appended so far into a store, atomically, and opens it.

        Raises:
            MMTError: there is no row at all.
        """
        assert self._rows is not None, "the writer is closed"  # noqa: S101
        if not self.ids:
            raise MMTError(f"{self.folder}: no image has features, so there is nothing to store.")
        if len(self.ids) != self._num_finished or self.left_out != self._finished_left_out:
            with writing(self.folder):
                self._rows.flush()
                os.fsync(self._rows.fileno())
            lines = "".join(f"{image_id}\n" for image_id in self.ids)
            write_whole(self.folder / IDS, lines.encode("utf-8", "surrogateescape"))
            sums = {
                IDS: ids_checksum(self.ids),
                ROWS: file_checksum(self.folder / ROWS, len(self.ids) * self._row_bytes),
            }
            if len(self.ids) >= INDEXED_FROM:
                write_id_index(self.folder / IDS, self.folder / INDEX, self.ids, len(self.ids))
                sums[INDEX] = file_checksum(self.folder / INDEX)
            meta = {
                "format": FORMAT,
                "signature": self.signature.to_dict(),
                "dtype": self.dtype,
                "num_images": len(self.ids),
                "left_out": self.left_out,
                "sha256": sums,
                **self._runtime(),
            }
            write_whole(self.folder / META, (json.dumps(meta, indent=2) + "\n").encode())
        (self.folder / JOURNAL).unlink(missing_ok=True)
        self.close()
        return FeatureStore.open(self.folder)

    def close(self) -> None:
        """Closes the files. Rows appended so far wait for the next writer."""
        resumed = self._rows is not None
        if self._rows is not None:
            with contextlib.suppress(OSError):  # a full disk, which ``append`` has reported
                self._rows.close()
            self._rows = None
        if self._journal is not None:
            # A journal without rows is useless; but not one that was refused.
            if resumed and self._num_finished == len(self.ids) and (self._num_finished or not self.left_out):
                (self.folder / JOURNAL).unlink(missing_ok=True)
                if not self._num_finished:
                    (self.folder / ROWS).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._journal.close()
            self._journal = None
        self._alone.close()

    def _resume(self, journal: IO[bytes]) -> None:
        """Keeps the rows that are listed in the journal, and cuts off what a kill left after them."""
        journal.seek(0)
        good = 0
        path = self.folder / ROWS
        size = path.stat().st_size if path.exists() else 0
        for line in journal:
            try:
                entry = parse_json(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if not _is_entry(entry):
                break
            if "signature" in entry:
                there = FeatureSignature.from_dict(entry["signature"]), entry["dtype"]
                check_same(self.folder, there, (self.signature, self.dtype))
                if entry["after"] != len(self.ids):
                    break  # the journal of rows that were finished meanwhile
                self._heading = True
            elif not self._heading or (len(self.ids) + len(entry["ids"])) * self._row_bytes > size:
                break
            else:
                self._take(entry)
            good += len(line)
        journal.truncate(good)
        journal.seek(good)
        if size < self._num_finished * self._row_bytes:
            raise MMTError(
                f"{self.folder}: features.bin is too short. Remove the folder and run mmt features again."
            )
        self._rows = open(path, "ab")  # noqa: SIM115 (held open until close)
        if size > len(self.ids) * self._row_bytes:
            self._rows.truncate(len(self.ids) * self._row_bytes)

    def _take(self, entry: Mapping[str, Any]) -> None:
        self.ids.extend(entry["ids"])
        if hasattr(self, "_seen"):
            self._seen.update(entry["ids"])
        self.left_out.update(entry.get("left_out", {}))
        for image_id in entry["ids"]:
            self.left_out.pop(image_id, None)

    def _write_heading(self) -> None:
        heading = {"signature": self.signature.to_dict(), "dtype": self.dtype, "after": len(self.ids)}
        self._write_journal(heading | self._runtime())
        self._heading = True

    def _runtime(self) -> dict[str, Any]:
        about = self.computed.to_dict() if self.computed is not None else None
        return {"runtime": about} if about is not None else {}

    def _write_journal(self, entry: Mapping[str, Any]) -> None:
        assert self._journal is not None  # noqa: S101  # as ``_rows``
        self._journal.write(json.dumps(entry).encode() + b"\n")
        self._journal.flush()


def _is_entry(entry: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a line of the journal is valid: its heading, or a batch."""
    if not isinstance(entry, dict):
        return False
    if "signature" in entry:
        return isinstance(entry["signature"], dict) and {"dtype", "after"} <= set(entry)
    ids, left_out = entry.get("ids"), entry.get("left_out", {})
    return isinstance(ids, list) and all(isinstance(i, str) for i in ids) and isinstance(left_out, dict)
