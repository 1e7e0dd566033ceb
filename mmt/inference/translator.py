"""Translating sentences, whatever computes it: cutting, batching, images by id, answers in order; no torch."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmt.data.buckets import length_batches
from mmt.data.domain import is_out_of_domain
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError, local_path
from mmt.inference.controls import Control, controlled_images, image_key
from mmt.inference.search import Hypothesis
from mmt.io import runtime
from mmt.io.normalization import normalize
from mmt.model.card import ModelCard

if TYPE_CHECKING:
    from PIL.Image import Image

# Pieces translated as one: nothing in Multi30K-style training data is longer.
_LONGEST = 128
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])\s+")

Row = NDArray[np.float32]
"""(R, dim), an image's features."""


@dataclass(frozen=True, slots=True)
class Translation:
    """One translation: its text, its length-normalised log-probability, and whether an image was looked at.

    ``score`` is the mean over the parts where a long line was translated in parts, and 0 for an empty line.
    ``out_of_domain``: the source is unlike the text that the model was trained on (``mmt.data.domain``), so that
    the translation may have nothing to do with it.
    """

    text: str
    score: float
    with_image: bool
    out_of_domain: bool = False


Features = str | Path | Sequence[str | Path] | FeatureStore | None
"""Where images are looked up by id: a feature store, or the folders of one or of one a set; None for nowhere."""


def opened(features: Features) -> FeatureStore | None:
    """Raises MMTError as ``open_features``."""
    if features is None or isinstance(features, FeatureStore):
        return features
    return open_features(
        [local_path(one) for one in ([features] if isinstance(features, str | Path) else features)]
    )


class Work(NamedTuple):
    """A batch: source ids of each sentence, without eos, and its image's features or None."""

    sources: list[list[int]]
    images: list[Row | None]


class BaseTranslator(ABC):
    """Translates sentences, each with its image or without."""

    def __init__(self, tokenizer: Tokenizer, card: ModelCard, features: FeatureStore | None = None) -> None:
        runtime.start()
        self.tokenizer, self.card, self.features = tokenizer, card, features
        if features is not None:
            self.refuse_images("features")
            assert card.features is not None  # noqa: S101  # refuse_images() has seen to it
            card.features.check(features.signature, str(features.folder))

    @abstractmethod
    def _search(
        self, batches: Sequence[Work], beam_size: int, length_penalty: float, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        """Of each batch in order, each sentence's hypotheses, best first."""

    @abstractmethod
    def _num_cores(self) -> int:
        """How many batches are computed at a time."""

    @abstractmethod
    def _read(self, images: Sequence[Path | bytes | Image]) -> NDArray[np.float32]:
        """(N, R, dim), features of image files, for a translator without a store."""

    @abstractmethod
    def check_image(self, path: Path) -> None:
        """Raises MMTError where an image file cannot be read."""

    def notes(self) -> list[str]:
        """What had to be done to image files on the way, such as ``resampled from 44,100 Hz``."""
        return []

    def refuse_images(self, what: str) -> None:
        """Raises MMTError if this is a text-only model."""
        self.card.refuse_images(what)

    def translate(
        self,
        sentences: Sequence[str],
        images: Sequence[str | Path | bytes | Image | None] | None = None,
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        guidance: float = 1.0,
        image_control: Control = "right",
        control_seed: int = 1,
    ) -> list[str]:
        """The best translation of each sentence, in order; see ``hypotheses`` for the arguments."""
        found = self.hypotheses(
            sentences,
            images,
            beam_size=beam_size,
            length_penalty=length_penalty,
            guidance=guidance,
            image_control=image_control,
            control_seed=control_seed,
        )
        return [best[0].text for best in found]

    def hypotheses(
        self,
        sentences: Sequence[str],
        images: Sequence[str | Path | bytes | Image | None] | None = None,
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
        """Translates sentences in batches of like length, and gives them back in order.

        A sentence of more than 128 pieces is translated in parts, cut at ends of sentences where there are any,
        else between words; each part sees the image.

        Args:
            images: one a sentence: an id in the feature store if the translator has one; else a file, a file's
                bytes, or a PIL image; None for a sentence without.
            beam_size, length_penalty: None takes what the model's recipe set.
            guidance: how far to go in the direction in which the image changes the model's mind; see
                ``mmt.inference.beam.beam_search``.
            image_control: ``right``, or a control: ``wrong`` gives each sentence that has an image another's,
                ``blank`` gives none; see ``mmt.inference.controls``.
            control_seed: which draw of the wrong images.
            n_best: translations wanted of each sentence, at most ``beam_size``; fewer are returned where the
                beam found fewer, and for a sentence translated in parts.
            max_tokens: sentences times beams times longest sentence of a batch.
            progress: called with the number of sentences just finished.
        Returns:
            For each sentence its translations, best first.
        Raises:
            MMTError: images for a text-only model, an unreadable or unknown image, unequal numbers.
        """
        self.card.refuse_writing()
        beam_size = self.card.decoding.get("beam_size", 5) if beam_size is None else beam_size
        if length_penalty is None:
            length_penalty = self.card.decoding.get("length_penalty", 1.0)
        if beam_size < 1:
            raise MMTError(f"beam size: expected at least 1, found {beam_size}.")
        if not 1 <= n_best <= beam_size:
            raise MMTError(f"n-best: expected 1 to the beam size ({beam_size}), found {n_best}.")
        if isinstance(sentences, str):
            raise MMTError(f"expected a list of sentences, found the text {sentences[:40]!r}. Put it into a list.")
        if images is not None and len(images) != len(sentences):
            raise MMTError(f"expected one image (or None) a sentence, found {len(images)} for {len(sentences)}.")
        if not abs(length_penalty) <= 100:  # beyond, powers of it are no numbers
            raise MMTError(f"length penalty: expected a number from -100 to 100, found {length_penalty}.")
        if not (math.isfinite(guidance) and guidance >= 0):
            raise MMTError(f"guidance: expected 0 or more (1 is the model as it is), found {guidance}.")
        if image_control != "right" or guidance != 1.0:
            self.refuse_images("guidance or an image control")
        looked_up = self.features_of(
            controlled_images(images or [None] * len(sentences), image_control, control_seed)
        )

        parts: list[tuple[int, list[int]]] = []  # (sentence, source ids)
        for number, sentence in enumerate(sentences):
            parts += [(number, ids) for ids in self._parts(sentence)]
        found: list[list[Hypothesis]] = [[] for _ in parts]
        # A decoder's rows are sentences times beams.
        lengths = [(len(ids) + 1, 1) for _, ids in parts]
        room = max(max_tokens // beam_size, 1)
        share = -(-sum(length for length, _ in lengths) // self._num_cores())  # a batch for each core, if small
        batches = length_batches(lengths, max(min(room, share), 1))
        left = np.bincount([number for number, _ in parts], minlength=len(sentences))
        if progress is not None:
            progress(int((left == 0).sum()))

        batches.reverse()  # the longest first: should memory not suffice, it shows at once
        work = [Work([parts[i][1] for i in batch], [looked_up[parts[i][0]] for i in batch]) for batch in batches]
        searched = self._search(work, beam_size, length_penalty, guidance)
        for batch, results in zip(batches, searched, strict=True):
            for i, result in zip(batch, results, strict=True):
                if not result:
                    raise MMTError(
                        f"sentence {parts[i][0] + 1}: the model finds no translation: its weights give no numbers "
                        "(NaN). Copy the model folder again."
                    )
                found[i] = result
                left[parts[i][0]] -= 1
            if progress is not None:
                progress(len({parts[i][0] for i in batch if left[parts[i][0]] == 0}))

        of_sentence: list[list[list[Hypothesis]]] = [[] for _ in sentences]
        source_ids: list[list[int]] = [[] for _ in sentences]
        for (number, ids), result in zip(parts, found, strict=True):
            of_sentence[number].append(result)
            source_ids[number] += ids
        return [
            self._join(results, n_best, row is not None, is_out_of_domain(self.tokenizer, ids))
            for results, row, ids in zip(of_sentence, looked_up, source_ids, strict=True)
        ]

    def _join(
        self, parts: list[list[Hypothesis]], n_best: int, with_image: bool, out_of_domain: bool
    ) -> list[Translation]:
        if not parts:
            return [Translation("", 0.0, with_image)]
        about = (with_image, out_of_domain)
        if len(parts) == 1:
            return [Translation(self.tokenizer.decode(h.ids), h.score, *about) for h in parts[0][:n_best]]
        text = " ".join(self.tokenizer.decode(part[0].ids) for part in parts)
        return [Translation(text, sum(part[0].score for part in parts) / len(parts), *about)]

    def _parts(self, sentence: str) -> list[list[int]]:
        """Source ids of the sentence: one list, several for a long sentence, none for an empty one."""
        ids = self.tokenizer.encode(sentence)
        if len(ids) <= _LONGEST:
            return [ids] if ids else []
        pieces = _SENTENCE_END.split(normalize(sentence))
        if len(pieces) == 1:
            pieces = pieces[0].split(" ")
        if len(pieces) == 1:  # one endless word
            return [ids[first : first + _LONGEST] for first in range(0, len(ids), _LONGEST)]
        parts: list[list[int]] = []
        line = ""
        for piece in pieces:
            longer = f"{line} {piece}".strip()
            if line and len(self.tokenizer.encode(longer)) > _LONGEST:
                parts += self._parts(line)
                longer = piece
            line = longer
        return parts + self._parts(line)

    def features_of(self, images: Sequence[str | Path | bytes | Image | None]) -> list[Row | None]:
        """(R, dim) of each image, None where there is none; an image that stands twice is read once."""
        if all(image is None for image in images):
            return [None] * len(images)
        self.refuse_images("images")
        keys: list[Any] = [image_key(image) for image in images]
        first = {key: image for key, image in zip(keys, images, strict=True) if image is not None}
        if self.features is not None:
            rows = self.features.get([str(image) for image in first.values()])
        else:
            rows = self._read([local_path(image) if isinstance(image, str) else image for image in first.values()])
        by_key = dict(zip(first, rows, strict=True))
        return [by_key.get(key) for key in keys]
