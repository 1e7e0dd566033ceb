"""Parts of the Transformer's layers, where the usual ones are slow on a CPU; the maths is the same."""

from __future__ import annotations

import torch
from fairseq2.models.transformer import SDPA, AttentionBiasCache
from fairseq2.nn import BatchLayout
from torch import Tensor, nn
from torch.nn.functional import dropout, pad, scaled_dot_product_attention

# Queries times keys: up to here plain products are the faster ones; at 128 * 128 torch's kernel is.
_SHORT = 64 * 64


class Attention(SDPA):
    """Scaled dot-product attention, Vaswani et al. (2017), on padded batches.

    On a CPU bfloat16 is computed in float32, as the gradient of torch's kernel takes five times as long there, and
    short sentences by plain products, which take about half of the kernel's time.
    Padding is masked by one comparison a batch, not sentence by sentence; what a padding position itself finds
    means nothing.
    """

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal

    def forward(
        self,
        q: Tensor,
        q_layout: BatchLayout,
        k: Tensor,
        k_layout: BatchLayout,
        v: Tensor,
        bias_cache: AttentionBiasCache,
        *,
        needs_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(N, S, H, K) queries, (N, M, H, K) keys and values to (N, S, H, K); (N, H, S, M) weights if wanted."""
        cpu = q.device.type == "cpu"
        plain = needs_weights or (cpu and not torch.compiler.is_exporting() and q.size(1) * k.size(1) <= _SHORT)
        # What torch knows as causal needs no mask of ours.
        whole = self.causal and q.size(1) == k.size(1) and not k_layout.padded and not plain
        unseen = None if whole else self._unseen(q.size(1), k_layout, q.device)
        asked, keys, values = (part.transpose(1, 2) for part in (q, k, v))
        if plain or (cpu and q.dtype == torch.bfloat16):
            kind = torch.promote_types(q.dtype, torch.float32)  # float64 stays
            asked, keys, values = asked.to(kind), keys.to(kind), values.to(kind)
        weights: Tensor | None = None
        with torch.autocast(q.device.type, enabled=False):  # it would round again
            if plain:
                keys, values, unseen = wide_enough(keys, values, unseen)
                scores = (asked * q.size(3) ** -0.5) @ keys.transpose(2, 3)
                if unseen is not None:  # added, as the gradient of a sum is itself
                    scores = scores + torch.zeros(unseen.shape, device=q.device).masked_fill_(unseen, -torch.inf)
                weights = torch.softmax(scores, dim=-1)
                found = weights @ values
                weights = weights[..., : k.size(1)]
            else:
                seen = None if unseen is None else ~unseen
                found = scaled_dot_product_attention(asked, keys, values, seen, is_causal=whole)
        return found.to(q.dtype).transpose(1, 2), weights if needs_weights else None

    def _unseen(self, length: int, keys: BatchLayout, device: torch.device) -> Tensor | None:
        """(N or 1, 1, S or 1, M) bool, True where a position must not look; None if it may look everywhere."""
        unseen = None
        if keys.padded:
            unseen = beyond(keys.seq_lens_pt, keys.width)[:, None, None]
        if self.causal and length > 1:
            later = torch.ones(length, keys.width, dtype=torch.bool, device=device)
            later = later.triu(keys.width - length + 1)
            unseen = later[None, None] if unseen is None else unseen | later
        return unseen


def wide_enough(keys: Tensor, values: Tensor, unseen: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys and values that torch's softmax over them is fast with, on a CPU.

    Over fewer numbers than a vector register holds (16 in float32, 32 in bfloat16) it takes up to ten times as
    long as over so many, so that fewer are filled up with ones that are not seen.

    Args:
        keys, values: (N, H, M, K).
        unseen: (N or 1, 1, S or 1, M) bool, True where a position must not look; None if it may look everywhere.
    """
    missing = 64 // keys.element_size() - keys.size(2)
    if missing <= 0 or keys.device.type != "cpu":
        return keys, values, unseen
    if unseen is None:
        unseen = torch.zeros(keys.size(0), 1, 1, keys.size(2), dtype=torch.bool)
    keys, values = pad(keys, (0, 0, 0, missing)), pad(values, (0, 0, 0, missing))
    return keys, values, pad(unseen, (0, missing), value=True)


Lens = list[int] | Tensor
"""How many of each sentence's positions are real: numbers, or a tensor (N) while a model is exported."""


def layout_of(states: Tensor, lens: Lens) -> BatchLayout:
    """The layout of (N, S, ...) states."""
    return TracedLayout(states, lens) if isinstance(lens, Tensor) else BatchLayout.of(states, lens)  # type: ignore[return-value]


class TracedLayout:
    """In place of fairseq2's ``BatchLayout``, which wants lengths as numbers, while a model is exported."""

    packed = False
    padded = True  # it may be
    max_seq_len = 1  # fairseq2 compares it with the room there is

    def __init__(self, states: Tensor, lens: Tensor) -> None:
        self.width, self.seq_lens_pt = states.size(1), lens
        places = torch.arange(self.width, device=lens.device)
        self.position_indices = places.expand(states.size(0), -1).masked_fill(beyond(lens, self.width), -1)


def beyond(lens: Tensor, length: int) -> Tensor:
    """(N, length) bool, True from each row's length on."""
    return torch.arange(length, device=lens.device) >= lens.unsqueeze(1)


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``, which on a CPU draws its numbers four times as fast.

    Each element is dropped by 16 random bits of its own; the probability is a multiple of 2^-16.
    """

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        of_65536 = round(self.p * 2**16)
        if not self.training or not 0 < of_65536 < 2**16 or input.device.type != "cpu":
            return dropout(input, self.p, self.training)
        words = torch.empty((input.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits, least = words.view(torch.int16)[: input.numel()].view(input.shape), of_65536 - 2**15
        kept = bits.clamp_(least - 1, least).sub_(least - 1)  # 1 or 0; comparing takes torch ten times as long
        return input * kept.to(input.dtype).mul_(1 / (1 - self.p))


def with_fast_dropout(module: nn.Module) -> None:
    """Replaces every ``torch.nn.Dropout`` in ``module``."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, Dropout(child.p))
        else:
            with_fast_dropout(child)
