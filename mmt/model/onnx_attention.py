"""Attention in an exported decoder: one operator of ONNX Runtime, where torch's own export has fifteen.

With the few rows of a step, starting operators takes most of the time. Legend as in ``mmt.model.stepping``.
"""

from __future__ import annotations

from torch import Tensor
from torch.onnx.ops import symbolic, symbolic_multi_out

_OPERATOR = "com.microsoft::MultiHeadAttention"


def exported_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """A step's attention to the encoder.

    Args:
        q: (N * B, D).
        k, v: (N, H, M, K).
        mask: (N, 1, 1, M), or None.
    Returns:
        (N * B, D).
    """
    num, heads = k.shape[:2]
    q = q.view(num, -1, q.size(1))
    if mask is not None:
        mask = mask.expand(-1, -1, q.size(1), -1)
    output = symbolic(
        _OPERATOR, [q, k, v, None, None, mask], {"num_heads": heads}, dtype=q.dtype, shape=q.shape, version=1
    )
    return output.flatten(0, 1)


def exported_self_attend(
    qkv: Tensor, mask: Tensor, past_k: Tensor, past_v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A step's attention to itself and the steps before.

    Args:
        qkv: (N * B, 3 D).
        mask: (N, B, P + B).
        past_k, past_v: (N, H, P, K).
    Returns:
        Its output (N * B, D), and keys and values (N, H, P + B, K).
    """
    num, beams, positions = mask.shape
    heads, width = past_k.size(1), past_k.size(3)
    q, k, v = qkv.view(num, beams, -1).chunk(3, dim=2)
    cache = (num, heads, positions, width)
    output, k, v = symbolic_multi_out(
        _OPERATOR,
        [q, k, v, None, None, mask.unsqueeze(1), past_k, past_v],
        {"num_heads": heads},
        dtypes=[qkv.dtype] * 3,
        shapes=[q.shape, cache, cache],
        version=1,
    )
    return output.flatten(0, 1), k, v
