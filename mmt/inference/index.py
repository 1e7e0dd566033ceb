"""An index: a folder with the vectors of many images or sentences, to find those nearest to a query.

The folder holds ``vectors.npy`` (N, D), ``items.json`` (image ids, or sentences, one a row), ``index.json`` (what
it is, which model made it, and the other files' SHA-256) and, if it is large, ``search.faiss``. Below
``EXACT_BELOW`` items the search is exact; above, it is by HNSW (Malkov and Yashunin 2018,
https://arxiv.org/abs/1603.09320), which compares few items and may miss some of the nearest; from
``COMPRESSED_FROM`` on by compressed vectors on disk (``mmt.inference.compressed``). All are faiss's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mmt.data.tokenizer import TOKENIZER
from mmt.errors import MMTError, nearest, unreadable
from mmt.inference.compressed import CompressedSearcher, build
from mmt.io.atomic import disk_error, replacing_folder, unwritable
from mmt.io.terminal import counted
from mmt.io.text_files import file_checksum, parse_json
from mmt.model.card import WEIGHTS

Kind = Literal["images", "sentences"]
EXACT_BELOW = 100_000
COMPRESSED_FROM = 1_000_000  # where HNSW would take 1.3 GB of memory

_VECTORS, _ITEMS, _INFO, _SEARCH = "vectors.npy", "items.json", "index.json", "search.faiss"
_FORMAT = 1
_COMPRESSED = "ivfpq"  # "search" in index.json
# They find all ten nearest of 100,000 clustered vectors of 256 numbers; building took 112 s on two cores.
_LINKS, _BUILD_BREADTH, _SEARCH_BREADTH = 32, 100, 128


@dataclass(frozen=True)
class Index:
    """``items``: image ids or sentences, N; ``images``: where the files of the images are, "" if unknown."""

    kind: Kind
    items: list[str]
    images: str
    method: str
    """The search method, for messages."""
    searcher: Any

    @property
    def size(self) -> str:
        """The number of items, for messages."""
        return counted(len(self.items), self.kind.removesuffix("s"))

    def search(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The items nearest to each query, best first; equally near ones in the index's order.

        Args:
            queries: (Q, D) vectors of length 1.
            top: K; all N items if there are fewer.
        Returns:
            (Q, K) rows in ``items`` and (Q, K) cosines. A large index may, rarely, find fewer than K: rows -1.
        Raises:
            MMTError: vectors of another length.
        """
        if queries.shape[1] != self.searcher.d:
            raise MMTError(
                f"the index has vectors of {self.searcher.d} numbers, the query of {queries.shape[1]}. "
                "Use the model that made the index."
            )
        cosines, rows = self.searcher.search(np.ascontiguousarray(queries), min(top, len(self.items)))
        order = np.lexsort((rows, -cosines), axis=1)
        return np.take_along_axis(rows, order, 1), np.take_along_axis(cosines, order, 1)


def model_checksum(folder: Path) -> str:
    """SHA-256 over a model folder's weights and tokenizer, which determine its vectors.

    Raises:
        MMTError: a file is missing.
    """
    digest = hashlib.sha256()
    for name in (WEIGHTS, TOKENIZER):
        try:
            with (folder / name).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise MMTError(f"{folder / name}: cannot be read ({error.strerror}). Copy the model again.") from None
    return digest.hexdigest()


def check_place(folder: Path) -> None:
    """Raises MMTError where ``folder`` contains anything but an index, which must not be replaced."""
    if folder.exists() and not (folder / _INFO).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise MMTError(f"{folder}: expected a new folder or an index, found something else. Name another folder.")


def write_index(
    folder: Path,
    kind: Kind,
    items: list[str],
    vectors: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    model: Path,
    images: str = "",
) -> Index:
    """Writes an index atomically; an older one at ``folder`` is replaced.

    Args:
        items: N, as ``Index.items``.
        vectors: (N, D) of length 1, or blocks of them, in order, of which one at a time is in memory.
        model: the folder of the model that made the vectors.
        images: as ``Index.images``.
    Raises:
        MMTError: there are no items, a vector is not finite, or the folder cannot be written.
    """
    faiss = _faiss()
    if not items:
        raise MMTError(f"{folder}: expected a vector for each item, found 0 and 0.")
    check_place(folder)
    info: dict[str, Any] = {
        "format": _FORMAT,
        "kind": kind,
        "num_items": len(items),
        "model": os.path.abspath(model),
        "model_checksum": model_checksum(model),
        "images": images,
    }
    folder = Path(os.path.realpath(folder))
    try:
        with replacing_folder(folder) as beside:
            blocks = [vectors] if isinstance(vectors, np.ndarray) else vectors
            info["dim"] = _write_vectors(beside / _VECTORS, len(items), blocks, folder, model)
            (beside / _ITEMS).write_text(json.dumps(items), encoding="utf-8")
            if len(items) >= EXACT_BELOW:
                written = np.load(beside / _VECTORS, mmap_mode="r")
                if len(items) >= COMPRESSED_FROM:
                    searcher = build(faiss, written)
                    info["search"] = _COMPRESSED
                else:
                    searcher = faiss.IndexHNSWFlat(info["dim"], _LINKS, faiss.METRIC_INNER_PRODUCT)
                    searcher.hnsw.efConstruction = _BUILD_BREADTH
                    searcher.add(np.ascontiguousarray(written))
                with (beside / _SEARCH).open(
                    "wb"
                ) as stream:  # faiss's own writer hides a failure of the last bytes
                    faiss.write_index(searcher, faiss.PyCallbackIOWriter(stream.write))
            info["sha256"] = {path.name: file_checksum(path) for path in sorted(beside.iterdir())}
            (beside / _INFO).write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise unwritable(folder, disk_error(error) or error) from None
    return open_index(folder, model)


def _write_vectors(path: Path, num: int, blocks: Iterable[NDArray[np.float32]], folder: Path, model: Path) -> int:
    """Writes blocks as ``np.save`` would write the whole; returns D. (A memory map would crash on a full disk.)"""
    rows = dim = 0
    with path.open("wb") as stream:
        for block in blocks:
            if not np.isfinite(block).all():
                raise MMTError(f"{folder}: {model} gives vectors that are not finite. Train it again.")
            if not rows:
                dim = block.shape[1]
                header = {"descr": "<f4", "fortran_order": False, "shape": (num, dim)}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(np.ascontiguousarray(block, "<f4").data)
            rows += len(block)
    if rows != num:
        raise MMTError(f"{folder}: expected a vector for each item, found {num:,} and {rows:,}.")
    return dim


def _faiss() -> ModuleType:
    """The library, which the small install lacks."""
    import faiss

    return faiss


def open_index(folder: Path, model: Path) -> Index:
    """Opens an index for queries by ``model``.

    Raises:
        MMTError: there is none, it is damaged, or another model made it.
    """
    faiss = _faiss()
    path = folder / _INFO
    try:
        info = parse_json(path.read_text(encoding="utf-8"))
        if info["format"] != _FORMAT:
            raise MMTError(f"{path}: expected format {_FORMAT}, found {info['format']!r}. Build the index again.")
        if info["model_checksum"] != (checksum := model_checksum(model)):
            raise MMTError(
                f"{folder}: another model made this index, {info['model']} (weights {info['model_checksum'][:8]}, "
                f"not {checksum[:8]} as {model}): their vectors do not go together. Use that one, or build the "
                "index again with --images or --sentences."
            )
        large = (folder / _SEARCH).is_file()
        compressed = large and info.get("search") == _COMPRESSED
        # Checked first, as faiss trusts its files. Earlier versions wrote no checksums. Vectors by the million are
        # not read as a whole: a damaged one is at a wrong place in the order, at worst.
        for name, checksum in dict(info.get("sha256", {})).items():
            if name == _VECTORS and compressed:
                continue
            if name not in (_ITEMS, _VECTORS, _SEARCH) or file_checksum(folder / name) != checksum:
                raise ValueError(f"the checksum of {name} is another")
        items = parse_json((folder / _ITEMS).read_text(encoding="utf-8"))
        vectors = np.load(folder / _VECTORS, mmap_mode="r", allow_pickle=False)
        if vectors.shape != (info["num_items"], info["dim"]) or len(items) != info["num_items"]:
            raise ValueError(f"{len(items):,} items, vectors {vectors.shape}")
        if vectors.dtype != np.float32 or not all(isinstance(item, str) for item in items):
            raise ValueError("items or vectors of another kind")
        if info["kind"] not in get_args(Kind) or not isinstance(info["images"], str) or "\0" in info["images"]:
            raise ValueError(f"of kind {info['kind']!r}")
        method = "exact search"
        searcher: Any
        if compressed:
            searcher = CompressedSearcher.read(faiss, folder / _SEARCH, vectors)
            method = "approximate search by compressed vectors (IVF-PQ)"
        elif large:
            searcher = faiss.read_index(str(folder / _SEARCH))
            if not isinstance(searcher, faiss.IndexHNSWFlat) or (searcher.ntotal, searcher.d) != vectors.shape:
                raise ValueError(f"{_SEARCH} is of another index")
            searcher.hnsw.efSearch = _SEARCH_BREADTH
            method = "approximate search by HNSW"
        else:
            searcher = faiss.IndexFlatIP(info["dim"])
            searcher.add(np.ascontiguousarray(vectors))
        return Index(cast(Kind, info["kind"]), items, info["images"], method, searcher)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not path.is_file():
            there = [one.parent.name for one in folder.parent.glob(f"*/{_INFO}")]
            raise MMTError(
                f"{folder}: no index there.{nearest(folder.name, there)} Build one with --images or --sentences."
            ) from None
        raise MMTError(f"{folder}: no {Path(error.filename).name}. Build the index again.") from None
    except MMTError:
        raise
    except PermissionError as error:
        raise unreadable(error) from None
    except Exception as error:  # NumPy reads a header as Python, faiss has errors of its own
        raise MMTError(f"{folder}: damaged ({str(error).splitlines()[0]}). Build the index again.") from None
