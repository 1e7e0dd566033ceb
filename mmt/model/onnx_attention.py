"""Attention in an exported model: one operator of ONNX Runtime, where torch's own export has fifteen.

With the few rows of a step, starting operators takes most of the time. The operator takes states of three axes,
and so do matrix products in a graph: nothing has to change a shape. Legend as in ``mmt.model.stepping``; S source
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


def exported_attend(
    q: Tensor, k: Tensor, v: Tensor, lens: Tensor, num_heads: int, scale: float | None = None
) -> Tensor:
    """Attention of (N, any, D) queries, without a cache, of the same shape.

    Args:
        k, v: (N, H, M, K) or (N, M, D).
        lens: (N) int32, how many of the keys are real.
        scale: of the products; None: 1 / sqrt(K).
    """
    attributes: dict[str, Any] = {"num_heads": num_heads}
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
        """``decoder`` lays out the projections of ``module``: to q, k and v by one product."""
        super().__init__()
        self._qkv = decoder.linears(module.q_proj, module.k_proj, module.v_proj)
        self._out, self._num_heads = decoder.linears(module.output_proj), module.num_heads
        # As torch's own export rounds it, the square of a root: in int8, its last bit decides what is rounded up.
        root = np.sqrt(1 / np.sqrt(np.float32(module.head_dim)))
        self._scale = float(root * root)

    def forward(self, states: Tensor, layout: Any, **_: Any) -> Tensor:
        """(N, S, D) to (N, S, D); keys and values are those of the queries."""
        active = getattr(layout, "active", None)  # as mmt.model.adapters reads it
        q, k, v = self._qkv(states, active).chunk(3, dim=2)
        lens = layout.seq_lens_pt.to(torch.int32)
        return self._out(exported_attend(q, k, v, lens, self._num_heads, self._scale), active)
