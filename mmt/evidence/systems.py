"""Systems under controls: what is evaluated, on which sentences, and what it makes of them with each image.

``mmt evidence``, ``mmt compare`` and the scripts in ``eval`` open their systems here and run every control here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar, runtime_checkable

from tqdm import tqdm

from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.image_names import Names, files_below
from mmt.data.masking import check_masked_alike, read_probe
from mmt.errors import MMTError
from mmt.evidence.findings import CONTROLS
from mmt.inference.controls import Control, wrong_images
from mmt.inference.scoring import score_pairs
from mmt.inference.torch_runtime import Translator
from mmt.io.terminal import counted
from mmt.metrics.accuracy import choice_hits
from mmt.metrics.translation import normalized
from mmt.model.card import ModelCard, read_card

Progress = Callable[[int], object]
Result = TypeVar("Result")


# --- systems ----------------------------------------------------------------------------------------------


class System(Protocol):
    """What is evaluated. A text-only system (``uses_images`` False) is given no images."""

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


@dataclass(frozen=True)
class ModelSystem:
    """A model folder of our own, with its features: it translates and scores."""

    folder: Path
    translator: Translator

    @property
    def card(self) -> ModelCard:
        return self.translator.card

    @property
    def uses_images(self) -> bool:
        return self.translator.card.features is not None

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
        models: by a system's name its seeds, as model folders.
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
            _check_languages(read_card(folder), folder, info, data, source_only)
    opened = {
        name: [ModelSystem(folder, Translator.from_dir(folder)) for folder in folders]
        for name, folders in models.items()
    }
    if info.probe:
        probe = read_probe(info.probe, str(data))
        for system in (system for seeds in opened.values() for system in seeds):
            check_masked_alike(system.translator.tokenizer, system.card.training, probe, system.folder)
    folder = image_folder(data, info)
    with TemporaryDirectory(prefix="mmt-") as temporary:
        yield _with_features(opened, stores, {name: folder / name for name in images}, Path(temporary))


def check_seeds(folders: Sequence[Path]) -> None:
    """Raises MMTError unless the model folders are seeds of one system: the same but for their seed."""
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
        if not system.uses_images or not (stores or files):
            return system
        if not stores and (features is None or features.signature != system.card.features):
            translator = translator.with_features_of(files, folder)
            features = translator.features
        else:
            translator = translator.with_features(features)
        return replace(system, translator=translator)

    return {
        name: [ready(system, temporary / f"{name}.{number}") for number, system in enumerate(seeds)]
        for name, seeds in systems.items()
    }


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


# --- sentences --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentences:
    """The sentences of a split that have an image, column by column; a column that the dataset lacks is None.

    answers: the word that makes a translation right. masked: the words that were masked. unmasked: the source
    before that. contrasts: a second translation, which the image contradicts.
    """

    ids: list[str]
    sources: list[str]
    references: list[str]
    images: list[str]
    answers: list[str] | None = None
    masked: list[list[str]] | None = None
    unmasked: list[str] | None = None
    without_image: int = 0
    missing: tuple[str, ...] = ()
    """Missing images that the dataset names; their sentences are left out."""
    contrasts: list[str] | None = None

    def draws(self, num: int, seed: int) -> list[list[str]]:
        """``num`` draws of wrong images, the first with ``seed``; see ``mmt.inference.controls.wrong_images``."""
        return [[name or "" for name in wrong_images(self.images, seed + draw)] for draw in range(num)]


def read_sentences(data: Path, split: str, known: Callable[[str], bool] = lambda name: True) -> Sentences:
    """Reads the sentences that have an image.

    Args:
        known: whether the image of this name is available.
    Raises:
        MMTError: fewer than two sentences have one.
    """
    rows = read_split(data, split)
    kept, missing, without = [], [], 0
    for row in rows:
        if not row["has_image"]:
            without += 1
        elif known(row["image"]):
            kept.append(row)
        else:
            missing.append(row["image"])
    if len(kept) < 2:
        lost = f", and {counted(len(missing), 'image')} missing: {Names(()).listed(missing)}" if missing else ""
        raise MMTError(
            f"{data}: split '{split}' has {counted(len(kept), 'sentence')} with an image{lost}; two or more are "
            "needed. Name another split, or the images with --images."
        )

    def column(name: str) -> list[Any] | None:
        return [row[name] for row in kept] if name in rows.column_names else None

    answers, contrasts = column("answer"), column("contrast")
    return Sentences(
        [row["id"] for row in kept],
        [row["source"] for row in kept],
        [row["target"] for row in kept],
        [row["image"] for row in kept],
        answers if answers and any(answers) else None,
        column("masked"),
        column("unmasked"),
        without,
        tuple(missing),
        contrasts if contrasts and all(contrasts) else None,
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
    if isinstance(system, ScoringSystem):
        scorer: ScoringSystem = system

        def log_prob(control: str, shown: Sequence[str | None] | None) -> list[float]:
            with progress(f"scoring, {control}{suffix}", num) as advance:
                return scorer.score(sentences.sources, shown, sentences.references, advance)

        def choice(control: str, shown: Sequence[str | None] | None) -> list[bool]:
            targets = [*sentences.references, *(sentences.contrasts or ())]
            with progress(f"choosing, {control}{suffix}", 2 * num) as advance:
                twice = [*shown, *shown] if shown is not None else None
                costs = [-p for p in scorer.score(sentences.sources * 2, twice, targets, advance)]
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
