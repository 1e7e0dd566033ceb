"""Gives a prepared dataset other targets: the translations of its sources, or of sentences alone.

    mmt translate --model TEXT_MODEL --data data/captions --split train --output train.de  # and val
    python -m data_prep.translated data/captions_de data/captions --target de \
        --text train=train.de --text val=val.de

That is how ZeroMMT (Futeral et al. 2024, https://arxiv.org/abs/2407.13579) makes its training data: English
captions with images, translated by the text model that is to learn to look.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, image_folder, print_splits, read_info, read_split, write_dataset
from mmt.data.inputs import read_texts
from mmt.errors import MMTError, nearest
from mmt.io.formats import TRANSLATIONS
from mmt.io.terminal import counted


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.argument("data", type=PATH)
@click.option("--target", required=True, metavar="CODE", help="Language of the translations, such as de.")
@click.option("--text", "texts", metavar="SPLIT=FILE", multiple=True, required=True,
              help="Translations of a split, one a line or as mmt translate writes them; repeatable.")  # fmt: skip
def main(out: Path, data: Path, target: str, texts: tuple[str, ...]) -> None:
    """Write the dataset OUT: splits of the prepared dataset DATA, with other targets.

    Splits without --text are left out, and so are sentences with a blank translation.
    """
    write_alone(out)
    files = {}
    for text in texts:
        split, equals, path = text.partition("=")
        if not equals or split in files:
            raise MMTError(f"--text {text}: expected SPLIT=FILE, each split once.")
        files[split] = Path(path)
    print_splits(prepare(out, data, target, files))


def prepare(out: Path, data: Path, target: str, files: dict[str, Path]) -> DatasetInfo:
    """Writes the dataset ``out``; its images stay where they are, and so do all columns but ``target``.

    Args:
        files: the translations of each split, in the order of its rows.
    Raises:
        MMTError: ``data`` lacks a split, or a file has another number of lines, or only blank ones.
    """
    info = read_info(data)
    if out.resolve() == data.resolve():
        raise MMTError(f"{out}: the new dataset needs a folder of its own.")
    splits = {}
    for split, path in files.items():
        if split not in info.splits:
            raise MMTError(f"{data}: no split '{split}'.{nearest(split, info.splits)}")
        rows, lines = read_split(data, split), read_texts(path, TRANSLATIONS)
        if len(lines) != len(rows):
            raise MMTError(
                f"{path}: expected {len(rows):,} translations, as '{split}' of {data} has sentences, found "
                f"{len(lines):,}. Translate that split again."
            )
        splits[split] = [{**row, "target": line} for row, line in zip(rows, lines, strict=True) if line]
        if blank := len(rows) - len(splits[split]):
            click.echo(f"{split}: left out: {counted(blank, 'sentence')} with a blank translation", err=True)
    images = os.path.abspath(image_folder(data, info)) if info.images else ""
    return write_dataset(
        out, DatasetInfo(f"{info.name}_translated", info.source_lang, target, images, probe=info.probe), splits
    )


if __name__ == "__main__":
    main(prog_name="python -m data_prep.translated")
