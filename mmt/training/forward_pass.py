"""What several objectives need of a model and a batch, computed once.

Legend: N sentences, P sentences with an image, T target tokens, M real target tokens of these sentences, D model
width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mmt.data.batch import Batch
from mmt.data.tokenizer import PAD
from mmt.model.model import MMTModel


@dataclass
class Pass:
    """A forward pass: a model, a batch, and what several objectives need of them."""

    model: MMTModel
    batch: Batch

    @cached_property
    def state(self) -> Tensor:
        """(N, D), what labels and scores are predicted from."""
        batch = self.batch
        return self.model.represent(batch.source, batch.source_lens, batch.image, batch.image_pad)

    @cached_property
    def states(self) -> Tensor:
        """(N, T, D) decoder states from which ``batch.labels`` are predicted."""
        return self.model.decode_targets(self.batch)

    @property
    def label(self) -> Tensor:
        assert self.batch.label is not None  # noqa: S101  # collate() makes one
        return self.batch.label

    @property
    def score(self) -> Tensor:
        assert self.batch.score is not None  # noqa: S101
        return self.batch.score

    @cached_property
    def image_rows(self) -> Tensor:
        """(P) the sentences with an image."""
        batch = self.batch
        if batch.image is None:
            return torch.arange(0, device=batch.source.device)
        if batch.image_pad is None:
            return torch.arange(len(batch.source), device=batch.source.device)
        return (~batch.image_pad).any(dim=1).nonzero()[:, 0]

    @cached_property
    def illustrated(self) -> Batch:
        """The sentences with an image alone; the first sentence where there are none.

        So every process runs the same layers, as FSDP2 requires. ``real`` leaves that sentence out.
        """
        rows = self.image_rows
        return self.batch.take(rows if len(rows) else torch.zeros(1, dtype=torch.int64, device=rows.device))

    @cached_property
    def real(self) -> Tensor:
        """(P or 1, T') bool: the real target tokens of ``illustrated``, whose longest target has T'."""
        return (self.illustrated.labels != PAD) & bool(len(self.image_rows))

    @cached_property
    def text_states(self) -> Tensor:
        """(M, D) decoder states of ``real`` tokens without the image, without dropout and gradient."""
        batch, model = self.illustrated, self.model
        with without_dropout(model), no_gradient():
            return model.decode_after(batch, model.encode(batch.source, batch.source_lens))[self.real]


@contextmanager
def no_gradient() -> Iterator[None]:
    """``torch.no_grad`` for a pass before one that has a gradient.

    Autocast keeps the rounded copies of weights until it ends, so the second pass would use those that were made
    here, which lead to no gradient.
    """
    try:
        with torch.no_grad():
            yield
    finally:
        torch.clear_autocast_cache()


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards again the mode that each part of the model was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
