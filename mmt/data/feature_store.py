"""FeatureStore: image features by image id, memory-mapped, with the backbone that made them.

A store is a folder of these files, none of them a pickle:

- ``meta.json``: the signature, the number type, the number of rows, which images were left out and why, and the
  runtime, if not torch. It is written last and replaced atomically: a folder without it is not a store yet.
- ``ids.txt``: one image id per line, in row order.
- ``ids.index``, from a million ids on: where each is, so that none is in memory (``mmt.data.id_index``).
- ``features.bin``: the rows, (num_images, R, D) row-major, little-endian float16 or float32; or ``shards.json``,
  which names the stores that have them (``mmt.data.store_files``).

``meta.json`` has the SHA-256 of the ids and of the finished rows. Opening a store checks the ids': ids in another
order would give images each other's features. Checking the rows means reading them all, so only
``mmt features --check`` does it.

While rows are being added there is also ``journal.jsonl``: one line per batch, written after the batch's rows.
After a kill, the rows listed in the journal are kept and anything after them is cut off. Adding to a finished
store leaves it readable as it was: readers see the new rows once ``meta.json`` is replaced.

This module needs only NumPy, so that light commands start fast. ``mmt.features.extract`` computes features,
``mmt.features.writer`` writes them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_signature import FeatureSignature, JoinedSignature
from mmt.data.id_index import INDEX, IndexedIds
from mmt.data.image_names import Names
from mmt.data.store_files import IDS, JOURNAL, META, ROWS, SHARDS, ShardedRows, read_shards
from mmt.errors import MMTError, unreadable
from mmt.io.text_files import file_checksum, parse_json

DType = Literal["float16", "float32"]
DTYPES: tuple[DType, ...] = ("float16", "float32")

FORMAT = 1


class FeatureStore:
    """Features of images by id, memory-mapped: opening a store loads no rows into memory."""

    def __init__(
        self,
        folder: Path,
        signature: FeatureSignature,
        dtype: DType,
        ids: Sequence[str],
        rows: NDArray[Any] | ShardedRows,
        left_out: dict[str, str],
        sums: Mapping[str, str] | None = None,
    ) -> None:
        """Use ``FeatureStore.open``."""
        self.folder = folder
        self.signature = signature
        self.dtype: DType = dtype
        self.ids = ids
        #: image id -> why it has no features
        self.left_out = left_out
        self._rows, self._sums = rows, sums or {}
        indexed = isinstance(ids, IndexedIds)
        self._row_of = {} if indexed else {image_id: row for row, image_id in enumerate(ids)}

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Memory-maps the store in ``folder``.

        Raises:
            MMTError: there is none, it is incomplete, or its files do not match.
        """
        meta = read_meta(folder)
        if meta is None:
            state = "a half-written one" if (folder / JOURNAL).exists() else f"no {META}"
            if not folder.exists():
                state = "no such folder"
            raise MMTError(
                f"{folder}: expected a feature store, found {state}. Run mmt features, whose --out makes one or "
                "finishes it."
            )
        signature, dtype, num_images, left_out, sums = meta
        shards = read_shards(folder, sums[SHARDS]) if SHARDS in sums else None
        ids: Sequence[str] | None = _indexed_ids(folder, num_images, sums)
        if ids is None:
            ids = read_ids(folder, num_images, sums)
        distinct = len(ids) if isinstance(ids, IndexedIds) else len(set(ids))
        shape = (num_images, signature.num_regions, signature.dim)
        need = math.prod(shape) * np.dtype(dtype).itemsize
        size = (folder / ROWS).stat().st_size if (folder / ROWS).is_file() else 0 if shards is None else need
        # More bytes or ids than needed are rows still being added; fewer are a damaged store.
        if len(ids) != num_images or distinct != num_images or size < need:
            raise MMTError(
                f"{folder}: expected {num_images:,} ids and {need:,} bytes of features, "
                f"found {distinct:,} ids and {size:,} bytes. Remove the folder and run mmt features again."
            )
        rows: NDArray[Any] | ShardedRows
        if shards is not None:
            rows = ShardedRows(folder, shards, shape, np.dtype(dtype))
        else:
            rows = np.memmap(folder / ROWS, dtype=np.dtype(dtype), mode="r", shape=shape)
        return cls(folder, signature, dtype, ids, rows, left_out, sums)

    def verify(self) -> None:
        """Reads all rows, and raises MMTError if their checksum differs."""
        if isinstance(self._rows, ShardedRows):
            self._rows.verify()
        elif ROWS not in self._sums:
            raise MMTError(
                f"{self.folder}: has no checksum of its rows: an earlier version of mmt made it. Run mmt "
                "features again with a new --out."
            )
        elif file_checksum(self.folder / ROWS, self._rows.nbytes) != self._sums[ROWS]:
            raise MMTError(
                f"{self.folder / ROWS}: damaged, its checksum differs from the one in {META}. Remove the folder "
                "and run mmt features again."
            )
        if isinstance(self.ids, IndexedIds) and file_checksum(self.folder / INDEX) != self._sums.get(INDEX):
            raise MMTError(
                f"{self.folder / INDEX}: damaged, its checksum differs from the one in {META}. Remove this file: "
                "the ids are then read into memory."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in (self.ids if isinstance(self.ids, IndexedIds) else self._row_of)

    def hint(self, image_id: str) -> str:
        """`` (there is 'x')`` for the existing id nearest to a missing one, or an empty string."""
        return "" if isinstance(self.ids, IndexedIds) else Names(self.ids).hint(image_id)  # of millions

    def get(self, image_ids: Sequence[str]) -> NDArray[np.float32]:
        """Reads features by id.

        Args:
            image_ids: N ids; an id may occur several times.
        Returns:
            (N, R, D) float32 whatever the stored type, in ``image_ids``'s order; a copy, yours to change.
        Raises:
            MMTError: an id has no features; the message names the first.
        """
        if isinstance(self.ids, IndexedIds):
            rows = self.ids.find(image_ids).tolist()
        else:
            rows = [self._row_of.get(image_id, -1) for image_id in image_ids]
        if -1 in rows:
            image_id = image_ids[rows.index(-1)]
            why = self.hint(image_id)
            if image_id in self.left_out:
                why = f" (left out: {self.left_out[image_id]})"
            raise MMTError(
                f"no features for image '{image_id}' in {self.folder} ({len(self):,} ids){why}. "
                "Run mmt features, or set images.missing: skip."
            )
        features: NDArray[np.float32] = self._rows[rows].astype(np.float32)
        return features


def _indexed_ids(folder: Path, num_images: int, sums: Mapping[str, str]) -> IndexedIds | None:
    """The ids of the finished rows, from their index; None without one, or where rows are being added.

    Raises:
        MMTError: the index or the ids are damaged.
    """
    if not (folder / INDEX).is_file() or not (folder / IDS).is_file():
        return None
    ids = IndexedIds(folder / IDS, folder / INDEX)
    if len(ids) != num_images:
        return None
    if not ids.checksum.hex() == sums.get(IDS) == file_checksum(folder / IDS, ids.num_bytes):
        raise _damaged_ids(folder, sums)
    return ids


def _damaged_ids(folder: Path, sums: Mapping[str, str]) -> MMTError:
    remedy = "Join the shards" if SHARDS in sums else "Remove the folder and run mmt features"
    return MMTError(
        f"{folder / IDS}: damaged, its checksum differs from the one in {META}, so that images could get each "
        f"other's features. {remedy} again."
    )


def ids_checksum(ids: Sequence[str]) -> str:
    lines = "".join(f"{image_id}\n" for image_id in ids)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def read_meta(folder: Path) -> tuple[FeatureSignature, DType, int, dict[str, str], dict[str, str]] | None:
    """Signature, number type, number of rows, left-out images, checksums; None without ``meta.json``."""
    path = folder / META
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT or raw["dtype"] not in DTYPES:
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
                raise TypeError(f"{table} is not a table of strings")
        return signature, raw["dtype"], num_images, left_out, sums
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError, MMTError) as error:
        raise MMTError(
            f"{path}: not a feature store's description ({error}). Remove the folder and run mmt features again."
        ) from None


def read_ids(folder: Path, num_images: int, sums: Mapping[str, str]) -> list[str]:
    """The ids of the finished rows. Raises MMTError if their checksum differs from that in ``sums``."""
    try:
        text = (folder / IDS).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise unreadable(error) from None
    except OSError as error:
        raise MMTError(f"{folder / IDS}: cannot be read ({error.strerror}). Run mmt features again.") from None
    ids = text.split("\n")[:-1][:num_images]  # not splitlines: an id may hold any other separator
    if len(ids) == num_images and sums.get(IDS) not in (None, ids_checksum(ids)):
        raise _damaged_ids(folder, sums)
    return ids


# --- several sets of features of the same images, side by side: a grid of one backbone and a vector of another ---


class JoinedStore(FeatureStore):
    """Several stores as one, with the images that all of them have."""

    def __init__(self, stores: Sequence[FeatureStore]) -> None:
        """
        Raises:
            MMTError: no image is in all of them.
        """
        first = stores[0].ids
        ids: Sequence[str] = first
        same = isinstance(first, IndexedIds) and all(
            isinstance(store.ids, IndexedIds) and store.ids.checksum == first.checksum for store in stores
        )
        if not same:
            ids = [name for name in first if all(name in store for store in stores[1:])]
        if not ids:
            raise MMTError(
                f"{' and '.join(str(store.folder) for store in stores)}: expected features of the same images, "
                "but no image is in all of them. Run mmt features on the same dataset for each."
            )
        left_out = {name: why for store in stores for name, why in store.left_out.items()}
        folder = Path(" + ".join(str(store.folder) for store in stores))  # for messages
        signature = JoinedSignature.of([store.signature for store in stores])
        super().__init__(folder, signature, "float32", ids, np.empty(0), left_out)
        self._stores = list(stores)

    def get(self, image_ids: Sequence[str]) -> NDArray[np.float32]:
        return side_by_side([store.get(image_ids) for store in self._stores])


def open_features(folders: Sequence[Path]) -> FeatureStore:
    """Opens one store, or several as one. Raises MMTError like ``FeatureStore.open`` and ``JoinedStore``."""
    if not folders:
        raise MMTError("features: expected a feature store, found an empty list. Name one, or several.")
    stores = [FeatureStore.open(folder) for folder in folders]
    return stores[0] if len(stores) == 1 else JoinedStore(stores)


def side_by_side(sets: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """(N, R, dim) of each set -> (N, sum of R, widest dim), 0 beyond a set's own width."""
    if len(sets) == 1:
        return sets[0]
    width = max(one.shape[2] for one in sets)
    return np.concatenate([np.pad(one, ((0, 0), (0, 0), (0, width - one.shape[2]))) for one in sets], axis=1)
