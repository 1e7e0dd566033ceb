"""The decoder with a KV cache, one token at a time: the same maths as ``MMTModel.decode``, laid out for speed.

fairseq2 is not imported here: of a model, only the weights are taken, by their names.

Legend: N sentences, B beams, T steps so far, P positions in the KV cache, M positions of the memory, H heads,
K width of a head, D model width, V vocabulary, L layers.

A mask is added to attention scores: 0 where a query may attend, -inf elsewhere.

While a graph is exported, states have three axes, (N, B, any) instead of (N * B, any), and ``active`` is
(N, 1, 1) instead of (N * B, 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, relu

from mmt.data.tokenizer import PAD
from mmt.model.cross_attention import OtherCross, active_rows, attend, cross_attention

if TYPE_CHECKING:
    from mmt.model.fusion import Memory
    from mmt.model.model import MMTModel

Precision = Literal["float32", "bfloat16", "int8"]
_Map = Callable[[Tensor], Tensor]
_RowMap = Callable[[Tensor, Tensor | None], Tensor]
"""Of states (rows, any), and the rows in which adapters and LoRA are active, (rows, 1) bool; None: in none."""
_SelfAttend = Callable[[Tensor], Tensor]
"""A step's q, k and v, (N * B, 3 D), to the output (N * B, D) of its attention to this step and those before."""


class StepDecoder:
    """A model's decoder and output projection, prepared once and used for every batch.

    The projections to q, k and v are one matrix product. The encoder's states are projected to k and v once a
    sentence, not once a beam.

    Args:
        model: its weights are copied, unless they are frozen: after more training, make a new decoder.
        precision: of the decoder's matrices. ``bfloat16`` also rounds states. ``int8`` stores weights as 8-bit
            numbers, with one scale a row, and rounds activations to 8 bits as they come; CPU only. Adapters and
            LoRA stay in float32 then.
        vocabulary: (U) the ids that may be written, sorted, with 0 to 3 among them; None: all. The output layer of
            many languages takes most of the time, and one language needs a part of it.
    """

    def __init__(
        self, model: MMTModel, precision: Precision = "float32", vocabulary: Tensor | None = None
    ) -> None:
        self.model, self.precision, self.vocabulary = model, precision, vocabulary
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.num_heads = model.text.sizes.num_heads
        frontend: Any = model.text.decoder_frontend
        self.scale = float(frontend.scale)
        self.embed = self.copied(frontend.embed.weight)
        self.positions = self.copied(frontend.pos_encoder.freqs[1:])  # the first is for padding
        decoder: Any = model.text.decoder
        self.layers = [_Layer(self, layer) for layer in decoder.layers]
        self.last_norm = None if decoder.layer_norm is None else self.norm(decoder.layer_norm)
        weight: Any = model.text.final_proj.weight
        bias: Any = model.text.final_proj.bias
        self.project: _Map
        if vocabulary is not None:
            self.project = self._restricted(weight, bias, vocabulary)
        elif precision != "int8" and bias is not None:
            # The embedding itself: a copy of a large vocabulary's takes as much memory as the layers do.
            output, offset = self.embed.T, self.copied(bias)
            self.project = lambda states: torch.addmm(offset, states.flatten(0, -2), output)
        else:
            self.project = self.linear(weight, bias)
        """(N * B, D) states to (N * B, V) logits, or (N * B, U)."""

    @property
    def has_foreign_parts(self) -> bool:
        """Whether its attention to the encoder is a user's own, which is used as it is."""
        return any(isinstance(layer.cross, OtherCross) for layer in self.layers)

    def embedded(self, tokens: Tensor, position: Tensor) -> Tensor:
        """(N, B) tokens, all at one position, to (N * B, D)."""
        return self.embed[tokens.flatten()] * self.scale + position

    def normed(self, states: Tensor) -> Tensor:
        """The last layer's states, as the output projection takes them."""
        return states if self.last_norm is None else self.last_norm(states)

    def begin(self, memory: Memory, beams: int, limit: int) -> CachedDecoding:
        """Starts a batch of sentences, each with ``beams`` beams of at most ``limit`` tokens."""
        return CachedDecoding(self, memory, beams, limit)

    def copied(self, weight: Any) -> Tensor:
        """In this decoder's type; a frozen weight is shared where it can be."""
        return weight.detach().to(self.dtype, copy=weight.requires_grad)  # type: ignore[no-any-return]

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
            transposed = weight.T.contiguous()  # for a few rows twice as fast
            return lambda states: _affine(states, transposed, bias)
        largest = torch.linalg.vector_norm(weight, torch.inf, dim=1)  # needs no second matrix, as abs() does
        scales = (largest / 127).clamp(min=torch.finfo(torch.float32).tiny)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(rounded, bias)
        seven_bits = _needs_seven_bits()
        return lambda states: torch.ops.quantized.linear_dynamic(states, packed, seven_bits)

    def _restricted(self, weight: Tensor, bias: Tensor | None, vocabulary: Tensor) -> _Map:
        """The projection to a part of the vocabulary. Pad is never written: its logit stands for all other ids.

        Without them each step's probabilities would be too high, and long hypotheses would be preferred. The
        logits w h + b of the R others have mean m and variance v. If they are normally distributed, the logarithm
        of the sum of their exponentials is log R + m + v / 2, which takes D * D products instead of R * D.
        """
        part = self.linear(weight[vocabulary], None if bias is None else bias[vocabulary])
        mean, covariance, count = _moments(weight, bias, vocabulary[1:])
        if not count:
            return part
        width = weight.size(1)
        # m = mean [h, 1] and v = [h, 1]' covariance [h, 1], written out
        square, cross = covariance[:width, :width].contiguous(), covariance[width, :width]
        slope = mean[:width] + cross
        constant = math.log(count) + float(mean[width] + covariance[width, width] / 2)

        def project(states: Tensor) -> Tensor:
            logits, states = part(states), states.float()
            variance = ((states @ square) * states).sum(dim=-1)
            logits[..., PAD] = states @ slope + variance / 2 + constant
            return logits

        return project

    def linears(self, *modules: Any) -> _RowMap:
        """Several projections of the same states as one, in active rows with LoRA."""
        whole = self.linear(torch.cat([one.weight for one in modules]), torch.cat([one.bias for one in modules]))
        if not any(_has_update(one) for one in modules):
            return lambda states, active: whole(states)
        update = self._low_rank(modules)

        def project(states: Tensor, active: Tensor | None) -> Tensor:
            output = whole(states)
            return output if active is None else torch.where(active, output + update(states), output)

        return project

    def _low_rank(self, modules: Sequence[Any]) -> _Map:
        """The LoRA updates of several projections of the same states; 0 for one that has none."""
        updated = [one for one in modules if _has_update(one)]
        down = self.copied(torch.cat([one.lora_down.weight for one in updated]))
        ups = [one.scale * one.lora_up.weight if _has_update(one) else one.weight[:, :0] for one in modules]
        up = self.copied(torch.block_diag(*ups))  # type: ignore[no-untyped-call]
        return lambda states: states @ down.T @ up.T

    def residual(self, module: Any) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """Adds a sub-layer's output and its input, in active rows with the adapter between them."""
        if not hasattr(module, "adapter_down"):
            return lambda output, states, active: states + output
        down_weight, down_bias = self.copied(module.adapter_down.weight), self.copied(module.adapter_down.bias)
        up_weight, up_bias = self.copied(module.adapter_up.weight), self.copied(module.adapter_up.bias)

        def add(output: Tensor, states: Tensor, active: Tensor | None) -> Tensor:
            if active is not None:
                inner = relu(_affine(output, down_weight.T, down_bias))
                output = torch.where(active, output + _affine(inner, up_weight.T, up_bias), output)
            return states + output

        return add

    def split_heads(self, states: Tensor, num: int, parts: int = 1) -> Tensor:
        """(num * any, parts * D) to (parts, num, H, any, K)."""
        width = states.size(1) // parts // self.num_heads
        return states.view(num, -1, parts, self.num_heads, width).permute(2, 0, 3, 1, 4)


def _affine(states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """states W + b. In a graph, states have three axes, and a product of them needs no Reshape."""
    if torch.compiler.is_exporting():
        return states @ weight + bias
    return torch.addmm(bias, states, weight)


def _has_update(projection: Any) -> bool:
    """Whether it is a ``mmt.model.adapters.LowRankLinear``."""
    return hasattr(projection, "lora_down")


def _moments(weight: Tensor, bias: Tensor | None, vocabulary: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean (D + 1), covariance (D + 1, D + 1) and number of the rows [weight, bias] outside ``vocabulary``."""
    others = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
    others[vocabulary] = False
    if bias is not None:
        others &= bias.isfinite()  # -inf: no word
    ids = others.nonzero()[:, 0]
    count = max(len(ids), 1)
    first = torch.zeros(weight.size(1) + 1, dtype=torch.float64, device=weight.device)
    second = torch.zeros(len(first), len(first), dtype=torch.float64, device=weight.device)
    for part in torch.split(ids, 1 << 14):  # a copy of all rows of a large vocabulary is a gigabyte
        offsets = weight.new_zeros(len(part)) if bias is None else bias.detach()[part]
        rows = torch.cat([weight.detach()[part], offsets[:, None]], dim=1).float()
        first += rows.sum(dim=0)
        second += rows.T @ rows
    mean = first / count
    return mean.float(), (second / count - torch.outer(mean, mean)).float(), len(ids)


def _needs_seven_bits() -> bool:
    """Whether int8 products need activations of 7 bits: x86 without VNNI sums two in 16 bits, which overflow."""
    return torch.backends.quantized.engine in ("x86", "fbgemm") and not torch.cpu._is_vnni_supported()


class CachedDecoding:
    """The decoding of one batch, step by step, with its KV cache.

    A beam's keys and values stay where they were written. Reordering the beams changes only the mask, which lets
    each beam attend to its own past.
    """

    def __init__(self, decoder: StepDecoder, memory: Memory, beams: int, limit: int) -> None:
        self.decoder, self.num_steps = decoder, 0
        num, dim = len(memory.states), memory.states.size(2)
        like = memory.states.new_empty(0, dtype=decoder.dtype)
        heads = decoder.num_heads
        self._kv = like.new_empty((len(decoder.layers), 2, num, heads, limit * beams, dim // heads))
        self._cache_len = 0  # P, the positions in use
        self._mask = like.new_empty((num, 1, 0))  # (N, B, P)
        self._cross_kv = [layer.cross.cached(memory) for layer in decoder.layers]
        self._active = memory.active

    def step(self, tokens: Tensor) -> Tensor:
        """(N, B) the last token of each beam to (N * B, D) states, from which the next token is predicted.

        There may be fewer beams than the cache has room for: one is enough at the first step.
        """
        decoder, (num, beams) = self.decoder, tokens.shape
        own = self._mask.new_full((beams, beams), -torch.inf).fill_diagonal_(0)
        self._mask = torch.cat([self._mask, own.expand(num, -1, -1)], dim=2)
        states = decoder.embedded(tokens, decoder.positions[self.num_steps])
        active = active_rows(self._active, beams)
        for number, (layer, cross_kv) in enumerate(zip(decoder.layers, self._cross_kv, strict=True)):
            states = layer(states, partial(self._self_attend, number), cross_kv, active)
        self._cache_len += beams
        self.num_steps += 1
        return decoder.normed(states)

    def _self_attend(self, layer: int, qkv: Tensor) -> Tensor:
        q, k, v = self.decoder.split_heads(qkv, self._mask.size(0), 3)
        return attend(q, *self._append_to_cache(layer, k, v), self._mask.unsqueeze(1))

    def _append_to_cache(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends this step's keys and values, (N, H, B, K) each, and returns those of all steps."""
        kv = self._kv[layer, :, :, :, : self._cache_len + k.size(2)]
        kv[0, :, :, self._cache_len :], kv[1, :, :, self._cache_len :] = k, v
        return kv[0], kv[1]

    def reorder(self, parents: Tensor) -> None:
        """Makes ``parents`` (N, B) the beams of each sentence; one may stand several times."""
        self._mask = self._mask.gather(1, parents.unsqueeze(2).expand(-1, -1, self._cache_len))

    def select(self, sentences: Tensor) -> None:
        """Keeps the sentences (M) and drops the others."""
        before, used = self._kv, self._cache_len
        self._kv = before.new_empty((*before.shape[:2], len(sentences), *before.shape[3:]))
        self._kv[:, :, :, :, :used] = before[:, :, :, :, :used][:, :, sentences]
        self._mask = self._mask[sentences]
        self._cross_kv = [
            layer.cross.select(cross_kv, sentences)
            for layer, cross_kv in zip(self.decoder.layers, self._cross_kv, strict=True)
        ]
        if self._active is not None:
            self._active = self._active[sentences]


class _Layer:
    """A decoder layer."""

    def __init__(self, decoder: StepDecoder, layer: Any) -> None:
        self.decoder, own = decoder, layer.self_attn
        self.norms = [
            decoder.norm(norm)
            for norm in (layer.self_attn_layer_norm, layer.encoder_decoder_attn_layer_norm, layer.ffn_layer_norm)
        ]
        self.post = layer.norm_order.name == "POST"
        self.qkv = decoder.linears(own.q_proj, own.k_proj, own.v_proj)
        self.out = decoder.linears(own.output_proj)
        self.cross = cross_attention(decoder, layer.encoder_decoder_attn)
        self.inner, self.outer = decoder.linears(layer.ffn.inner_proj), decoder.linears(layer.ffn.output_proj)
        self.activation: _Map = layer.ffn.inner_activation
        self.residuals = [
            decoder.residual(one)
            for one in (layer.self_attn_residual, layer.encoder_decoder_attn_residual, layer.ffn_residual)
        ]

    def __call__(
        self,
        states: Tensor,
        self_attend: _SelfAttend,
        cross_kv: Any,
        active: Tensor | None = None,
    ) -> Tensor:
        """
        Args:
            states: (N * B, D).
            self_attend: the attention to this step and those before.
            cross_kv: what ``cross.cached`` returned.
            active: (N * B, 1) bool, the rows in which adapters and LoRA are active; None: in none.
        """

        def self_attention(states: Tensor) -> Tensor:
            return self.out(self_attend(self.qkv(states, active)), active)

        def ffn(states: Tensor) -> Tensor:
            return self.outer(self.activation(self.inner(states, active)), active)

        states = self._sublayer(0, self_attention, states, active)
        states = self._sublayer(1, lambda x: self.cross(x, cross_kv, active), states, active)
        return self._sublayer(2, ffn, states, active)

    def _sublayer(self, number: int, part: _Map, states: Tensor, active: Tensor | None) -> Tensor:
        norm, add = self.norms[number], self.residuals[number]
        return norm(add(part(states), states, active)) if self.post else add(part(norm(states)), states, active)
