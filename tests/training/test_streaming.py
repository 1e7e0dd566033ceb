"""A training on streams learns, resumes exactly, and does not depend on the number of processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmt.data import reader as streaming
from mmt.errors import MMTError
from mmt.training.checkpoints import checkpoint_steps
from mmt.training.recipe import train
from tests.worlds import (
    assert_close_weights,
    assert_same_weights,
    begin,
    config,
    finish,
    make_features,
    reports,
    weights,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "BLOCK", 16)


STREAMS = ("data.streams=4", "model.dropout_p=0", "regime.keep_last=4")


@pytest.fixture(scope="module")
def streamed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "streamed"
    train(output, config(world, *STREAMS, "optimizer.num_accumulate=2"))
    return output


def test_a_training_of_streams_learns_and_resumes_exactly(streamed: Path, world: Path, tmp_path: Path) -> None:
    losses = [report["NLL Loss"] for report in reports(streamed, "valid")]
    assert losses[-1] < 0.9 * losses[0]
    assert reports(streamed, "train")[-1]["Data Epoch"] > 1
    output = tmp_path / "run"
    for num in (6, 12):
        train(output, config(world, *STREAMS, "optimizer.num_accumulate=2", f"regime.num_steps={num}"))
    assert_same_weights(weights(output, 12), weights(streamed, 12))
    card = json.loads((output / "model" / "mmt.json").read_text())
    assert card["training"]["sentences"] == 60
    assert card["training"]["images_in_use"] == 30


def test_two_processes_read_streams_as_one(streamed: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    said = finish(begin(world, output, *STREAMS, "regime.num_steps=6"))
    assert checkpoint_steps(output) == [3, 6], said
    assert_close_weights(output, streamed, 6)
    train(output, config(world, *STREAMS, "optimizer.num_accumulate=2"))
    assert_close_weights(output, streamed, 12)


def test_processes_that_read_ahead_change_nothing(streamed: Path, world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    for num, readers in ((6, 2), (12, 4)):
        more = ("optimizer.num_accumulate=2", f"regime.num_steps={num}", f"data.readers={readers}")
        train(output, config(world, *STREAMS, *more))
    assert_same_weights(weights(output, 12), weights(streamed, 12))


def test_readers_need_streams(world: Path) -> None:
    with pytest.raises(MMTError, match=r"data\.readers: they read streams\. Set data\.streams"):
        config(world, "data.readers=2")


def test_images_are_looked_for_in_the_whole_split(world: Path, tmp_path: Path) -> None:
    """Not in the first rows alone, of which none may have features."""
    few, none = tmp_path / "few", tmp_path / "none"
    valid = [f"val-{n}.png" for n in range(10)]
    make_features(few, [*valid, *(f"train-{n}.png" for n in range(40, 60))])
    make_features(none, valid)
    train(tmp_path / "run", config(world, *STREAMS, f"images.features={few}", "regime.num_steps=6"))
    with pytest.raises(MMTError, match=r"none of the images of .*data \(train\) is in it"):
        train(tmp_path / "run2", config(world, *STREAMS, f"images.features={none}", "regime.num_steps=6"))


def test_labels_are_not_streamed(world: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"data\.streams: labels and scores are read whole"):
        config(world, *STREAMS, "data.label=label", "objectives.classification=1")
