"""The text model of one of our own model folders as a base: ``mmt:FOLDER``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmt.data.tokenizer import TOKENIZER, TOKENIZER_FILES, copy_tokenizer
from mmt.errors import MMTError
from mmt.io.text_files import file_checksum
from mmt.model.build import build_model
from mmt.model.card import WEIGHTS, ModelCard, check_files, read_card
from mmt.model.config import MMTConfig
from mmt.model.pretrained.family import Base
from mmt.model.weights import read_weights

_SETTINGS = (
    "model_dim",
    "num_encoder_layers",
    "num_decoder_layers",
    "num_heads",
    "ffn_dim",
    "norm_order",
    "text_encoder",
    "max_length",
    "vocab_size",
    "target_vocab_size",
    "activation",
    "positions",
    "scaled_embedding",
    "output_bias",
    "norm_eps",
    "pooling",
)
_LATER = {"norm_eps": 1e-5, "pooling": "mean"}
"""Settings of later versions, with what earlier ones did."""


class MMTFolder(Base):
    """A model folder's text model, without what its fusion adds."""

    @cached_property
    def _card(self) -> ModelCard:
        card = read_card(self.folder)
        if card.text:
            raise MMTError(
                f"{self.folder}: has only what was trained on the base {card.text['name']}. Name that base, and "
                "this folder with start.model."
            )
        if MMTConfig(**card.config).num_decoder_layers:  # an encoder writes nothing, and is never asked to
            card.refuse_writing()
        return card

    def settings(self) -> dict[str, Any]:
        config = asdict(MMTConfig(**self._card.config))
        return {name: config[name] for name in _SETTINGS}

    def weights(self) -> dict[str, Tensor]:
        card = self._card
        check_files(self.folder, card, (WEIGHTS,))
        with torch.device("meta"):
            model = build_model(MMTConfig(**card.config))
        own = {name.removeprefix("text.") for name, _ in model.named_parameters() if model.is_of_text(name)}
        try:
            weights = read_weights(self.folder / WEIGHTS)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise MMTError(
                f"{self.folder / WEIGHTS}: cannot be loaded ({reason}). Copy the model folder again."
            ) from None
        return {name: weight for full, weight in weights.items() if (name := full.removeprefix("text.")) in own}

    def write_tokenizer(self, folder: Path) -> None:
        check_files(self.folder, self._card, TOKENIZER_FILES)
        copy_tokenizer(self.folder / TOKENIZER, folder)

    @cached_property
    def sha256(self) -> str:
        """Of settings, weights and tokenizer.

        Cards and checkpoints have it, so that what is at the value it had before it was a setting is left out.
        """
        files = [name for name in (WEIGHTS, *TOKENIZER_FILES) if (self.folder / name).is_file()]
        settings = {name: one for name, one in self.settings().items() if _LATER.get(name) != one}
        parts = [settings, {name: file_checksum(self.folder / name) for name in files}]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
