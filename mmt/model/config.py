"""The model's settings, apart from the model, so that reading a configuration loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

LARGEST = 1 << 16
"""Of sizes that the weights do not show: a model folder that says more is not loaded."""

Count = Annotated[int, Interval(ge=1, le=10**9)]
CountOrNone = Annotated[int, Interval(ge=0, le=10**9)]
Size = Annotated[int, Interval(ge=1, le=LARGEST)]
Layers = Annotated[int, Interval(ge=0, le=1000)]
Share = Annotated[float, Interval(ge=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
"""The ranges of settings, which ``mmt.training.config_file.validated`` checks."""


@dataclass(kw_only=True)
class ModelSizes:
    """What a recipe sets; the defaults are the tiny configuration of Wu et al. (2021)."""

    fusion: Annotated[str, MinLen(1)] = "none"
    """Where the image enters: ``none`` (text only), ``early``, ``concat``, ``gated``, ``selective``, ``late`` or
    ``hybrid``; see ``mmt.model.fusion``."""

    text: Annotated[str, MinLen(1)] = "scratch"
    """The text model: ``scratch``, or FAMILY:NAME_OR_FOLDER of a pretrained one (``nllb``, ``m2m100`` or
    ``marian``), from which all sizes follow; see ``mmt.model.pretrained``."""

    model_dim: Size = 128
    """A multiple of twice ``num_heads``."""

    num_encoder_layers: Annotated[int, Interval(ge=1, le=1000)] = 4
    num_decoder_layers: Layers = 4
    num_heads: Size = 4
    ffn_dim: Size = 256

    norm_order: Literal["post", "pre"] = "post"
    """Layer normalisation after each sub-layer (the papers') or before it."""

    dropout_p: ShareBelowOne = 0.3

    text_encoder: Literal["transformer", "lstm"] = "transformer"

    reads_text: bool = True
    """False hides the source, to see what the image or the recording says alone."""

    image_encoder: Literal["linear", "frames"] = "linear"
    """How the image's features come to the model's width: each by itself, or, of a recording, with
    ``mmt.model.image_encoder.FrameEncoder``."""

    num_frame_layers: Layers = 2
    """Transformer layers of ``image_encoder: frames``; 0 leaves its convolutions alone."""

    num_frame_masks: Layers = 2
    """Bands and stretches of each recording that ``image_encoder: frames`` does not see in training."""

    frame_warp: ShareBelowOne = 0.0
    """How far the bins of each recording are stretched or squeezed in training, as a share, as if by a longer or a
    shorter vocal tract."""

    readout: Literal["decoder", "mean", "last"] = "decoder"
    """What a label or a score is read from: the decoder's first state, which has looked at text and image; or the
    mean or the last of the encoder's states, and ``num_decoder_layers: 0``."""

    max_length: Size = 512
    """Pieces in the longest sentence that the position encoder knows."""


@dataclass(kw_only=True)
class MMTConfig(ModelSizes):
    """What the model is built from: the recipe's settings, and what follows from the data."""

    vocab_size: int = 0
    """Pieces of the tokenizer, and padding; fairseq2 wants a default of everything."""

    target_vocab_size: int = 0
    """Pieces of the target language's vocabulary; 0: both languages have one vocabulary, and one embedding."""

    activation: Literal["relu", "gelu", "silu"] = "relu"
    """Of the feed-forward networks."""

    positions: Literal["scratch", "m2m100", "marian"] = "scratch"
    """The table of sinusoidal positions, see ``mmt.model.text_model.PretrainedPositions``."""

    scaled_embedding: bool = True
    """Whether embeddings are multiplied by the square root of ``model_dim``."""

    output_bias: bool = False
    """Whether the output projection has a bias: -inf at ids that are no words."""

    heads: tuple[str, ...] = ()
    """What is learnt and has weights of its own: ``contrastive``, ``imagination``, ``classification``,
    ``regression``."""

    num_labels: int = 0
    """Classes of the head ``classification``."""

    writes: bool = True
    """Whether it has learnt to translate, or to answer in words."""

    image_sets: tuple[tuple[int, int], ...] = ()
    """Regions and width of each set of image features; none for a model that was trained without."""
