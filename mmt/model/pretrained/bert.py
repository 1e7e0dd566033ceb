"""Encoders of sentences: BERT and RoBERTa, and what has their architecture, such as MiniLM and XLM-R.

Devlin et al. (2019), https://aclanthology.org/N19-1423; Liu et al. (2019), https://arxiv.org/abs/1907.11692. They
translate nothing: they are the text model of a run that learns retrieval, labels or scores.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from mmt.data.encoder_tokenizer import special_ids, write_encoder_tokenizer
from mmt.data.tokenizer import BOS, EOS, PAD, UNK
from mmt.errors import MMTError
from mmt.model.config import LARGEST
from mmt.model.pretrained.checkpoint import CONFIG, read_json
from mmt.model.pretrained.family import ACTIVATIONS, PublishedBase, padded

_TOKENIZER, _POOLING, _MODULES = "tokenizer.json", "1_Pooling/config.json", "modules.json"
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")  # of sentence-transformers
_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.output_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "ffn.inner_proj": "intermediate.dense",
    "ffn.output_proj": "output.dense",
    "ffn_layer_norm": "output.LayerNorm",
}
_PARTS = ("embeddings.", "encoder.")  # of the encoder: others, such as a pooler, are of what it was trained for
_NORM_NAMES = {"weight": "gamma", "bias": "beta"}  # in the first checkpoints


class Bert(PublishedBase):
    """Learned positions, post-norm, no decoder."""

    family, model_type = "bert", "bert"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    tokenizer_files = (_TOKENIZER,)
    tokenizer_remedy = (
        "Make it with transformers: AutoTokenizer.from_pretrained(NAME_OR_FOLDER).save_pretrained(FOLDER)"
    )
    optional_files = (_POOLING,)
    unhashed_files = (_MODULES,)
    expected: ClassVar[dict[str, Any]] = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    }
    last_norms = False
    positions = "learned"

    @property
    def first_position(self) -> int:
        """The row of the first token's position."""
        return 0

    def order(self, side: str) -> list[int]:
        return self._order

    def settings(self) -> dict[str, Any]:
        self._check()
        return {
            "model_dim": self.size("hidden_size"),
            "num_encoder_layers": self.size("num_hidden_layers"),
            "num_decoder_layers": 0,
            "num_heads": self.size("num_attention_heads"),
            "ffn_dim": self.size("intermediate_size"),
            "norm_order": "post",
            "text_encoder": "transformer",
            "max_length": self.size("max_position_embeddings") - self.first_position,
            "vocab_size": padded(len(self._order)),
            "target_vocab_size": 0,
            "activation": ACTIVATIONS[self._one_of("hidden_act", ACTIVATIONS)],
            "positions": self.positions,
            "scaled_embedding": False,
            "output_bias": False,
            "norm_eps": self._norm_eps,
            "pooling": self._pooling,
        }

    def weights(self) -> dict[str, Tensor]:
        layers = self.settings()["num_encoder_layers"]
        names = {
            f"encoder.layers.{number}.{ours}.{kind}": f"{self._prefix}encoder.layer.{number}.{theirs}.{kind}"
            for number in range(layers)
            for ours, theirs in _LAYER.items()
            for kind in ("weight", "bias")
        }
        embeddings = f"{self._prefix}embeddings."
        norm = "frontend.pos_encoder.norm"
        names |= {f"{norm}.{kind}": f"{embeddings}LayerNorm.{kind}" for kind in ("weight", "bias")}
        self._check_parts({*names.values()}, embeddings)
        words = self._embedding([f"{embeddings}word_embeddings.weight"], "source")
        positions = self.weight(f"{embeddings}position_embeddings.weight")[self.first_position :]
        segment = self.weight(f"{embeddings}token_type_embeddings.weight")[:1]
        return {
            "frontend.embed.weight": words,
            "frontend.pos_encoder.weight": torch.cat([torch.zeros_like(segment), positions + segment]),
            **{ours: self.weight(theirs) for ours, theirs in names.items()},
        }

    def write_tokenizer(self, folder: Any) -> None:
        self._check()
        content = (self.folder / _TOKENIZER).read_bytes()
        write_encoder_tokenizer(folder, content, padded(len(self._order)), self._order)

    @cached_property
    def weights_by_name(self) -> dict[str, Callable[[], Tensor]]:
        """The checkpoint's weights, layer norms by their names of today."""
        weights = dict(super().weights_by_name)
        for ours, theirs in _NORM_NAMES.items():
            for name in [name for name in weights if name.endswith(f"LayerNorm.{theirs}")]:
                weights[name.removesuffix(theirs) + ours] = weights.pop(name)
        return weights

    @cached_property
    def _prefix(self) -> str:
        """What a model with a head puts before the encoder's names, such as ``bert.``."""
        last = "embeddings.word_embeddings.weight"
        found = [name for name in self.weights_by_name if name == last or name.endswith(f".{last}")]
        return found[0].removesuffix(last) if found else ""

    @cached_property
    def _order(self) -> list[int]:
        path = self.folder / _TOKENIZER
        pad, unk, first, last = special_ids(path.read_bytes(), path)
        if pad is None:  # config.json's may be of another tokenizer, as multilingual-e5-small's is
            pad = self.token("pad_token_id")
        specials = {PAD: pad, UNK: unk, BOS: first, EOS: last}
        size = self.size("vocab_size", 1 << 22)
        if len({*specials.values()}) < len(specials) or max(specials.values()) >= size:
            raise MMTError(
                f"{path}: expected pad, unk and the tokens around a sentence among the {size:,} ids of "
                f"config.json, all different, found {sorted(specials.values())}. Download the checkpoint again."
            )
        others = [number for number in range(size) if number not in specials.values()]
        return [*(specials[number] for number in sorted(specials)), *others]

    @property
    def _norm_eps(self) -> float:
        value: Any = self.config.get("layer_norm_eps", 1e-12)
        if type(value) not in (int, float) or not 0 < value <= 1:
            raise self.refused("layer_norm_eps", "a number above 0, at most 1")
        return float(value)

    @property
    def _pooling(self) -> Literal["mean", "first"]:
        """As sentence-transformers reads it from the checkpoint; the mean where it says nothing."""
        path = self.folder / _POOLING
        raw = read_json(path) if path.is_file() else {"pooling_mode_mean_tokens": True}
        if not isinstance(raw, dict):
            raise MMTError(f"{path}: damaged (not an object). Download the checkpoint again.")
        modes = sorted(name for name, on in raw.items() if on is True and name.startswith("pooling_mode_"))
        if modes == ["pooling_mode_mean_tokens"]:
            return "mean"
        if modes == ["pooling_mode_cls_token"]:
            return "first"
        raise MMTError(
            f"{path}: expected pooling_mode_mean_tokens or pooling_mode_cls_token, found "
            f"{', '.join(modes) or 'none'}. mmt has no other pooling: remove the file, and the mean is taken."
        )

    def _check(self) -> None:
        """Raises MMTError for another family, another architecture or a missing tokenizer file."""
        found = self.config.get("model_type")
        if found not in self.model_types:
            for kind in (Bert, Roberta):
                if found in kind.model_types:
                    place = self.name.partition(":")[2]
                    raise MMTError(
                        f"{self.folder / CONFIG}: model_type: {found!r} is of the family {kind.family}, not "
                        f"{self.family}. Name it {kind.family}:{place}."
                    )
            raise self.refused("model_type", " or ".join(repr(one) for one in self.model_types))
        self._check_expected()
        self._check_modules()
        if self.size("hidden_size") % (2 * self.size("num_attention_heads")):
            raise self.refused("hidden_size", "a multiple of twice the attention heads")
        if not self.first_position < self.size("max_position_embeddings") <= LARGEST:
            raise self.refused("max_position_embeddings", f"more than {self.first_position}")

    def _check_modules(self) -> None:
        """Raises MMTError if sentence-transformers computes more of a sentence's vector than mmt."""
        path = self.folder / _MODULES
        raw = read_json(path) if path.is_file() else []
        if not isinstance(raw, list) or not all(isinstance(one, dict) for one in raw):
            raise MMTError(f"{path}: damaged (no list of modules). Download the checkpoint again.")
        for one in raw:
            name = str(one.get("type")).rpartition(".")[2]
            if name not in _KNOWN_MODULES:
                raise MMTError(
                    f"{path}: expected the modules {', '.join(_KNOWN_MODULES)}, found {name}, which mmt does not "
                    "compute. Name another checkpoint, or remove the file: then only the encoder is used."
                )

    def _check_parts(self, known: set[str], embeddings: str) -> None:
        """Raises MMTError for weights of the encoder that the family does not have."""
        tables = ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight")
        known |= {embeddings + name for name in (*tables, "position_ids", "token_type_ids")}
        for name in self.weights_by_name:
            if name not in known and name.startswith(tuple(self._prefix + part for part in _PARTS)):
                raise MMTError(
                    f"{self.folder}: expected the weights of {self.family} with the layers of config.json, found "
                    f"{name}. Name a checkpoint of this family."
                )


class Roberta(Bert):
    """RoBERTa, XLM-R and CamemBERT: BERT whose positions begin after the id of padding."""

    family, model_type = "roberta", "roberta"
    model_types = ("roberta", "xlm-roberta", "camembert")

    @property
    def first_position(self) -> int:
        return self.token("pad_token_id") + 1
