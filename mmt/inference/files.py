"""Translating files: sentences and images are read line by line, so a file's size does not matter. No torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from tqdm import tqdm

from mmt.data.domain import PIECES
from mmt.data.image_names import Names, files_below, names_in
from mmt.data.inputs import Input, Line
from mmt.errors import MMTError, local_path
from mmt.features.images import image_file
from mmt.inference.controls import Control, wrong_images
from mmt.inference.runtime_model import RuntimeModel
from mmt.inference.translator import BaseTranslator, Translation
from mmt.io.atomic import replacing
from mmt.io.formats import packing, writes_json
from mmt.io.shards import Parts, Shard
from mmt.io.terminal import counted, no_bar, print_note

Result = TypeVar("Result")

Missing = Literal["refuse", "skip"]

CHUNK = 2048  # lines in memory with their images' features, sorted by length


@dataclass
class Counts:
    """What was processed: sentences, those with an image, and the missing images.

    ``out_of_domain``: sentences unlike the training text (``mmt.data.domain``); ``first``: the line number of the
    first one; ``by_bytes``: without statistics of the training text in the model folder, only bytes are checked.
    """

    sentences: int = 0
    with_image: int = 0
    missing_images: list[str] = field(default_factory=list)
    """Their names in the input, one for each line."""
    out_of_domain: int = 0
    first: int = 0
    by_bytes: bool = False

    def summary(self, shown: str = "with image") -> str:
        """One line of text; ``shown`` describes the sentences that have an image."""
        missing = f", {counted(len(self.missing_images), 'image')} missing" if self.missing_images else ""
        summary = f"{counted(self.sentences, 'sentence')}, {self.with_image:,} {shown}{missing}"
        return summary + out_of_domain(self.out_of_domain, self.first, by_bytes=self.by_bytes)


def out_of_domain(count: int, first: int = 0, *, by_bytes: bool) -> str:
    """A summary's note on lines out of domain; see ``Counts``."""
    note = f", {count:,} out of domain (unlike the training text; the first is line {first:,})" if count else ""
    if by_bytes:
        note += f", out-of-domain check on byte pieces only (no {PIECES} in the model folder)"
    return note


class FileProcessor:
    """Reads lines in chunks, with the images that the input names, and applies a model to them.

    Args:
        missing: what an image that is missing or cannot be read does: refuse, or use the text alone and count it.
        shard: this process's share of the lines; None is all.
    """

    def __init__(
        self, model: RuntimeModel, lines: Input, missing: Missing = "refuse", shard: Shard | None = None
    ) -> None:
        self.model, self.input, self.shard = model, lines, shard
        self._skips = missing == "skip"
        self.counts = Counts(by_bytes=model.tokenizer.training is None)

    def notes(self) -> list[str]:
        """Corrections made to image files while they were read, such as ``resampled from 44,100 Hz``."""
        return self.model.notes()

    def missing(self) -> str:
        """The first missing images, each with the nearest existing name; empty if none was missing."""
        missing = self.counts.missing_images
        return f"missing images: {self._names().listed(missing)}" if missing else ""

    def _names(self, name: str = "") -> Names:
        """The existing names: in the store, below the folder, or beside the file called ``name``."""
        store, folder = self.model.features, self.input.images.folder
        if store is not None:
            return Names(store.ids)
        if folder is not None:
            return Names(lambda: files_below(folder)[0])
        first = name or next(iter(self.counts.missing_images), "")
        beside = (self.input.base / first).parent
        return Names(names_in(beside, os.path.dirname(first)))

    def process(
        self,
        work: Callable[..., Sequence[Result]],
        is_out_of_domain: Callable[[Result], bool],
        *,
        image_control: Control = "right",
        control_seed: int = 1,
        show_progress: bool = True,
    ) -> Iterator[tuple[Line, Result]]:
        """Yields each line with its result, in the input's order, and counts the lines.

        With ``image_control`` a line's ``image`` is the one that was shown; the wrong images are drawn among all
        lines that have one, so the whole input is held in memory.

        Args:
            work: called with a chunk's sentences, its images (None: no line has one) and ``progress``.
            is_out_of_domain: tells from a line's result whether the line is unlike the training text.
        """
        stream = self._with_images(image_control, control_seed)
        interactive = self.input.typed
        if interactive and show_progress:
            print_note("One line at a time; Ctrl+D ends.")
        hidden = no_bar() if show_progress and not interactive else True
        with tqdm(total=self._total(), unit=" sentences", disable=hidden, smoothing=0.05) as bar:
            while chunk := list(self._chunk(stream)):
                images = [image for _, image in chunk]
                has = [image is not None for image in images]
                results = work(
                    [line.source for line, _ in chunk], images if any(has) else None, progress=bar.update
                )
                self.counts.sentences += len(chunk)
                self.counts.with_image += sum(has)
                for (line, _), result in zip(chunk, results, strict=True):
                    if is_out_of_domain(result):
                        self.counts.out_of_domain += 1
                        self.counts.first = self.counts.first or line.number
                yield from zip((line for line, _ in chunk), results, strict=True)

    def _chunk(self, stream: Iterator[tuple[Line, str | Path | None]]) -> Iterator[tuple[Line, str | Path | None]]:
        """A chunk; of standard input, what has been written so far: its writer may wait for the answer."""
        for number, one in enumerate(itertools.islice(stream, CHUNK), 1):
            yield one
            if self.input.waits is not None and number < CHUNK and self.input.waits():
                return

    def _with_images(self, control: Control, seed: int) -> Iterator[tuple[Line, str | Path | None]]:
        """Each line with the image that ``control`` shows it, as the model takes it."""
        if control != "right":
            self.model.refuse_images("an image control")
        if control == "blank":
            return ((replace(line, image=None), None) for line in self._share(self.input.lines))
        if control == "right":
            return ((line, self.image(line)) for line in self._share(self.input.lines))
        lines = list(self.input.lines)
        own = [line.image if self.image(line) is not None else None for line in lines]
        shown = (replace(line, image=name) for line, name in zip(lines, wrong_images(own, seed), strict=True))
        return ((line, self.image(line)) for line in self._share(shown))

    def _share(self, lines: Iterable[Line]) -> Iterator[Line]:
        """The lines of this process's shard: whole chunks, so that batches are those of a single process."""
        if self.shard is None:
            return iter(lines)
        return (line for number, line in enumerate(lines) if self.shard.has(number // CHUNK))

    def _total(self) -> int | None:
        total, shard = self.input.total, self.shard
        if total is None or shard is None:
            return total
        return sum(min(CHUNK, total - at) for at in range(shard.number * CHUNK, total, shard.count * CHUNK))

    def image(self, line: Line) -> str | Path | None:
        """The line's image as the model takes it: an id in its store or a readable file; None without one.

        Raises:
            MMTError: a missing or unreadable image, unless these are skipped; a text-only model.
        """
        if line.image is None:
            return None
        self.model.refuse_images("images")
        store = self.model.features
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
        folder = self.input.images.folder
        path = image_file(folder, name) if folder is not None else self.input.base / local_path(name)
        if not os.path.isfile(path):
            raise MMTError(f"image {path}: no such file{self._names(name).hint(name)}.")
        if self._skips:
            # checked now, while it can still be skipped
            self.model.check_image(path)
        return path


class FileTranslator(FileProcessor):
    """Translates lines in chunks, with the images that the input names."""

    model: BaseTranslator

    def __init__(
        self, translator: BaseTranslator, lines: Input, missing: Missing = "refuse", shard: Shard | None = None
    ) -> None:
        """See ``FileProcessor``."""
        super().__init__(translator, lines, missing, shard)

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
        """Yields each line with its translations, best first, in the input's order; see ``process``.

        The other arguments are those of ``BaseTranslator.hypotheses``.
        """
        work = partial(
            self.model.hypotheses,
            beam_size=beam_size,
            length_penalty=length_penalty,
            guidance=guidance,
            n_best=n_best,
            max_tokens=max_tokens,
        )
        yield from self.process(
            work,
            lambda translations: translations[0].out_of_domain,
            image_control=image_control,
            control_seed=control_seed,
            show_progress=show_progress,
        )


def write_output(
    results: Iterable[tuple[Line, list[Translation]]],
    path: Path | None,
    n_best: int,
    parts: Parts | None = None,
) -> str:
    """Writes one line for each sentence, or ``n_best`` lines ``number ||| translation ||| score``, or JSON lines.

    Sentences are numbered from 0, as in Moses and fairseq. A file is written atomically; ``.jsonl`` writes JSON
    lines, and ``.gz``, after any other extension, compresses.

    Args:
        parts: the shard that ``results`` belong to; the last shard to finish writes ``path``.
    Returns:
        The state of the shards, or "" without shards.
    """
    as_json = writes_json(path)
    records = (_formatted(line, translations, n_best, as_json) for line, translations in results)
    return write_records(records, path, parts)


def write_records(records: Iterable[str], path: Path | None, parts: Parts | None = None) -> str:
    """Writes one line for each record; see ``write_output``."""
    # A lone surrogate, which only JSON can contain, remains an escape.
    encoded = ((record + "\n").encode("utf-8", "backslashreplace") for record in records)
    if parts is None:
        with replacing(path) as whole, packing(whole, path) as stream:
            for record in encoded:
                stream.write(record)
                if path is None:
                    stream.flush()  # a user or a program may wait for this line
        return ""
    if parts.is_done:
        return parts.finish({}, partial(_join, path, parts))
    sizes: list[int] = []  # of the chunks
    with replacing(parts.part) as stream:
        for number, record in enumerate(encoded):
            if number % CHUNK == 0:
                sizes.append(0)
            sizes[-1] += stream.write(record)
    return parts.finish({"sizes": sizes}, partial(_join, path, parts))


def _join(path: Path | None, parts: Parts, about: list[dict[str, Any]]) -> None:
    """Joins the chunks, which the parts contain in turn."""
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
