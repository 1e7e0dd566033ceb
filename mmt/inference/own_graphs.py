"""A model folder's own graphs: exported into it, and used wherever they give the answers that its weights give.

The folder ``exported/`` in a model folder is what ``mmt export`` writes, with ``made_from.json``: the checksum of
the weights that the graphs were made from. Graphs of other weights are never used. No torch, unless the weights
are needed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import TOKENIZER_FILES, Tokenizer
from mmt.data.vocabulary import VOCABULARY, read_vocabulary
from mmt.errors import MMTError
from mmt.inference.onnx_runtime import ENCODER, PRECISIONS, ExportedTranslator, ExportPrecision, Graphs, file_of
from mmt.inference.runtime_model import ImageFeatures, ImageFile
from mmt.inference.search import DecodingState, Hypothesis, IntArray, SearchOptions
from mmt.inference.translator import SentenceBatch
from mmt.io.text_files import file_checksum, parse_json
from mmt.model.card import CARD, WEIGHTS, ModelCard, load_tokenizer, read_card

if TYPE_CHECKING:
    from mmt.features.onnx_backbone import OnnxBackbone
    from mmt.inference.torch_runtime import Translator
    from mmt.model.stepping import Precision

EXPORTED = "exported"
"""The folder of a model folder that has its graphs."""
MADE_FROM = "made_from.json"
"""In ``EXPORTED``: ``weights``, the checksum of the file of weights; ``file``, its size
in bytes and when it was changed (ns); ``base``, that of the base's weights, if they
lie elsewhere; ``validation_bleu`` of each precision that was measured."""
_GRAPHS = "ONNX Runtime (the model's graphs)"


class OtherRuntimeError(Exception):
    """Why a model folder's graphs cannot be used; its weights can."""


def _file_of_weights(folder: Path) -> list[int]:
    about = (folder / WEIGHTS).stat()
    return [about.st_size, about.st_mtime_ns]


def _has_weights(folder: Path, card: ModelCard, made: dict[str, Any]) -> bool:
    """Whether ``made``, the content of ``MADE_FROM``, is of a folder's present weights.

    The file is read where its size or its time differ; and where the time is of whole seconds, which archives and
    some disks write, so that two files may have the same. Not in the hub's cache, where a file is called by its
    checksum, which ``mmt.io.hub`` has compared.
    """
    if made.get("base") != card.text.get("sha256", ""):
        return False
    if (folder / WEIGHTS).resolve().name == made.get("weights"):
        return True
    file = _file_of_weights(folder)
    if made.get("file") == file and file[1] % 10**9:
        return True
    return bool(made.get("weights") == file_checksum(folder / WEIGHTS))


def precisions_of(folder: Path, card: ModelCard) -> list[ExportPrecision]:
    """The precisions in which a model folder has graphs of its present weights."""
    try:
        exported, _ = _usable(folder, card)
    except (OtherRuntimeError, OSError):
        return []
    return _precisions_in(exported)


def _precisions_in(exported: Path) -> list[ExportPrecision]:
    return [one for one in PRECISIONS if (exported / file_of(ENCODER, one)).is_file()]


def _usable(folder: Path, card: ModelCard) -> tuple[Path, ModelCard]:
    """The folder of the graphs, and their card. Raises OtherRuntimeError where they are not of this model."""
    exported = folder / EXPORTED
    if not (exported / CARD).is_file():
        raise OtherRuntimeError(f"no {EXPORTED} graphs in {folder}; mmt export --model {folder} writes them")
    try:
        own = read_card(exported)
        made = parse_json((exported / MADE_FROM).read_bytes())
    except (MMTError, OSError, ValueError) as error:
        raise OtherRuntimeError(f"{exported}: damaged ({error})") from None
    if (
        not isinstance(made, dict)
        or not _has_weights(folder, card, made)
        or (own.config, own.features) != (card.config, card.features)
        or any(own.sha256.get(name) != _sum(folder, card, name) for name in (*TOKENIZER_FILES, VOCABULARY))
    ):
        raise OtherRuntimeError(f"{exported} is of other weights; mmt export --model {folder} replaces it")
    return exported, own


def _sum(folder: Path, card: ModelCard, name: str) -> str | None:
    """The checksum of a file of a model folder; the card of an early version of mmt has none."""
    return card.sha256.get(name) or (file_checksum(folder / name) if (folder / name).is_file() else None)


class _Weights:
    """The model in torch, loaded at first use; shared by all views of a translator."""

    def __init__(self, folder: Path, precision: Precision, threads: int | None) -> None:
        self.folder = folder
        self._precision, self._threads = precision, threads
        self._lock = threading.Lock()
        self._loaded: Translator | None = None

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    def load(self) -> Translator:
        """Raises MMTError as ``mmt.inference.loaded.LoadedModel.from_dir``."""
        # Imported here: torch takes seconds, and the graphs need none of it.
        from mmt.inference.threads import use_threads
        from mmt.inference.torch_runtime import Translator

        with self._lock:
            if self._loaded is None:
                use_threads(self._threads)
                self._loaded = Translator.from_dir(self.folder, precision=self._precision)
            return self._loaded


class FolderGraphs(ExportedTranslator):
    """Translates with the graphs of a model folder alone, without torch; refuses what they cannot do."""

    original = "--runtime auto"

    @classmethod
    def open(
        cls,
        folder: Path,
        features: FeatureStore | None = None,
        precision: Precision = "float32",
        threads: int | None = None,
    ) -> FolderGraphs:
        """Opens the graphs of a model folder.

        Raises:
            OtherRuntimeError: it has none of its present weights, or not in this precision.
            MMTError: a damaged model folder, or features of another backbone.
        """
        graphs, tokenizer, card, ids = _opened(folder, precision)
        return cls(graphs, tokenizer, card, features, threads, ids)

    @property
    def runtime(self) -> str:
        return _GRAPHS

    def restrict_vocabulary(self, text: Path) -> None:
        raise MMTError(f"{text}: a model's graphs cannot restrict their vocabulary. Use {self.original}.")

    def token_log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[NDArray[np.float64]]:
        if not super().can_score:
            raise MMTError(
                f"{self._graphs.folder}: these graphs cannot score translations: they write with a restricted "
                f"vocabulary. Use {self.original}."
            )
        return super().token_log_probs(sources, images, targets)

    @cached_property
    def backbones(self) -> list[OnnxBackbone]:
        self.refuse_images("images")
        raise MMTError(
            f"{self._graphs.folder}: a model's graphs take images' features from a store, not from files. Name a "
            f"store with --images, or use {self.original}."
        )


class FolderTranslator(FolderGraphs):
    """Translates with the graphs of a model folder; what they cannot do is done with its weights, in torch.

    That is guidance, a restricted vocabulary, very wide beams, image files, and scores where the decoder's file is
    another by now.
    """

    def __init__(
        self,
        graphs: Graphs,
        tokenizer: Tokenizer,
        card: ModelCard,
        features: FeatureStore | None = None,
        threads: int | None = None,
        ids: IntArray | None = None,
        *,
        weights: _Weights,
    ) -> None:
        super().__init__(graphs, tokenizer, card, features, threads, ids)
        self._weights = weights
        self._restricted = False
        self._reasons: dict[str, None] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        features: FeatureStore | None = None,
        precision: Precision = "float32",
        threads: int | None = None,
    ) -> FolderTranslator:
        """Raises as ``FolderGraphs.open``."""
        graphs, tokenizer, card, ids = _opened(folder, precision)
        weights = _Weights(folder, precision, threads)
        return cls(graphs, tokenizer, card, features, threads, ids, weights=weights)

    @property
    def runtime(self) -> str:
        return f"torch ({', '.join(self._reasons)})" if self._reasons else _GRAPHS

    def in_torch(self) -> Translator:
        """The same model with its weights, between the same languages and with the same features.

        Raises:
            MMTError: as ``mmt.inference.loaded.LoadedModel.from_dir``.
        """
        loaded = self._weights.load()
        _ = loaded.decoder  # made once for all views
        view = loaded.with_features(self.features)
        view.tokenizer, view.card = self.tokenizer, self.card
        return view

    def _in_torch_for(self, beams: int, guidance: float) -> Translator | None:
        """The model in torch, if the graphs cannot search so; ``runtime`` then says why."""
        if self._restricted:
            why = "a restricted vocabulary: the graphs write with all pieces"
        elif guidance != 1.0:
            why = f"guidance {guidance:g}: the graphs have 1"
        elif beams > self.widest_beam:
            why = f"beam size {beams}: the graphs have at most {self.widest_beam}"
        else:
            return None
        self._reasons.setdefault(why)
        return self.in_torch()

    def search_batches(
        self, batches: Sequence[SentenceBatch], options: SearchOptions, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        in_torch = self._in_torch_for(options.beam_size, guidance)
        if in_torch is not None:
            return in_torch.search_batches(batches, options, guidance)
        return super().search_batches(batches, options, guidance)

    def prepare(self, beams: int, guidance: float) -> Callable[[SentenceBatch, int], DecodingState]:
        in_torch = self._in_torch_for(beams, guidance)
        return super().prepare(beams, guidance) if in_torch is None else in_torch.prepare(beams, guidance)

    def restrict_vocabulary(self, text: Path) -> None:
        self._weights.load().restrict_vocabulary(text)
        self._restricted = True

    @property
    def vocabulary(self) -> IntArray | None:
        return self._weights.load().vocabulary if self._restricted else super().vocabulary

    @property
    def can_score(self) -> bool:
        return True

    def token_log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[NDArray[np.float64]]:
        why = "the graphs write with a restricted vocabulary"
        try:
            if super().can_score:
                return super().token_log_probs(sources, images, targets)
        except MMTError as error:  # the decoder is opened only now, and may be another
            why = str(error)
        self._reasons.setdefault(f"scores: {why}")
        return self.in_torch().token_log_probs(sources, images, targets)

    @property
    def reads_files(self) -> bool:
        return True

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        return self._weights.load().read_images(images)

    def check_image(self, path: Path) -> None:
        self._weights.load().check_image(path)

    def notes(self) -> list[str]:
        return self._weights.load().notes() if self._weights.is_loaded else []


def _opened(folder: Path, precision: Precision) -> tuple[Graphs, Tokenizer, ModelCard, IntArray | None]:
    """A model folder's graphs, its tokenizer, its card, and the ids with which it writes."""
    card = read_card(folder)
    if not (folder / WEIGHTS).is_file():
        raise OtherRuntimeError(f"no {WEIGHTS} in {folder}; copy the model folder again")
    exported, own = _usable(folder, card)
    there = _precisions_in(exported)
    if precision == "bfloat16" or precision not in there:
        raise OtherRuntimeError(f"{exported} has graphs in {' and '.join(there)}, not in {precision}")
    try:
        graphs = Graphs(exported, own, precision)
    except MMTError as error:
        raise OtherRuntimeError(str(error)) from None
    tokenizer = load_tokenizer(folder, card)
    return graphs, tokenizer, card, read_vocabulary(folder, tokenizer.target_vocab_size)


def write_made_from(exported: Path, folder: Path, card: ModelCard, scores: dict[str, float]) -> None:
    """Notes beside graphs which weights they are of; ``scores`` are the ``validation_bleu`` of ``MADE_FROM``."""
    about: dict[str, Any] = {
        "file": _file_of_weights(folder),
        "weights": file_checksum(folder / WEIGHTS),
        "base": card.text.get("sha256", ""),
        "validation_bleu": scores,
    }
    (exported / MADE_FROM).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
