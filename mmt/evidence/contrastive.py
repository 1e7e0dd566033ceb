"""Contrastive pairs: of two translations of an ambiguous sentence, is the one that fits the image more probable?

CoMMuTE, Futeral et al. (2023), https://aclanthology.org/2023.acl-long.295, and datasets of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mmt.data.dataset import DatasetInfo, read_split
from mmt.data.feature_store import FeatureStore
from mmt.data.image_names import Names, files_below
from mmt.errors import MMTError
from mmt.features.decoding import decode_image
from mmt.features.images import ImageError, image_file
from mmt.inference.files import Missing
from mmt.inference.runtime_model import RuntimeModel
from mmt.inference.scoring import PairScore, score_pairs
from mmt.io.normalization import is_blank, normalize
from mmt.io.text_files import read_lines
from mmt.metrics.accuracy import choice_accuracy, choice_hits, pair_accuracy
from mmt.metrics.p_values import wilson_interval
from mmt.metrics.scores import Score

_IMAGES = "img.order"


@dataclass(frozen=True, slots=True)
class Item:
    """An ambiguous sentence, the translation that fits ``image``, and the other translation.

    ``number``: its line in the file, or row of the split, from 1; 0 if it comes from neither.
    """

    source: str
    correct: str
    incorrect: str
    image: str
    number: int = field(default=0, compare=False)


def commute_languages(folder: Path) -> tuple[str, str]:
    """Source and target language of a CoMMuTE folder, by the names of its files.

    Raises:
        MMTError: it is no such folder.
    """
    languages: list[str] = []
    for stem in ("src", "correct", "incorrect"):
        paths = sorted(folder.glob(f"{stem}.*")) if folder.is_dir() else []
        if len(paths) != 1:
            inside = sorted(path.parent.name for path in folder.glob(f"*/{_IMAGES}"))
            remedy = f"Name one of {', '.join(inside)} in it." if inside else "CoMMuTE's en-de is such a folder."
            names = ", ".join(path.name for path in paths) or "none"
            raise MMTError(f"{folder}: expected one file {stem}.LANGUAGE, found {names}. {remedy}")
        languages.append(paths[0].name.removeprefix(f"{stem}."))
    if languages[1] != languages[2]:
        raise MMTError(
            f"{folder}: expected two translations into one language, found correct.{languages[1]} and "
            f"incorrect.{languages[2]}."
        )
    return languages[0], languages[1]


def read_commute(folder: Path) -> list[Item]:
    """Reads a folder as published: ``src.en``, ``correct.de``, ``incorrect.de``, ``img.order``, line by line.

    Raises:
        MMTError: a file is missing, they have not equally many lines, or a line is blank.
    """
    source_lang, target_lang = commute_languages(folder)
    names = (f"src.{source_lang}", f"correct.{target_lang}", f"incorrect.{target_lang}", _IMAGES)
    columns = [read_lines(folder / name) for name in names]
    for name, column in zip(names, columns, strict=True):
        if len(column) != len(columns[0]):
            raise MMTError(
                f"{folder}: {names[0]} has {len(columns[0]):,} lines and {name} has {len(column):,}: expected one "
                "for one. Fetch the files again."
            )
        if "" in column:
            raise MMTError(f"{folder / name}: line {column.index('') + 1} is blank.")
    return [
        Item(source, correct, incorrect, image, number)
        for number, (source, correct, incorrect, image) in enumerate(zip(*columns, strict=True), 1)
    ]


def read_contrastive(data: Path, split: str) -> list[Item]:
    """Reads a split of a prepared dataset whose column ``contrast`` holds the translation that is wrong.

    Raises:
        MMTError: there is no such split or column, or a row with nothing in it.
    """
    rows = read_split(data, split)
    if "contrast" not in rows.column_names:
        raise MMTError(
            f"{data}: split '{split}' has no column 'contrast' with the wrong translations. "
            "mmt prepare pictures makes a split 'contrastive' that has."
        )
    items = [
        Item(row["source"], row["target"], row["contrast"], row["image"], number)
        for number, row in enumerate(rows, 1)
    ]
    for number, item in enumerate(items, 1):
        if any(map(is_blank, (item.source, item.correct, item.incorrect))):
            raise MMTError(
                f"{data}: split '{split}' row {number} has no two translations to choose between. Name a split in "
                "which every row has, such as 'contrastive'."
            )
    return items


def mirrored_pairs(items: Sequence[Item]) -> list[tuple[int, int]]:
    """Positions of items that mirror each other: the same source, correct and incorrect exchanged.

    Each item stands in one pair at most; with several to choose from it is paired with the nearest before it.
    """
    waiting: dict[tuple[str, str, str], list[int]] = {}
    pairs = []
    for number, item in enumerate(items):
        source, correct, incorrect = map(normalize, (item.source, item.correct, item.incorrect))
        mirror = waiting.get((source, incorrect, correct))
        if mirror:
            pairs.append((mirror.pop(), number))
        else:
            waiting.setdefault((source, correct, incorrect), []).append(number)
    return pairs


@dataclass(frozen=True)
class Choices:
    """What a model chose, of one kind of input: with images, or without.

    ``correct`` and ``incorrect`` are the scores of either translation of each item; an item is a hit if the
    correct one has the lower perplexity, strictly. ``same``: positions of items whose two translations are the
    same pieces to the model, so that no choice is right; CoMMuTE has 2 in Arabic and 6 in Russian.
    """

    correct: list[PairScore]
    incorrect: list[PairScore]
    pairs: list[tuple[int, int]]
    same: list[int] = field(default_factory=list)

    @property
    def hits(self) -> list[bool]:
        return choice_hits(self._costs, [0] * len(self.correct))

    @property
    def ties(self) -> int:
        """Items whose translations are equally probable to the last digit: as wrong as the others."""
        return sum(one == other for one, other in self._costs)

    @property
    def accuracy(self) -> Score:
        return choice_accuracy(self._costs, [0] * len(self.correct))

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95 %, in percent."""
        return wilson_interval(sum(self.hits), len(self.hits))

    @property
    def best_accuracy(self) -> float:
        """The best accuracy that can be reached, in percent: of all items but ``same``."""
        return 100 * (1 - len(self.same) / len(self.correct))

    @property
    def pair_accuracy(self) -> Score | None:
        """Both of two mirrored items right; None where no items are mirrored."""
        return pair_accuracy(self.hits, self.pairs) if self.pairs else None

    @property
    def pair_interval(self) -> tuple[float, float] | None:
        hits = self.hits
        right = sum(hits[one] and hits[other] for one, other in self.pairs)
        return wilson_interval(right, len(self.pairs)) if self.pairs else None

    @property
    def _costs(self) -> list[tuple[float, float]]:
        # In the order of perplexities, and apart where their exponentials have run together.
        return [
            (-one.mean_log_prob, -other.mean_log_prob)
            for one, other in zip(self.correct, self.incorrect, strict=True)
        ]


@dataclass(frozen=True)
class CommuteResult:
    """A model's choices as it is used, and for a model that uses images those without: the blank control.

    A text-only model has no ``blank``: it chooses by the text alone.
    """

    choices: Choices
    blank: Choices | None

    @property
    def num_items(self) -> int:
        return len(self.choices.correct)

    @property
    def unmirrored(self) -> int:
        """Items that are in no pair: not in the pair accuracy, and a text-only model need not get half of them."""
        return self.num_items - 2 * len(self.choices.pairs)


def check_items(model: RuntimeModel, items: Sequence[Item], name: str = "contrastive pairs") -> None:
    """Raises MMTError for an item that ``model`` cannot score, by its number in the data called ``name``."""
    for number, item in enumerate(items, 1):
        for side in ("source", "correct", "incorrect"):
            most = model.max_pieces(target=side != "source")
            length = len(model.encode(getattr(item, side), target=side != "source"))
            if not 0 < length <= most:
                what = side if side == "source" else f"{side} translation"
                raise MMTError(
                    f"{name}: item {number}: expected a {what} of 1 to {most:,} pieces, found {length:,}. "
                    "Leave the item out."
                )


def judge(
    model: RuntimeModel,
    items: Sequence[Item],
    images: Sequence[str | Path] | None = None,
    *,
    max_tokens: int = 8192,
    progress: Callable[[int], object] | None = None,
) -> CommuteResult:
    """Lets a model choose between the two translations of each item.

    Equal texts with equal images are scored once (``mmt.inference.scoring.score_pairs``), so that of two mirrored
    items a model that does not see their images gets exactly one right, or none in a true tie.

    Args:
        images: one an item, as ``find_images`` gives them; None for a text-only model.
        progress: called with the number of translations just scored, of 2 an item, and 4 with images.
    Raises:
        MMTError: no items, no images for a model that uses them or images for one that does not, and as
            ``score_pairs``.
    """
    if not items:
        raise MMTError("contrastive pairs: expected items to judge, got none.")
    if images is None and model.card.features is not None:
        raise MMTError("contrastive pairs: the model uses images, but none are given. Name their folder or store.")
    check_items(model, items)
    num = len(items)
    if images is not None and len(images) != num:
        raise MMTError(f"contrastive pairs: expected one image an item, found {len(images):,} for {num:,}.")
    sources = [item.source for item in items] * 2
    targets = [item.correct for item in items] + [item.incorrect for item in items]
    all_images: list[str | Path | None] | None = None
    if images is not None:  # with and without in one go, so that what is equal is scored once
        sources, targets = sources * 2, targets * 2
        all_images = [*images, *images] + [None] * (2 * num)
    scores = score_pairs(model, sources, targets, all_images, max_tokens=max_tokens, progress=progress)
    pairs = mirrored_pairs(items)
    encode = partial(model.encode, target=True)
    same = [place for place, item in enumerate(items) if encode(item.correct) == encode(item.incorrect)]
    choices = Choices(scores[:num], scores[num : 2 * num], pairs, same)
    blank = Choices(scores[2 * num : 3 * num], scores[3 * num :], pairs, same) if images is not None else None
    return CommuteResult(choices, blank)


@dataclass(frozen=True)
class FoundImages:
    """The items whose image was found, and the image of each, as a model takes it; the images that are missing.

    ``left_out`` counts the items without their image; ``listed`` names the first missing images, each with the
    nearest name that exists.
    """

    items: list[Item]
    images: list[str | Path]
    missing: list[str]
    left_out: int
    listed: str = ""


def find_images(
    items: Sequence[Item], folder: Path | None, store: FeatureStore | None = None, missing: Missing = "refuse"
) -> FoundImages:
    """Looks up the items' images in a feature store, or by name in a folder.

    Args:
        missing: a missing or unreadable image: ``refuse`` it, or ``skip``, which leaves its items out.
    Raises:
        MMTError: images are missing (how many, and the first), or every one is.
    """
    where = store.folder if store is not None else folder
    reasons: dict[str, str] = {}
    known: dict[str, str | Path] = {}
    for item in items:
        name = item.image
        if name in known or name in reasons:
            continue
        if store is not None:
            if name in store:
                known[name] = name
            else:
                reasons[name] = "no features of it"
            continue
        try:
            path = image_file(folder or Path(), name)
        except MMTError:
            reasons[name] = "not a name inside the folder"
            continue
        try:
            decode_image(path)
            known[name] = path
        except ImageError as error:
            reasons[name] = error.reason
    kept = [item for item in items if item.image in known]
    there = Names(store.ids if store is not None else lambda: files_below(folder or Path())[0])
    listed = there.listed(reasons) if reasons else ""
    if reasons and (missing == "refuse" or not kept):
        first, reason = next(iter(reasons.items()))
        number = next(number for number, item in enumerate(items, 1) if item.image == first)
        remedy = "" if not kept else " Or leave their items out: --missing-images skip."
        raise MMTError(
            f"{where}: {len(reasons):,} of {len(reasons) + len(known):,} images are missing, the first is "
            f"'{first}' of item {number} ({reason}). Missing: {listed}. Fetch the images.{remedy}"
        )
    return FoundImages(kept, [known[item.image] for item in kept], list(reasons), len(items) - len(kept), listed)


def check_commute(commute: Path, info: DatasetInfo) -> None:
    """Raises MMTError unless the folder is one of CoMMuTE's, in the dataset's languages."""
    languages = commute_languages(commute)
    if languages != (info.source_lang, info.target_lang):
        raise MMTError(
            f"--commute {commute}: expected {info.source_lang}-{info.target_lang}, found {'-'.join(languages)}."
        )
