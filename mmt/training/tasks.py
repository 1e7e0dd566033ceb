"""What a model is trained for: one ``Task`` each, with its head, loss and validation score, in the dict ``TASKS``.

A new task is a class here, a head of its name in ``mmt.model.heads`` if it has weights of its own, and its weight
in ``mmt.training.config.ObjectivesSection``.

Legend: N sentences, P sentences with an image, D model width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from mmt.data.batch import Batch
from mmt.data.tokenizer import UNK
from mmt.metrics.retrieval import mean_recall
from mmt.model.heads import HEADS
from mmt.model.model import MMTModel
from mmt.training.config import ObjectivesSection, TrainConfig
from mmt.training.forward_pass import Pass
from mmt.training.objectives import (
    classification,
    contrastive,
    faithfulness,
    hardest_negative,
    image_weights,
    imagination,
    masked_words,
    r_drop,
    regression,
)


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
        return objectives.translate(given)["translation"] / given.batch.num_target_tokens


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
        return masked_words(given.model, given.batch, objectives.mask_id, objectives.num_tags)


class Faithfulness(Task):
    """The translations of a text model, the teacher: another one, or this one's frozen text without the image."""

    name = "faithful"
    writes = True

    def loss(self, given: Pass, objectives: Objectives) -> Tensor:
        return faithfulness(given, objectives.teacher)


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

    image_weighting: float = 0.0
    """How strongly translation's tokens are weighted by what the image tells of them, see ``image_weights``."""

    r_drop: float = 0.0
    """Alpha of R-Drop, see ``mmt.training.objectives.r_drop``."""

    teacher: MMTModel | None = None
    """The frozen text model of ``faithful``; None: the model itself without its image, whose text is frozen."""

    mask_id: int = UNK
    num_tags: int = 0
    """Of the tokenizer, for ``masked``: its mask, and the number of language tags before each source sentence."""

    @classmethod
    def of(cls, config: TrainConfig) -> Objectives:
        """The objectives of a run, without what is known later: the teacher, the tokenizer's mask and tags."""
        return cls(
            config.objectives.translation,
            used_weights(config.objectives),
            [(one.task, one.weight) for one in config.beside],
            config.optimizer.label_smoothing,
            config.objectives.negatives == "hardest",
            config.objectives.image_weighting,
            config.objectives.r_drop,
        )

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weights without translation's, by the name that reports use: ``contrastive``, ``beside_0_retrieval``."""
        beside = {f"beside_{number}_{task}": weight for number, (task, weight) in enumerate(self.beside)}
        return {**self.weights, **beside}

    @property
    def reported(self) -> tuple[str, ...]:
        """What ``translate`` gives beside losses: sums over target tokens, whose means are reported."""
        more = {"pcxmi": self.image_weighting, "r_drop": self.r_drop}
        return ("nll", *(name for name, used in more.items() if used))

    def computed(self, model: MMTModel, batch: Batch) -> dict[str, Tensor]:
        """What a training step computes: ``translate`` if the model translates, and ``losses``."""
        given = Pass(model, batch)
        first = self.translate(given) if self.writes else {}
        return first | self.losses(given)

    def translate(self, given: Pass) -> dict[str, Tensor]:
        """Translation's loss and, without gradient, what is ``reported``; all are sums over target tokens."""
        weights, more = None, {}
        if self.image_weighting:
            weights, more["pcxmi"] = image_weights(given, self.image_weighting)
        if self.r_drop:
            loss, nll, more["r_drop"] = r_drop(given, self.r_drop, self.label_smoothing, weights)
        else:
            loss, nll = given.model.cross_entropy(
                given.batch, self.label_smoothing, states=given.states, weights=weights
            )
        return {"translation": loss, "nll": nll, **more}

    def losses(self, given: Pass) -> dict[str, Tensor]:
        """The mean loss of each of ``loss_weights``."""
        losses = {name: TASKS[name].loss(given, self) for name in self.weights}
        for number, ((task, _), part) in enumerate(zip(self.beside, given.batch.beside, strict=True)):
            losses[f"beside_{number}_{task}"] = BESIDE[task].loss(Pass(given.model, part), self)
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


def negative_log_likelihood(model: MMTModel, batch: Batch) -> dict[str, Tensor]:
    """``nll``: of the batch's target tokens, summed, in nats; validation's loss."""
    _, nll = model.cross_entropy(batch)
    return {"nll": nll}
