"""Laws of feature extraction: nothing twice, nothing lost, the same bytes after any kill."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features, extract_features, extract_folder
from mmt.features.extract_report import print_report
from mmt.features.images import find_images
from mmt.features.load import load_backbone
from mmt.features.writer import FeatureWriter
from tests import warm
from tests.features.pictures import bad_files, make_folder, picture


def rows_of(store: FeatureStore) -> dict[str, np.ndarray]:
    return dict(zip(store.ids, store.get(store.ids), strict=True))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone()


def test_corrupt_images_are_left_out_by_name_and_the_others_are_right(
    lite0: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_folder(tmp_path / "images", 5)
    bad = bad_files(tmp_path / "images")
    asked = find_images(tmp_path / "images") | {"gone.jpg": tmp_path / "gone.jpg"}
    report = extract_features(asked, lite0, tmp_path / "s", "float32", batch_size=4, progress=False)
    assert set(report.left_out) == {*bad, "gone.jpg"}
    assert (report.done, report.skipped) == (5, 0)
    store = FeatureStore.open(tmp_path / "s")
    assert store.ids == sorted(good)
    assert store.left_out == report.left_out
    alone = compute_features([good[i] for i in store.ids], lite0)
    np.testing.assert_allclose(store.get(store.ids), alone, atol=1e-4)
    assert (np.abs(store.get(store.ids)).sum((1, 2)) > 1).all()
    print_report(report)
    printed = capsys.readouterr().out
    assert "left out 10 images" in printed
    assert all(f"{name}: " in printed for name in bad)
    # mended, it comes in; the others are reported again
    picture(99).save(tmp_path / "gone.jpg")
    report = extract_features(asked, lite0, tmp_path / "s", "float32", progress=False)
    assert (report.done, report.skipped, set(report.left_out)) == (1, 5, set(bad))
    assert "gone.jpg" in FeatureStore.open(tmp_path / "s")


def test_no_readable_image_is_an_error(lite0: Backbone, tmp_path: Path) -> None:
    bad_files(tmp_path / "images")
    with pytest.raises(MMTError, match=r"none of 9 images could be read; the first: 'empty\.jpg'"):
        extract_features(find_images(tmp_path / "images"), lite0, tmp_path / "s", progress=False)


def test_batch_size_order_and_workers_change_nothing(lite0: Backbone, tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 7)
    extract_features(asked, lite0, tmp_path / "a", "float32", batch_size=7, num_workers=1, progress=False)
    turned = dict(reversed(asked.items()))
    extract_features(turned, lite0, tmp_path / "b", "float32", batch_size=2, num_workers=3, progress=False)
    a, b = (rows_of(FeatureStore.open(tmp_path / name)) for name in "ab")
    assert list(a) == list(reversed(b))
    assert len({row.tobytes() for row in a.values()}) == 7
    for image_id, row in a.items():
        np.testing.assert_allclose(row, b[image_id], atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_on_the_fly_equals_the_store(lite0: Backbone, tmp_path: Path, dtype: str) -> None:
    asked = make_folder(tmp_path / "images", 4)
    extract_features(asked, lite0, tmp_path / "s", dtype, progress=False)
    store = FeatureStore.open(tmp_path / "s")
    paths = list(asked.values())
    opened = [Image.open(paths[2]), paths[3].read_bytes()]
    fly = compute_features([*paths[:2], *opened], lite0, batch_size=3)
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float16" else {"rtol": 0.0, "atol": 1e-4}
    stored = store.get(list(asked))
    for row in (0, 1, 3):
        np.testing.assert_allclose(fly[row], stored[row], **tolerance)
    np.testing.assert_allclose(fly[2], stored[2], atol=0.5)  # PIL decoded it: a level of 255 here and there
    lite0.signature.check(store.signature, "s")
    with pytest.raises(MMTError, match="empty"):
        compute_features([paths[0], b""], lite0)
    assert compute_features([], lite0).shape == (0, 1, 1280)


def test_finished_store_is_left_alone_and_grows_when_asked(
    lite0: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = make_folder(tmp_path / "images", 3)
    extract_features(asked, lite0, tmp_path / "s", progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    report = extract_features(asked, lite0, tmp_path / "s", progress=False)
    assert (report.done, report.skipped) == (0, 3)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()} == before
    print_report(report)
    assert "nothing to do, 3 were there already" in capsys.readouterr().out
    old = rows_of(FeatureStore.open(tmp_path / "s"))
    report = extract_folder(tmp_path / "images", tmp_path / "s", progress=False)
    assert report.done == 0
    more = make_folder(tmp_path / "images", 5)
    report = extract_features(more, lite0, tmp_path / "s", progress=False)
    assert (report.done, report.skipped) == (2, 3)
    grown = rows_of(FeatureStore.open(tmp_path / "s"))
    assert all((grown[i] == row).all() for i, row in old.items())
    np.testing.assert_allclose(
        grown["004.jpg"], compute_features([more["004.jpg"]], lite0)[0], rtol=1e-3, atol=1e-3
    )


def test_store_of_another_backbone_is_refused_by_name(lite0: Backbone, tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 1)
    extract_features(asked, lite0, tmp_path / "s", progress=False)
    with pytest.raises(MMTError, match=r"s \(made earlier\).*differ in layer pool became grid"):
        extract_features(asked, load_backbone(layer="grid"), tmp_path / "s", progress=False)


_SLOW_RUN = """
import sys, threading
from pathlib import Path
from mmt.features.backbone import Backbone
from mmt.features.extract import extract_folder
plain = Backbone.forward
begun = 0
def slow(self, x):
    global begun
    begun += 1
    if begun > 7:
        threading.Event().wait()  # so that the kill comes midway
    return plain(self, x)
Backbone.forward = slow
extract_folder(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=2, progress=False)
"""


def test_kill_and_resume_gives_the_same_bytes(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 24)
    (tmp_path / "images/001a.jpg").write_bytes(b"")
    whole, half = tmp_path / "whole", tmp_path / "half"
    command = [sys.executable, "-c", _SLOW_RUN, str(tmp_path / "images")]
    # as many threads there as here: their number decides in which order sums are rounded
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = warm.Popen([*command, str(half)], env=os.environ | threads)
    journal = half / "journal.jsonl"
    deadline = time.monotonic() + 300
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 4):  # the heading and four batches
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(MMTError, match="half-written"):
        FeatureStore.open(half)
    for out in (half, whole):
        report = extract_folder(tmp_path / "images", out, batch_size=2, progress=False)
        assert set(report.left_out) == {"001a.jpg"}
        assert report.done + report.skipped == 24
        assert (report.skipped >= 7) == (out == half)
    assert {p.name: p.read_bytes() for p in half.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_resumed_run_forms_the_batches_it_would_have_formed(
    lite0: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch's make-up may move the last bit of a row, so the same bytes need the same batches."""
    asked = make_folder(tmp_path / "images", 8)
    asked["002.jpg"].write_bytes(b"")
    batches: list[list[str]] = []
    plain = FeatureWriter.append
    stop_after = 99

    def recorded(self: FeatureWriter, ids: list[str], features: np.ndarray, left_out: dict[str, str]) -> None:
        if len(batches) == stop_after:
            raise KeyboardInterrupt
        batches.append(ids)
        plain(self, ids, features, left_out)

    monkeypatch.setattr(FeatureWriter, "append", recorded)
    extract_features(asked, lite0, tmp_path / "whole", batch_size=3, progress=False)
    whole, batches, stop_after = batches, [], 2
    with pytest.raises(KeyboardInterrupt):
        extract_features(asked, lite0, tmp_path / "half", batch_size=3, progress=False)
    stop_after = 99
    extract_features(asked, lite0, tmp_path / "half", batch_size=3, progress=False)
    assert [batch for batch in batches if batch] == whole
    assert batches[-1] == []  # the image left out was tried again, on its own


class Counting(Backbone):
    """Counts the images that were read, and those that were asked for, until each forward pass."""

    def __init__(self, device: str) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(1, device=device), requires_grad=False)
        self.signature = FeatureSignature("counting", "pool", "none", "ab" * 32, 1, 1)
        self.started, self.asked, self.lock = 0, list[object](), threading.Lock()
        self.started_before, self.asked_before = list[int](), list[list[object]]()

    def read(self, source: object) -> torch.Tensor:
        with self.lock:
            self.started += 1
        return torch.zeros(1, 1)

    def stack(self, read: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(read))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.started_before.append(self.started)
        self.asked_before.append(list(self.asked))
        return images


@pytest.mark.parametrize(("device", "ahead"), [("cpu", 0), ("meta", 2)])
def test_decoding_is_never_far_ahead_and_not_beside_a_network_on_the_cpu(device: str, ahead: int) -> None:
    """Memory must not depend on the number of images, and the two would take the cores from each other."""
    backbone = Counting(device)
    compute_features([b""] * 50, backbone, batch_size=1, num_workers=4)
    assert len(backbone.started_before) == 50
    for taken, started in enumerate(backbone.started_before, 1):
        assert taken <= started <= taken + ahead
    assert any(started > taken for taken, started in enumerate(backbone.started_before, 1)) == bool(ahead)


def test_files_are_asked_for_a_batch_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Counting("cpu")
    monkeypatch.setattr("mmt.features.pipeline.read_ahead", backbone.asked.append)
    paths = list(make_folder(tmp_path / "images", 6).values())
    compute_features(paths, backbone, batch_size=2, num_workers=2)
    assert backbone.asked_before == [paths[2:4], paths[2:6], paths[2:6]]


def test_unknown_device_and_batch_size_are_refused(lite0: Backbone, tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 1)
    with pytest.raises(MMTError, match="device 'tpu9' cannot be used"):
        extract_features(asked, lite0, tmp_path / "s", device="tpu9")
    with pytest.raises(MMTError, match="batch_size must be at least 1"):
        extract_features(asked, lite0, tmp_path / "s", batch_size=0)
