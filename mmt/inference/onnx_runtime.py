"""Translating by an exported model: ONNX Runtime, without torch and fairseq2.

Legend: N sentences, B beams, P places that a beam may see, W candidates.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmt.data.tokenizer import EOS, PAD
from mmt.errors import MMTError, local_path
from mmt.inference.search import (
    MAX_LENGTH,
    Candidates,
    Hypothesis,
    Numbers,
    Places,
    Steps,
    lengths_allowed,
    search,
)
from mmt.inference.translator import BaseTranslator, Features, Work, opened
from mmt.io import runtime
from mmt.io.processes import in_threads
from mmt.model.card import TOKENIZER, WEIGHTS, ModelCard, check_files, load_tokenizer, read_card

if TYPE_CHECKING:
    from PIL.Image import Image

ENCODER, DECODER = "encoder", "decoder"
ExportPrecision = Literal["float32", "int8"]
PRECISIONS: tuple[ExportPrecision, ...] = ("float32", "int8")


def block_of(vocab_size: int) -> int:
    """Words of the vocabulary that are searched as one, such that a hundred such blocks are left."""
    return max(
        size for size in range(1, 129) if vocab_size % size == 0 and (vocab_size >= 100 * size or size == 1)
    )


def file_of(name: str, precision: ExportPrecision) -> str:
    return f"{name}.{precision}.onnx"


def is_exported(folder: Path) -> bool:
    """Whether ``folder`` holds what ``mmt export`` wrote, and no weights of torch."""
    return not (folder / WEIGHTS).is_file() and any(
        (folder / file_of(ENCODER, precision)).is_file() for precision in PRECISIONS
    )


class ExportedTranslator(BaseTranslator):
    """``mmt.inference.torch_runtime.Translator`` of an exported model: the same translations.

    Images are looked up in a feature store; files cannot be read, as the backbones that do are networks of torch.

    >>> translator = ExportedTranslator.from_dir(Path("model.onnx"), features="features")   # doctest: +SKIP
    >>> translator.translate(["A bat on the wall.", "Hello."], images=["wall.jpg", None])   # doctest: +SKIP
    """

    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        features: Features = None,
        precision: ExportPrecision = "float32",
        threads: int | None = None,
    ) -> ExportedTranslator:
        """Loads what ``mmt export`` wrote.

        Args:
            features: as of ``Translator.from_dir``.
            precision: one of those that were exported.
            threads: batches computed at a time; None takes one a core.
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
        translator = cls(tokenizer, card, opened(features))
        translator._graphs = graphs
        translator._threads = threads or os.cpu_count() or 1
        return translator

    _graphs: Graphs
    _threads: int

    def _search(
        self, batches: Sequence[Work], beam_size: int, length_penalty: float, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        if guidance != 1.0:
            raise MMTError(f"guidance {guidance}: an exported model supports only 1. Use the original model.")
        room, vocab_size = self.card.config["max_length"], self.card.config["vocab_size"]
        widest = vocab_size // block_of(vocab_size) // 2 - 1  # the first step has one beam for 2 B candidates
        if beam_size > widest:
            raise MMTError(f"beam size {beam_size}: expected at most {widest} for an exported model.")

        def translate(work: Work) -> list[list[Hypothesis]]:
            limits = lengths_allowed([len(ids) + 1 for ids in work.sources], MAX_LENGTH, room)
            return search(self._graphs.begin(work), limits, beam_size=beam_size, length_penalty=length_penalty)

        return in_threads(translate, batches, self._threads)

    def _num_cores(self) -> int:
        return self._threads

    def _read(self, images: Sequence[Path | bytes | Image]) -> NDArray[np.float32]:
        raise _no_files(str(images[0]) if isinstance(images[0], Path) else "images")

    def check_image(self, path: Path) -> None:
        raise _no_files(str(path))


class Graphs:
    """The encoder and the decoder of an exported model."""

    def __init__(self, folder: Path, card: ModelCard, precision: ExportPrecision = "float32") -> None:
        """Raises as ``ExportedTranslator.from_dir``."""
        self._features = card.features
        check_files(folder, card, (TOKENIZER, *(file_of(name, precision) for name in (ENCODER, DECODER))))
        self._encoder, self._decoder = (_session(folder, name, precision) for name in (ENCODER, DECODER))

    def begin(self, work: Work) -> Steps:
        """Reads a batch's sentences and images."""
        lens = np.array([len(ids) + 1 for ids in work.sources])
        source = np.full((len(lens), lens.max()), PAD)
        for row, ids in zip(source, work.sources, strict=True):
            row[: len(ids) + 1] = [*ids, EOS]
        inputs: dict[str, NDArray[Any]] = {"source": source, "source_lens": lens}
        if self._features is not None:
            shape = (len(lens), self._features.num_regions, self._features.dim)
            image, pad = np.zeros(shape, np.float32), np.ones(shape[:2], bool)
            for number, features in enumerate(work.images):
                if features is not None:
                    pad[number] = np.isnan(features).all(axis=-1)  # a shorter recording's missing frames
                    image[number] = np.where(pad[number][:, None], 0, features)
            inputs |= {"image": image, "image_pad": pad}
        return _Steps(self._decoder, self._encoder.run(None, inputs))


class _Steps:
    """``mmt.inference.search.Steps`` by ONNX Runtime. The keys and values of a beam stay where they were written,
    and a mask says which of them a beam may see: its own past."""

    def __init__(self, decoder: Any, seen: list[NDArray[Any]]) -> None:
        from onnxruntime import OrtValue

        self._value = OrtValue.ortvalue_from_numpy
        self._decoder = decoder
        self._names = [one.name for one in decoder.get_outputs()]
        self._seen = {f"seen_{i}": self._value(one) for i, one in enumerate(seen)}
        num_past = sum(one.name.startswith("past") for one in decoder.get_inputs())
        _, heads, _, width = next(one.shape for one in decoder.get_inputs() if one.name == "past_0")
        self._past = [self._value(np.zeros((len(seen[0]), heads, 0, width), np.float32))] * num_past
        self._unseen = np.zeros((len(seen[0]), 1, 0), np.float32)  # (N, B, P)
        self._position = 0

    def step(self, tokens: Places, scores: Numbers, width: int) -> Candidates:
        beams = tokens.shape[1]
        own = np.full((beams, beams), -np.inf, np.float32)
        np.fill_diagonal(own, 0)
        own = np.broadcast_to(own, (len(tokens), beams, beams))
        self._unseen = np.concatenate([self._unseen, own], axis=2)
        given = {
            "tokens": tokens,
            "position": np.array([self._position]),
            "scores": scores,
            "ranks": np.zeros(width, np.int64),
            "unseen": self._unseen,
        }
        inputs = {name: self._value(one) for name, one in given.items()} | self._seen
        inputs |= {f"past_{i}": one for i, one in enumerate(self._past)}
        score, beam, token, ends, *self._past = self._decoder.run_with_ort_values(self._names, inputs)
        self._position += 1
        return Candidates(*(one.numpy() for one in (score, beam, token, ends)))

    def choose(self, parents: Places) -> None:
        self._unseen = np.take_along_axis(self._unseen, parents[:, :, None], 1)

    def keep(self, sentences: Places) -> None:
        self._unseen = self._unseen[sentences]
        self._past = [self._value(one.numpy()[sentences]) for one in self._past]
        self._seen = {name: self._value(one.numpy()[sentences]) for name, one in self._seen.items()}


def _session(folder: Path, name: str, precision: ExportPrecision) -> Any:
    runtime.start()  # before onnxruntime, which sends telemetry from its import on
    try:
        import onnxruntime
    except ImportError:
        raise MMTError(
            "--runtime onnx: the package onnxruntime is missing. pip install 'mmt-toolkit[onnx]'."
        ) from None

    path = folder / file_of(name, precision)
    if not path.is_file():
        there = [one for one in PRECISIONS if (folder / file_of(name, one)).is_file()]
        if there:
            raise MMTError(f"{folder}: exported in {' and '.join(there)}, not in {precision}. Export it again.")
        raise MMTError(f"{folder}: no exported model. mmt export --model {folder} --out OUT writes one.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # each batch on one core
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has one class of error for each cause
        reason = str(error).splitlines()[0]
        raise MMTError(f"{path}: cannot be loaded ({reason}). Export the model again.") from None


def _no_files(name: str) -> MMTError:
    return MMTError(
        f"{name}: an exported model takes images' features from a store, not from files. "
        "Make one with mmt features, and name it with --images."
    )
