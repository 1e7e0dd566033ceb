"""Laws of choosing among checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from mmt.data.batch import Example, collate
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError
from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.model.build import build_model
from mmt.model.card import read_card
from mmt.training.recipe import train
from mmt.training.selection import average, choose, choose_length_penalty, totals
from tests.worlds import assert_same_weights, config, tiny_model


def test_the_average_is_the_mean_of_each_tensor() -> None:
    states = [{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 6.0])}]
    assert average(states)["a"].tolist() == [2.0, 4.0]
    assert average(states[:1])["a"].tolist() == [1.0, 2.0]


def write_checkpoint(output: Path, step: int, state: dict[str, torch.Tensor], score: float | None) -> None:
    folder = output / "checkpoints" / f"step_{step}" / "model" / "pp_00" / "tp_00"
    folder.mkdir(parents=True)
    torch.save(state, folder / "sdp_00.pt")
    (output / "checkpoints" / "scores").mkdir(exist_ok=True)
    (output / "checkpoints" / "scores" / f"step_{step}.txt").write_text(f"{score}\n")


def test_the_better_of_best_and_average_is_chosen(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The targets are what the model of update 2 says, so nothing can beat it."""
    models = [tiny_model(tokenizer.vocab_size, seed=seed) for seed in range(3)]
    for step, model in enumerate(models, 1):
        write_checkpoint(tmp_path, step, model.state_dict(), 9.0 if step == 2 else step)
    sources = [Example(tokenizer.encode(line), []) for line in ("A dog sees the cat.", "A boat finds the ball.")]
    said = [best[0].ids for best in beam_search(models[1], collate(sources), SearchOptions(beam_size=2))]
    batch = collate([Example(e.source, ids) for e, ids in zip(sources, said, strict=True)])
    weights, scores = choose(
        tmp_path,
        build_model(models[0].config).eval(),
        [batch],
        tokenizer,
        score="bleu",
        every=1,
        keep_last=3,
        beam_size=2,
        length_penalty=1.0,
    )
    assert list(scores) == ["best checkpoint (step 2)", "average of 3 checkpoints (steps 1 to 3)"]
    assert scores["best checkpoint (step 2)"] > list(scores.values())[1]
    assert all(torch.equal(weights[name], tensor) for name, tensor in models[1].state_dict().items())


def test_a_moving_average_that_scores_best_is_chosen(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """That of the best and that of the last checkpoint are candidates; one of them was written without."""
    model, other = (tiny_model(tokenizer.vocab_size, seed=seed) for seed in (0, 1))
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, step, model.state_dict(), 9.0 if step == 2 else step)
        folder = tmp_path / "checkpoints" / f"step_{step}" / "optimizer" / "pp_00" / "tp_00"
        folder.mkdir(parents=True)
        averages = {n: {"moving_average": one.detach()} for n, one in enumerate(other.parameters())}
        state = averages if step == 3 else {}
        torch.save({"state": state, "param_groups": []}, folder / "sdp_00.pt")
    source = Example(tokenizer.encode("A dog sees the cat."), [])
    said = beam_search(other, collate([source]), SearchOptions(beam_size=2))[0][0].ids
    batch = collate([Example(source.source, said)])
    empty = build_model(model.config).eval()
    settings = {"score": "exact", "every": 1, "keep_last": 2, "beam_size": 2, "length_penalty": 1.0}
    weights, scores = choose(tmp_path, empty, [batch], tokenizer, moving_average=True, **settings)  # type: ignore[arg-type]
    assert list(scores) == [
        "moving average (step 3)",
        "best checkpoint (step 2)",
        "average of 2 checkpoints (steps 2 to 3)",
    ]
    assert_same_weights(weights, dict(other.state_dict()))


@pytest.mark.parametrize("extra", [[], [1]])  # which an interrupted run keeps for longer
def test_an_interruption_does_not_change_the_choice_among_equals(
    extra: list[int], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    model = tiny_model(tokenizer.vocab_size)
    for step in (*extra, 2, 3):
        write_checkpoint(tmp_path, step, model.state_dict(), 0.0)
    batches = [collate([Example(tokenizer.encode("A dog sees the cat."), [5])])]
    _, scores = choose(
        tmp_path,
        build_model(model.config).eval(),
        batches,
        tokenizer,
        score="bleu",
        every=1,
        keep_last=2,
        beam_size=1,
        length_penalty=1.0,
    )
    assert "best checkpoint (step 2)" in scores


def test_a_validated_checkpoint_stays_a_candidate_when_the_interval_changes(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    """Step 3 was validated before a resumption with another interval; step 5 was made because of a signal."""
    model = tiny_model(tokenizer.vocab_size)
    for step, value in ((3, 2.0), (4, 1.0), (5, None), (8, 1.0)):
        write_checkpoint(tmp_path, step, model.state_dict(), value)
    batches = [collate([Example(tokenizer.encode("A dog sees the cat."), [5])])]
    about = {"score": "bleu", "keep_last": 3, "beam_size": 1, "length_penalty": 1.0}
    _, scores = choose(tmp_path, build_model(model.config).eval(), batches, tokenizer, every=4, **about)
    assert scores.keys() == {"best checkpoint (step 3)", "average of 3 checkpoints (steps 3 to 8)"}


def test_the_length_penalty_that_scores_best_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equals, that nearest to 1; the run's model folder decodes with it."""
    tried = []

    def score(*_: object, length_penalty: float, **__: object) -> float:
        tried.append(length_penalty)
        return {0.8: 30.0, 1.2: 31.0, 1.6: 31.0}.get(length_penalty, 20.0)

    monkeypatch.setattr("mmt.training.selection.validation_score", score)
    found = choose_length_penalty(tiny_model(30), [], None, score="bleu", beam_size=2, at_1=20)  # type: ignore[arg-type]
    assert sorted(tried) == [0.6, 0.8, 1.2, 1.4, 1.6]
    assert list(found) == [1.2, 1.6, 0.8, 1.0, 0.6, 1.4]


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (1.0, [0.6, 0.8, 1.0, 1.2, 1.4, 1.6]),
        (1.6, [0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8]),
        (2.0, [0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2]),
        (9.0, [0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0]),
        (0.35, [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6]),
        (-9.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6]),
    ],
)
def test_length_penalties_beyond_the_usual_follow_while_the_last_one_is_the_best(
    peak: float, tried: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(*_: object, length_penalty: float, **__: object) -> float:
        return -abs(length_penalty - peak)

    monkeypatch.setattr("mmt.training.selection.validation_score", score)
    at_1 = score(length_penalty=1.0)
    found = choose_length_penalty(tiny_model(30), [], None, score="bleu", beam_size=2, at_1=at_1)  # type: ignore[arg-type]
    assert sorted(found) == tried
    assert next(iter(found)) == min(tried, key=lambda one: abs(one - peak))


def test_a_run_decodes_with_the_length_penalty_of_its_validation(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        "decoding.length_penalty=val",
        "decoding.beam_size=3",
        "regime.num_steps=60",
        "regime.validate_every=30",
    )
    train(tmp_path, config(world, *settings, "regime.report_every=30", fusion="none"))
    card = read_card(tmp_path / "model")
    said = capsys.readouterr().err.replace("\n", " ")
    line = re.search(r"length penalty (\S+) \(validation BLEU: (.*?)\)", said)
    assert line is not None
    scores = dict(map(float, one.split()) for one in line[2].split(", "))
    assert card.decoding["length_penalty"] == float(line[1])
    assert scores[float(line[1])] == max(scores.values())
    assert card.training["validation_bleu"] == max(scores.values())
    with pytest.raises(MMTError, match="expected a number or 'val', found 'test'"):
        config(world, "decoding.length_penalty=test")
    with pytest.raises(MMTError, match="expected at most 100"):
        config(world, "decoding.length_penalty=101")


def test_a_run_without_checkpoints_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = tiny_model(tokenizer.vocab_size)
    with pytest.raises(MMTError, match="no checkpoint was written"):
        choose(tmp_path, model, [], tokenizer, score="bleu", every=1, keep_last=2, beam_size=1, length_penalty=1.0)


def test_totals_count_what_a_restart_repeated_once(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    lines = [
        {
            "Step": step,
            "Data Time": 1.0,
            "Compute Time": 3.0,
            "Total Time": time,
            "num_target_tokens": tokens,
            "total_num_target_tokens": total,
        }
        # killed after 20, resumed from a checkpoint of 14; the 40 tokens before it are in no report that is kept
        for step, time, tokens, total in (
            (10, 5.0, 100, 100),
            (20, 10.0, 100, 200),
            (20, 11.0, 60, 200),
            (30, 16.0, 100, 300),
        )
    ]
    (tmp_path / "metrics" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert totals(tmp_path) == {
        "updates": 30,
        "target_tokens": 300,
        "training_seconds": 12,
        "wall_seconds": 16,
        "target_tokens_per_second": 22,
    }
    assert totals(tmp_path / "none") == {}
