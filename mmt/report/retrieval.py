"""Answers of an index: tables for a terminal, and one self-contained HTML page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from mmt import __version__
from mmt.features.images import image_file
from mmt.inference.index import Index
from mmt.inference.retrieve import Answer, Query, json_lines
from mmt.io.atomic import write_together
from mmt.io.formats import packing
from mmt.io.tables import print_table
from mmt.report.page import environment, make_picture, visible


def print_answers(queries: Sequence[Query], answers: Sequence[Sequence[Answer]], index: Index) -> None:
    """Prints one table a query."""
    columns = ("rank", "cosine", index.kind.removesuffix("s"))
    for query, found in zip(queries, answers, strict=True):
        rows = [[str(answer.rank), f"{answer.cosine:.3f}", visible(answer.item)] for answer in found]
        print_table(columns, rows, title=visible(str(query)), text=(2,))
    print(f"of {index.size}, {index.method}", flush=True)


def render(queries: Sequence[Query], answers: Sequence[Sequence[Answer]], index: Index, model: Path) -> str:
    """One page with the answers, and the pictures in it whose files are still there."""
    shown = {answer.item for found in answers for answer in found} if index.kind == "images" else set()
    files = {item: image_file(Path(index.images), item) for item in shown} if index.images else {}
    asked = {str(query): query.image for query in queries if query.image is not None}
    page: str = environment().get_template("retrieval.html").render(
        queries=list(zip(queries, answers, strict=True)),
        kind=index.kind,
        num_items=len(index.items),
        method=index.method,
        pictures={item: make_picture(item, files) for item in shown},
        asked={name: make_picture(name, asked) for name in asked},
        model="/".join(model.resolve().parts[-2:]),
        version=__version__,
    )  # fmt: skip
    return page


def write_answers(
    queries: Sequence[Query],
    answers: Sequence[Sequence[Answer]],
    index: Index,
    model: Path,
    html: Path | None,
    output: Path | None,
) -> None:
    """Writes the answers as a page, ``html``, as JSON lines, ``output``, or as both together."""
    files: dict[Path, str | bytes] = {}
    if html is not None:
        files[html] = render(queries, answers, index, model).encode("utf-8", "replace")
    if output is not None:
        buffer = io.BytesIO()
        with packing(buffer, output) as stream:
            stream.write(json_lines(queries, answers, index))
        files[output] = buffer.getvalue()
    write_together(files)
