"""Controls: the same sentences with wrong images, or with none. What does not change is no effect of the image.

Incongruent decoding, Caglayan et al. (2019), https://aclanthology.org/N19-1422; blank images (absent features).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np

from mmt.errors import MMTError
from mmt.io.terminal import counted

Control = Literal["right", "wrong", "blank"]
"""``right``: each sentence's own image; ``wrong``: another's; ``blank``: none, the features are absent."""


Image = TypeVar("Image")


def controlled_images(images: Sequence[Image | None], control: Control, seed: int) -> list[Image | None]:
    """The images that a control shows; ``seed`` draws the wrong ones. Raises as ``wrong_images``."""
    if control not in get_args(Control):
        raise MMTError(f"image control: expected right, wrong or blank, found '{control}'.")
    if control == "blank":
        return [None] * len(images)
    return wrong_images(images, seed) if control == "wrong" else list(images)


def wrong_images(images: Sequence[Image | None], seed: int) -> list[Image | None]:
    """Gives each sentence that has an image the image of another sentence, never its own: one random draw.

    A permutation without fixed points of the sentences that have an image: they are shuffled, those that share an
    image stay side by side, and all are rotated by the size of the largest such group.

    Args:
        images: ids, files, bytes or pictures; None for a sentence without image, which keeps none.
    Raises:
        MMTError: there is no such permutation (fewer than two images, or one that over half of them share).
    """
    rows = [row for row, image in enumerate(images) if image is not None]
    known: dict[object, int] = {}
    numbers = np.array([known.setdefault(image_key(images[row]), len(known)) for row in rows], np.int64)
    counts = np.bincount(numbers, minlength=1)
    most = int(np.max(counts))
    if len(rows) < 2 or most * 2 > len(rows):
        raise MMTError(
            f"wrong images: {counted(len(rows), 'sentence')} with an image, and {most} of them the same "
            "one, so some sentence would be given its own. Take more sentences, or the control blank."
        )
    generator = np.random.default_rng(seed)
    place = generator.permutation(counts.size)[numbers]  # of each sentence's image
    order = np.lexsort((generator.permutation(len(rows)), place))
    drawn = list(images)
    for row, other in zip(order, np.roll(order, -most), strict=True):
        drawn[rows[row]] = images[rows[other]]
    return drawn


def other_readings(sources: Sequence[str], targets: Sequence[str], images: Sequence[Image]) -> list[Image]:
    """For each sentence, the image of one with the same source but another translation, else of the next one.

    Either way the image differs from its own.

    Raises:
        MMTError: all sentences have the same image.
    """
    readings: dict[str, list[int]] = {}
    for row, source in enumerate(sources):
        readings.setdefault(source, []).append(row)
    keys = [image_key(image) for image in images]
    wrong = []
    for row, source in enumerate(sources):
        others = [other for other in readings[source] if targets[other] != targets[row]]
        following = (number % len(images) for number in range(row + 1, row + len(images)))
        other = next((other for other in itertools.chain(others, following) if keys[other] != keys[row]), None)
        if other is None:
            raise MMTError(f"wrong images: all {len(images):,} sentences have the same one. Take more sentences.")
        wrong.append(images[other])
    return wrong


def image_key(image: object) -> object:
    """Equal for equal images: the file's name, the bytes, or the opened picture's identity; None for none."""
    if isinstance(image, str | Path):
        return str(image)
    return image if isinstance(image, bytes) else None if image is None else id(image)
