"""Retrieval metrics: ranks of the correct answers, recall at 1, 5 and 10, median rank, and chance level."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmt.errors import MMTError

FIGURES = {"recall_at_1": 1, "recall_at_5": 5, "recall_at_10": 10}
_CHUNK = 2048
_PRECISION = 2.0**25

_Vectors = NDArray[np.floating[Any]]


def ranks(
    captions: _Vectors,
    images: _Vectors,
    image_of_caption: NDArray[np.integer[Any]],
    *,
    chunk: int = _CHUNK,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rank of each query's correct answer, in both directions, from 1.

    All captions of an image are correct answers; its rank is that of the best. A wrong candidate with an equal
    score ranks before the correct one, so that a model with identical vectors finds nothing. Vectors are rounded
    to multiples of 2^-25, about the precision of float32: products of such vectors are exact in float64 in any
    order of addition, so that ties are exact and the chunk size changes nothing.

    Args:
        captions: (N, D) vectors of length 1 (or less).
        images: (M, D) likewise; one without a caption is a candidate, but not a query.
        image_of_caption: (N,) the row in ``images`` of each caption's image.
        chunk: at most chunk x chunk similarities are in memory at a time.
        progress: called with the number of captions just finished.
    Returns:
        (N,) ranks of captions, and (M',) ranks of images with captions, in the order of ``images``.
    Raises:
        MMTError: a vector is longer than 1, or has an infinite or NaN value.
        ValueError: the shapes do not match.
    """
    num_captions, num_images = len(captions), len(images)
    owners = np.asarray(image_of_caption, np.int64)
    if captions.shape[1] != images.shape[1] or owners.shape != (num_captions,):
        raise ValueError(f"captions {captions.shape}, images {images.shape} and owners {owners.shape} do not fit.")
    if not num_captions or owners.min() < 0 or owners.max() >= num_images:
        raise ValueError(f"image_of_caption must be rows of {num_images} images, and there must be captions.")
    own = np.concatenate(
        [
            np.einsum("nd,nd->n", _rounded(captions[rows]), _rounded(images[owners[rows]]))
            for rows in _slices(num_captions, chunk)
        ]
    )
    best = np.full(num_images, -np.inf)
    np.maximum.at(best, owners, own)
    of_caption = np.zeros(num_captions, np.int64)
    of_image = np.zeros(num_images, np.int64)
    # A caption's own image always counts among those with an equal score; so do an image's best captions.
    np.add.at(of_image, owners, -(own == best[owners]).astype(np.int64))
    for rows in _slices(num_captions, chunk):
        queries = _rounded(captions[rows])
        for columns in _slices(num_images, chunk):
            scores = queries @ _rounded(images[columns]).T
            of_caption[rows] += np.count_nonzero(scores >= own[rows, None], axis=1)
            of_image[columns] += np.count_nonzero(scores >= best[columns], axis=0)
        if progress is not None:
            progress(len(queries))
    return of_caption, of_image[np.isfinite(best)] + 1


def figures(places: NDArray[np.int64]) -> dict[str, float]:
    """Recall at 1, 5 and 10: the share of queries (0 to 1) with a correct answer up to that rank; median rank.

    The median of an even number of ranks is rounded down, as in VSE++ (https://github.com/fartashf/vsepp) and
    open_clip: floor(median) + 1 of ranks from 0.
    """
    shares = {name: float(np.mean(places <= k)) for name, k in FIGURES.items()}
    return shares | {"median_rank": float(np.floor(np.median(places)))}


def chance(num_right: NDArray[np.integer[Any]], num_candidates: int) -> dict[str, float]:
    """The expected ``figures`` for candidates in random order.

    One of r correct answers is among the first k of n with probability 1 - C(n - r, k) / C(n, k). The median rank
    is the first k at which the mean of that over queries is 1/2.

    Args:
        num_right: (Q,) number of correct answers of each query.
    """
    values, counts = np.unique(num_right, return_counts=True)

    def recall(k: int) -> float:
        shares = [1 - _none_among(int(right), k, num_candidates) for right in values]
        return float(np.average(shares, weights=counts))

    median = 1 + bisect_left(range(1, num_candidates + 1), 0.5 - 1e-12, key=recall)
    return {name: recall(k) for name, k in FIGURES.items()} | {"median_rank": float(median)}


def mean_recall(captions: _Vectors, images: _Vectors, image_ids: Sequence[str]) -> float:
    """Mean of recall at 1, 5 and 10 in both directions (0 to 1): VSE++'s rsum, over 6.

    Args:
        captions: (N, D) vectors of length 1.
        images: (N, D) the image of each caption; an image with several captions occurs several times.
        image_ids: the ids of these images.
    """
    first = {name: row for row, name in reversed([*enumerate(image_ids)])}
    place = {name: number for number, name in enumerate(first)}
    found = ranks(captions, images[[*first.values()]], np.array([place[name] for name in image_ids]))
    return float(np.mean([figures(places)[name] for places in found for name in FIGURES]))


def _rounded(vectors: _Vectors) -> NDArray[np.float64]:
    """Multiples of 2^-25 no longer than about 1: their products are exact, see ``ranks``."""
    fixed: NDArray[np.float64] = np.rint(vectors.astype(np.float64) * _PRECISION) / _PRECISION
    longest = np.einsum("nd,nd->n", fixed, fixed).max()
    if not longest < 1.001:
        raise MMTError(f"vectors: expected a length of 1 at most, found {math.sqrt(longest):.4g}. Train it again.")
    return fixed


def _slices(num_rows: int, chunk: int) -> list[slice]:
    return [slice(first, min(first + chunk, num_rows)) for first in range(0, num_rows, chunk)]


def _none_among(right: int, k: int, num: int) -> float:
    """The probability that none of ``right`` items is among the first ``k`` of ``num`` in random order."""
    if k > num - right:
        return 0.0
    lgamma = math.lgamma
    return math.exp(lgamma(num - right + 1) + lgamma(num - k + 1) - lgamma(num - right - k + 1) - lgamma(num + 1))
