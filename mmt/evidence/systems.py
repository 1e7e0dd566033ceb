"""Systems under controls: what is evaluated, and what it makes of the sentences with each image.

``mmt evidence``, ``mmt compare`` and the scripts in ``eval`` open their systems here and run every control here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmt.data.dataset import DatasetInfo, image_folder, read_info
from mmt.data.feature_store import FeatureSignature, FeatureStore, open_features, side_by_side
from mmt.data.image_names import Names, files_below
from mmt.data.masking import check_masked_alike, read_probe
from mmt.errors import MMTError
from mmt.evidence.findings import CONTROLS
from mmt.evidence.sentences import Sentences
from mmt.inference.controls import Control
from mmt.inference.onnx_runtime import ExportedTranslator
from mmt.inference.open import open_translator
from mmt.inference.runtime_model import ImageFile
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.inference.translator import BaseTranslator
from mmt.metrics.accuracy import choice_hits
from mmt.metrics.translation import normalized
from mmt.model.card import ModelCard, read_card
from mmt.model.config import is_base

if TYPE_CHECKING:
    from mmt.features.backbone import Backbone

Progress = Callable[[int], object]
Result = TypeVar("Result")


# --- systems ----------------------------------------------------------------------------------------------


class System(Protocol):
    """What is evaluated. A text-only system (``uses_images`` False) is given no images.

    A system may also have ``describe()``, what evidence.json and the page say about it (JSON values by name), and
    ``close()``, called when the evidence is complete.
    """

    @property
    def uses_images(self) -> bool: ...

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        """The best translation of each sentence with its image; None for a sentence, or for all, without one."""
        ...


@runtime_checkable
class ScoringSystem(System, Protocol):
    """A system that can also say how probable it finds a translation."""

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        """The mean log-probability of a token of each target, in nats."""
        ...


def scorer(system: System) -> ScoringSystem | None:
    """The system, if it scores."""
    if isinstance(system, ModelSystem) and not system.can_score:
        return None
    return system if isinstance(system, ScoringSystem) else None


def describe(system: System) -> dict[str, Any]:
    """What a system says about itself; {} if nothing."""
    told: dict[str, Any] = getattr(system, "describe", dict)()
    return told


@dataclass(frozen=True)
class ModelSystem:
    """A model of our own, or a pretrained text model, with its features: it translates and scores.

    folder: as the user named it. translator: of a model folder, or of an exported model.
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
        """The model whose inside can be looked at; None for an exported model."""
        return self.translator if isinstance(self.translator, Translator) else None

    @property
    def can_score(self) -> bool:
        return not isinstance(self.translator, ExportedTranslator) or self.translator.can_score

    @property
    def blank_is_text_only(self) -> bool:
        """Whether the model without images is exactly its text-only base: the text model was frozen."""
        frozen = self.card.training.get("text", {}).get("frozen")
        started = self.card.training.get("start", {}).get("freeze_text")
        return self.uses_images and bool(self.card.text or frozen or started)

    @property
    def tokenizer_file(self) -> Path:
        """Where the same, log-probabilities of a token can be compared."""
        return self.translator.tokenizer.path

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        return [best[0].text for best in self.translator.hypotheses(sentences, images, progress=progress)]

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        scores = score_pairs(self.translator, sentences, targets, images, progress=progress)
        return [score.mean_log_prob for score in scores]

    def describe(self) -> dict[str, Any]:
        card, folder = self.card, self.folder.resolve()
        about: dict[str, Any] = {
            "folder": folder.name if folder.name != "model" else folder.parent.name,
            "fusion": card.config["fusion"],
            "languages": f"{card.source_lang}-{card.target_lang}",
            "features": card.features.to_dict() if card.features is not None else None,
        }
        if self.in_torch is not None:
            about["parameters"] = sum(weight.numel() for weight in self.in_torch.model.parameters())
        else:
            about["runtime"] = "onnx"
        return about | {"training": card.training, "decoding": card.decoding}


def model_in_torch(system: ModelSystem) -> Translator:
    """The system's model in torch. Raises MMTError for an exported one."""
    if system.in_torch is None:
        raise MMTError(f"{system.folder}: expected a model folder, found an exported model. Use the original.")
    return system.in_torch


@contextmanager
def open_systems(
    models: Mapping[str, Sequence[Path]],
    data: Path,
    stores: Sequence[Path] = (),
    images: Sequence[str] = (),
    *,
    source_only: bool = False,
) -> Iterator[dict[str, list[ModelSystem]]]:
    """Loads each model once, with the features of the images that it will be shown.

    Args:
        models: by a system's name its seeds, as folders of models or exported models, or FAMILY:NAME_OR_FOLDER of
            a pretrained text model.
        data: the prepared dataset; a model must have its languages, and be trained on sentences masked as its are.
        stores: feature stores. Without any, features are made of the dataset's image files, each read once, and
            last as long as the context; models of the same backbones share them.
        images: names of the images that will be shown.
        source_only: the models need not write the dataset's target language, only read its source language.
    Returns:
        The systems, by the same names.
    Raises:
        MMTError: a model of other languages or masks, or seeds of one system that differ in more than their seed.
    """
    info = read_info(data)
    for folders in models.values():
        check_seeds(folders)
        for folder in folders:
            if not is_base(folder):
                _check_languages(read_card(folder), folder, info, data, source_only)
    opened = {name: [_opened(folder, info) for folder in folders] for name, folders in models.items()}
    if info.probe:
        probe = read_probe(info.probe, str(data))
        for system in (system for seeds in opened.values() for system in seeds):
            check_masked_alike(system.translator.tokenizer, system.card.training, probe, system.folder)
    folder = image_folder(data, info)
    with TemporaryDirectory(prefix="mmt-") as temporary:
        yield _with_features(opened, stores, {name: folder / name for name in images}, Path(temporary))


def _opened(folder: Path, info: DatasetInfo) -> ModelSystem:
    """A model; one that has several languages translates between the dataset's."""
    several = is_base(folder) or len(read_card(folder).training.get("pairs", ())) > 1
    source_lang, target_lang = (info.source_lang, info.target_lang) if several else (None, None)
    translator = open_translator(folder, source_lang=source_lang, target_lang=target_lang)
    return ModelSystem(folder, translator)


def check_seeds(folders: Sequence[Path]) -> None:
    """Raises MMTError unless the model folders are seeds of one system: the same but for their seed."""
    if len(folders) == 1:
        return
    first, seeds = read_card(folders[0]), set()
    for folder in folders:
        card = read_card(folder)
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


def _check_languages(card: ModelCard, folder: Path, info: DatasetInfo, data: Path, source_only: bool) -> None:
    if not source_only:
        card.check_languages((info.source_lang, info.target_lang), folder, data)
    elif card.source_lang != info.source_lang and "mul" not in (card.source_lang, info.source_lang):
        raise MMTError(f"{data}: expected '{card.source_lang}', which {folder} reads, found '{info.source_lang}'.")


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
        if isinstance(translator, ExportedTranslator) and translator.card.features is not None:
            translator.image_reader = _ImageReader(translator.card.features)
        if not system.uses_images or not (stores or files):
            return system
        if not stores and (features is None or features.signature != system.card.features):
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
        from mmt.features.load import load_backbones  # torchvision takes a second, and text needs none of it

        return load_backbones(self._signature)

    def __call__(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        from mmt.features.extract import compute_features

        return side_by_side([compute_features(images, backbone) for backbone in self.backbones])


def backbones_of(translator: BaseTranslator) -> list[Backbone]:
    """The networks that read image files for a model. Raises MMTError where one is missing."""
    if isinstance(translator, Translator):
        return translator.backbones
    reader = translator.image_reader if isinstance(translator, ExportedTranslator) else None
    assert isinstance(reader, _ImageReader)  # noqa: S101  # open_systems() has seen to it
    return reader.backbones


def _features_of(images: Mapping[str, Path], backbones: Sequence[Backbone], folder: Path) -> FeatureStore:
    """A feature store, in ``folder``, of those image files, id -> file, that can be read."""
    from mmt.features.extract import extract_features

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


# --- controls ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outputs:
    """What one system makes of the sentences under each control: of ``wrong`` one list a draw, of the others one.

    A text-only system has ``right`` alone. ``log_probs``: a token's mean log-probability of each reference.
    ``choices``: whether each reference is found more probable than its contrast; a tie is wrong. Both are empty
    for a system that cannot score, and where they were not wanted.
    """

    system: System
    hypotheses: dict[Control, list[list[str]]]
    log_probs: dict[Control, list[list[float]]]
    choices: dict[Control, list[list[bool]]]

    @property
    def uses_images(self) -> bool:
        return self.system.uses_images

    def normalized(self) -> Outputs:
        """With hypotheses as metrics compare them, see ``mmt.metrics.translation.normalized``."""
        lines = {control: [normalized(draw) for draw in draws] for control, draws in self.hypotheses.items()}
        return replace(self, hypotheses=lines)


def run_controls(
    system: System,
    sentences: Sentences,
    draws: Sequence[Sequence[str]],
    *,
    score: bool = True,
    choose: bool = False,
    name: str = "",
) -> Outputs:
    """Translates, and scores if the system can, with the right images, each draw of wrong ones, and none.

    Args:
        draws: wrong images of each sentence, such as ``sentences.draws`` gives them.
        score: find the log-probabilities of the references.
        choose: choose between each reference and its contrast.
        name: of the system, in the progress bars.
    """
    images = sentences.images if system.uses_images else None
    num, suffix = len(sentences.sources), f" ({name})" if name else ""

    def translate(control: str, shown: Sequence[str | None] | None) -> list[str]:
        with progress(f"translating, {control}{suffix}", num) as advance:
            return system.translate(sentences.sources, shown, advance)

    hypotheses = each_control(images, draws, translate)
    log_probs: dict[Control, list[list[float]]] = {}
    choices: dict[Control, list[list[bool]]] = {}
    if (scoring := scorer(system)) is not None:

        def log_prob(control: str, shown: Sequence[str | None] | None) -> list[float]:
            with progress(f"scoring, {control}{suffix}", num) as advance:
                return scoring.score(sentences.sources, shown, sentences.references, advance)

        def choice(control: str, shown: Sequence[str | None] | None) -> list[bool]:
            targets = [*sentences.references, *(sentences.contrasts or ())]
            with progress(f"choosing, {control}{suffix}", 2 * num) as advance:
                twice = [*shown, *shown] if shown is not None else None
                costs = [-p for p in scoring.score(sentences.sources * 2, twice, targets, advance)]
            return choice_hits(list(zip(costs[:num], costs[num:], strict=True)), [0] * num)

        log_probs = each_control(images, draws, log_prob) if score else {}
        choices = each_control(images, draws, choice) if choose else {}
    return Outputs(system, hypotheses, log_probs, choices)


def each_control(
    images: Sequence[str | None] | None,
    draws: Sequence[Sequence[str | None]],
    work: Callable[[str, Sequence[str | None] | None], Result],
) -> dict[Control, list[Result]]:
    """Runs ``work`` under every control: the only loop over controls.

    Args:
        images: the right image of each sentence; None for a text-only system, which has ``right`` alone.
        draws: the wrong ones.
        work: gets the control in words, and the images to show, or None for none.
    Returns:
        Its results: one a draw for ``wrong``, one for each of the others.
    """
    if images is None:
        return {"right": [work(CONTROLS["text"], None)]}
    wrong = [
        work(CONTROLS["wrong"] + (f", draw {number}" if len(draws) > 1 else ""), shown)
        for number, shown in enumerate(draws, 1)
    ]
    right, blank = work(CONTROLS["right"], images), work(CONTROLS["blank"], None)
    return {"right": [right], "wrong": wrong, "blank": [blank]}


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    with tqdm(total=total, desc=what, unit="", disable=None, leave=False) as bar:
        yield bar.update


def stores_of(systems: Iterable[ModelSystem]) -> list[FeatureStore]:
    """The feature stores of the systems that have one."""
    return [system.translator.features for system in systems if system.translator.features is not None]
