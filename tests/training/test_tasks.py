"""Laws of the tasks: each has what the configuration and the model promise."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
import torch

from mmt.data.batch import Batch, Example, collate
from mmt.model.heads import HEADS
from mmt.training.config import ObjectivesSection, TrainConfig
from mmt.training.config_file import read_config
from mmt.training.forward_pass import Pass
from mmt.training.objectives import contrastive, hardest_negative
from mmt.training.tasks import BESIDE, SCORES, TASKS, Objectives, score_of
from mmt.training.validation import head_outputs, head_scores
from tests.worlds import DIM, tiny_model

V = 30


def batch(num: int) -> Batch:
    """Sentences with an image each, labels 0, 1, -1 in turn, and scores."""
    made = collate(
        [Example([5 + n, 6, 7, 8][: 2 + n % 3], [10, 11 + n], None, n % 3 - 1, n / 2) for n in range(num)]
    )
    made.add_images(list(range(num)), torch.randn(num, 2, DIM, generator=torch.Generator().manual_seed(1)).numpy())
    made.image_ids = [f"{n}.png" for n in range(num)]
    return made


def test_every_weight_of_the_configuration_is_a_task() -> None:
    others = ("negatives", "image_weighting", "r_drop")  # of how a task is learned
    weights = [one.name for one in fields(ObjectivesSection) if one.name not in others]
    assert set(TASKS) == set(weights)
    assert all(name == task.name for name, task in TASKS.items())
    assert all(name == task.score for name, task in SCORES.items())
    columns = {task.column for task in TASKS.values() if task.column}
    assert columns <= vars(TrainConfig().data).keys()


def test_every_head_belongs_to_a_task_and_is_in_the_model() -> None:
    heads = tuple(HEADS)
    assert set(heads) <= set(TASKS)
    model = tiny_model(V, "gated", heads=heads, num_labels=2)
    assert set(model.heads) == set(heads)
    every = Objectives(weights=dict.fromkeys(heads, 1.0))
    assert every.heads == heads
    losses = every.losses(Pass(model, batch(5)))
    assert losses.keys() == set(heads)
    assert all(math.isfinite(loss.item()) for loss in losses.values())


@pytest.mark.parametrize("hardest", [False, True])
def test_retrieval_beside_has_the_negatives_that_are_set(hardest: bool) -> None:
    model, given = tiny_model(V, "gated", heads=("contrastive",)), batch(5)
    given.beside = [batch(4)]
    objectives = Objectives(beside=[("retrieval", 1.0)], hardest_negatives=hardest)
    with torch.no_grad():
        found = objectives.losses(Pass(model, given))["beside_0_retrieval"]
        expected = (hardest_negative if hardest else contrastive)(model, batch(4))
        other = (contrastive if hardest else hardest_negative)(model, batch(4))
    assert float(found) == float(expected)
    assert float(found) != float(other)


def test_the_negatives_of_a_configuration_are_those_of_its_objectives() -> None:
    settings = ["data.path=d", "model.fusion=gated", "images.features=f", "objectives.negatives=hardest"]
    config = read_config(None, [*settings, "beside=[{data: e, task: retrieval, weight: 2}]"])
    objectives = Objectives.of(config)
    assert objectives.hardest_negatives
    assert objectives.loss_weights == {"beside_0_retrieval": 2}
    assert objectives.heads == ("contrastive",)
    assert objectives.writes
    assert score_of(config) == "bleu"


def test_a_batch_without_images_leaves_recall_alone() -> None:
    heads = ("contrastive", "classification", "regression")
    model = tiny_model(V, "gated", heads=heads, num_labels=2)
    whole = batch(6)
    scores = head_scores([head_outputs(model, whole)])
    assert scores.keys() == set(SCORES)
    text_only = collate([Example([5], [6])])
    assert head_scores([head_outputs(model, text_only)]).keys() == {"accuracy", "mae"}
    assert head_scores([head_outputs(model, whole), head_outputs(model, text_only)])["recall"] == scores["recall"]


def test_a_run_in_bfloat16_has_all_scores() -> None:
    """NumPy has no bfloat16."""
    model = tiny_model(V, "gated", heads=("contrastive", "classification", "regression"), num_labels=2)
    exact = head_scores([head_outputs(model, batch(6))])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head_scores([head_outputs(model, batch(6))])
    assert rounded.keys() == exact.keys() == set(SCORES)
    assert rounded["mae"] == pytest.approx(exact["mae"], abs=0.02)


def test_tasks_beside_are_tasks() -> None:
    assert set(BESIDE) == {"translation", "retrieval"}
    assert set(BESIDE.values()) <= set(TASKS.values())
