"""The model: text encoder, image projection, fusion, text decoder, on fairseq2's Transformer.

Legend: N sentences, S source tokens, T target tokens, R image regions, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypedDict

import torch
from fairseq2.gang import Gangs, create_fake_gangs
from fairseq2.models.seq2seq import Seq2SeqModel
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
    BatchLayout,
    IncrementalStateBag,
    Linear,
    SinusoidalPositionEncoder,
    StandardEmbedding,
    StandardLayerNorm,
    TiedProjection,
    init_scaled_embedding,
)
from torch import Tensor, nn

from mmt.data.batch import Batch
from mmt.data.tokenizer import BOS, EOS, PAD
from mmt.model.attention import Attention, Lens, beyond, layout_of, with_fast_dropout
from mmt.model.config import MMTConfig
from mmt.model.encoders import FrameEncoder, LSTMEncoder
from mmt.model.fusion import Fusion, Look, Memory, find_fusion, mean_region, real_first
from mmt.model.losses import label_smoothed_nll
from mmt.training.objectives import ContrastiveHead, ImaginationHead, LabelHead


class MMTModel(Seq2SeqModel):
    """Encoder-decoder with one shared embedding for source, target and output, and a fusion between the two.

    With no decoder layers it is an encoder: for vectors of sentences and images, or labels read from its states.
    """

    def __init__(self, config: MMTConfig, gangs: Gangs | None = None) -> None:
        """``gangs``: fairseq2's, of the processes that train the model; None is one process alone."""
        super().__init__(config.max_length, config.max_length)
        self.config = config
        place = _place(gangs)
        embed = StandardEmbedding(config.vocab_size, config.model_dim, PAD, init_fn=init_scaled_embedding)
        positions = SinusoidalPositionEncoder(config.model_dim, config.max_length)
        self.frontend = TransformerEmbeddingFrontend(
            config.model_dim, embed, positions, dropout_p=config.dropout_p
        )
        self.encoder = (
            _encoder(config, place, config.num_encoder_layers)
            if config.text_encoder == "transformer"
            else LSTMEncoder(config)
        )
        kind = find_fusion(config.fusion)
        if kind is not None or "contrastive" in config.heads:
            self.image_proj = nn.ModuleList(_image_encoder(config, place, dim) for _, dim in config.image_sets)
        if kind is not None:
            self.fusion = kind(config)
        attention = kind.cross_attention if kind is not None else StandardMultiheadAttention
        self._late = attention is not StandardMultiheadAttention
        if config.num_decoder_layers:
            layers = [_decoder_layer(config, place, attention) for _ in range(config.num_decoder_layers)]
            self.decoder = StandardTransformerDecoder(layers, _last_norm(config))
        self.final_proj = TiedProjection(embed.weight, bias=None)
        self.heads = nn.ModuleDict()
        if "contrastive" in config.heads:
            self.heads["contrastive"] = ContrastiveHead(config.model_dim)
        if "imagination" in config.heads:
            widths = sum(dim for _, dim in config.image_sets)
            self.heads["imagination"] = ImaginationHead(config.model_dim, widths)
        for name, width in (("classification", config.num_labels), ("regression", 1)):
            if name in config.heads:
                self.heads[name] = LabelHead(config.model_dim, width, config.dropout_p)
        with_fast_dropout(self)

    @staticmethod
    def is_of_text(name: str) -> bool:
        """Whether the weight of this name is one that a text-only model has, too."""
        image_parts = ("image_proj.", "fusion.", "heads.")
        return not name.startswith(image_parts) and ".image_attn." not in name and ".gate_" not in name

    @property
    def uses_images(self) -> bool:
        """False for a text-only model, which has nowhere to put an image."""
        return self.config.fusion != "none"

    @property
    def fuses_between(self) -> bool:
        """Whether its fusion does something between encoder and decoder, which ``look`` shows."""
        return self.uses_images and type(self.fusion).look is not Fusion.look

    def encode(
        self,
        source: Tensor,
        source_lens: Lens,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
    ) -> Memory:
        """
        Args:
            source: (N, S) ids, ending in eos.
            source_lens: how many of each sentence's ids are real.
            image: (N, R, dim) features, or None if no sentence has an image. Several sets stand side by side: R is
                the sum of their regions, dim the width of the widest.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        Returns:
            What the decoder attends to.
        """
        source, source_lens = self._read(source, source_lens)
        if image is None or not self.uses_images:
            return Memory(self._encode(self._embed(source, source_lens), source_lens), source_lens)
        image, image_pad = self.regions(image, image_pad)
        tokens = self._embed(source, source_lens)
        tokens, lens = self.fusion.before_encoder(tokens, source_lens, image, image_pad)
        states = self._encode(tokens, lens)
        look = self.fusion.look(states, image, image_pad)
        if look is not None:
            states = look.states
        if not self._late:
            return Memory(states, lens)
        return Memory(states, lens, *real_first(image, image_pad))

    def look(
        self, source: Tensor, source_lens: Lens, image: Tensor, image_pad: Tensor | None = None
    ) -> Look | None:
        """What the fusion of a model that ``uses_images`` does between encoder and decoder; None if nothing.

        The arguments are ``encode``'s.
        """
        source, source_lens = self._read(source, source_lens)
        states = self._encode(self._embed(source, source_lens), source_lens)
        look: Look | None = self.fusion.look(states, *self.regions(image, image_pad))
        return look

    def represent(
        self,
        source: Tensor,
        source_lens: Lens,
        image: Tensor | None = None,
        image_pad: Tensor | None = None,
    ) -> Tensor:
        """(N, D), what the sentence and its image come to, from which labels and scores are read.

        The arguments are ``encode``'s.
        """
        memory = self.encode(source, source_lens, image, image_pad)
        states, kind = memory.states, self.config.readout
        if kind == "decoder":
            begin = torch.full((len(states), 1), BOS, device=states.device)
            return self.decode(begin, BatchLayout.of(begin), memory)[:, 0]
        lens = torch.as_tensor(memory.lens, device=states.device)
        if kind == "last":
            return states[torch.arange(len(states), device=states.device), lens - 1]
        return mean_region(states, beyond(lens, states.size(1)))[:, 0]

    def _read(self, source: Tensor, lens: Lens) -> tuple[Tensor, Lens]:
        """The source as the model may see it."""
        if self.config.reads_text:
            return source, lens
        one = lens.clamp(max=1) if isinstance(lens, Tensor) else [1] * len(source)
        return torch.full_like(source[:, :1], EOS), one

    def _embed(self, source: Tensor, lens: Lens) -> Tensor:
        tokens, _ = self.frontend(source, layout_of(source, lens))
        return tokens

    def _encode(self, tokens: Tensor, lens: Lens) -> Tensor:
        states: Tensor = self.encoder(tokens, layout_of(tokens, lens))
        return states

    def regions(self, image: Tensor, image_pad: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, R, D) projected regions of all sets, one a set where the fusion pools, and their (N, R) padding."""
        pooled = not self.uses_images or self.fusion.pooled
        parts, pads = [], []
        for (features, pad), encoder in zip(self.split_sets(image, image_pad), self.image_proj, strict=True):
            if isinstance(encoder, FrameEncoder):
                states, pad = encoder(features, pad)
                if pooled:
                    states, pad = mean_region(states, pad), pad.all(dim=1, keepdim=True)
            else:  # a projection of the mean is the mean of the projections, and cheaper
                if pooled:
                    features, pad = mean_region(features, pad), pad.all(dim=1, keepdim=True)
                states = encoder(features)
            parts.append(states)
            pads.append(pad)
        return torch.cat(parts, 1), torch.cat(pads, 1)

    def split_sets(self, image: Tensor, image_pad: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """(N, R, dim) features to those of each set in its own width, each with its (N, R) padding."""
        if image_pad is None:
            image_pad = torch.zeros(image.shape[:2], dtype=torch.bool, device=image.device)
        regions = [num for num, _ in self.config.image_sets]
        if len(regions) == 1:
            regions = [image.size(1)]
        sets = zip(torch.split(image, regions, 1), torch.split(image_pad, regions, 1), strict=True)
        widths = (dim for _, dim in self.config.image_sets)
        return [(one[:, :, :dim], pad) for (one, pad), dim in zip(sets, widths, strict=True)]

    def decode(
        self,
        target: Tensor,
        target_layout: BatchLayout,
        memory: Memory,
        state_bag: IncrementalStateBag | None = None,
    ) -> Tensor:
        """(N, T) target ids, each row beginning with bos, to (N, T, D) states; with ``state_bag`` step by step."""
        states, layout = self.frontend(target, target_layout, state_bag=state_bag)
        # fairseq2's decoder hands what it attends to on to its layers as it is.
        seen: Any = memory if self._late else memory.states
        return self.decoder(states, layout, seen, memory.layout, state_bag=state_bag)

    def decode_targets(self, batch: Batch) -> Tensor:
        """(N, T, D) decoder states of the batch's own targets (teacher forcing)."""
        memory = self.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
        return self.decode(batch.target[:, :-1], batch.target_layout(), memory)

    def logits(self, batch: Batch) -> Tensor:
        """(N, T, V) logits of the batch's own targets, from the token after bos on."""
        logits: Tensor = self.final_proj(self.decode_targets(batch))
        return logits

    def cross_entropy(self, batch: Batch, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Label-smoothed loss and negative log-likelihood, in nats, summed over the batch's target tokens."""
        states, targets = self.decode_targets(batch), batch.target[:, 1:]
        real = targets != PAD  # (N, T)
        return label_smoothed_nll(states[real], self.final_proj.weight, targets[real], label_smoothing)

    def forward(  # type: ignore[override]  # fairseq2's takes tensors and returns logits
        self, batch: Batch, objectives: Iterable[Objective]
    ) -> dict[str, Tensor]:
        """Computes ``objectives`` on ``batch``, and gives what they give, by name.

        One call a step computes them all, as the wrappers of distributed training (DDP, FSDP2) require.
        """
        found: dict[str, Tensor] = {}
        for objective in objectives:
            found |= objective(self, batch)
        return found


Objective = Callable[[MMTModel, Batch], dict[str, Tensor]]
"""Computes scalars of a model on a batch, by name: losses, which have gradients, and what is reported beside."""


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


def _attention(
    config: MMTConfig,
    place: _Place,
    kind: type[StandardMultiheadAttention] = StandardMultiheadAttention,
    *,
    causal: bool = False,
) -> StandardMultiheadAttention:
    return kind(config.model_dim, config.num_heads, Attention(causal=causal), **place)


def _norm(config: MMTConfig) -> StandardLayerNorm:
    return StandardLayerNorm(config.model_dim, bias=True)


def _last_norm(config: MMTConfig) -> StandardLayerNorm | None:
    return _norm(config) if config.norm_order == "pre" else None


def _ffn(config: MMTConfig, place: _Place) -> StandardFeedForwardNetwork:
    return StandardFeedForwardNetwork(config.model_dim, config.ffn_dim, bias=True, **place)


def _encoder(config: MMTConfig, place: _Place, num_layers: int) -> StandardTransformerEncoder:
    layers = [_encoder_layer(config, place) for _ in range(num_layers)]
    return StandardTransformerEncoder(layers, _last_norm(config))


def _image_encoder(config: MMTConfig, place: _Place, dim: int) -> nn.Module:
    if config.image_encoder == "frames":
        return FrameEncoder(dim, config, _encoder(config, place, config.num_frame_layers))
    return Linear(dim, config.model_dim, bias=True)


def _encoder_layer(config: MMTConfig, place: _Place) -> StandardTransformerEncoderLayer:
    return StandardTransformerEncoderLayer(
        _attention(config, place),
        _norm(config),
        _ffn(config, place),
        _norm(config),
        norm_order=TransformerNormOrder[config.norm_order.upper()],
        dropout_p=config.dropout_p,
    )


def _decoder_layer(
    config: MMTConfig, place: _Place, cross_attention: type[StandardMultiheadAttention]
) -> StandardTransformerDecoderLayer:
    return StandardTransformerDecoderLayer(
        _attention(config, place, causal=True),
        _norm(config),
        _attention(config, place, cross_attention),
        _norm(config),
        _ffn(config, place),
        _norm(config),
        norm_order=TransformerNormOrder[config.norm_order.upper()],
        dropout_p=config.dropout_p,
    )
