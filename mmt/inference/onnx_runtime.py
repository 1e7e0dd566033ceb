"""Translating with an exported model in ONNX Runtime, without torch and fairseq2.

Legend: N sentences, B beams, P positions in the KV cache, W candidates. The names of the graphs' inputs (``seen``,
``unseen``, ``past``) are part of the file format.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_store import FeatureStore, side_by_side
from mmt.data.tokenizer import EOS, PAD, TOKENIZER, TOKENIZER_FILES, Tokenizer
from mmt.data.vocabulary import read_vocabulary
from mmt.errors import MMTError, local_path
from mmt.inference.loop_search import SearchGraph, own_mask
from mmt.inference.runtime_model import Features, ImageFeatures, ImageFile, open_store
from mmt.inference.search import (
    Candidates,
    DecodingState,
    FloatArray,
    Hypothesis,
    IntArray,
    SearchOptions,
)
from mmt.inference.translator import BaseTranslator, SentenceBatch
from mmt.io.onnx import open_session
from mmt.io.processes import in_threads
from mmt.model.card import WEIGHTS, ModelCard, check_files, load_tokenizer, read_card

if TYPE_CHECKING:
    from mmt.features.onnx_backbone import OnnxBackbone

_Result = TypeVar("_Result")

ENCODER, DECODER = "encoder", "decoder"
SEARCH = "search"
"""The decoder in a loop, see ``mmt.inference.onnx_search``; large models have none, nor have old exports."""
LOG_P = "log_p"
"""The decoder's output (N, B, V) for scores and ensembles: of the ids that the graph writes with."""

ExportPrecision = Literal["float32", "int8"]
PRECISIONS: tuple[ExportPrecision, ...] = ("float32", "int8")


def block_of(vocab_size: int) -> int:
    """Size of the vocabulary's blocks in an exported decoder: the largest that divides it and leaves 100 blocks.

    See ``mmt.inference.beam.select_candidates``. Part of the file format: exported folders do not store it, and
    their widest beam follows from it.
    """
    return max(
        size for size in range(1, 129) if vocab_size % size == 0 and (vocab_size >= 100 * size or size == 1)
    )


def file_of(name: str, precision: ExportPrecision) -> str:
    return f"{name}.{precision}.onnx"


def graph_files(name: str, precision: ExportPrecision) -> tuple[str, str]:
    """The file of a graph, and the one that has its weights if they are too large for the first."""
    return file_of(name, precision), f"{file_of(name, precision)}.data"


def backbone_file(number: int) -> str:
    """The file of a model's set of features, which are counted from 1."""
    return f"backbone_{number}.onnx"


def is_exported(folder: Path) -> bool:
    """Whether ``folder`` holds what ``mmt export`` wrote, and no weights of torch."""
    return not (folder / WEIGHTS).is_file() and any(
        (folder / file_of(ENCODER, precision)).is_file() for precision in PRECISIONS
    )


class ExportedTranslator(BaseTranslator):
    """Translates with an exported model: the same translations as ``mmt.inference.torch_runtime.Translator``.

    Images are looked up in a feature store, or read from files by the exported backbones. Without these,
    ``image_reader`` reads files: a function that gives their features (N, R, dim).

    >>> translator = ExportedTranslator.from_dir(Path("model.onnx"))                        # doctest: +SKIP
    >>> translator.translate(["A bat on the wall.", "Hello."], images=["wall.jpg", None])   # doctest: +SKIP
    """

    image_reader: Callable[[Sequence[ImageFile]], NDArray[np.float32]] | None = None
    original = "the original model"
    """What can do what the graphs cannot, for messages."""

    def __init__(
        self,
        graphs: Graphs,
        tokenizer: Tokenizer,
        card: ModelCard,
        features: FeatureStore | None = None,
        threads: int | None = None,
        ids: IntArray | None = None,
    ) -> None:
        """
        Args:
            threads: batches computed at a time; None takes one for each core.
            ids: with which the graphs write; None: all.
        Raises:
            MMTError: as ``RuntimeModel``.
        """
        super().__init__(tokenizer, card, features)
        self._ids = ids
        self._graphs, self._threads = graphs, threads or os.cpu_count() or 1

    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        features: Features = None,
        precision: ExportPrecision = "float32",
        threads: int | None = None,
    ) -> Self:
        """Loads what ``mmt export`` wrote.

        Args:
            features: as of ``mmt.inference.loaded.LoadedModel.from_dir``.
            precision: ``float32`` or ``int8``, whichever was exported.
            threads: batches computed at a time; None takes one for each core.
        Raises:
            MMTError: no exported model, not in this precision, a damaged one, features of another backbone, or
                ONNX Runtime is not installed.
        """
        folder = local_path(folder)
        card = read_card(folder)
        graphs = Graphs(folder, card, precision)
        tokenizer = load_tokenizer(folder, card)
        if tokenizer.vocab_size != card.config["vocab_size"]:
            raise MMTError(f"{folder}: {TOKENIZER} is another model's. Export the model again.")
        ids = read_vocabulary(folder, tokenizer.target_vocab_size)
        return cls(graphs, tokenizer, card, open_store(features), threads, ids)

    @property
    def runtime(self) -> str:
        return "ONNX Runtime"

    @property
    def num_threads(self) -> int:
        return self._threads

    @property
    def vocabulary(self) -> IntArray | None:
        return self._ids

    def prepare(self, beams: int, guidance: float) -> Callable[[SentenceBatch, int], DecodingState]:
        if guidance != 1.0:
            raise MMTError(f"guidance {guidance}: an exported model supports only 1. Use {self.original}.")
        if beams > self.widest_beam:
            raise MMTError(
                f"beam size {beams}: expected at most {self.widest_beam} for an exported model. Use "
                f"{self.original}."
            )
        return lambda batch, limit: self._graphs.begin(batch)

    @property
    def widest_beam(self) -> int:
        """The largest beam size for which the graphs give enough candidates."""
        num_ids = self.tokenizer.target_vocab_size if self._ids is None else len(self._ids)
        return num_ids // block_of(num_ids) // 2 - 1  # the first step has one beam for 2 B candidates

    def in_parallel(
        self, work: Callable[[SentenceBatch], _Result], batches: Sequence[SentenceBatch]
    ) -> Iterator[_Result]:
        return in_threads(work, batches, self._threads)

    @property
    def can_score(self) -> bool:
        """Whether the graphs give the log-probabilities of all tokens, see ``LOG_P``."""
        return self._ids is None and self._graphs.gives_log_probs

    @property
    def num_positions(self) -> int:
        return int(self.card.config["max_length"])

    def token_log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[NDArray[np.float64]]:
        if self._ids is not None:
            raise MMTError(
                f"{self.tokenizer.path.parent}: cannot score translations: it was exported with a restricted "
                "vocabulary. Export the model again, without --vocabulary."
            )
        prompt = self.tokenizer.prompt
        state = self._graphs.begin(SentenceBatch(sources, images, prompt))
        for token in prompt[:-1]:
            state.feed(np.full((len(sources), 1), token))
        lens = np.array([len(ids) + 1 for ids in targets])
        labels = np.full((len(lens), lens.max()), EOS)  # eos counts; what follows it does not
        for row, ids in zip(labels, targets, strict=True):
            row[: len(ids)] = ids
        found, last = np.zeros(labels.shape), np.full((len(lens), 1), prompt[-1])
        for position in range(labels.shape[1]):
            following = labels[:, position : position + 1]
            found[:, position] = np.take_along_axis(state.log_probs(last)[:, 0], following, 1)[:, 0]
            last = following
        return [found[row, :length] for row, length in enumerate(lens.tolist())]

    @property
    def reads_files(self) -> bool:
        """Whether the model was exported with its backbones, or has an ``image_reader``."""
        return self.image_reader is not None or (self._graphs.folder / backbone_file(1)).is_file()

    @cached_property
    def backbones(self) -> list[OnnxBackbone]:
        """The networks that make the model's features, one for each set; loaded at first use.

        Raises:
            MMTError: a text-only model, one that was exported without them, or a damaged or foreign file.
        """
        # Imported at first use: PIL takes a tenth of a second, and text needs none of it.
        from mmt.features.onnx_backbone import OnnxBackbone

        self.refuse_images("images")
        assert self.card.features is not None  # noqa: S101  # else refuse_images() has raised
        folder, found = self._graphs.folder, []
        for number, signature in enumerate(self.card.features.sets, 1):
            path = folder / backbone_file(number)
            if not path.is_file():
                raise MMTError(
                    f"{folder}: exported without a backbone, so that it takes images' features from a store, not "
                    "from files. Name a store with --images, or export the model again with its backbone."
                )
            check_files(folder, self.card, (path.name, f"{path.name}.data"))
            backbone = OnnxBackbone(path, self._threads)
            signature.check(backbone.signature, str(path))
            found.append(backbone)
        return found

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        if self.image_reader is not None:
            return self.image_reader(images)
        return side_by_side([backbone.features(images) for backbone in self.backbones])

    def check_image(self, path: Path) -> None:
        if self.image_reader is not None:
            self.image_reader([path])
        else:
            self.backbones[0].read(path)


class Graphs:
    """The encoder and the decoder of an exported model, and its search graph if it has one.

    search: None where the decoder is called for each step, from Python.
    """

    def __init__(self, folder: Path, card: ModelCard, precision: ExportPrecision = "float32") -> None:
        """Raises as ``ExportedTranslator.from_dir``."""
        self._card, self.folder, self._precision = card, folder, precision
        graphs = [one for name in (ENCODER, DECODER, SEARCH) for one in graph_files(name, precision)]
        check_files(folder, card, (*TOKENIZER_FILES, *graphs))
        self._encoder = _session(folder, ENCODER, precision)
        self._encoded_names = [one.name for one in self._encoder.get_outputs()]
        self._lock, self._decoder = threading.Lock(), None
        has_search = (folder / file_of(SEARCH, precision)).is_file()
        self.search = SearchGraph(_session(folder, SEARCH, precision)) if has_search else None
        if self.search is None:
            _ = self.decoder

    @property
    def decoder(self) -> Any:
        """The session of the decoder; opened at first use where the search graph does without it.

        Raises:
            MMTError: the file is damaged or gone, or another since the folder was opened.
        """
        with self._lock:  # batches are computed in threads
            if self._decoder is None:
                self._decoder = self._open_decoder()
            return self._decoder

    def _open_decoder(self) -> Any:
        try:
            check_files(self.folder, self._card, graph_files(DECODER, self._precision))
            return _session(self.folder, DECODER, self._precision)
        except MMTError as error:
            if self.search is None:
                raise
            raise MMTError(
                f"{error} If the model was exported again since it was opened, open it again instead."
            ) from None

    @cached_property
    def gives_log_probs(self) -> bool:
        """Whether the decoder has the output ``LOG_P``."""
        return LOG_P in [one.name for one in self.decoder.get_outputs()]

    def begin(self, batch: SentenceBatch) -> _OnnxState:
        """Encodes a batch's sentences and images."""
        from onnxruntime import OrtValue  # an optional package, imported by _session

        lens = np.array([len(ids) + 1 for ids in batch.sources])
        source = np.full((len(lens), lens.max()), PAD)
        for row, ids in zip(source, batch.sources, strict=True):
            row[: len(ids) + 1] = [*ids, EOS]
        inputs: dict[str, NDArray[Any]] = {"source": source, "source_lens": lens}
        if self._card.features is not None:
            shape = (len(lens), self._card.features.num_regions, self._card.features.dim)
            image, image_pad = np.zeros(shape, np.float32), np.ones(shape[:2], bool)
            for number, features in enumerate(batch.images):
                if features is not None:
                    image_pad[number] = np.isnan(features).all(axis=-1)  # missing frames of a shorter recording
                    image[number] = np.where(image_pad[number][:, None], 0, features)
            inputs |= {"image": image, "image_pad": image_pad}
        values = {name: OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        return _OnnxState(self, self._encoder.run_with_ort_values(self._encoded_names, values))


class _OnnxState(DecodingState):
    """``mmt.inference.search.DecodingState`` in ONNX Runtime.

    Beams are not moved in the KV cache: a mask says which of its positions a beam may attend to, its own past.
    """

    def __init__(self, graphs: Graphs, encoded: list[Any]) -> None:
        """``encoded``: what the encoder returned, as ``OrtValue``, for the decoder's cross-attention."""
        from onnxruntime import OrtValue  # an optional package, imported by _session

        self._value = OrtValue.ortvalue_from_numpy
        self._graphs = graphs
        self._encoded = {f"seen_{i}": value for i, value in enumerate(encoded)}
        # (N, B, P): 0, or -inf where it is masked
        self._mask = np.zeros((encoded[0].shape()[0], 1, 0), np.float32)
        self._position = 0

    @cached_property
    def _cache(self) -> list[Any]:
        """Of each layer keys and values, without positions at first."""
        past = {one.name: one.shape for one in self._graphs.decoder.get_inputs() if one.name.startswith("past")}
        _, heads, _, width = past["past_0"]
        return [self._value(np.zeros((len(self._mask), heads, 0, width), np.float32))] * len(past)

    @cached_property
    def _outputs(self) -> list[str]:
        return [one.name for one in self._graphs.decoder.get_outputs() if one.name != LOG_P]

    def search(
        self, limits: Sequence[int], options: SearchOptions, prompts: Sequence[Sequence[int]]
    ) -> list[list[Hypothesis]]:
        if self._graphs.search is None or len(prompts[0]) > 1 or min(limits) < 1:
            return super().search(limits, options, prompts)
        return self._graphs.search.run(self._encoded, limits, options, np.array(prompts))

    def feed(self, tokens: IntArray) -> None:
        self.step(tokens, np.zeros(tokens.shape, np.float32), 1)

    def step(self, tokens: IntArray, scores: FloatArray, width: int) -> Candidates:
        return Candidates(*self._run(tokens, scores, width, self._outputs[:4]))

    def log_probs(self, tokens: IntArray) -> FloatArray:
        if not self._graphs.gives_log_probs:
            raise MMTError(
                f"{self._graphs.folder}: an earlier version of mmt exported it, without what scores and ensembles "
                "need. Export the model again."
            )
        (log_p,) = self._run(tokens, np.zeros(tokens.shape, np.float32), 1, [LOG_P])
        return log_p

    def _run(self, tokens: IntArray, scores: FloatArray, width: int, outputs: list[str]) -> list[NDArray[Any]]:
        beams = tokens.shape[1]
        own = np.broadcast_to(own_mask(beams), (len(tokens), beams, beams))
        self._mask = np.concatenate([self._mask, own], axis=2)
        arrays = {
            "tokens": tokens,
            "position": np.array([self._position]),
            "scores": scores,
            "ranks": np.zeros(width, np.int64),
            "unseen": self._mask,
        }
        inputs = {name: self._value(array) for name, array in arrays.items()} | self._encoded
        inputs |= {f"past_{i}": value for i, value in enumerate(self._cache)}
        found = self._graphs.decoder.run_with_ort_values([*outputs, *self._outputs[4:]], inputs)
        self._cache = found[len(outputs) :]
        self._position += 1
        return [value.numpy() for value in found[: len(outputs)]]

    def reorder(self, parents: IntArray) -> None:
        self._mask = np.take_along_axis(self._mask, parents[:, :, None], 1)

    def select(self, sentences: IntArray) -> None:
        self._mask = self._mask[sentences]
        self._cache = [self._value(value.numpy()[sentences]) for value in self._cache]
        self._encoded = {name: self._value(value.numpy()[sentences]) for name, value in self._encoded.items()}


def _session(folder: Path, name: str, precision: ExportPrecision) -> Any:
    path = folder / file_of(name, precision)
    if not path.is_file():
        there = [one for one in PRECISIONS if (folder / file_of(name, one)).is_file()]
        if there:
            raise MMTError(f"{folder}: exported in {' and '.join(there)}, not in {precision}. Export it again.")
        raise MMTError(f"{folder}: no exported model. mmt export --model {folder} --out OUT writes one.")
    # Disabled in decoders: slower. Enabled in encoders: disabling it would change old results.
    return open_session(path, disabled=() if name == ENCODER else ["SkipLayerNormFusion"])  # a batch on one core
