"""The sentences that systems are evaluated on: those of a split that have an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmt.data.dataset import read_split
from mmt.data.image_names import Names
from mmt.errors import MMTError
from mmt.inference.controls import wrong_images
from mmt.io.terminal import counted


@dataclass(frozen=True)
class Sentences:
    """The sentences of a split that have an image, column by column; a column that the dataset lacks is None.

    references: all of them empty where the dataset has no translations.
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

    @property
    def has_references(self) -> bool:
        return any(self.references)

    def draws(self, num: int, seed: int) -> list[list[str]]:
        """``num`` draws of wrong images, the first with ``seed``; see ``mmt.inference.controls.wrong_images``."""
        return [[name or "" for name in wrong_images(self.images, seed + draw)] for draw in range(num)]


def read_sentences(data: Path, split: str, known: Callable[[str], bool] = lambda name: True) -> Sentences:
    """Reads the sentences that have an image.

    Args:
        known: whether the image of this name is available.
    Raises:
        MMTError: fewer than two sentences have one, or some of them have a reference and others have none.
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

    targets = [bool(row["target"].strip()) for row in kept]
    if any(targets) and not all(targets):
        raise MMTError(
            f"{data}: split '{split}': row '{kept[targets.index(False)]['id']}' has no target, and "
            f"{counted(sum(targets), 'other row')} have one. Leave it out, or put it into another split."
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
