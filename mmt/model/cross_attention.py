"""A decoder layer's attention to the encoder, for single steps: see ``mmt.model.stepping``, with its legend.

fairseq2 is imported only where one of its modules is given: the rest works where it does not load.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mmt.model.onnx_attention import exported_attend
from mmt.model.padding import Lens, beyond, fill_register, on_device

if TYPE_CHECKING:
    from mmt.model.fusion import Memory
    from mmt.model.stepping import StepDecoder

_MAX_FUSED = 8  # sentences of a batch below which torch's fused attention kernel is faster on a CPU


def active_rows(active: Tensor | None, num: int) -> Tensor | None:
    """(N, 1, 1) sentences with active adapters to (N * num, 1) rows."""
    return None if active is None else active.expand(-1, num, -1).flatten(0, 1)


class CrossAttention(Protocol):
    """A decoder layer's attention to the encoder, whose keys and values all beams of a sentence share."""

    def cached(self, memory: Memory) -> Any:
        """What is computed once a sentence: keys, values and padding."""

    def select(self, cached: Any, sentences: Tensor) -> Any:
        """The same for some of the sentences (M)."""

    def __call__(self, states: Tensor, cached: Any, active: Tensor | None) -> Tensor:
        """(N * B, D) to the attention's output, of the same shape; ``active`` as in ``mmt.model.stepping``."""


class CrossKV(NamedTuple):
    """Keys and values (N, H, M, K), and which of them are padding.

    padding: a mask, (N, 1, 1, M), or None without padding; while a graph is exported, the lengths (N), int32.
    """

    k: Tensor
    v: Tensor
    padding: Tensor | None

    def select(self, sentences: Tensor) -> CrossKV:
        return CrossKV(*(None if part is None else part[sentences] for part in self))  # type: ignore[arg-type]


class StandardCross:
    """Attention to the encoder's states or, as a part of ``DoubleCross``, to the regions."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._decoder = decoder
        self._q, self._out = decoder.linears(module.q_proj), decoder.linears(module.output_proj)
        self._kv = decoder.linears(module.k_proj, module.v_proj)

    def cached(self, memory: Memory) -> CrossKV:
        return self.project(memory.states, memory.lens, memory.active)

    def select(self, cached: CrossKV, sentences: Tensor) -> CrossKV:
        return cached.select(sentences)

    def project(self, states: Tensor, lens: Lens, active: Tensor | None) -> CrossKV:
        """(N, M, D) states, and how many of each row are real (at least 1), to keys, values and padding."""
        num, width = states.shape[:2]
        if torch.compiler.is_exporting():
            kv = self._kv(states, active)
            kv = kv.unflatten(2, (2 * self._decoder.num_heads, -1))  # type: ignore[no-untyped-call]
            k, v = kv.transpose(1, 2).chunk(2, dim=1)
            return CrossKV(k, v, on_device(lens, states.device).to(torch.int32))
        kv = self._kv(states.flatten(0, 1).to(self._decoder.dtype), active_rows(active, width))
        k, v = self._decoder.split_heads(kv, num, 2)
        padding = None
        if isinstance(lens, Tensor) or min(lens) < width:
            padding = beyond(on_device(lens, states.device), width)[:, None, None]
        if num >= _MAX_FUSED:
            k, v, padding = fill_register(k, v, padding, k.dtype)
        mask = None
        if padding is not None:
            mask = k.new_zeros(padding.shape).masked_fill_(padding, -torch.inf)
        return CrossKV(k.contiguous(), v.contiguous(), mask)

    def __call__(self, states: Tensor, cached: CrossKV, active: Tensor | None) -> Tensor:
        q = self._q(states, active)
        if torch.compiler.is_exporting():
            k, v, lens = cached
            assert lens is not None  # noqa: S101  # project() gives them while a graph is exported
            return self._out(exported_attend(q, k, v, lens, self._decoder.num_heads), active)
        q = self._decoder.split_heads(q, cached.k.size(0))[0]
        return self._out(attend(q, *cached), active)


class DoubleCross:
    """``mmt.model.fusion.DoubleAttention``."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._text, self._image = StandardCross(decoder, module), StandardCross(decoder, module.image_attn)
        self._gate_text = decoder.linear(module.gate_text.weight, module.gate_text.bias)
        self._gate_image = decoder.linear(module.gate_image.weight, None)

    def cached(self, memory: Memory) -> tuple[CrossKV, CrossKV | None, Tensor | None]:
        text = self._text.cached(memory)
        if memory.image is None:
            return text, None, None
        return text, self._image.project(memory.image, memory.attended_lens, None), memory.has_image

    def select(self, cached: Any, sentences: Tensor) -> Any:
        text, image, has_image = cached
        return (
            text.select(sentences),
            None if image is None else image.select(sentences),
            None if has_image is None else has_image[sentences],
        )

    def __call__(self, states: Tensor, cached: Any, active: Tensor | None) -> Tensor:
        text_kv, image_kv, has_image = cached
        text = self._text(states, text_kv, active)
        if image_kv is None:
            return text
        image = self._image(states, image_kv, None)
        gate = torch.sigmoid(self._gate_text(text) + self._gate_image(image))
        added = (gate * image).view(has_image.size(0), -1, text.size(-1))
        return text + torch.where(has_image, added, torch.zeros_like(added)).view(text.shape)


class OtherCross:
    """A user's own attention: the module itself, for which a sentence's beams are so many target positions."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._decoder, self._module = decoder, module

    def cached(self, memory: Memory) -> Any:
        from fairseq2.nn import IncrementalStateBag

        return memory, IncrementalStateBag(1)

    def select(self, cached: Any, sentences: Tensor) -> Any:
        memory, state_bag = cached
        state_bag.reorder(sentences)
        return memory.take(sentences), state_bag

    def __call__(self, states: Tensor, cached: Any, active: Tensor | None) -> Tensor:
        from fairseq2.models.transformer import AttentionBiasCache
        from fairseq2.nn import BatchLayout

        from mmt.model.adapters import act_on

        memory, state_bag = cached
        q = states.view(len(memory.states), -1, states.size(1)).float()
        with act_on(memory.active):
            output = self._module(
                q, BatchLayout.of(q), memory, memory.layout, memory, AttentionBiasCache(), state_bag=state_bag
            )
        return output.flatten(0, 1).to(states.dtype)  # type: ignore[no-any-return]


def cross_attention(decoder: StepDecoder, module: nn.Module) -> CrossAttention:
    """The attention ``module`` of a decoder layer, laid out for single steps."""
    fairseq2: Any = sys.modules.get("fairseq2.models.transformer")
    # Where fairseq2 does not load, no module is of its classes: what is given has their weights.
    if fairseq2 is None or type(module) is fairseq2.StandardMultiheadAttention:
        return StandardCross(decoder, module)
    from mmt.model.fusion import DoubleAttention

    return DoubleCross(decoder, module) if type(module) is DoubleAttention else OtherCross(decoder, module)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of (N, H, B, K) queries to (N, H, M, K) keys, as (N * B, D); all heads share the mask."""
    num, heads, beams, width = q.shape
    if num < _MAX_FUSED or q.device.type != "cpu":
        output = scaled_dot_product_attention(q, k, v, mask)
    else:  # many small products: on a CPU faster than the fused kernel, which takes one after the other
        q = q.reshape(-1, beams, width) * width**-0.5
        scores = torch.bmm(q, k.flatten(0, 1).transpose(1, 2)).view(num, heads, beams, -1)
        if mask is not None:
            scores += mask
        weights = torch.softmax(scores, dim=-1).flatten(0, 1)
        output = torch.bmm(weights, v.flatten(0, 1)).view(num, heads, beams, width)
    return output.transpose(1, 2).flatten(2).flatten(0, 1)
