"""Defaults follow the number of training sentences; what the user sets is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from mmt.training.small_data import LARGE

DEFAULTS = TrainConfig()
NAMES = ("num_steps", "report_every", "validate_every")


@pytest.fixture
def data(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world / "data", tmp_path / "data"))


def of(data: Path, sentences: int, *settings: str) -> tuple[int, int, int, int]:
    """num_steps, report_every, validate_every and num_warmup_steps of a run on so many training sentences."""
    info = json.loads((data / "dataset.json").read_text())
    info["splits"]["train"]["sentences"] = sentences
    (data / "dataset.json").write_text(json.dumps(info))
    config = read_config(None, [f"data.path={data}", "model.fusion=none", *settings])
    regime = config.regime
    return regime.num_steps, regime.report_every, regime.validate_every, config.optimizer.num_warmup_steps


def test_a_few_sentences_are_trained_briefly_and_validated_often(data: Path) -> None:
    assert of(data, 120) == (100, 5, 5, 25)
    assert of(data, 1000) == (800, 50, 50, 200)
    assert of(data, 5000) == (4000, 50, 250, 1000)


def test_many_sentences_have_the_usual_defaults(data: Path) -> None:
    regime, warmup = DEFAULTS.regime, DEFAULTS.optimizer.num_warmup_steps
    for sentences in (LARGE, 10 * LARGE):
        assert of(data, sentences) == (*(getattr(regime, name) for name in NAMES), warmup)
    near = of(data, LARGE - 1)
    assert near[0] >= 0.99 * regime.num_steps
    assert near[3] >= 0.99 * warmup


def test_more_sentences_never_mean_fewer_updates(data: Path) -> None:
    found = [of(data, sentences) for sentences in (1, 10, 60, 120, 500, 2000, 5000, 9000, LARGE)]
    for numbers in zip(*found, strict=True):
        if numbers[0] != found[0][1]:  # report_every only divides validate_every
            assert list(numbers) == sorted(numbers)
    assert all(steps > warmup and validate % report == 0 for steps, report, validate, warmup in found)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("regime.num_steps=300",), (300, 5, 5, 25)),
        (("regime.report_every=40",), (120, 40, 40, 25)),
        (("regime.validate_every=30",), (120, 10, 30, 25)),
        (("optimizer.num_warmup_steps=2000",), (100, 5, 5, 2000)),
        (("regime.cooldown_steps=1000",), (1000, 5, 5, 25)),
        (("regime.num_steps=8000", "regime.report_every=100", "regime.validate_every=500",
          "optimizer.num_warmup_steps=0"), (8000, 100, 500, 0)),
    ],
)  # fmt: skip
def test_what_is_set_is_kept_and_the_rest_fits_to_it(
    data: Path, settings: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    assert of(data, 120, *settings) == expected


def test_data_that_are_missing_are_reported_when_they_are_opened(tmp_path: Path) -> None:
    config = read_config(None, [f"data.path={tmp_path / 'none'}", "model.fusion=none"])
    assert config.regime == DEFAULTS.regime
