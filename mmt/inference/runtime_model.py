"""A trained model as every runtime has it, without its network: tokenizer, card and image features. No torch.

``mmt.inference.loaded.LoadedModel`` adds the network in torch; ``mmt.inference.onnx_runtime.ExportedTranslator``
the exported graphs.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.tokenizer import Tokenizer
from mmt.errors import MMTError, local_path
from mmt.inference.controls import image_key
from mmt.io import runtime
from mmt.model.card import ModelCard

if TYPE_CHECKING:
    from PIL.Image import Image

ImageFile: TypeAlias = "Path | bytes | Image"
"""An image that is to be read: its file, the file's bytes, or an opened picture."""

ImageFeatures: TypeAlias = NDArray[np.float32]
"""(R, dim), one image's features."""

ImageInput: TypeAlias = "str | Path | bytes | Image | ImageFeatures"
"""A sentence's image: its id in the feature store if the model has one, else a file, its bytes or a picture.

Or its features, as ``RuntimeModel.features_of`` gave them for this model.
"""

Features: TypeAlias = str | Path | Sequence[str | Path] | FeatureStore | None
"""Where images are looked up by id: a feature store, its folder, or one folder for each feature set."""


def open_store(features: Features) -> FeatureStore | None:
    """Raises MMTError as ``open_features``."""
    if features is None or isinstance(features, FeatureStore):
        return features
    folders = [features] if isinstance(features, str | Path) else features
    return open_features([local_path(folder) for folder in folders])


class RuntimeModel(ABC):
    """Tokenizer, card and image features of a trained model."""

    def __init__(self, tokenizer: Tokenizer, card: ModelCard, features: FeatureStore | None = None) -> None:
        """
        Args:
            features: the store in which images are looked up by id; None: images are files.
        Raises:
            MMTError: a text-only model with a store, or a store of another backbone (named).
        """
        runtime.start()
        self.tokenizer, self.card, self.features = tokenizer, card, features
        if features is not None:
            self.refuse_images("features")
            assert card.features is not None  # noqa: S101  # else refuse_images() has raised
            card.features.check(features.signature, str(features.folder))

    @property
    @abstractmethod
    def num_positions(self) -> int:
        """Tokens of the longest sentence that the model can read or write, what surrounds it included."""

    @abstractmethod
    def token_log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[NDArray[np.float64]]:
        """The log-probability of each token of each target, eos included, given source, image and tokens before.

        Args:
            sources: ids of each sentence, without eos.
            images: (R, dim) of each sentence's image, as ``features_of`` gives them; None for none.
            targets: ids of each translation, without prompt and eos.
        """

    def log_probs(
        self,
        sources: list[list[int]],
        images: list[ImageFeatures | None],
        targets: list[list[int]],
    ) -> list[float]:
        """The log-probability of each target: the sum of ``token_log_probs``, which takes the same arguments."""
        return [float(tokens.sum()) for tokens in self.token_log_probs(sources, images, targets)]

    @abstractmethod
    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        """(N, R, dim), the features of image files. Raises MMTError for one that cannot be read."""

    @abstractmethod
    def check_image(self, path: Path) -> None:
        """Raises MMTError for an image file that cannot be read."""

    def with_features(self, features: FeatureStore | None) -> Self:
        """This model, sharing its weights, with another feature store or none.

        Raises:
            MMTError: as ``RuntimeModel``.
        """
        other = copy.copy(self)
        RuntimeModel.__init__(other, self.tokenizer, self.card, features)
        return other

    def encode(self, line: str, *, target: bool = False) -> list[int]:
        """Ids of a source sentence, or of a target sentence, without what ``collate`` adds."""
        return self.tokenizer.encode_target(line) if target else self.tokenizer.encode(line)

    def max_pieces(self, *, target: bool = False) -> int:
        """Pieces of the longest source or target sentence that the model has positions for."""
        return self.num_positions - (len(self.tokenizer.prompt) if target else 1)

    def set_languages(self, source: str | None = None, target: str | None = None) -> None:
        """Translates between these languages from now on; None keeps the model's own.

        Raises:
            MMTError: an unknown language, other languages than those of a model of one pair, or only one of the
                two for a model of several pairs.
        """
        if source is None and target is None:
            return
        source, target = source or self.card.source_lang, target or self.card.target_lang
        if not self.tokenizer.languages and (source, target) == (self.card.source_lang, self.card.target_lang):
            return
        try:
            self.tokenizer = self.tokenizer.for_languages(source, target)
        except MMTError:
            if "mul" not in (source, target):
                raise
            side = "source" if source == "mul" else "target"  # of the card: the user has named the other one
            raise MMTError(
                f"a model of several language pairs: expected the {side} language, too. On the command line give "
                f"--{side}-lang."
            ) from None
        self.card = replace(self.card, source_lang=source, target_lang=target)

    def notes(self) -> list[str]:
        """Corrections made to image files while they were read, such as ``resampled from 44,100 Hz``."""
        return []

    def refuse_images(self, what: str) -> None:
        """Raises MMTError if this is a text-only model; ``what`` begins the message."""
        self.card.refuse_images(what)

    def features_of(self, images: Sequence[ImageInput | None]) -> list[ImageFeatures | None]:
        """(R, dim) of each image, None where there is none. An image that occurs twice is read once.

        Raises:
            MMTError: images for a text-only model, an unknown id, an unreadable file or features of another shape.
        """
        if all(image is None for image in images):
            return [None] * len(images)
        self.refuse_images("images")
        computed = {n: self._checked(image) for n, image in enumerate(images) if isinstance(image, np.ndarray)}
        if computed:
            others = self.features_of([None if n in computed else image for n, image in enumerate(images)])
            return [computed.get(n, other) for n, other in enumerate(others)]
        keys: list[Any] = [image_key(image) for image in images]
        distinct: dict[Any, str | ImageFile] = {
            key: image
            for key, image in zip(keys, images, strict=True)
            if image is not None and not isinstance(image, np.ndarray)
        }
        if self.features is not None:
            rows = self.features.get([str(image) for image in distinct.values()])
        else:
            files = [local_path(image) if isinstance(image, str) else image for image in distinct.values()]
            rows = self.read_images(files)
        by_key = dict(zip(distinct, rows, strict=True))
        return [by_key.get(key) for key in keys]

    def _checked(self, features: ImageFeatures) -> ImageFeatures:
        signature = self.card.features
        assert signature is not None  # noqa: S101  # else refuse_images() has raised
        if features.shape != (signature.num_regions, signature.dim):
            raise MMTError(
                f"image features: expected the shape {(signature.num_regions, signature.dim)}, found "
                f"{features.shape}. Compute them with this model's features_of()."
            )
        return features
