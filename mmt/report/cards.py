"""The gallery of a report page: each sentence as a card, with a map over its image for each content word.

A map shows how far a word's probability drops when a region is covered. It darkens the regions that do nothing, so
that the image itself shows the others: this reads the same in colour, in black and white, and on an empty frame
where the photo may not be shared.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmt.errors import MMTError
from mmt.evidence.findings import GalleryItem, Region
from mmt.metrics.lemmas import is_content, is_number, lemmatizer, words_of
from mmt.report.page import Picture, make_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_VEIL = 0.82  # how dark a region is that does nothing for a word
_FAINT = 0.05  # nats, about 5 % of a probability: a smaller drop is no drop


@dataclass(frozen=True)
class Cell:
    """A region on the picture, in CSS pixels: how dark it is, and how strongly striped."""

    x: float
    y: float
    width: float
    height: float
    veil: float
    stripes: float
    strongest: bool


@dataclass(frozen=True)
class Word:
    """A word of a translation; with a map, if ``cells``.

    margin: the part of the picture in no region. drop: by how much the strongest region lowers the word's
    probability when it is covered, such as "18 %". striped: whether covering any region raises it.
    """

    text: str
    differs: bool
    chosen: bool = False
    cells: tuple[Cell, ...] = ()
    margin: str = ""
    drop: str = ""
    striped: bool = False


@dataclass(frozen=True)
class Card:
    item: GalleryItem
    right: Picture
    wrong: Picture
    words: list[Word]
    wrong_words: list[Word]

    @property
    def mapped(self) -> bool:
        return any(word.cells for word in self.words)


def make_card(item: GalleryItem, pictures: Mapping[str, Image | Path] | None, lang: str = "") -> Card:
    """
    Args:
        pictures: opened, or their files, by image name; None where they must not be shared.
        lang: of the translations; where its function words are not known, every word counts as a content word.
    Returns:
        The card. A content word has a map if covering some region lowers its probability by 5 % or more. The map
        seen first is that of the word with the greatest drop, among those that differ if any do.
    """
    words = list(item.words)
    importance = [[value if math.isfinite(value) else 0.0 for value in row] for row in item.importance]
    if words and words[-1] == "</s>":
        words, importance = words[:-1], importance[: len(words) - 1]
    fits = len(words) == len(importance) and all(len(row) == len(item.regions) for row in importance)
    if not words or not item.regions or not fits:
        words, importance = item.right.split(), []
    marks, wrong_marks = differing_words(words, item.wrong.split())
    right = make_picture(item.image, pictures)
    wrong_words = [Word(text, differs) for text, differs in zip(item.wrong.split(), wrong_marks, strict=True)]
    shown = [Word(text, differs) for text, differs in zip(words, marks, strict=True)]
    best = {n: max(row) for n, row in enumerate(importance) if max(row) > _FAINT and _means(words[n], lang)}
    if best:
        scale = max(abs(value) for number in best for value in importance[number])
        chosen = max([number for number in best if marks[number]] or best, key=best.__getitem__)
        for number in best:
            shown[number] = _mapped(
                shown[number], importance[number], scale, item.regions, right, chosen=number == chosen
            )
    return Card(item, right, make_picture(item.wrong_image, pictures), shown, wrong_words)


def _means(text: str, lang: str) -> bool:
    """Whether there is a content word or a number in it; a piece of text between spaces may have punctuation."""
    words = [word.lower() for word in words_of(text)]
    try:
        lemma = lemmatizer(lang)
    except MMTError:  # no list of function words for this language
        return bool(words)
    return any(
        is_number(word, lang) or (is_content(word, lang) and is_content(lemma(word), lang)) for word in words
    )


def _mapped(
    word: Word, row: Sequence[float], scale: float, regions: Sequence[Region], picture: Picture, *, chosen: bool
) -> Word:
    """Puts a word's map on the picture; ``scale``, the card's greatest drop in log-probability, is fully lit."""
    cells = []
    for value, region in zip(row, regions, strict=True):
        share = value / scale
        cells.append(
            Cell(
                round(region.left * picture.width, 1),
                round(region.top * picture.height, 1),
                round((region.right - region.left) * picture.width, 1),
                round((region.bottom - region.top) * picture.height, 1),
                veil=round(_VEIL * (1 - max(share, 0.0)), 3),
                stripes=round(max(-share, 0.0), 3) if value < -_FAINT else 0.0,
                strongest=value == max(row),
            )
        )
    left, right = min(r.left for r in regions) * picture.width, max(r.right for r in regions) * picture.width
    top, bottom = min(r.top for r in regions) * picture.height, max(r.bottom for r in regions) * picture.height
    margin = ""
    if max(left, top, picture.width - right, picture.height - bottom) >= 1:
        whole = f"M0 0H{picture.width}V{picture.height}H0Z"
        margin = f"{whole}M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}Z"
    striped = any(cell.stripes for cell in cells)
    return Word(word.text, word.differs, chosen, tuple(cells), margin, _drop(max(row)), striped)


def differing_words(one: Sequence[str], other: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """Which words of either sentence are not in the other at that place."""
    marks = [True] * len(one), [True] * len(other)
    for i, j, size in difflib.SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks():
        marks[0][i : i + size] = [False] * size
        marks[1][j : j + size] = [False] * size
    return marks


def _drop(nats: float) -> str:
    """A drop in log-probability as one in probability."""
    share = 1 - math.exp(-nats)
    return "more than 99 %" if share > 0.99 else f"{100 * share:.0f} %"
