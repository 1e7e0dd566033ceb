"""A model folder loaded in torch, for everything that works with a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmt.data.batch import Batch, Example, collate
from mmt.data.feature_store import FeatureStore, side_by_side
from mmt.data.tokenizer import Tokenizer
from mmt.errors import local_path
from mmt.inference.runtime_model import Features, ImageFeatures, ImageFile, RuntimeModel, open_store
from mmt.io.devices import to_device
from mmt.model.card import ModelCard
from mmt.model.config import is_base
from mmt.model.folder import load_model
from mmt.model.model import MMTModel
from mmt.model.pretrained.base import load_base

if TYPE_CHECKING:
    from mmt.features.backbone import Backbone

_ROWS = 128  # rows of logits in memory at a time


class LoadedModel(RuntimeModel):
    """Model, tokenizer, card and image features: what translating, scoring, labelling and embedding take.

    >>> loaded = LoadedModel.from_dir("model", "features")                  # doctest: +SKIP
    >>> score_pairs(loaded, ["A bat."], ["Eine Fledermaus."], ["bat.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self, model: MMTModel, tokenizer: Tokenizer, card: ModelCard, features: FeatureStore | None = None
    ) -> None:
        """Raises as ``RuntimeModel``."""
        super().__init__(tokenizer, card, features)
        self.model = model

    device = "cpu"
    """Where the model computes; image files are read on the CPU."""

    def to(self, device: str) -> Self:
        """Moves the model to a device, such as ``cuda``. Raises MMTError if it is missing."""
        to_device(self.model, device)
        self.device = device
        return self

    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        features: Features = None,
        *,
        source_lang: str | None = None,
        target_lang: str | None = None,
    ) -> Self:
        """Loads a model folder, or a pretrained text model.

        Args:
            folder: what ``mmt train`` wrote to OUT/model; may have been moved. Or FAMILY:NAME_OR_FOLDER of a
                pretrained model, such as ``nllb:facebook/nllb-200-distilled-600M``.
            features: a feature store in which images are then looked up by id, or a list with one for each set of
                features that the model was trained with; without it images are read from files, by its backbones.
            source_lang, target_lang: codes of the languages, of a model that has several; None is the model's own.
        Raises:
            MMTError: no model folder, a damaged one, features of another backbone (named), or an unknown language.
        """
        if is_base(folder):
            model, tokenizer, card = load_base(str(folder), source_lang or "", target_lang or "")
            loaded = cls(model, tokenizer, card, open_store(features))
        else:
            loaded = cls(*load_model(local_path(folder)), open_store(features))
            loaded.set_languages(source_lang, target_lang)
        loaded.model.requires_grad_(False)  # so that decoders share the weights and copy none
        return loaded

    @cached_property
    def backbones(self) -> list[Backbone]:
        """The networks that made the features the model was trained on, one for each set; loaded at first use.

        Raises:
            MMTError: one is missing.
        """
        # Imported at first use: torchvision takes a second, and text needs none of it.
        from mmt.features.load import load_backbones

        self.refuse_images("images")
        assert self.card.features is not None  # noqa: S101  # else refuse_images() has raised
        return load_backbones(self.card.features)

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        from mmt.features.extract import compute_features

        return side_by_side([compute_features(images, backbone) for backbone in self.backbones])

    def check_image(self, path: Path) -> None:
        self.backbones[0].read(path)

    def notes(self) -> list[str]:
        loaded = vars(self).get("backbones", [])  # none, unless files were read
        return sorted({note for backbone in loaded for note in backbone.notes})

    @property
    def num_positions(self) -> int:
        return self.model.text.sizes.max_length

    def token_log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[NDArray[np.float64]]:
        rows = token_log_probs(self.model, self.batch(sources, images, targets)).cpu().numpy()
        return [row[: len(ids) + 1] for row, ids in zip(rows, targets, strict=True)]

    def batch(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]] | None = None,
    ) -> Batch:
        """Pads sentences to a batch.

        Args:
            sources: ids of each sentence, without eos.
            images: (R, dim) of each sentence's image, as ``features_of`` gives them; None for none.
            targets: ids of each translation, for scoring; without prompt and eos.
        """
        pairs = zip(sources, targets or [[] for _ in sources], strict=True)
        batch = collate([Example(source, target, prompt=self.tokenizer.prompt) for source, target in pairs])
        rows = [row for row, image in enumerate(images) if image is not None]
        if rows:
            batch.add_images(rows, np.stack([image for image in images if image is not None]))
        if self.device != "cpu":
            batch.to(torch.device(self.device), non_blocking=True)
        return batch


def target_log_probs(model: MMTModel, batch: Batch) -> Tensor:
    """(N) float64: the log-probability of each target of ``batch``, eos included, given its source and image."""
    return token_log_probs(model, batch).sum(dim=1)


@torch.inference_mode()
def token_log_probs(model: MMTModel, batch: Batch) -> Tensor:
    """(N, T) float64: the log-probability of each token of each target, eos included; 0 where it has ended."""
    targets, places = batch.labels, batch.target_places()
    states, ids = model.decode_targets(batch).flatten(0, 1)[places], targets.flatten()[places]
    parts = []
    for first in range(0, len(ids), _ROWS):
        rows = slice(first, first + _ROWS)
        log_p = torch.log_softmax(model.text.project(states[rows]).float(), dim=1)
        parts.append(log_p.gather(1, ids[rows].unsqueeze(1))[:, 0].double())
    found = torch.zeros(targets.numel(), dtype=torch.float64, device=states.device)
    found[places] = torch.cat(parts)
    return found.view(targets.shape)
