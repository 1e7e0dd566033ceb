"""Histograms of colours: what they count, and how little a small change of the pixels changes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmt.errors import MMTError
from mmt.features.extract import compute_features
from mmt.features.load import load_backbone
from mmt.features.onnx_backbone import OnnxBackbone
from mmt.features.onnx_export import export_backbone
from tests.features.pictures import picture

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
BINS = {RED: (0, 3, 3), GREEN: (4, 3, 3), BLUE: (8, 3, 3), WHITE: (0, 0, 3), BLACK: (0, 0, 0)} | {
    (85, 0, 0): (0, 3, 1),
    (255, 170, 170): (0, 1, 3),
}
"""Hue, saturation and value."""


def number(colour: tuple[int, int, int]) -> int:
    hue, saturation, value = BINS[colour]
    return (hue * 4 + saturation) * 4 + value


@pytest.mark.parametrize("colour", BINS)
def test_an_image_of_one_colour_fills_one_bin(colour: tuple[int, int, int]) -> None:
    expected = np.eye(192, dtype=np.float32)[number(colour)]
    pool, grid = (
        compute_features([Image.new("RGB", (60, 40), colour)], load_backbone("colours", layer))[0]
        for layer in ("pool", "grid")
    )
    np.testing.assert_allclose(pool, [np.tile(expected, 2)], atol=1e-3)
    np.testing.assert_allclose(grid, np.tile(expected, (49, 1)), atol=1e-3)


def test_the_grid_says_where_a_colour_is_and_the_pool_how_much_of_it() -> None:
    image = Image.new("RGB", (140, 70), BLUE)
    image.paste(RED, (0, 0, 40, 20))  # two of seven cells wide, two of seven high
    grid = compute_features([image], load_backbone("colours", "grid"))[0].reshape(7, 7, 192)
    expected = np.zeros((7, 7))
    expected[:2, :2] = 1
    np.testing.assert_allclose(grid[..., number(RED)] > 0.9, expected)
    np.testing.assert_allclose(grid[3:, 3:, number(BLUE)], 1, atol=1e-6)
    pool = compute_features([image], load_backbone("colours"))[0, 0]
    np.testing.assert_allclose((pool**2)[number(RED)], 4 / 49, atol=0.01)
    np.testing.assert_allclose((pool**2)[192 + number(RED)], 1 / 196, atol=0.01)  # a quarter of one cell
    np.testing.assert_allclose((pool**2).reshape(2, 192).sum(1), 1, atol=1e-5)


def test_a_little_light_changes_a_histogram_a_little() -> None:
    """A hard limit between two bins would move all pixels of a colour at once."""
    backbone = load_backbone("colours")
    grey = [Image.new("RGB", (32, 32), (v, v, v)) for v in range(0, 256, 3)]
    made = compute_features(grey, backbone)[:, 0] ** 2
    assert np.abs(np.diff(made, axis=0)).max() < 0.05
    around = [Image.new("HSV", (32, 32), (hue, 255, 255)).convert("RGB") for hue in (*range(0, 256, 3), 255, 0)]
    made = compute_features(around, backbone)[:, 0] ** 2
    assert np.abs(np.diff(made, axis=0)).max() < 0.2  # 3 of 256 hues are 14 % of a bin; the circle is closed


@pytest.mark.parametrize("layer", ["pool", "grid"])
def test_the_exported_graph_makes_the_same_histograms(layer: str, tmp_path: Path) -> None:
    backbone = load_backbone("colours", layer)
    export_backbone(backbone, tmp_path / "colours.onnx")
    some = [picture(0), picture(1, 300, 500), Image.new("RGB", (9, 9), WHITE)]
    made = OnnxBackbone(tmp_path / "colours.onnx", threads=1).features(some)
    np.testing.assert_allclose(made, compute_features(some, backbone), atol=1e-3)


def test_an_image_is_the_same_alone_and_in_a_batch() -> None:
    backbone = load_backbone("colours", "grid")
    some = [picture(n) for n in range(3)]
    together = compute_features(some, backbone)
    np.testing.assert_allclose(
        together, np.concatenate([compute_features([one], backbone) for one in some]), atol=1e-3
    )
    assert torch.isfinite(torch.from_numpy(together)).all()


def test_colours_take_no_weights(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="has no weights to load"):
        load_backbone("colours", weights=tmp_path / "w.pth")
