"""Laws of training in several processes: the same training, resumed by any number of them, ended together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import mmt.training.run_data
from mmt.data.batch import Example
from mmt.data.reader import BatchReader
from mmt.data.sampling import EpochSampling, upsampled_counts
from mmt.errors import MMTError
from mmt.model.build import build_model
from mmt.model.config import MMTConfig
from mmt.model.folder import load_model
from mmt.training.checkpoints import BUFFERS, checkpoint_steps, load_weights
from mmt.training.moving_average import load_moving_average
from mmt.training.recipe import train
from mmt.training.resharding import reshard_last_checkpoint
from tests.worlds import (
    PLAIN,
    assert_close_weights,
    assert_same_weights,
    base_folder,
    begin,
    config,
    finish,
    reports,
)

FSDP = ("stack.trainer.data_parallelism=fsdp",)


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve updates of two batches each, by one process."""
    output = tmp_path_factory.mktemp("runs") / "alone"
    train(output, config(world, *PLAIN, "optimizer.num_accumulate=2"))
    return output


@pytest.mark.parametrize(("kind", "begun"), [("ddp", 0), ("fsdp", 3)])
def test_two_processes_train_as_one(kind: str, begun: int, world: Path, alone: Path, tmp_path: Path) -> None:
    """And go on where one has stopped after ``begun`` updates, as one goes on where two have, and their shards."""
    output = tmp_path / "run"
    if begun:
        train(output, config(world, *PLAIN, "optimizer.num_accumulate=2", f"regime.num_steps={begun}"))
    said = finish(begin(world, output, f"stack.trainer.data_parallelism={kind}", "regime.num_steps=6"))
    assert checkpoint_steps(output) == [3, 6], said
    assert len(list((output / "checkpoints/step_6/model").rglob("*.pt"))) == (2 if kind == "fsdp" else 1)
    assert "No calls" not in said
    assert "batches an update instead" not in said
    assert_close_weights(output, alone, 6)
    train(output, config(world, *PLAIN, "optimizer.num_accumulate=2"))
    assert_close_weights(output, alone, 12)
    for report in ("train", "valid"):
        ours, theirs = ({one["Step"]: one for one in reports(run, report)} for run in (output, alone))
        assert ours.keys() == theirs.keys()
        assert [ours[step]["NLL Loss"] for step in ours] == pytest.approx(
            [theirs[step]["NLL Loss"] for step in theirs], abs=1e-4
        )


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_weigh_tokens_as_one(kind: str, world: Path, tmp_path: Path) -> None:
    """Also where only one of them has a sentence with an image in its batch."""
    more = ("objectives.image_weighting=2", "objectives.faithful=1", "images.dropout_p=0.9", "regime.num_steps=6")
    more += ("regime.average=ema",)
    train(tmp_path / "text", config(world, *PLAIN, "regime.num_steps=3", fusion="none"))
    more += (f"start.model={tmp_path / 'text' / 'model'}", "start.freeze_text=true")
    train(tmp_path / "alone", config(world, *PLAIN, *more, "optimizer.num_accumulate=2"))
    said = finish(begin(world, tmp_path / "two", *more, f"stack.trainer.data_parallelism={kind}"))
    assert checkpoint_steps(tmp_path / "two") == [3, 6], said
    assert_close_weights(tmp_path / "two", tmp_path / "alone", 6)
    model = load_model(tmp_path / "alone" / "model")[0]
    averages = [load_moving_average(tmp_path / run, 6, model) for run in ("two", "alone")]
    assert averages[0] is not None
    assert averages[1] is not None
    for name, average in averages[1].items():
        torch.testing.assert_close(averages[0][name], average, atol=1e-5, rtol=0)
    ours, theirs = (reports(tmp_path / run, "train") for run in ("two", "alone"))
    for name in ("Loss", "NLL Loss", "pcxmi", "faithful"):
        assert [one[name] for one in ours] == pytest.approx([one[name] for one in theirs], abs=1e-4)


def test_another_number_of_batches_an_update_is_said(
    world: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone, output)
    train(output, config(world, *PLAIN))
    assert "1 batches an update instead of 2" in capsys.readouterr().err.replace("\n", " ")


def test_a_killed_process_ends_the_others(world: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    process = begin(world, output, "regime.num_steps=100000")
    until = time.monotonic() + 900
    while not checkpoint_steps(output):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < until
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said = finish(process)
    assert process.returncode != 0
    lines = [line for line in said.splitlines() if "has lost the others" in line]
    assert len(lines) == 1, said
    assert str(output) in lines[0]


def test_a_checkpoint_fits_any_number_and_comes_back_the_same(alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone / "checkpoints", output / "checkpoints")
    step = checkpoint_steps(output)[-1]
    folder = output / "checkpoints" / f"step_{step}"

    def states() -> dict[str, object]:
        return {
            str(file.relative_to(folder)): torch.load(file, weights_only=True) for file in folder.rglob("*.pt")
        }

    before, weights = states(), load_weights(output, step)
    for processes, shards in ((3, 3), (7, 7), (4, 2), (2, 1), (1, 1)):
        reshard_last_checkpoint(output, processes=processes, shards=shards)
        names = sorted(states())
        assert len([n for n in names if n.startswith("model/")]) == shards
        assert len([n for n in names if n.startswith("trainer/")]) == processes
        assert_same_weights(load_weights(output, step), weights)
    assert sorted(before) == sorted(states())
    for name, state in states().items():
        assert equal(state, before[name]), name


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return all(map(equal, one, other))
    return one == other


def test_a_new_process_draws_numbers_of_its_own(alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone / "checkpoints", output / "checkpoints")
    reshard_last_checkpoint(output, processes=3, shards=1)
    files = sorted((output / "checkpoints" / "step_12" / "trainer").iterdir())
    drawn = set()
    totals = []
    for file in files:
        state = torch.load(file, weights_only=True)
        generator = torch.Generator()
        generator.set_state(state["_rng_bag"]["generators"][0])
        drawn.add(torch.rand(1, generator=generator).item())
        totals.append(float(state["_metric_bag"]["total_num_target_tokens"]["weighted_sum"]))
    assert len(drawn) == 3
    assert totals[0] > 0
    assert totals[1:] == [0, 0]


def test_a_killed_change_of_a_checkpoint_is_taken_back(alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone / "checkpoints", output / "checkpoints")
    folder = output / "checkpoints" / "step_12"
    folder.rename(folder.with_name(".step_12.replaced"))
    reshard_last_checkpoint(output, processes=1, shards=1)
    assert checkpoint_steps(output)[-1] == 12


@pytest.mark.parametrize("file", ["model/pp_00/tp_00/sdp_01.pt", "data_reader/dp_01.pt", "trainer/rank_02.pt"])
def test_a_missing_file_of_a_checkpoint_is_noticed(file: str, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone / "checkpoints", output / "checkpoints")
    reshard_last_checkpoint(output, processes=3, shards=3)
    folder = output / "checkpoints" / "step_12"
    (folder / file).unlink()
    before = sorted(folder.rglob("*"))
    with pytest.raises(MMTError, match=r"expected files numbered 0 to 2, found .*Remove .*step_12"):
        reshard_last_checkpoint(output, processes=1, shards=1)
    assert sorted(folder.rglob("*")) == before
    if file.startswith("model"):
        with pytest.raises(MMTError, match=r"expected files numbered 0 to 2, found .*Remove .*step_12"):
            load_weights(output, 12)


@pytest.mark.parametrize("file", ["trainer/rank_00.pt", "data_reader/dp_00.pt", "model/pp_00/tp_00/sdp_00.pt"])
@pytest.mark.parametrize("content", [[1], {}, {"epoch": "one", "_rng_bag": 3}], ids=["list", "empty", "other"])
def test_what_is_no_state_is_named(file: str, content: object, world: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone, output)
    torch.save(content, output / "checkpoints" / "step_12" / file)
    with pytest.raises(MMTError, match=r"not a checkpoint, or damaged.* Remove .*step_12; training resumes"):
        train(output, config(world, *PLAIN, "optimizer.num_accumulate=2", "regime.num_steps=15"))


def test_what_is_no_checkpoint_is_passed_over(world: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone, output)
    checkpoints = output / "checkpoints"
    (checkpoints / "step_99").write_text("a file")
    (checkpoints / "step_²").mkdir()
    shutil.copytree(checkpoints / "step_12", checkpoints / ".step_12.replaced")
    (checkpoints / "step_9.123-0123abcd.writing").mkdir()
    score = checkpoints / "scores" / "step_12.txt"
    before = score.read_text()
    score.write_text("abc\n")
    train(output, config(world, *PLAIN, "optimizer.num_accumulate=2", "regime.num_steps=15"))
    assert checkpoint_steps(output)[-1] == 15
    assert not [*checkpoints.glob("step_*.*"), *checkpoints.glob(".step_*")]
    assert score.read_text() == before  # validated again


def test_nobody_waits_for_ever_for_the_tokenizer(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where process 0 has ended before the others could meet it, or sees another folder."""
    monkeypatch.setattr(mmt.training.run_data, "TOKENIZER_TIMEOUT", 0.3)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MMTError, match=r"tokenizer\.model: expected process 0 to make it"):
        train(tmp_path / "run", config(world))


def test_an_update_of_more_batches_than_there_are_is_refused(world: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone, output)
    with pytest.raises(MMTError, match=r"optimizer.num_accumulate \(1000\) x processes \(1\), found fewer"):
        train(output, config(world, *PLAIN, "optimizer.num_accumulate=1000", "regime.num_steps=15"))


@pytest.mark.parametrize("file", ["trainer/rank_00.pt", "optimizer/pp_00/tp_00/sdp_00.pt", "data_reader/dp_00.pt"])
@pytest.mark.parametrize("damage", ["pickle", "short"])
def test_no_file_of_a_checkpoint_runs_code(
    file: str, damage: str, world: Path, tmp_path: Path, alone: Path
) -> None:
    output = tmp_path / "run"
    shutil.copytree(alone, output)
    path = output / "checkpoints" / "step_12" / file
    sentinel = tmp_path / "was run"

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(sentinel),)

    if damage == "pickle":
        torch.save({"epoch": Hostile()}, path)
    else:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(MMTError, match=r"not a checkpoint, or damaged.* Remove .*step_12; training resumes"):
        train(output, config(world, *PLAIN, "optimizer.num_accumulate=2", "regime.num_steps=15"))
    assert not sentinel.exists()


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_process_does_equally_many_steps(world_size: int, shuffle: bool) -> None:
    """Else one would ask the others for something while they ask for something else, and all would wait."""
    examples = [Example([5] * (1 + n % 9), [6] * (1 + n % 7)) for n in range(53)]
    shares = [
        list(BatchReader(examples, None, max_tokens=30, shuffle=shuffle, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    if not shuffle:
        assert sum(len(batch.source) for share in shares for step in share for batch in step) == 53


@pytest.mark.parametrize(("shuffle", "upsample"), [(True, None), (False, None), (True, (1.5, 1.0))])
def test_any_number_of_processes_reads_on_what_others_left(
    shuffle: bool, upsample: tuple[float, float] | None
) -> None:
    """``upsample``: of two datasets, 45 sentences and 15."""
    examples = [Example([5 + n] * (1 + n % 9), [6] * (1 + n % 7), dataset=int(n >= 45)) for n in range(60)]
    sampling = None if upsample is None else EpochSampling([45, 15], upsampled_counts([45, 15], upsample))

    def readers(number: int, state: dict[str, object] | None = None) -> list[BatchReader]:
        made = [
            BatchReader(
                examples, None, max_tokens=30, shuffle=shuffle, seed=3, rank=rank, world_size=number,
                image_dropout_p=0.5, sampling=sampling,
            )
            for rank in range(number)
        ]  # fmt: skip
        for one in made:
            if state is not None:
                one.load_state_dict(state)
        return made

    def step(made: list[BatchReader]) -> list[list[list[int]]]:
        return [batch.source.tolist() for one in made for batch in next(one)]

    [single] = readers(1)
    whole = [batch.source.tolist() for one in single for batch in one]
    read: list[list[list[int]]] = []
    state: dict[str, object] | None = None
    for number in (2, 3, 1):
        made = readers(number, state)
        for _ in range(2):
            read += step(made)
        states = [one.state_dict() for one in made]
        assert all(one == states[0] for one in states)
        state = json.loads(json.dumps(states[0]))
    assert read == whole[: len(read)]
    assert len(read) == 12


def test_all_that_a_model_keeps_beside_its_parameters_is_known() -> None:
    model = build_model(
        MMTConfig(
            vocab_size=40, fusion="early", image_sets=((4, 8),), image_encoder="frames", model_dim=16, num_heads=2
        )
    )
    beside = set(model.state_dict()) - {name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert beside
    assert all(name.endswith(BUFFERS) for name in beside)


def on_base(base: Path) -> tuple[str, ...]:
    """With everything that is trained inside the frozen layers: adapters and LoRA."""
    return (f"model.text=mmt:{base}", "start.freeze_text=true", "model.adapter_dim=4", "model.lora_rank=2")


@pytest.fixture(scope="module")
def alone_on_base(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six updates of two batches each on a frozen base, by one process: ``alone``, beside ``base``."""
    folder = tmp_path_factory.mktemp("base")
    more = (*on_base(base_folder(folder / "base", world)), "regime.num_steps=6")
    train(folder / "alone", config(world, *PLAIN, "optimizer.num_accumulate=2", *more))
    return folder


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_on_a_frozen_base_as_one(
    kind: str, world: Path, alone_on_base: Path, tmp_path: Path
) -> None:
    """What they save is only what is trained, in shards, from which one process goes on."""
    output, alone, base = tmp_path / "run", alone_on_base / "alone", alone_on_base / "base"
    more = ("regime.num_steps=3", *on_base(base))
    said = finish(begin(world, output, f"stack.trainer.data_parallelism={kind}", *more))
    assert checkpoint_steps(output) == [3], said
    saved = load_weights(output, 3)
    assert any("adapter" in name for name in saved)
    assert any("lora" in name for name in saved)
    assert saved.keys() == load_weights(alone, 3).keys()
    assert len(list((output / "checkpoints/step_3/model").rglob("*.pt"))) == (2 if kind == "fsdp" else 1)
    assert_close_weights(output, alone, 3)
    train(output, config(world, *PLAIN, "optimizer.num_accumulate=2", "regime.num_steps=6", *on_base(base)))
    assert_close_weights(output, alone, 6)
    for report in ("train", "valid"):
        ours, theirs = ([one["NLL Loss"] for one in reports(run, report)] for run in (output, alone))
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_two_processes_go_on_with_shards_on_a_frozen_base(
    world: Path, alone_on_base: Path, tmp_path: Path
) -> None:
    output, base = tmp_path / "run", alone_on_base / "base"
    more = ("optimizer.num_accumulate=2", "regime.num_steps=3", *on_base(base))
    train(output, config(world, *PLAIN, *more))
    said = finish(begin(world, output, *FSDP, "regime.num_steps=6", *on_base(base)))
    assert checkpoint_steps(output)[-1] == 6, said
    assert_close_weights(output, alone_on_base / "alone", 6)
