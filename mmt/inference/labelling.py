"""What a trained model's heads say of sentences and images: labels and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mmt.data.buckets import length_batches
from mmt.data.domain import is_out_of_domain
from mmt.errors import MMTError
from mmt.inference.torch_runtime import Translator

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label with its probability, and the score; None where the model has no such head.

    ``out_of_domain``: the sentence is unlike the text that the model was trained on (``mmt.data.domain``).
    """

    label: str | None
    probability: float | None
    score: float | None
    out_of_domain: bool = False


@torch.inference_mode()
def predict(
    translator: Translator,
    sentences: Sequence[str],
    images: Sequence[str | Path | bytes | Image | None] | None = None,
    *,
    max_tokens: int = 8192,
    progress: Callable[[int], object] | None = None,
) -> list[Prediction]:
    """Labels and scores of sentences, each with its image (or recording) or without, in order.

    Args:
        sentences: N; one that is longer than the model's longest is read up to there.
        images: one a sentence, as ``Translator.features_of`` takes them; None for a sentence without.
        max_tokens: sentences times longest sentence of a batch.
        progress: called with the number of sentences just finished.
    Raises:
        MMTError: the model has no head for labels or scores; else as ``Translator.features_of``.
    """
    model, labels = translator.model, translator.card.labels
    heads = [name for name in ("classification", "regression") if name in model.heads]
    if not heads:
        raise MMTError(
            "the model gives no labels and no scores: it was trained without objectives.classification and "
            "objectives.regression. Use mmt translate, or a model trained with them."
        )
    if images is not None and len(images) != len(sentences):
        raise MMTError(f"expected one image (or None) a sentence, found {len(images)} for {len(sentences)}.")
    rows = translator.features_of(images or [None] * len(sentences))
    longest = model.config.max_length - 1
    sources = [translator.tokenizer.encode(sentence)[:longest] for sentence in sentences]
    found: list[Prediction | None] = [None] * len(sources)
    for places in length_batches([(len(ids) + 1, 1) for ids in sources], max_tokens):
        batch = translator.batch([sources[i] for i in places], [rows[i] for i in places])
        read = model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)
        said = {name: model.heads[name](read) for name in heads}
        best = said["classification"].softmax(1).max(1) if "classification" in said else None
        for row, place in enumerate(places):
            found[place] = Prediction(
                labels[int(best.indices[row])] if best is not None else None,
                float(best.values[row]) if best is not None else None,
                float(said["regression"][row, 0]) if "regression" in said else None,
                is_out_of_domain(translator.tokenizer, sources[place]),
            )
        if progress is not None:
            progress(len(places))
    return [one for one in found if one is not None]
