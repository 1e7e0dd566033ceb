"""What a model is trained for: one ``Task`` each, with its head, loss and validation score, in the dict ``TASKS``.

A new task is a class here, a head of its name in ``mmt.model.heads`` if it has weights of its own, and its weight
in ``mmt.training.config.ObjectivesSection``.

Legend: N sentences, P sentences with an image, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from mmt.data.batch import Batch
from mmt.metrics.retrieval import mean_recall
from mmt.model.heads import HEADS
from mmt.model.model import MMTModel, Objective
from mmt.training.config import ObjectivesSection, TrainConfig
from mmt.training.objectives import (
    classification,
    contrastive,
    faithfulness,
    hardest_negative,
    imagination,
    masked_words,
    regression,
)


@dataclass
class Pass:
    """A forward pass: a model, a batch, and what several tasks need of them, computed once."""

    model: MMTModel
    batch: Batch

    @cached_property
    def state(self) -> Tensor:
        """(N, D), what labels and scores are predicted from."""
        batch = self.batch
        return self.model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)

    @property
    def label(self) -> Tensor:
        assert self.batch.label is not None  # noqa: S101  # collate() makes one
        return self.batch.label

    @property
    def score(self) -> Tensor:
        assert self.batch.score is not None  # noqa: S101
        return self.batch.score


class Task:
    """One thing that a model is trained for."""

    name: str
    """Names its weight in ``objectives``, its head (if it has one), and its loss in reports."""

    writes: bool = False
    """Whether it trains translation. A model without such a task generates no text."""

    needs_images: bool = False
    """Whether it needs image features even if the model's fusion is ``none``."""

    column: str | None = None
    """The setting of ``data`` that names the column to predict."""

    score: str | None = None
    """The name of its validation score, see ``evaluate``."""

    higher_is_better: bool = True

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        """The mean loss of a batch: over tokens if it predicts tokens, else over sentences or pairs."""
        raise NotImplementedError

    def outputs(self, given: Pass) -> dict[str, Tensor]:
        """What ``evaluate`` needs of a batch: tensors with a row for each sentence or pair, or {}."""
        raise NotImplementedError

    def evaluate(self, outputs: Mapping[str, Tensor], image_ids: Sequence[str]) -> float:
        """The validation score of a split.

        Args:
            outputs: of all batches, concatenated.
            image_ids: the images of the sentences that have one, in order.
        """
        raise NotImplementedError


class Translation(Task):
    """The target sentence; evaluated by translating (``mmt.training.validation``)."""

    name = "translation"
    writes = True
    score = "bleu"

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        loss, _ = given.model.cross_entropy(given.batch, objectives.label_smoothing)
        return loss / given.batch.num_target_tokens


class Classification(Task):
    """The label of sentence and image.

    ``accuracy``: share of correct labels, in [0, 100]; a label that the model does not know is wrong.
    """

    name = "classification"
    column = "label"
    score = "accuracy"

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        return classification(given.model.heads[self.name](given.state), given.label, objectives.label_smoothing)

    def outputs(self, given: Pass) -> dict[str, Tensor]:
        return {"logits": given.model.heads[self.name](given.state), "label": given.label}

    def evaluate(self, outputs: Mapping[str, Tensor], image_ids: Sequence[str]) -> float:
        return 100 * float((outputs["logits"].argmax(1) == outputs["label"]).double().mean())


class Regression(Task):
    """The score of sentence and image. ``mae``: mean absolute error."""

    name = "regression"
    column = "score"
    score = "mae"
    higher_is_better = False

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        return regression(given.model.heads[self.name](given.state)[:, 0], given.score)

    def outputs(self, given: Pass) -> dict[str, Tensor]:
        return {"predicted": given.model.heads[self.name](given.state)[:, 0], "true": given.score}

    def evaluate(self, outputs: Mapping[str, Tensor], image_ids: Sequence[str]) -> float:
        known = ~outputs["true"].isnan()
        return float((outputs["predicted"][known] - outputs["true"][known]).abs().double().mean())


class Contrastive(Task):
    """Which image belongs to the sentence: retrieval.

    ``recall``: mean of recall at 1, 5 and 10, texts to images and images to texts, in [0, 100] (VSE++'s rsum / 6).
    """

    name = "contrastive"
    needs_images = True
    score = "recall"

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        compare = hardest_negative if objectives.hardest_negatives else contrastive
        return compare(given.model, given.batch)

    def outputs(self, given: Pass) -> dict[str, Tensor]:
        model, batch = given.model, given.batch
        if batch.image is None:
            return {}
        head: Any = model.heads[self.name]
        pad = batch.image_pad
        has = torch.ones(len(batch.source), dtype=torch.bool) if pad is None else ~pad.all(dim=1)
        return {
            "texts": head.embed_text(model.sentence_means(batch))[has],
            "images": head.embed_image(model.image_means(batch))[has],
        }

    def evaluate(self, outputs: Mapping[str, Tensor], image_ids: Sequence[str]) -> float:
        return 100 * mean_recall(outputs["texts"].numpy(), outputs["images"].numpy(), image_ids)


class Imagination(Task):
    """The image's vector, from the sentence alone."""

    name = "imagination"
    writes = True
    needs_images = True

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        return imagination(given.model, given.batch)


class MaskedWords(Task):
    """Masked source tokens, with the image's help."""

    name = "masked"
    writes = True

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        return masked_words(given.model, given.batch)


class Faithfulness(Task):
    """The translations of a frozen text-only model, the teacher."""

    name = "faithful"
    writes = True

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        assert objectives.teacher is not None  # noqa: S101  # the configuration is checked
        return faithfulness(given.model, objectives.teacher, given.batch)


_TASKS = (
    Translation,
    Classification,
    Regression,
    Contrastive,
    Imagination,
    MaskedWords,
    Faithfulness,
)
TASKS: dict[str, Task] = {kind.name: kind() for kind in _TASKS}
"""By name. A run without translation is judged by the first that applies and has a score."""

SCORES: dict[str, Task] = {task.score: task for task in TASKS.values() if task.score and not task.writes}
"""The tasks by which a run without translation may be judged, by the name of their score."""

BESIDE: dict[str, Task] = {"translation": TASKS["translation"], "retrieval": TASKS["contrastive"]}
"""The tasks of additional datasets, by the value of ``beside``'s setting ``task``."""


@dataclass(frozen=True)
class Objectives:
    """What a run minimises: a weighted sum of the losses of tasks.

    Translation's loss is a sum over target tokens, so the other weights are relative to a token's.
    """

    translation: float = 1.0
    """The weight of translation."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """The weights of the other tasks, by name."""

    beside: Sequence[tuple[str, float]] = ()
    """Name (see ``BESIDE``) and weight of the task of each additional dataset."""

    label_smoothing: float = 0.0

    hardest_negatives: bool = False
    """Whether retrieval is trained on the hardest negatives only."""

    teacher: MMTModel | None = None
    """The frozen text model of ``faithful``."""

    @classmethod
    def of(cls, config: TrainConfig) -> Objectives:
        """The objectives of a run, without the teacher, which is loaded later."""
        return cls(
            config.objectives.translation,
            used_weights(config.objectives),
            [(one.task, one.weight) for one in config.beside],
            config.optimizer.label_smoothing,
            config.objectives.negatives == "hardest",
        )

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights without translation's, by the name that reports use: ``contrastive``, ``beside_0_retrieval``."""
        beside = {f"beside_{number}_{task}": weight for number, (task, weight) in enumerate(self.beside)}
        return {**self.weights, **beside}

    def computed(self) -> list[Objective]:
        """What a training step computes: ``translation`` if the model translates, and ``losses``."""
        first = [partial(translation, label_smoothing=self.label_smoothing)] if self.writes else []
        return [*first, self.losses]

    def losses(self, model: MMTModel, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of each of ``loss_weights``."""
        given = Pass(model, batch)
        losses = {name: TASKS[name].loss(given, self) for name in self.weights}
        for number, ((task, _), part) in enumerate(zip(self.beside, batch.beside, strict=True)):
            losses[f"beside_{number}_{task}"] = BESIDE[task].loss(Pass(model, part), self)
        return losses

    @property
    def tasks(self) -> list[Task]:
        """All that have a weight, or a dataset of their own."""
        names = {*self.weights, *(BESIDE[task].name for task, _ in self.beside)}
        if self.translation:
            names.add("translation")
        return [task for name, task in TASKS.items() if name in names]

    @property
    def heads(self) -> tuple[str, ...]:
        """The tasks that have weights of their own, in the order of a model's configuration."""
        return tuple(name for name in HEADS if TASKS[name] in self.tasks)

    @property
    def writes(self) -> bool:
        """Whether the model learns to translate; else its decoder, if it has one, serves labels and scores."""
        return any(task.writes for task in self.tasks)

    @property
    def needs_images(self) -> bool:
        """Whether a task needs image features even if the model's fusion is ``none``."""
        return any(task.needs_images for task in self.tasks)

    @property
    def score(self) -> str:
        """The default validation score."""
        if self.writes:
            return "bleu"
        return next(name for name, task in SCORES.items() if task in self.tasks)


def used_weights(section: ObjectivesSection) -> dict[str, float]:
    """The weights of the tasks beside translation that are not 0, in the section's order."""
    names = [one.name for one in fields(section) if one.name in TASKS and one.name != "translation"]
    return {name: getattr(section, name) for name in names if getattr(section, name)}


def needs_features(config: TrainConfig) -> bool:
    """Whether a run reads image features."""
    return config.model.fusion != "none" or Objectives.of(config).needs_images


def score_of(config: TrainConfig) -> str:
    """The validation score that decides which checkpoint is best: ``regime.score``, or the objectives' default."""
    return config.regime.score or Objectives.of(config).score


def translation(model: MMTModel, batch: Batch, label_smoothing: float = 0.0) -> dict[str, Tensor]:
    """``translation``, the label-smoothed loss, and ``nll``, which has no gradient; sums over target tokens."""
    loss, nll = model.cross_entropy(batch, label_smoothing)
    return {"translation": loss, "nll": nll}
