"""Input to translate: lines of files, standard input or a prepared dataset, and the images they name."""

from __future__ import annotations

import gzip
import itertools
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmt.data.dataset import image_folder, read_split
from mmt.errors import MMTError
from mmt.io.formats import IMAGES, SOURCES, Header, Kind, check_text, kind_of, table_rows
from mmt.io.normalization import is_blank
from mmt.io.terminal import counted
from mmt.io.text_files import check_not_blank, decode_lines, file_checksum, open_text, parse_json, read_lines

Format = Kind


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence to translate; ``image`` is its name in the input, None for none; ``number`` counts from 1."""

    number: int
    source: str
    image: str | None = None


@dataclass(frozen=True)
class Images:
    """Where images come from: a list with one per line, a folder, or feature stores (one per set).

    A list goes with a folder or with stores.
    """

    list_file: Path | None = None
    folder: Path | None = None
    stores: tuple[Path, ...] = ()

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Images:
        """Detects what each path is. Raises MMTError for a missing one and for two of the same kind."""
        found: dict[str, Path] = {}
        stores: list[Path] = []
        for path in paths:
            if not path.exists():
                raise MMTError(f"--images {path}: no such file or folder.")
            kind = "list_file" if path.is_file() else "store" if (path / "meta.json").is_file() else "folder"
            other: Path | None = found.get(kind)
            if kind == "store":
                other = found.get("folder")
            elif kind == "folder" and stores:
                other = stores[0]
            if other is not None:
                raise MMTError(f"--images {path}: {other} says where images are already.")
            if kind == "store":
                stores.append(path)
                continue
            found[kind] = path
        return cls(**found, stores=tuple(stores))

    def identity(self) -> dict[str, object]:
        """What tells these images from others: the folder, and checksums of the list and the stores."""
        found: dict[str, object] = {"images": str(self.folder) if self.folder is not None else None}
        if self.list_file is not None:
            found["list of images"] = file_checksum(self.list_file)
        return found | {"features": [file_checksum(store / "meta.json") for store in self.stores]}


class Arriving:
    """Standard input from a terminal or a pipe: lines can be answered before more of them are written."""

    _MOMENT = 0.05  # seconds; a program that writes line after line makes shorter pauses

    @classmethod
    def open(cls) -> Arriving | None:
        """None if standard input is a file, or not something to wait for."""
        try:
            descriptor = sys.stdin.fileno()
        except (AttributeError, OSError, ValueError):  # closed, or replaced by something in memory
            return None
        return None if stat.S_ISREG(os.fstat(descriptor).st_mode) else cls(descriptor)

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._held, self._ended = descriptor, bytearray(), False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def readline(self, size: int, /) -> bytes:
        """The next line with its line feed, or ``size`` bytes of it; empty at the end."""
        end, searched = -1, 0
        while (end := self._held.find(b"\n", searched)) < 0 and len(self._held) < size and not self._ended:
            searched = len(self._held)
            self._read()
        end = min(end + 1 if end >= 0 else len(self._held), size)
        line = bytes(self._held[:end])
        del self._held[:end]
        return line

    def waits(self) -> bool:
        """Whether no complete line is there, and none arrives within a moment."""
        while b"\n" not in self._held and not self._ended:
            if not self._poll.poll(1000 * self._MOMENT):
                return True
            self._read()
        return False

    def _read(self) -> None:
        block = os.read(self._descriptor, 1 << 16)
        self._held += block
        self._ended = not block


def read_input(
    path: Path | None, kind: Format | None, images: Images, arriving: Arriving | None = None
) -> Iterator[Line]:
    """Reads sentences and their images.

    ====== ====================================================================================
    text   one sentence per line; images, if any, one per line in ``images.list_file``
    tsv    source <TAB> image; the second column may be empty or missing; or with a header
    csv    with a header, a first line that names the columns
    jsonl  ``{"source": "...", "image": "..."}``; the image may be null or missing
    ====== ====================================================================================

    With named columns, and in JSON, the sentence is the first of ``mmt.io.formats.SOURCES``, the image the first
    of ``IMAGES``; others are ignored. Each file may be compressed with gzip.

    Args:
        path: the file, None for standard input.
        kind: None uses the file's suffix.
        arriving: reads standard input instead of Python's own stream.
    Raises:
        MMTError: the file is unreadable, not UTF-8 (with the line), or of another format than expected; a line has
            another shape; or the image list has another length.
    """
    name = "standard input" if path is None else str(path)
    by_name = kind is None
    if kind is None:
        kind = kind_of(path) if path is not None else "text"
    if images.list_file is not None and kind != "text":
        raise MMTError(f"--images {images.list_file}: {name} names its images itself. Leave the list out.")
    if images.list_file is not None and kind_of(images.list_file) != "text":
        raise MMTError(
            f"--images {images.list_file}: expected text, one image a line. Keep the column of images alone."
        )
    if kind == "text" and images.list_file is None and (images.folder or images.stores):
        raise MMTError(
            f"{name}: plain text does not say which image goes with which line. Add --images LIST "
            "(one image a line), or write source <TAB> image lines to a .tsv file."
        )
    plain = _decoded(path, name, arriving)
    if kind in ("tsv", "csv"):
        yield from _table(plain, kind, name, images)
        return
    if kind == "text" and by_name:
        first = next(plain, None)
        if first is not None:
            check_text(first, name, "Say so with --format (tsv, csv or jsonl), or --format text if it is text.")
            plain = itertools.chain([first], plain)
    lines = enumerate(plain, 1)
    if kind == "jsonl":
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


def _table(lines: Iterator[str], kind: Kind, name: str, images: Images) -> Iterator[Line]:
    """The rows of a table, numbered from 1 without the header."""
    header, rows = table_rows(lines, kind, name)
    source, image = _places(header, name, images) if header is not None else (0, 1)
    for number, cells in enumerate(rows, 1):
        if header is None and len(cells) > 2:
            raise MMTError(
                f"{name}: line {number}: expected source <TAB> image, found {len(cells)} columns. For more, name "
                "the columns in a first line: source, image."
            )
        named = cells[image] if image is not None and image < len(cells) else ""
        yield Line(number, cells[source], _name(named))


def _name(image: str) -> str | None:
    return None if is_blank(image) else image.strip()


def _places(header: Header, name: str, images: Images) -> tuple[int, int | None]:
    """The columns with the sentences and the images."""
    source, image = header.find(SOURCES), header.find(IMAGES)
    columns = ", ".join(header.columns)
    if source is None:
        raise MMTError(f"{name}: expected a column named {' or '.join(SOURCES[:4])}, found {columns}.")
    if image is None and (images.folder or images.stores):
        raise MMTError(
            f"{name}: --images needs a column named {' or '.join(IMAGES[:2])}, found {columns}. Rename one, "
            "or leave --images out."
        )
    return source, image


def _json_line(number: int, text: str, name: str) -> Line:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise MMTError(f"{name}: line {number}: not JSON ({error}).") from None
    found = next((one for one in SOURCES if one in value), "source") if isinstance(value, dict) else ""
    if not isinstance(value, dict) or not isinstance(value.get(found), str):
        raise MMTError(f'{name}: line {number}: expected {{"source": "...", "image": "..."}}.')
    image = value.get(next((one for one in IMAGES if one in value), "image"))
    if not isinstance(image, str | None):
        raise MMTError(f"{name}: line {number}: expected the image's name or null, found {image!r}.")
    return Line(number, value[found], None if image is None or is_blank(image) else image)


def _decoded(path: Path | None, name: str, arriving: Arriving | None = None) -> Iterator[str]:
    if path is None:
        if arriving is None and sys.stdin is None:
            raise MMTError("standard input is closed. Name a file with --input.")
        yield from decode_lines(arriving or sys.stdin.buffer, name)
        return
    with open_text(path) as stream:
        yield from decode_lines(stream, name)


def read_texts(path: Path, names: Sequence[str]) -> list[str]:
    """The texts of a file: one per line, or a column of a table or of JSON lines, as ``mmt translate`` writes.

    Args:
        path: text, .tsv, .csv or .jsonl by its name, each compressed with gzip or not.
        names: possible names of the column; the first that exists is used.
    Returns:
        The texts without surrounding white space; blank ones are kept, as "".
    Raises:
        MMTError: as ``mmt.io.text_files.read_lines``; or a table or JSON lines without such a column, or of
            another format than the name says.
    """
    kind = kind_of(path)
    if kind == "text":
        found = read_lines(path)
        check_text(found[0], str(path), "Give it such a name, or keep that column alone.")
        return found
    lines = _decoded(path, str(path))
    if kind == "jsonl":
        found = [_json_text(number, line, path, names) for number, line in enumerate(lines, 1)]
    else:
        header, rows = table_rows(lines, kind, str(path))
        place = header.find(names) if header is not None else 0
        if place is None:
            columns = ", ".join(header.columns) if header is not None else ""
            raise MMTError(f"{path}: expected a column named {' or '.join(names)}, found {columns}.")
        found = []
        for number, cells in enumerate(rows, 1):
            if header is None and len(cells) > 1:
                raise MMTError(
                    f"{path}: line {number}: expected one column, found {len(cells)}. Name the columns in a first "
                    f"line, one of them {' or '.join(names[:3])}."
                )
            found.append(" ".join(cells[place].split("\n")))
    found = ["" if is_blank(text) else text.strip() for text in found]
    check_not_blank(found, path)
    return found


def _json_text(number: int, line: str, path: Path, names: Sequence[str]) -> str:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise MMTError(f"{path}: line {number}: not JSON ({error}).") from None
    if isinstance(value, dict) and isinstance(value.get("translations"), list):  # mmt translate's, best first
        value = next(iter(value["translations"]), None)
        names = ("text",)
    text = next((value[name] for name in names if name in value), None) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise MMTError(f"{path}: line {number}: expected an object with a text named {' or '.join(names)}.")
    return " ".join(text.split("\n"))


@dataclass(frozen=True)
class Input:
    """Input to translate: lines, how many (None if unknown), and where their images are."""

    lines: Iterator[Line]
    total: int | None
    images: Images
    base: Path
    """The folder to which relative image paths refer if ``images`` names none."""
    typed: bool = False
    """A person types the lines, and expects each translation before the next line."""
    images_left: int = 0
    """Sentences whose images a text-only model ignores."""
    waits: Callable[[], bool] | None = None
    """Whether the next line has not arrived yet: its writer may be waiting for an answer. None for files."""

    @property
    def note(self) -> str:
        """A message about images that are not used; empty if there are none."""
        left = self.images_left
        return f"; the model is text-only: {counted(left, 'image')} of the data not used" if left else ""


def open_file(path: Path | None, kind: Format | None, images: Images) -> Input:
    """A file of text, TSV, CSV or JSON lines, or standard input (None); see ``read_input``."""
    total = None
    arriving = Arriving.open() if path is None else None
    if path is not None and path.is_file() and (kind or kind_of(path)) != "csv":
        with open_text(path) as stream:
            if not isinstance(stream, gzip.GzipFile):
                total = sum(1 for _ in stream)
    names_images = images.list_file or path  # relative image paths start from it
    base = names_images.parent if names_images else Path()
    lines = read_input(path, kind, images, arriving)
    if arriving is None:
        return Input(lines, total, images, base)
    return Input(lines, total, images, base, typed=sys.stdin.isatty(), waits=arriving.waits)


def open_data(folder: Path, split: str, images: Images, *, with_images: bool) -> Input:
    """One split of a prepared dataset; ``with_images=False`` (a text-only model) ignores its images."""
    if images.list_file is not None:
        raise MMTError(f"--images {images.list_file}: {folder} names its images itself. Leave the list out.")
    rows = read_split(folder, split)

    def lines() -> Iterator[Line]:
        for number, row in enumerate(rows, 1):
            yield Line(number, row["source"], row["image"] if with_images and row["has_image"] else None)

    if images.folder is None and not images.stores:
        images = Images(folder=image_folder(folder))
    left = 0 if with_images else sum(rows["has_image"])
    return Input(lines(), len(rows), images, folder, images_left=left)
