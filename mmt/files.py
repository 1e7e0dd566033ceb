"""Translating files: sentences and images are read line by line, so a file's size does not matter."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmt.controls import Control, wrong_images
from mmt.errors import MMTError
from mmt.lines import decode_lines, parse_json, replacing
from mmt.shards import Parts, Shard

if TYPE_CHECKING:
    from mmt.predictions import Prediction
    from mmt.translating import BaseTranslator, Translation

Found = TypeVar("Found")

Format = Literal["text", "tsv", "jsonl"]
Missing = Literal["refuse", "skip"]

_CHUNK = 2048  # lines sorted by length and held in memory, with their images' features, at a time


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
            yield Line(number, source, rest[0].strip() or None if rest else None)
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
            yield Line(entry[0], entry[1], image[1].strip() or None)


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
    return Line(number, value["source"], image or None)


def _decoded(path: Path | None, name: str) -> Iterator[str]:
    if path is None:
        yield from decode_lines(sys.stdin.buffer, name)
        return
    try:
        with path.open("rb") as stream:
            yield from decode_lines(stream, name)
    except OSError as error:
        raise MMTError(f"{name}: cannot be read ({error.strerror}).") from None


@dataclass
class Counts:
    """What was translated: sentences, those with an image, and the images that were named but not to be had."""

    sentences: int = 0
    with_image: int = 0
    missing: int = 0


class FileTranslator:
    """Translates lines in chunks, looking images up as the input names them.

    Args:
        missing: an image that is not there or cannot be read: refuse, or translate without it and count.
        shard: this process's share of the lines; None is all.
    """

    def __init__(
        self,
        translator: BaseTranslator,
        given: Input,
        missing: Missing = "refuse",
        shard: Shard | None = None,
    ) -> None:
        self.translator, self.given, self.missing, self.shard = translator, given, missing, shard
        self.counts = Counts()

    def translate(
        self,
        *,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        guidance: float = 1.0,
        image_control: Control = "right",
        control_seed: int = 1,
        n_best: int = 1,
        max_tokens: int = 8192,
        show_progress: bool = True,
    ) -> Iterator[tuple[Line, list[Translation]]]:
        """Yields each line with its translations, best first, in the input's order.

        With ``image_control`` a line's ``image`` is the one that it was shown; the wrong images are drawn among
        all lines that have one, so the whole input is held in memory.
        """
        work = partial(
            self.translator.hypotheses,
            beam_size=beam_size,
            length_penalty=length_penalty,
            guidance=guidance,
            n_best=n_best,
            max_tokens=max_tokens,
        )
        yield from self._in_chunks(work, image_control, control_seed, show_progress)

    def predict(
        self,
        *,
        image_control: Control = "right",
        control_seed: int = 1,
        max_tokens: int = 8192,
        show_progress: bool = True,
    ) -> Iterator[tuple[Line, Prediction]]:
        """Yields each line with its label and score, in order; ``image_control`` as in ``translate``."""
        from mmt.predictions import predict
        from mmt.translator import Translator

        assert isinstance(self.translator, Translator)  # noqa: S101  # an exported model only translates
        work = partial(predict, self.translator, max_tokens=max_tokens)
        yield from self._in_chunks(work, image_control, control_seed, show_progress)

    def notes(self) -> list[str]:
        """What had to be done to files on the way, such as ``resampled from 44,100 Hz``."""
        return self.translator.notes()

    def _in_chunks(
        self, work: Callable[..., Sequence[Found]], control: Control, seed: int, show_progress: bool
    ) -> Iterator[tuple[Line, Found]]:
        """Yields each line with what ``work`` makes of sentences and images, and counts them."""
        from tqdm import tqdm

        stream = self._shown(control, seed)
        typed = self.given.typed
        if typed and show_progress:
            print("One line at a time; Ctrl+D ends.", file=sys.stderr)
        hidden = None if show_progress and not typed else True
        with tqdm(total=self._total(), unit=" sentences", disable=hidden, smoothing=0.05) as bar:
            while chunk := list(itertools.islice(stream, 1 if typed else _CHUNK)):
                images = [image for _, image in chunk]
                has = [image is not None for image in images]
                found = work([line.source for line, _ in chunk], images if any(has) else None, progress=bar.update)
                self.counts.sentences += len(chunk)
                self.counts.with_image += sum(has)
                yield from zip((line for line, _ in chunk), found, strict=True)

    def _shown(self, control: Control, seed: int) -> Iterator[tuple[Line, str | Path | None]]:
        """Each line with the image that it is to be shown, as the translator takes it."""
        if control != "right":
            self.translator.refuse_images("an image control")
        if control == "blank":
            return ((replace(line, image=None), None) for line in self._own(self.given.lines))
        if control == "right":
            return ((line, self._image(line)) for line in self._own(self.given.lines))
        lines = list(self.given.lines)
        had = [line.image if self._image(line) is not None else None for line in lines]
        shown = (replace(line, image=name) for line, name in zip(lines, wrong_images(had, seed), strict=True))
        return ((line, self._image(line)) for line in self._own(shown))

    def _own(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Those of this process's share: whole chunks, so that none is divided otherwise than by one process."""
        if self.shard is None:
            return iter(lines)
        return (line for number, line in enumerate(lines) if self.shard.has(number // _CHUNK))

    def _total(self) -> int | None:
        total, shard = self.given.total, self.shard
        if total is None or shard is None:
            return total
        return sum(min(_CHUNK, total - at) for at in range(shard.number * _CHUNK, total, shard.count * _CHUNK))

    def _image(self, line: Line) -> str | Path | None:
        """What the translator is given for the line's image: an id of its store, or a readable file."""
        if line.image is None:
            return None
        self.translator.refuse_images("images")
        store = self.translator.features
        try:
            if store is not None:
                if line.image not in store:
                    store.get([line.image])  # says what is missing and what to do
                return line.image
            return self._file(line.image)
        except MMTError as error:
            if self.missing == "skip":
                self.counts.missing += 1
                return None
            raise MMTError(
                f"line {line.number}: {error} Or translate such lines without: --missing-images skip."
            ) from None

    def _file(self, name: str) -> Path:
        from mmt.images import image_file

        folder = self.given.images.folder
        path = image_file(folder, name) if folder is not None else self.given.base / name
        if not os.path.isfile(path):
            raise MMTError(f"image {path}: no such file.")
        if self.missing == "skip":
            # find out now whether it can be read, while it can still be left out
            self.translator.check_image(path)
        return path


def write_output(
    results: Iterable[tuple[Line, list[Translation]]],
    path: Path | None,
    n_best: int,
    parts: Parts | None = None,
) -> str:
    """Writes one line a sentence, or ``n_best`` lines ``number ||| translation ||| score``, or JSON lines.

    A file is written beside its name and renamed when whole; a ``.jsonl`` ending asks for JSON lines.

    Args:
        parts: where ``results`` are a share's; ``path`` is made when all shares are done.
    Returns:
        What became of the share, or nothing.
    """
    as_json = _wants_json(path)
    return _write((_formatted(line, found, n_best, as_json) for line, found in results), path, parts)


def write_predictions(
    results: Iterable[tuple[Line, Prediction]], path: Path | None, parts: Parts | None = None
) -> str:
    """Writes one line a sentence: label, its probability and the score, what there is of them, between tabs.

    A file is written as by ``write_output``, JSON lines and shares likewise.
    """
    as_json = _wants_json(path)
    return _write((_said(line, said, as_json) for line, said in results), path, parts)


def _wants_json(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() in (".jsonl", ".ndjson")


def _write(records: Iterable[str], path: Path | None, parts: Parts | None) -> str:
    # Half a surrogate pair, which only JSON can hold, stays the escape that it came as.
    encoded = ((record + "\n").encode("utf-8", "backslashreplace") for record in records)
    if parts is None:
        with replacing(path) as stream:
            for record in encoded:
                stream.write(record)
                if path is None and stream.isatty():
                    stream.flush()
        return ""
    if parts.is_done:
        return parts.finish({}, partial(_join, path, parts))
    sizes: list[int] = []  # of the chunks
    with replacing(parts.part) as stream:
        for number, record in enumerate(encoded):
            if number % _CHUNK == 0:
                sizes.append(0)
            sizes[-1] += stream.write(record)
    return parts.finish({"sizes": sizes}, partial(_join, path, parts))


def _join(path: Path | None, parts: Parts, about: list[dict[str, Any]]) -> None:
    """Makes the file of its chunks, which the parts hold in turn."""
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(parts.of(number).open("rb")) for number in range(len(about))]
        whole = stack.enter_context(replacing(path))
        for chunk in range(sum(len(one["sizes"]) for one in about)):
            turn, of_part = chunk % len(about), chunk // len(about)
            left = about[turn]["sizes"][of_part]
            while left:
                block = streams[turn].read(min(left, 1 << 20))
                if not block:
                    raise MMTError(f"{parts.of(turn)}: shorter than it was written. Remove {parts.folder}.")
                whole.write(block)
                left -= len(block)


def _said(line: Line, said: Prediction, as_json: bool) -> str:
    values = {"label": said.label, "probability": said.probability, "score": said.score}
    values = {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in values.items()
        if value is not None
    }
    if as_json:
        return json.dumps({"source": line.source, "image": line.image, **values}, ensure_ascii=False)
    # A label out of a data set may be any text: here it is one cell of one line.
    return "\t".join(" ".join(str(value).split()) for value in values.values())


def _formatted(line: Line, translations: list[Translation], n_best: int, as_json: bool) -> str:
    if as_json:
        value: dict[str, Any] = {
            "source": line.source,
            "image": line.image,
            "with_image": translations[0].with_image,
            "translations": [{"text": t.text, "score": round(t.score, 6)} for t in translations],
        }
        return json.dumps(value, ensure_ascii=False)
    if n_best > 1:
        return "\n".join(f"{line.number} ||| {t.text} ||| {t.score:.4f}" for t in translations)
    return translations[0].text


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
