"""``mmt retrieve``: finds images by a text and texts by an image, by their vectors in one space."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import MODEL, PATH, import_option, quiet_option, threads_option
from mmt.data.image_names import Names
from mmt.errors import MMTError
from mmt.io.atomic import check_file
from mmt.io.formats import writes_json
from mmt.io.terminal import counted

if TYPE_CHECKING:
    from mmt.inference.retrieve import IndexedImages


@click.command("retrieve", cls=Command)
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--model", type=MODEL, required=True, help="Model folder of a model trained for retrieval.")
@click.option("--index", "folder", type=PATH, required=True,
              help="Index folder: built if --images or --sentences is given, else searched.")  # fmt: skip
@click.option("--images", type=PATH, multiple=True,
              help="Build from images: folder, prepared dataset, or feature store, one for each feature set. "
              "With a folder or dataset and stores, the features come from the stores.")  # fmt: skip
@click.option("--sentences", type=PATH, help="Build from sentences: a text file, or a prepared dataset.")
@click.option("--split", help="Split of --sentences DATA.  [default: the first whose name begins with test]")
@click.option("--image", "pictures", type=PATH, multiple=True, help="Image file to search with; repeatable.")
@click.option("--input", "input_file", type=PATH, help="File of texts to search with, one a line.")
@click.option("--top", type=click.IntRange(min=1), default=5, help="Number of results for each query.")
@click.option("--html", type=PATH, help="Write the results as a self-contained HTML page with the pictures.")
@click.option("--output", type=PATH, help="Write the results as JSON lines.")
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
    # Imported here: the help and the checks of the options need neither NumPy nor, below, torch.
    from mmt.inference import index, retrieve
    from mmt.model.card import read_card

    if images and sentences is not None:
        raise MMTError("--images and --sentences: an index holds one of the two. Build two indices.")
    if split is not None and (sentences is None or not (sentences / "dataset.json").is_file()):
        raise MMTError(f"--split {split}: expected --sentences, the dataset, too.")
    queries = retrieve.read_queries(texts, input_file, pictures)
    if not queries and not images and sentences is None:
        raise MMTError(
            "nothing to do: build an index with --images or --sentences, or search one with a TEXT, --input or "
            "--image."
        )
    if not queries and (html or output):
        raise MMTError("--html and --output are for answers: search with a TEXT, --input or --image.")
    check_file(html)
    check_file(output)
    writes_json(output)  # raises for an unsupported file name
    card = read_card(model)
    if images or pictures:
        card.refuse_images("images")
    items: IndexedImages | list[str] | None = None
    if images:
        items = retrieve.find_indexed_images(images, card)
    elif sentences is not None:
        items = retrieve.distinct_sentences(sentences, split)
    opened = index.open_index(folder, model) if items is None else None
    index.check_place(folder)
    write_alone(html, output, folder if opened is None else None)

    from mmt.inference import embedding, loaded
    from mmt.inference.threads import use_threads
    from mmt.report.retrieval import print_answers, write_answers

    use_threads(threads)
    finder = loaded.LoadedModel.from_dir(model)
    started = time.monotonic()
    vectors = embedding.embed_queries(finder, queries, show_progress=not quiet)
    if items is not None:
        opened, left_out = embedding.build_index(folder, items, finder, model, show_progress=not quiet)
        if not quiet:
            seconds = time.monotonic() - started
            click.echo(
                f"{folder}: {len(opened.items):,} {opened.kind}, {opened.method}, {seconds:.1f} s", err=True
            )
            _print_left_out(left_out, Names(opened.items))
    assert opened is not None  # noqa: S101  # opened, or built
    if not queries:
        return
    answers = retrieve.find_answers(opened, vectors, top)
    if html is None and output is None:
        print_answers(queries, answers, opened)
        return
    write_answers(queries, answers, opened, model, html, output)
    if not quiet:
        click.echo(f"{counted(len(queries), 'query', 'queries')}, {opened.size}, {opened.method}", err=True)


def _print_left_out(reasons: dict[str, str], known: Names) -> None:
    for name, reason in list(reasons.items())[:10]:
        click.echo(f"left out: {name}: {reason}{known.hint(name)}", err=True)
    if len(reasons) > 10:
        click.echo(f"left out: {len(reasons) - 10:,} more", err=True)
