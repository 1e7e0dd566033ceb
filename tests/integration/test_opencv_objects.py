"""Laws of recipes/opencv_objects.py, with a stand-in for OpenCV."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mmt.data.feature_store import FeatureStore
from recipes import opencv_objects
from tests.features.pictures import make_folder

FOUND = [(18, 0.5), (1, 0.9), (18, 0.8), *[(44, 0.4)] * 6, (5, 0.2)]  # classes and scores; the last one is too low


class Network:
    """Finds nothing in the first image, and ``FOUND`` in all others."""

    images = 0

    def setInput(self, pixels: Any) -> None:  # noqa: N802 (OpenCV's name)
        self.images += 1

    def forward(self) -> Any:
        found = FOUND if self.images > 1 else []
        rows = [[0, label, score, 0, 0, 1, 1] for label, score in found]
        return np.array(rows, np.float32).reshape(1, 1, -1, 7)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    class Error(Exception):
        pass

    def read(graph: str, config: str) -> Network:
        if not Path(graph).read_bytes():
            raise Error("cannot\nparse")
        return Network()

    dnn = SimpleNamespace(readNetFromTensorflow=read, blobFromImage=lambda pixels, size: pixels, Net=Network)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(dnn=dnn, error=Error))
    return opencv_objects


def write(script: ModuleType, folder: Path, layer: str, num_images: int = 3) -> Any:
    make_folder(folder / "photos", num_images)
    for name in ("graph.pb", "graph.pbtxt"):
        (folder / name).write_bytes(b"weights")
    arguments = [folder / "photos", folder / "graph.pb", folder / "graph.pbtxt", folder / layer, "--layer", layer]
    return CliRunner().invoke(script.main, [str(argument) for argument in arguments])


def test_rows_are_those_of_mmts_own_detectors(script: ModuleType, tmp_path: Path) -> None:
    for layer in ("grid", "pool"):
        done = write(script, tmp_path, layer)
        assert done.exit_code == 0, done.output
    grid, pool = (FeatureStore.open(tmp_path / layer) for layer in ("grid", "pool"))
    nothing, found = grid.get([grid.ids[0], grid.ids[1]])
    assert (np.isnan(nothing).all(axis=1).sum(), np.nansum(nothing)) == (7, 0)
    best = [(1, 0.9), (18, 0.8), (18, 0.5), *[(44, 0.4)] * 5]
    assert [(row.argmax(), round(float(row.max()), 1)) for row in found] == best
    nothing, found = pool.get([pool.ids[0], pool.ids[1]])
    assert not nothing.any()
    assert {k: round(float(found[0, k]), 1) for k in found[0].nonzero()[0]} == {1: 0.9, 18: 0.8, 44: 0.4}


def test_a_second_run_adds_new_images_and_names_those_that_cannot_be_read(
    script: ModuleType, tmp_path: Path
) -> None:
    assert write(script, tmp_path, "pool").exit_code == 0
    make_folder(tmp_path / "photos", 4)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no image")
    done = write(script, tmp_path, "pool", num_images=4)
    assert (done.exit_code, "left out: bad.jpg (" in done.output) == (0, True)
    assert FeatureStore.open(tmp_path / "pool").ids == [f"{number:03}.jpg" for number in range(4)]


def test_a_file_that_is_no_detector_is_refused(script: ModuleType, tmp_path: Path) -> None:
    make_folder(tmp_path / "photos", 1)
    (tmp_path / "empty.pb").touch()
    arguments = [str(tmp_path / name) for name in ("photos", "empty.pb", "graph.pbtxt", "out")]
    refused = CliRunner().invoke(script.main, arguments)
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)
    assert "it says: cannot parse" in refused.output


def test_without_opencv_it_says_how_to_install_it(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    refused = write(script, tmp_path, "pool")
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)
    assert "pip install 'opencv-python-headless<5'" in refused.output
