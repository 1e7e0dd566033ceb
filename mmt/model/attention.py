"""Parts of the Transformer's layers, where the usual ones are slow on a CPU; the maths is the same.

Legend: N sentences, S queries, M keys, H heads, K width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from fairseq2.models.transformer import SDPA, AttentionBiasCache
from fairseq2.nn import BatchLayout
from torch import Tensor, nn
from torch.nn.functional import dropout, scaled_dot_product_attention

from mmt.model.padding import Lens, beyond, fill_register, on_device

_MAX_PLAIN = 64 * 64  # S * M up to which plain products are faster than torch's kernel; at 128 * 128 they are not


class Attention(SDPA):
    """Scaled dot-product attention, Vaswani et al. (2017), on padded batches.

    On a CPU short sentences are computed by plain products, which take about half of the time of torch's kernel.
    In bfloat16 the products are of rounded numbers and softmax is not; long sentences are computed in float32, as
    the kernel's gradient takes five times as long in bfloat16.
    Padding is masked by one comparison a batch, not sentence by sentence; the output at a padding position is
    meaningless.
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
        """(N, S, H, K) q, (N, M, H, K) k and v to (N, S, H, K); and (N, H, S, M) weights if they are needed."""
        cpu, dtype = q.device.type == "cpu", q.dtype
        short = cpu and not torch.compiler.is_exporting() and q.size(1) * k.size(1) <= _MAX_PLAIN
        plain = needs_weights or short
        # torch's own causal mask is enough without padding.
        is_causal = self.causal and q.size(1) == k.size(1) and not k_layout.padded and not plain
        masked = None if is_causal else self._masked(q.size(1), k_layout, q.device)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        num_keys = k.size(2)
        rounded, exact = dtype == torch.bfloat16, torch.promote_types(dtype, torch.float32)  # float64 stays
        if (plain or cpu) and plain != rounded:
            q, k, v = q.to(exact), k.to(exact), v.to(exact)
        weights: Tensor | None = None
        with torch.autocast(q.device.type, enabled=False):  # it would round again
            if plain:
                k, v, masked = fill_register(k, v, masked, exact)
                scale = q.size(3) ** -0.5
                # Scaled where it is rounded least.
                scores = (q @ k.transpose(2, 3)).to(exact) * scale if rounded else (q * scale) @ k.transpose(2, 3)
                if masked is not None:  # added, as the gradient of a sum is itself
                    scores = scores + torch.zeros(masked.shape, device=q.device).masked_fill_(masked, -torch.inf)
                weights = torch.softmax(scores, dim=-1)
                output = weights.to(v.dtype) @ v
                weights = weights[..., :num_keys]
            else:
                allowed = None if masked is None else ~masked
                output = scaled_dot_product_attention(q, k, v, allowed, is_causal=is_causal)
        return output.to(dtype).transpose(1, 2), weights if needs_weights else None

    def _masked(self, num_queries: int, keys: BatchLayout, device: torch.device) -> Tensor | None:
        """(N or 1, 1, S or 1, M) bool, True where a query must not attend; None if it may attend everywhere."""
        masked = None
        if keys.padded:
            masked = beyond(keys.seq_lens_pt, keys.width)[:, None, None]
        if self.causal and num_queries > 1:
            later = torch.ones(num_queries, keys.width, dtype=torch.bool, device=device)
            later = later.triu(keys.width - num_queries + 1)
            masked = later[None, None] if masked is None else masked | later
        return masked


def layout_of(states: Tensor, lens: Lens, active: Tensor | None = None) -> BatchLayout:
    """The layout of (N, S, ...) states.

    Args:
        active: (N, 1, 1) bool, the sentences for which adapters are active; see ``mmt.model.adapters``.
    """
    layout: Any
    if isinstance(lens, Tensor) or states.device.type != "cpu":
        layout = TracedLayout(states, lens)
    else:
        layout = BatchLayout.of(states, lens)
    layout.active = active
    return layout  # type: ignore[no-any-return]


class TracedLayout:
    """In place of fairseq2's ``BatchLayout``, which wants lengths as numbers (see ``Lens``), and works on a GPU
    sentence by sentence."""

    packed = False
    max_seq_len = 1  # fairseq2 compares it with the room there is

    def __init__(self, states: Tensor, lens: Lens) -> None:
        self._lens, self.width = lens, states.size(1)
        self.seq_lens_pt = on_device(lens, states.device)
        self.padded = isinstance(lens, Tensor) or min(lens) < self.width  # True: it may be
        places = torch.arange(self.width, device=states.device)
        masked = beyond(self.seq_lens_pt, self.width)
        self.position_indices = places.expand(states.size(0), -1).masked_fill(masked, -1)

    @property
    def seq_lens(self) -> list[int]:
        """As numbers, which an LSTM needs."""
        return self._lens.tolist() if isinstance(self._lens, Tensor) else self._lens


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
