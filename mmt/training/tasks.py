"""What is trained and how it is judged: batch -> loss, batch -> metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import fairseq2.recipe  # before fairseq2.evaluator, which imports it in a circle  # noqa: F401
import torch
from fairseq2.evaluator import EvalUnit
from fairseq2.metrics import Mean, MetricBag, Sum
from fairseq2.trainer import TrainUnit
from torch import Tensor, nn

from mmt.data.batch import Batch
from mmt.data.tokenizer import EOS, Tokenizer
from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.metrics.languages import is_unspaced
from mmt.metrics.retrieval import mean_recall
from mmt.model.model import MMTModel, Objective
from mmt.model.stepping import StepDecoder
from mmt.training.objectives import (
    classification,
    contrastive,
    faithfulness,
    hardest_negative,
    image_means,
    imagination,
    masked_words,
    regression,
    sentence_means,
)

LABELLED = ("classification", "regression")
SCORES = {"classification": "accuracy", "regression": "mae", "contrastive": "recall"}
"""What each head is judged by."""

_OBJECTIVES = {"contrastive": contrastive, "imagination": imagination, "masked": masked_words}
_BLEU_COUNTS = [f"bleu_{kind}_{order}" for kind in ("counts", "totals") for order in range(1, 5)] + [
    "bleu_length_hypothesis",
    "bleu_length_reference",
]


@dataclass(frozen=True)
class Learnt:
    """What a step minimises: the weights of the objectives, and of what is learnt beside.

    translation: of the cross-entropy of a target token, which the other weights are relative to.
    objectives: of those of ``mmt.training.objectives``, by name.
    beside: task and weight of each batch that stands beside one.
    teacher: the frozen text model of the objective ``faithful``.
    """

    label_smoothing: float
    translation: float = 1.0
    objectives: Mapping[str, float] = field(default_factory=dict)
    beside: Sequence[tuple[str, float]] = ()
    teacher: MMTModel | None = None
    writes: bool = True
    """Whether the target is learnt, at whatever weight; else losses are means over sentences, not tokens."""
    hardest: bool = False
    """Whether ``contrastive`` looks at the hardest negatives only."""

    def weights(self) -> dict[str, float]:
        """By the name under which a metric reports it: ``contrastive``, ``beside_0_retrieval``."""
        beside = {f"beside_{n}_{task}": weight for n, (task, weight) in enumerate(self.beside)}
        return {**self.objectives, **beside}

    def all_losses(self) -> list[Objective]:
        """What a step computes: the loss of translation, if it is learnt, and ``losses``."""
        return [
            *([partial(translation, label_smoothing=self.label_smoothing)] if self.writes else []),
            self.losses,
        ]

    def losses(self, model: MMTModel, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of each of ``weights``."""
        found = {}
        read = None
        for name in self.objectives:
            if name in LABELLED:
                if read is None:  # once for both
                    read = model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)
                found[name] = self._labelled(name, model.heads[name](read), batch)
            elif name == "contrastive" and self.hardest:
                found[name] = hardest_negative(model, batch)
            elif name == "faithful":
                assert self.teacher is not None  # noqa: S101
                found[name] = faithfulness(model, self.teacher, batch)
            else:
                found[name] = _OBJECTIVES[name](model, batch)
        for number, ((task, _), part) in enumerate(zip(self.beside, batch.beside, strict=True)):
            if task == "translation":
                loss = translation(model, part, self.label_smoothing)["translation"] / part.num_target_tokens
            else:
                loss = contrastive(model, part)
            found[f"beside_{number}_{task}"] = loss
        return found

    def _labelled(self, name: str, output: Tensor, batch: Batch) -> Tensor:
        assert batch.label is not None  # noqa: S101
        assert batch.score is not None  # noqa: S101
        if name == "classification":
            return classification(output, batch.label, self.label_smoothing)
        return regression(output[:, 0], batch.score)


class Training(TrainUnit[Batch]):
    """Label-smoothed cross-entropy of the target given source and image, and what else is to be learnt."""

    def __init__(self, model: nn.Module, learnt: Learnt) -> None:
        self._model, self._learnt, self._weights = model, learnt, learnt.weights()
        self._objectives = learnt.all_losses()

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        for name in ("loss", *(["nll_loss"] if self._learnt.writes else []), *self._weights):
            metric_bag.add(name, Mean())
        for name in ("num_target_tokens", "num_sentences", "num_images", "total_num_target_tokens"):
            metric_bag.add(name, Sum())

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> tuple[Tensor, int]:
        found = self._model(batch, self._objectives)
        if self._learnt.writes:
            count = tokens = batch.num_target_tokens
            loss = self._learnt.translation * found["translation"]
            metric_bag.get("nll_loss", Mean).update(found["nll"] / tokens, weight=tokens)
        else:
            count, tokens, loss = len(batch.source), 0, 0.0
        for name, weight in self._weights.items():
            loss = loss + count * weight * found[name]
            metric_bag.get(name, Mean).update(found[name].detach(), weight=count)
        metric_bag.get("loss", Mean).update(loss.detach() / count, weight=count)
        metric_bag.get("num_target_tokens", Sum).update(tokens)
        metric_bag.get("total_num_target_tokens", Sum).update(tokens)
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)
        return loss, count


class TranslationValidation(EvalUnit[Batch]):
    """Cross-entropy, and BLEU and exact match of greedy translations, on a validation split."""

    def __init__(self, model: nn.Module, translator: MMTModel, tokenizer: Tokenizer) -> None:
        self._model, self._translator, self._tokenizer = model, translator, tokenizer
        self._hypotheses: list[str] = []
        self._references: list[str] = []

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        self._hypotheses, self._references = [], []
        self._decoder = StepDecoder(self._translator)  # of the weights as they are now
        for name in ("nll_loss", "exact"):
            metric_bag.add(name, Mean())
        for name in ("num_sentences", "num_images", *_BLEU_COUNTS):
            metric_bag.add(name, Sum())

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        tokens, found = batch.num_target_tokens, self._model(batch, [translation])
        metric_bag.get("nll_loss", Mean).update(found["nll"] / tokens, weight=tokens)
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)
        for hypotheses in beam_search(self._decoder, batch, SearchOptions(beam_size=1)):
            self._hypotheses.append(self._tokenizer.decode(hypotheses[0].ids))
        self._references += references(batch, self._tokenizer)

    def finalize(self, metric_bag: MetricBag) -> None:
        # Counts, not scores, are summed over the processes: BLEU is not a mean.
        if not self._hypotheses:
            return
        metric_bag.get("exact", Mean).update(
            exact_match(self._hypotheses, self._references), weight=len(self._references)
        )
        score = validation_bleu(self._hypotheses, self._references)
        counts = [*score.counts, *score.totals, score.sys_len, score.ref_len]
        for name, count in zip(_BLEU_COUNTS, counts, strict=True):
            metric_bag.get(name, Sum).update(count)

    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        from sacrebleu import BLEU

        counts = [int(float(values.pop(name))) for name in _BLEU_COUNTS]  # type: ignore[arg-type]
        values["bleu"] = BLEU.compute_bleu(counts[:4], counts[4:8], counts[8], counts[9]).score


class LabelValidation(EvalUnit[Batch]):
    """What labels, scores or vectors of sentences and images are worth, on a validation split.

    The metric ``score`` is the one that the run goes by, the higher the better: ``-mae`` for ``mae``.
    """

    def __init__(self, model: MMTModel, score: str) -> None:
        self._model, self._score = model, score
        self._outputs: list[HeadOutputs] = []

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        self._outputs = []
        for name in ("score", *(SCORES[head] for head in SCORES if head in self._model.heads)):
            metric_bag.add(name, Mean())
        for name in ("num_sentences", "num_images"):
            metric_bag.add(name, Sum())

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        self._outputs.append(head_outputs(self._model, batch))
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)

    def finalize(self, metric_bag: MetricBag) -> None:
        if not self._outputs:
            return
        # Of several processes each scores its share, and the mean is taken. That is exact for labels; recall is
        # among the share's images, so compare it within a run only.
        num = sum(len(part.values["label"]) for part in self._outputs)
        for name, value in head_scores(self._outputs).items():
            metric_bag.get(name, Mean).update(value, weight=num)
            if name == self._score:
                metric_bag.get("score", Mean).update(-value if name == "mae" else value, weight=num)

    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        pass


@dataclass(frozen=True)
class HeadOutputs:
    """Of a batch, what the model's heads say and what is true, and the images of the sentences that have one."""

    values: dict[str, Tensor]
    image_ids: list[str]


@torch.inference_mode()
def head_outputs(model: MMTModel, batch: Batch) -> HeadOutputs:
    """All that ``head_scores`` needs of a batch."""
    assert batch.label is not None  # noqa: S101
    assert batch.score is not None  # noqa: S101
    found = {"label": batch.label, "truth": batch.score}
    labelled = [name for name in LABELLED if name in model.heads]
    if labelled:
        read = model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)
        found |= {name: model.heads[name](read) for name in labelled}
    if "contrastive" in model.heads and batch.image is not None:
        head: Any = model.heads["contrastive"]
        pad = batch.image_pad
        has = torch.ones(len(batch.source), dtype=torch.bool) if pad is None else ~pad.all(dim=1)
        found["texts"] = head.embed_text(sentence_means(model, batch))[has]
        found["images"] = head.embed_image(image_means(model, batch))[has]
    return HeadOutputs({name: value.cpu() for name, value in found.items()}, batch.image_ids)


def head_scores(outputs: Sequence[HeadOutputs]) -> dict[str, float]:
    """Scores of whole sets, by ``head_outputs`` of their batches.

    accuracy: share of labels that are right, in [0, 100]; a label that the model does not know is wrong.
    mae: mean absolute error of the scores.
    recall: mean of recall at 1, 5 and 10, texts to images and images to texts, in [0, 100] (VSE++'s rsum / 6).
    """
    whole = {name: torch.cat([part.values[name] for part in outputs]) for name in outputs[0].values}
    scores = {}
    if "classification" in whole:
        scores["accuracy"] = 100 * float((whole["classification"].argmax(1) == whole["label"]).double().mean())
    if "regression" in whole:
        known = ~whole["truth"].isnan()
        scores["mae"] = float((whole["regression"][known, 0] - whole["truth"][known]).abs().double().mean())
    if "texts" in whole and len(whole["texts"]):
        ids = [name for part in outputs for name in part.image_ids]
        scores["recall"] = 100 * mean_recall(whole["texts"].numpy(), whole["images"].numpy(), ids)
    return scores


def references(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """The batch's target sentences as text."""
    return [tokenizer.decode([i for i in row if i != EOS]) for row in batch.target.tolist()]


def validation_score(
    model: MMTModel,
    batches: Iterable[Batch],
    tokenizer: Tokenizer,
    *,
    score: str,
    beam_size: int,
    length_penalty: float,
) -> float:
    """What a finished model is worth on ``batches``, as its run goes by ``score``.

    Of a model that writes, ``validation_bleu`` of beam search against the batches' own targets, or
    ``exact_match``; else see ``head_scores``.
    """
    if not model.config.writes:
        return head_scores([head_outputs(model, batch) for batch in batches])[score]
    hypotheses: list[str] = []
    truth: list[str] = []
    decoder = StepDecoder(model)
    for batch in batches:
        found = beam_search(decoder, batch, SearchOptions(beam_size, length_penalty))
        hypotheses += [tokenizer.decode(best[0].ids) for best in found]
        truth += references(batch, tokenizer)
    if score == "exact":
        return exact_match(hypotheses, truth)
    return float(validation_bleu(hypotheses, truth).score)


def validation_bleu(hypotheses: Sequence[str], truth: Sequence[str]) -> Any:
    """sacreBLEU (13a, cased, in [0, 100]); of characters where no spaces part the words of the references."""
    from sacrebleu import corpus_bleu

    return corpus_bleu(hypotheses, [truth], tokenize="char" if is_unspaced(truth) else "13a", force=True)


def exact_match(hypotheses: Sequence[str], truth: Sequence[str]) -> float:
    """Share of the hypotheses that are the reference to the letter, in [0, 100]; of answers to questions."""
    return 100 * sum(a == b for a, b in zip(hypotheses, truth, strict=True)) / len(truth)


def translation(model: MMTModel, batch: Batch, label_smoothing: float = 0.0) -> dict[str, Tensor]:
    """``translation``, the label-smoothed loss, and ``nll``, which has no gradient; sums over target tokens."""
    loss, nll = model.cross_entropy(batch, label_smoothing)
    return {"translation": loss, "nll": nll}
