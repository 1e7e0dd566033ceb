"""Queries to an index and their answers, and what an index is made from: images, or sentences. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmt.data.dataset import first_test_split, image_folder, read_split
from mmt.data.feature_store import FeatureStore, open_features
from mmt.data.image_names import Names, names_in
from mmt.data.inputs import read_texts
from mmt.errors import MMTError, nearest
from mmt.features.images import IMAGE_SUFFIXES, find_images
from mmt.inference.index import Index
from mmt.io.formats import SOURCES
from mmt.io.normalization import is_blank, normalize
from mmt.model.card import ModelCard


@dataclass(frozen=True)
class Answer:
    """One item of an index: its rank for a query, from 1, and the cosine of their vectors."""

    rank: int
    cosine: float
    item: str


@dataclass(frozen=True)
class Query:
    """A sentence or an image file."""

    text: str = ""
    image: Path | None = None

    def __str__(self) -> str:
        return str(self.image) if self.image is not None else self.text


def read_queries(texts: Sequence[str], input_file: Path | None, pictures: Sequence[Path]) -> list[Query]:
    """Texts, then the lines of a file, then images.

    Raises:
        MMTError: a blank text, or no such file.
    """
    for text in texts:
        if os.path.isfile(text):
            raise MMTError(f"'{text}' is a file. Ask with an image by --image, with a file of texts by --input.")
    lines = [(f"TEXT {number}", text.strip()) for number, text in enumerate(texts, 1)]
    if input_file is not None:
        of_file = enumerate(read_texts(input_file, SOURCES), 1)
        lines += [(f"{input_file}: line {number}", line) for number, line in of_file]
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


def distinct_sentences(path: Path, split: str | None) -> list[str]:
    """The sentences of a text file or a dataset without repetitions and blanks.

    Of sentences that are equal after normalisation the first is kept.
    """
    if (path / "dataset.json").is_file():
        lines = list(read_split(path, split or first_test_split(path))["source"])
    else:
        lines = read_texts(path, SOURCES)
    distinct: dict[str, str] = {}
    for line in lines:
        distinct.setdefault(normalize(line), line)
    distinct.pop("", None)
    return list(distinct.values())


@dataclass(frozen=True)
class IndexedImages:
    """What an index of images is made from.

    store: their features; None: they are still to be extracted.
    files: the image files by id; empty: all images of ``store``.
    folder: where the files lie, "" if unknown.
    """

    store: FeatureStore | None
    files: Mapping[str, Path]
    folder: str


def find_indexed_images(paths: Sequence[Path], card: ModelCard) -> IndexedImages:
    """
    Args:
        paths: a folder of images, a prepared dataset, or feature stores; one of the first two with stores, too.
        card: the model's, whose features the stores must have.
    Raises:
        MMTError: no such folder, two that name images, or features of another backbone.
    """
    # torchvision takes a second to import, and a query by text needs none of it.
    from mmt.features.load import media_suffixes

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
        return IndexedImages(store, {}, "")
    suffixes = media_suffixes(card.features.sets[0].backbone) if card.features is not None else IMAGE_SUFFIXES
    files = find_images(others[0], suffixes)
    folder = image_folder(others[0]) if (others[0] / "dataset.json").is_file() else others[0]
    return IndexedImages(store, files, os.path.abspath(folder))


def find_answers(index: Index, vectors: NDArray[np.float32], top: int) -> list[list[Answer]]:
    """The ``top`` nearest items to each of (Q, D) query vectors, best first."""
    rows, cosines = index.search(vectors, top)
    return [
        [
            Answer(rank, float(cosine), index.items[row])
            for rank, (row, cosine) in enumerate(zip(of_query, scores, strict=True), 1)
            if row >= 0
        ]
        for of_query, scores in zip(rows.tolist(), cosines.tolist(), strict=True)
    ]


def json_lines(queries: Sequence[Query], answers: Sequence[Sequence[Answer]], index: Index) -> bytes:
    """One line for each query, in order."""
    lines = [
        {
            "query": str(query),
            "query_kind": "image" if query.image is not None else "text",
            "answers": [
                {"rank": answer.rank, "cosine": round(answer.cosine, 6), index.kind.rstrip("s"): answer.item}
                for answer in of_query
            ],
        }
        for query, of_query in zip(queries, answers, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return text.encode("utf-8", "backslashreplace")
