"""Where and how the image enters. Legend: N sentences, S source tokens, R image regions, D model width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Look:
    """What a fusion did.

    states: (N, S, D), the encoder's output; rows with no real region equal the text.
    text: (N, S, D), what went in, before the image.
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


class Fusion(nn.Module):
    """Lets the image into the encoder's output. A new fusion is one subclass and one entry in ``FUSIONS``.

    Laws that every fusion keeps: a row without a real region equals ``text`` exactly, and padding regions
    change nothing.
    """

    def look(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Look:
        """
        Args:
            text: (N, S, D) encoder states.
            image: (N, R, D) projected image features, in ``text``'s sentence order.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        """
        raise AssertionError("a fusion defines look()")

    def forward(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Tensor:
        """(N, S, D): the states of ``look``, which see for the arguments."""
        return self.look(text, image, image_pad).states


class GatedFusion(Fusion):
    """Adds to each source token what the image says, as much as a gate lets through.

    H' = H + sigmoid(W [H; V]) * V, V the mean of the image's regions (one for pooled features),
    Wu et al. (2021), https://aclanthology.org/2021.acl-long.480.
    """

    def __init__(self, model_dim: int) -> None:
        super().__init__()
        # W [H; V] in two halves, so that the image's is computed once a sentence and not once a token.
        self.gate_text = _linear(model_dim)
        self.gate_image = _linear(model_dim, bias=False)

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

    def __init__(self, model_dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = _linear(model_dim), _linear(model_dim, bias=False), _linear(model_dim)
        self.gate_text, self.gate_image = _linear(model_dim), _linear(model_dim, bias=False)

    def look(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Look:
        scores = self.query(text) @ self.key(image).transpose(1, 2) / text.size(-1) ** 0.5  # (N, S, R)
        value, real = self.value(image), None
        if image_pad is not None:
            pad = image_pad.unsqueeze(1)  # (N, 1, R)
            # Finite, so that a row without a region has a softmax; it finds 0, and gets the text below.
            scores = scores.masked_fill(pad, torch.finfo(scores.dtype).min)
            value = value.masked_fill(image_pad.unsqueeze(-1), 0)  # even nan in a padding region must not matter
            real = ~pad.all(dim=2, keepdim=True)  # (N, 1, 1)
        attention = torch.softmax(scores, dim=-1)
        found = attention @ value  # (N, S, D)
        gate = torch.sigmoid(self.gate_image(found) + self.gate_text(text))
        states = (1 - gate) * text + gate * found
        if real is not None:
            states = torch.where(real, states, text)
        return Look(states, text, gate * found, gate, attention)


FUSIONS: dict[str, Callable[[int], Fusion] | None] = {
    "none": None,
    "gated": GatedFusion,
    "selective": SelectiveFusion,
}
"""By name; each is built from the model's width."""


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


def _linear(model_dim: int, *, bias: bool = True) -> nn.Linear:
    linear = nn.Linear(model_dim, model_dim, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
