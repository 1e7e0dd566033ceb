"""Heads: what is read from the model's states. Legend: N sentences, P pairs, D model width."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmt.model.config import MMTConfig

_MAX_LOG_SCALE = math.log(100)  # CLIP's limit of the learned temperature


class ContrastiveHead(nn.Module):
    """Projects sentences and images into one space, with a learned temperature."""

    def __init__(self, model_dim: int) -> None:
        super().__init__()
        self.text, self.image = nn.Linear(model_dim, model_dim), nn.Linear(model_dim, model_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """(P, D) sentences and (P, D) images to (P, P) logits, sentences by images."""
        return self.scaling() * self.embed_text(text) @ self.embed_image(image).T

    def scaling(self) -> Tensor:
        """The inverse of the learned temperature."""
        return self.log_scale.clamp(max=_MAX_LOG_SCALE).exp()

    def embed_text(self, text: Tensor) -> Tensor:
        """(N, D) sentences to (N, D) vectors of length 1, in float32: in bfloat16 their length is inexact."""
        return normalize(self.text(text).float(), dim=1)

    def embed_image(self, image: Tensor) -> Tensor:
        """(N, D) images to (N, D) vectors of length 1, in float32."""
        return normalize(self.image(image).float(), dim=1)


class ImaginationHead(nn.Module):
    """Predicts the image's features from the sentence alone."""

    def __init__(self, model_dim: int, image_dim: int) -> None:
        super().__init__()
        self.hidden, self.image = nn.Linear(model_dim, model_dim), nn.Linear(model_dim, image_dim)

    def forward(self, text: Tensor) -> Tensor:
        """(P, D) sentences to (P, image_dim)."""
        image: Tensor = self.image(torch.tanh(self.hidden(text)))
        return image


class LabelHead(nn.Module):
    """Predicts a class or a score from a vector of sentence and image, through one hidden layer."""

    def __init__(self, model_dim: int, width: int, dropout_p: float) -> None:
        super().__init__()
        self.hidden, self.label = nn.Linear(model_dim, model_dim), nn.Linear(model_dim, width)
        self.dropout = nn.Dropout(dropout_p)

    def forward(self, states: Tensor) -> Tensor:
        """(N, D) to (N, width)."""
        label: Tensor = self.label(self.dropout(torch.relu(self.hidden(states))))
        return label


HEADS: dict[str, Callable[[int, MMTConfig], nn.Module]] = {
    "contrastive": lambda model_dim, _: ContrastiveHead(model_dim),
    "imagination": lambda model_dim, config: ImaginationHead(model_dim, sum(dim for _, dim in config.image_sets)),
    "classification": lambda model_dim, config: LabelHead(model_dim, config.num_labels, config.dropout_p),
    "regression": lambda model_dim, config: LabelHead(model_dim, 1, config.dropout_p),
}
"""How each head is built, by its name in ``MMTConfig.heads``; in this order, which fixes their random weights."""
