"""Labels and scores of sentences and images, by a trained model's heads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from mmt.data.buckets import length_batches
from mmt.data.domain import is_out_of_domain
from mmt.data.feature_store import FeatureStore
from mmt.data.inputs import Input, Line
from mmt.errors import MMTError
from mmt.inference.controls import Control
from mmt.inference.files import FileProcessor, Missing, write_records
from mmt.inference.loaded import LoadedModel
from mmt.inference.runtime_model import ImageInput
from mmt.inference.threads import use_threads
from mmt.io.formats import writes_json
from mmt.io.shards import Parts, Shard


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label with its probability, and the score; None where the model has no such head.

    ``out_of_domain``: the sentence is unlike the training text (``mmt.data.domain``).
    """

    label: str | None
    probability: float | None
    score: float | None
    out_of_domain: bool = False


@torch.inference_mode()
def predict(
    loaded: LoadedModel,
    sentences: Sequence[str],
    images: Sequence[ImageInput | None] | None = None,
    *,
    max_tokens: int = 8192,
    progress: Callable[[int], object] | None = None,
) -> list[Prediction]:
    """Labels and scores of sentences, each with its image (or recording) or without, in order.

    Args:
        sentences: N; one that exceeds the model's maximum length is truncated.
        images: one for each sentence, as ``LoadedModel.features_of`` takes them; None for a sentence without.
        max_tokens: sentences times the longest sentence of a batch.
        progress: called with the number of sentences just finished.
    Raises:
        MMTError: the model has no head for labels or scores; else as ``LoadedModel.features_of``.
    """
    model, labels = loaded.model, loaded.card.labels
    heads = [name for name in ("classification", "regression") if name in model.heads]
    if not heads:
        raise MMTError(
            "the model gives no labels and no scores: it was trained without objectives.classification and "
            "objectives.regression. Use mmt translate, or a model trained with them."
        )
    if images is not None and len(images) != len(sentences):
        raise MMTError(f"expected one image (or None) a sentence, found {len(images)} for {len(sentences)}.")
    rows = loaded.features_of(images or [None] * len(sentences))
    longest = model.text.sizes.max_length - 1
    sources = [loaded.tokenizer.encode(sentence)[:longest] for sentence in sentences]
    predictions: list[Prediction | None] = [None] * len(sources)
    for numbers in length_batches([(len(ids) + 1, 1) for ids in sources], max_tokens):
        batch = loaded.batch([sources[i] for i in numbers], [rows[i] for i in numbers])
        states = model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)
        outputs = {name: model.heads[name](states).cpu() for name in heads}
        best = outputs["classification"].softmax(1).max(1) if "classification" in outputs else None
        for row, number in enumerate(numbers):
            predictions[number] = Prediction(
                labels[int(best.indices[row])] if best is not None else None,
                float(best.values[row]) if best is not None else None,
                float(outputs["regression"][row, 0]) if "regression" in outputs else None,
                is_out_of_domain(loaded.tokenizer, sources[number]),
            )
        if progress is not None:
            progress(len(numbers))
    return [prediction for prediction in predictions if prediction is not None]


class FileLabeller(FileProcessor):
    """Labels lines in chunks, with the images that the input names."""

    model: LoadedModel

    def __init__(
        self, loaded: LoadedModel, lines: Input, missing: Missing = "refuse", shard: Shard | None = None
    ) -> None:
        """See ``FileProcessor``."""
        super().__init__(loaded, lines, missing, shard)

    @classmethod
    def from_dir(
        cls,
        folder: Path,
        store: FeatureStore | None,
        lines: Input,
        missing: Missing = "refuse",
        shard: Shard | None = None,
        *,
        threads: int | None = None,
    ) -> FileLabeller:
        """Loads the model of ``folder``, with features from ``store`` if there is one.

        Args:
            threads: of torch; None takes one for each core.
        Raises:
            MMTError: as ``LoadedModel.from_dir``.
        """
        use_threads(threads)
        return cls(LoadedModel.from_dir(folder, store), lines, missing, shard)

    def predict(
        self,
        *,
        image_control: Control = "right",
        control_seed: int = 1,
        max_tokens: int = 8192,
        show_progress: bool = True,
    ) -> Iterator[tuple[Line, Prediction]]:
        """Yields each line with its label and score, in the input's order; see ``process``."""
        yield from self.process(
            partial(predict, self.model, max_tokens=max_tokens),
            lambda prediction: prediction.out_of_domain,
            image_control=image_control,
            control_seed=control_seed,
            show_progress=show_progress,
        )


def write_predictions(
    results: Iterable[tuple[Line, Prediction]], path: Path | None, parts: Parts | None = None
) -> str:
    """Writes one line for each sentence: label, probability and score (those that the model has), tab-separated.

    A file is written as by ``mmt.inference.files.write_output``, JSON lines and shards likewise.
    """
    as_json = writes_json(path)
    return write_records((_formatted(line, prediction, as_json) for line, prediction in results), path, parts)


def _formatted(line: Line, prediction: Prediction, as_json: bool) -> str:
    values = {"label": prediction.label, "probability": prediction.probability, "score": prediction.score}
    values = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in values.items()
        if value is not None
    }
    if as_json:
        record = {"source": line.source, "image": line.image, **values, "out_of_domain": prediction.out_of_domain}
        return json.dumps(record, ensure_ascii=False)
    # A dataset's label may be any text: here it is one cell of one line.
    return "\t".join(" ".join(str(value).split()) for value in values.values())
