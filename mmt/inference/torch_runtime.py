"""Translating in torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.data.vocabulary import pieces_of_file, read_vocabulary
from mmt.errors import local_path
from mmt.inference.beam import beam_search
from mmt.inference.loaded import LoadedModel
from mmt.inference.runtime_model import Features
from mmt.inference.search import Hypothesis, SearchOptions
from mmt.inference.threads import each_on_a_core
from mmt.inference.translator import BaseTranslator, SentenceBatch, Translation
from mmt.model.card import ModelCard
from mmt.model.config import is_base
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder

__all__ = ["Translation", "Translator"]


class Translator(LoadedModel, BaseTranslator):
    """A loaded model that translates sentences, each with its image or without.

    >>> translator = Translator.from_dir(Path("model"))                           # doctest: +SKIP
    >>> translator.translate(["A bat on the wall.", "Hello."], images=["wall.jpg", None])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: MMTModel,
        tokenizer: Tokenizer,
        card: ModelCard,
        features: FeatureStore | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(model, tokenizer, card, features)
        self.precision = precision

    _vocabulary: Tensor | None = None

    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        features: Features = None,
        precision: Precision = "float32",
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
    ) -> Self:
        """Loads a model folder, or a pretrained text model.

        Args:
            folder, features, source_lang, target_lang: as of ``LoadedModel.from_dir``.
            precision: of the decoder's matrices: ``float32``, or faster and less exact ``bfloat16`` or ``int8``.
        Raises:
            MMTError: as ``LoadedModel.from_dir``.
        """
        translator = super().from_dir(folder, features, source_lang=source_lang, target_lang=target_lang)
        translator.precision = precision
        if not is_base(folder):
            translator._write_with(read_vocabulary(local_path(folder), translator.tokenizer.target_vocab_size))
        return translator

    @cached_property
    def decoder(self) -> StepDecoder:
        """The model's decoder, made ready to translate."""
        return StepDecoder(self.model, self.precision, self._vocabulary)

    def restrict_vocabulary(self, text: Path) -> None:
        self._write_with(pieces_of_file(text, self.tokenizer))

    def _write_with(self, ids: NDArray[np.int64] | None) -> None:
        self._vocabulary = None if ids is None else torch.from_numpy(ids)
        vars(self).pop("decoder", None)

    @property
    def num_threads(self) -> int:
        return torch.get_num_threads()

    def search_batches(
        self, batches: Sequence[SentenceBatch], options: SearchOptions, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        decoder = self.decoder  # made here, and not by several threads

        def translate(batch: SentenceBatch) -> list[list[Hypothesis]]:
            return beam_search(decoder, self.batch(batch.sources, batch.images), options, guidance=guidance)

        return each_on_a_core(translate, batches)
