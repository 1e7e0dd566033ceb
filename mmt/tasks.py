"""What is trained and how it is judged: batch -> loss, batch -> metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fairseq2.recipe  # before fairseq2.evaluator, which imports it in a circle  # noqa: F401
from fairseq2.evaluator import EvalUnit
from fairseq2.metrics import Mean, MetricBag, Sum
from fairseq2.trainer import TrainUnit
from torch import Tensor, nn

from mmt.data import Batch
from mmt.decoding import beam_search
from mmt.model import MMTModel
from mmt.objectives import contrastive, faithfulness, imagination, masked_words
from mmt.text import EOS, Tokenizer

_OBJECTIVES = {"contrastive": contrastive, "imagination": imagination, "masked": masked_words}
_BLEU_COUNTS = [f"bleu_{kind}_{order}" for kind in ("counts", "totals") for order in range(1, 5)] + [
    "bleu_length_hypothesis",
    "bleu_length_reference",
]


@dataclass(frozen=True)
class Learnt:
    """What a step minimises: the weights of the objectives, and of what is learnt beside.

    translation: of the cross-entropy of a target token, which the other weights are relative to.
    objectives: of those of ``mmt.objectives``, by name.
    beside: task and weight of each batch that stands beside one.
    teacher: the frozen text model of the objective ``faithful``.
    """

    label_smoothing: float
    translation: float = 1.0
    objectives: Mapping[str, float] = field(default_factory=dict)
    beside: Sequence[tuple[str, float]] = ()
    teacher: MMTModel | None = None

    def weights(self) -> dict[str, float]:
        """By the name under which a metric reports it: ``contrastive``, ``beside_0_retrieval``."""
        beside = {f"beside_{n}_{task}": weight for n, (task, weight) in enumerate(self.beside)}
        return {**self.objectives, **beside}

    def losses(self, model: MMTModel, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of each of ``weights``."""
        found = {}
        for name in self.objectives:
            if name == "faithful":
                assert self.teacher is not None  # noqa: S101
                found[name] = faithfulness(model, self.teacher, batch)
            else:
                found[name] = _OBJECTIVES[name](model, batch)
        for number, ((task, _), part) in enumerate(zip(self.beside, batch.beside, strict=True)):
            if task == "translation":
                loss, _nll = _losses(model, part, self.label_smoothing)
                loss = loss / part.num_target_tokens
            else:
                loss = contrastive(model, part)
            found[f"beside_{number}_{task}"] = loss
        return found


class Translation(TrainUnit[Batch]):
    """Label-smoothed cross-entropy of the target given source and image, and what else is to be learnt."""

    def __init__(self, model: nn.Module, learnt: Learnt) -> None:
        self._model, self._learnt, self._weights = model, learnt, learnt.weights()

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        for name in ("loss", "nll_loss", *self._weights):
            metric_bag.add(name, Mean())
        for name in ("num_target_tokens", "num_sentences", "num_images", "total_num_target_tokens"):
            metric_bag.add(name, Sum())

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> tuple[Tensor, int]:
        tokens, also = batch.num_target_tokens, None
        if self._weights:

            def also(model: MMTModel) -> dict[str, Tensor]:
                return self._learnt.losses(model, batch)

        loss, nll, *found = _losses(self._model, batch, self._learnt.label_smoothing, also)
        loss = self._learnt.translation * loss
        for name, value in found[0].items() if found else ():
            loss = loss + tokens * self._weights[name] * value
            metric_bag.get(name, Mean).update(value.detach(), weight=tokens)
        metric_bag.get("loss", Mean).update(loss.detach() / tokens, weight=tokens)
        metric_bag.get("nll_loss", Mean).update(nll / tokens, weight=tokens)
        metric_bag.get("num_target_tokens", Sum).update(tokens)
        metric_bag.get("total_num_target_tokens", Sum).update(tokens)
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)
        return loss, tokens


class TranslationValidation(EvalUnit[Batch]):
    """Cross-entropy, and BLEU of greedy translations, on a validation split."""

    def __init__(self, model: nn.Module, translator: MMTModel, tokenizer: Tokenizer) -> None:
        self._model, self._translator, self._tokenizer = model, translator, tokenizer
        self._hypotheses: list[str] = []
        self._references: list[str] = []

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        self._hypotheses, self._references = [], []
        metric_bag.add("nll_loss", Mean())
        for name in ("num_sentences", "num_images", *_BLEU_COUNTS):
            metric_bag.add(name, Sum())

    def process_batch(self, batch: Batch, metric_bag: MetricBag) -> None:
        _, nll = _losses(self._model, batch, 0.0)
        tokens = batch.num_target_tokens
        metric_bag.get("nll_loss", Mean).update(nll / tokens, weight=tokens)
        metric_bag.get("num_sentences", Sum).update(len(batch.source))
        metric_bag.get("num_images", Sum).update(batch.num_images)
        for hypotheses in beam_search(self._translator, batch, beam_size=1):
            self._hypotheses.append(self._tokenizer.decode(hypotheses[0].ids))
        self._references += references(batch, self._tokenizer)

    def finalize(self, metric_bag: MetricBag) -> None:
        # Counts, not scores, are summed over the processes: BLEU is not a mean.
        if not self._hypotheses:
            return
        from sacrebleu import corpus_bleu

        score = corpus_bleu(self._hypotheses, [self._references])
        counts = [*score.counts, *score.totals, score.sys_len, score.ref_len]
        for name, count in zip(_BLEU_COUNTS, counts, strict=True):
            metric_bag.get(name, Sum).update(count)

    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        from sacrebleu import BLEU

        counts = [int(float(values.pop(name))) for name in _BLEU_COUNTS]  # type: ignore[arg-type]
        values["bleu"] = BLEU.compute_bleu(counts[:4], counts[4:8], counts[8], counts[9]).score


def references(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    """The batch's target sentences as text."""
    return [tokenizer.decode([i for i in row if i != EOS]) for row in batch.target.tolist()]


def validation_bleu(
    model: MMTModel, batches: Iterable[Batch], tokenizer: Tokenizer, beam_size: int, length_penalty: float
) -> float:
    """sacreBLEU (13a, cased, in [0, 100]) of beam search on ``batches`` against their own targets."""
    from sacrebleu import corpus_bleu

    hypotheses: list[str] = []
    truth: list[str] = []
    for batch in batches:
        found = beam_search(model, batch, beam_size=beam_size, length_penalty=length_penalty)
        hypotheses += [tokenizer.decode(best[0].ids) for best in found]
        truth += references(batch, tokenizer)
    return float(corpus_bleu(hypotheses, [truth]).score)


def _losses(
    model: nn.Module,
    batch: Batch,
    label_smoothing: float,
    also: Callable[[MMTModel], dict[str, Tensor]] | None = None,
) -> Any:
    """Loss and plain negative log-likelihood, summed over the target's tokens; and what ``also`` returns."""
    return model(
        batch.source,
        batch.source_layout(),
        batch.target[:, :-1],
        batch.target_layout(),
        batch.target[:, 1:],
        image=batch.image,
        image_pad=batch.image_pad,
        label_smoothing=label_smoothing,
        also=also,
    )
