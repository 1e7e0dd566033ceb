"""Features of image files without torch: a backbone as an ONNX graph, which ``mmt.features.onnx_export`` writes.

A graph takes ``pixels``, (N, K * C, C, 3) uint8 after the transform, K crops of an image one below the other, and
gives ``features``, (N, R, D) float32. Its metadata has the signature of these features as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_signature import FeatureSignature
from mmt.errors import MMTError
from mmt.features.decoding import Pixels, decode_image
from mmt.features.images import read_ahead
from mmt.features.resize import KERNELS, ResizeCrop, parts_of
from mmt.io.onnx import open_session
from mmt.io.processes import in_threads
from mmt.io.text_files import parse_json

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS, FEATURES = "pixels", "features"
SIGNATURE = "mmt.signature"
"""The key of the signature in a graph's metadata."""

_BATCH = 32  # images of a forward pass


class OnnxBackbone:
    """A frozen network that turns image files into features, in ONNX Runtime.

    >>> backbone = OnnxBackbone(Path("exported/backbone_1.onnx"))            # doctest: +SKIP
    >>> backbone.features([Path("dog.jpg")]).shape                           # doctest: +SKIP
    (1, 1, 1280)

    Attributes:
        signature: which backbone makes the features, and how.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """
        Args:
            threads: for decoding and for the network; None takes one for each core.
        Raises:
            MMTError: no backbone that mmt exported, or a damaged one.
        """
        self._threads = threads or os.cpu_count() or 1
        if not path.is_file():
            raise MMTError(f"{path}: no such file. Export the model again.")
        self._session = open_session(path, self._threads)
        try:
            raw = self._session.get_modelmeta().custom_metadata_map[SIGNATURE]
            self.signature = FeatureSignature.from_dict(parse_json(raw))
            pixels = ResizeCrop.of(self.signature.transform)
            if pixels is None or pixels.interpolation not in KERNELS:
                raise ValueError(f"transform {self.signature.transform}")
        except (KeyError, ValueError, TypeError, MMTError) as error:
            raise MMTError(f"{path}: no backbone of mmt ({error}). Export the model again.") from None
        self._transform = pixels

    def read(self, source: Path | bytes | Image) -> Pixels:
        """Decodes and transforms a file, its bytes, or an opened image -> (K * C, C, 3) uint8.

        Raises:
            ImageError: (an MMTError) naming the file, see ``mmt.features.decoding.decode_image``.
        """
        pixels = decode_image(source)
        parts = parts_of(self.signature.crops, *pixels.shape[:2])
        return np.concatenate([self._transform(pixels[part]) for part in parts])

    def features(self, images: Sequence[Path | bytes | Image]) -> NDArray[np.float32]:
        """(N, R, D), in ``images``'s order.

        Raises:
            ImageError: (an MMTError) with the name of the first image that cannot be read.
        """
        rows = [np.zeros((0, self.signature.num_regions, self.signature.dim), np.float32)]
        for first in range(0, len(images), _BATCH):
            batch = images[first : first + _BATCH]
            for source in images[first + _BATCH : first + 2 * _BATCH]:
                read_ahead(source)
            pixels = np.stack(list(in_threads(self.read, batch, self._threads)))
            rows += self._session.run([FEATURES], {PIXELS: pixels})
        return np.concatenate(rows)
