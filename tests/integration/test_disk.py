"""Laws of a full disk: one line that says so, and nothing that was there before is changed. More in tests/hard."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmt.inference.index
from mmt.data.dataset import DatasetInfo, read_split, write_dataset
from mmt.data.tokenizer import TOKENIZER
from mmt.errors import MMTError
from mmt.inference.index import open_index, write_index
from mmt.io.atomic import disk_error, write_together, writing
from mmt.model.card import WEIGHTS
from tests import warm
from tests.worlds import settings

LIMIT = 20_000  # bytes of a file: a disk that is full for whoever wants more


def run(*command: object, limit: int | None = LIMIT) -> subprocess.CompletedProcess[str]:
    full = None if limit is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    return warm.run(
        [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False, preexec_fn=full
    )


@contextmanager
def room(num_bytes: int) -> Iterator[None]:
    """No file of this process gets larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def assert_said(done: subprocess.CompletedProcess[str], where: Path) -> None:
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2, done.stderr
    assert len(errors) == 1, done.stderr
    assert str(where) in errors[0]
    assert "File too large" in errors[0]
    assert "Traceback" not in done.stderr


def test_a_training_goes_on_when_there_is_room(world: Path, tmp_path: Path) -> None:
    command: list[object] = ["mmt.cli", "train", tmp_path / "run"]
    for one in settings(world):
        command += ["--config", one]
    # The tokenizer has room, and a checkpoint has none.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tokenizer.model").write_bytes((world / "tokenizer.model").read_bytes())
    assert_said(run(*command), tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/step_[0-9]"))
    done = run(*command, limit=None)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "mmt.json").exists()


def test_features_go_on_when_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(12):
        Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(tmp_path / "images" / f"{number:02d}.png")
    command = [
        "mmt.cli",
        "features",
        "--images",
        tmp_path / "images",
        "--out",
        tmp_path / "store",
        "--batch-size",
        4,
    ]
    assert_said(run(*command), tmp_path / "store")
    done = run(*command, limit=None)
    assert done.returncode == 0, done.stderr
    assert "were there already" in done.stdout  # what had room was kept


@pytest.mark.parametrize("num_bytes", [LIMIT, 50_000])  # ends in vectors.npy, search.faiss
def test_an_index_that_has_no_room_leaves_the_old_one(
    num_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mmt.inference.index, "EXACT_BELOW", 800)
    model, folder = tmp_path / "model", tmp_path / "index"
    model.mkdir()
    for name in (WEIGHTS, TOKENIZER):
        (model / name).write_bytes(b"")
    vectors = np.eye(800, 12, dtype=np.float32)
    write_index(folder, "images", ["a", "b"], vectors[:2], model)
    items = [f"{number}" for number in range(800)]
    with room(num_bytes), pytest.raises(MMTError, match=r"index: cannot be written \((No space|File too large)"):
        write_index(folder, "images", items, vectors, model)
    assert open_index(folder, model).items == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "model"]
    assert write_index(folder, "images", items, vectors, model).method == "approximate search by HNSW"


def test_a_data_set_that_has_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    info = DatasetInfo("tiny", "en", "de", "")
    row = {"id": "1", "image": "", "source": "a", "target": "b", "has_image": False}
    write_dataset(tmp_path / "data", info, {"train": [row]})
    rows = [{**row, "id": f"{number}", "source": "a" * 50} for number in range(1000)]
    with room(LIMIT), pytest.raises(MMTError, match="data: cannot be written"):
        write_dataset(tmp_path / "data", info, {"train": rows})
    assert list(read_split(tmp_path / "data", "train")) == [row]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_files_that_belong_together_are_written_together(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "no folder").write_text("")
    with pytest.raises(MMTError, match="no folder"):
        write_together({tmp_path / "a": "new", tmp_path / "no folder" / "b": "new"})
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "no folder"]
    write_together({tmp_path / "a": "new", tmp_path / "b": "new"})
    assert [(tmp_path / name).read_text() for name in "ab"] == ["new", "new"]


def test_the_disk_is_found_behind_other_errors() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    behind = RuntimeError("unexpected pos")  # as torch has it
    behind.__context__ = full
    assert disk_error(behind) is full
    assert disk_error(RuntimeError("I/O error: No space left on device (os error 28)")) is not None
    assert disk_error(FileNotFoundError(errno.ENOENT, "no")) is None
    with pytest.raises(FileNotFoundError), writing(Path("x")):
        raise FileNotFoundError(errno.ENOENT, "no")
