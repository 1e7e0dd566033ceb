"""Attention in an exported model: one operator of ONNX Runtime, where torch's own export has fifteen.

With the few rows of a step, starting operators takes most of the time. The operator takes states of three axes,
and so do matrix products in a graph: the layers need no Reshape. Legend as in ``mmt.model.stepping``; S source
tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.onnx.ops import symbolic, symbolic_multi_out

if TYPE_CHECKING:
    from mmt.model.stepping import StepDecoder

_OPERATOR = "com.microsoft::MultiHeadAttention"
_LOWEST = float(np.finfo(np.float32).min)
"""Added to the scores of padding. The operator's default, -10000, is too little where scores are that large."""


def exported_attend(
    q: Tensor, k: Tensor, v: Tensor, lens: Tensor, num_heads: int, scale: float | None = None
) -> Tensor:
    """Attention of (N, any, D) queries, without a cache, of the same shape.

    Args:
        k, v: (N, H, M, K) or (N, M, D).
        lens: (N) int32, how many of the keys are real, at least 1.
        scale: of the products; None: 1 / sqrt(K).
    """
    attributes: dict[str, Any] = {"num_heads": num_heads, "mask_filter_value": _LOWEST}
    if scale is not None:
        attributes["scale"] = scale
    return symbolic(_OPERATOR, [q, k, v, None, lens], attributes, dtype=q.dtype, shape=q.shape, version=1)


def exported_self_attend(
    qkv: Tensor, mask: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A step's attention to itself and the steps before.

    Args:
        qkv: (N, B, 3 D).
        mask: (N, 1, B, P + B).
        past_k, past_v: (N, H, P, K).
    Returns:
        Its output (N, B, D), and keys and values (N, H, P + B, K).
    """
    heads, width = past_k.size(1), past_k.size(3)
    q, k, v = qkv.chunk(3, dim=2)
    cache = (qkv.size(0), heads, mask.size(3), width)
    output, k, v = symbolic_multi_out(
        _OPERATOR,
        [q, k, v, None, None, mask, past_k, past_v],
        {"num_heads": heads},
        dtypes=[qkv.dtype] * 3,
        shapes=[q.shape, cache, cache],
        version=1,
    )
    return output, k, v


class ExportedSelfAttention(nn.Module):
    """An encoder layer's attention to its own positions, in place of fairseq2's ``StandardMultiheadAttention``."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        """Joins the projections to q, k and v into one product.

        Those with LoRA stay apart: joined, their updates would share one range of activations in int8.
        """
        super().__init__()
        projections = [module.q_proj, module.k_proj, module.v_proj]
        with_lora = any(hasattr(one, "lora_down") for one in projections)
        self._projections = nn.ModuleList(projections if with_lora else [])
        self._qkv = None if with_lora else decoder.linears(*projections)
        self._out, self._num_heads = module.output_proj, module.num_heads
        # The same float32 value as in torch's export (sqrt(scale) squared). A different last bit changes int8
        # rounding.
        root = np.sqrt(1 / np.sqrt(np.float32(module.head_dim)))
        self._scale = float(root * root)

    def forward(self, states: Tensor, layout: Any, **_: Any) -> Tensor:
        """(N, S, D) to (N, S, D); keys and values are those of the queries."""
        if self._qkv is None:
            q, k, v = (project(states) for project in self._projections)
        else:
            q, k, v = self._qkv(states, None).chunk(3, dim=2)
        lens = layout.seq_lens_pt.to(torch.int32)
        return self._out(exported_attend(q, k, v, lens, self._num_heads, self._scale))  # type: ignore[no-any-return]
