"""The image folders of a dataset that is being prepared: which images exist, and which of them decode."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import click
from tqdm import tqdm

from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.image_names import Names, files_below, files_in
from mmt.errors import MMTError
from mmt.features.decoding import decode_image
from mmt.features.images import ImageError
from mmt.io.atomic import made_beside
from mmt.io.terminal import counted

LINKS = "linked_images"
"""The folder, inside a dataset whose images come from several folders, with a link to each image."""

Unreadable = Literal["refuse", "skip"]

images_option = click.option(
    "--images",
    type=PATH,
    multiple=True,
    help="Folder of the images; repeatable: of an image in several folders, the last one counts.",
)


class ImageFolders:
    """One or several image folders; an image in several of them is taken from the last one.

    Args:
        folders: existing folders.
        subfolders: whether images lie in their subfolders, too; a name then has ``/`` between folders.
        names: of the images that matter, subfolders included; no other file is looked at, so that the folder may
            be a large one with other things in it. None for all.
    """

    def __init__(
        self, folders: Sequence[Path], *, subfolders: bool = False, names: Iterable[str] | None = None
    ) -> None:
        self.folders, self._subfolders = tuple(folders), subfolders
        self._wanted = None if names is None else sorted(set(names))

    def __str__(self) -> str:
        return " + ".join(map(str, self.folders))

    @cached_property
    def files(self) -> dict[str, Path]:
        """The files by name."""
        if self._wanted is not None:
            paths = ((name, folder / name) for folder in self.folders for name in self._wanted)
            return {name: path for name, path in paths if path.is_file()}
        return {
            name: folder / name
            for folder in self.folders
            for name in (files_below(folder)[0] if self._subfolders else files_in(folder))
        }

    def existing(self, names: Iterable[str]) -> list[str]:
        """The ``names`` whose image exists, each once, sorted.

        Raises:
            MMTError: none of them exists.
        """
        wanted = sorted(set(names))
        found = [name for name in wanted if name in self.files]
        if not found:
            there = self.files or dict.fromkeys(name for folder in self.folders for name in files_in(folder))
            raise MMTError(
                f"{self}: none of the {len(wanted):,} images is there: {self._names().listed(wanted)}; the folder "
                f"has {some(sorted(there)) or 'nothing'}. Give the right folder, or --no-images for text "
                "alone."
            )
        return found

    def undecodable(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` whose file is not an image, or is damaged."""
        with ThreadPoolExecutor() as pool:  # Pillow releases the interpreter while it decodes
            decoded = pool.map(lambda name: _decodes(self.files[name]), names)
            results = tqdm(decoded, "images", len(names), unit="", disable=None)
            return [name for name, good in zip(names, results, strict=True) if not good]

    def readable(self, found: Sequence[str], bad: Sequence[str], unreadable: Unreadable) -> frozenset[str]:
        """``found`` without ``bad``, which were refused or are reported.

        Raises:
            MMTError: ``unreadable`` is ``refuse``, and there is one.
        """
        if bad and unreadable == "refuse":
            raise MMTError(
                f"{self}: {len(bad):,} of {len(found):,} images cannot be decoded: {some(bad, 10)}. "
                "Fetch them again, or count them as missing with --unreadable skip."
            )
        if bad:
            what = f"{counted(len(bad), 'image')} that cannot be decoded: {', '.join(bad)}"
            click.echo(f"counted as missing: {what}", err=True)
        return frozenset(found) - frozenset(bad)

    def write_found(
        self,
        out: Path,
        info: DatasetInfo,
        splits: Mapping[str, Sequence[dict[str, Any]]],
        unreadable: Unreadable,
    ) -> DatasetInfo:
        """Writes the dataset ``out`` after looking for each row's image, and reports those that are missing.

        Args:
            splits: rows, whose ``has_image`` is set here.
        Raises:
            MMTError: as ``existing``, ``readable`` and ``write``.
        """
        names = [row["image"] for rows in splits.values() for row in rows if row["image"]]
        existing = self.existing(names)
        found = self.readable(existing, self.undecodable(existing), unreadable)
        for rows in splits.values():
            for row in rows:
                row["has_image"] = row["image"] in found
        info = self.write(out, info, splits)
        self.report_missing(names, found)
        return info

    def report_missing(self, names: Iterable[str], found: Collection[str]) -> None:
        """Prints to standard error how many of ``names`` are not among ``found``, and the first ones."""
        _say_missing(self._names(), names, found, "images")

    def write(
        self,
        out: Path,
        info: DatasetInfo,
        rows: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> DatasetInfo:
        """Writes the dataset ``out``, see ``mmt.data.dataset.write_dataset``; its images stay where they are.

        A single folder is named in ``dataset.json``. Of several, the dataset has a folder ``LINKS`` with a
        symbolic link to each image that a row has.
        """
        if len(self.folders) == 1:
            return write_dataset(out, replace(info, images=_entry(out, self.folders[0])), rows)
        wanted = sorted({row["image"] for split in rows.values() for row in split if row["has_image"]})
        with made_beside(out) as links:
            for name in wanted:
                (links / name).parent.mkdir(parents=True, exist_ok=True)
                (links / name).symlink_to(os.path.abspath(self.files[name]))
            return write_dataset(out, replace(info, images=LINKS), rows, images_from=links)

    def _names(self) -> Names:
        return Names(lambda: [name for folder in self.folders for name in files_below(folder)[0]])


def say_missing(folder: Path, names: Iterable[str], found: Collection[str], what: str = "images") -> None:
    """Prints to standard error how many of ``names`` are not among ``found``, and the first ones."""
    _say_missing(Names(lambda: files_below(folder)[0]), names, found, what)


def _say_missing(there: Names, names: Iterable[str], found: Collection[str], what: str) -> None:
    distinct = dict.fromkeys(names)
    missing = [name for name in distinct if name not in found]
    if missing:
        click.echo(f"missing, {len(missing):,} of {len(distinct):,} {what}: {there.listed(missing)}", err=True)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _decodes(path: Path) -> bool:
    try:
        decode_image(path)
    except ImageError:
        return False
    return True


def _entry(out: Path, images: Path) -> str:
    """How ``dataset.json`` names an image folder: by name if it lies in ``out``, else by its full path."""
    inside = images.resolve().parent == out.resolve()
    return images.resolve().name if inside else os.path.abspath(images)
