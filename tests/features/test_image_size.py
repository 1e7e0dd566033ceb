"""``--image-size``: the network reads a larger or smaller square, and the signature says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.transforms import InterpolationMode

from mmt.cli.main import main
from mmt.errors import MMTError
from mmt.features.backbone import Backbone, Transform, region_boxes
from mmt.features.extract import compute_features, extract_features
from mmt.features.load import load_backbone, load_backbones
from mmt.features.onnx_backbone import OnnxBackbone
from mmt.features.onnx_export import export_backbone
from tests.features.pictures import make_folder, picture
from tests.features.tiny import tiny_backbone

SOME = [picture(0, 61, 35), picture(1, 300, 200), picture(2, 20, 90), Image.new("RGB", (1, 1), "red")]
HALF = (0.5, 0.5, 0.5)


def means_of_cells(side: int) -> Backbone:
    """A grid of the means of cells of 8 x 8 pixels."""

    def regions(network: nn.Module, images: Tensor) -> Tensor:
        found: Tensor = network(images).flatten(2).transpose(1, 2)
        return found

    transform = Transform(side * 5 // 4, side, InterpolationMode.BILINEAR, HALF, HALF)
    return Backbone("cells", "grid", nn.AvgPool2d(8), regions, transform)


def test_it_is_the_network_with_another_transform() -> None:
    """The same features as those of a backbone that was made for images of this size."""
    small, large = means_of_cells(32), means_of_cells(64)
    enlarged = small.at_size(64)
    assert enlarged.signature == large.signature
    assert (small.signature.num_regions, enlarged.signature.num_regions) == (16, 64)
    np.testing.assert_array_equal(compute_features(SOME, enlarged), compute_features(SOME, large))
    assert enlarged.at_size(32).signature == small.signature


def test_more_regions_cover_the_same_part_of_the_image() -> None:
    wide = picture(3, 400, 100)
    boxes, finer = (region_boxes(means_of_cells(32).at_size(side).signature, *wide.size) for side in (32, 64))
    assert boxes is not None
    assert finer is not None
    np.testing.assert_allclose(finer[0][:2], boxes[0][:2], atol=1e-6)
    np.testing.assert_allclose(finer[-1][2:], boxes[-1][2:], atol=1e-6)
    np.testing.assert_allclose(
        finer[0][2:], np.add(boxes[0][:2], np.divide(np.subtract(boxes[0][2:], boxes[0][:2]), 2))
    )


def test_its_own_size_changes_nothing() -> None:
    backbone = tiny_backbone()
    assert backbone.at_size(32) is backbone
    assert tiny_backbone().squashed().at_size(48).signature.transform.startswith("squash48-")
    assert tiny_backbone().at_size(48).squashed().signature.transform.startswith("squash48-")


def test_smaller_cells_of_colours_say_more_precisely_where_they_are() -> None:
    image = Image.new("RGB", (140, 140), "blue")
    image.paste("red", (0, 0, 10, 140))  # half a cell of seven, a whole one of fourteen
    coarse = load_backbone("colours", "grid")
    fine = coarse.at_size(224)
    assert (coarse.signature.num_regions, fine.signature.num_regions) == (49, 196)
    wide, narrow = (compute_features([image], one)[0] ** 2 for one in (coarse, fine))
    blue = (8 * 4 + 3) * 4 + 3
    narrow = narrow.reshape(14, 14, 192)
    np.testing.assert_allclose(narrow[:, 0, blue], 0, atol=0.05)
    np.testing.assert_allclose(narrow[:, 1:, blue], 1, atol=0.05)
    np.testing.assert_allclose(wide.reshape(7, 7, 192)[:, 0, blue], 0.5, atol=0.05)
    pool = load_backbone("colours")
    np.testing.assert_allclose(
        compute_features([image], pool.at_size(224)), compute_features([image], pool), atol=0.05
    )


@pytest.mark.parametrize(
    ("wanted", "transform"),
    [
        (lambda: load_backbone().at_size(288), "resize329-crop288-bicubic-"),
        (lambda: load_backbone().at_size(288).in_crops(5), "resize329-crop288-bicubic-"),
        (lambda: load_backbone(layer="grid").squashed().at_size(288), "squash288-bicubic-"),
        (lambda: load_backbone("colours", "grid").at_size(224), "squash224-bilinear-"),
    ],
)
def test_a_model_finds_its_backbone(wanted: Callable[[], Backbone], transform: str) -> None:
    backbone = wanted()
    assert backbone.signature.transform.startswith(transform)
    (found,) = load_backbones(backbone.signature)
    np.testing.assert_array_equal(compute_features(SOME, found), compute_features(SOME, backbone))


def test_another_network_is_refused_as_such() -> None:
    """Not for its size, although it could not read images of this one."""
    other = replace(
        load_backbone("colours", "grid").signature, weights="ab" * 32, transform="squash100-bilinear-mean0-std1"
    )
    with pytest.raises(
        MMTError, match=r"this machine's backbone: expected .* They differ in transform .*; weights "
    ):
        load_backbones(other)


@pytest.mark.parametrize(
    "made",
    [
        lambda: tiny_backbone().at_size(48),
        lambda: tiny_backbone().at_size(48).in_crops(5),
        lambda: means_of_cells(32).at_size(48),
        lambda: load_backbone("colours", "grid").at_size(224),
    ],
)
def test_the_graph_gives_the_same_features(made: Callable[[], Backbone], tmp_path: Path) -> None:
    enlarged = made()
    export_backbone(enlarged, tmp_path / "enlarged.onnx")
    exported = OnnxBackbone(tmp_path / "enlarged.onnx", threads=1)
    assert exported.signature == enlarged.signature
    np.testing.assert_allclose(exported.features(SOME), compute_features(SOME, enlarged), atol=1e-3)


def test_other_features_are_refused_with_the_command_that_makes_them() -> None:
    """Which names the size even if only the backbone differs."""
    own, enlarged = (backbone.signature for backbone in (tiny_backbone(), tiny_backbone().at_size(48)))
    with pytest.raises(MMTError, match=r"--backbone tiny --layer pool --image-size 48\."):
        enlarged.check(own, "features")
    with pytest.raises(MMTError, match=r"--backbone tiny --layer pool --image-size 32\."):
        own.check(enlarged, "features")
    with pytest.raises(MMTError, match=r"--backbone tiny --layer pool --image-size 48\."):
        enlarged.check(replace(enlarged, backbone="other"), "features")


def test_a_store_gets_no_images_of_another_size(tmp_path: Path) -> None:
    images = make_folder(tmp_path / "images", 2)
    extract_features(images, tiny_backbone(), tmp_path / "store", progress=False)
    with pytest.raises(MMTError, match=r"transform resize40-crop32-.* became resize60-crop48-.*Or name another"):
        extract_features(images, tiny_backbone().at_size(48), tmp_path / "store", progress=False)


def test_a_network_of_one_size_refuses_others() -> None:
    network = VisionTransformer(32, 8, 1, 1, 8, 8)
    one_size = Transform(40, 32, InterpolationMode.BILINEAR, HALF, HALF)
    backbone = Backbone("vit", "pool", network, lambda network, images: network(images).unsqueeze(1), one_size)
    with pytest.raises(MMTError, match=r"cannot read images of 48 x 48 pixels \(.+\)\. Expected --image-size 32"):
        backbone.at_size(48)
    with pytest.raises(MMTError, match=r"cannot read images of 100 x 100 pixels \(expected a multiple of 16\)"):
        load_backbone("colours", "grid").at_size(100)
    with pytest.raises(MMTError, match="Leave --image-size out"):
        load_backbone("logmel80:1").at_size(48)


def test_the_command_enlarges(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 2)
    command = ["features", "--images", str(tmp_path / "images"), "--layer", "grid", "--image-size", "320"]
    result = CliRunner().invoke(main, [*command, "--runtime", "torch", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "efficientnet_lite0/grid (100 x 1280, resize366-crop320-bicubic" in result.output
    squashed = [*command, "--squash", "--runtime", "torch", "--out", str(tmp_path / "squashed")]
    result = CliRunner().invoke(main, squashed)
    assert result.exit_code == 0, result.output
    assert "efficientnet_lite0/grid (100 x 1280, squash320-bicubic" in result.output
