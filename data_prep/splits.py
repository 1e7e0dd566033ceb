"""Splits of parallel text: what they contain, what they are called here and elsewhere, and which are chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

from mmt.errors import MMTError, nearest

LANGUAGES = ("en", "de", "fr", "cs")
_SPLIT_WORDS = {"train": "train", "training": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)
"""What splits are called elsewhere -> what they are called here."""
_STEPS = ("lc", "norm", "tok", "clean", "bpe", "spm")
"""How the text was prepared, at the end of a split's name: Multi30K has ``train.lc.norm.tok.en``."""
_CAPTION = re.compile(r"#\d+$")  # COCO's split names the caption too: COCO_val2014_000000398076.jpg#657409
_ORDER = ("train", "val", "test")


class Pairs(NamedTuple):
    """One split before its images were looked at; the three lists are parallel, a missing image is ""."""

    sources: list[str]
    targets: list[str]
    images: list[str]


def split_name(name: str) -> str:
    """A split's name in the prepared dataset: letters, digits and ``_``; ``train`` and ``val`` where it is one.

    >>> [split_name(name) for name in ("valid", "test.2016", "flickr30k.train.en-de", "val.lc.norm.tok")]
    ['val', 'test_2016', 'train', 'val']
    """
    if re.fullmatch(r"\w+", name):
        return _SPLIT_WORDS.get(name.lower(), name)
    words = [word for word in re.split(r"[\W_]+", name) if word and word not in LANGUAGES]
    first = next((n for n, word in enumerate(words) if word in _SPLIT_WORDS or word.startswith("test")), 0)
    words = words[first:] or ["split"]
    while len(words) > 1 and words[-1] in _STEPS:
        words.pop()
    return "_".join([_SPLIT_WORDS.get(words[0], words[0]), *words[1:]])


def choose_splits(wanted: Sequence[str], known: Sequence[str], where: str) -> dict[str, str]:
    """Maps each split to take to its name in the prepared dataset."""
    names = {split: split_name(split) for split in known}
    names = {split: split if name != split and name in known else name for split, name in names.items()}
    chosen: dict[str, str] = {}
    for choice in wanted or known:
        split, _, new_name = choice.partition("=")
        if split not in known:  # by its new name, perhaps
            split = next((old for old, name in names.items() if name == split), split)
        if split not in known:
            raise MMTError(
                f"--split {choice}: no split '{split}' with both languages in {where}; it has "
                f"{', '.join(known)}.{nearest(split, known)}"
            )
        new_name = new_name or names[split]
        if not re.fullmatch(r"\w+", new_name):
            raise MMTError(f"--split {choice}: a split's name must be letters, digits and '_'; say {split}=NAME.")
        if split in chosen or new_name in chosen.values():
            both = next((old for old, name in chosen.items() if name == new_name), split)
            raise MMTError(
                f"--split {choice}: '{split}' or '{new_name}' is named twice."
                if wanted
                else f"{where}: '{both}' and '{split}' would both become '{new_name}'. Say what they become: "
                f"--split {both}=NAME --split {split}=OTHER."
            )
        chosen[split] = new_name
    return chosen


def report_renamed(chosen: Mapping[str, str], wanted: Sequence[str]) -> None:
    asked = {choice.partition("=")[0] for choice in wanted if "=" in choice}
    renamed = [
        f"{split} is read as {name}" for split, name in chosen.items() if name != split and split not in asked
    ]
    if renamed:
        click.echo(f"splits: {', '.join(renamed)}", err=True)


def by_order(split: str) -> tuple[int, str]:
    """Training first, then validation, then the rest by name."""
    name = split_name(split)
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), split)


def image_name(line: str, where: str) -> str:
    """The image's file name in one line of an image split."""
    name = _CAPTION.sub("", line)
    if "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise MMTError(f"{where}: expected an image's file name, found '{line}', which names another folder.")
    return name
