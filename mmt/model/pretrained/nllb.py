"""NLLB: No Language Left Behind, NLLB Team (2022), https://arxiv.org/abs/2207.04672; the dense models."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from mmt.data.pretrained_tokenizer import TokenizerConfig, write_tokenizer
from mmt.data.sentencepiece_model import open_sentencepiece
from mmt.data.tokenizer import UNK
from mmt.errors import MMTError
from mmt.model.pretrained.checkpoint import read_json
from mmt.model.pretrained.family import padded
from mmt.model.pretrained.m2m100 import M2M100, SENTENCEPIECE, TOKENIZER_SETTINGS

_CODE = re.compile(r"[a-z]{2,3}_[A-Z][a-z]{3}")
_UNK = 3  # of fairseq's dictionaries
_MASK = "<mask>"


class Nllb(M2M100):
    """M2M-100 with codes such as ``deu_Latn`` for languages, and a mask."""

    family = "nllb"
    tokenizer_files = (SENTENCEPIECE,)
    optional_files = (TOKENIZER_SETTINGS, "tokenizer.json", "added_tokens.json")

    def write_tokenizer(self, folder: Path) -> None:
        self._check()
        config = TokenizerConfig(
            kind="nllb",
            vocab_size=padded(len(self.order("source"))),
            languages=self.languages,
            mask_id=self._added.get(_MASK, UNK),
        )
        write_tokenizer(folder, config, (self.folder / SENTENCEPIECE).read_bytes())

    @cached_property
    def languages(self) -> dict[str, int]:
        return {piece: number for piece, number in self._added.items() if _CODE.fullmatch(piece)}

    @property
    def unk(self) -> int:
        return _UNK

    def _check(self) -> None:
        if self.config.get("model_type") == "nllb-moe":
            raise self.refused(
                "model_type", f"'{self.model_type}', a dense model (a mixture of experts is not read)"
            )
        if (self.folder / "vocab.json").is_file():
            raise MMTError(f"{self.folder}: expected NLLB, found M2M-100 (vocab.json). Say m2m100:{self.folder}.")
        super()._check()

    @cached_property
    def _added(self) -> dict[str, int]:
        """The ids of the pieces that the SentencePiece model does not have: languages and the mask.

        They are in one of several files, by the version of transformers; at first they were in none.
        """
        model = open_sentencepiece(self.folder / SENTENCEPIECE, with_table=True)
        if (model.unk_id(), model.bos_id(), model.eos_id()) != (0, 1, 2):
            raise MMTError(
                f"{self.folder / SENTENCEPIECE}: expected unk, bos, eos as 0, 1, 2. Name NLLB's own model."
            )
        first = model.vocab_size() + 1  # fairseq has one more special token
        size = self.size("vocab_size", 1 << 22)
        added = {
            piece: number for piece, number in self._listed().items() if piece == _MASK or _CODE.fullmatch(piece)
        }
        if not added:
            # takes a second
            from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

            added = {piece: first + n for n, piece in enumerate([*FAIRSEQ_LANGUAGE_CODES, _MASK])}
        ids = added.values()
        if not all(first <= number < size for number in ids) or len(set(ids)) != len(ids):
            raise MMTError(
                f"{self.folder}: expected languages from id {first:,}, after the pieces of {SENTENCEPIECE}, to "
                f"{size - 1:,}, found {min(ids):,} to {max(ids):,}. Download the checkpoint again."
            )
        return added

    def _listed(self) -> dict[str, int]:
        """Pieces and ids of the first file that lists any."""
        found: dict[str, Any] = {}
        for name in self.optional_files:
            raw = read_json(self.folder / name) if (self.folder / name).is_file() else {}
            try:
                if name == TOKENIZER_SETTINGS:
                    entries = raw.get("added_tokens_decoder", {}).items()
                    found = {entry["content"]: int(number) for number, entry in entries}
                elif name == "tokenizer.json":
                    found = {entry["content"]: entry["id"] for entry in raw.get("added_tokens", ())}
                else:
                    found = dict(raw)
                if not all(type(number) is int for number in found.values()):
                    raise ValueError("an id is no number")
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise MMTError(
                    f"{self.folder / name}: damaged ({error}). Download the checkpoint again."
                ) from None
            if any(_CODE.fullmatch(piece) for piece in found):
                return found
        return {}
