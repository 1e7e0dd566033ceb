"""Search among millions of vectors: inverted lists of short codes on disk, then the exact cosines of the best.

Product quantisation (Jégou et al. 2011, https://doi.org/10.1109/TPAMI.2010.57), by faiss: the vectors are divided
into lists around k-means centroids, and each is stored as a code of at most 64 bytes. A query looks into some of
the lists, and of the nearest codes the whole vectors are read from disk and compared. Lists and vectors are
memory-mapped, so that memory holds only what queries touch.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 65_536  # vectors in memory at a time while an index is built
_CODE_BYTES = 64
_POINTS = 64  # vectors that train a centroid; k-means wants 39 to 256
_LISTS = 64  # into which a query looks
_CANDIDATES = 20  # whose vectors are read, for each answer, and at least 200


def build(faiss: ModuleType, vectors: NDArray[np.float32]) -> Any:
    """A faiss index of vectors of length 1, which are read in blocks.

    Args:
        vectors: (N, D), N of at least 256; memory-mapped, if they do not fit into memory.
    """
    num, dim = vectors.shape
    lists = min(2 ** round(math.log2(2 * math.sqrt(num))), num // 39)
    codes = max(size for size in range(1, _CODE_BYTES + 1) if dim % size == 0)
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFPQ(quantizer, dim, max(lists, 1), codes, 8, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # below 39 faiss prints a warning
    # Evenly: the order of the items, such as of their names, may mean something.
    sample = np.linspace(0, num - 1, min(num, max(lists * _POINTS, 256 * 64))).astype(np.int64)
    index.train(np.ascontiguousarray(vectors[np.unique(sample)]))
    for first in range(0, num, BLOCK):
        index.add(np.ascontiguousarray(vectors[first : first + BLOCK]))
    return index


class CompressedSearcher:
    """Searches as faiss's indices do, with exact cosines. d: D."""

    def __init__(self, index: Any, vectors: NDArray[np.float32]) -> None:
        """
        Args:
            index: what ``read`` returns.
            vectors: (N, D), memory-mapped.
        """
        self._index, self._vectors = index, vectors
        self.d: int = vectors.shape[1]
        index.nprobe = min(_LISTS, index.nlist)

    @classmethod
    def read(cls, faiss: ModuleType, path: Path, vectors: NDArray[np.float32]) -> CompressedSearcher:
        """Memory-maps what ``build`` built. Raises ValueError where it is of other vectors."""
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        if not isinstance(index, faiss.IndexIVFPQ) or (index.ntotal, index.d) != vectors.shape:
            raise ValueError(f"{path.name} is of another index")
        return cls(index, vectors)

    def search(self, queries: NDArray[np.float32], top: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """
        Args:
            queries: (Q, D) of length 1.
            top: K.
        Returns:
            (Q, K) cosines, and (Q, K) rows; where fewer than K were found, rows of -1.
        """
        count = min(max(_CANDIDATES * top, 200), len(self._vectors))
        _, found = self._index.search(queries, count)
        cosines = np.full((len(queries), top), -np.inf, np.float32)
        rows = np.full((len(queries), top), -1, np.int64)
        for number, (query, candidates) in enumerate(zip(queries, found, strict=True)):
            near = np.sort(candidates[candidates >= 0])  # in the order of the file
            exact = self._vectors[near] @ query
            best = np.lexsort((near, -exact))[:top]
            cosines[number, : len(best)], rows[number, : len(best)] = exact[best], near[best]
        return cosines, rows
