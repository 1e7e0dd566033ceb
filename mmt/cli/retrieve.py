"""``mmt retrieve``: finds images by a text and texts by an image, by their vectors in one space."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import import_option, quiet_option, threads_option
from mmt.data.image_names import Names, names_in
from mmt.data.inputs import read_texts
from mmt.errors import MMTError, nearest
from mmt.io.atomic import check_file, write_together
from mmt.io.formats import SOURCES, packing, writes_json
from mmt.io.normalization import is_blank, normalize
from mmt.io.runtime import use_threads
from mmt.io.terminal import counted, print_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmt.data.feature_store import FeatureStore
    from mmt.inference.index import Index
    from mmt.inference.torch_runtime import Translator
    from mmt.model.card import ModelCard

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Answer:
    """One item of an index: its place for a query, from 1, and the cosine of their vectors."""

    rank: int
    cosine: float
    item: str


@dataclass(frozen=True)
class Query:
    """A sentence, or an image's file."""

    text: str = ""
    image: Path | None = None

    def __str__(self) -> str:
        return str(self.image) if self.image is not None else self.text


@click.command("retrieve", cls=Command)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--model", type=_PATH, required=True, help="Model folder of a model trained for retrieval.")
@click.option("--index", "folder", type=_PATH, required=True,
              help="Index folder: built if --images or --sentences is given, else searched.")  # fmt: skip
@click.option("--images", type=_PATH, multiple=True,
              help="Build from images: folder, prepared dataset, or feature store, one for each feature set. "
              "With a folder or dataset and stores, the features come from the stores.")  # fmt: skip
@click.option("--sentences", type=_PATH, help="Build from sentences: a text file, or a prepared dataset.")
@click.option("--split", help="Split of --sentences DATA.  [default: the first whose name begins with test]")
@click.option("--image", "pictures", type=_PATH, multiple=True, help="Image file to search with; repeatable.")
@click.option("--input", "input_file", type=_PATH, help="File of texts to search with, one a line.")
@click.option("--top", type=click.IntRange(min=1), default=5, help="Number of results for each query.")
@click.option("--html", type=_PATH, help="Write the results as a self-contained HTML page with the pictures.")
@click.option("--output", type=_PATH, help="Write the results as JSON lines.")
@threads_option
@quiet_option
@import_option
def retrieve_command(
    texts: tuple[str, ...],
    model: Path,
    folder: Path,
    images: tuple[Path, ...],
    sentences: Path | None,
    split: str | None,
    pictures: tuple[Path, ...],
    input_file: Path | None,
    top: int,
    html: Path | None,
    output: Path | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Index images or sentences, and search them by TEXT or image.

    Results are printed, unless --html or --output is given.
    """
    from mmt.inference.index import check_place, open_index
    from mmt.model.card import read_card

    # What can be wrong is looked at before torch is loaded.
    if images and sentences is not None:
        raise MMTError("--images and --sentences: an index holds one of the two. Build two indices.")
    if split is not None and (sentences is None or not (sentences / "dataset.json").is_file()):
        raise MMTError(f"--split {split}: expected --sentences, the dataset, too.")
    queries = _queries(texts, input_file, pictures)
    if not queries and not images and sentences is None:
        raise MMTError(
            "nothing to do: build an index with --images or --sentences, or ask one with a TEXT, --input, --image."
        )
    if not queries and (html or output):
        raise MMTError("--html and --output are for answers: ask with a TEXT, --input or --image.")
    check_file(html)
    check_file(output)
    writes_json(output)  # or refuses its name
    card = read_card(model)
    if images or pictures:
        card.refuse_images("images")
    index, found, given = None, [], None
    if images:
        given = _read_images(images, card)
    elif sentences is not None:
        found = _read_sentences(sentences, split)
    else:
        index = open_index(folder, model)
    check_place(folder)
    write_alone(html, output, folder if index is None else None)

    import numpy as np

    from mmt.inference.embedding import embed_images
    from mmt.inference.index import write_index
    from mmt.inference.torch_runtime import Translator

    use_threads(threads)
    translator = Translator.from_dir(model)
    started = time.monotonic()
    asked = [
        _embed_sentences(translator, [query.text for query in queries if query.image is None], quiet),
        embed_images(translator, [query.image for query in queries if query.image is not None]),
    ]
    if index is None:
        left_out: Mapping[str, str] = {}
        if given is not None:
            ids, vectors, left_out = _embed_images(translator, given, quiet)
            index = write_index(folder, "images", ids, vectors, model, given.folder)
        else:
            index = write_index(folder, "sentences", found, _embed_sentences(translator, found, quiet), model)
        if not quiet:
            seconds = time.monotonic() - started
            click.echo(f"{folder}: {len(index.items):,} {index.kind}, {index.method}, {seconds:.1f} s", err=True)
            known = Names(index.items)
            for name, reason in list(left_out.items())[:10]:
                click.echo(f"left out: {name}: {reason}{known.hint(name)}", err=True)
            if len(left_out) > 10:
                click.echo(f"left out: {len(left_out) - 10:,} more", err=True)
    if not queries:
        return
    answers = _answers(index, np.concatenate(asked), top)
    written: dict[Path, str | bytes] = {}
    if html is not None:
        written[html] = render(queries, answers, index, model).encode("utf-8", "replace")
    if output is not None:
        buffer = io.BytesIO()
        with packing(buffer, output) as stream:
            stream.write(_json_lines(queries, answers, index))
        written[output] = buffer.getvalue()
    write_together(written)
    if html is None and output is None:
        print_answers(queries, answers, index)
    elif not quiet:
        answered = counted(len(queries), "query", "queries")
        click.echo(
            f"{answered}, {counted(len(index.items), index.kind.removesuffix('s'))}, {index.method}", err=True
        )


def print_answers(queries: Sequence[Query], answers: Sequence[Sequence[Answer]], index: Index) -> None:
    """Prints one table a query."""
    from mmt.report.evidence import visible

    columns = ("rank", "cosine", index.kind.removesuffix("s"))
    for query, found in zip(queries, answers, strict=True):
        rows = [[str(answer.rank), f"{answer.cosine:.3f}", visible(answer.item)] for answer in found]
        print_table(columns, rows, title=visible(str(query)), text=(2,))
    click.echo(f"of {index.size}, {index.method}")


def render(queries: Sequence[Query], answers: Sequence[Sequence[Answer]], index: Index, model: Path) -> str:
    """One page with the answers, and the pictures in it whose files are still there."""
    from mmt import __version__
    from mmt.features.images import image_file
    from mmt.report.cards import _picture
    from mmt.report.evidence import _environment

    shown = {answer.item for found in answers for answer in found} if index.kind == "images" else set()
    files = {item: image_file(Path(index.images), item) for item in shown} if index.images else {}
    asked = {str(query): query.image for query in queries if query.image is not None}
    page: str = _environment().get_template("retrieval.html").render(
        queries=list(zip(queries, answers, strict=True)),
        kind=index.kind,
        num_items=len(index.items),
        method=index.method,
        pictures={item: _picture(item, files) for item in shown},
        asked={name: _picture(name, asked) for name in asked},
        model="/".join(model.resolve().parts[-2:]),
        version=__version__,
    )  # fmt: skip
    return page


def _answers(index: Index, vectors: NDArray[np.float32], top: int) -> list[list[Answer]]:
    rows, cosines = index.search(vectors, top)
    return [
        [
            Answer(rank, float(cosine), index.items[row])
            for rank, (row, cosine) in enumerate(zip(of_query, scores, strict=True), 1)
            if row >= 0
        ]
        for of_query, scores in zip(rows.tolist(), cosines.tolist(), strict=True)
    ]


def _json_lines(queries: Sequence[Query], answers: Sequence[Sequence[Answer]], index: Index) -> bytes:
    """One line a query, in the order of the queries."""
    lines = [
        {
            "query": str(query),
            "query_kind": "image" if query.image is not None else "text",
            "answers": [
                {"rank": answer.rank, "cosine": round(answer.cosine, 6), index.kind.rstrip("s"): answer.item}
                for answer in found
            ],
        }
        for query, found in zip(queries, answers, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return text.encode("utf-8", "backslashreplace")


# --- what is given ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pictures:
    """What an index of images is made from: ``files`` by id, empty for a store's own; ``folder``, theirs."""

    store: FeatureStore | None
    files: Mapping[str, Path]
    folder: str


def _queries(texts: Sequence[str], input_file: Path | None, pictures: Sequence[Path]) -> list[Query]:
    for text in texts:
        if os.path.isfile(text):
            raise MMTError(f"'{text}' is a file. Ask with an image by --image, with a file of texts by --input.")
    lines = [(f"TEXT {number}", text.strip()) for number, text in enumerate(texts, 1)]
    if input_file is not None:
        found = enumerate(read_texts(input_file, SOURCES), 1)
        lines += [(f"{input_file}: line {number}", line) for number, line in found]
    for where, text in lines:
        if is_blank(text):
            raise MMTError(f"{where}: expected a text to ask with, but it is blank. Leave it out.")
    for picture in pictures:
        if not picture.is_file():
            there = names_in(picture.parent, "")
            hint = Names(there).hint(picture.name)
            raise MMTError(
                f"--image {picture}: no such file{hint}.{'' if hint else nearest(picture.name, there())}"
            )
    return [Query(text) for _, text in lines] + [Query(image=picture) for picture in pictures]


def _read_sentences(path: Path, split: str | None) -> list[str]:
    """The distinct sentences: the first of each group that is equal after normalisation; no blank ones."""
    if (path / "dataset.json").is_file():
        from mmt.data.dataset import first_test_split, read_split

        lines = list(read_split(path, split or first_test_split(path))["source"])
    else:
        lines = read_texts(path, SOURCES)
    distinct: dict[str, str] = {}
    for line in lines:
        distinct.setdefault(normalize(line), line)
    distinct.pop("", None)
    return list(distinct.values())


def _read_images(paths: Sequence[Path], card: ModelCard) -> _Pictures:
    from mmt.data.dataset import image_folder
    from mmt.data.feature_store import open_features
    from mmt.features.images import IMAGE_SUFFIXES, find_images
    from mmt.features.speech import AUDIO_SUFFIXES, is_speech

    for path in paths:
        if not path.is_dir():
            raise MMTError(f"--images {path}: expected a folder of images, a dataset or a feature store.")
    stores = [path for path in paths if (path / "meta.json").is_file()]
    others = [path for path in paths if path not in stores]
    if len(others) > 1:
        raise MMTError(f"--images {others[1]}: {others[0]} says which images already. Give one of them.")
    store = open_features(stores) if stores else None
    if store is not None and card.features is not None:
        card.features.check(store.signature, str(store.folder))
    if not others:
        return _Pictures(store, {}, "")
    speech = card.features is not None and is_speech(card.features.sets[0].backbone)
    files = find_images(others[0], AUDIO_SUFFIXES if speech else IMAGE_SUFFIXES)
    folder = image_folder(others[0]) if (others[0] / "dataset.json").is_file() else others[0]
    return _Pictures(store, files, os.path.abspath(folder))


# --- vectors ----------------------------------------------------------------------------------------------


def _embed_sentences(translator: Translator, sentences: Sequence[str], quiet: bool) -> NDArray[np.float32]:
    from tqdm import tqdm

    from mmt.inference.embedding import embed_sentences

    with tqdm(total=len(sentences), unit=" sentences", disable=True if quiet else None) as bar:
        return embed_sentences(translator, sentences, progress=bar.update)


def _embed_images(
    translator: Translator, given: _Pictures, quiet: bool
) -> tuple[list[str], NDArray[np.float32], dict[str, str]]:
    """Ids, their vectors, and id -> reason of those that have none."""
    from tqdm import tqdm

    from mmt.data.feature_store import open_features
    from mmt.features.extract import extract_features
    from mmt.inference.embedding import embed_images
    from mmt.inference.torch_runtime import Translator

    with TemporaryDirectory(prefix="mmt-") as temporary:
        store = given.store
        if store is None:
            parts = [Path(temporary, str(number)) for number in range(len(translator.backbones))]
            for backbone, part in zip(translator.backbones, parts, strict=True):
                extract_features(given.files, backbone, part, progress=not quiet)
            store = open_features(parts)
        ids = [name for name in given.files if name in store] if given.files else store.ids
        if not ids:
            raise MMTError(f"{store.folder}: has none of the {len(given.files):,} images of {given.folder}.")
        left_out = {name: store.left_out.get(name, "no features") for name in given.files if name not in store}
        looking = Translator(translator.model, translator.tokenizer, translator.card, store)
        with tqdm(total=len(ids), unit=" images", disable=True if quiet else None) as bar:
            return ids, embed_images(looking, ids, progress=bar.update), left_out
