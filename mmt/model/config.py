"""The model's settings, apart from the model, so that reading a configuration loads no torch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

LARGEST = 1 << 16
"""Of sizes that the weights do not show: a model folder that says more is not loaded."""

BASES = ("nllb", "m2m100", "marian", "bert", "roberta")
"""Families of pretrained text models, see ``mmt.model.pretrained``."""


def is_base(name: object) -> bool:
    """Whether a model is named as FAMILY:NAME_OR_FOLDER, and not as a model folder."""
    family, colon, _ = str(name).partition(":")
    return bool(colon) and family in BASES


Count = Annotated[int, Interval(ge=1, le=10**9)]
CountOrNone = Annotated[int, Interval(ge=0, le=10**9)]
Size = Annotated[int, Interval(ge=1, le=LARGEST)]
Layers = Annotated[int, Interval(ge=0, le=1000)]
Share = Annotated[float, Interval(ge=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
"""The ranges of settings, which ``mmt.training.config_file.validated`` checks."""

LoraTarget = Literal["q", "k", "v", "output", "ffn_inner", "ffn_outer"]
LoraPlace = Literal["encoder", "decoder", "cross"]


@dataclass(kw_only=True)
class ModelSizes:
    """What a recipe sets; the defaults are the tiny configuration of Wu et al. (2021)."""

    fusion: Annotated[str, MinLen(1)] = "none"
    """Where the image enters: ``none`` (text only), ``early``, ``prefix``, ``concat``, ``gated``, ``selective``,
    ``late`` or ``hybrid``; see ``mmt.model.fusion``."""

    text: Annotated[str, MinLen(1)] = "scratch"
    """The text model: ``scratch``, or FAMILY:NAME_OR_FOLDER of a pretrained one (``nllb``, ``m2m100`` or
    ``marian``; or an encoder, ``bert`` or ``roberta``), from which all sizes follow; see
    ``mmt.model.pretrained``."""

    adapter_dim: Annotated[int, Interval(ge=0, le=LARGEST)] = 0
    """Width of the bottleneck adapters after self-attention and feed-forward network of each layer; 0: none. They
    are inactive in a sentence without an image, as LoRA is; see ``mmt.model.adapters``."""

    lora_rank: Annotated[int, Interval(ge=0, le=LARGEST)] = 0
    """Rank of LoRA's updates; 0: none."""

    lora_alpha: Annotated[float, Interval(gt=0, le=LARGEST)] = 16.0
    """LoRA's updates are multiplied by ``lora_alpha / lora_rank``."""

    lora_targets: Annotated[tuple[LoraTarget, ...], MinLen(1)] = ("q", "v")
    """The projections that LoRA updates: of attention ``q``, ``k``, ``v`` and ``output``, of feed-forward networks
    ``ffn_inner`` and ``ffn_outer``."""

    lora_places: Annotated[tuple[LoraPlace, ...], MinLen(1)] = ("encoder", "decoder", "cross")
    """Where: in the layers of the ``encoder``, of the ``decoder``, and in its ``cross`` attention."""

    lora_dropout_p: ShareBelowOne = 0.0
    """Dropout of the input of LoRA's updates."""

    model_dim: Size = 128
    """A multiple of twice ``num_heads``."""

    num_encoder_layers: Annotated[int, Interval(ge=1, le=1000)] = 4
    """Layers of the text encoder."""

    num_decoder_layers: Layers = 4
    """Layers of the decoder; 0 for a model that only reads."""

    num_heads: Size = 4
    """Heads of each attention."""

    ffn_dim: Size = 256
    """Width of the feed-forward networks."""

    norm_order: Literal["post", "pre"] = "post"
    """Layer normalisation after each sub-layer (the papers') or before it."""

    dropout_p: ShareBelowOne = 0.3
    """Probability with which each number of a layer's output is dropped in training."""

    layer_drop_p: ShareBelowOne = 0.0
    """Probability with which an update does without a layer (stochastic depth; LayerDrop, Fan et al. 2020). The
    layer is computed all the same, so that no time is saved."""

    word_dropout_p: ShareBelowOne = 0.0
    """Probability with which each piece of a source sentence is read as padding in training (word dropout,
    Sennrich et al. 2016). Tags of languages and datasets stay."""

    text_encoder: Literal["transformer", "lstm"] = "transformer"
    """What reads the sentence; the decoder is a Transformer in both cases."""

    reads_text: bool = True
    """False hides the source, to see what the image or the recording says alone."""

    image_encoder: Literal["linear", "mlp", "frames"] = "linear"
    """How the image's features come to the model's width: each by itself, by one linear layer
    or by two (``mlp``); or, of a recording, with ``mmt.model.image_encoder.FrameEncoder``."""

    normalise_features: bool = False
    """Whether each region's features have mean 0 and variance 1 before ``image_encoder``, as layer normalisation
    without weights makes them: sets of features whose numbers differ in size then count alike."""

    merge_sets: bool = False
    """Whether several sets with the same number of regions are one: region r is the sum of what ``image_encoder``
    makes of region r of each set. With grids of the same image, a fusion that attends finds a place by one set,
    and reads there what the other set says. False: their regions stand side by side."""

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


DROPOUT_SETTINGS = ("dropout_p", "layer_drop_p", "word_dropout_p")
"""Which matter in training alone: a run may differ in them from the model that it starts from."""

FUSIONS_WITHOUT_DROPOUT = ("none", "concat", "gated", "selective", "late")
"""Whose own weights have none, only the text model around them."""

IMAGE_SETTINGS = (
    "image_encoder", "normalise_features", "merge_sets", "num_frame_layers", "num_frame_masks", "frame_warp",
)  # fmt: skip
"""Of the image encoder, which a text-only model does not have."""

ADAPTER_SETTINGS = ("adapter_dim", "lora_rank", "lora_alpha", "lora_targets", "lora_places", "lora_dropout_p")
"""In which a run may differ from the model that it starts from."""


def lora_parts(sizes: ModelSizes) -> list[tuple[LoraPlace, LoraTarget]]:
    """What LoRA updates: a place, and a projection there. Cross-attention has no feed-forward network."""
    pairs = itertools.product(sizes.lora_places, sizes.lora_targets)
    return [(place, target) for place, target in pairs if place != "cross" or not target.startswith("ffn_")]


@dataclass(kw_only=True)
class MMTConfig(ModelSizes):
    """What the model is built from: the recipe's settings, and what follows from the data."""

    vocab_size: int = 0
    """Pieces of the tokenizer, and padding; fairseq2 wants a default of everything."""

    target_vocab_size: int = 0
    """Pieces of the target language's vocabulary; 0: both languages have one vocabulary, and one embedding."""

    activation: Literal["relu", "gelu", "silu"] = "relu"
    """Of the feed-forward networks."""

    positions: Literal["scratch", "m2m100", "marian", "learned"] = "scratch"
    """The table of sinusoidal positions, or BERT's ``learned`` ones; see ``PretrainedPositions`` and
    ``LearnedPositions`` in ``mmt.model.text_model``."""

    norm_eps: Annotated[float, Interval(gt=0, le=1)] = 1e-5
    """Added to the variance in layer normalisation."""

    pooling: Literal["mean", "first"] = "mean"
    """The vector of a sentence among images: the mean of its encoder states, or the first of them (``[CLS]``)."""

    scaled_embedding: bool = True
    """Whether embeddings are multiplied by the square root of ``model_dim``."""

    output_bias: bool = False
    """Whether the output projection has a bias: -inf at ids that are no words."""

    heads: tuple[str, ...] = ()
    """What is learned and has weights of its own: ``contrastive``, ``imagination``, ``classification``,
    ``regression``."""

    num_labels: int = 0
    """Classes of the head ``classification``."""

    writes: bool = True
    """Whether it has learned to translate, or to answer in words."""

    image_sets: tuple[tuple[int, int], ...] = ()
    """Regions and width of each set of image features; none for a model that was trained without."""
