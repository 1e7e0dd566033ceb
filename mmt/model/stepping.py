"""The decoder, one token at a time, for translating: the same maths as ``MMTModel.decode``, laid out for speed.

Legend: N sentences, B beams, T steps so far, M positions of the memory, H heads, K width of a head, D model width,
V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import torch
from fairseq2.models.transformer import (
    AttentionBiasCache,
    StandardMultiheadAttention,
    TransformerNormOrder,
)
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from mmt.model.attention import Lens, beyond, wide_enough
from mmt.model.fusion import DoubleAttention, Memory
from mmt.model.model import MMTModel

Precision = Literal["float32", "bfloat16", "int8"]
_Map = Callable[[Tensor], Tensor]
_Remember = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_FEW = 8  # sentences of a batch up to which the fused attention kernel is faster


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
        self.num_heads = model.text.sizes.num_heads
        frontend: Any = model.text.frontend
        self.scale = float(frontend.scale)
        self.embed = self.copied(frontend.embed.weight)
        self.positions = self.copied(frontend.pos_encoder.freqs[1:])  # the first is for padding
        decoder: Any = model.text.decoder
        self.layers = [_Layer(self, layer) for layer in decoder.layers]
        self.last_norm = None if decoder.layer_norm is None else self.norm(decoder.layer_norm)
        self.project = self.linear(model.text.final_proj.weight, model.text.final_proj.bias)
        """(N * B, D) states to (N * B, V) logits."""

    @property
    def has_foreign_parts(self) -> bool:
        """Whether its attention to the encoder is a user's own, which is used as it is."""
        return any(isinstance(layer.cross, _OtherCross) for layer in self.layers)

    def embedded(self, tokens: Tensor, position: Tensor) -> Tensor:
        """(N, B) tokens, all at one position, to (N * B, D)."""
        return self.embed[tokens.flatten()] * self.scale + position

    def normed(self, states: Tensor) -> Tensor:
        """The states of the last layer as the output projection takes them."""
        return states if self.last_norm is None else self.last_norm(states)

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
            if bias is None:
                return lambda states: states @ weight.T
            turned = weight.T.contiguous()  # for a few rows twice as fast
            return lambda states: torch.addmm(bias, states, turned)
        scales = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(rounded, bias)
        return lambda states: torch.ops.quantized.linear_dynamic(states, packed)

    def linears(self, *modules: Any) -> _Map:
        """Several projections of the same states as one."""
        return self.linear(torch.cat([one.weight for one in modules]), torch.cat([one.bias for one in modules]))

    def heads(self, states: Tensor, num: int, parts: int = 1) -> Tensor:
        """(num * any, parts * D) to (parts, num, H, any, K)."""
        width = states.size(1) // parts // self.num_heads
        return states.view(num, -1, parts, self.num_heads, width).permute(2, 0, 3, 1, 4)


class Stepping:
    """A batch in the middle of being translated.

    The keys and values of a beam stay where they were written. What changes when beams are chosen anew is which of
    its sentence's a beam may see: its own past.
    """

    def __init__(self, decoder: StepDecoder, memory: Memory, beams: int, limit: int) -> None:
        self.decoder, self.num_steps = decoder, 0
        num, dim = len(memory.states), memory.states.size(2)
        like = memory.states.new_empty(0, dtype=decoder.dtype)
        heads = decoder.num_heads
        self._past = like.new_empty((len(decoder.layers), 2, num, heads, limit * beams, dim // heads))
        self._used = 0  # of its places
        self._unseen = like.new_empty((num, 1, 0))  # (N, B, used): 0 where a beam may look, else -inf
        self._seen = [layer.cross.begin(memory) for layer in decoder.layers]

    def step(self, tokens: Tensor) -> Tensor:
        """(N, B) the last token of each beam to (N * B, D) states, from which the next one is read.

        There may be fewer beams than were asked for: at first one is enough.
        """
        decoder, (num, beams) = self.decoder, tokens.shape
        own = self._unseen.new_full((beams, beams), -torch.inf).fill_diagonal_(0)
        self._unseen = torch.cat([self._unseen, own.expand(num, -1, -1)], dim=2)
        states = decoder.embedded(tokens, decoder.positions[self.num_steps])
        for number, (layer, seen) in enumerate(zip(decoder.layers, self._seen, strict=True)):
            states = layer(states, partial(self._remember, number), self._unseen, seen)
        self._used += beams
        self.num_steps += 1
        return decoder.normed(states)

    def _remember(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps those of this step, (N, H, B, K), and gives all."""
        past = self._past[layer, :, :, :, : self._used + keys.size(2)]
        past[0, :, :, self._used :], past[1, :, :, self._used :] = keys, values
        return past[0], past[1]

    def choose(self, parents: Tensor) -> None:
        """Goes on with ``parents`` (N, B), the beams of each sentence that are continued."""
        self._unseen = self._unseen.gather(1, parents.unsqueeze(2).expand(-1, -1, self._used))

    def keep(self, sentences: Tensor) -> None:
        """Goes on with some sentences (M) alone."""
        before, used = self._past, self._used
        self._past = before.new_empty((*before.shape[:2], len(sentences), *before.shape[3:]))
        self._past[:, :, :, :, :used] = before[:, :, :, :, :used][:, :, sentences]
        self._unseen = self._unseen[sentences]
        self._seen = [
            layer.cross.keep(seen, sentences) for layer, seen in zip(self.decoder.layers, self._seen, strict=True)
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
        self.activation: _Map = layer.ffn.inner_activation

    def __call__(self, states: Tensor, remember: _Remember, unseen: Tensor, seen: Any) -> Tensor:
        """
        Args:
            states: (N * B, D).
            remember: makes of the keys and values of this step those of all steps, (N, H, P, K).
            unseen: (N, B, P), -inf where a beam must not look.
            seen: what ``cross`` made of the memory.
        """

        def look_back(states: Tensor) -> Tensor:
            asked, keys, values = self.decoder.heads(self.qkv(states), unseen.size(0), 3)
            return self.out(_attend(asked, *remember(keys, values), unseen.unsqueeze(1)))

        states = self._residual(0, look_back, states)
        states = self._residual(1, lambda x: self.cross(x, seen), states)
        return self._residual(2, lambda x: self.outer(self.activation(self.inner(x))), states)

    def _residual(self, number: int, part: _Map, states: Tensor) -> Tensor:
        norm = self.norms[number]
        return norm(states + part(states)) if self.post else states + part(norm(states))


class _Cross(Protocol):
    """A decoder layer's attention to the encoder, which is the same for all beams of a sentence."""

    def begin(self, memory: Memory) -> Any:
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
    """To one kind of thing: to the encoder's states, or, as a part of ``_DoubleCross``, to regions."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._decoder = decoder
        self._query, self._out = decoder.linears(module.q_proj), decoder.linears(module.output_proj)
        self._key_value = decoder.linears(module.k_proj, module.v_proj)

    def begin(self, memory: Memory) -> _Seen:
        return self.see(memory.states, memory.lens)

    def keep(self, seen: _Seen, sentences: Tensor) -> _Seen:
        return seen.keep(sentences)

    def see(self, states: Tensor, lens: Lens) -> _Seen:
        num, width = states.shape[:2]
        keys, values = self._decoder.heads(self._key_value(states.flatten(0, 1).to(self._decoder.dtype)), num, 2)
        padding = None
        if isinstance(lens, Tensor) or min(lens) < width:
            padding = beyond(torch.as_tensor(lens, device=states.device), width)[:, None, None]
        if not torch.compiler.is_exporting() and num >= _FEW:
            keys, values, padding = wide_enough(keys, values, padding)
        unseen = None
        if padding is not None:
            unseen = keys.new_zeros(padding.shape).masked_fill_(padding, -torch.inf)
        return _Seen(keys.contiguous(), values.contiguous(), unseen)

    def __call__(self, states: Tensor, seen: _Seen) -> Tensor:
        asked = self._decoder.heads(self._query(states), seen.keys.size(0))[0]
        return self._out(_attend(asked, *seen))


class _DoubleCross:
    """``mmt.model.fusion.DoubleAttention``."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._text, self._image = _Attention(decoder, module), _Attention(decoder, module.image_attn)
        self._gate_text = decoder.linear(module.gate_text.weight, module.gate_text.bias)
        self._gate_image = decoder.linear(module.gate_image.weight, None)

    def begin(self, memory: Memory) -> tuple[_Seen, _Seen | None, Tensor | None]:
        text = self._text.see(memory.states, memory.lens)
        if memory.image is None:
            return text, None, None
        return text, self._image.see(memory.image, memory.regions_seen), memory.has_image

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
        added = (gate * image).view(has.size(0), -1, text.size(1))
        return text + torch.where(has, added, torch.zeros_like(added)).flatten(0, 1)


class _OtherCross:
    """Of a fusion that is not ours: the module itself, which sees a sentence's beams as so many positions."""

    def __init__(self, decoder: StepDecoder, module: Any) -> None:
        self._decoder, self._module = decoder, module

    def begin(self, memory: Memory) -> Any:
        return memory, IncrementalStateBag(1)

    def keep(self, seen: Any, sentences: Tensor) -> Any:
        memory, state = seen
        state.reorder(sentences)
        return memory.take(sentences), state

    def __call__(self, states: Tensor, seen: Any) -> Tensor:
        memory, state = seen
        asked = states.view(len(memory.states), -1, states.size(1)).float()
        found = self._module(
            asked, BatchLayout.of(asked), memory, memory.layout, memory, AttentionBiasCache(), state_bag=state
        )
        return found.flatten(0, 1).to(states.dtype)  # type: ignore[no-any-return]


def _cross(decoder: StepDecoder, module: nn.Module) -> _Cross:
    if type(module) is StandardMultiheadAttention:
        return _Attention(decoder, module)
    return _DoubleCross(decoder, module) if type(module) is DoubleAttention else _OtherCross(decoder, module)


def _attend(asked: Tensor, keys: Tensor, values: Tensor, unseen: Tensor | None) -> Tensor:
    """Attention of (N, H, B, K) to (N, H, M, K), as (N * B, D); ``unseen`` is added to every head's scores."""
    num, heads, beams, width = asked.shape
    if not torch.compiler.is_exporting() and (num < _FEW or asked.is_cuda):
        found = scaled_dot_product_attention(asked, keys, values, unseen)
    else:  # many small products: on a CPU faster than the fused kernel, which takes one after the other
        asked = asked.reshape(-1, beams, width) * width**-0.5
        scores = torch.bmm(asked, keys.flatten(0, 1).transpose(1, 2)).view(num, heads, beams, -1)
        if unseen is not None:
            scores += unseen
        weights = torch.softmax(scores, dim=-1).flatten(0, 1)
        found = torch.bmm(weights, values.flatten(0, 1)).view(num, heads, beams, width)
    return found.transpose(1, 2).flatten(2).flatten(0, 1)
