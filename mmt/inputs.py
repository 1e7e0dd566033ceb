"""What is to be translated: lines of files, standard input or a prepared data set, and the images they name."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmt.errors import MMTError
from mmt.lines import decode_lines, parse_json
from mmt.normalization import is_blank

Format = Literal["text", "tsv", "jsonl"]


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence to translate; ``image`` is as the input names it, None for none; ``number`` is from 1."""

    number: int
    source: str
    image: str | None = None


@dataclass(frozen=True)
class Images:
    """Where images come from: a list with one a line, a folder, feature stores (one a set), or a sensible two."""

    list_file: Path | None = None
    folder: Path | None = None
    stores: tuple[Path, ...] = ()

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Images:
        """Sorts out what each path is. Raises MMTError for a missing one and for two of a kind."""
        found: dict[str, Path] = {}
        stores: list[Path] = []
        for path in paths:
            if not path.exists():
                raise MMTError(f"--images {path}: no such file or folder.")
            kind = "list_file" if path.is_file() else "store" if (path / "meta.json").is_file() else "folder"
            said: Path | None = found.get(kind)
            if kind == "store":
                said = found.get("folder")
            elif kind == "folder" and stores:
                said = stores[0]
            if said is not None:
                raise MMTError(f"--images {path}: {said} says where images are already.")
            if kind == "store":
                stores.append(path)
                continue
            found[kind] = path
        return cls(**found, stores=tuple(stores))


def read_input(path: Path | None, kind: Format | None, images: Images) -> Iterator[Line]:
    """Reads sentences, and the images that go with them.

    ====== ====================================================================================
    text   one sentence a line; images, if any, one a line in ``images.list_file``
    tsv    source <TAB> image; the second column may be empty or missing
    jsonl  ``{"source": "...", "image": "..."}``; the image may be null or missing
    ====== ====================================================================================

    Args:
        path: the file, None for standard input.
        kind: None goes by the file's ending.
    Raises:
        MMTError: unreadable, not UTF-8 (with the line), a line of another shape, or an image list of another
            length.
    """
    name = "standard input" if path is None else str(path)
    if kind is None:
        suffix = path.suffix.lower() if path is not None else ""
        kind = "tsv" if suffix == ".tsv" else "jsonl" if suffix in (".jsonl", ".ndjson") else "text"
    if images.list_file is not None and kind != "text":
        raise MMTError(f"--images {images.list_file}: {name} names its images itself. Leave the list out.")
    if kind == "text" and images.list_file is None and (images.folder or images.stores):
        raise MMTError(
            f"{name}: plain text does not say which image goes with which line. Add --images LIST "
            "(one image a line), or write source <TAB> image lines to a .tsv file."
        )
    lines = enumerate(_decoded(path, name), 1)
    if kind == "tsv":
        for number, text in lines:
            source, *rest = text.split("\t")
            if len(rest) > 1:
                raise MMTError(
                    f"{name}: line {number}: expected source <TAB> image, found {len(rest) + 1} columns."
                )
            yield Line(number, source, _name(rest[0]) if rest else None)
    elif kind == "jsonl":
        for number, text in lines:
            yield _json_line(number, text, name)
    elif images.list_file is None:
        for number, text in lines:
            yield Line(number, text)
    else:
        names = enumerate(_decoded(images.list_file, str(images.list_file)), 1)
        for entry, image in itertools.zip_longest(lines, names):
            if entry is None or image is None:
                count = (entry or image or (1, ""))[0] - 1
                longer, shorter = (name, images.list_file) if image is None else (images.list_file, name)
                raise MMTError(f"{longer} has more lines than {shorter} ({count:,}). One image a line is needed.")
            yield Line(entry[0], entry[1], _name(image[1]))


def _name(image: str) -> str | None:
    return None if is_blank(image) else image.strip()


def _json_line(number: int, text: str, name: str) -> Line:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise MMTError(f"{name}: line {number}: not JSON ({error}).") from None
    if not isinstance(value, dict) or not isinstance(value.get("source"), str):
        raise MMTError(f'{name}: line {number}: expected {{"source": "...", "image": "..."}}.')
    image = value.get("image")
    if not isinstance(image, str | None):
        raise MMTError(f"{name}: line {number}: expected the image's name or null, found {image!r}.")
    return Line(number, value["source"], None if image is None or is_blank(image) else image)


def _decoded(path: Path | None, name: str) -> Iterator[str]:
    if path is None:
        yield from decode_lines(sys.stdin.buffer, name)
        return
    try:
        with path.open("rb") as stream:
            yield from decode_lines(stream, name)
    except OSError as error:
        raise MMTError(f"{name}: cannot be read ({error.strerror}).") from None


@dataclass(frozen=True)
class Input:
    """What is to be translated: lines, how many (None if unknown), and where their images are."""

    lines: Iterator[Line]
    total: int | None
    images: Images
    base: Path
    """The folder to which relative image paths refer where ``images`` names none."""
    typed: bool = False
    """Somebody types the lines, and wants each one's translation before the next."""


def open_file(path: Path | None, kind: Format | None, images: Images) -> Input:
    """A text, TSV or JSON lines file, or standard input (None); see ``read_input``."""
    total = None
    typed = path is None and sys.stdin.isatty()
    if path is not None and path.is_file():
        with path.open("rb") as stream:
            total = sum(1 for _ in stream)
    names_images = images.list_file or path  # relative image paths start from it
    base = names_images.parent if names_images else Path()
    return Input(read_input(path, kind, images), total, images, base, typed)


def open_data(folder: Path, split: str, images: Images, *, with_images: bool) -> Input:
    """One split of a prepared data set; ``with_images=False`` (a text-only model) leaves its images alone."""
    from mmt.prepared import image_folder, read_split

    if images.list_file is not None:
        raise MMTError(f"--images {images.list_file}: {folder} names its images itself. Leave the list out.")
    rows = read_split(folder, split)

    def lines() -> Iterator[Line]:
        for number, row in enumerate(rows, 1):
            yield Line(number, row["source"], row["image"] if with_images and row["has_image"] else None)

    if images.folder is None and not images.stores:
        images = Images(folder=image_folder(folder))
    return Input(lines(), len(rows), images, folder)
