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
from mmt.features import runtime_choice
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features, extract_features
from mmt.features.extract_report import ExtractReport
from mmt.features.load import load_backbone
from mmt.features.runtime_choice import MEASURE_FROM, opened_engine
from mmt.features.writer import FeatureWriter
from mmt.io import cache as cache_module
from mmt.io.atomic import write_whole
from mmt.io.locks import Lock
from mmt.io.shards import Shard
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

    monkeypatch.setattr(runtime_choice, "measure", measure)
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
    with monkeypatch.context() as patch:  # a cache that can only be read
        patch.setattr(Path, "touch", lambda *_: (_ for _ in ()).throw(PermissionError()))
        patch.setattr(runtime_choice, "export_backbone", lambda *_: pytest.fail("exported again"))
        assert chosen(backbone) == "onnx"
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
    plain_hold, plain = cache_module.hold, runtime_choice.measure
    with opened_engine(backbone, "onnx", "float32", 1, 1):
        pass  # torch exports in one thread at a time
    begun, other_is_there = threading.Event(), threading.Event()

    def hold(path: Path, *, wait: bool = False) -> Lock | None:
        if (lock := plain_hold(path)) is None:
            other_is_there.set()
            return plain_hold(path, wait=wait)
        return lock

    def measure(*args: object) -> object:
        if begun.is_set():
            other_is_there.set()  # in the measurement, as there is no lock
        begun.set()
        assert other_is_there.wait(300)
        return plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(cache_module, "hold", hold)
    monkeypatch.setattr(runtime_choice, "measure", measure)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(chosen(backbone))) for _ in range(2)]
    threads[0].start()
    assert begun.wait(300)
    threads[1].start()
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
        patch.setattr(runtime_choice, "measure", stopped)
        with pytest.raises(KeyboardInterrupt):
            chosen(backbone)
    assert not list(cache.glob("*/choice*"))
    assert chosen(backbone) == "onnx"


def test_a_runtime_that_is_missing_or_wrong_is_no_candidate(
    backbone: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    found: list[set[str]] = []
    plain = runtime_choice.measure

    def recorded(*args: object) -> object:
        speeds = plain(*args)  # type: ignore[arg-type]
        found.append({name for name, _ in speeds})
        return speeds

    monkeypatch.setattr(runtime_choice, "measure", recorded)
    chosen(backbone)
    assert found == [{"torch", "onnx"}]
    monkeypatch.setattr(
        runtime_choice.OnnxEngine, "__call__", lambda self, pixels: np.zeros((len(pixels), 1, 8), np.float32)
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


def test_openvino_is_no_candidate_beside_another_memory_allocator(
    backbone: Backbone, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process would end without an error of ours. What is chosen then does not change the usual choice."""
    pytest.importorskip("openvino")
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    found: list[set[str]] = []
    plain = runtime_choice.measure

    def recorded(*args: object) -> object:
        found.append({name for name, _ in plain(*args)})  # type: ignore[arg-type]
        return {("openvino", 1): 1.0} if "openvino" in found[-1] else {("onnx", 4): 1.0}

    monkeypatch.setattr(runtime_choice, "measure", recorded)
    assert chosen(backbone) == "openvino"
    monkeypatch.setenv("LD_PRELOAD", "/lib/libtcmalloc_minimal.so.4")
    assert chosen(backbone) == "onnx"
    assert found == [{"torch", "onnx", "openvino"}, {"torch", "onnx"}]
    with (
        pytest.raises(MMTError, match=r"LD_PRELOAD \(/lib/libtcmalloc_minimal\.so\.4\)\. Unset"),
        opened_engine(backbone, "openvino", "float32", 1, 1),
    ):
        pass
    for other in ("/lib/libother.so", ""):
        monkeypatch.setenv("LD_PRELOAD", other)
        assert chosen(backbone) == "openvino"
    assert len(found) == 2


@pytest.mark.parametrize("wrong", [np.nan, 1e9])
def test_bfloat16_is_compared_with_torch(
    wrong: float, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compute_features([picture(1, 50, 50)], backbone)

    def engine(*_: object) -> object:
        return lambda pixels: np.full((len(pixels), *expected.shape[1:]), wrong, np.float32)

    monkeypatch.setattr(runtime_choice, "OpenVinoEngine", engine)
    assert set(runtime_choice.measure(backbone, tmp_path, "bfloat16")) == {("torch", 32)}


# --- a store has one runtime ------------------------------------------------------------------------------


@pytest.fixture
def best(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a measurement finds to be the fastest, already for one image: onnx. The measurement is never kept."""
    fastest_now = ["onnx"]

    def measure(*_: object) -> dict[tuple[str, int], float]:
        return {("torch", 32): 1.0, ("onnx", 4): 2.0 if fastest_now == ["onnx"] else 0.5}

    def write(path: Path, content: str | bytes) -> None:
        if path.suffix == ".onnx":
            write_whole(path, content)

    monkeypatch.setattr(runtime_choice, "MEASURE_FROM", 1)
    monkeypatch.setattr(runtime_choice, "measure", measure)
    monkeypatch.setattr(runtime_choice, "write_whole", write)
    return fastest_now


def runtime_in(store: Path) -> object:
    return json.loads((store / "meta.json").read_text()).get("runtime")


def test_torch_unless_told(backbone: Backbone, best: list[str], tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 2)
    assert extract_features(asked, backbone, tmp_path / "s", progress=False).runtime == "torch"
    assert runtime_in(tmp_path / "s") is None  # the file of earlier versions
    report = extract_features(asked, backbone, tmp_path / "t", progress=False, runtime="auto")
    assert report.runtime == "onnx"
    assert runtime_in(tmp_path / "t") == {"name": "onnx", "batch": 4}


@pytest.mark.parametrize("first", ["onnx", "torch"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_store_ends_with_the_runtime_that_began_it(
    first: str,
    finished: bool,
    backbone: Backbone,
    best: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, out = make_folder(tmp_path / "images", 5), tmp_path / "store"
    other = {"onnx": "torch", "torch": "onnx"}[first]
    best[:] = [first]
    if finished:
        extract_features(dict(list(asked.items())[:2]), backbone, out, progress=False, runtime="auto")
    else:
        with monkeypatch.context() as patch:
            patch.setattr(FeatureWriter, "finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                extract_features(dict(list(asked.items())[:2]), backbone, out, progress=False, runtime="auto")
    best[:] = [other]
    with pytest.raises(MMTError, match=f"store: holds features computed by {first}, but {other} was requested"):
        extract_features(asked, backbone, out, progress=False, runtime=other)
    report = extract_features(asked, backbone, out, progress=False, runtime="auto")
    assert (report.runtime, report.done) == (first, 3)
    assert runtime_in(out) == ({"name": "onnx", "batch": 4} if first == "onnx" else None)


def test_the_first_shard_chooses_for_all(backbone: Backbone, best: list[str], tmp_path: Path) -> None:
    asked, out = make_folder(tmp_path / "images", 6), tmp_path / "store"

    def extract(number: int, runtime: str = "auto", folder: Path = out) -> ExtractReport:
        shard = Shard(number, 3)
        return extract_features(
            asked, backbone, folder, batch_size=1, progress=False, shard=shard, runtime=runtime
        )

    assert extract(1).runtime == "onnx"
    best[:] = ["torch"]
    with pytest.raises(MMTError, match=r"parts: holds features computed by onnx, but torch was requested"):
        extract(0, "torch")
    assert extract(2).runtime == "onnx"
    assert "merged" in extract(0, "onnx").note
    assert runtime_in(out) == {"name": "onnx", "batch": 4}
    asked |= {f"new{number}.png": path for number, path in enumerate(list(asked.values()))}
    for number in range(3):  # rows that are added to it, too
        assert extract(number).runtime == "onnx"
    assert len(FeatureStore.open(out)) == 12
    for number in range(3):
        assert extract(number, folder=tmp_path / "by_torch").runtime == "torch"
    assert runtime_in(tmp_path / "by_torch") is None


def test_what_cannot_be_opened_is_neither_agreed_upon_nor_leaves_anything(
    backbone: Backbone, best: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_folder(tmp_path / "images", 4)
    monkeypatch.setitem(sys.modules, "openvino", None)
    for shard in (None, Shard(0, 2)):
        with pytest.raises(MMTError, match="openvino is missing"):
            extract_features(asked, backbone, tmp_path / "s", progress=False, shard=shard, runtime="openvino")
        assert not (tmp_path / "s").exists()
    for number in (0, 1):
        report = extract_features(
            asked, backbone, tmp_path / "s", batch_size=32, progress=False, shard=Shard(number, 2), runtime="onnx"
        )
    assert "merged" in report.note


def test_nothing_to_do_and_a_folder_that_is_refused_cost_no_export(
    backbone: Backbone, best: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_folder(tmp_path / "images", 2)
    extract_features(asked, backbone, tmp_path / "done", progress=False, runtime="auto")
    monkeypatch.setattr(runtime_choice, "file_checksum", lambda _: pytest.fail("a graph was opened"))
    for shard in (None, Shard(0, 2)):
        again = extract_features(asked, backbone, tmp_path / "done", progress=False, shard=shard, runtime="auto")
        assert (again.done, again.skipped) == (0, 2)
        with pytest.raises(MMTError, match="expected a new folder or a feature store"):
            extract_features(asked, backbone, tmp_path / "images", progress=False, shard=shard, runtime="auto")


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
    with pytest.raises(MMTError, match="holds features of precision bfloat16, but float32 was requested"):
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
    sounds = load_backbone("logmel80")
    with pytest.raises(MMTError, match="runtime onnx is for images on a CPU; for recordings only torch computes"):
        extract_features({"a.wav": tmp_path / "a.wav"}, sounds, tmp_path / "s", runtime="onnx")
    extract_features(asked, tiny_backbone(), tmp_path / "by_onnx", progress=False, runtime="onnx")
    asked["more.png"] = asked[min(asked)]
    with pytest.raises(
        MMTError, match=r"by_onnx: .* on meta only torch computes\. Use --device cpu --runtime onnx"
    ):
        extract_features(asked, tiny_backbone(), tmp_path / "by_onnx", device="meta", runtime="auto")
