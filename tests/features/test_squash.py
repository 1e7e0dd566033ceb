"""``--squash``: the network sees the whole image, squashed to its square, and the signature says so."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mmt.cli.main import main
from mmt.errors import MMTError
from mmt.features.backbone import region_boxes
from mmt.features.extract import compute_features, extract_features
from mmt.features.load import load_backbone, load_backbones
from mmt.features.onnx_backbone import OnnxBackbone
from mmt.features.onnx_export import export_backbone
from tests.features.pictures import make_folder, picture
from tests.features.tiny import tiny_backbone

SOME = [picture(0, 61, 35), picture(1, 300, 200), picture(2, 20, 90), Image.new("RGB", (1, 1), "red")]


def test_the_margins_are_seen_and_only_by_the_copy() -> None:
    """An image and the same one with its left quarter painted over."""
    cropped = tiny_backbone()
    squashed = cropped.squashed()
    wide = picture(3, 400, 100)
    painted = wide.copy()
    painted.paste("red", (0, 0, 100, 100))
    np.testing.assert_array_equal(compute_features([wide], cropped), compute_features([painted], cropped))
    assert not np.allclose(compute_features([wide], squashed), compute_features([painted], squashed), atol=1e-3)
    assert region_boxes(squashed.signature, *wide.size) == [(0.0, 0.0, 1.0, 1.0)]


def test_squashing_twice_is_squashing_once() -> None:
    squashed = tiny_backbone().squashed()
    assert squashed.squashed() is squashed
    colours = load_backbone("colours")
    assert colours.squashed() is colours
    crop = 32  # of the tiny network
    small = [Image.fromarray(squashed.read(image).permute(1, 2, 0).numpy()) for image in SOME]
    assert {image.size for image in small} == {(crop, crop)}
    np.testing.assert_array_equal(compute_features(small, squashed), compute_features(SOME, squashed))


@pytest.mark.parametrize("crops", [1, 5])
def test_a_model_finds_its_squashed_backbone(crops: int) -> None:
    wanted = load_backbone().squashed().in_crops(crops)
    assert wanted.signature.transform.startswith("squash224-bicubic-")
    (found,) = load_backbones(wanted.signature)
    np.testing.assert_array_equal(compute_features(SOME, found), compute_features(SOME, wanted))


def test_the_graph_gives_the_same_features(tmp_path: Path) -> None:
    squashed = tiny_backbone().squashed()
    export_backbone(squashed, tmp_path / "squashed.onnx")
    exported = OnnxBackbone(tmp_path / "squashed.onnx", threads=1)
    assert exported.signature == squashed.signature
    np.testing.assert_allclose(exported.features(SOME), compute_features(SOME, squashed), atol=1e-4)


def test_other_features_are_refused_with_the_command_that_makes_them() -> None:
    cropped, squashed = (backbone.signature for backbone in (tiny_backbone(), tiny_backbone().squashed()))
    with pytest.raises(MMTError, match=r"--backbone tiny --layer pool --squash --image-size 32\."):
        squashed.check(cropped, "features")
    with pytest.raises(MMTError, match=r"--backbone tiny --layer pool --image-size 32\."):
        cropped.check(squashed, "features")


def test_a_store_of_cropped_images_gets_no_squashed_ones(tmp_path: Path) -> None:
    images = make_folder(tmp_path / "images", 2)
    extract_features(images, tiny_backbone(), tmp_path / "store", progress=False)
    with pytest.raises(MMTError, match=r"transform resize40-crop32-.* became squash32-.*Or name another folder\."):
        extract_features(images, tiny_backbone().squashed(), tmp_path / "store", progress=False)


def test_recordings_have_no_margins() -> None:
    with pytest.raises(MMTError, match="Leave --squash out"):
        load_backbone("logmel80:1").squashed()


def test_the_command_squashes(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 2)
    command = ["features", "--images", str(tmp_path / "images"), "--squash", "--runtime", "torch", "--out"]
    result = CliRunner().invoke(main, [*command, str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "efficientnet_lite0/pool (1 x 1280, squash224-bicubic" in result.output
