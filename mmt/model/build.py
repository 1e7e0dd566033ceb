"""Builds a model from its configuration: the only code that knows the sizes of the model's parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from fairseq2.gang import Gangs, create_fake_gangs
from fairseq2.models.transformer import (
    StandardFeedForwardNetwork,
    StandardMultiheadAttention,
    StandardTransformerDecoder,
    StandardTransformerDecoderLayer,
    StandardTransformerEncoder,
    StandardTransformerEncoderLayer,
    TransformerEmbeddingFrontend,
    TransformerNormOrder,
)
from fairseq2.nn import (
    Linear,
    PositionEncoder,
    SinusoidalPositionEncoder,
    StandardEmbedding,
    StandardLayerNorm,
    TiedProjection,
    init_scaled_embedding,
)
from torch import nn

from mmt.data.tokenizer import PAD
from mmt.errors import MMTError
from mmt.model.adapters import AdaptedDecoderLayer, AdaptedEncoderLayer, add_adapters, has_adapters
from mmt.model.attention import Attention, with_fast_dropout
from mmt.model.config import MMTConfig
from mmt.model.fusion import find_fusion
from mmt.model.heads import HEADS
from mmt.model.image_encoder import FrameEncoder, ImageEncoder, two_layers
from mmt.model.model import MMTModel
from mmt.model.text_model import LearnedPositions, LSTMEncoder, PretrainedPositions, TextModel, TextSizes


def build_empty_model(config: MMTConfig) -> MMTModel:
    """A model whose weights are to be loaded, on the CPU: drawing random ones would take long."""
    with torch.device("meta"):
        model = build_model(config)
    model.to_empty(device="cpu")
    model.text.tie()
    for module in model.modules():
        if isinstance(module, SinusoidalPositionEncoder):
            module.reset_non_persistent_buffers()
    return model


def build_model(config: MMTConfig, gangs: Gangs | None = None) -> MMTModel:
    """A model of random weights, on the device of the context.

    The parts are made in a fixed order, so that the same seed gives the same weights in every version.

    Args:
        gangs: fairseq2's, of the processes that train the model; None is one process alone.
    Raises:
        MMTError: there is no such fusion, or sets of features that cannot be merged.
    """
    make = _Parts(config, gangs)
    kind = find_fusion(config.fusion)
    frontend = make.frontend(config.vocab_size)
    target_frontend = make.frontend(config.target_vocab_size) if config.target_vocab_size else None
    encoder = make.text_encoder()
    image = None
    if kind is not None or "contrastive" in config.heads:
        projections = [make.projection(dim) for _, dim in config.image_sets]
        image = ImageEncoder(
            projections,
            config.image_sets,
            pooled=kind is None or kind.pooled,
            merged=_merged(config),
            normalised=config.normalise_features,
        )
    fusion = None if kind is None else kind(config)
    decoder = make.decoder(StandardMultiheadAttention if kind is None else kind.cross_attention)
    sizes = TextSizes(
        model_dim=config.model_dim,
        num_heads=config.num_heads,
        vocab_size=config.target_vocab_size or config.vocab_size,
        max_length=config.max_length,
    )
    weight: Any = (target_frontend or frontend).embed.weight
    bias = nn.Parameter(torch.zeros(len(weight))) if config.output_bias else None
    text = TextModel(
        sizes,
        frontend,
        encoder,
        decoder,
        TiedProjection(weight, bias),
        target_frontend,
        word_dropout_p=config.word_dropout_p,
    )
    heads = {name: head(sizes.model_dim, config) for name, head in HEADS.items() if name in config.heads}
    if has_adapters(config):
        add_adapters(text, config)  # last, so that they change no other random number
    model = MMTModel(config, text, image, fusion, heads)
    with_fast_dropout(model)
    return model


def _merged(config: MMTConfig) -> bool:
    """Whether the sets of features become one. Raises MMTError if their regions are not the same."""
    if config.merge_sets:
        check_mergeable([num for num, _ in config.image_sets])
    return config.merge_sets


def check_mergeable(nums: Sequence[int]) -> None:
    """Raises MMTError if sets of so many regions each are not of the same regions."""
    if len(set(nums)) > 1:
        raise MMTError(
            "model.merge_sets: expected sets of image features with the same number of regions, found "
            f"{' and '.join(map(str, nums))}. Make them with the same --layer and with values of --image-size "
            "that give the same grid, or leave model.merge_sets out."
        )


_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class _Place(TypedDict):
    gangs: Gangs
    device: torch.device


def _place(gangs: Gangs | None) -> _Place:
    """Where a model's layers are made: what fairseq2 would find out by itself where they are not told.

    For that it would load all that it has, every family of models included: longer than a translation takes.
    """
    device = torch.get_default_device()
    if gangs is None:
        gangs = create_fake_gangs(torch.device("cpu") if device.type == "meta" else device)
    return {"gangs": gangs, "device": device}


class _Parts:
    """Makes the parts of a model, all with the sizes of one configuration."""

    def __init__(self, config: MMTConfig, gangs: Gangs | None) -> None:
        self._config, self._place = config, _place(gangs)
        self._norm_order = TransformerNormOrder[config.norm_order.upper()]

    def frontend(self, vocab_size: int) -> TransformerEmbeddingFrontend:
        config = self._config
        embed = StandardEmbedding(vocab_size, config.model_dim, PAD, init_fn=init_scaled_embedding)
        positions: PositionEncoder
        if config.positions == "learned":
            positions = LearnedPositions(config.model_dim, config.max_length, config.norm_eps)
        elif config.positions == "scratch":
            positions = SinusoidalPositionEncoder(config.model_dim, config.max_length)
        else:
            positions = PretrainedPositions(config.model_dim, config.max_length, config.positions)
        return TransformerEmbeddingFrontend(
            config.model_dim,
            embed,
            positions,
            no_scale=not config.scaled_embedding,
            dropout_p=config.dropout_p,
        )

    def text_encoder(self) -> StandardTransformerEncoder | LSTMEncoder:
        config = self._config
        if config.text_encoder == "lstm":
            return LSTMEncoder(config.model_dim, config.num_encoder_layers, config.dropout_p)
        kind = AdaptedEncoderLayer if has_adapters(config) else StandardTransformerEncoderLayer
        return self._encoder(config.num_encoder_layers, kind, config.layer_drop_p)

    def decoder(self, cross_attention: type[StandardMultiheadAttention]) -> StandardTransformerDecoder | None:
        if not self._config.num_decoder_layers:
            return None
        layers = [self._decoder_layer(cross_attention) for _ in range(self._config.num_decoder_layers)]
        return StandardTransformerDecoder(layers, self._last_norm(), layer_drop_p=self._config.layer_drop_p)

    def projection(self, dim: int) -> nn.Module:
        """Of a set of image features, ``dim`` wide."""
        config = self._config
        if config.image_encoder == "linear":
            return Linear(dim, config.model_dim, bias=True)
        if config.image_encoder == "mlp":
            return two_layers(dim, config.model_dim, config.dropout_p)
        return FrameEncoder(
            dim,
            config.model_dim,
            self._encoder(config.num_frame_layers),
            dropout_p=config.dropout_p,
            num_masks=config.num_frame_masks,
            warp=config.frame_warp,
        )

    def _encoder(
        self,
        num_layers: int,
        kind: type[StandardTransformerEncoderLayer] = StandardTransformerEncoderLayer,
        layer_drop_p: float = 0.0,
    ) -> StandardTransformerEncoder:
        layers = [self._encoder_layer(kind) for _ in range(num_layers)]
        return StandardTransformerEncoder(layers, self._last_norm(), layer_drop_p=layer_drop_p)

    def _encoder_layer(self, kind: type[StandardTransformerEncoderLayer]) -> StandardTransformerEncoderLayer:
        return kind(
            self._attention(),
            self._norm(),
            self._ffn(),
            self._norm(),
            norm_order=self._norm_order,
            dropout_p=self._config.dropout_p,
        )

    def _decoder_layer(self, cross_attention: type[StandardMultiheadAttention]) -> StandardTransformerDecoderLayer:
        kind = AdaptedDecoderLayer if has_adapters(self._config) else StandardTransformerDecoderLayer
        return kind(
            self._attention(causal=True),
            self._norm(),
            self._attention(cross_attention),
            self._norm(),
            self._ffn(),
            self._norm(),
            norm_order=self._norm_order,
            dropout_p=self._config.dropout_p,
        )

    def _attention(
        self, kind: type[StandardMultiheadAttention] = StandardMultiheadAttention, *, causal: bool = False
    ) -> StandardMultiheadAttention:
        return kind(self._config.model_dim, self._config.num_heads, Attention(causal=causal), **self._place)

    def _norm(self) -> StandardLayerNorm:
        return StandardLayerNorm(self._config.model_dim, bias=True, eps=self._config.norm_eps)

    def _last_norm(self) -> StandardLayerNorm | None:
        return self._norm() if self._norm_order == TransformerNormOrder.PRE else None

    def _ffn(self) -> StandardFeedForwardNetwork:
        return StandardFeedForwardNetwork(
            self._config.model_dim,
            self._config.ffn_dim,
            bias=True,
            inner_activation=_ACTIVATIONS[self._config.activation](),
            **self._place,
        )
