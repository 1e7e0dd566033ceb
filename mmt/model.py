"""The model: text encoder, image projection, fusion, text decoder, on fairseq2's Transformer.

Legend: N sentences, S source tokens, T target tokens, R image regions, D model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from fairseq2.models.seq2seq import Seq2SeqModel
from fairseq2.models.transformer import (
    CausalAttentionBias,
    IdentityBias,
    StandardFeedForwardNetwork,
    StandardMultiheadAttention,
    StandardTransformerDecoder,
    StandardTransformerDecoderLayer,
    StandardTransformerEncoder,
    StandardTransformerEncoderLayer,
    TransformerEmbeddingFrontend,
    TransformerNormOrder,
    create_default_sdpa,
)
from fairseq2.nn import (
    BatchLayout,
    IncrementalStateBag,
    Linear,
    SinusoidalPositionEncoder,
    StandardEmbedding,
    StandardLayerNorm,
    TiedProjection,
    init_scaled_embedding,
)
from torch import Tensor

from mmt.fusion import FUSIONS, Look
from mmt.losses import label_smoothed_nll
from mmt.sizes import MMTConfig
from mmt.text import PAD


class MMTModel(Seq2SeqModel):
    """Encoder-decoder with one shared embedding for source, target and output, and a fusion between the two."""

    def __init__(self, config: MMTConfig) -> None:
        super().__init__(config.max_length, config.max_length)
        self.config = config
        self.pad_idx = PAD
        embed = StandardEmbedding(config.vocab_size, config.model_dim, PAD, init_fn=init_scaled_embedding)
        positions = SinusoidalPositionEncoder(config.model_dim, config.max_length)
        self.frontend = TransformerEmbeddingFrontend(
            config.model_dim, embed, positions, dropout_p=config.dropout_p
        )
        self.encoder = StandardTransformerEncoder(
            [_encoder_layer(config) for _ in range(config.num_encoder_layers)], _last_norm(config)
        )
        fusion = FUSIONS[config.fusion]
        if fusion is not None:
            self.image_proj = Linear(config.image_dim, config.model_dim, bias=True)
            self.fusion = fusion(config.model_dim)
        self.decoder = StandardTransformerDecoder(
            [_decoder_layer(config) for _ in range(config.num_decoder_layers)], _last_norm(config)
        )
        self.final_proj = TiedProjection(embed.weight, bias=None)

    @property
    def uses_images(self) -> bool:
        """False for a text-only model, which has nowhere to put an image."""
        return self.config.fusion != "none"

    def encode(
        self,
        source: Tensor,
        source_layout: BatchLayout,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            source: (N, S) ids, ending in eos.
            source_layout: the sentences' lengths.
            image: (N, R, image_dim) features, or None if no sentence has an image.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        Returns:
            (N, S, D): what the decoder attends to.
        """
        states = self._encode_text(source, source_layout)
        if image is not None and self.uses_images:
            states = self.fusion(states, self.image_proj(image), image_pad)
        return states

    def look(
        self, source: Tensor, source_layout: BatchLayout, image: Tensor, image_pad: Tensor | None = None
    ) -> Look:
        """What the fusion of a model that ``uses_images`` does; its states are ``encode``'s, which see."""
        look: Look = self.fusion.look(self._encode_text(source, source_layout), self.image_proj(image), image_pad)
        return look

    def _encode_text(self, source: Tensor, source_layout: BatchLayout) -> Tensor:
        states, _ = self.frontend(source, source_layout)
        return self.encoder(states, source_layout)

    def decode(
        self,
        target: Tensor,
        target_layout: BatchLayout,
        encoded: Tensor,
        source_layout: BatchLayout,
        state_bag: IncrementalStateBag | None = None,
    ) -> Tensor:
        """(N, T) target ids, each row beginning with bos, to (N, T, D) states; with ``state_bag`` step by step."""
        states, layout = self.frontend(target, target_layout, state_bag=state_bag)
        return self.decoder(states, layout, encoded, source_layout, state_bag=state_bag)

    def forward(  # type: ignore[override]  # fairseq2's overloads, with the image added
        self,
        source_seqs: Tensor,
        source_seqs_layout: BatchLayout,
        target_seqs: Tensor,
        target_seqs_layout: BatchLayout,
        targets: Tensor | None = None,
        *,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> Any:
        """
        Args:
            source_seqs: (N, S) source ids, ending in eos.
            source_seqs_layout: the source sentences' lengths.
            target_seqs: (N, T) target ids, each row beginning with bos.
            target_seqs_layout: the target sentences' lengths.
            targets: (N, T) ids to predict, ending in eos, pad elsewhere.
            image: (N, R, image_dim) features, or None if no sentence has an image.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
            label_smoothing: mass spread evenly over the vocabulary.
        Returns:
            (N, T, V) logits; with ``targets``, the pair (label-smoothed loss, plain negative log-likelihood),
            each summed over the real tokens.
        """
        encoded = self.encode(source_seqs, source_seqs_layout, image, image_pad)
        states = self.decode(target_seqs, target_seqs_layout, encoded, source_seqs_layout)
        if targets is None:
            return self.final_proj(states)
        real = targets != self.pad_idx  # (N, T)
        return label_smoothed_nll(states[real], self.final_proj.weight, targets[real], label_smoothing)


def _attention(config: MMTConfig, *, causal: bool = False) -> StandardMultiheadAttention:
    bias = CausalAttentionBias() if causal else IdentityBias()
    return StandardMultiheadAttention(config.model_dim, config.num_heads, create_default_sdpa(bias))


def _norm(config: MMTConfig) -> StandardLayerNorm:
    return StandardLayerNorm(config.model_dim, bias=True)


def _last_norm(config: MMTConfig) -> StandardLayerNorm | None:
    return _norm(config) if config.norm_order == "pre" else None


def _ffn(config: MMTConfig) -> StandardFeedForwardNetwork:
    return StandardFeedForwardNetwork(config.model_dim, config.ffn_dim, bias=True)


def _encoder_layer(config: MMTConfig) -> StandardTransformerEncoderLayer:
    return StandardTransformerEncoderLayer(
        _attention(config),
        _norm(config),
        _ffn(config),
        _norm(config),
        norm_order=TransformerNormOrder[config.norm_order.upper()],
        dropout_p=config.dropout_p,
    )


def _decoder_layer(config: MMTConfig) -> StandardTransformerDecoderLayer:
    return StandardTransformerDecoderLayer(
        _attention(config, causal=True),
        _norm(config),
        _attention(config),
        _norm(config),
        _ffn(config),
        _norm(config),
        norm_order=TransformerNormOrder[config.norm_order.upper()],
        dropout_p=config.dropout_p,
    )
