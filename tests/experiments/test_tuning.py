"""Laws of a search for settings: the budget, the order, early stops, failures, and what an interruption leaves."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from mmt.errors import MMTError
from mmt.experiments.jobs import Places, Training, threads_of
from mmt.experiments.tuning import Search
from mmt.experiments.tuning_config import is_tuning, read_tuning
from mmt.model.card import ModelCard
from mmt.training.config_file import read_config
from tests.experiments.trainings import run
from tests.worlds import SETTINGS, make_dataset


def write(folder: Path, **changes: object) -> Path:
    """A search of the tiny world's, as YAML."""
    (folder / "recipe.yaml").write_text(json.dumps({"data": {"path": str(folder / "data")}}))
    small = [s for s in SETTINGS if not s.startswith(("regime.num_steps", "text.vocab_size", "optimizer.lr"))]
    config = {
        "recipe": "recipe.yaml",
        "search": {
            "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "optimizer.label_smoothing": [0.0, 0.1],
        },
        "trials": 3,
        "settings": [
            *[s for s in small if not s.startswith("data.path")],
            "regime.num_steps=4",
            "text.vocab_size=300",
        ],
        **changes,
    }
    path = folder / "search.yaml"
    path.write_text(json.dumps(config))
    return path


def search_in(folder: Path, **changes: object) -> Search:
    config, recipe = read_tuning(write(folder, **changes))
    (folder / "out").mkdir(exist_ok=True)
    return Search(config, recipe, folder / "out", Places.here(1))


def play(
    search: Search, training: Training, scores: list[float], *, failure: str | None = None, title: str = "BLEU"
) -> None:
    """Writes what a training of half an hour would write, and ends it; with a model unless it failed."""
    validate(training, scores, title)
    (training.output / "metrics" / "train.jsonl").write_text('{"Step": 9, "Total Time": 1800.0}\n')
    if failure is None:
        (training.output / "model").mkdir()
        trained = {"validation_bleu": scores[-1]} if title == "BLEU" else {}
        card = {"format": 4, "features": None, **vars(ModelCard({}, "en", "de")), "training": trained}
        (training.output / "model" / "mmt.json").write_text(json.dumps(card))
    search.end(training, failure)


def validate(training: Training, scores: list[float], title: str = "BLEU") -> None:
    """Writes the scores of a training's validations."""
    (training.output / "metrics").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"Step": step, title: score}) + "\n" for step, score in enumerate(scores, 1)]
    (training.output / "metrics" / "valid.jsonl").write_text("".join(lines))


def test_a_search_trains_its_trials_and_writes_the_best_configuration(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data", {"train": 40, "val": 6})
    path = write(tmp_path)
    code, out, err = run("compare", path, tmp_path / "out", "--jobs", 2)  # of one thread each
    assert code == 0, err
    result = json.loads((tmp_path / "out" / "tuning.json").read_text())
    scores = [row["score"] for row in result["trials"] if row["score"] is not None]
    assert len(result["trials"]) == 3
    assert scores == sorted(scores, reverse=True)
    best = result["trials"][0]["settings"]
    config = read_config(tmp_path / "out" / "best.yaml")
    assert (config.optimizer.lr, config.optimizer.label_smoothing) == tuple(best.values())
    assert config.regime.num_steps == 4
    assert (tmp_path / "out" / "tuning.md").read_text().count("\n") == 5
    assert "trial001" in out
    assert not list((tmp_path / "out" / "runs").glob("*/checkpoints"))

    code, _, err = run("compare", path, tmp_path / "out")  # the budget is used up
    assert (code, "3 trials, 3 of them done" in err) == (0, True)
    assert json.loads((tmp_path / "out" / "tuning.json").read_text())["trials"] == result["trials"]

    other = write(tmp_path, search={"optimizer.lr": [0.1, 0.2], "optimizer.label_smoothing": [0.0, 0.1]})
    code, _, err = run("compare", other, tmp_path / "out", "--only-table")
    assert (code, "holds a search with optimizer.lr: {'low': 0.0001" in err) == (2, True)


def test_an_interrupted_trial_resumes_with_its_settings_and_counts_once(tmp_path: Path) -> None:
    first = next(search_in(tmp_path).trainings())
    for _ in range(2):  # killed twice, the second time before anything was proposed again
        search = search_in(tmp_path)
        search.resume()
    trainings = search.trainings()
    again = next(trainings)
    assert (again.name, again.settings) == (first.name, first.settings)
    with patch.object(search.study, "tell", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        play(search, again, [1.0])  # killed between the score and the study
    search = search_in(tmp_path)
    search.resume()
    assert next(search.trainings()).name != first.name
    assert [(row["run"], row["score"], row["ended"]) for row in search.rows()] == [(first.name, 1.0, "finished")]


def test_the_budget_is_of_trials_and_of_core_hours(tmp_path: Path) -> None:
    hours = threads_of(1) / 2  # that a trial takes
    search = search_in(tmp_path, trials=9, core_hours=2.5 * hours)
    for training in search.trainings():
        play(search, training, [1.0])
    assert (len(search.rows()), search.core_hours()) == (3, 3 * hours)
    more = search_in(tmp_path, trials=5)
    for training in more.trainings():
        play(more, training, [1.0])
    assert len(more.rows()) == 5


def test_a_trial_below_the_median_is_stopped_early_and_others_are_not(tmp_path: Path) -> None:
    search = search_in(tmp_path, trials=9)
    trainings = search.trainings()
    for value in (40.0, 10.0, 30.0, 20.0):
        training = next(trainings)
        validate(training, [value])
        assert not search.hopeless(training)  # the first four are what later ones are compared with
        play(search, training, [value])
    good, bad = next(trainings), next(trainings)
    validate(good, [26.0])
    validate(bad, [24.0])
    assert not search.hopeless(good)
    assert search.hopeless(bad)
    search.end(bad, None)
    assert [row["score"] for row in search.rows()] == [40.0, 30.0, 20.0, 10.0, None]
    assert search.rows()[-1]["ended"] == "stopped early"

    never = search_in(tmp_path, trials=9, prune=False)
    worst = next(never.trainings())
    validate(worst, [1.0])
    assert not never.hopeless(worst)


def test_of_losses_the_lowest_is_the_best(tmp_path: Path) -> None:
    search = search_in(tmp_path, settings=["regime.score=loss"], trials=6)
    trainings = search.trainings()
    for value in (3.0, 1.0, 2.0, 4.0):
        play(search, next(trainings), [value + 5, value], title="NLL Loss")
    assert [row["score"] for row in search.rows()] == [1.0, 2.0, 3.0, 4.0]


def test_a_failed_trial_is_noted_and_four_of_four_end_the_search(tmp_path: Path) -> None:
    search = search_in(tmp_path, trials=9)
    trainings = search.trainings()
    for _ in range(3):
        play(search, next(trainings), [], failure="training diverged")
    assert {(row["ended"], row["failure"]) for row in search.rows()} == {("failed", "training diverged")}
    play(search, next(trainings), [], failure="no memory")
    with pytest.raises(MMTError, match="all of 4 trials failed; the last: no memory"):
        next(trainings)


def test_what_is_wrong_is_found_before_anything_is_trained(tmp_path: Path) -> None:
    for changes, message in (
        ({"search": {}}, "expected at least one setting"),
        ({"search": {"optimizer.lrr": [0.1, 0.2]}}, r"optimizer\.lrr.*optimizer\.lr"),
        ({"search": {"model.dropout_p": [0.1, 3.0]}}, r"search\.model\.dropout_p: 3\.0: "),
        ({"search": {"model.dropout_p": [0.1]}}, "at least 2"),
        ({"search": {"model.dropout_p": {"low": 0.5, "high": 0.1}}}, "expected low below high"),
        ({"search": {"model.dropout_p": {"low": 0.0, "high": 0.1, "log": True}}}, "expected low above 0"),
        ({"search": {"model.dropout_p": {"low": 0.0, "high": 0.2, "step": 0.5}}}, "a step of at most"),
        ({"search": {"regime.keep_last": {"low": 1, "high": 5, "step": 0}}}, "step"),
        ({"search": {"data.max_tokens": [1024, 2048]}}, "would not be comparable"),
        ({"search": {"seed": [1, 2]}, "settings": ["seed=3"]}, "it stands in settings, too"),
        ({"trials": 0}, "trials"),
    ):
        with pytest.raises(MMTError, match=message):
            read_tuning(write(tmp_path, **changes))
    with pytest.raises(MMTError, match="found fusions, too"):
        is_tuning(write(tmp_path, fusions=["gated"]))


def test_a_range_is_of_whole_numbers_if_all_of_it_is(tmp_path: Path) -> None:
    space = {
        "decoding.beam_size": {"low": 1, "high": 9, "step": 4},
        "model.dropout_p": {"low": 0, "high": 0.8, "step": 0.2},
    }
    search = search_in(tmp_path, search=space, trials=12)
    values: dict[str, set[float]] = {}
    for training in search.trainings():
        for setting in training.settings[-2:]:
            name, _, value = setting.partition("=")
            values.setdefault(name, set()).add(round(float(value), 6))
        play(search, training, [1.0])
    assert values["decoding.beam_size"] <= {1, 5, 9}
    assert values["model.dropout_p"] <= {0.0, 0.2, 0.4, 0.6, 0.8}
    assert len(values["model.dropout_p"]) > 2
