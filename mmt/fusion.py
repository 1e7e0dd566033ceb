"""Where and how the image enters. Legend: N sentences, S source tokens, R image regions, D model width."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Lets the image into the encoder's output. A new fusion is one subclass and one entry in ``FUSIONS``.

    Laws that every fusion keeps: a row without a real region equals ``text`` exactly, and padding regions
    change nothing.
    """

    def forward(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Tensor:
        """
        Args:
            text: (N, S, D) encoder states.
            image: (N, R, D) projected image features, in ``text``'s sentence order.
            image_pad: (N, R) bool, True where there is no region; None if every region is real.
        Returns:
            (N, S, D); rows with no real region equal ``text``.
        """
        raise AssertionError("a fusion defines forward()")


class GatedFusion(Fusion):
    """Adds to each source token what the image says, as much as a gate lets through.

    H' = H + sigmoid(W [H; V]) * V, V the mean of the image's regions (one for pooled features),
    Wu et al. (2021), https://aclanthology.org/2021.acl-long.480.
    """

    def __init__(self, model_dim: int) -> None:
        super().__init__()
        # W [H; V] in two halves, so that the image's is computed once a sentence and not once a token.
        self.gate_text = nn.Linear(model_dim, model_dim)
        self.gate_image = nn.Linear(model_dim, model_dim, bias=False)
        for half in (self.gate_text, self.gate_image):
            nn.init.xavier_uniform_(half.weight)
        nn.init.zeros_(self.gate_text.bias)

    def gate(self, text: Tensor, pooled: Tensor) -> Tensor:
        """(N, S, D) in (0, 1): how much of ``pooled`` (N, 1, D) reaches each token and width."""
        return torch.sigmoid(self.gate_text(text) + self.gate_image(pooled))

    def forward(self, text: Tensor, image: Tensor, image_pad: Tensor | None) -> Tensor:
        pooled = mean_region(image, image_pad)  # 0 in a row without a real region, which then adds nothing
        return text + self.gate(text, pooled) * pooled


FUSIONS: dict[str, type[GatedFusion] | None] = {"none": None, "gated": GatedFusion}


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
