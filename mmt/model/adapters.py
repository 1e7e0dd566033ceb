"""Small trainable parts inside a text model's layers, which act on sentences with an image only.

Legend: N sentences, L positions, D model width, I and O the input and output width of a projection, r a rank.

Which sentences have an image is a property of the pass: (N, 1, 1) bool, ``active``. It travels with the layouts
that fairseq2's encoder and decoder pass to each layer (``mmt.model.attention.layout_of``), so that activation
checkpointing, which runs a layer again in the backward pass, runs it with the same ``active``. Within a layer it
is a context variable, which each thread has for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from fairseq2.models.transformer import StandardTransformerDecoderLayer, StandardTransformerEncoderLayer
from fairseq2.nn import BatchLayout, Projection, ResidualConnect
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from mmt.model.config import ModelSizes, lora_parts
from mmt.model.text_model import TextModel

_active: ContextVar[Tensor | None] = ContextVar("active", default=None)

# Where the projections are in a layer, by the names of ``ModelSizes.lora_targets``.
_ATTENTION = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "output": "output_proj"}
_FFN = {"ffn_inner": "inner_proj", "ffn_outer": "output_proj"}


@contextmanager
def act_on(active: Tensor | None) -> Iterator[None]:
    """Activates adapters and LoRA for these sentences, (N, 1, 1) bool, inside the block; None: for none."""
    token = _active.set(active)
    try:
        yield
    finally:
        _active.reset(token)


class Adapter(ResidualConnect):
    """A bottleneck after a sub-layer, before its residual connection, Houlsby et al. (2019).

    y = x + f + W_up relu(W_down f + b_down) + b_up, where f is the sub-layer's output and x its input. W_up and
    b_up begin at 0. https://arxiv.org/abs/1902.00751. Its places, after self-attention and after the feed-forward
    network, and ReLU are those of ZeroMMT's published code; Houlsby et al. have no cross-attention.
    """

    def __init__(self, model_dim: int, adapter_dim: int) -> None:
        super().__init__()
        self.adapter_down, self.adapter_up = nn.Linear(model_dim, adapter_dim), nn.Linear(adapter_dim, model_dim)
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def forward(self, seqs: Tensor, residual: Tensor) -> Tensor:
        """(N, L, D) each: the sub-layer's output and its input."""
        active = _active.get()
        if active is not None:
            adapted = seqs + self.adapter_up(relu(self.adapter_down(seqs)))
            seqs = torch.where(active, adapted, seqs)  # exactly the sub-layer's output in the other sentences
        return seqs + residual


class LowRankLinear(Projection):
    """A projection with a low-rank update, LoRA, Hu et al. (2021): W x + b + alpha / r * B A x.

    A is ``lora_down``, B is ``lora_up`` and begins at 0. https://arxiv.org/abs/2106.09685

    Args:
        base: gives W (O, I) and b, which keep their names.
        rank: r.
        dropout_p: of the update's input.
    """

    def __init__(self, base: Any, rank: int, alpha: float, dropout_p: float = 0.0) -> None:
        super().__init__(base.input_dim, base.output_dim)
        self.weight, self.bias, self.scale = base.weight, base.bias, alpha / rank
        self.lora_down = nn.Linear(base.input_dim, rank, bias=False)
        self.lora_up = nn.Linear(rank, base.output_dim, bias=False)
        nn.init.zeros_(self.lora_up.weight)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, I) to (N, L, O)."""
        output, active = linear(x, self.weight, self.bias), _active.get()
        if active is None:
            return output
        update = self.lora_up(self.lora_down(self.dropout(x)))
        return torch.where(active, output + self.scale * update, output)


class AdaptedEncoderLayer(StandardTransformerEncoderLayer):  # type: ignore[misc]  # final for type checkers only
    """An encoder layer whose adapters and LoRA act on the sentences that its layout names."""

    def forward(self, seqs: Tensor, seqs_layout: BatchLayout, *args: Any, **kwargs: Any) -> Tensor:
        with act_on(getattr(seqs_layout, "active", None)):
            return super().forward(seqs, seqs_layout, *args, **kwargs)


class AdaptedDecoderLayer(StandardTransformerDecoderLayer):  # type: ignore[misc]  # final for type checkers only
    """A decoder layer whose adapters and LoRA act on the sentences that its memory's layout names."""

    def forward(
        self,
        seqs: Tensor,
        seqs_layout: BatchLayout,
        encoder_output: Any,
        encoder_output_layout: BatchLayout,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        with act_on(getattr(encoder_output_layout, "active", None)):
            return super().forward(seqs, seqs_layout, encoder_output, encoder_output_layout, *args, **kwargs)


def has_adapters(sizes: ModelSizes) -> bool:
    """Whether models of these sizes have adapters or LoRA."""
    return bool(sizes.adapter_dim or sizes.lora_rank)


def is_of_adapters(name: str) -> bool:
    """Whether the weight of this name is an adapter's or LoRA's."""
    return re.search(r"\.(adapter|lora)_(down|up)\.", name) is not None


def add_adapters(text: TextModel, sizes: ModelSizes) -> None:
    """Adds adapters and LoRA to the layers of a text model, which must be ``Adapted...Layer``."""
    encoder: list[Any] = list(text.encoder.layers)
    decoder: list[Any] = [] if text.decoder is None else list(text.decoder.layers)
    for layer in [*encoder, *decoder] if sizes.adapter_dim else []:
        layer.self_attn_residual = Adapter(text.sizes.model_dim, sizes.adapter_dim)
        layer.ffn_residual = Adapter(text.sizes.model_dim, sizes.adapter_dim)
    for place, target in lora_parts(sizes) if sizes.lora_rank else []:
        for layer in encoder if place == "encoder" else decoder:
            attention = layer.encoder_decoder_attn if place == "cross" else layer.self_attn
            part, name = (layer.ffn, _FFN[target]) if target in _FFN else (attention, _ATTENTION[target])
            base = getattr(part, name)
            setattr(part, name, LowRankLinear(base, sizes.lora_rank, sizes.lora_alpha, sizes.lora_dropout_p))
