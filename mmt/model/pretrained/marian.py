"""Marian: OPUS-MT and whatever else transformers' ``MarianMTModel`` reads.

Junczys-Dowmunt et al. (2018), https://aclanthology.org/P18-4020; Tiedemann and Thottingal (2020),
https://aclanthology.org/2020.eamt-1.61.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from fairseq2.nn import SinusoidalPositionEncoder
from torch import Tensor

from mmt.data.pretrained_tokenizer import TokenizerConfig, write_tokenizer
from mmt.data.tokenizer import BOS, EOS, PAD, UNK
from mmt.errors import MMTError
from mmt.model.pretrained.checkpoint import read_json, read_vocabulary
from mmt.model.pretrained.family import PublishedBase, padded
from mmt.model.text_model import PretrainedPositions

_POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")


class Marian(PublishedBase):
    """One vocabulary for both languages or one for each; post-norm.

    It starts decoding with pad, as published models do, or with a token of its own. Then its row becomes that of
    bos; a copy of pad's row becomes a bos that is never written.
    """

    family, model_type = "marian", "marian"
    tokenizer_files = ("vocab.json", "source.spm", "target.spm")
    optional_files = ("target_vocab.json", "tokenizer_config.json")
    expected: ClassVar[dict[str, Any]] = {
        "normalize_before": False,
        "normalize_embedding": False,
        "add_final_layer_norm": False,
        "static_position_embeddings": True,
        "tie_word_embeddings": True,
    }
    last_norms = False

    @property
    def two_vocabularies(self) -> bool:
        return self.config.get("share_encoder_decoder_embeddings", True) is not True

    @cached_property
    def positions(self) -> str:
        """By the table in the checkpoint, if there is one: a model of our own training brings its own."""
        tables = [self.weight(name) for name in _POSITIONS if name in self.weights_by_name]
        size = (self.size("d_model"), self.size("max_position_embeddings"))
        known: dict[str, Tensor] = {
            "marian": PretrainedPositions(*size, "marian").freqs[1:],
            "scratch": SinusoidalPositionEncoder(*size).freqs[1:],
        }
        for name, table in known.items():
            # a published table may have been rounded to 16 bits
            if all(t.shape == table.shape and (t - table).abs().max() < 1e-3 for t in tables):
                return name
        raise MMTError(
            f"{self.folder}: {_POSITIONS[0]}: expected the sinusoidal positions of Marian, found others. mmt "
            "reads no learned positions."
        )

    def silent(self) -> list[int]:
        return [BOS] if self._start_is_a_copy else []

    def order(self, side: str) -> list[int]:
        return self._orders[self._own(side)]

    def write_tokenizer(self, folder: Path) -> None:
        """Tags such as ``>>fra<<``, of a model with several target languages, become its ``languages``."""
        self._check()
        config: dict[str, Any] = {}
        ids = {theirs: ours for ours, theirs in reversed([*enumerate(self.order("source"))])}
        vocabulary = self._vocabulary("source")
        config["languages"] = {
            piece[2:-2]: ids[number]
            for piece, number in vocabulary.items()
            if piece.startswith(">>") and piece.endswith("<<") and len(piece) > 4
        }
        if "<mask>" in vocabulary:
            config["mask_id"] = ids[vocabulary["<mask>"]]
        if self.two_vocabularies:
            config["target_vocab_size"] = padded(len(self.order("target")))
            config["target_pieces"] = self._pieces("target")
        source, target = ((self.folder / name).read_bytes() for name in ("source.spm", "target.spm"))
        write_tokenizer(
            folder,
            TokenizerConfig(
                kind="marian",
                vocab_size=padded(len(self.order("source"))),
                pieces=self._pieces("source"),
                **config,
            ),
            source,
            None if source == target else target,
        )

    @property
    def _start_is_a_copy(self) -> bool:
        """Whether decoding starts with a token that the vocabulary needs for something else, as a rule pad."""
        return self.token("decoder_start_token_id") in (self.token("pad_token_id"), self.token("eos_token_id"))

    @cached_property
    def _orders(self) -> dict[str, list[int]]:
        sides = ("source", "target") if self.two_vocabularies else ("source",)
        return {side: self._order(side) for side in sides}

    def _own(self, side: str) -> str:
        return side if self.two_vocabularies else "source"

    def _order(self, side: str) -> list[int]:
        vocabulary = self._vocabulary(side)
        size = self.size("vocab_size" if side == "source" else "decoder_vocab_size", 1 << 22)
        pad, start, eos = (self.token(f"{name}_token_id") for name in ("pad", "decoder_start", "eos"))
        unk = vocabulary["<unk>"]
        for name, number in (("</s>", eos), ("<pad>", pad)):
            if vocabulary.get(name, number) != number:
                raise MMTError(
                    f"{self.folder}: {name} is {vocabulary[name]} in the vocabulary, {number} in config.json."
                )
        if len({pad, unk, eos}) < 3 or start == unk or max(pad, start, eos, *vocabulary.values()) >= size:
            raise MMTError(
                f"{self.folder}: expected a vocabulary of {size:,} pieces with pad, unk and eos, as config.json "
                "says, found others. Download the checkpoint again."
            )
        specials = {PAD: pad, UNK: unk, BOS: start, EOS: eos}
        others = [number for number in range(size) if number not in specials.values()]
        return [*(specials[number] for number in sorted(specials)), *others]

    def _pieces(self, side: str) -> tuple[str, ...]:
        names = {number: piece for piece, number in self._vocabulary(side).items()}
        pieces = [names.get(number, "") for number in self.order(side)]
        if self._start_is_a_copy:
            pieces[BOS] = ""
        return tuple(pieces)

    def _vocabulary(self, side: str) -> dict[str, int]:
        return self._vocabularies[self._own(side)]

    @cached_property
    def _vocabularies(self) -> dict[str, dict[str, int]]:
        """By side, the source's alone where both languages have one."""
        path = self.folder / "tokenizer_config.json"
        separate = path.is_file() and read_json(path).get("separate_vocabs") is True
        found = {"source": read_vocabulary(self.folder / "vocab.json")}
        if self.two_vocabularies:
            found["target"] = read_vocabulary(self.folder / "target_vocab.json") if separate else found["source"]
        elif separate:
            raise self.refused("share_encoder_decoder_embeddings", "False, as there are two vocabularies")
        return found
