"""Translating in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.data.vocabulary import pieces_of_file, read_vocabulary
from mmt.errors import local_path
from mmt.inference.beam import TorchState
from mmt.inference.ensemble import EnsembleTranslator, Models, members_of
from mmt.inference.loaded import LoadedModel
from mmt.inference.runtime_model import Features, open_store
from mmt.inference.search import DecodingState
from mmt.inference.threads import each_on_a_core
from mmt.inference.translator import BaseTranslator, SentenceBatch, Translation
from mmt.model.card import ModelCard
from mmt.model.config import is_base
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder

__all__ = ["Translation", "Translator"]

_Result = TypeVar("_Result")


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
    why_torch: str = ""
    """Why the model's graphs were not used, if that was tried."""

    @property
    def runtime(self) -> str:
        return f"torch ({self.why_torch})" if self.why_torch else "torch"

    @overload
    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        features: Features = None,
        precision: Precision = "float32",
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
    ) -> Self: ...

    @overload
    @classmethod
    def from_dir(
        cls,
        folder: Sequence[str | Path],
        features: Features = None,
        precision: Precision = "float32",
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
    ) -> BaseTranslator: ...

    @classmethod
    def from_dir(
        cls,
        folder: Models,
        features: Features = None,
        precision: Precision = "float32",
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
    ) -> BaseTranslator:
        """Loads a model folder, a pretrained text model, or a list of them as an ensemble.

        Args:
            folder, features, source_lang, target_lang: as of ``LoadedModel.from_dir``; a list of folders is an
                ensemble (``mmt.inference.ensemble``), and so are folders joined by ``+``.
            precision: of the decoder's matrices: ``float32``, or faster and less exact ``bfloat16`` or ``int8``.
        Raises:
            MMTError: as ``LoadedModel.from_dir`` and ``EnsembleTranslator``.
        """
        folders = members_of(folder)
        if len(folders) > 1:
            members = [
                cls.from_dir(one, None, precision, source_lang=source_lang, target_lang=target_lang)
                for one in folders
            ]
            return EnsembleTranslator(members, folders, open_store(features))
        (folder,) = folders
        translator = super().from_dir(folder, features, source_lang=source_lang, target_lang=target_lang)
        translator.precision = precision
        if not is_base(folder):
            translator._write_with(read_vocabulary(local_path(folder), translator.tokenizer.target_vocab_size))
        return translator

    @cached_property
    def decoder(self) -> StepDecoder:
        """The model's decoder, made ready to translate."""
        vocabulary = self._vocabulary
        return StepDecoder(self.model, self.precision, None if vocabulary is None else vocabulary.to(self.device))

    def restrict_vocabulary(self, text: Path) -> None:
        self._write_with(pieces_of_file(text, self.tokenizer))

    def _write_with(self, ids: NDArray[np.int64] | None) -> None:
        self._vocabulary = None if ids is None else torch.from_numpy(ids)
        vars(self).pop("decoder", None)

    @property
    def num_threads(self) -> int:
        return torch.get_num_threads()

    @property
    def vocabulary(self) -> NDArray[np.int64] | None:
        return None if self._vocabulary is None else self._vocabulary.numpy()

    def prepare(self, beams: int, guidance: float) -> Callable[[SentenceBatch, int], DecodingState]:
        decoder = self.decoder  # made here, and not by several threads

        def begin(batch: SentenceBatch, limit: int) -> DecodingState:
            return TorchState(decoder, self.batch(batch.sources, batch.images), beams, limit, guidance)

        return begin

    def in_parallel(
        self, work: Callable[[SentenceBatch], _Result], batches: Sequence[SentenceBatch]
    ) -> Iterator[_Result]:
        return each_on_a_core(work, batches) if self.device == "cpu" else map(work, batches)
