"""Models of our own, and pretrained text models, as systems: opened with the features of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmt.data.dataset import image_folder, read_info
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore, open_features, side_by_side
from mmt.data.image_names import Names, files_below
from mmt.data.masking import check_masked_alike, read_probe
from mmt.errors import MMTError
from mmt.evidence.systems import Progress
from mmt.features.backbone import Backbone
from mmt.features.extract import compute_features, extract_features
from mmt.features.load import load_backbones
from mmt.inference.ensemble import languages_for, members_of, read_joint_card
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.open import Runtime, open_translator
from mmt.inference.own_graphs import FolderTranslator
from mmt.inference.runtime_model import ImageFile
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.inference.translator import BaseTranslator
from mmt.io.text_files import file_checksum
from mmt.model.card import ModelCard


@dataclass(frozen=True)
class ModelSystem:
    """A model of our own, or a pretrained text model, with its features: it translates and scores.

    folder: as the user named it. translator: of a model folder, of an exported model, or of an ensemble.
    """

    folder: Path
    translator: BaseTranslator

    @property
    def card(self) -> ModelCard:
        return self.translator.card

    @property
    def uses_images(self) -> bool:
        return self.translator.card.features is not None

    @property
    def in_torch(self) -> Translator | None:
        """The model whose inside can be looked at; None for an exported model or an ensemble."""
        return _in_torch(self.translator)

    @property
    def can_score(self) -> bool:
        return all(one.can_score for one in self.translator.members if isinstance(one, ExportedTranslator))

    @property
    def blank_is_text_only(self) -> bool:
        """Whether the model without images is exactly its text-only base: the text model was frozen."""
        frozen = self.card.training.get("text", {}).get("frozen")
        started = self.card.training.get("start", {}).get("freeze_text")
        return self.uses_images and bool(self.card.text or frozen or started)

    @property
    def tokens(self) -> str:
        return file_checksum(self.translator.tokenizer.path)

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        translator, shown = self._with(images)
        return [best[0].text for best in translator.hypotheses(sentences, shown, progress=progress)]

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        translator, shown = self._with(images)
        translator = _in_torch(translator) or translator  # which scores a quarter faster than graphs
        return [one.mean_log_prob for one in score_pairs(translator, sentences, targets, shown, progress=progress)]

    def _with(
        self, images: Sequence[str | None] | None
    ) -> tuple[BaseTranslator, Sequence[str | Path | None] | None]:
        """The model, and its images as it takes them."""
        return self.translator, images

    def describe(self) -> dict[str, Any]:
        card, folders = self.card, [folder.resolve() for folder in members_of(self.folder)]
        about: dict[str, Any] = {
            "folder": " + ".join(one.name if one.name != "model" else one.parent.name for one in folders),
            "fusion": card.config["fusion"],
            "languages": f"{card.source_lang}-{card.target_lang}",
            "features": card.features.to_dict() if card.features is not None else None,
        }
        members = [_in_torch(one) for one in self.translator.members]
        models = [one.model for one in members if one is not None]
        if len(models) == len(members):
            about["parameters"] = sum(weight.numel() for model in models for weight in model.parameters())
        if any(isinstance(one, ExportedTranslator) for one in self.translator.members):
            about["runtime"] = "onnx"
        return about | {"training": card.training, "decoding": card.decoding}


@dataclass(frozen=True)
class CommuteModel(ModelSystem):
    """A model that is also shown CoMMuTE's photographs, by the names that they have in a plan.

    of_commute: whether an image is one of them. file_of: its file.
    """

    of_commute: Callable[[str], bool]
    file_of: Callable[[str], Path]

    def _with(
        self, images: Sequence[str | None] | None
    ) -> tuple[BaseTranslator, Sequence[str | Path | None] | None]:
        """The model, and its images as it takes them: files, if they are CoMMuTE's."""
        if not any(name is not None and self.of_commute(name) for name in images or ()):
            return super()._with(images)
        files = [None if name is None else self.file_of(name) for name in images or ()]
        return self.translator.with_features(None), files


def _in_torch(translator: BaseTranslator) -> Translator | None:
    if isinstance(translator, FolderTranslator):
        return translator.in_torch()
    return translator if isinstance(translator, Translator) else None


def model_in_torch(system: ModelSystem) -> Translator:
    """The system's model in torch. Raises MMTError for an exported one, and for an ensemble."""
    if system.in_torch is None:
        raise MMTError(
            f"{system.folder}: expected a model folder, found an exported model or an ensemble. Use the original "
            "of one model, without --runtime onnx."
        )
    return system.in_torch


@contextmanager
def open_systems(
    models: Mapping[str, Sequence[Path]],
    data: Path,
    stores: Sequence[Path] = (),
    images: Sequence[str] = (),
    *,
    source_only: bool = False,
    runtime: Runtime | None = None,
    threads: int | None = None,
) -> Iterator[dict[str, list[ModelSystem]]]:
    """Loads each model once, with the features of the images that it will be shown.

    Args:
        models: by a system's name its seeds, as folders of models or exported models, FAMILY:NAME_OR_FOLDER of a
            pretrained text model, or an ensemble's members joined by ``+``.
        data: the prepared dataset; a model must have its languages, and be trained on sentences masked as its are.
        stores: feature stores. Without any, features are made of the dataset's image files, each read once, and
            last as long as the context; models of the same backbones share them.
        images: names of the images that will be shown.
        runtime, threads: as of ``open_translator``.
        source_only: the models need not write the dataset's target language, only read its source language.
    Returns:
        The systems, by the same names.
    Raises:
        MMTError: a model of other languages or masks, or seeds of one system that differ in more than their seed.
    """
    info = read_info(data)
    languages: dict[Path, tuple[str | None, str | None]] = {}
    for folders in models.values():  # before the first one is opened, which takes a while
        check_seeds(folders)
        languages |= {folder: languages_for(folder, info, data, source_only=source_only) for folder in folders}
    opened = {
        name: [_opened(folder, languages[folder], runtime, threads) for folder in folders]
        for name, folders in models.items()
    }
    if info.probe:
        probe = read_probe(info.probe, str(data))
        for system in (system for seeds in opened.values() for system in seeds):
            for member, name in zip(system.translator.members, members_of(system.folder), strict=True):
                check_masked_alike(member.tokenizer, member.card.training, probe, name)
    folder = image_folder(data, info)
    with TemporaryDirectory(prefix="mmt-") as temporary:
        yield _with_features(opened, stores, {name: folder / name for name in images}, Path(temporary))


def _opened(
    folder: Path, languages: tuple[str | None, str | None], runtime: Runtime | None, threads: int | None
) -> ModelSystem:
    source_lang, target_lang = languages
    translator = open_translator(
        folder, runtime=runtime, threads=threads, source_lang=source_lang, target_lang=target_lang
    )
    return ModelSystem(folder, translator)


def check_seeds(folders: Sequence[Path]) -> None:
    """Raises MMTError unless the model folders are seeds of one system: the same but for their seed."""
    if len(folders) == 1:
        return
    first, seeds = read_joint_card(folders[0]), set()
    for folder in folders:
        card = read_joint_card(folder)
        same = [(c.config, c.features, c.training.get("data_checksum")) for c in (card, first)]
        if same[0] != same[1]:
            raise MMTError(
                f"{folder}: differs from {folders[0]} in more than its seed. Give the seeds of one system: the "
                "same configuration, features and training data."
            )
        seed = card.training.get("seed", str(folder.resolve()))
        if seed in seeds:
            raise MMTError(f"{folder}: a model with seed {seed} was given before. Give each seed once.")
        seeds.add(seed)


def _with_features(
    systems: Mapping[str, Sequence[ModelSystem]],
    stores: Sequence[Path],
    files: Mapping[str, Path],
    temporary: Path,
) -> dict[str, list[ModelSystem]]:
    features = open_features(stores) if stores else None

    def ready(system: ModelSystem, folder: Path) -> ModelSystem:
        nonlocal features
        translator = system.translator
        for one in translator.members:
            if isinstance(one, ExportedTranslator) and one.card.features is not None and not one.reads_files:
                one.image_reader = _ImageReader(one.card.features)
        if not system.uses_images or not (stores or files):
            return system
        trained_on = system.card.features
        wanted = trained_on.in_float32() if trained_on is not None else None  # files are computed in float32
        if not stores and (features is None or features.signature != wanted):
            features = _features_of(files, backbones_of(translator), folder)
        return replace(system, translator=translator.with_features(features))

    return {
        name: [ready(system, temporary / f"{name}.{number}") for number, system in enumerate(seeds)]
        for name, seeds in systems.items()
    }


class _ImageReader:
    """Computes the features of image files for an exported model, which has no backbones."""

    def __init__(self, signature: FeatureSignature) -> None:
        self._signature = signature

    @cached_property
    def backbones(self) -> list[Backbone]:
        return load_backbones(self._signature)

    def __call__(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        return side_by_side([compute_features(images, backbone) for backbone in self.backbones])


def backbones_of(translator: BaseTranslator) -> list[Backbone]:
    """The networks that read image files for a model. Raises MMTError where one is missing."""
    if (in_torch := _in_torch(translator)) is not None:
        return in_torch.backbones
    assert translator.card.features is not None  # noqa: S101  # no images are shown to a text-only model
    reader = translator.image_reader if isinstance(translator, ExportedTranslator) else None
    return (reader if isinstance(reader, _ImageReader) else _ImageReader(translator.card.features)).backbones


def _features_of(images: Mapping[str, Path], backbones: Sequence[Backbone], folder: Path) -> FeatureStore:
    """A feature store, in ``folder``, of those image files, id -> file, that can be read."""
    folders = [folder / str(number) for number in range(len(backbones))]
    for backbone, part in zip(backbones, folders, strict=True):
        extract_features(images, backbone, part, "float32")
    return open_features(folders)


def require_images(system: ModelSystem, images: Sequence[str], data: Path, *, given: bool) -> None:
    """Raises MMTError for images without features.

    Args:
        given: the user named the feature store; otherwise the features were made of the dataset's image files.
    """
    store, folder = system.translator.features, image_folder(data)
    assert store is not None  # noqa: S101  # open_systems() has seen to it
    missing = dict.fromkeys(name for name in images if name not in store)
    if missing:
        there = Names(store.ids if given else lambda: files_below(folder)[0])
        remedy = "Run mmt features for the dataset." if given else f"Put the images into {folder}."
        raise MMTError(
            f"{store.folder if given else folder}: {len(missing):,} of {len(set(images)):,} images are missing or "
            f"cannot be read: {there.listed(missing)}. {remedy}"
        )


def stores_of(systems: Iterable[ModelSystem]) -> list[FeatureStore]:
    """The feature stores of the systems that have one."""
    return [system.translator.features for system in systems if system.translator.features is not None]
