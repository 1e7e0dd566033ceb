"""What ``mmt retrieve`` is to do, checked before a model is loaded. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmt.errors import MMTError
from mmt.inference.index import Index, check_place, open_index
from mmt.inference.retrieve import (
    IndexedImages,
    Query,
    distinct_sentences,
    find_indexed_images,
    read_queries,
)
from mmt.io.atomic import check_file
from mmt.io.formats import writes_json
from mmt.model.card import read_card


@dataclass(frozen=True)
class SearchPlan:
    """An index to build or to open, and what to search for in it.

    folder: the index. model: the folder of the model that makes the vectors. queries: none for an index that is
    only built. contents: what the index is built of, or the index that is there.
    """

    folder: Path
    model: Path
    queries: list[Query]
    contents: IndexedImages | list[str] | Index

    @property
    def searches_only(self) -> bool:
        """Whether the index is there already."""
        return isinstance(self.contents, Index)


def plan_search(
    folder: Path,
    model: Path,
    *,
    texts: Sequence[str],
    input_file: Path | None,
    pictures: Sequence[Path],
    images: Sequence[Path],
    sentences: Path | None,
    split: str | None,
    outputs: Sequence[Path | None],
) -> SearchPlan:
    """
    Args:
        folder, model: as in ``SearchPlan``.
        texts, input_file, pictures: the queries, see ``read_queries``.
        images: what the index is built of, see ``find_indexed_images``; empty: no images, or it is there.
        sentences, split: what it is built of, see ``distinct_sentences``; None: no sentences, or it is there.
        outputs: files for the answers: a page, and JSON lines.
    Raises:
        MMTError: there is nothing to do, an input is missing, an output cannot be written, the model has no use
            for images, or the index is of another model.
    """
    queries = read_queries(texts, input_file, pictures)
    builds = bool(images) or sentences is not None
    if not queries and not builds:
        raise MMTError(
            "nothing to do: build an index with --images or --sentences, or search one with a TEXT, --input or "
            "--image."
        )
    if not queries and any(outputs):
        raise MMTError("--html and --output are for answers: search with a TEXT, --input or --image.")
    for output in outputs:
        check_file(output)
    writes_json(outputs[-1])  # raises for an unsupported file name
    card = read_card(model)
    if images or pictures:
        card.refuse_images("images")
    contents: IndexedImages | list[str] | Index
    if images:
        contents = find_indexed_images(images, card)
    elif sentences is not None:
        contents = distinct_sentences(sentences, split)
    else:
        contents = open_index(folder, model)
    check_place(folder)
    return SearchPlan(folder, model, queries, contents)
