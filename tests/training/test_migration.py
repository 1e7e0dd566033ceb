"""A run of version 0.1 resumes: its weights had other names, in the same order."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mmt.errors import MMTError
from mmt.training.checkpoints import WEIGHTS, checkpoint_folder, checkpoint_steps
from mmt.training.recipe import train
from tests.worlds import assert_same_weights, config, weights

BEFORE = {  # how names begin now, and how they began then, in the order of then
    "text.frontend.": "frontend.",
    "text.encoder.": "encoder.",
    "image.projections.": "image_proj.",
    "fusion.": "fusion.",
    "text.decoder.": "decoder.",
    "text.final_proj.": "final_proj.",
    "heads.": "heads.",
}


def age(output: Path) -> None:
    """Makes the checkpoints of a run those of version 0.1."""
    for step in checkpoint_steps(output):
        path = checkpoint_folder(output, step) / WEIGHTS / "sdp_00.pt"
        state = torch.load(path, weights_only=True)
        old = {}
        for start, before in BEFORE.items():
            old |= {before + n.removeprefix(start): value for n, value in state.items() if n.startswith(start)}
        assert len(old) == len(state)
        torch.save(old, path)


@pytest.fixture(scope="module")
def runs(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``whole``, of 12 updates, and ``half``, of the first 6, made by version 0.1."""
    folder = tmp_path_factory.mktemp("runs")
    more = ("objectives.contrastive=1", "regime.keep_last=3")
    train(folder / "whole", config(world, *more))
    train(folder / "half", config(world, *more, "regime.num_steps=6"))
    age(folder / "half")
    return folder


def test_a_run_of_the_version_before_resumes_exactly(runs: Path, world: Path, tmp_path: Path) -> None:
    """With its optimiser, whose state is numbered in the order of the weights."""
    shutil.copytree(runs / "half", tmp_path / "run")
    train(tmp_path / "run", config(world, "objectives.contrastive=1", "regime.keep_last=3"))
    assert 6 in checkpoint_steps(tmp_path / "run")  # the average is of old names and new ones
    assert_same_weights(weights(tmp_path / "run", 12), weights(runs / "whole", 12))
    model = "model/model.safetensors"
    assert (tmp_path / "run" / model).read_bytes() == (runs / "whole" / model).read_bytes()


def test_a_checkpoint_of_other_weights_is_refused_in_a_line(runs: Path, world: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "half", tmp_path / "run")
    model = checkpoint_folder(tmp_path / "run", 6) / WEIGHTS / "sdp_00.pt"
    torch.save(torch.load(model, weights_only=True) | {"encoder.more": torch.zeros(2)}, model)
    with pytest.raises(MMTError, match=r"step_6: not a checkpoint, or damaged, or of an earlier version"):
        train(tmp_path / "run", config(world, "objectives.contrastive=1", "regime.keep_last=3"))
