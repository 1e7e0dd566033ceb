"""A trained model as its user meets it: sentences and images in, translations out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mmt.data.batch import Batch, Example, collate
from mmt.data.feature_store import FeatureStore, open_features, side_by_side
from mmt.data.tokenizer import Tokenizer
from mmt.errors import local_path
from mmt.inference.beam import beam_search
from mmt.inference.search import Hypothesis
from mmt.inference.threads import each_on_a_core
from mmt.inference.translator import BaseTranslator, Features, Row, Translation, Work, opened
from mmt.model.card import ModelCard
from mmt.model.folder import load_model
from mmt.model.model import MMTModel
from mmt.model.stepping import Precision, StepDecoder

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmt.features.backbone import Backbone

__all__ = ["Translation", "Translator"]


class Translator(BaseTranslator):
    """Translates sentences, each with its image or without.

    >>> translator = Translator.from_dir(Path("model"))                           # doctest: +SKIP
    >>> translator.translate(["A bat on the wall.", "Hello."], images=["wall.jpg", None])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: MMTModel,
        tokenizer: Tokenizer,
        card: ModelCard,
        features: FeatureStore | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(tokenizer, card, features)
        self.model, self.precision = model, precision

    @classmethod
    def from_dir(
        cls,
        folder: str | Path,
        features: Features = None,
        precision: Precision = "float32",
    ) -> Translator:
        """Loads a model folder.

        Args:
            folder: what ``mmt train`` wrote to OUT/model; may have been moved.
            features: a feature store in which images are then looked up by id, or a list with one for each set of
                features that the model was trained with; without it images are read from files, by its backbones.
            precision: of the decoder's matrices: ``float32``, or faster and less exact ``bfloat16`` or ``int8``.
        Raises:
            MMTError: no model folder, a damaged one, or features of another backbone (named).
        """
        return cls(*load_model(local_path(folder)), opened(features), precision)

    def with_features_of(self, images: Mapping[str, Path], folder: Path) -> Translator:
        """This translator with a feature store of image files: for work that shows them again and again.

        Args:
            images: id -> file. One that cannot be read is not in the store.
            folder: where the store goes.
        Raises:
            MMTError: a text-only model, no backbone, or not one image can be read.
        """
        from mmt.features.extract import extract_features

        folders = [folder / str(number) for number in range(len(self.backbones))]
        for backbone, part in zip(self.backbones, folders, strict=True):
            extract_features(images, backbone, part, "float32")
        return Translator(self.model, self.tokenizer, self.card, open_features(folders), self.precision)

    @cached_property
    def decoder(self) -> StepDecoder:
        """The model's decoder, made ready to translate."""
        return StepDecoder(self.model, self.precision)

    @cached_property
    def backbones(self) -> list[Backbone]:
        """The networks that made the features the model was trained on, one a set.

        Raises:
            MMTError: one is missing.
        """
        # Loaded when first asked for, as in features_of: torchvision takes a second, and text needs none of it.
        from mmt.features.load import load_backbone

        self.refuse_images("images")
        assert self.card.features is not None  # noqa: S101  # refuse_images() has seen to it
        found = []
        for signature in self.card.features.sets:
            backbone = load_backbone(signature.backbone, signature.layer)
            signature.check(backbone.signature, "this machine's backbone")
            found.append(backbone)
        return found

    def _search(
        self, batches: Sequence[Work], beam_size: int, length_penalty: float, guidance: float
    ) -> Iterator[list[list[Hypothesis]]]:
        decoder = self.decoder  # made here, and not by several threads

        def search(work: Work) -> list[list[Hypothesis]]:
            return beam_search(
                decoder,
                self.batch(*work),
                beam_size=beam_size,
                length_penalty=length_penalty,
                guidance=guidance,
            )

        return each_on_a_core(search, batches)

    def _num_cores(self) -> int:
        return torch.get_num_threads()

    def _read(self, images: Sequence[Path | bytes | Image]) -> NDArray[np.float32]:
        from mmt.features.extract import compute_features

        return side_by_side([compute_features(images, backbone) for backbone in self.backbones])

    def check_image(self, path: Path) -> None:
        self.backbones[0].read(path)

    def notes(self) -> list[str]:
        loaded = vars(self).get("backbones", [])  # none, unless files were read
        return sorted({note for backbone in loaded for note in backbone.notes})

    def batch(
        self,
        sources: list[list[int]],
        rows: list[Row | None],
        targets: list[list[int]] | None = None,
    ) -> Batch:
        """Pads sentences to a batch.

        Args:
            sources: ids of each sentence, without eos.
            rows: (R, dim) of each sentence's image, as ``features_of`` gives them; None for none.
            targets: ids of each translation, for scoring; without bos and eos.
        """
        pairs = zip(sources, targets or [[] for _ in sources], strict=True)
        batch = collate([Example(source, target) for source, target in pairs])
        given = [number for number, row in enumerate(rows) if row is not None]
        if given:
            batch.add_images(given, np.stack([row for row in rows if row is not None]))
        return batch
