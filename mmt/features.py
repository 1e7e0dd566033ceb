"""FeatureStore: image features by image id, memory-mapped, with who made them and how.

A store is a folder of three files, none of them a pickle:

- ``meta.json``: the signature, the number type, how many rows there are, and which images were left out and
  why. It is written last and replaced in one step, so a folder without it is not a store yet.
- ``ids.txt``: one image id a line, in row order.
- ``features.bin``: the rows, (num_images, R, D) row-major, little-endian float16 or float32.

``meta.json`` has the SHA-256 of the ids and of the rows that count. The ids' is looked at whenever a store is
opened: ids in another order would give each image another's features. The rows' takes reading them all, and so
``mmt features --check`` alone does that.

While rows are being added there is also ``journal.jsonl``: one line a batch, written after the batch's rows.
After a kill, the rows that the journal vouches for are kept and anything behind them is cut off. Adding to a
finished store leaves it readable as it was: readers see the new rows once ``meta.json`` is replaced.

This module needs NumPy only, so that light commands start fast. ``mmt.images`` makes the features.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError
from mmt.lines import file_checksum, parse_json, write_whole, writing

DType = Literal["float16", "float32"]
DTYPES: tuple[DType, ...] = ("float16", "float32")

_META, _IDS, _ROWS, _JOURNAL = "meta.json", "ids.txt", "features.bin", "journal.jsonl"
_FORMAT = 1


@dataclass(frozen=True)
class FeatureSignature:
    """Who made the features, and how. Features with unequal signatures must not be mixed.

    Attributes:
        backbone: the name that ``mmt.backbones.load_backbone`` takes, e.g. ``efficientnet_lite0``.
        layer: ``pool`` (one vector an image) or ``grid`` (one vector a region).
        transform: what happened to the pixels, e.g. ``resize256-crop224-bicubic-mean...-std...``.
        weights: SHA-256 (hex) over the names, types, shapes and bytes of the backbone's tensors, so that the
            same weights have the same sum in whatever file they came.
        num_regions: R, 1 for ``pool``.
        dim: D, the width of one vector.
    """

    backbone: str
    layer: str
    transform: str
    weights: str
    num_regions: int
    dim: int

    def __str__(self) -> str:
        pixels = self.transform.split("-mean")[0]
        return (
            f"{self.backbone}/{self.layer} ({self.num_regions} x {self.dim}, {pixels}, weights {self.weights[:8]})"
        )

    @property
    def sets(self) -> tuple[FeatureSignature, ...]:
        """The sets of features that stand side by side; there is one, unless several were joined."""
        return (self,)

    def to_dict(self) -> dict[str, Any]:
        """The signature as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> FeatureSignature:
        """Reads ``to_dict``'s values back. Raises MMTError where a field is missing, unknown or mistyped."""
        expected = {field.name: (int if field.name in ("num_regions", "dim") else str) for field in fields(cls)}
        wrong = set(raw) ^ set(expected) or {k for k, t in expected.items() if type(raw[k]) is not t}
        if wrong:
            raise MMTError(
                f"feature signature: expected the fields {', '.join(expected)}; "
                f"missing, unknown or of the wrong type: {', '.join(sorted(wrong))}."
            )
        return cls(**raw)

    def differences(self, other: FeatureSignature) -> list[str]:
        """Names the fields in which ``other`` differs.

        A CLIP folder counts by its last name, since the same folder may lie elsewhere; its content is in
        ``weights``.
        """
        names = [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]
        if all(s.backbone.startswith("clip:") for s in (self, other)) and "backbone" in names:
            last = [s.backbone.removeprefix("clip:").replace("\\", "/").rpartition("/")[2] for s in (self, other)]
            if last[0] == last[1]:
                names.remove("backbone")
        return names

    def check(self, other: FeatureSignature, where: str) -> None:
        """Accepts ``other`` where this signature is required.

        Args:
            other: the signature of the features at hand.
            where: where they come from, for the message, e.g. ``features/lite0``.
        Raises:
            MMTError: naming both and what differs.
        """
        if len(self.sets) != len(other.sets):
            raise MMTError(
                f"{where}: expected {len(self.sets)} set(s) of features, {self}, found {len(other.sets)}, "
                f"{other}. Name the feature store of each, in this order."
            )
        if len(self.sets) > 1:
            for mine, theirs in zip(self.sets, other.sets, strict=True):
                mine.check(theirs, where)
            return
        names = self.differences(other)
        if names:
            detail = "; ".join(f"{n} {getattr(self, n)} became {getattr(other, n)}" for n in names)
            raise MMTError(
                f"{where}: expected features made by {self}, found {other}. They differ in {detail}. "
                f"Use the same features, or make them with mmt features --backbone {self.backbone} "
                f"--layer {self.layer}."
            )


class FeatureStore:
    """Features of images by id, memory-mapped: opening costs no memory for the rows."""

    def __init__(
        self,
        folder: Path,
        signature: FeatureSignature,
        dtype: DType,
        ids: list[str],
        rows: NDArray[Any],
        left_out: dict[str, str],
        rows_checksum: str | None = None,
    ) -> None:
        """Use ``FeatureStore.open``."""
        self.folder = folder
        self.signature = signature
        self.dtype: DType = dtype
        self.ids = ids
        #: image id -> why it has no features
        self.left_out = left_out
        self._rows, self._rows_checksum = rows, rows_checksum
        self._row_of = {image_id: row for row, image_id in enumerate(ids)}

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Memory-maps the store in ``folder``.

        Raises:
            MMTError: there is none, it is half-written, or its files do not fit together.
        """
        meta = _read_meta(folder)
        if meta is None:
            state = "a half-written one" if (folder / _JOURNAL).exists() else f"no {_META}"
            if not folder.exists():
                state = "no such folder"
            raise MMTError(
                f"{folder}: expected a feature store, found {state}. Run mmt features, whose --out makes one or "
                "finishes it."
            )
        signature, dtype, num_images, left_out, sums = meta
        ids = _read_ids(folder, num_images, sums)
        shape = (num_images, signature.num_regions, signature.dim)
        need = math.prod(shape) * np.dtype(dtype).itemsize
        size = (folder / _ROWS).stat().st_size if (folder / _ROWS).is_file() else 0
        # More bytes or ids than needed are rows still being added; fewer are a damaged store.
        if len(ids) != num_images or len(set(ids)) != num_images or size < need:
            raise MMTError(
                f"{folder}: expected {num_images:,} ids and {need:,} bytes of features, "
                f"found {len(set(ids)):,} ids and {size:,} bytes. Remove the folder and run mmt features again."
            )
        rows: NDArray[Any] = np.memmap(folder / _ROWS, dtype=np.dtype(dtype), mode="r", shape=shape)
        return cls(folder, signature, dtype, ids, rows, left_out, sums.get(_ROWS))

    def verify(self) -> None:
        """Reads all rows, and raises MMTError where they are not those that were written."""
        if self._rows_checksum is None:
            raise MMTError(
                f"{self.folder}: has no checksum of its rows, as an earlier version of mmt made it. Run mmt "
                "features again with a new --out."
            )
        if file_checksum(self.folder / _ROWS, self._rows.nbytes) != self._rows_checksum:
            raise MMTError(
                f"{self.folder / _ROWS}: damaged, its checksum is another than {_META} says. Remove the folder "
                "and run mmt features again."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._row_of

    def get(self, image_ids: Sequence[str]) -> NDArray[np.float32]:
        """Reads features by id.

        Args:
            image_ids: N ids; one may stand several times.
        Returns:
            (N, R, D) float32 whatever the stored type, in ``image_ids``'s order; a copy, yours to change.
        Raises:
            MMTError: naming the first id that has no features.
        """
        try:
            rows = [self._row_of[image_id] for image_id in image_ids]
        except KeyError as error:
            image_id = error.args[0]
            why = f" (left out: {self.left_out[image_id]})" if image_id in self.left_out else ""
            raise MMTError(
                f"no features for image '{image_id}' in {self.folder} ({len(self):,} ids){why}. "
                "Run mmt features, or set images.missing: skip."
            ) from None
        found: NDArray[np.float32] = self._rows[rows].astype(np.float32)
        return found


def finished_ids(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Ids in the store of ``folder``, and what was left out and why; of what is finished, which may be nothing."""
    meta = _read_meta(folder)
    return (_read_ids(folder, meta[2], meta[4]), meta[3]) if meta is not None else ([], {})


class FeatureWriter:
    """Adds rows to a store, batch by batch, so that a kill loses at most the batch being written.

    Opening it on an unfinished folder takes up where the kill happened; on a finished store, adds to it.
    One writer at a time: a second one is refused. Use it as a context manager, and call ``finish`` when all
    rows are in; leaving the context without ``finish`` keeps the rows for the next writer.
    """

    def __init__(self, folder: Path, signature: FeatureSignature, dtype: DType) -> None:
        """
        Args:
            folder: the store's; made if need be.
            signature: who makes the features.
            dtype: ``float16`` or ``float32``.
        Raises:
            MMTError: the folder holds something else, features with another signature or number type, or
                another process is writing to it.
        """
        if dtype not in DTYPES:
            raise MMTError(f"dtype must be one of {', '.join(DTYPES)}, but is '{dtype}' instead.")
        self.folder, self.signature, self.dtype = folder, signature, dtype
        self.left_out: dict[str, str] = {}
        self.ids: list[str] = []
        self._row_bytes = signature.num_regions * signature.dim * np.dtype(dtype).itemsize
        if folder.exists() and not folder.is_dir():
            raise MMTError(f"{folder}: expected a folder for the features, found a file. Name another folder.")
        known = {_META, _IDS, _ROWS, _JOURNAL, _META + ".writing", _IDS + ".writing"}
        foreign = sorted({p.name for p in folder.iterdir()} - known) if folder.exists() else []
        if foreign:
            raise MMTError(
                f"{folder}: expected a new folder or a feature store, found '{foreign[0]}' in it. "
                "Name another folder for the features."
            )
        meta = _read_meta(folder)
        if meta is not None:
            self._must_fit(meta[0], meta[1])
            self.ids, self.left_out = _read_ids(folder, meta[2], meta[4]), meta[3]
        self._num_finished = len(self.ids)
        self._finished_left_out = dict(self.left_out) if meta is not None else None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._journal = open(folder / _JOURNAL, "ab+")  # noqa: SIM115 (held open until close)
        except OSError as error:
            raise MMTError(f"{folder}: cannot be written ({error.strerror}). Name another folder.") from None
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # a writer that ended since we opened the journal has removed it
            locked = os.path.samestat(os.fstat(self._journal.fileno()), os.stat(folder / _JOURNAL))
        except OSError:
            locked = False
        if not locked:
            self._journal.close()
            raise MMTError(f"{folder}: another mmt features is writing to it. Wait for it to end.")
        self._rows: IO[bytes] | None = None
        try:
            with writing(folder):
                self._take_up()
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
        """Adds a batch; once this returns, a kill does not lose it.

        Args:
            image_ids: N new ids, without line breaks.
            features: (N, R, D), any float type; stored as ``dtype``. A region that is NaN throughout is none:
                there is room for the longest recording, others are shorter. Each has one region at least.
            left_out: image id -> why it has no features, for the images of this batch that failed.
        Raises:
            MMTError: an id stands twice or has a line break, a value cannot be stored as ``dtype``, or the disk is
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
                raise MMTError(f"image id '{image_id}' stands twice in {self.folder}. Ids must be unique.")
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
            # Only now does the batch count: the rows stand before the line that vouches for them.
            self._write_journal(entry)
        self._take(entry)

    def finish(self) -> FeatureStore:
        """Makes everything appended so far a store, in one step, and opens it.

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
            write_whole(self.folder / _IDS, lines.encode("utf-8", "surrogateescape"))
            meta = {
                "format": _FORMAT,
                "signature": self.signature.to_dict(),
                "dtype": self.dtype,
                "num_images": len(self.ids),
                "left_out": self.left_out,
                "sha256": {
                    _IDS: _ids_checksum(self.ids),
                    _ROWS: file_checksum(self.folder / _ROWS, len(self.ids) * self._row_bytes),
                },
            }
            write_whole(self.folder / _META, (json.dumps(meta, indent=2) + "\n").encode())
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        self.close()
        return FeatureStore.open(self.folder)

    def close(self) -> None:
        """Lets go of the files. Rows appended so far wait for the next writer."""
        if self._rows is not None:
            with contextlib.suppress(OSError):  # of a full disk, which ``append`` has told of
                self._rows.close()
            self._rows = None
        if not self._journal.closed:
            # A journal with nothing but its heading beside a finished store says nothing: leave no trace.
            if self._num_finished and self._num_finished == len(self.ids):
                (self.folder / _JOURNAL).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._journal.close()

    def _must_fit(self, signature: FeatureSignature, dtype: str) -> None:
        signature.check(self.signature, f"{self.folder} (made earlier)")
        if dtype != self.dtype:
            raise MMTError(
                f"{self.folder}: holds {dtype}, but {self.dtype} was asked for. "
                f"Ask for {dtype}, or name another folder."
            )

    def _take_up(self) -> None:
        """Keeps what the journal vouches for, and cuts off what a kill left behind it."""
        self._journal.seek(0)
        good, heading = 0, False
        path = self.folder / _ROWS
        size = path.stat().st_size if path.exists() else 0
        for line in self._journal:
            try:
                entry = parse_json(line) if line.endswith(b"\n") else None
            except ValueError:
                entry = None
            if not _is_entry(entry):
                break
            if "signature" in entry:
                self._must_fit(FeatureSignature.from_dict(entry["signature"]), entry["dtype"])
                if entry["after"] != len(self.ids):
                    break  # the journal of rows that are finished by now
                heading = True
            elif not heading or (len(self.ids) + len(entry["ids"])) * self._row_bytes > size:
                break
            else:
                self._take(entry)
            good += len(line)
        self._journal.truncate(good)
        self._journal.seek(good)
        if size < self._num_finished * self._row_bytes:
            raise MMTError(
                f"{self.folder}: features.bin is too short. Remove the folder and run mmt features again."
            )
        self._rows = open(path, "ab")  # noqa: SIM115 (held open until close)
        if size > len(self.ids) * self._row_bytes:
            self._rows.truncate(len(self.ids) * self._row_bytes)
        if not heading:
            signature = self.signature.to_dict()
            self._write_journal({"signature": signature, "dtype": self.dtype, "after": len(self.ids)})

    def _take(self, entry: Mapping[str, Any]) -> None:
        self.ids.extend(entry["ids"])
        if hasattr(self, "_seen"):
            self._seen.update(entry["ids"])
        self.left_out.update(entry.get("left_out", {}))
        for image_id in entry["ids"]:
            self.left_out.pop(image_id, None)

    def _write_journal(self, entry: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(entry).encode() + b"\n")
        self._journal.flush()


def _is_entry(entry: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a line of the journal has the shape of one: its heading, or a batch."""
    if not isinstance(entry, dict):
        return False
    if "signature" in entry:
        return isinstance(entry["signature"], dict) and {"dtype", "after"} <= set(entry)
    ids, left_out = entry.get("ids"), entry.get("left_out", {})
    return isinstance(ids, list) and all(isinstance(i, str) for i in ids) and isinstance(left_out, dict)


def _ids_checksum(ids: Sequence[str]) -> str:
    lines = "".join(f"{image_id}\n" for image_id in ids)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _read_meta(folder: Path) -> tuple[FeatureSignature, DType, int, dict[str, str], dict[str, str]] | None:
    """Signature, number type, number of rows, left-out images, checksums; None where there is no ``meta.json``."""
    path = folder / _META
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT or raw["dtype"] not in DTYPES:
            raise ValueError(f"format {raw['format']} with {raw['dtype']}")
        signature, num_images, left_out = (
            FeatureSignature.from_dict(raw["signature"]),
            raw["num_images"],
            raw["left_out"],
        )
        sizes = (num_images, signature.num_regions, signature.dim)
        if type(num_images) is not int or min(sizes) < 1:
            raise ValueError(f"{num_images} images of {signature.num_regions} x {signature.dim}")
        sums = raw.get("sha256", {})  # earlier versions wrote none
        for table in (left_out, sums):
            if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
                raise TypeError(f"{table} is no table of texts")
        return signature, raw["dtype"], num_images, left_out, sums
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, MMTError) as error:
        raise MMTError(
            f"{path}: not a feature store's description ({error}). Remove the folder and run mmt features again."
        ) from None


def _read_ids(folder: Path, num_images: int, sums: Mapping[str, str]) -> list[str]:
    """The ids that count. Raises MMTError where they are others than were written, as far as ``sums`` tells."""
    try:
        text = (folder / _IDS).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MMTError(f"{folder / _IDS}: cannot be read ({error.strerror}). Run mmt features again.") from None
    ids = text.split("\n")[:-1][:num_images]  # not splitlines: an id may hold any other separator
    if len(ids) == num_images and sums.get(_IDS) not in (None, _ids_checksum(ids)):
        raise MMTError(
            f"{folder / _IDS}: damaged, its checksum is another than {_META} says, so that images could get each "
            "other's features. Remove the folder and run mmt features again."
        )
    return ids
