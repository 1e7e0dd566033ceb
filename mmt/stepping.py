"""The decoder, one token at a time, for translating: the same maths as ``MMTModel.decode``, laid out for speed.

Legend: N sentences, B beams, T steps so far, M positions of the memory, H heads, K width of a head, D model width,
V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from fairseq2.models.transformer import (
    AttentionBiasCache,
    StandardMultiheadAttention,
    TransformerNormOrder,
)
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, relu, scaled_dot_product_attention

from mmt.fusion import DoubleAttention, Memory
from mmt.model import MMTModel

Precision = Literal["float32", "bfloat16", "int8"]
_Map = Callable[[Tensor], Tensor]


class StepDecoder:
    """A model's decoder and output projection, made ready once, to be begun with for every batch.

    Queries, keys and values are one projection; what is attended to of the encoder is projected once a sentence,
    not once a beam.

    Args:
        model: its weights are copied: after training goes on, make another.
        precision: of the decoder's matrices. ``bfloat16`` rounds states, too; ``int8`` keeps weights as 8-bit
            numbers, one scale a row, and rounds what they are multiplied with to 8 bits as it comes; CPU only.
    """

    def __init__(self, model: MMTModel, precision: Precision = "float32") -> None:
        self.model, self.precision = model, precision
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.num_heads = model.config.num_heads
        frontend = model.frontend
        self.scale = float(frontend.scale)
        self.embed = self.copied(frontend.embed.weight)
        self.positions = self.copied(frontend.pos_encoder.freqs[1:])  # the first is for padding
        self.layers = [_Layer(self, layer) for layer in model.decoder.layers]
        self.last_norm = None if model.decoder.layer_norm is None else self.norm(model.decoder.layer_norm)
        self.project = self.linear(model.final_proj.weight, None)
        """(N * B, D) states to (N * B, V) logits."""

    def begin(self, memory: Memory, beams: int, limit: int) -> Stepping:
        """For a batch of sentences, of which each is continued in ``beams`` ways for at most ``limit`` tokens."""
        return Stepping(self, memory, beams, limit)

    def copied(self, weight: Any) -> Tensor:
        return weight.detach().to(self.dtype, copy=True)  # type: ignore[no-any-return]

    def norm(self, module: Any) -> _Map:
        weight, bias = self.copied(module.weight), self.copied(module.bias)
        return lambda states: layer_norm(states, weight.shape, weight, bias, module.eps)

    def linear(self, weight: Any, bias: Any) -> _Map:
        """A projection by ``weight`` (O, I) in this precision."""
        weight = self.copied(weight)
        bias = None if bias is None else self.copied(bias)
        if self.precision != "int8":
            return lambda states: linear(states, weight, bias)
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(rounded, bias)
        return lambda states: torch.ops.quantized.linear_dynamic(states, packed)  # type: ignore[no-any-return]

    def linears(self, *modules: Any, factor: float = 1.0) -> _Map:
        """Several projections of the same states as one; the first is multiplied by ``factor``."""
        factors = [factor] + [1.0] * (len(modules) - 1)
        weight = torch.cat([one.weight * by for one, by in zip(modules, factors, strict=True)])
        bias = torch.cat([one.bias * by for one, by in zip(modules, factors, strict=True)])
        return self.linear(weight, bias)

    def heads(self, states: Tensor, num: int, parts: int = 1) -> Tensor:
        """(num * any, parts * D) to (parts, num, H, any, K)."""
        return states.view(num, -1, parts, self.num_heads, states.size(-1) // parts // self.num_heads).permute(
            2, 0, 3, 1, 4
        )


class Stepping:
    """A batch in the middle of being translated.

    The keys and values of a beam stay where they were written. What changes when beams are chosen anew is which of
    its sentence's a beam may see: its own past.
    """

    def __init__(self, decoder: StepDecoder, memory: Memory, beams: int, limit: int) -> None:
        self.decoder, self.beams, self.num_steps = decoder, beams, 0
        num, dim = len(memory.states), memory.states.size(2)
        kind = {"dtype": decoder.dtype, "device": memory.states.device}
        heads = decoder.num_heads
        self._past = torch.empty((len(decoder.layers), 2, num, heads, limit * beams, dim // heads), **kind)
        self._unseen = torch.full((num, beams, limit * beams), -torch.inf, **kind)  # 0 where a beam may look
        self._own = torch.full((beams, beams), -torch.inf, **kind).fill_diagonal_(0)
        self._seen = [layer.cross.begin(memory, beams) for layer in decoder.layers]

    def step(self, tokens: Tensor) -> Tensor:
        """(N, B) the last token of each beam to (N * B, D) states, from which the next one is read."""
        decoder, first = self.decoder, self.num_steps * self.beams
        self._unseen[:, :, first : first + self.beams] = self._own
        states = decoder.embed[tokens.flatten()] * decoder.scale + decoder.positions[self.num_steps]
        for layer, past, seen in zip(decoder.layers, self._past, self._seen, strict=True):
            states = layer(states, past, first, self._unseen, seen)
        self.num_steps += 1
        return states if decoder.last_norm is None else decoder.last_norm(states)

    def choose(self, parents: Tensor) -> None:
        """Goes on with ``parents`` (N, B), the beams of each sentence that are continued."""
        used = self._unseen[:, :, : self.num_steps * self.beams]
        used.copy_(used.gather(1, parents.unsqueeze(2).expand_as(used)))

    def keep(self, sentences: Tensor) -> None:
        """Goes on with some sentences (M) alone."""
        used = self.num_steps * self.beams
        before = self._past
        self._past = before.new_empty((*before.shape[:2], len(sentences), *before.shape[3:]))
        self._past[:, :, :, :, :used] = before[:, :, :, :, :used][:, :, sentences]
        self._unseen = self._unseen[sentences]
        self._seen = [
            layer.cross.keep(seen, sentences)
            for layer, seen in zip(self.decoder.layers, self._seen, strict=True)
        ]


class _Layer:
    """A decoder layer."""

    def __init__(self, decoder: StepDecoder, layer: Any) -> None:
        self.decoder, own = decoder, layer.self_attn
        self.norms = [
            decoder.norm(norm)
            for norm in (layer.self_attn_layer_norm, layer.encoder_decoder_attn_layer_norm, layer.ffn_layer_norm)
        ]
        self.post = layer.norm_order == TransformerNormOrder.POST
        self.qkv = decoder.linears(own.q_proj, own.k_proj, own.v_proj)
        self.out = decoder.linears(own.output_proj)
        self.cross = _cross(decoder, layer.encoder_decoder_attn)
        self.inner, self.outer = decoder.linears(layer.ffn.inner_proj), decoder.linears(layer.ffn.output_proj)

    def __call__(self, states: Tensor, past: Tensor, first: int, unseen: Tensor, seen: Any) -> Tensor:
        """
        Args:
            states: (N * B, D).
            past: (2, N, H, limit * B, K) keys and values; those of this step go to ``first`` and behind.
            unseen: (N, B, limit * B), -inf where a beam must not look.
            seen: what ``cross`` made of the memory.
        """

        def look_back(states: Tensor) -> Tensor:
            num, beams = unseen.shape[:2]
            asked, *new = self.decoder.heads(self.qkv(states), num, 3)
            after = first + beams
            past[0, :, :, first:after], past[1, :, :, first:after] = new
            found = scaled_dot_product_attention(
                asked, past[0, :, :, :after], past[1, :, :, :after], unseen[:, None, :, :after]
            )
            return self.out(_merged(found))

        states = self._residual(0, look_back, states)
        states = self._residual(1, lambda x: self.cross(x, seen), states)
        return self._residual(2, lambda x: self.outer(relu(self.inner(x))), states)

    def _residual(self, number: int, part: _Map, states: Tensor) -> Tensor:
        norm = self.norms[number]
        return norm(states + part(states)) if self.post else states + part(norm(states))


class _Cross(Protocol):
    """A decoder layer's attention to the encoder. A sentence's beams see the same."""

    def begin(self, memory: Memory, beams: int) -> Any:
        """What it makes of the memory, which ``Stepping`` keeps for it."""

    def keep(self, seen: Any, sentences: Tensor) -> Any:
        """The same for some of the sentences (M) alone."""

    def __call__(self, states: Tensor, seen: Any) -> Tensor:
        """(N * B, D) to what was found, of the same shape."""


class _Seen(NamedTuple):
    """keys, values: (N, H, M, K); unseen: (N, 1, 1, M), -inf in padding, or None."""

    keys: Tensor
    values: Tensor
    unseen: Tensor | None

    def keep(self, sentences: Tensor) -> _Seen:
        return _Seen(*(None if part is None else part[sentences] for part in self))  # type: ignore[arg-type]


class _Attention:
    """To one kind of thing: to the encoder's states, or to regions."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._decoder = decoder
        self._query, self._out = decoder.linears(module.q_proj), decoder.linears(module.output_proj)
        self._key_value = decoder.linears(module.k_proj, module.v_proj)

    def see(self, states: Tensor, lens: Sequence[int]) -> _Seen:
        num, width = states.shape[:2]
        keys, values = self._decoder.heads(self._key_value(states.to(self._decoder.dtype)), num, 2)
        unseen = None
        if min(lens) < width:
            beyond = torch.arange(width, device=states.device) >= torch.tensor(lens, device=states.device)[:, None]
            unseen = keys.new_zeros((num, 1, 1, width)).masked_fill_(beyond[:, None, None], -torch.inf)
        return _Seen(keys.contiguous(), values.contiguous(), unseen)

    def __call__(self, states: Tensor, seen: _Seen) -> Tensor:
        asked = self._decoder.heads(self._query(states), len(seen.keys))[0]
        return self._out(_merged(scaled_dot_product_attention(asked, *seen)))


class _TextCross:
    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._text = _Attention(decoder, module)

    def begin(self, memory: Memory, beams: int) -> _Seen:
        return self._text.see(memory.states, memory.lens)

    def keep(self, seen: _Seen, sentences: Tensor) -> _Seen:
        return seen.keep(sentences)

    def __call__(self, states: Tensor, seen: _Seen) -> Tensor:
        return self._text(states, seen)


class _DoubleCross:
    """``mmt.fusion.DoubleAttention``."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._text, self._image = _Attention(decoder, module), _Attention(decoder, module.image_attn)
        self._gate_text = decoder.linear(module.gate_text.weight, module.gate_text.bias)
        self._gate_image = decoder.linear(module.gate_image.weight, None)

    def begin(self, memory: Memory, beams: int) -> tuple[_Seen, _Seen | None, Tensor | None]:
        text = self._text.see(memory.states, memory.lens)
        if memory.image is None:
            return text, None, None
        return text, self._image.see(memory.image, memory.image_layout.seq_lens), memory.has_image

    def keep(self, seen: Any, sentences: Tensor) -> Any:
        text, image, has = seen
        return (
            text.keep(sentences),
            None if image is None else image.keep(sentences),
            None if has is None else has[sentences],
        )

    def __call__(self, states: Tensor, seen: Any) -> Tensor:
        of_text, of_image, has = seen
        text = self._text(states, of_text)
        if of_image is None:
            return text
        image = self._image(states, of_image)
        gate = torch.sigmoid(self._gate_text(text) + self._gate_image(image))
        added = (gate * image).unflatten(0, (len(has), -1))
        return text + torch.where(has, added, torch.zeros_like(added)).flatten(0, 1)


class _OtherCross:
    """Of a fusion that is not ours: the module itself, which gets the memory of each beam."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def begin(self, memory: Memory, beams: int) -> Any:
        rows = torch.arange(len(memory.states), device=memory.states.device).repeat_interleave(beams)
        return memory.take(rows), IncrementalStateBag(1), beams

    def keep(self, seen: Any, sentences: Tensor) -> Any:
        memory, state, beams = seen
        rows = (sentences.unsqueeze(1) * beams + torch.arange(beams, device=sentences.device)).flatten()
        state.reorder(rows)
        return memory.take(rows), state, beams

    def __call__(self, states: Tensor, seen: Any) -> Tensor:
        memory, state, _ = seen
        states = states.unsqueeze(1)
        found = self._module(
            states, BatchLayout.of(states), memory, memory.layout, memory, AttentionBiasCache(), state_bag=state
        )
        return found[:, 0]  # type: ignore[no-any-return]


def _cross(decoder: StepDecoder, module: nn.Module) -> _Cross:
    if type(module) is StandardMultiheadAttention:
        return _TextCross(decoder, module)
    return _DoubleCross(decoder, module) if type(module) is DoubleAttention else _OtherCross(module)


def _merged(states: Tensor) -> Tensor:
    """(N, H, B, K) to (N * B, D)."""
    return states.transpose(1, 2).flatten(2).flatten(0, 1)
