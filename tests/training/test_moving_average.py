"""Laws of the moving average of the weights."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from mmt.errors import MMTError
from mmt.model.folder import load_model
from mmt.training.checkpoints import load_weights, read_tensors, write_tensors
from mmt.training.config_file import read_config
from mmt.training.moving_average import drop_moving_average, keep_moving_average, load_moving_average
from mmt.training.recipe import train
from mmt.training.resharding import reshard_last_checkpoint
from tests.worlds import assert_same_weights, config, weights


def steps(model: nn.Module, optimizer: AdamW, number: int) -> list[list[torch.Tensor]]:
    """The parameters after each update."""
    history = []
    for _ in range(number):
        optimizer.zero_grad()
        model[0](torch.randn(3, 4)).square().sum().backward()
        optimizer.step()
        history.append([one.detach().clone() for one in model.parameters()])
    return history


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_average_by_its_formula(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(1, 1))  # the second one gets no gradient
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    keep_moving_average(optimizer, decay)
    history = steps(model, optimizer, 20)
    for number, parameter in enumerate(model[0].parameters()):
        average = history[0][number]
        for t, of_step in enumerate(history[1:], 2):
            d = min(decay, (1 + t) / (10 + t))
            average = d * average + (1 - d) * of_step[number]
        torch.testing.assert_close(optimizer.state[parameter]["moving_average"], average)
    assert all(parameter not in optimizer.state for parameter in model[1].parameters())


def test_a_state_that_is_loaded_goes_on_exactly_or_is_dropped() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 2))
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    keep_moving_average(optimizer, 0.9)
    steps(model, optimizer, 5)
    other = copy.deepcopy(model)
    state, generator = copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    steps(model, optimizer, 5)
    resumed = AdamW(other.parameters(), lr=0.1, fused=True)
    keep_moving_average(resumed, 0.9)
    resumed.load_state_dict(copy.deepcopy(state))
    torch.set_rng_state(generator)
    steps(other, resumed, 5)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(optimizer.state[one]["moving_average"], resumed.state[two]["moving_average"])
    without = AdamW(other.parameters(), lr=0.1, fused=True)
    drop_moving_average(without)
    without.load_state_dict(state)
    assert all(value.keys() == {"step", "exp_avg", "exp_avg_sq"} for value in without.state.values())


AVERAGED = ("regime.average=ema", "regime.average_decay=0.8")


def test_a_run_keeps_its_average_through_an_interruption(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole", config(world, *AVERAGED))
    said = capsys.readouterr().err.replace("\n", " ")
    assert "moving average (step 12)" in said
    train(tmp_path / "halves", config(world, *AVERAGED, "regime.num_steps=6"))
    train(tmp_path / "halves", config(world, *AVERAGED))
    model = load_model(tmp_path / "whole" / "model")[0]
    whole, halves = (load_moving_average(tmp_path / run, 12, model) for run in ("whole", "halves"))
    assert whole is not None
    assert halves is not None
    assert_same_weights(halves, whole)
    last = weights(tmp_path / "whole", 12)
    assert whole.keys() == load_weights(tmp_path / "whole", 12).keys()
    names = [name for name, _ in model.named_parameters()]
    assert torch.equal(whole["text.final_proj.weight"], whole["text.frontend.embed.weight"])  # they are one
    far = [name for name in names if float((whole[name] - last[name]).abs().max()) > 1e-4]
    assert len(far) > len(names) / 2
    # Two shards are joined to the same average.
    copied = tmp_path / "copied"
    shutil.copytree(tmp_path / "whole" / "checkpoints", copied / "checkpoints")
    reshard_last_checkpoint(copied, processes=3, shards=3)
    sharded = load_moving_average(copied, 12, model)
    assert sharded is not None
    assert_same_weights(sharded, whole)
    file = copied / "checkpoints" / "step_12" / "optimizer" / "pp_00" / "tp_00" / "sdp_00.pt"
    state = read_tensors(file)
    state["state"][len(names)] = {"moving_average": torch.zeros(1)}
    write_tensors(state, file)
    with pytest.raises(MMTError, match=r"damaged.*Remove .*step_12"):
        load_moving_average(copied, 12, model)
    # An average that is no longer kept is not compared, and not continued later.
    train(tmp_path / "halves", config(world, "regime.num_steps=15"))
    assert "moving average" not in capsys.readouterr().err.partition("15/15")[2]
    assert load_moving_average(tmp_path / "halves", 15, model) is None


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(MMTError, match=r"regime\.average_decay: expected"):
        read_config(None, ["data.path=d", "regime.average_decay=1"])
