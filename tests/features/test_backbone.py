"""Laws of transforms, and of where regions lie in an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode

from mmt.data.feature_signature import FeatureSignature
from mmt.features.backbone import Transform, boxes_between, region_boxes

NUMBERS = "mean0.5,0.5,0.5-std0.5,0.5,0.5"


def signature(transform: str, regions: int) -> FeatureSignature:
    return FeatureSignature("any", "grid", transform, "ab" * 32, regions, 4)


@pytest.mark.parametrize(
    ("transform", "size", "first", "last"),
    [
        ("squash224", (640, 480), (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)),
        ("resize224-crop224", (100, 100), (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)),
        ("resize256-crop128", (99, 99), (0.25, 0.25, 0.5, 0.5), (0.5, 0.5, 0.75, 0.75)),
        # twice as wide: 512 x 256, the crop from (144, 16) to (368, 240)
        ("resize256-crop224", (800, 400), (144 / 512, 16 / 256, 0.5, 0.5), (0.5, 0.5, 368 / 512, 240 / 256)),
        ("resize256-crop224", (400, 800), (16 / 256, 144 / 512, 0.5, 0.5), (0.5, 0.5, 240 / 256, 368 / 512)),
        # a crop larger than the picture is padded, and the padding is no part of the picture
        ("resize100-crop200", (50, 50), (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)),
    ],
)
def test_boxes_by_hand(
    transform: str, size: tuple[int, int], first: tuple[float, ...], last: tuple[float, ...]
) -> None:
    boxes = region_boxes(signature(f"{transform}-bicubic-{NUMBERS}", 4), *size)
    assert boxes is not None
    assert len(boxes) == 4
    assert boxes[0] == pytest.approx(first)
    assert boxes[1] == pytest.approx((last[0], first[1], last[2], first[3]))  # row by row
    assert boxes[3] == pytest.approx(last)


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (1000, 201), (57, 58)])
@pytest.mark.parametrize("resize", [0, 256])
def test_boxes_are_what_the_backbone_sees(size: tuple[int, int], resize: int) -> None:
    """A picture whose pixels say where they are, through the real transform."""
    width, height = size
    x, y = torch.meshgrid(torch.arange(width) / width, torch.arange(height) / height, indexing="xy")
    picture = torch.stack([x, y, x]).mul(255).to(torch.uint8)
    pixels = Transform(resize, 224, InterpolationMode.BICUBIC, (0.5,) * 3, (0.5,) * 3)
    seen = pixels.pipeline()(picture).float() / 255
    boxes = region_boxes(signature(str(pixels), 49), width, height)
    assert boxes is not None
    for number, box in enumerate(boxes):
        row, column = divmod(number, 7)
        region = seen[:2, row * 32 : row * 32 + 32, column * 32 : column * 32 + 32].mean((1, 2))
        middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        np.testing.assert_allclose(region, middle, atol=0.02)


def test_unequal_edges_are_kept() -> None:
    boxes = boxes_between([0, 1, 10], f"squash10-bicubic-{NUMBERS}", 30, 20)
    assert boxes is not None
    assert boxes[1] == pytest.approx((0.1, 0, 1, 0.1))


def test_what_is_not_known_is_not_guessed() -> None:
    assert region_boxes(signature("none", 4), 10, 10) is None
    assert region_boxes(signature(f"squash224-bicubic-{NUMBERS}", 36 + 1), 10, 10) is None
