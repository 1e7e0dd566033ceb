"""Translating sentences in any runtime: cutting, batching, answers in order; no torch.

``torch_runtime.Translator``, ``onnx_runtime.ExportedTranslator`` and ``ensemble.EnsembleTranslator`` implement
``BaseTranslator``'s abstract methods, and those of ``RuntimeModel``.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmt.data.buckets import length_batches
from mmt.data.domain import is_out_of_domain
from mmt.errors import MMTError
from mmt.inference.controls import Control, controlled_images
from mmt.inference.runtime_model import ImageFeatures, ImageInput, RuntimeModel
from mmt.inference.search import (
    MAX_LENGTH,
    DecodingState,
    Hypothesis,
    SearchOptions,
    length_limits,
)
from mmt.io.normalization import normalize

_Result = TypeVar("_Result")

# Pieces translated as one sentence: nothing in Multi30K-style training data is longer.
_MAX_PIECES = 128
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+")


@dataclass(frozen=True, slots=True)
class Translation:
    """One translation: its text, its length-normalised log-probability, and whether an image was used.

    ``score`` is the mean over the parts where a long line was translated in parts, and 0 for an empty line.
    ``log_prob``: the mean log-probability of a target token, eos included, without length normalisation; 0 for an
    empty line, and where translations of others are reranked.
    ``out_of_domain``: the source is unlike the training text (``mmt.data.domain``), so the translation may be
    unrelated to it.
    """

    text: str
    score: float
    with_image: bool
    out_of_domain: bool = False
    log_prob: float = 0.0


class SentenceBatch(NamedTuple):
    """Sentences translated together: source ids of each, without eos, and its image's features or None.

    ``prompt``: what the decoder reads before each translation, see ``Tokenizer.prompt``.
    """

    sources: list[list[int]]
    images: list[ImageFeatures | None]
    prompt: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """What is translated as one: a sentence, or a part of a long one."""

    sentence: int
    source: list[int]
    image: ImageFeatures | None


class BaseTranslator(RuntimeModel):
    """Translates sentences, each with its image or without."""

    @abstractmethod
    def prepare(self, beams: int, guidance: float) -> Callable[[SentenceBatch, int], DecodingState]:
        """Makes the model ready for searches with so many beams, in several threads.

        Returns:
            What begins the search of a batch, and takes the number of tokens that each beam reads at most.
        Raises:
            MMTError: this runtime does not support that.
        """

    @abstractmethod
    def in_parallel(
        self, work: Callable[[SentenceBatch], _Result], batches: Sequence[SentenceBatch]
    ) -> Iterator[_Result]:
        """Applies ``work`` to each batch, ``num_threads`` at a time; results come in order."""

    @property
    def runtime(self) -> str:
        """What has computed the translations so far and, where there was a choice, why."""
        return "torch"

    @property
    def members(self) -> Sequence[BaseTranslator]:
        """The models of an ensemble; of a single model this one alone."""
        return [self]

    @property
    @abstractmethod
    def vocabulary(self) -> NDArray[np.int64] | None:
        """The ids that translations are written with, sorted, see ``mmt.data.vocabulary``; None: all."""

    def search_batches(
        self, batches: Sequence[SentenceBatch], options: SearchOptions, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        """Yields for each batch, in order, each sentence's hypotheses, best first."""
        begin = self.prepare(options.beam_size, guidance)

        def translate(batch: SentenceBatch) -> list[list[Hypothesis]]:
            lengths = [len(ids) + 1 for ids in batch.sources]
            limits = length_limits(lengths, MAX_LENGTH, self.num_positions, len(batch.prompt))
            state = begin(batch, max(limits) + len(batch.prompt) - 1)
            return state.search(limits, options, [batch.prompt] * len(lengths))

        return self.in_parallel(translate, batches)

    def restrict_vocabulary(self, text: Path) -> None:
        """Lets translations be written only with pieces that occur in a text, see ``mmt.data.vocabulary``.

        Args:
            text: a file in the target language, one sentence a line.
        Raises:
            MMTError: the file cannot be read, or this runtime cannot restrict its vocabulary.
        """
        raise MMTError(
            f"{text}: an exported model cannot restrict its vocabulary. Export it with mmt export --vocabulary."
        )

    @property
    @abstractmethod
    def num_threads(self) -> int:
        """How many batches are computed at a time."""

    def translate(
        self,
        sentences: Sequence[str],
        images: Sequence[ImageInput | None] | None = None,
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        guidance: float = 1.0,
        image_control: Control = "right",
        control_seed: int = 1,
    ) -> list[str]:
        """The best translation of each sentence, in order; see ``hypotheses`` for the arguments."""
        hypotheses = self.hypotheses(
            sentences,
            images,
            beam_size=beam_size,
            length_penalty=length_penalty,
            guidance=guidance,
            image_control=image_control,
            control_seed=control_seed,
        )
        return [best[0].text for best in hypotheses]

    def hypotheses(
        self,
        sentences: Sequence[str],
        images: Sequence[ImageInput | None] | None = None,
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        guidance: float = 1.0,
        image_control: Control = "right",
        control_seed: int = 1,
        n_best: int = 1,
        max_tokens: int = 8192,
        progress: Callable[[int], object] | None = None,
    ) -> list[list[Translation]]:
        """Translates sentences in batches of similar length, and returns them in order.

        A sentence of more than 128 pieces is translated in parts, cut at ends of sentences where there are any,
        else between words; each part sees the image.

        Args:
            images: one for each sentence: an id in the feature store if the translator has one; else a file, its
                bytes, or a PIL image; None for a sentence without.
            beam_size, length_penalty: None takes the model's.
            guidance: classifier-free guidance: over 1 amplifies the image's effect, 0 drops it; see
                ``mmt.inference.beam.beam_search``.
            image_control: ``right``, or a control: ``wrong`` gives each sentence that has an image another's,
                ``blank`` gives none; see ``mmt.inference.controls``.
            control_seed: random seed of the wrong images.
            n_best: number of translations of each sentence, at most ``beam_size``; fewer are returned where the
                beam found fewer, and one for a sentence translated in parts.
            max_tokens: sentences times beams times longest sentence of a batch.
            progress: called with the number of sentences just finished.
        Returns:
            For each sentence its translations, best first.
        Raises:
            MMTError: images for a text-only model, an unreadable or unknown image, unequal numbers.
        """
        options = self._search_options(beam_size, length_penalty)
        if not 1 <= n_best <= options.beam_size:
            raise MMTError(f"n-best: expected 1 to the beam size ({options.beam_size}), found {n_best}.")
        if isinstance(sentences, str):
            raise MMTError(f"expected a list of sentences, found the text {sentences[:40]!r}. Put it into a list.")
        if images is not None and len(images) != len(sentences):
            raise MMTError(f"expected one image (or None) a sentence, found {len(images)} for {len(sentences)}.")
        if not (math.isfinite(guidance) and guidance >= 0):
            raise MMTError(f"guidance: expected 0 or more (1 is the model as it is), found {guidance}.")
        if image_control != "right" or guidance != 1.0:
            self.refuse_images("guidance or an image control")
        image_features = self.features_of(
            controlled_images(images or [None] * len(sentences), image_control, control_seed)
        )
        parts = [
            _Part(number, ids, image_features[number])
            for number, sentence in enumerate(sentences)
            for ids in self.cut(sentence)
        ]
        results: list[list[list[Hypothesis]]] = [[] for _ in sentences]
        for part, hypotheses in zip(
            parts, self._search_parts(parts, len(sentences), options, guidance, max_tokens, progress), strict=True
        ):
            results[part.sentence].append(hypotheses)
        source_ids: list[list[int]] = [[] for _ in sentences]
        for part in parts:
            source_ids[part.sentence] += part.source
        return [
            self._join(of_parts, options, n_best, image is not None, is_out_of_domain(self.tokenizer, ids))
            for of_parts, image, ids in zip(results, image_features, source_ids, strict=True)
        ]

    def _search_options(self, beam_size: int | None, length_penalty: float | None) -> SearchOptions:
        """These settings, or the model's own where they are None. Raises MMTError for one out of range."""
        self.card.refuse_writing()
        beam_size = self.card.decoding.get("beam_size", 5) if beam_size is None else beam_size
        if length_penalty is None:
            length_penalty = self.card.decoding.get("length_penalty", 1.0)
        if beam_size < 1:
            raise MMTError(f"beam size: expected at least 1, found {beam_size}.")
        if not abs(length_penalty) <= 100:  # beyond, its powers overflow
            raise MMTError(f"length penalty: expected a number from -100 to 100, found {length_penalty}.")
        return SearchOptions(beam_size, length_penalty)

    def _search_parts(
        self,
        parts: list[_Part],
        num_sentences: int,
        options: SearchOptions,
        guidance: float,
        max_tokens: int,
        progress: Callable[[int], object] | None,
    ) -> list[list[Hypothesis]]:
        """The hypotheses of each part, best first; ``progress`` counts sentences all of whose parts are done."""
        results: list[list[Hypothesis]] = [[] for _ in parts]
        # A decoder's rows are sentences times beams.
        lengths = [(len(part.source) + 1, 1) for part in parts]
        limit = max(max_tokens // options.beam_size, 1)
        # A batch for each thread, if they are small; padded, or one batch of unequal sentences would become two.
        share = -(-len(lengths) // self.num_threads) * max((length for length, _ in lengths), default=0)
        batches = length_batches(lengths, max(min(limit, share), 1))
        remaining = np.bincount([part.sentence for part in parts], minlength=num_sentences)
        if progress is not None:
            progress(int((remaining == 0).sum()))

        batches.reverse()  # the longest first: if memory does not suffice, it fails at once
        inputs = [
            SentenceBatch([parts[i].source for i in batch], [parts[i].image for i in batch], self.tokenizer.prompt)
            for batch in batches
        ]
        for batch, searched in zip(batches, self.search_batches(inputs, options, guidance), strict=True):
            for i, hypotheses in zip(batch, searched, strict=True):
                if not hypotheses:
                    raise MMTError(
                        f"sentence {parts[i].sentence + 1}: the model finds no translation: its weights give no "
                        "numbers (NaN). Copy the model folder again."
                    )
                results[i] = hypotheses
                remaining[parts[i].sentence] -= 1
            if progress is not None:
                progress(len({parts[i].sentence for i in batch if remaining[parts[i].sentence] == 0}))
        return results

    def _join(
        self,
        parts: list[list[Hypothesis]],
        options: SearchOptions,
        n_best: int,
        with_image: bool,
        out_of_domain: bool,
    ) -> list[Translation]:
        def translation(joined: Sequence[Hypothesis]) -> Translation:
            lengths = [len(one.ids) + 1 for one in joined]
            log_prob = sum(
                one.score * length**options.length_penalty for one, length in zip(joined, lengths, strict=True)
            )
            return Translation(
                " ".join(self.tokenizer.decode(one.ids) for one in joined),
                sum(one.score for one in joined) / len(joined),
                with_image,
                out_of_domain,
                log_prob / sum(lengths),
            )

        if not parts:
            return [Translation("", 0.0, with_image)]
        if len(parts) == 1:
            return [translation([one]) for one in parts[0][:n_best]]
        return [translation([part[0] for part in parts])]

    def cut(self, sentence: str) -> list[list[int]]:
        """Source ids of the sentence: one list, several for a long sentence, none for an empty one."""
        ids = self.tokenizer.encode(sentence)
        if len(ids) <= _MAX_PIECES:
            return [ids] if ids else []
        pieces = _SENTENCE_END.split(normalize(sentence))
        if len(pieces) == 1:
            pieces = pieces[0].split(" ")
        if len(pieces) == 1:  # one endless word
            prefix = list(self.tokenizer.source_prefix)
            ids = ids[len(prefix) :]
            return [prefix + ids[first : first + _MAX_PIECES] for first in range(0, len(ids), _MAX_PIECES)]
        parts: list[list[int]] = []
        line = ""
        for piece in pieces:
            longer = f"{line} {piece}".strip()
            if line and len(self.tokenizer.encode(longer)) > _MAX_PIECES:
                parts += self.cut(line)
                longer = piece
            line = longer
        return parts + self.cut(line)
