"""The fastest runtime is measured once; whatever becomes of the cache, the features are the same."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features import fastest
from mmt.features.backbone import Backbone
from mmt.features.extract import extract_features
from mmt.features.fastest import MEASURE_FROM, opened_engine
from tests.features.pictures import bad_files, encoded, make_folder, picture
from tests.features.tiny import tiny_backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmt" / "features"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precision of each measurement, in which onnx or bfloat16 in torch wins."""
    calls: list[str] = []

    def measure(backbone: Backbone, graph: Path, precision: str) -> dict[tuple[str, int], float]:
        calls.append(precision)
        assert graph.is_file()
        return {("torch", 32): 1.0, ("onnx", 4): 2.0} if precision == "float32" else {("torch", 32): 1.0}

    monkeypatch.setattr(fastest, "measure", measure)
    return calls


def chosen(backbone: Backbone, num: int = MEASURE_FROM, precision: str = "float32") -> str:
    with opened_engine(backbone, "auto", precision, num, 1) as engine:
        return engine.runtime if engine is not None else "torch"


def test_it_is_measured_once_for_each_backbone_and_precision(
    backbone: Backbone, cache: Path, measured: list[str]
) -> None:
    assert chosen(backbone, MEASURE_FROM - 1) == "torch"
    assert not cache.exists()
    assert [chosen(backbone), chosen(backbone)] == ["onnx", "onnx"]
    assert [chosen(backbone, precision="bfloat16"), chosen(backbone, precision="bfloat16")] == ["torch", "torch"]
    assert measured == ["float32", "bfloat16"]
    assert chosen(tiny_backbone(seed=1)) == "onnx"
    assert measured == ["float32", "bfloat16", "float32"]
    assert len(list(cache.iterdir())) == 2


def test_damage_and_a_folder_that_cannot_be_written_cost_time_alone(
    backbone: Backbone, cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chosen(backbone)
    (graph,) = cache.glob("*/*.onnx")
    (choice,) = cache.glob("*/choice_float32.json")
    whole = graph.read_bytes()
    for path, damage in [(graph, b""), (graph, whole[:-1] + b"?"), (choice, b"{"), (choice, b'{"runtime": 1}')]:
        path.write_bytes(damage)
        before = len(measured)
        assert chosen(backbone) == "onnx"
        assert graph.read_bytes() == whole
        assert len(measured) - before == (path == choice)
        assert json.loads(choice.read_text())["runtime"] == "onnx"
    choice.write_text(json.dumps({"runtime": "abacus", "batch": 1}))  # of another version
    assert chosen(backbone) == "onnx"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    before = len(measured)
    assert [chosen(backbone), chosen(backbone)] == ["onnx", "onnx"]
    assert len(measured) == before + 2


def test_two_that_begin_together_measure_once(
    backbone: Backbone, cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads stand for processes: the lock is of the file, and each opens it itself."""
    started, let_go, plain = threading.Event(), threading.Event(), fastest.measure
    with opened_engine(backbone, "onnx", "float32", 1, 1):
        pass  # torch exports in one thread at a time

    def waits(*args: object) -> object:
        started.set()
        assert let_go.wait(300)
        return plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(fastest, "measure", waits)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(chosen(backbone))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert started.wait(300)
    let_go.set()
    for thread in threads:
        thread.join(300)
    assert found == ["onnx", "onnx"]
    assert measured == ["float32"]


def test_a_measurement_that_is_stopped_leaves_nothing(
    backbone: Backbone, cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fastest, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            chosen(backbone)
    assert not list(cache.glob("*/choice*"))
    assert chosen(backbone) == "onnx"


def test_a_runtime_that_is_missing_or_wrong_is_no_candidate(
    backbone: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    found: list[set[str]] = []
    plain = fastest.measure

    def recorded(*args: object) -> object:
        speeds = plain(*args)  # type: ignore[arg-type]
        found.append({name for name, _ in speeds})
        return speeds

    monkeypatch.setattr(fastest, "measure", recorded)
    chosen(backbone)
    assert found == [{"torch", "onnx"}]
    monkeypatch.setattr(
        fastest.OnnxEngine, "__call__", lambda self, pixels: np.zeros((len(pixels), 1, 8), np.float32)
    )
    assert chosen(tiny_backbone(seed=1)) == "torch"
    assert found[-1] == {"torch"}
    with (
        pytest.raises(MMTError, match="openvino is missing"),
        opened_engine(backbone, "openvino", "float32", 1, 1),
    ):
        pass
    with (
        pytest.raises(MMTError, match="runtime onnx does not compute in bfloat16; expected one of"),
        opened_engine(backbone, "onnx", "bfloat16", 1, 1),
    ):
        pass


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_store_by_any_runtime_is_torchs(
    runtime: str, backbone: Backbone, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad images, batches, threads and a second run included."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    asked = make_folder(tmp_path / "images", 11)
    asked |= {name: tmp_path / "images" / name for name in bad_files(tmp_path / "images")}
    asked = dict(sorted(asked.items()))
    expected = extract_features(asked, backbone, tmp_path / "torch", "float32", progress=False)
    for name, size, workers in (("a", 3, 1), ("b", 32, 5)):
        found = extract_features(
            asked, backbone, tmp_path / name, "float32", size, workers, progress=False, runtime=runtime
        )
        assert (found.done, found.runtime, found.left_out) == (11, runtime, expected.left_out)
        one, other = (FeatureStore.open(tmp_path / folder) for folder in ("torch", name))
        assert one.ids == other.ids
        np.testing.assert_allclose(other.get(other.ids), one.get(one.ids), atol=1e-5, rtol=0)
    again = extract_features(asked, backbone, tmp_path / "a", "float32", progress=False, runtime=runtime)
    assert (again.done, again.skipped) == (0, 11)


def test_precisions_do_not_mix_in_a_store_and_are_noted_elsewhere(
    backbone: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = make_folder(tmp_path / "images", 3)
    extract_features(asked, backbone, tmp_path / "whole", progress=False)
    extract_features(asked, backbone, tmp_path / "rounded", progress=False, precision="bfloat16")
    rounded = FeatureStore.open(tmp_path / "rounded").signature
    assert rounded == backbone.in_precision("bfloat16").signature
    assert "bfloat16" in str(rounded)
    assert "precision" not in FeatureStore.open(tmp_path / "whole").signature.to_dict()
    with pytest.raises(MMTError, match="holds features of precision bfloat16, but float32 was asked for"):
        extract_features(asked, backbone, tmp_path / "rounded", progress=False)
    assert capsys.readouterr().err == ""
    backbone.signature.check(rounded, "rounded")
    assert capsys.readouterr().err.count("rounded: its features are of precision bfloat16") == 1
    with pytest.raises(MMTError, match="precision must be one of float32, bfloat16, but is 'int3'"):
        type(rounded).from_dict(rounded.to_dict() | {"precision": "int3"})


def test_large_jpegs_are_decoded_small_in_reduced_precision_alone(backbone: Backbone, tmp_path: Path) -> None:
    data = encoded(picture(3, 400, 300), "JPEG", quality=95)
    whole, rounded = backbone.read(data), backbone.in_precision("bfloat16").read(data)
    assert whole.shape == rounded.shape
    difference = (whole.int() - rounded.int()).abs().float()
    assert 0 < difference.mean() < 4
    small = encoded(picture(3, 120, 90), "JPEG", quality=95)  # less than twice twice the size
    assert (backbone.read(small) == backbone.in_precision("bfloat16").read(small)).all()


def test_recordings_and_devices_have_torch_alone(tmp_path: Path, backbone: Backbone) -> None:
    asked = make_folder(tmp_path / "images", 1)
    with pytest.raises(MMTError, match="runtime onnx is for images on a CPU; on meta only torch computes"):
        extract_features(asked, tiny_backbone(), tmp_path / "s", device="meta", runtime="onnx")
