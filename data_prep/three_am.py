"""Prepares 3AM (Ma et al. 2024, https://aclanthology.org/2024.lrec-main.1): English-Chinese, ambiguous captions.

    python -m data_prep.three_am OUT --three-am DIR --images PHOTOS

DIR is the repository (https://github.com/MaxyLee/3AM), or its folder ``data``: ``{train,val,test}.{en,zh}``, line
by line parallel, and ``images-{train,val,test}.txt``, the image's file name of each line. The photographs are a
download of their own; sentences whose photograph is missing are used as text only. The English is tokenised in
part ("devil 's bridge"), as its sources are.
"""

from __future__ import annotations

from pathlib import Path

import click

from data_prep.image_folders import ImageFolders, Unreadable, images_option
from data_prep.multi30k import prepare
from data_prep.raw_text import read_raw
from mmt.cli.command import Command, write_alone
from mmt.cli.engines import ran_on_engine, shard_of
from mmt.cli.options import PATH, on_option, shard_option
from mmt.data.splits import print_splits
from mmt.errors import MMTError

LANGUAGES = ("en", "zh")
SPLITS = ("train", "val", "test")


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--three-am", "folder", type=PATH, required=True, help="The repository of 3AM, or its folder data.")
@images_option
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--source", type=click.Choice(LANGUAGES), default="en", help="Source language.")
@click.option("--unreadable", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Image that does not decode: refuse (exit) or skip (count as missing).")  # fmt: skip
@shard_option
@on_option
def main(
    out: Path,
    folder: Path,
    images: tuple[Path, ...],
    no_images: bool,
    source: str,
    unreadable: Unreadable,
    shard: str | None,
    engine: str | None,
) -> None:
    """Prepare 3AM as the dataset OUT."""
    if bool(images) == no_images:
        raise MMTError("expected --images with the folder of the images, or --no-images for text alone.")
    text = folder / "data" if (folder / "data").is_dir() else folder
    for one, option in [*((one, "--images") for one in images), (text, "--three-am")]:
        if not one.is_dir():
            raise MMTError(f"{option}: no folder {one}.")
    share = shard_of(shard, engine)
    if ran_on_engine(engine, out, words=("prepare", "three-am")):
        return
    if share is None:
        write_alone(out)
    target = LANGUAGES[source == LANGUAGES[0]]
    splits = read_raw(
        text, None if no_images else text, source=source, target=target, wanted=SPLITS, languages=LANGUAGES
    )
    folders = ImageFolders(images) if images else None
    info = prepare(
        out, splits, name="3am", source=source, target=target, images=folders, unreadable=unreadable, shard=share
    )
    if isinstance(info, str):
        if info:
            click.echo(info)
        return
    print_splits(info)
    click.echo(f"written to {out}; images: {folders or 'none'}")


if __name__ == "__main__":
    main(prog_name="python -m data_prep.three_am")
