"""``mmt info``: what each kind of folder says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.tokenizer import train_tokenizer
from mmt.errors import MMTError
from mmt.inference.describe import describe
from tests.worlds import make_dataset, make_features, sentences, tiny_folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each kind: ``data``, ``features``, ``model`` and ``run``, whose model it is."""
    folder = tmp_path_factory.mktemp("world")
    make_dataset(folder / "data", {"train": 12, "val": 4})
    make_features(folder / "features", ["0.png", "1.png"])
    train_tokenizer((side for pair in sentences(60, 0) for side in pair), 330, folder / "tokenizer.model")
    tiny_folder(folder / "model", folder, "gated")
    run = folder / "run"
    (run / "metrics").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"config": {"regime": {"num_steps": 40}}}))
    lines = [{"Step": 10, "NLL Loss": 5.5}, {"Step": 20, "NLL Loss": 4.25}]
    (run / "metrics" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"Step": 3')
    return folder


def test_each_kind_says_what_it_is(world: Path) -> None:
    model = describe(world / "model")
    assert model["kind"] == "model"
    assert model["fusion"] == "gated"
    assert model["uses images"] is True
    assert model["vocabulary"] == 330
    data = describe(world / "data")
    assert data["kind"] == "prepared dataset"
    assert data["languages"] == "en-de"
    assert list(data["splits"]) == ["train", "val"]
    assert data["splits"]["train"].startswith("12 sentences")
    features = describe(world / "features")
    assert (features["kind"], features["images"], features["backbone"]) == ("feature store", 2, "tiny")


def test_a_run_says_how_far_it_is_and_which_model_it_has(world: Path) -> None:
    """A line that is being written is no report."""
    run = describe(world / "run")
    assert run["updates"] == "20 of 40"
    assert run["loss of a token"] == 4.25
    assert run["state"].startswith("not finished")
    (world / "run" / "model").symlink_to(world / "model")
    run = describe(world / "run")
    assert (run["state"], run["model"], run["fusion"]) == ("finished", "model", "gated")


def test_the_command_prints_a_table_or_json(world: Path) -> None:
    for kind in ("model", "data", "features"):
        table = CliRunner().invoke(main, ["info", str(world / kind)])
        assert table.exit_code == 0, table.output
        assert str(describe(world / kind)["kind"]) in table.output
        raw = CliRunner().invoke(main, ["info", str(world / kind), "--format", "json"])
        assert json.loads(raw.output) == describe(world / kind)


def test_what_mmt_did_not_write_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, found in (
        (tmp_path / "none", "no such folder"),
        (tmp_path / "file", "a file"),
        (tmp_path, "another"),
    ):
        with pytest.raises(MMTError, match=found):
            describe(path)
    for name in ("run.json", "index.json", "mmt.json", "dataset.json", "meta.json"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        for content in ("{", "[]", "\x00"):
            (folder / name).write_text(content)
            with pytest.raises(MMTError, match=name):
                describe(folder)


def test_nothing_heavy_is_loaded(world: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mmt.inference.describe import describe\n"
        "for kind in ('model', 'data', 'features'): describe(Path(sys.argv[1], kind))\n"
        "print(sorted({'torch', 'fairseq2', 'datasets', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, world], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
