"""Resizing and cropping in NumPy, with the pixels of torchvision's transforms to the bit; no torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_signature import SQUARE
from mmt.features.decoding import Pixels

KERNELS = ("bilinear", "bicubic")
"""The interpolations that ``ResizeCrop`` computes, with antialiasing."""

_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}  # of the kernel, in pixels
_STRIP = 256  # rows that are resized at a time, so that a large picture does not fill the memory
_BLOCK = 16  # of rows of the result that are computed as one product of matrices
_MOST_BITS, _LARGEST_WEIGHT = 22, 1 << 15


@dataclass(frozen=True)
class ResizeCrop:
    """Resizes the shorter side to ``resize`` pixels, or squashes to the crop if that is 0; then crops the middle.

    Equal to torchvision's ``v2.Resize(antialias=True)`` and ``v2.CenterCrop`` of a uint8 tensor on a CPU, which
    resizes with integers as Pillow does, but with 16 bits of weights: rows first, then columns.
    """

    resize: int
    crop: int
    interpolation: str

    @classmethod
    def of(cls, transform: str) -> ResizeCrop | None:
        """Of a feature signature's transform; None where that is of another kind."""
        found = SQUARE.match(transform)
        return cls(int(found[1] or 0), int(found[2]), found[3]) if found else None

    def __call__(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) uint8 -> (crop, crop, 3) uint8. Needs an interpolation of ``KERNELS``."""
        return _centre(resized(pixels, *self._size(*pixels.shape[:2]), self.interpolation), self.crop)

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the resize."""
        if not self.resize:
            return self.crop, self.crop
        longer = int(self.resize * max(height, width) / min(height, width))
        return (longer, self.resize) if width <= height else (self.resize, longer)


def parts_of(crops: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of an image's crops: of one, the whole; of five, then its quarters, row by row."""
    whole = [(slice(0, height), slice(0, width))]
    halves = (((size + 1) // 2, size) for size in (height, width))  # of an odd size, both have the middle one
    rows, columns = ((slice(0, half), slice(size - half, size)) for half, size in halves)
    return whole if crops == 1 else whole + list(itertools.product(rows, columns))


def resized(pixels: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    """(H, W, 3) -> (height, width, 3), uint8."""
    if pixels.shape[1] != width:
        kernel = _Kernel(pixels.shape[1], width, interpolation)
        strips = [pixels[first : first + _STRIP] for first in range(0, len(pixels), _STRIP)]
        pixels = np.concatenate([kernel.applied(strip.transpose(1, 0, 2)).transpose(1, 0, 2) for strip in strips])
    if len(pixels) != height:
        pixels = _Kernel(len(pixels), height, interpolation).applied(pixels)
    return pixels


def _centre(pixels: Pixels, crop: int) -> Pixels:
    """The middle crop x crop pixels; where the picture is smaller, black around it."""
    height, width = pixels.shape[:2]
    above, left = max(crop - height, 0) // 2, max(crop - width, 0) // 2
    below, right = (max(crop - height, 0) + 1) // 2, (max(crop - width, 0) + 1) // 2
    pixels = np.pad(pixels, ((above, below), (left, right), (0, 0)))
    top, start = round((pixels.shape[0] - crop) / 2), round((pixels.shape[1] - crop) / 2)
    return np.ascontiguousarray(pixels[top : top + crop, start : start + crop])


class _Kernel:
    """How one axis is resampled: each row of the result is a weighted sum of rows that follow each other."""

    def __init__(self, size: int, new_size: int, interpolation: str) -> None:
        scale = size / new_size
        support = _SUPPORT[interpolation] * max(scale, 1.0)
        centre = scale * (np.arange(new_size) + 0.5)
        self.first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
        self.last = np.minimum((centre + support + 0.5).astype(np.int64), size)
        place = np.arange(math.ceil(support) * 2 + 1)
        distance = np.abs((place + self.first[:, None] - centre[:, None] + 0.5) / max(scale, 1.0))
        weights = _cubic(distance) if interpolation == "bicubic" else np.maximum(1 - distance, 0)
        weights[place >= (self.last - self.first)[:, None]] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        self.bits = 0  # as many as 16-bit weights have room for
        while self.bits < _MOST_BITS and int(0.5 + np.max(weights) * (2 << self.bits)) < _LARGEST_WEIGHT:
            self.bits += 1
        self.weights: NDArray[np.float64] = np.trunc(weights * (1 << self.bits) + np.copysign(0.5, weights))

    def applied(self, pixels: Pixels) -> Pixels:
        """Resamples the first axis. The sums are of integers below 2**53, so float64 has them to the bit."""
        rows = pixels.reshape(len(pixels), -1)
        result = np.empty((len(self.first), rows.shape[1]), np.uint8)
        for start in range(0, len(result), _BLOCK):
            block = range(start, min(start + _BLOCK, len(result)))
            first, last = self.first[block[0]], self.last[block[-1]]
            matrix = np.zeros((len(block), last - first))
            for row in block:
                window = slice(self.first[row] - first, self.last[row] - first)
                matrix[row - start, window] = self.weights[row, : self.last[row] - self.first[row]]
            sums = matrix @ rows[first:last].astype(np.float64)
            np.floor((sums + (1 << self.bits >> 1)) / (1 << self.bits), out=sums)
            result[start : block[-1] + 1] = np.clip(sums, 0, 255, out=sums)
        return result.reshape(-1, *pixels.shape[1:])


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.5, of distances."""
    inner, outer = (1.5 * x - 2.5) * x * x + 1, ((x - 5) * x + 8) * x - 4
    return np.where(x < 1, inner, np.where(x < 2, -0.5 * outer, 0))
