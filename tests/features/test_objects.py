"""Labels of a detector's objects as features: random weights of torchvision's smallest detector."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features, extract_features
from mmt.features.load import load_backbone
from mmt.features.objects import DETECTORS, EPSILON_0
from mmt.features.onnx_export import export_backbone
from tests.features.pictures import make_folder, picture

SMALLEST = "ssdlite320_mobilenet_v3_large"
COCO = models.get_model_weights(SMALLEST).DEFAULT.meta["categories"]


def detector(num_classes: int) -> Any:
    torch.manual_seed(0)
    network: Any = models.get_model(SMALLEST, weights=None, weights_backbone=None, num_classes=num_classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # batch norms of the scale of the activations, or all scores would be the same
        network.head(list(network.backbone(torch.rand(3, 3, 320, 320)).values()))
        for weight in network.head.classification_head.parameters():
            weight.mul_(3)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> Any:
    return detector(5)


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("objects") / "w.pth"
    torch.save(network.state_dict(), path)
    return path


class Found(nn.Module):
    """A detector that finds in each image what it is told to."""

    def __init__(self, labels: list[int], scores: list[float]) -> None:
        super().__init__()
        self.labels, self.scores = torch.tensor(labels, dtype=torch.int64), torch.tensor(scores)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        (image,) = images  # a batch would be padded to its largest image
        assert image.ndim == 3
        assert 0 <= float(image.min()) <= float(image.max()) <= 1
        return [{"labels": self.labels, "scores": self.scores}]


def finding(backbone: Backbone, labels: list[int], scores: list[float]) -> Backbone:
    backbone.network = Found(labels, scores)
    return backbone


@pytest.fixture(scope="module")
def pair(weights: Path) -> tuple[Backbone, Backbone]:
    """``grid`` and ``pool``."""
    names = ((f"objects:{SMALLEST},top=3", "grid"), (f"objects:{SMALLEST}", "pool"))
    grid, pool = (load_backbone(name, layer, weights) for name, layer in names)
    return grid, pool


def test_each_object_is_a_row_with_its_score_at_its_class(pair: tuple[Backbone, Backbone]) -> None:
    grid, pool = (finding(one, [1, 4, 1, 2], [0.5, 0.9, 0.75, 0.4]) for one in pair)
    expected = np.zeros((3, 5), np.float32)
    expected[0, 4], expected[1, 1], expected[2, 1] = 0.9, 0.75, 0.5
    np.testing.assert_array_equal(compute_features([picture()], grid)[0], expected)  # the best three, best first
    np.testing.assert_array_equal(compute_features([picture()], pool)[0], np.float32([[0, 0.75, 0.4, 0, 0.9]]))


def test_rows_after_the_last_object_are_no_regions(pair: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    grid, pool = pair
    two = compute_features([picture(), picture(1, 9, 9)], finding(grid, [2], [0.5]))
    np.testing.assert_array_equal(two, [[[0, 0, 0.5, 0, 0], [np.nan] * 5, [np.nan] * 5]] * 2)
    nothing = compute_features([picture()], finding(grid, [], []))[0]
    np.testing.assert_array_equal(nothing, [[0] * 5, [np.nan] * 5, [np.nan] * 5])
    np.testing.assert_array_equal(compute_features([picture()], finding(pool, [], []))[0], np.zeros((1, 5)))
    # a store takes both, and the report counts the images without objects
    report = extract_features(make_folder(tmp_path / "i", 2), grid, tmp_path / "out", progress=False)
    assert report.notes == {"without an object of a score above 0.3": 2}
    assert len(FeatureStore.open(tmp_path / "out")) == 2


def test_objects_are_those_of_torchvision(network: Any, weights: Path) -> None:
    """Its own forward pass, of another number of classes than COCO's; an image alone and beside a larger one."""
    grid = load_backbone(f"objects:{SMALLEST},top=20,score=0.25", "grid", weights)
    assert (grid.signature.num_regions, grid.signature.dim) == (20, 5)
    some = [picture(0, 60, 90), picture(1, 300, 120)]
    rows = compute_features(some, grid)
    np.testing.assert_array_equal(rows, np.concatenate([compute_features([one], grid) for one in some]))
    network.score_thresh = 0.25
    for image, row in zip(some, rows, strict=True):
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
        with torch.inference_mode():
            (found,) = network([pixels])
        scores = found["scores"][:20].numpy()
        assert len(scores) > 2
        real = row[: len(scores)]
        np.testing.assert_allclose(real[range(len(real)), found["labels"][:20]], scores, atol=1e-5)
        np.testing.assert_allclose(real.sum(1), scores, atol=1e-5)
        assert np.isnan(row[len(scores) :]).all()


def test_the_signature_has_options_and_weights(weights: Path) -> None:
    def made(options: str, layer: str = "grid") -> Any:
        return load_backbone(f"objects:{SMALLEST}{options}", layer, weights).signature

    default = made("")
    assert made(",score=0.3,top=8") == default
    assert (default.backbone, default.num_regions) == (f"objects:{SMALLEST}", 8)
    assert default.transform == "detector's own, 320x320"
    assert made(",top=9").differences(default) == ["backbone", "num_regions"]
    assert made(",score=0.1234567890123").backbone == f"objects:{SMALLEST},score=0.1234567890123"
    other = weights.with_name("other.pth")
    torch.save(detector(5).state_dict() | {"head.classification_head.module_list.0.1.bias": torch.ones(30)}, other)
    changed = load_backbone(f"objects:{SMALLEST}", "grid", other).signature
    assert changed.differences(default) == ["weights"]


def test_a_resumed_store_is_that_of_one_run(weights: Path, tmp_path: Path) -> None:
    backbone = load_backbone(f"objects:{SMALLEST},score=0", "grid", weights)
    images = make_folder(tmp_path / "images", 3)
    extract_features(images, backbone, tmp_path / "whole", batch_size=2, progress=False)
    extract_features(dict(list(images.items())[:2]), backbone, tmp_path / "parts", batch_size=2, progress=False)
    extract_features(images, backbone, tmp_path / "parts", batch_size=2, progress=False)
    read = [(tmp_path / name / "features.bin").read_bytes() for name in ("whole", "parts")]
    assert read[0] == read[1]


def test_coco_has_91_numbers_and_torchvision_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    state = detector(91).state_dict()
    asked: list[object] = []

    def downloaded(self: object, **options: object) -> dict[str, Tensor]:
        asked.append((self, options))
        return state

    monkeypatch.setattr("torchvision.models.WeightsEnum.get_state_dict", downloaded)
    pool = load_backbone(f"objects:{SMALLEST}")
    assert (pool.signature.layer, pool.signature.num_regions, pool.signature.dim) == ("pool", 1, 91)
    assert len(COCO) == 91
    assert [options for _, options in asked] == [{"progress": True, "check_hash": True}]


def test_batch_norms_have_the_epsilon_of_torchvisions_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.transform = nn.BatchNorm2d(1), GeneralizedRCNNTransform(8, 9, [0.0] * 3, [1.0] * 3)

    torch.save(Tiny().state_dict(), tmp_path / "w.pth")
    with monkeypatch.context() as patch:
        patch.setattr(models, "get_model", lambda *_, **__: Tiny())
        for name, epsilon in (("fasterrcnn_resnet50_fpn", 0.0), ("fasterrcnn_resnet50_fpn_v2", 1e-5)):
            backbone: Any = load_backbone(f"objects:{name}", weights=tmp_path / "w.pth")
            assert (backbone.network.norm.eps, backbone.signature.transform) == (epsilon, "detector's own, 8-9")
    builders = {name: models.get_model_builder(name) for name in DETECTORS}
    assert {n for n, one in builders.items() if "overwrite_eps(" in inspect.getsource(one)} == EPSILON_0


def test_what_makes_no_sense_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"no detector 'ssdlite'; torchvision has .*fasterrcnn_resnet50_fpn_v2"):
        load_backbone("objects:ssdlite")
    for option, expected in (
        ("top=0", "expected top=N from 1 to 100, found '0'"),
        ("top=x", "expected top=N from 1 to 100, found 'x'"),
        ("score=2", "expected score=S from 0, and below 1, found '2'"),
        ("score=nan", "expected score=S"),
        ("best=3", "no option 'best=3'.* Expected top=N"),
        ("top=3,top=4", "expected top once"),
    ):
        with pytest.raises(MMTError, match=expected):
            load_backbone(f"objects:{SMALLEST},{option}", "grid", weights)
    with pytest.raises(MMTError, match="Leave top out, or use --layer grid"):
        load_backbone(f"objects:{SMALLEST},top=3", "pool", weights)
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(MMTError, match=rf"w\.pth: these tensors do not fit the detector {SMALLEST}: Missing key"):
        load_backbone(f"objects:{SMALLEST}", weights=tmp_path / "w.pth")
    backbone = load_backbone(f"objects:{SMALLEST}", weights=weights)
    with pytest.raises(MMTError, match="computes in float32 alone"):
        backbone.in_precision("bfloat16")
    with pytest.raises(MMTError, match="crops are for networks that make one vector of a square"):
        backbone.in_crops(5)
    with pytest.raises(MMTError, match="cannot be exported"):
        export_backbone(backbone, tmp_path / "out.onnx")
    assert compute_features([Image.new("RGB", (3, 1))], backbone).shape == (1, 1, 5)
