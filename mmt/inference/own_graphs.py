"""A model folder's own graphs: exported into it, and used wherever they give the answers that its weights give.

The folder ``exported/`` in a model folder is what ``mmt export`` writes, with ``made_from.json``: the checksum of
the weights that the graphs were made from. Graphs of other weights are never used. No torch, unless the weights
are needed.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
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
from mmt.inference.search import Hypothesis, IntArray, SearchOptions
from mmt.inference.translator import SentenceBatch
from mmt.io.text_files import file_checksum, parse_json
from mmt.model.card import CARD, WEIGHTS, ModelCard, load_tokenizer, read_card

if TYPE_CHECKING:
    from mmt.inference.torch_runtime import Translator
    from mmt.model.stepping import Precision

EXPORTED = "exported"
"""The folder of a model folder that has its graphs."""
MADE_FROM = "made_from.json"
"""In ``EXPORTED``: ``weights``, the checksum of the file of weights; ``base``, that of the base's weights, if they
lie elsewhere; ``validation_bleu`` of each precision that was measured."""
_GRAPHS = "ONNX Runtime (the model's graphs)"


class OtherRuntimeError(Exception):
    """Why a model folder's graphs cannot be used; its weights can."""


def made_from(folder: Path, card: ModelCard) -> dict[str, str]:
    """What graphs of a model folder are made from: the content of ``MADE_FROM``."""
    return {"weights": file_checksum(folder / WEIGHTS), "base": card.text.get("sha256", "")}


def precisions_of(folder: Path, card: ModelCard) -> list[ExportPrecision]:
    """The precisions in which a model folder has graphs of its present weights."""
    try:
        exported, _ = _usable(folder, card)
    except (OtherRuntimeError, OSError):
        return []
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
        or any(made.get(name) != value for name, value in made_from(folder, card).items())
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


class FolderTranslator(ExportedTranslator):
    """Translates with the graphs of a model folder; what they cannot do is done with its weights, in torch.

    That is guidance, a restricted vocabulary, very wide beams, and image files. Scores of given translations are
    computed in torch where the process has loaded it: they take a quarter less time there.
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
        """Opens the graphs of a model folder.

        Raises:
            OtherRuntimeError: it has none of its present weights, or not in this precision.
            MMTError: a damaged model folder, or features of another backbone.
        """
        card = read_card(folder)
        if not (folder / WEIGHTS).is_file():
            raise OtherRuntimeError(f"no {WEIGHTS} in {folder}")
        if precision == "bfloat16":
            raise OtherRuntimeError("graphs have no bfloat16")
        exported, own = _usable(folder, card)
        if not (exported / file_of(ENCODER, precision)).is_file():
            raise OtherRuntimeError(f"{exported} has no {precision}")
        try:
            graphs = Graphs(exported, own, precision)
        except MMTError as error:
            raise OtherRuntimeError(str(error)) from None
        tokenizer = load_tokenizer(folder, card)
        ids = read_vocabulary(folder, tokenizer.target_vocab_size)
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

    def search_batches(
        self, batches: Sequence[SentenceBatch], options: SearchOptions, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        why = ""
        if self._restricted:
            why = "a restricted vocabulary"
        elif guidance != 1.0:
            why = f"guidance {guidance:g}"
        elif options.beam_size > self.widest_beam:
            why = f"beam size {options.beam_size}"
        if not why:
            return super().search_batches(batches, options, guidance)
        self._reasons.setdefault(f"{why}: the graphs have none")
        return self.in_torch().search_batches(batches, options, guidance)

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
        if "torch" in sys.modules or not super().can_score:
            return self.in_torch().token_log_probs(sources, images, targets)
        return super().token_log_probs(sources, images, targets)

    @property
    def reads_files(self) -> bool:
        return True

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        return self._weights.load().read_images(images)

    def check_image(self, path: Path) -> None:
        self._weights.load().check_image(path)

    def notes(self) -> list[str]:
        return self._weights.load().notes() if self._weights.is_loaded else []


def write_made_from(exported: Path, folder: Path, card: ModelCard, scores: dict[str, float]) -> None:
    """Notes beside graphs which weights they are of; ``scores`` are the ``validation_bleu`` of ``MADE_FROM``."""
    about: dict[str, Any] = {**made_from(folder, card), "validation_bleu": scores}
    (exported / MADE_FROM).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
