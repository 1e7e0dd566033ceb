"""What fairseq2's trainer runs on a batch: a training step's loss, and the metrics of validation."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import fairseq2.recipe  # before its evaluator and trainer, which import it in a circle  # noqa: F401
from fairseq2.evaluator import EvalUnit
from fairseq2.metrics import Mean, MetricBag, Sum
from fairseq2.trainer import TrainUnit
from sacrebleu import BLEU
from torch import Tensor, nn

from mmt.data.batch import Batch
from mmt.data.tokenizer import Tokenizer
from mmt.inference.beam import beam_search
from mmt.inference.search import SearchOptions
from mmt.model.model import MMTModel
from mmt.model.stepping import StepDecoder
from mmt.training.tasks import SCORES, Objectives, negative_log_likelihood
from mmt.training.validation import (
    HeadOutputs,
    Texts,
    exact_match,
    head_outputs,
    head_scores,
    validation_bleu,
)

_BLEU_COUNTS = [f"bleu_{kind}_{order}" for kind in ("counts", "totals") for order in range(1, 5)] + [
    "bleu_length_hypothesis",
    "bleu_length_reference",
]


_METRICS = {"nll": "nll_loss", "pcxmi": "pcxmi", "r_drop": "r_drop"}
"""The name in reports of what ``Objectives.translate`` gives beside the loss."""


class TrainingUnit(TrainUnit[Batch]):
    """The weighted sum of a run's losses, each reported under its name."""

    def __init__(self, model: nn.Module, objectives: Objectives) -> None:
        self._model, self._objectives = model, objectives
        self._weights = objectives.loss_weights
        self._reported = {_METRICS[name]: name for name in objectives.reported} if objectives.writes else {}

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        for name in ("loss", *self._reported, *self._weights):
            metric_bag.add(name, Mean())
        for name in ("num_target_tokens", "num_sentences", "num_images", "total_num_target_tokens"):
            metric_bag.add(name, Sum())

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> tuple[Tensor, int]:
        """The loss, summed over target tokens, or over sentences if nothing is translated, and their number."""
        values = self._model(batch, [self._objectives.computed])
        if self._objectives.writes:
            count = tokens = batch.num_target_tokens
            loss = self._objectives.translation * values["translation"]
            for metric, name in self._reported.items():
                metric_bag.get(metric, Mean).update(values[name] / tokens, weight=tokens)
        else:
            count, tokens, loss = len(batch.source), 0, 0.0
        for name, weight in self._weights.items():
            loss = loss + count * weight * values[name]
            metric_bag.get(name, Mean).update(values[name].detach(), weight=count)
        metric_bag.get("loss", Mean).update(loss.detach() / count, weight=count)
        metric_bag.get("num_target_tokens", Sum).update(tokens)
        metric_bag.get("total_num_target_tokens", Sum).update(tokens)
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)
        return loss, count


class TranslationValidation(EvalUnit[Batch]):
    """Cross-entropy, and BLEU and exact match of greedy translations, on a validation split.

    Args:
        pairs: the language pair of each dataset. With different ones, BLEU is their mean, and each is reported,
            too; a pair's validation split is that of its first dataset.
    """

    def __init__(self, model: nn.Module, translator: MMTModel, tokenizer: Tokenizer, pairs: Sequence[str]) -> None:
        self._model, self._translator, self._tokenizer = model, translator, tokenizer
        firsts = {pairs.index(pair): f"_{pair}" for pair in dict.fromkeys(pairs)}
        self._names = firsts if len(firsts) > 1 else {0: ""}
        self._texts = Texts()

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        self._texts = Texts()
        self._decoder = StepDecoder(self._translator)  # of the weights as they are now
        for name in ("nll_loss", "exact"):
            metric_bag.add(name, Mean())
        for name in ("num_sentences", "num_images", *self._counts()):
            metric_bag.add(name, Sum())

    def _counts(self) -> list[str]:
        return [f"{count}{name}" for name in self._names.values() for count in _BLEU_COUNTS]

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        tokens, values = batch.num_target_tokens, self._model(batch, [negative_log_likelihood])
        metric_bag.get("nll_loss", Mean).update(values["nll"] / tokens, weight=tokens)
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)
        candidates = beam_search(self._decoder, batch, SearchOptions(beam_size=1))
        self._texts.add(batch, [best[0].ids for best in candidates], self._tokenizer)

    def finalize(self, metric_bag: MetricBag) -> None:
        # Processes add up counts, not scores: BLEU is not a mean.
        del self._decoder  # which has copies of the decoder's weights
        for number, (hypotheses, truth) in self._texts.by_dataset.items():
            metric_bag.get("exact", Mean).update(exact_match(hypotheses, truth), weight=len(truth))
            score = validation_bleu(hypotheses, truth)
            counts = [*score.counts, *score.totals, score.sys_len, score.ref_len]
            for name, count in zip(_BLEU_COUNTS, counts, strict=True):
                metric_bag.get(f"{name}{self._names[number]}", Sum).update(count)

    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        scores = {}
        for name in self._names.values():
            counts = [int(float(values.pop(f"{count}{name}"))) for count in _BLEU_COUNTS]  # type: ignore[arg-type]
            scores[f"bleu{name}"] = BLEU.compute_bleu(counts[:4], counts[4:8], counts[8], counts[9]).score
        values["bleu"] = sum(scores.values()) / len(scores)
        values.update(scores)


class HeadValidation(EvalUnit[Batch]):
    """Scores of labels, numbers and retrieval, on a validation split.

    The metric ``score`` is the one by which the run is judged, negated if lower is better: ``-mae``.
    """

    def __init__(self, model: MMTModel, score: str) -> None:
        self._model, self._score = model, score
        self._outputs: list[HeadOutputs] = []

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        self._outputs = []
        for name in ("score", *(score for score, task in SCORES.items() if task.name in self._model.heads)):
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
        # Each of several processes scores its shard, and the mean is taken. That is exact for labels; recall is
        # among the shard's images, so compare it within a run only.
        num = sum(part.num_sentences for part in self._outputs)
        for name, value in head_scores(self._outputs).items():
            metric_bag.get(name, Mean).update(value, weight=num)
            if name == self._score:
                sign = 1 if SCORES[name].higher_is_better else -1
                metric_bag.get("score", Mean).update(sign * value, weight=num)

    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        pass
