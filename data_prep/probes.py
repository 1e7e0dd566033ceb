"""Masks words of a prepared dataset, so that only the image can tell what they were: see ``mmt.data.masking``.

    python -m data_prep.probes data/multi30k_en_de data/multi30k_en_de_colour --probe colour

Every split is masked, training and test alike. The columns ``masked`` (the words, in order) and ``unmasked`` (the
sentence as it was) are added; sentences without such a word stay as they are, or are left out by
``--only-masked``.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from tqdm import tqdm

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, image_folder, read_info, read_split, write_dataset
from mmt.data.masking import SYMBOLS, Probe
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.io.terminal import counted
from mmt.metrics.masked_words import can_be_scored, check_scorable


@click.command(cls=Command)
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@click.option("--probe", "kind", type=click.Choice(list(SYMBOLS)), required=True, help="Kind of words to mask.")
@click.option(
    "--k",
    type=click.IntRange(min=0),
    default=1,
    help="Nouns to mask in each sentence (noun), or words to keep (progressive).",
)
@click.option("--seed", type=int, default=1, help="Random seed of the choice among more than K nouns.")
@click.option("--only-images", is_flag=True, help="Keep only sentences that have an image.")
@click.option("--no-images", is_flag=True, help="Keep only sentences that have no image.")
@click.option("--only-masked", is_flag=True, help="Keep only sentences with a masked word.")
@click.option("--also-plain", is_flag=True, help="Keep each masked sentence unmasked, too.")
def main(
    data: Path,
    out: Path,
    kind: str,
    k: int,
    seed: int,
    only_images: bool,
    no_images: bool,
    only_masked: bool,
    also_plain: bool,
) -> None:
    """Mask words in the English sources of the prepared dataset DATA, and write the dataset OUT."""
    if only_images and no_images:
        raise MMTError("--only-images and --no-images: expected one of them, or neither for all sentences.")
    write_alone(out)
    probe = Probe(kind, k if kind in ("noun", "progressive") else 0, seed)
    info = prepare(
        data,
        out,
        probe,
        only_images=only_images,
        no_images=no_images,
        only_masked=only_masked,
        also_plain=also_plain,
    )
    print_splits(info)
    if not can_be_scored(kind, info.target_lang):
        click.echo(
            f"What is masked has no list of translations (probe '{kind}', language '{info.target_lang}'): "
            "eval.probes scores whole sentences."
        )
    for split in info.splits:
        words = [len(masked) for masked in read_split(out, split)["masked"]]
        click.echo(
            f"{split}: {counted(sum(words), 'word')} masked in {sum(map(bool, words)):,} of "
            f"{counted(len(words), 'sentence')}"
        )


def prepare(
    data: Path,
    out: Path,
    probe: Probe,
    *,
    only_images: bool = False,
    no_images: bool = False,
    only_masked: bool = False,
    also_plain: bool = False,
) -> DatasetInfo:
    """Masks every split of ``data`` into the new dataset ``out``.

    Args:
        only_images: leave out sentences without an image.
        no_images: leave out sentences with an image, for a text-only model that has never read them.
        only_masked: leave out sentences without a word to mask.
        also_plain: keep each masked sentence as it was, too, so that a model learns to translate both. Its id ends
            in ``-plain``.
    Raises:
        MMTError: ``data`` is no prepared dataset, is masked already, is not from English, or has no word to mask;
            none of the words could be scored.
    """
    info = read_info(data)
    if info.probe:
        raise MMTError(f"{data}: is masked already ({info.probe['kind']}). Mask the dataset it was made from.")
    if info.source_lang != "en":
        raise MMTError(f"{data}: the words to mask are English, but the source language is '{info.source_lang}'.")
    if out.resolve() == data.resolve():
        raise MMTError(f"{out}: the masked dataset needs a folder of its own.")
    splits = {}
    for split in info.splits:
        rows = []
        for row in tqdm(read_split(data, split), split, unit=" sentences", disable=None):
            if not (no_images if row["has_image"] else only_images):
                source, words = probe.mask(row["source"], row["id"])
                if words or not only_masked:
                    rows.append({**row, "source": source, "masked": words, "unmasked": row["source"]})
                if words and also_plain:
                    rows.append({**row, "id": f"{row['id']}-plain", "masked": [], "unmasked": row["source"]})
        if rows:  # a split without any such sentence is left out
            splits[split] = rows
    if not any(row["masked"] for rows in splits.values() for row in rows):
        raise MMTError(f"{data}: has no word that the probe '{probe.kind}' masks.")
    every = [row for rows in splits.values() for row in rows if row["masked"]]
    check_scorable(
        [row["masked"] for row in every], [row["target"] for row in every], probe.kind, info.target_lang, str(data)
    )
    images = os.path.abspath(image_folder(data, info)) if info.images else ""
    name = f"{info.name}_{probe.kind}{probe.k or ''}"
    masked = DatasetInfo(name, info.source_lang, info.target_lang, images, probe=probe.to_dict())
    return write_dataset(out, masked, splits)


if __name__ == "__main__":
    main(prog_name="python -m data_prep.probes")
