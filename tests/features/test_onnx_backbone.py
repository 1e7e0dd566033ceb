"""A backbone in ONNX Runtime gives the features that it gives in torch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.models.vgg import VGG, make_layers
from torchvision.models.vision_transformer import VisionTransformer

from mmt.errors import MMTError
from mmt.features import onnx_export
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features
from mmt.features.images import ImageError
from mmt.features.load import load_backbone
from mmt.features.onnx_backbone import OnnxBackbone
from mmt.features.onnx_export import BackbonePrecision, export_backbone, round_weights
from tests.features.pictures import encoded, picture, save_tiny_clip

TOLERANCE = 1e-4


def odd_pictures() -> list[bytes | Image.Image]:
    """Grey, with a palette, transparent, turned by EXIF, with 16 bits, of one pixel, very wide and very high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = picture(1, 300, 200).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    sixteen = Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
    return [
        encoded(picture(0, 500, 375).convert("L"), "JPEG"),
        encoded(picture(0, 320, 240).quantize(16), "PNG"),
        encoded(clear, "PNG"),
        encoded(picture(2, 400, 300), "JPEG", exif=exif, quality=90),
        encoded(picture(2, 400, 300), "JPEG", quality=90),
        encoded(sixteen, "PNG"),
        Image.new("RGB", (1, 1), "red"),
        picture(3, 900, 10),
        picture(3, 10, 900),
        picture(4, 1200, 900),
    ]


def test_lite_gives_its_features_for_odd_pictures(tmp_path: Path) -> None:
    """Real weights; 33 pictures, which take more than one batch."""
    lite = load_backbone("efficientnet_lite0", "grid")
    export_backbone(lite, tmp_path / "lite.onnx")
    exported = OnnxBackbone(tmp_path / "lite.onnx", threads=1)
    assert exported.signature == lite.signature
    some = odd_pictures()
    expected = compute_features(some, lite)
    found = exported.features([*some, *[some[0]] * 23])
    assert (found.shape, found.dtype) == ((33, 49, 1280), np.float32)
    np.testing.assert_allclose(found[: len(some)], expected, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(found[-1], expected[0], atol=TOLERANCE, rtol=0)
    assert np.abs(expected[3] - expected[4]).max() > 0.1  # the turned picture is turned
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"text\.jpg: not an image"):
        exported.features([tmp_path / "text.jpg"])
    assert exported.features([]).shape == (0, 49, 1280)
    check_that_damage_is_named(tmp_path / "lite.onnx")


def check_that_damage_is_named(path: Path) -> None:
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"mmt.signature": "{}"})
    onnx.save_model(model, path)
    with pytest.raises(MMTError, match=r"lite\.onnx: no backbone of mmt \(feature signature"):
        OnnxBackbone(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MMTError, match=r"lite\.onnx: cannot be loaded"):
        OnnxBackbone(path)
    with pytest.raises(MMTError, match="no such file"):
        OnnxBackbone(path.with_name("gone.onnx"))


def tiny_network(name: str) -> Any:
    """A network of the class of torchvision's ``name``, with random weights."""
    torch.manual_seed(0)
    if name == "resnet50":
        return as_if_trained(ResNet(BasicBlock, [1, 1, 1, 1]))
    if name == "vgg16":
        return VGG(make_layers([8, "M", 16, "M", 16, "M", 16, "M", 24, "M"]), init_weights=True)
    return VisionTransformer(224, 32, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)


def as_if_trained(network: torch.nn.Module) -> torch.nn.Module:
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network


def tiny_clip(folder: Path, layer: str) -> Backbone:
    return load_backbone(f"clip:{save_tiny_clip(folder / 'clip')}", layer)


def tiny_backbone(name: str, layer: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    if name == "clip":
        return tiny_clip(folder, layer)
    if name.startswith("timm:"):
        import timm

        torch.manual_seed(0)
        network = as_if_trained(timm.create_model(name.removeprefix("timm:")))
    else:
        network = tiny_network(name)
        monkeypatch.setattr(models, "get_model", lambda name, weights: tiny_network(name))
    torch.save(network.state_dict(), folder / "w.pth")
    return load_backbone(name, layer, folder / "w.pth")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet50", "pool"),
        ("vgg16", "grid"),
        ("vit_b_16", "pool"),
        ("timm:test_efficientnet", "pool"),
        ("timm:test_vit", "grid"),
        ("timm:test_maxvit", "pool"),
        ("clip", "pool"),  # and the grid below
    ],
)
def test_every_family_gives_its_features(
    name: str, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone(name, layer, tmp_path, monkeypatch)
    export_backbone(backbone, tmp_path / "out.onnx")
    some = [picture(0, 500, 375), picture(1, 40, 30), picture(2, 30, 400).convert("L")]
    expected = compute_features(some, backbone)
    found = OnnxBackbone(tmp_path / "out.onnx", threads=1).features(some)
    largest = float(np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 100 * TOLERANCE * largest
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * max(1.0, largest), rtol=0)


def test_lite2_has_its_own_pixels_and_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network in its place, with TensorFlow's padding, too, which depends on the picture's size."""
    import timm

    torch.manual_seed(0)
    network = as_if_trained(timm.create_model("test_efficientnet", num_classes=0, pad_type="same"))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(timm, "create_model", lambda name, num_classes: network)
    lite = load_backbone("efficientnet_lite2", "grid", tmp_path / "w.pth")
    assert lite.signature.transform.startswith("resize292-crop260-bicubic")
    export_backbone(lite, tmp_path / "out.onnx")
    exported = OnnxBackbone(tmp_path / "out.onnx", threads=1)
    assert exported.signature == lite.signature
    some = odd_pictures()
    expected, found = compute_features(some, lite), exported.features(some)
    assert found.shape == (len(some), 81, lite.signature.dim)
    assert exported.read(some[-1]).shape == (260, 260, 3)
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * max(1.0, largest), rtol=0)


def test_rounded_weights_are_smaller_and_nearly_the_same(tmp_path: Path) -> None:
    clip, some = tiny_clip(tmp_path, "grid"), [picture(0, 500, 375), picture(1)]
    features, weights = {}, {}
    export_backbone(clip, tmp_path / "float32.onnx")
    precisions: list[BackbonePrecision] = ["float32", "float16", "int8"]
    for precision in precisions:
        path = tmp_path / f"{precision}.onnx"
        if precision != "float32":
            shutil.copyfile(tmp_path / "float32.onnx", path)
            round_weights(path, precision)
        features[precision] = OnnxBackbone(path, threads=1).features(some)
        weights[precision] = sum(tensor.ByteSize() for tensor in onnx.load(path).graph.initializer)
    whole = features["float32"]
    largest = float(np.abs(whole).max())
    np.testing.assert_allclose(whole, compute_features(some, clip), atol=TOLERANCE * max(1.0, largest), rtol=0)
    for precision, error, size in (("float16", 0.01, 0.6), ("int8", 0.2, 0.45)):
        assert 0 < np.abs(whole - features[precision]).max() < error * largest
        assert weights[precision] < size * weights["float32"]


def test_weights_that_are_too_large_for_a_graph_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "LARGEST_FILE", 10_000)
    clip = tiny_clip(tmp_path, "pool")
    (tmp_path / "out").mkdir()
    export_backbone(clip, tmp_path / "out" / "backbone_1.onnx")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert sizes.keys() == {"backbone_1.onnx", "backbone_1.onnx.data"}
    assert sizes["backbone_1.onnx.data"] > 10_000
    found = OnnxBackbone(tmp_path / "out" / "backbone_1.onnx", threads=1).features([picture()])
    np.testing.assert_allclose(found, compute_features([picture()], clip), atol=TOLERANCE)


def test_a_transform_that_needs_torch_is_refused(tmp_path: Path) -> None:
    clip = tiny_clip(tmp_path, "pool")
    clip.signature = replace(clip.signature, transform="resize36-crop32-lanczos-mean0-std1")
    with pytest.raises(MMTError, match="expected a transform with bilinear or bicubic interpolation"):
        export_backbone(clip, tmp_path / "out.onnx")
