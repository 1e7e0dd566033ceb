"""Lengths and masks of padded batches. Legend: N sentences, S queries, M keys, H heads, K width of a head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

Lens = list[int] | Tensor
"""How many of each sentence's positions are real: numbers; or a tensor (N) while a model is exported, or on a GPU,
where numbers that it computed would have to be waited for."""


def on_device(lens: Lens, device: torch.device) -> Tensor:
    """(N) the lengths as a tensor, which the host does not wait for."""
    return lens if isinstance(lens, Tensor) else torch.tensor(lens).to(device, non_blocking=True)


def beyond(lens: Tensor, length: int) -> Tensor:
    """(N, length) bool, True from each row's length on."""
    return torch.arange(length, device=lens.device) >= lens.unsqueeze(1)


def fill_register(
    k: Tensor, v: Tensor, masked: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Appends masked keys and values until they fill a vector register of the CPU.

    Over fewer numbers than a register holds (16 in float32, 32 in bfloat16), torch's softmax takes up to ten times
    as long as over so many.

    Args:
        k, v: (N, H, M, K).
        masked: (N or 1, 1, S or 1, M) bool, True where a query must not attend; None if it may attend everywhere.
        dtype: of the softmax.
    """
    missing = 64 // dtype.itemsize - k.size(2)
    if missing <= 0 or k.device.type != "cpu":
        return k, v, masked
    if masked is None:
        masked = torch.zeros(k.size(0), 1, 1, k.size(2), dtype=torch.bool)
    k, v = pad(k, (0, 0, 0, missing)), pad(v, (0, 0, 0, missing))
    return k, v, pad(masked, (0, missing), value=True)
