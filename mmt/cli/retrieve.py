"""``mmt retrieve``: finds images by a text and texts by an image, by their vectors in one space."""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import MODEL, PATH, device_option, import_option, quiet_option, threads_option
from mmt.errors import MMTError


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
@device_option
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
    device: str,
    quiet: bool,
) -> None:
    """Index images or sentences, and search them by TEXT or image.

    Results are printed, unless --html or --output is given.
    """
    if images and sentences is not None:
        raise MMTError("--images and --sentences: an index holds one of the two. Build two indices.")
    if split is not None and (sentences is None or not (sentences / "dataset.json").is_file()):
        raise MMTError(f"--split {split}: expected --sentences, the dataset, too.")
    # Imported here: the help needs no NumPy, and the checks no torch.
    from mmt.inference.search_plan import plan_search

    plan = plan_search(
        folder, model, texts=texts, input_file=input_file, pictures=pictures, images=images, sentences=sentences,
        split=split, outputs=(html, output),
    )  # fmt: skip
    write_alone(html, output, None if plan.searches_only else folder)

    from mmt.report.search import run_search

    run_search(plan, top=top, html=html, output=output, threads=threads, quiet=quiet, device=device)
