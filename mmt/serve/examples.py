"""Sentences and pictures to try on the page: of a prepared dataset, or those that come with mmt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmt.data.dataset import first_test_split, image_folder, read_info, read_split
from mmt.errors import MMTError
from mmt.features.images import image_file, read_file
from mmt.inference.named import EXAMPLES, examples

_MOST = 6
_BYTES = 2_000_000  # of a picture, which the page sends back with a request


@dataclass(frozen=True)
class Example:
    """A sentence with its picture, and one that means something else: files' bytes."""

    text: str
    picture: bytes
    other: bytes


def built_in_examples() -> list[Example]:
    """Of the built-in model: each sentence with a picture, and with that of its other meaning."""
    of_text: dict[str, list[bytes]] = {}
    for row in examples():
        of_text.setdefault(row["source"], []).append(image_file(EXAMPLES.parent, row["image"]).read_bytes())
    return [Example(text, pictures[0], pictures[-1]) for text, pictures in of_text.items()]


def read_examples(dataset: Path) -> list[Example]:
    """Some sentences, each with a picture and another: of the same sentence where it occurs with two.

    Taken from the split ``contrastive`` if there is one, else from the first whose name begins with test.

    Raises:
        MMTError: no prepared dataset, or none of its sentences has a picture.
    """
    info = read_info(dataset)
    split = "contrastive" if "contrastive" in info.splits else first_test_split(dataset)
    rows, folder = read_split(dataset, split), image_folder(dataset, info)
    of_text: dict[str, list[str]] = {}
    for text, image, there in zip(rows["source"], rows["image"], rows["has_image"], strict=True):
        if there:
            of_text.setdefault(text, []).append(image)
    pairs = {text: names for text, names in of_text.items() if len(set(names)) > 1} or of_text
    images = [name for names in of_text.values() for name in names]
    step = max(len(pairs) // _MOST, 1)
    found = []
    for text in list(pairs)[::step][:_MOST]:
        own = pairs[text][0]
        other = next((name for name in [*pairs[text], *images] if name != own), own)
        pictures = [read_file(image_file(folder, name)) for name in (own, other)]
        if max(map(len, pictures)) <= _BYTES:
            found.append(Example(text, *pictures))
    if not found:
        raise MMTError(f"{dataset}: expected sentences with pictures in the split {split}, found none.")
    return found
