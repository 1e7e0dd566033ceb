"""Where and how the image enters. Legend: N sentences, S source tokens, R image regions, D model width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Literal

import torch
from fairseq2.models.transformer import AttentionBiasCache, StandardMultiheadAttention
from fairseq2.nn import BatchLayout, IncrementalStateBag
from torch import Tensor, nn

from mmt.errors import MMTError, nearest
from mmt.model.attention import layout_of
from mmt.model.config import ModelSizes
from mmt.model.padding import Lens, beyond, on_device

STANDARD_ATTENTION = {
    "q_proj", "k_proj", "v_proj", "q_norm", "k_norm", "v_norm", "pos_encoder", "sdpa", "output_proj",
}  # fmt: skip
"""The parts of fairseq2's attention."""


@dataclass(frozen=True)
class Look:
    """What a fusion did to the encoder's output.

    states: (N, S, D), what the decoder gets; rows with no real region equal the text.
    text: (N, S, D), the encoder's states that went in; with adapters, the image has changed these already.
    image: (N, S, D), the image's part in ``states``, after the gate; 0 in rows with no real region.
    gate: (N, S, D) in [0, 1], how much of the image was let through; None where a fusion has no gate.
    attention: (N, S, R), each token's shares of the regions; None where a fusion takes their mean.

    ``gate`` and ``attention`` are finite in rows with no real region, and mean nothing there.
    """

    states: Tensor
    text: Tensor
    image: Tensor
    gate: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True)
class Memory:
    """What the decoder attends to.

    states: (N, M, D), real positions first: source tokens, and behind them regions where a fusion is ``early``.
    lens: real positions of each sentence.
    image: (N, R, D), regions that the decoder attends to by themselves; None unless a fusion is ``late``.
    image_lens: real regions of each sentence, 0 for one without an image.
    active: (N, 1, 1) bool, the sentences for which adapters are active; None for none, or in a model without any.
    """

    states: Tensor
    lens: Lens
    image: Tensor | None = None
    image_lens: Lens | None = None
    active: Tensor | None = None

    @cached_property
    def layout(self) -> BatchLayout:
        return layout_of(self.states, self.lens, self.active)

    @cached_property
    def image_layout(self) -> BatchLayout:
        """One region, of zeros, for a sentence without an image: attention cannot do with none."""
        assert self.image is not None  # noqa: S101
        return layout_of(self.image, self.attended_lens)

    @cached_property
    def attended_lens(self) -> Lens:
        assert self.image_lens is not None  # noqa: S101
        if isinstance(self.image_lens, Tensor):
            return self.image_lens.clamp(min=1)
        return [max(length, 1) for length in self.image_lens]

    @cached_property
    def has_image(self) -> Tensor:
        """(N, 1, 1) bool: the sentences with at least one real region."""
        assert self.image_lens is not None  # noqa: S101
        return on_device(self.image_lens, self.states.device)[:, None, None] > 0

    def take(self, rows: Tensor) -> Memory:
        """The memory of the sentences in ``rows`` (M), in that order; one may stand several times."""

        def of(lens: Lens) -> Lens:
            return lens[rows] if isinstance(lens, Tensor) else [lens[row] for row in rows.tolist()]

        return Memory(
            self.states[rows],
            of(self.lens),
            None if self.image is None else self.image[rows],
            None if self.image_lens is None else of(self.image_lens),
            None if self.active is None else self.active[rows],
        )


Place = Literal["encoder", "between", "decoder"]


class Fusion(nn.Module):
    """Lets the image in, at one or several of three places, each of which leaves the text alone by default.

    A new fusion is one subclass that overrides the places it uses, and one entry in ``FUSIONS``. Laws that
    every fusion keeps: a sentence without a real region is what a text-only model makes of it, and padding
    regions change nothing.
    """

    @classmethod
    def places(cls) -> frozenset[Place]:
        """Where it acts: what the encoder reads, between encoder and decoder, or the decoder's attention."""
        acts: dict[Place, bool] = {
            "encoder": cls.before_encoder is not Fusion.before_encoder,
            "between": cls.look is not Fusion.look,
            "decoder": cls.cross_attention is not StandardMultiheadAttention,
        }
        return frozenset(place for place, does in acts.items() if does)

    def owns(self, name: str) -> bool:
        """Whether a weight in the text model belongs to this fusion: a text-only model does not have it.

        By default, what ``cross_attention`` adds to fairseq2's attention. A fusion that puts more into the text
        model's layers overrides this.

        Args:
            name: of the weight, as in the model's state dict (``text.decoder.layers.0...``).
        """
        _, _, part = name.partition(".encoder_decoder_attn.")
        return bool(part) and part.partition(".")[0] not in STANDARD_ATTENTION

    pooled = False
    """Whether it takes one vector of each set of features, the mean over the set's regions, as its region."""

    cross_attention: type[StandardMultiheadAttention] = StandardMultiheadAttention
    """A decoder layer's attention to the encoder. A subclass gets the whole ``Memory`` as its keys."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()

    def before_encoder(
        self, tokens: Tensor, lens: Lens, image: Tensor, image_pad: Tensor | None
    ) -> tuple[Tensor, Lens]:
        """
        Args:
            tokens: (N, S, D) embedded source tokens.
            lens: how many of each sentence's tokens are real.
            image: (N, R, D) projected image features, in ``tokens``'s sentence order.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        Returns:
            What the encoder reads, real positions first, and how many of each sentence's are real.
        """
        return tokens, lens

    def after_encoder(self, states: Tensor, lens: Lens, source_lens: Lens, num_tokens: int) -> tuple[Tensor, Lens]:
        """Which of the encoder's states the decoder may attend to: all of them, unless overridden.

        Args:
            states: (N, L, D) of what ``before_encoder`` gave: the source tokens are still first in each row.
            lens: how many of each row's states are real.
            source_lens: how many of each sentence's source tokens are real.
            num_tokens: S, source tokens of the longest sentence.
        """
        return states, lens

    def look(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Look | None:
        """Between encoder and decoder; None where a fusion does nothing there.

        Args:
            text: (N, S, D) encoder states.
            image: (N, R, D) projected image features, in ``text``'s sentence order.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        """
        return None


class EarlyFusion(Fusion):
    """Image regions become tokens beside the sentence's, and one encoder reads both; the decoder sees both.

    E' = [E; V], Caglayan et al. (2017), https://aclanthology.org/W17-4746, with the Transformer's encoder as in
    VL-BERT, Su et al. (2020), https://arxiv.org/abs/1908.08530. The regions have no position, so that it does not
    matter that they stand behind the sentence; what makes them regions is the bias of their projection.
    """

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__(sizes)
        self.dropout = nn.Dropout(sizes.dropout_p)  # as the text's embeddings have it

    def before_encoder(
        self, tokens: Tensor, lens: Lens, image: Tensor, image_pad: Tensor | None
    ) -> tuple[Tensor, Lens]:
        if image_pad is None:
            image_pad = torch.zeros(image.shape[:2], dtype=torch.bool, device=image.device)
        text_pad = beyond(on_device(lens, tokens.device), tokens.size(1))  # (N, S)
        return real_first(torch.cat([tokens, self.dropout(image)], 1), torch.cat([text_pad, image_pad], 1))


class PrefixFusion(EarlyFusion):
    """The encoder reads the image's regions beside the sentence, and the decoder does not see them.

    As ``early``, but the decoder attends to the source tokens' states alone, in which the encoder has mixed text
    and image. ZeroMMT, Futeral et al. (2024), https://arxiv.org/abs/2407.13579, puts one projected image vector
    before the sentence and trains it with adapters (``adapter_dim``) in a frozen model. Our regions stand behind
    the sentence, which makes no difference, as they have no position.
    """

    def after_encoder(self, states: Tensor, lens: Lens, source_lens: Lens, num_tokens: int) -> tuple[Tensor, Lens]:
        return states[:, :num_tokens], source_lens


class ConcatFusion(Fusion):
    """Two streams, joined: each source token beside the image, through one linear layer.

    H' = W [H; V] + b, V the mean of the image's regions. W begins as the identity on H, as a sentence
    without an image keeps H.
    """

    pooled = True

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__(sizes)
        # W [H; V] in two halves, so that the image's is computed once a sentence and not once a token.
        self.text, self.image = _linear(sizes.model_dim), _linear(sizes.model_dim, bias=False)
        nn.init.eye_(self.text.weight)

    def look(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Look:
        states = self.text(text) + self.image(mean_region(image, image_pad))
        if image_pad is not None:
            states = torch.where(has_region(image_pad), states, text)
        return Look(states, text, states - text)


class GatedFusion(Fusion):
    """Adds to each source token what the image says, as much as a gate lets through.

    H' = H + sigmoid(W [H; V]) * V, V the mean of the image's regions (one for pooled features),
    Wu et al. (2021), https://aclanthology.org/2021.acl-long.480.
    """

    pooled = True

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__(sizes)
        # W [H; V] in two halves, so that the image's is computed once a sentence and not once a token.
        self.gate_text = _linear(sizes.model_dim)
        self.gate_image = _linear(sizes.model_dim, bias=False)

    def look(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Look:
        pooled = mean_region(image, image_pad)  # 0 in a row without a real region, which then adds nothing
        gate = torch.sigmoid(self.gate_text(text) + self.gate_image(pooled))
        return Look(text + gate * pooled, text, gate * pooled, gate)


class SelectiveFusion(Fusion):
    """Each source token attends to the regions, and a gate mixes what it found with the text.

    A = softmax(Q(H) K(V)' / sqrt(D)) U(V), g = sigmoid(W [A; H]), H' = (1 - g) * H + g * A,
    Li et al. (2022), https://aclanthology.org/2022.acl-long.438. K has no bias: it would
    add the same to the scores of all regions, which a softmax does not see.
    """

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__(sizes)
        dim = sizes.model_dim
        self.query, self.key, self.value = _linear(dim), _linear(dim, bias=False), _linear(dim)
        self.gate_text, self.gate_image = _linear(dim), _linear(dim, bias=False)

    def look(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Look:
        scores = self.query(text) @ self.key(image).transpose(1, 2) / text.size(-1) ** 0.5  # (N, S, R)
        value = self.value(image)
        if image_pad is not None:
            # Finite, so that a row without a region has a softmax; it finds 0, and gets the text below.
            scores = scores.masked_fill(image_pad.unsqueeze(1), torch.finfo(scores.dtype).min)
            value = value.masked_fill(image_pad.unsqueeze(-1), 0)  # even nan in a padding region must not matter
        attention = torch.softmax(scores, dim=-1)
        found = attention @ value  # (N, S, D)
        gate = torch.sigmoid(self.gate_image(found) + self.gate_text(text))
        states = (1 - gate) * text + gate * found
        if image_pad is not None:
            states = torch.where(has_region(image_pad), states, text)
        return Look(states, text, gate * found, gate, attention)


class DoubleAttention(StandardMultiheadAttention):  # type: ignore[misc]  # final for type checkers only
    """A decoder layer's attention to the text, and beside it one to the image's regions, with a gate.

    C = C_text + sigmoid(W [C_text; C_image]) * C_image, where each C is an attention's output.
    """

    def __init__(self, model_dim: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(model_dim, *args, **kwargs)  # the text's: with the names that a text-only model has
        self.image_attn = StandardMultiheadAttention(model_dim, *args, **kwargs)
        self.gate_text, self.gate_image = _linear(model_dim), _linear(model_dim, bias=False)

    def forward(  # type: ignore[override]  # keys and values are a Memory here
        self,
        seqs: Tensor,
        seqs_layout: BatchLayout,
        keys: Memory,
        keys_layout: BatchLayout,
        values: Memory,
        bias_cache: AttentionBiasCache,
        *,
        state_bag: IncrementalStateBag | None = None,
    ) -> Tensor:
        memory = keys
        text: Tensor = super().forward(
            seqs, seqs_layout, memory.states, keys_layout, memory.states, bias_cache, state_bag=state_bag
        )
        if memory.image is None:
            return text
        image = self.image_attn(
            seqs,
            seqs_layout,
            memory.image,
            memory.image_layout,
            memory.image,
            AttentionBiasCache(),  # the other one is for the text's padding
            state_bag=state_bag,
        )
        gate = torch.sigmoid(self.gate_text(text) + self.gate_image(image))
        return torch.where(memory.has_image, text + gate * image, text)


class LateFusion(Fusion):
    """The decoder attends to the text and to the image separately, in every layer, and a gate mixes the two.

    ``DoubleAttention``: the doubly attentive decoder of Calixto et al. (2017), https://aclanthology.org/P17-1175,
    in the Transformer as the parallel combination of Libovický et al. (2018), https://aclanthology.org/W18-6326,
    which adds the contexts up; the gate, a scalar in the former, is one number a width and sees both contexts.
    """

    cross_attention = DoubleAttention


class HybridFusion(EarlyFusion, LateFusion):
    """Early and late together: one encoder reads text and regions, and the decoder looks at the regions again."""


FUSIONS: dict[str, type[Fusion] | None] = {
    "none": None,
    "early": EarlyFusion,
    "prefix": PrefixFusion,
    "concat": ConcatFusion,
    "gated": GatedFusion,
    "selective": SelectiveFusion,
    "late": LateFusion,
    "hybrid": HybridFusion,
}
"""By name; each is built from the model's sizes."""


def find_fusion(name: str) -> type[Fusion] | None:
    """The class of a fusion, None for text only: of ``FUSIONS``, or of an installed package's entry point.

    A package adds a fusion by an entry point in the group ``mmt.fusions``, whose name is the fusion's.

    Raises:
        MMTError: there is no such fusion.
    """
    if name not in FUSIONS:
        for entry in entry_points(group="mmt.fusions", name=name):
            FUSIONS[name] = entry.load()
    if name not in FUSIONS:
        raise MMTError(
            f"unknown fusion '{name}'.{nearest(name, FUSIONS)} Known: {', '.join(FUSIONS)}. For one of your own "
            "give --import MODULE, which adds it to mmt.model.fusion.FUSIONS."
        )
    return FUSIONS[name]


def fusion_places(name: str) -> frozenset[Place]:
    """Where a fusion acts, by its name; nowhere for ``none``. Raises MMTError if there is no such fusion."""
    kind = find_fusion(name)
    return frozenset() if kind is None else kind.places()


def mean_region(image: Tensor, image_pad: Tensor | None) -> Tensor:
    """Mean over the real regions.

    Args:
        image: (N, R, D).
        image_pad: (N, R) bool, True where there is no region; None if every region is real.
    Returns:
        (N, 1, D) means, 0 in rows without a real region.
    """
    if image_pad is None:
        return image.mean(dim=1, keepdim=True)
    real = (~image_pad).unsqueeze(-1)  # (N, R, 1)
    count = real.sum(dim=1, keepdim=True)  # (N, 1, 1)
    # where, not multiplication: what lies in a padding region (even nan) must not matter.
    total = torch.where(real, image, torch.zeros_like(image)).sum(dim=1, keepdim=True)
    return total / count.clamp(min=1)


def real_first(states: Tensor, pad: Tensor) -> tuple[Tensor, Lens]:
    """Moves padding behind what is real, and cuts off what no row needs.

    Args:
        states: (N, L, D).
        pad: (N, L) bool, True where there is nothing.
    Returns:
        (N, the most real positions, at least 1, D), 0 in padding, and the number of each row's real positions.
        Nothing is cut off while a model is exported, and on a GPU, which would wait for the numbers.
    """
    width = pad.size(1)
    order = (pad * width + torch.arange(width, device=pad.device)).argsort(dim=1)
    num_real = (~pad).sum(dim=1)
    whole = torch.compiler.is_exporting() or pad.device.type != "cpu"
    lens: Lens = num_real if whole else num_real.tolist()
    if not isinstance(lens, Tensor):
        order = order[:, : max(*lens, 1)]
    states = states.masked_fill(pad.unsqueeze(-1), 0)  # even nan in padding must not matter
    return states.gather(1, order.unsqueeze(-1).expand(-1, -1, states.size(2))), lens


def has_region(image_pad: Tensor) -> Tensor:
    """(N, R) bool, True where there is no region, to (N, 1, 1) bool: the sentences with at least one."""
    return ~image_pad.all(dim=1)[:, None, None]


def _linear(model_dim: int, *, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(model_dim, model_dim, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
