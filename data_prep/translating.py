"""Translates a prepared dataset with a model, in parts: it resumes after an interruption, several processes share
it, and nothing is translated twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from tqdm import tqdm

from mmt.data.dataset import has_translations, image_folder, read_info, read_split
from mmt.data.inputs import Images, Input, Line
from mmt.engines.worker import kept
from mmt.errors import MMTError
from mmt.io.atomic import replacing
from mmt.io.shards import WORKER_SHARD, Parts, Shard
from mmt.io.terminal import counted
from mmt.io.text_files import file_checksum, parse_json

if TYPE_CHECKING:
    from mmt.inference.files import FileTranslator, Missing
    from mmt.inference.translator import BaseTranslator
    from mmt.model.stepping import Precision

PART = 1024
"""Sentences of a part: what an interruption loses at most."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The model that translates, and how; None is the model's own. See ``mmt translate``."""

    model: Path
    source_lang: str | None = None
    target_lang: str | None = None
    beam_size: int | None = None
    length_penalty: float | None = None
    max_tokens: int = 8192
    precision: Precision = "float32"
    runtime: Literal["torch", "onnx"] | None = None
    threads: int | None = None
    images: tuple[Path, ...] = ()
    missing_images: Missing = "refuse"


@dataclass(frozen=True)
class Translated:
    """A translation and its mean log-probability a target token, natural logarithm, eos included."""

    text: str
    log_prob: float


def text_column(data: Path, splits: Iterable[str], *, back: bool) -> str:
    """The column that is translated: the sources, or with ``back`` the targets, if the splits have any."""
    return "target" if back and any(has_translations(data, split) for split in splits) else "source"


def translate_dataset(
    data: Path, splits: Sequence[str], file: Path, decoding: Decoding, *, back: bool, share: Shard | None
) -> tuple[str, dict[str, list[Translated]]] | str:
    """Translates ``splits`` of the dataset ``data`` into ``file``, or reads it if it is complete.

    Args:
        file: JSON lines, ``{"text": ..., "log_prob": ...}``, of one split after the other. Parts of it lie beside
            it, in ``FILE.parts``, until the last is done.
        back: translate targets, see ``text_column``.
        share: this process's share of the parts.
    Returns:
        The language of the translations and, for each split, the translation of each row; a message if the parts
        of other processes are still missing.
    Raises:
        MMTError: the model translates from another language than the dataset's; ``FILE.parts`` is of another job;
            or as ``mmt.inference.files``.
    """
    info = read_info(data)
    column = text_column(data, splits, back=back)
    text_lang = info.target_lang if column == "target" else info.source_lang
    work = _Work(data, splits, column, decoding)
    _, target_lang = work.languages(text_lang)
    count = -(-work.num_lines // PART)
    mine = range(share.number, count, share.count) if share is not None else range(count)
    if share is not None and not mine:  # fewer parts than shares: the lock of any part is another process's
        return "" if WORKER_SHARD in os.environ else f"{file}: no part is left for shard {share} of {count} parts"
    plan = work.plan()
    message = ""
    with tqdm(total=sum(work.size(number) for number in mine), unit=" sentences", disable=None) as bar:
        for number in mine:
            with Parts(file, Shard(number, count), plan, remember=True) as parts:
                if parts.is_merged:
                    break
                if not parts.is_done:
                    with replacing(parts.part) as stream:
                        for one in work.translate(number):
                            line = json.dumps(asdict(one), ensure_ascii=False)
                            stream.write((line + "\n").encode("utf-8", "backslashreplace"))
                bar.update(work.size(number))
                message = parts.finish({}, partial(_join, file, parts))
    own = mine[-1] if mine else 0  # no other process works on it
    with Parts(file, Shard(own, count), plan, remember=True) as parts:
        if not parts.is_merged:
            return message
    for note in work.notes:
        click.echo(note, err=True)
    return target_lang, _read(file, {split: len(lines) for split, lines in work.lines.items()})


class _Work:
    """The sentences, and the model that translates them, which is loaded when it is needed."""

    def __init__(self, data: Path, splits: Sequence[str], column: str, decoding: Decoding) -> None:
        self.data, self.decoding, self.column = data, decoding, column
        self.info = read_info(data)
        rows = {split: read_split(data, split) for split in splits}
        self.lines = {
            split: list(zip(rows[split][column], rows[split]["image"], rows[split]["has_image"], strict=True))
            for split in splits
        }
        self._all = [line for lines in self.lines.values() for line in lines]
        self.num_lines = len(self._all)
        self.images = Images.of(decoding.images)
        self.notes: list[str] = []
        self._translator: BaseTranslator | None = None

    def size(self, number: int) -> int:
        return min(PART, self.num_lines - number * PART)

    def plan(self) -> dict[str, Any]:
        """What all processes have in common."""
        from mmt.data.store_files import META
        from mmt.inference.ensemble import identity_of

        settings = {key: value for key, value in asdict(self.decoding).items() if key not in _NOT_IN_PLAN}
        return {
            "input": [self.column, *(f"{split} {self.info.splits[split].checksum}" for split in self.lines)],
            "model": identity_of(self.decoding.model),
            "features": [file_checksum(store / META) for store in self.images.stores],
            **json.loads(json.dumps(settings)),
        }

    def languages(self, text_lang: str) -> tuple[str, str]:
        """(source, target) that the model translates. Raises MMTError if the text is in another language."""
        from mmt.inference.ensemble import read_joint_card
        from mmt.model.config import is_base

        given = (self.decoding.source_lang, self.decoding.target_lang)
        if is_base(self.decoding.model):
            source, target = (
                given[0] or self.translator.card.source_lang,
                given[1] or self.translator.card.target_lang,
            )
        else:
            card = read_joint_card(self.decoding.model)
            card.refuse_writing()
            source, target = given[0] or card.source_lang, given[1] or card.target_lang
        if source != text_lang:
            raise MMTError(
                f"--model {self.decoding.model}: translates from '{source}', but the '{self.column}' sentences of "
                f"{self.data} are in '{text_lang}'. Give a model that translates from '{text_lang}', or name the "
                "languages of a model of several with --source-lang and --target-lang."
            )
        return source, target

    @property
    def translator(self) -> BaseTranslator:
        if self._translator is None:
            from mmt.data.feature_store import open_features
            from mmt.inference.open import open_translator

            one, stores = self.decoding, self.images.stores
            self._translator = kept(
                "translator",
                lambda: open_translator(
                    one.model,
                    open_features(stores) if stores else None,
                    one.precision,
                    one.runtime,
                    one.threads,
                    source_lang=one.source_lang,
                    target_lang=one.target_lang,
                ),
            )
        return self._translator

    def translate(self, number: int) -> Iterator[Translated]:
        """Translates the part of that number."""
        from mmt.inference.files import FileTranslator

        translator, one = self.translator, self.decoding
        with_images = translator.card.features is not None
        some = self._all[number * PART : (number + 1) * PART]
        lines = [
            Line(number * PART + place, text, image if with_images and has_image else None)
            for place, (text, image, has_image) in enumerate(some, 1)
        ]
        images = self.images
        if images.folder is None and not images.stores:
            images = Images(folder=image_folder(self.data, self.info))
        work = FileTranslator(translator, Input(iter(lines), len(lines), images, self.data), one.missing_images)
        found = work.translate(
            beam_size=one.beam_size,
            length_penalty=one.length_penalty,
            max_tokens=one.max_tokens,
            show_progress=False,
        )
        for _, translations in found:
            yield Translated(translations[0].text, round(translations[0].log_prob, 6))
        self._note(work)

    def _note(self, work: FileTranslator) -> None:
        if work.counts.missing_images:
            self.notes.append(f"{counted(len(work.counts.missing_images), 'image')} missing, {work.missing()}")


_NOT_IN_PLAN = ("model", "threads", "images")


def _join(file: Path, parts: Parts, about: list[dict[str, Any]]) -> None:
    with replacing(file) as whole:
        for number in range(len(about)):
            whole.write(parts.of(number).read_bytes())


def _read(file: Path, sizes: dict[str, int]) -> dict[str, list[Translated]]:
    """The translations of each split. Raises MMTError if ``file`` was changed."""
    lines = file.read_bytes().splitlines()
    try:
        found = [Translated(**parse_json(line.decode())) for line in lines]
        if len(found) != sum(sizes.values()):
            raise ValueError(f"{len(found):,} lines instead of {sum(sizes.values()):,}")
    except (ValueError, TypeError) as error:
        raise MMTError(f"{file}: damaged ({error}). Remove it, and translate again.") from None
    whole = iter(found)
    return {split: [next(whole) for _ in range(size)] for split, size in sizes.items()}
