"""Several crops of an image: each is an image of its own for the network, and the signature says how many."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mmt.cli.main import main
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features, extract_features
from mmt.features.load import load_backbone, load_backbones
from mmt.features.onnx_backbone import OnnxBackbone
from mmt.features.onnx_export import export_backbone
from mmt.features.runtime_choice import measure
from tests.features.pictures import encoded, make_folder, picture
from tests.features.tiny import tiny_backbone


def quarters(image: Image.Image) -> list[Image.Image]:
    """Row by row; of an odd size, two neighbours share the middle."""
    width, height = image.size
    right, lower = width - (width + 1) // 2, height - (height + 1) // 2
    left, upper = (width + 1) // 2, (height + 1) // 2
    parts = ((x, y) for y in ((0, upper), (lower, height)) for x in ((0, left), (right, width)))
    return [image.crop((x0, y0, x1, y1)) for (x0, x1), (y0, y1) in parts]


SOME = [picture(0, 61, 35), picture(1, 300, 200), picture(2, 20, 90), Image.new("RGB", (1, 1), "red")]


@pytest.mark.parametrize("name", ["tiny", "colours"])
def test_each_crop_is_an_image_of_its_own(name: str) -> None:
    one = tiny_backbone() if name == "tiny" else load_backbone(name)
    five = one.in_crops(5)
    expected = np.stack([compute_features([image, *quarters(image)], one)[:, 0] for image in SOME])
    np.testing.assert_allclose(compute_features(SOME, five), expected, atol=1e-5)
    alone = np.concatenate([compute_features([image], five) for image in SOME])
    np.testing.assert_allclose(compute_features(SOME, five), alone, atol=1e-5)


def test_the_signature_says_how_many_crops_and_one_is_as_before() -> None:
    one = tiny_backbone()
    five = one.in_crops(5)
    assert one.in_crops(1) is one
    assert five.in_crops(5) is five
    assert "crops" not in one.signature.to_dict()
    assert five.signature.to_dict() == {**one.signature.to_dict(), "crops": 5, "num_regions": 5}
    assert FeatureSignature.from_dict(json.loads(json.dumps(five.signature.to_dict()))) == five.signature
    assert one.signature.differences(five.signature) == ["num_regions", "crops"]
    assert "(5 x 8, resize40-crop32-bilinear, 5 crops, weights" in str(five.signature)
    with pytest.raises(MMTError, match=r"--backbone tiny --layer pool --crops 5\."):
        five.signature.check(one.signature, "features")
    for wrong in (3, "5"):
        with pytest.raises(MMTError, match="crops"):
            FeatureSignature.from_dict({**one.signature.to_dict(), "crops": wrong})


def test_a_model_of_five_crops_finds_its_backbone() -> None:
    wanted = load_backbone("colours").in_crops(5).signature
    (found,) = load_backbones(replace(wanted, precision="bfloat16"))
    assert found.signature == wanted
    np.testing.assert_allclose(
        compute_features(SOME, found)[:, :1], compute_features(SOME, load_backbone("colours")), atol=1e-5
    )


def test_the_graph_of_five_crops_gives_the_same_features(tmp_path: Path) -> None:
    five = tiny_backbone().in_crops(5)
    export_backbone(five, tmp_path / "five.onnx")
    exported = OnnxBackbone(tmp_path / "five.onnx", threads=1)
    assert exported.signature == five.signature
    np.testing.assert_array_equal(exported.read(SOME[0]), five.read(SOME[0]).permute(1, 2, 0))
    found = exported.features(SOME)
    assert found.shape == (len(SOME), 5, 8)
    np.testing.assert_allclose(found, compute_features(SOME, five), atol=1e-4)
    assert {("torch", 32), ("onnx", 4)} <= measure(five, tmp_path / "five.onnx", "float32").keys()


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_a_resumed_store_is_that_of_one_run(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    five, images = tiny_backbone().in_crops(5), make_folder(tmp_path / "images", 5)
    for out, some in (("whole", images), ("parts", dict(list(images.items())[:2])), ("parts", images)):
        extract_features(some, five, tmp_path / out, "float32", 2, progress=False, runtime=runtime)  # type: ignore[arg-type]
    whole, parts = ((tmp_path / name / "features.bin").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    store = FeatureStore.open(tmp_path / "whole")
    np.testing.assert_allclose(store.get(list(images)), compute_features(list(images.values()), five), atol=1e-4)
    with pytest.raises(MMTError, match="crops"):
        extract_features(images, tiny_backbone(), tmp_path / "whole", "float32", progress=False)


def test_a_quarter_has_enough_pixels_in_bfloat16() -> None:
    """A JPEG is decoded at a fraction of its size, with at least twice the pixels that each crop needs."""
    large = encoded(picture(0, 640, 640), "JPEG", quality=95)
    decoded: list[int] = []

    def size_of(backbone: Backbone) -> int:
        backbone.transform.register_forward_pre_hook(lambda _, given: decoded.append(given[0].size(2)))
        backbone.read(large)
        return decoded.pop()

    assert size_of(tiny_backbone().in_precision("bfloat16")) == 80  # resized to 40
    assert size_of(tiny_backbone().in_precision("bfloat16").in_crops(5)) == 80
    assert size_of(tiny_backbone().at_size(48).in_precision("bfloat16")) == 160  # resized to 60


def test_crops_need_one_vector_of_a_square() -> None:
    for name, layer in (("colours", "grid"), ("logmel80:1", "pool")):
        with pytest.raises(MMTError, match="Use --layer pool"):
            load_backbone(name, layer).in_crops(5)
    with pytest.raises(MMTError, match=r"cannot make 3 crops\. Expected one of 1, 5"):
        tiny_backbone().in_crops(3)


def test_the_command_makes_crops(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 2)
    command = ["features", "--images", str(tmp_path / "images"), "--backbone", "colours", "--crops", "5", "--out"]
    result = CliRunner().invoke(main, [*command, str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "colours/pool (5 x 384, squash112-bilinear, 5 crops" in result.output
    assert "crops" in CliRunner().invoke(main, ["info", str(tmp_path / "out")]).output
    refused = CliRunner().invoke(main, [*command, str(tmp_path / "grid"), "--layer", "grid"])
    assert (refused.exit_code, "Use --layer pool" in refused.output) == (2, True)
