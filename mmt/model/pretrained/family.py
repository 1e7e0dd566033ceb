"""A base: a pretrained text model whose weights become a ``TextModel``, and stay where they are."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmt.errors import MMTError
from mmt.io.text_files import file_checksum
from mmt.model.config import LARGEST
from mmt.model.pretrained.checkpoint import CONFIG, open_weights, read_config, weight_files

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}
"""Of transformers' configurations, by ours."""
_ATTENTION = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "output_proj": "out_proj"}
_LAYER = {
    **{f"self_attn.{ours}": f"self_attn.{theirs}" for ours, theirs in _ATTENTION.items()},
    "self_attn_layer_norm": "self_attn_layer_norm",
    "ffn.inner_proj": "fc1",
    "ffn.output_proj": "fc2",
    "ffn_layer_norm": "final_layer_norm",
}
_CROSS = {
    **{f"encoder_decoder_attn.{ours}": f"encoder_attn.{theirs}" for ours, theirs in _ATTENTION.items()},
    "encoder_decoder_attn_layer_norm": "encoder_attn_layer_norm",
}
_BLOCK = 1 << 14  # rows of an embedding that are copied at a time
MULTIPLE = 64
"""Vocabularies are padded to a multiple of it, for the search."""


def padded(size: int) -> int:
    """Rows of a vocabulary of ``size`` ids, padding included."""
    return -(-size // MULTIPLE) * MULTIPLE


def layer_names(encoder_layers: int, decoder_layers: int, *, last_norms: bool) -> Iterator[tuple[str, str]]:
    """Names of the layers' weights in ``TextModel`` and in transformers' BART-like models."""
    for side, count, names in (("encoder", encoder_layers, _LAYER), ("decoder", decoder_layers, _LAYER | _CROSS)):
        for number in range(count):
            for ours, theirs in names.items():
                for kind in ("weight", "bias"):
                    layer = f"{side}.layers.{number}"
                    yield f"{layer}.{ours}.{kind}", f"model.{layer}.{theirs}.{kind}"
        if last_norms:
            yield from (
                (f"{side}.layer_norm.{kind}", f"model.{side}.layer_norm.{kind}") for kind in ("weight", "bias")
            )


class Base(ABC):
    """A pretrained text model: one that translates, or an encoder.

    ``name``: as in ``model.text``, such as ``nllb:facebook/nllb-200-distilled-600M``. ``folder``:
    where its files are.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The fields of ``mmt.model.config.MMTConfig`` that follow from the checkpoint.

        Raises:
            MMTError: the folder is no checkpoint of this family.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The weights by their names in ``TextModel`` (``frontend.embed.weight``), rows in the order of our ids.

        In float32.
        ``final_proj.weight`` is not among them, as it is the target's embedding.

        Raises:
            MMTError: a weight is missing, or is none of this family's, or a file is damaged or could run code.
        """

    @abstractmethod
    def write_tokenizer(self, folder: Path) -> None:
        """Writes the tokenizer's files to ``folder``, ``tokenizer.model`` last; see ``open_tokenizer``."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """The checksum that identifies the weights and the tokenizer."""


class PublishedBase(Base):
    """A checkpoint of a pretrained text model, in transformers' published layout.

    A family says how its vocabulary is numbered and tokenized, and what it refuses. The layers' weights have the
    same names in all.
    """

    family: ClassVar[str]
    """The name that stands before the colon in ``model.text``."""
    model_type: ClassVar[str]
    """Of ``config.json``."""
    tokenizer_files: ClassVar[tuple[str, ...]]
    """Required beside configuration and weights."""
    optional_files: ClassVar[tuple[str, ...]]
    """Of the tokenizer, too, where they are there."""
    unhashed_files: ClassVar[tuple[str, ...]] = ()
    """Looked at where they are there, but no part of ``sha256``: a checkpoint is refused for what they say."""
    tokenizer_remedy: ClassVar[str] = "Download the checkpoint again"
    """What to do where a file of the tokenizer is missing."""
    expected: ClassVar[Mapping[str, Any]]
    """Settings of ``config.json`` that must have these values, where they are there."""
    last_norms: ClassVar[bool]
    """Pre-norm with a layer norm after the last layer, rather than post-norm."""

    @abstractmethod
    def order(self, side: str) -> list[int]:
        """The checkpoint's id of each of our ids, from pad, of the vocabulary of ``side``, source or target.

        An id may be there twice. Raises MMTError for a damaged vocabulary.
        """

    @property
    @abstractmethod
    def positions(self) -> str:
        """Of ``mmt.model.config.MMTConfig``."""

    def silent(self) -> list[int]:
        """Those of our target ids, besides padding, whose output bias is -inf."""
        return []

    @property
    def two_vocabularies(self) -> bool:
        """Whether the target has an embedding of its own."""
        return False

    def settings(self) -> dict[str, Any]:
        self._check()
        source, target = padded(len(self.order("source"))), padded(len(self.order("target")))
        return {
            "model_dim": self.size("d_model"),
            "num_encoder_layers": self.size("encoder_layers"),
            "num_decoder_layers": self.size("decoder_layers"),
            "num_heads": self._both("attention_heads"),
            "ffn_dim": self._both("ffn_dim"),
            "norm_order": "pre" if self.last_norms else "post",
            "text_encoder": "transformer",
            "max_length": self.size("max_position_embeddings"),
            "vocab_size": source,
            "target_vocab_size": target if self.two_vocabularies else 0,
            "activation": ACTIVATIONS[self._one_of("activation_function", ACTIVATIONS)],
            "positions": self.positions,
            "scaled_embedding": self._one_of("scale_embedding", (True, False)),
            "output_bias": self._bias() is not None,
        }

    def weights(self) -> dict[str, Tensor]:
        settings = self.settings()
        names = dict(
            layer_names(settings["num_encoder_layers"], settings["num_decoder_layers"], last_norms=self.last_norms)
        )
        self._check_names(set(names.values()))
        shared = ["model.shared.weight", "model.encoder.embed_tokens.weight"]
        output = ["model.decoder.embed_tokens.weight", "lm_head.weight"]
        found = {}  # the embeddings first, as their rows are copied: while that takes twice their memory
        if not self.two_vocabularies:
            found["frontend.embed.weight"] = self._embedding([*shared, *output], "source")
        else:
            found["frontend.embed.weight"] = self._embedding(shared[1:], "source")
            found["target_frontend.embed.weight"] = self._embedding(output, "target")
        found |= {ours: self.weight(theirs) for ours, theirs in names.items()}
        bias = self._bias()
        if bias is not None:
            found["final_proj.bias"] = bias
        return found

    @cached_property
    def sha256(self) -> str:
        """Of the checksums of the files."""
        paths = [self.folder / name for name in (*self.tokenizer_files, *self.optional_files)]
        digest = hashlib.sha256()
        for path in (*filter(Path.is_file, paths), *weight_files(self.folder)):
            digest.update(f"{path.name} {file_checksum(path)}\n".encode())
        return digest.hexdigest()

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``."""
        return read_config(self.folder)

    @cached_property
    def weights_by_name(self) -> dict[str, Callable[[], Tensor]]:
        """The checkpoint's weights, each read when it is called for."""
        return open_weights(self.folder)

    def weight(self, name: str) -> Tensor:
        """A weight by its name in the checkpoint, in float32. Raises MMTError if it is missing or not finite."""
        return self._checked(name, self.weights_by_name)

    def _checked(self, name: str, weights: Mapping[str, Callable[[], Tensor]]) -> Tensor:
        if name not in weights:
            raise MMTError(f"{self.folder}: the weight {name} is missing. Download the checkpoint again.")
        tensor = weights[name]()
        if not tensor.is_floating_point():
            raise MMTError(f"{self.folder}: {name}: expected floating-point numbers, found {tensor.dtype}.")
        tensor = tensor.float()
        if not tensor.sum().isfinite():
            raise MMTError(
                f"{self.folder}: {name} has values that are not numbers. Download the checkpoint again."
            )
        return tensor

    def size(self, key: str, most: int = LARGEST) -> int:
        """A size in ``config.json``. Raises MMTError where it is missing, or no size from 1 to ``most``."""
        value = self.config.get(key)
        if type(value) is not int or not 1 <= value <= most:
            raise self.refused(key, f"a size from 1 to {most:,}")
        return value

    def token(self, key: str) -> int:
        """A token's id in ``config.json``. Raises MMTError where it is missing."""
        value = self.config.get(key)
        if type(value) is not int or value < 0:
            raise self.refused(key, "a token's id")
        return value

    def refused(self, key: str, expected: object) -> MMTError:
        """An error that says what ``config.json`` has."""
        found = f"{self.config[key]!r}" if key in self.config else "none"
        return MMTError(
            f"{self.folder / CONFIG}: {key}: expected {expected}, found {found}. The family {self.family} of mmt "
            "has no other architecture."
        )

    def _check(self) -> None:
        """Raises MMTError for another family, another architecture or a missing tokenizer file."""
        if self.config.get("model_type") != self.model_type:
            raise self.refused("model_type", f"'{self.model_type}'")
        self._check_expected()
        if self.size("d_model") % (2 * self._both("attention_heads")):
            raise self.refused("d_model", "a multiple of twice the attention heads")

    def _check_expected(self) -> None:
        """Raises MMTError for a setting of another architecture, or a missing tokenizer file."""
        for key, value in self.expected.items():
            if self.config.get(key, value) != value:
                raise self.refused(key, repr(value))
        for name in self.tokenizer_files:
            if not (self.folder / name).is_file():
                raise MMTError(f"{self.folder}: the tokenizer's file {name} is missing. {self.tokenizer_remedy}.")

    def _both(self, key: str) -> int:
        """A size that encoder and decoder have in common."""
        value = self.size(f"encoder_{key}")
        if self.config.get(f"decoder_{key}") != value:
            raise self.refused(f"decoder_{key}", f"{value}, as encoder_{key}")
        return value

    def _one_of(self, key: str, values: Any) -> Any:
        if self.config.get(key) not in list(values):  # a list is in no dict
            raise self.refused(key, " or ".join(repr(one) for one in values))
        return self.config[key]

    def _check_names(self, expected: set[str]) -> None:
        """Raises MMTError for weights that the family does not have."""
        ends = ("embed_tokens.weight", "embed_positions.weight", "embed_positions.weights", ".version")
        known = {*expected, "model.shared.weight", "lm_head.weight", "final_logits_bias"}
        for name in self.weights_by_name:
            if name not in known and not name.endswith(ends):
                raise MMTError(
                    f"{self.folder}: expected the weights of {self.family} with the layers of {CONFIG}, found "
                    f"{name}. Name a checkpoint of this family."
                )

    def _embedding(self, names: Sequence[str], side: str) -> Tensor:
        """The first weight of ``names`` with rows in our order; the others, where there are any, must equal it."""
        weights = open_weights(self.folder)  # mapped anew, so that what is not kept leaves memory
        present = [name for name in names if name in weights]
        matrix = self._checked(present[0] if present else names[0], weights)
        for name in present[1:]:
            other = weights[name]()
            if other.shape != matrix.shape or not _equal(matrix, other):
                raise MMTError(
                    f"{self.folder}: expected {name} to be {present[0]}, found another matrix. The family "
                    f"{self.family} of mmt has one matrix for both."
                )
        order = self.order(side)
        if matrix.dim() != 2 or max(order) >= len(matrix):
            raise MMTError(
                f"{self.folder}: {present[0]}: expected {max(order) + 1:,} rows, found {len(matrix):,}."
            )
        rows = matrix.new_zeros(padded(len(order)), matrix.size(1))
        for first in range(0, len(order), _BLOCK):  # in blocks, as a whole one more would be a second copy
            ids = torch.tensor(order[first : first + _BLOCK])
            rows[first : first + len(ids)] = matrix[ids]
        return rows

    def _bias(self) -> Tensor | None:
        """(V,) the output projection's bias: -inf in padding and at ``silent`` ids; None if it is 0 everywhere."""
        order = self.order("target")
        bias = torch.zeros(padded(len(order)))
        if "final_logits_bias" in self.weights_by_name:
            theirs = self.weight("final_logits_bias").flatten()
            if max(order) >= len(theirs):
                raise MMTError(f"{self.folder}: final_logits_bias: expected {max(order) + 1:,} numbers.")
            bias[: len(order)] = theirs[torch.tensor(order)]
        bias[len(order) :] = -torch.inf
        bias[self.silent()] = -torch.inf
        return bias if bias.any() else None


def _equal(one: Tensor, other: Tensor) -> bool:
    """``torch.equal`` in blocks, and at once for the same memory."""
    if one.data_ptr() == other.data_ptr():
        return True
    blocks = zip(torch.split(one, _BLOCK), torch.split(other, _BLOCK), strict=True)
    return all(torch.equal(a, b.float()) for a, b in blocks)
