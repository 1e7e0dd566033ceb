"""Pixels after the transform are those of torchvision, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode

from mmt.features.backbone import Transform
from mmt.features.resize import KERNELS, ResizeCrop

SIZES = [(30, 40), (3, 299), (299, 3), (2, 3), (1, 1), (224, 224), (257, 255), (375, 500), (256, 20), (700, 20)]


@pytest.mark.skipif("AVX2" not in torch.backends.cpu.get_cpu_capability(), reason="torch resizes floats there")
@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize("sizes", [(256, 224), (0, 224), (32, 48)])
def test_pixels_are_torchvisions(sizes: tuple[int, int], interpolation: str) -> None:
    """Noise, in which every wrong weight shows; also where the crop is larger than the picture."""
    transform = Transform(*sizes, InterpolationMode(interpolation), (0.5,) * 3, (0.5,) * 3)
    ours = ResizeCrop.of(str(transform))
    assert ours is not None
    assert (ours.resize, ours.crop, ours.interpolation) == (*sizes, interpolation)
    for height, width in SIZES:
        pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = transform.pipeline()(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(ours(pixels), expected, err_msg=f"{height} x {width}")


def test_another_transform_is_none_of_ours() -> None:
    assert ResizeCrop.of("logmel80") is None
