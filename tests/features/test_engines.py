"""Engines give the features that the backbone gives in torch, in batches of any size and several threads."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmt.data.feature_signature import Precision
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.engines import Engine, OnnxEngine, OpenVinoEngine
from mmt.features.onnx_export import export_backbone
from tests.features.tiny import tiny_backbone
from tests.worlds import usual_signals


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture(scope="module")
def graph(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    export_backbone(backbone, path)
    return path


def opened(name: str, graph: Path, precision: Precision = "float32") -> Engine:
    if name == "onnx":
        return OnnxEngine(graph, 4)
    pytest.importorskip("openvino")
    return OpenVinoEngine(graph, 4, precision, 2)


def pictures(num: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num, 32, 32, 3), np.uint8)


def in_torch(backbone: Backbone, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        features: NDArray[np.float32] = backbone(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
        return features


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_float32_is_torchs_in_every_batch_and_thread(name: str, backbone: Backbone, graph: Path) -> None:
    engine = opened(name, graph)
    assert (engine.runtime, engine.batch) == (name, 4)
    batches = [pictures(1 + seed % 4, seed) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:  # more threads than streams
        found = list(pool.map(engine, batches))
    for pixels, rows in zip(batches, found, strict=True):
        np.testing.assert_allclose(rows, in_torch(backbone, pixels), atol=1e-5, rtol=0)
    kept = engine(batches[3])
    before = kept.copy()
    engine(batches[7])
    np.testing.assert_array_equal(kept, before)  # not a buffer that the next call fills


def test_a_signal_after_models_are_gone_stops_the_work(graph: Path) -> None:
    """In the runtime that is chosen after OpenVINO was measured, too."""
    pytest.importorskip("openvino")
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from mmt.features.engines import OpenVinoEngine; from mmt.io.signals import Stopped, stopping_at_once\n"
        "one, two = (OpenVinoEngine(Path(sys.argv[1]), batch, 'float32', 1) for batch in (1, 4))\n"
        "del one; del two\n"
        "try:\n"
        "    with stopping_at_once(): os.kill(os.getpid(), signal.SIGTERM)\n"
        "except Stopped: print('stopped')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, graph],
        capture_output=True, text=True, check=False, preexec_fn=usual_signals,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_bfloat16_is_near(backbone: Backbone, graph: Path) -> None:
    pixels = pictures(4, 0)
    expected = in_torch(backbone, pixels)
    rounded = backbone.in_precision("bfloat16")
    assert rounded.signature.precision == "bfloat16"
    assert backbone.signature.precision == "float32"
    torchs = in_torch(rounded, pixels)
    assert 0 < np.abs(torchs - expected).max() < 0.05
    np.testing.assert_array_equal(in_torch(backbone, pixels), expected)  # the copy has weights of its own
    try:
        engine = opened("openvino", graph, "bfloat16")
    except MMTError as error:
        pytest.skip(str(error))  # this CPU has no bfloat16
    np.testing.assert_allclose(engine(pixels), expected, atol=0.05)


def test_rounded_weights_do_not_come_back(backbone: Backbone) -> None:
    rounded = backbone.in_precision("bfloat16")
    assert rounded.in_precision("bfloat16") is rounded
    with pytest.raises(MMTError, match="its weights are rounded, so it cannot compute in float32"):
        rounded.in_precision("float32")
    with pytest.raises(MMTError, match="precision must be one of float32, bfloat16, but is 'int3'"):
        backbone.in_precision("int3")  # type: ignore[arg-type]


def test_a_cpu_without_bfloat16_is_refused(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    monkeypatch.setattr(openvino.CompiledModel, "get_property", lambda *_: openvino.Type.f32)
    OpenVinoEngine(graph, 4, "float32", 1)
    with pytest.raises(MMTError, match="OpenVINO cannot compute in bfloat16 on this CPU"):
        OpenVinoEngine(graph, 4, "bfloat16", 1)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_a_damaged_graph_is_one_line(name: str, graph: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(graph.read_bytes()[:100])
    with pytest.raises(MMTError) as error:
        opened(name, tmp_path / "damaged.onnx")
    assert "\n" not in str(error.value)


def test_a_missing_extra_is_one_line(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MMTError, match=r"openvino is missing\. pip install 'mmt-toolkit\[openvino\]'"):
        OpenVinoEngine(graph, 4, "float32", 1)
