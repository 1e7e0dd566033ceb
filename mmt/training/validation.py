"""Scores of a model on the batches of a split: translations, labels, retrieval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sacrebleu import corpus_bleu
from torch import Tensor

from mmt.data.batch import Batch
from mmt.data.tokenizer import EOS, Tokenizer
from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.metrics.languages import is_unspaced
from mmt.model.model import MMTModel
from mmt.model.stepping import StepDecoder
from mmt.training.forward_pass import Pass
from mmt.training.tasks import SCORES, TASKS


def validation_score(
    model: MMTModel,
    batches: Iterable[Batch],
    tokenizer: Tokenizer,
    *,
    score: str,
    beam_size: int,
    length_penalty: float,
) -> float:
    """The score of a finished model on ``batches``.

    For a model that translates, ``exact_match`` if ``score`` is ``exact``, else ``validation_bleu``, of beam
    search against the batches' own targets; of several datasets, the mean over them. For the others see
    ``head_scores``.
    """
    if not model.config.writes:
        return head_scores([head_outputs(model, batch) for batch in batches])[score]
    texts = Texts()
    decoder = StepDecoder(model)
    for batch in batches:
        candidates = beam_search(decoder, batch, SearchOptions(beam_size, length_penalty))
        texts.add(batch, [best[0].ids for best in candidates], tokenizer)
    scores = [
        exact_match(*both) if score == "exact" else float(validation_bleu(*both).score)
        for both in texts.by_dataset.values()
    ]
    return sum(scores) / len(scores)


class Texts:
    """Translations and references of a validation split, apart for each dataset."""

    def __init__(self) -> None:
        self.by_dataset: dict[int, tuple[list[str], list[str]]] = {}
        """Hypotheses and references, by the dataset's number."""

    def add(self, batch: Batch, hypotheses: Sequence[Sequence[int]], tokenizer: Tokenizer) -> None:
        """Adds the translations of ``batch``, as ids."""
        for dataset, ids, reference in zip(batch.datasets, hypotheses, references(batch, tokenizer), strict=True):
            both = self.by_dataset.setdefault(dataset, ([], []))
            both[0].append(tokenizer.decode(ids))
            both[1].append(reference)


def references(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """The batch's target sentences as text."""
    return [tokenizer.decode([i for i in row if i != EOS]) for row in batch.labels.tolist()]


def validation_bleu(hypotheses: Sequence[str], truth: Sequence[str]) -> Any:
    """sacreBLEU (13a, cased, in [0, 100]); of characters if the references' language writes no spaces."""
    return corpus_bleu(hypotheses, [truth], tokenize="char" if is_unspaced(truth) else "13a", force=True)


def exact_match(hypotheses: Sequence[str], truth: Sequence[str]) -> float:
    """Share of the hypotheses that equal the reference to the letter, in [0, 100]; for answers to questions."""
    return 100 * sum(a == b for a, b in zip(hypotheses, truth, strict=True)) / len(truth)


@dataclass(frozen=True)
class HeadOutputs:
    """What a model's heads say of a batch."""

    outputs: dict[str, dict[str, Tensor]]
    """``Task.outputs`` by task, on the CPU."""

    image_ids: list[str]
    num_sentences: int


@torch.inference_mode()
def head_outputs(model: MMTModel, batch: Batch) -> HeadOutputs:
    """All that ``head_scores`` needs of a batch."""
    given = Pass(model, batch)
    outputs = {
        task.name: {key: value.cpu() for key, value in task.outputs(given).items()}
        for task in SCORES.values()
        if task.name in model.heads
    }
    return HeadOutputs(outputs, batch.image_ids, len(batch.source))


def head_scores(parts: Sequence[HeadOutputs]) -> dict[str, float]:
    """Scores of a split by name (see ``SCORES``), from the ``head_outputs`` of its batches."""
    image_ids = [name for part in parts for name in part.image_ids]
    scores = {}
    for name in parts[0].outputs:
        some = [part.outputs[name] for part in parts if part.outputs[name]]
        whole = {key: torch.cat([one[key] for one in some]) for key in some[0]} if some else {}
        if all(len(value) for value in whole.values()) and whole:
            scores[str(TASKS[name].score)] = TASKS[name].evaluate(whole, image_ids)
    return scores
