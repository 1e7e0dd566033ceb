"""Translating files: sentences and images are read line by line, so a file's size does not matter."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mmt.data.domain import PIECES
from mmt.data.image_names import Names, files_below, names_in
from mmt.data.inputs import Input, Line
from mmt.errors import MMTError, local_path
from mmt.inference.controls import Control, wrong_images
from mmt.io.atomic import replacing
from mmt.io.formats import packing, writes_json
from mmt.io.shards import Parts, Shard
from mmt.io.terminal import counted

if TYPE_CHECKING:
    from mmt.inference.labelling import Prediction
    from mmt.inference.translator import BaseTranslator, Translation

Found = TypeVar("Found")

Missing = Literal["refuse", "skip"]

_CHUNK = 2048  # lines sorted by length and held in memory, with their images' features, at a time


@dataclass
class Counts:
    """What was translated: sentences, those with an image, and the images that were named but missing.

    ``out_of_domain``: sentences unlike the training text (``mmt.data.domain``), ``first`` the number of the first
    one's line; ``by_bytes`` where the model folder does not know its training text, so that bytes alone tell.
    """

    sentences: int = 0
    with_image: int = 0
    missing_images: list[str] = field(default_factory=list)
    """Their names as the lines have them, one for each line."""
    out_of_domain: int = 0
    first: int = 0
    by_bytes: bool = False

    def summary(self, shown: str = "with image") -> str:
        """In words; ``shown`` says what was shown to those that have an image."""

        missing = f", {counted(len(self.missing_images), 'image')} missing" if self.missing_images else ""
        about = f"{counted(self.sentences, 'sentence')}, {self.with_image:,} {shown}{missing}"
        return about + out_of_domain(self.out_of_domain, self.first, by_bytes=self.by_bytes)


def out_of_domain(count: int, first: int = 0, *, by_bytes: bool) -> str:
    """What a summary says of lines out of domain; see ``Counts``."""
    said = f", {count:,} out of domain (unlike the training text; the first is line {first:,})" if count else ""
    if by_bytes:
        said += f", out-of-domain check on byte pieces only (no {PIECES} in the model folder)"
    return said


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
        self.translator, self.given, self.shard = translator, given, shard
        self._skips = missing == "skip"
        self.counts = Counts(by_bytes=translator.tokenizer.training is None)

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
        yield from self._in_chunks(
            work, lambda found: found[0].out_of_domain, image_control, control_seed, show_progress
        )

    def predict(
        self,
        *,
        image_control: Control = "right",
        control_seed: int = 1,
        max_tokens: int = 8192,
        show_progress: bool = True,
    ) -> Iterator[tuple[Line, Prediction]]:
        """Yields each line with its label and score, in order; ``image_control`` as in ``translate``."""
        from mmt.inference.labelling import predict
        from mmt.inference.torch_runtime import Translator

        assert isinstance(self.translator, Translator)  # noqa: S101  # an exported model only translates
        work = partial(predict, self.translator, max_tokens=max_tokens)
        yield from self._in_chunks(
            work, lambda found: found.out_of_domain, image_control, control_seed, show_progress
        )

    def notes(self) -> list[str]:
        """What had to be done to files on the way, such as ``resampled from 44,100 Hz``."""
        return self.translator.notes()

    def missing(self) -> str:
        """The first images that were missing, each with the nearest that there is; empty if there were none."""
        missing = self.counts.missing_images
        return f"missing images: {self._names().listed(missing)}" if missing else ""

    def _names(self, name: str = "") -> Names:
        """The names that there are: of the store, below the folder, or beside the file called ``name``."""
        store, folder = self.translator.features, self.given.images.folder
        if store is not None:
            return Names(store.ids)
        if folder is not None:
            return Names(lambda: files_below(folder)[0])
        first = name or next(iter(self.counts.missing_images), "")
        beside = (self.given.base / first).parent
        return Names(names_in(beside, os.path.dirname(first)))

    def _in_chunks(
        self,
        work: Callable[..., Sequence[Found]],
        is_strange: Callable[[Found], bool],
        control: Control,
        seed: int,
        show_progress: bool,
    ) -> Iterator[tuple[Line, Found]]:
        """Yields each line with what ``work`` makes of sentences and images, and counts them.

        ``is_strange`` tells from it whether the line is out of domain.
        """
        from tqdm import tqdm

        stream = self._shown(control, seed)
        typed = self.given.typed
        if typed and show_progress:
            print("One line at a time; Ctrl+D ends.", file=sys.stderr)
        hidden = None if show_progress and not typed else True
        with tqdm(total=self._total(), unit=" sentences", disable=hidden, smoothing=0.05) as bar:
            while chunk := list(self._there(stream)):
                images = [image for _, image in chunk]
                has = [image is not None for image in images]
                found = work([line.source for line, _ in chunk], images if any(has) else None, progress=bar.update)
                self.counts.sentences += len(chunk)
                self.counts.with_image += sum(has)
                for (line, _), one in zip(chunk, found, strict=True):
                    if is_strange(one):
                        self.counts.out_of_domain += 1
                        self.counts.first = self.counts.first or line.number
                yield from zip((line for line, _ in chunk), found, strict=True)

    def _there(self, stream: Iterator[tuple[Line, str | Path | None]]) -> Iterator[tuple[Line, str | Path | None]]:
        """A chunk; of standard input, as much of one as has been written: its writer may wait for the answer."""
        for number, one in enumerate(itertools.islice(stream, _CHUNK), 1):
            yield one
            if self.given.waits is not None and number < _CHUNK and self.given.waits():
                return

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
            if self._skips:
                self.counts.missing_images.append(line.image)
                return None
            raise MMTError(
                f"line {line.number}: {error} Or translate such lines without: --missing-images skip."
            ) from None

    def _file(self, name: str) -> Path:
        from mmt.features.images import image_file

        folder = self.given.images.folder
        path = image_file(folder, name) if folder is not None else self.given.base / local_path(name)
        if not os.path.isfile(path):
            raise MMTError(f"image {path}: no such file{self._names(name).hint(name)}.")
        if self._skips:
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

    The number is the sentence's, from 0, as in Moses and fairseq.

    A file is written beside its name and renamed when whole; a ``.jsonl`` ending asks for JSON lines, and
    ``.gz`` after it, or after any other, for gzip.

    Args:
        parts: where ``results`` are a share's; ``path`` is made when all shares are done.
    Returns:
        What became of the share, or nothing.
    """
    as_json = writes_json(path)
    return _write((_formatted(line, found, n_best, as_json) for line, found in results), path, parts)


def write_predictions(
    results: Iterable[tuple[Line, Prediction]], path: Path | None, parts: Parts | None = None
) -> str:
    """Writes one line a sentence: label, its probability and the score, what there is of them, between tabs.

    A file is written as by ``write_output``, JSON lines and shares likewise.
    """
    as_json = writes_json(path)
    return _write((_said(line, said, as_json) for line, said in results), path, parts)


def _write(records: Iterable[str], path: Path | None, parts: Parts | None) -> str:
    # Half a surrogate pair, which only JSON can hold, stays the escape that it came as.
    encoded = ((record + "\n").encode("utf-8", "backslashreplace") for record in records)
    if parts is None:
        with replacing(path) as whole, packing(whole, path) as stream:
            for record in encoded:
                stream.write(record)
                if path is None:
                    stream.flush()  # somebody may wait for it, at a terminal or at the end of a pipe
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
        whole = stack.enter_context(packing(stack.enter_context(replacing(path)), path))
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
        about = {"source": line.source, "image": line.image, **values, "out_of_domain": said.out_of_domain}
        return json.dumps(about, ensure_ascii=False)
    # A label out of a dataset may be any text: here it is one cell of one line.
    return "\t".join(" ".join(str(value).split()) for value in values.values())


def _formatted(line: Line, translations: list[Translation], n_best: int, as_json: bool) -> str:
    if as_json:
        value: dict[str, Any] = {
            "source": line.source,
            "image": line.image,
            "with_image": translations[0].with_image,
            "out_of_domain": translations[0].out_of_domain,
            "translations": [{"text": t.text, "score": round(t.score, 6)} for t in translations],
        }
        return json.dumps(value, ensure_ascii=False)
    if n_best > 1:
        return "\n".join(f"{line.number - 1} ||| {t.text} ||| {t.score:.4f}" for t in translations)
    return translations[0].text
