"""The model's settings, apart from the model, so that reading a configuration loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(kw_only=True)
class ModelSizes:
    """What a recipe sets; the defaults are the tiny configuration of Wu et al. (2021)."""

    fusion: str = "none"
    """Where the image enters: ``none`` (text only), ``early``, ``concat``, ``gated``, ``selective``, ``late`` or
    ``hybrid``; see ``mmt.fusion``."""

    model_dim: int = 128
    num_encoder_layers: int = 4
    num_decoder_layers: int = 4
    num_heads: int = 4
    ffn_dim: int = 256

    norm_order: Literal["post", "pre"] = "post"
    """Layer normalisation after each sub-layer (the papers') or before it."""

    dropout_p: float = 0.3

    max_length: int = 512
    """Pieces in the longest sentence that the position encoder knows."""


@dataclass(kw_only=True)
class MMTConfig(ModelSizes):
    """What the model is built from: the recipe's settings, and what follows from the data."""

    vocab_size: int = 0
    """Pieces of the tokenizer; fairseq2 wants a default of everything."""

    heads: tuple[str, ...] = ()
    """What is learnt beside translation and has weights of its own: ``contrastive``, ``imagination``."""

    image_sets: tuple[tuple[int, int], ...] = ()
    """Regions and width of each set of image features; none for a model that was trained without."""
