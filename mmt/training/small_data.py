"""Defaults for small datasets: a shorter training and warm-up, validated more often."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmt.data.dataset import read_info
from mmt.errors import MMTError
from mmt.training.config import TrainConfig

LARGE = 10_000
"""Training sentences from which on the defaults of ``mmt.training.config`` hold."""
_LEAST_STEPS, _LEAST_WARMUP = 100, 25
_STEP = 5  # updates: what the derived numbers are multiples of


def fit_to_data(config: TrainConfig, tree: Mapping[str, Any]) -> TrainConfig:
    """``config`` with defaults that fit its training data, if these have fewer than ``LARGE`` sentences.

    In proportion to the number of sentences, which keeps the number of epochs: 120 sentences are one batch, and
    after 50 updates a model has seen them 50 times and knows them by heart.

    Args:
        tree: the keys that the user set; these keep their values.
    """
    regime, optimizer = tree.get("regime") or {}, tree.get("optimizer") or {}
    size = _training_sentences(config)
    if size is None or size >= LARGE:
        return config
    share = size / LARGE
    defaults, given = type(config.regime)(), config.regime
    validate, report = given.validate_every, given.report_every
    if "validate_every" not in regime:
        validate = _STEP * max(round(share * defaults.validate_every / _STEP), 1)
        if "report_every" in regime:  # which it is to be a multiple of
            validate = math.ceil(validate / report) * report
    if "report_every" not in regime:
        report = math.gcd(defaults.report_every, validate)
    steps = given.num_steps
    if "num_steps" not in regime:
        least = max(share * defaults.num_steps, given.cooldown_steps, _LEAST_STEPS)
        steps = math.ceil(least / validate) * validate
    warmup = config.optimizer.num_warmup_steps
    if "num_warmup_steps" not in optimizer:
        warmup = max(round(share * warmup), _LEAST_WARMUP)
    return replace(
        config,
        regime=replace(given, num_steps=steps, report_every=report, validate_every=validate),
        optimizer=replace(config.optimizer, num_warmup_steps=warmup),
    )


def _training_sentences(config: TrainConfig) -> int | None:
    """None where the data cannot be read, which is reported when they are opened."""
    folders = config.data.datasets or ([] if config.data.path is None else [config.data.path])
    if not folders:
        return None
    try:
        return sum(read_info(folder).splits[config.data.train_split].sentences for folder in folders)
    except (MMTError, KeyError):
        return None
