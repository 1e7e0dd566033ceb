"""Where the regions of image features lie in the picture from which they were made."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np

from mmt.data.feature_store import FeatureSignature

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as shares of the upright picture's width and height; (0, 0) is its upper left corner."""


def region_boxes(signature: FeatureSignature, width: int, height: int) -> list[Box] | None:
    """
    Args:
        signature: of the features; its transform says which square of the picture the backbone saw.
        width, height: of the upright picture, in pixels.
    Returns:
        R boxes, row by row; None where the transform is not one of ``mmt.features.backbones`` or R is no square
        number.
    """
    side = math.isqrt(signature.num_regions)
    if side**2 != signature.num_regions:
        return None
    return boxes_between(range(side + 1), signature.transform, width, height)


def boxes_between(edges: Sequence[int], transform: str, width: int, height: int) -> list[Box] | None:
    """Boxes of a grid over the square that a backbone saw.

    Args:
        edges: of the grid's columns, and of its rows: from 0 to the square's side, in any unit.
        transform: a feature signature's.
        width, height: of the upright picture, in pixels.
    Returns:
        (len(edges) - 1) ** 2 boxes, row by row; None where the transform is not one of ``mmt.features.backbones``.
    """
    if re.match(r"squash\d+-", transform):
        left, top, wide, high = 0.0, 0.0, 1.0, 1.0  # of the square in the picture
    elif sizes := re.match(r"resize(\d+)-crop(\d+)-", transform):
        resize, crop = int(sizes[1]), int(sizes[2])
        # as torchvision's Resize and CenterCrop round
        longer = int(resize * max(width, height) / min(width, height))
        new_width, new_height = (resize, longer) if width <= height else (longer, resize)
        left, top = round((new_width - crop) / 2) / new_width, round((new_height - crop) / 2) / new_height
        wide, high = crop / new_width, crop / new_height
    else:
        return None
    # cut off at the picture: where the crop is larger, it was padded
    x, y = (
        np.clip([start + size * edge / edges[-1] for edge in edges], 0.0, 1.0).tolist()
        for start, size in ((left, wide), (top, high))
    )
    return [(x0, y0, x1, y1) for y0, y1 in itertools.pairwise(y) for x0, x1 in itertools.pairwise(x)]
