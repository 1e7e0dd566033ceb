"""Prepares Multi30K's captions for retrieval: one row for each caption of each image that is there.

    python -m data_prep.captions data/captions_five --multi30k DIR --five
    python -m data_prep.captions data/captions_mul --multi30k DIR --language en --language de
    python -m data_prep.captions data/captions_one --multi30k DIR --description 1 --images A --images B

Without ``--five`` they are the sentences of task 1, one an image in each language; with it the five independent
descriptions of task 2 (Elliott et al. 2016, https://aclanthology.org/W16-3210), with ``--description`` some of
them: ``{split}.{1..5}.{language}.gz`` in ``DIR/captions_LANGUAGE`` or, as in the Multi30K repository, in
``data/task2/raw``. Both tasks have their images in the same order, that of task 1's image splits.

These are also captions with images and without translations, from which ``data_prep.translated`` makes ZeroMMT's
training data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from data_prep.image_folders import ImageFolders, images_option
from data_prep.raw_text import find_layout, read_raw
from data_prep.splits import LANGUAGES
from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo
from mmt.data.image_names import Names
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.io.text_files import read_lines
from mmt.metrics.moses import unescape

SPLITS = {"train": "train", "val": "val", "test_2016_flickr": "test_2016"}
"""The splits by their names in task 1 and in task 2."""
_ALL = (1, 2, 3, 4, 5)


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--multi30k", type=PATH, required=True, help="Folder with raw/, image_splits/ and images/.")
@click.option("--five", is_flag=True, help="Use the five descriptions of each image (task 2).")
@click.option("--description", "chosen", type=click.IntRange(1, 5), multiple=True,
              help="Use this one of the five descriptions; repeatable.")  # fmt: skip
@images_option
@click.option("--language", "languages", type=click.Choice(LANGUAGES), multiple=True, default=["en"],
              help="Language of the captions; repeatable.")  # fmt: skip
def main(
    out: Path,
    multi30k: Path,
    five: bool,
    chosen: tuple[int, ...],
    images: tuple[Path, ...],
    languages: tuple[str, ...],
) -> None:
    """Prepare the captions of Multi30K's images as the dataset OUT."""
    write_alone(out)
    if five and chosen:
        raise MMTError("--five and --description exclude each other. Leave one out.")
    info = prepare(out, multi30k, languages, descriptions=_ALL if five else sorted(set(chosen)), images=images)
    print_splits(info)
    click.echo(f"written to {out}; images: {info.images}")


def prepare(
    out: Path,
    multi30k: Path,
    languages: Sequence[str],
    *,
    descriptions: Sequence[int] = (),
    images: Sequence[Path] = (),
) -> DatasetInfo:
    """Writes the dataset ``out``; its images stay where they are.

    Args:
        descriptions: which of the five of task 2, from 1; none of them uses the sentences of task 1.
        images: image folders instead of Multi30K's, see ``ImageFolders``.

    A row is a caption: its ``source``, with an empty ``target``, ``lang``, and ``caption``, its number among the
    captions of its image, from 0; ``id`` is ``IMAGE#NUMBER``. Captions whose image is missing are left out, and
    counted on standard error. The source language of several is ``mul`` (ISO 639).

    Raises:
        MMTError: a folder or file is missing, files are not parallel, or no image of a split is there.
    """
    twice = [language for number, language in enumerate(languages) if language in languages[:number]]
    if twice:
        raise MMTError(f"--language {twice[0]}: is named twice. Name each language once.")
    raw, image_splits, default = find_layout(multi30k)
    folders = ImageFolders(images or [default])
    for folder in folders.folders:
        if not folder.is_dir():
            raise MMTError(f"--multi30k {multi30k}: no folder {folder}. Put the images there, or give --images.")
    there = folders.files
    captions: dict[str, list[tuple[str, list[str]]]] = {split: [] for split in SPLITS}
    names: Mapping[str, list[str]] = {}
    for language in languages:
        pairs = read_raw(raw, image_splits, source=language, target=language, wanted=list(SPLITS))
        names = {split: pairs[split].images for split in SPLITS}
        for split in SPLITS:
            texts = [pairs[split].sources]
            if descriptions:
                texts = read_descriptions(multi30k, split, language, len(names[split]), descriptions)
            captions[split] += [(language, text) for text in texts]
    rows = {}
    for split in SPLITS:
        found = [line for line, name in enumerate(names[split]) if name in there]
        if not found:
            listed = Names(there).listed(names[split])
            raise MMTError(f"{folders}: none of the images of '{split}' is there: {listed}.")
        left_out = len(names[split]) - len(found)
        click.echo(f"{split}: {left_out:,} of {len(names[split]):,} images missing, left out", err=True)
        folders.report_missing(names[split], there)
        rows[split] = [
            {
                "id": f"{names[split][line]}#{number}",
                "image": names[split][line],
                "source": text[line],
                "target": "",
                "has_image": True,
                "lang": language,
                "caption": number,
            }
            for line in found
            for number, (language, text) in enumerate(captions[split])
        ]
    source = languages[0] if len(languages) == 1 else "mul"
    which = "five_" if len(descriptions) == len(_ALL) else "".join(f"{number}_" for number in descriptions)
    return folders.write(out, DatasetInfo(f"multi30k_captions_{which}{source}", source, "", ""), rows)


def read_descriptions(
    multi30k: Path, split: str, language: str, num_images: int, chosen: Sequence[int]
) -> list[list[str]]:
    """The ``chosen`` ones of task 2's five descriptions of each image of ``split``, in the order of its images.

    Raises:
        MMTError: there are none, or not one for each of the split's ``num_images`` images.
    """
    folders = [multi30k / f"captions_{language}", multi30k / "data" / "task2" / "raw"]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise MMTError(
            f"--multi30k {multi30k}: no descriptions in '{language}'; looked for {folders[0]} and {folders[1]}. "
            "Fetch task 2 of Multi30K, or leave --five and --description out."
        )
    texts = []
    for number in chosen:
        path = folder / f"{SPLITS[split]}.{number}.{language}.gz"
        lines = read_lines(path)
        if len(lines) != num_images or "" in lines:
            found = f"line {lines.index('') + 1} is blank" if "" in lines else f"it has {len(lines):,}"
            raise MMTError(
                f"{path}: expected {num_images:,} lines, a description for each image of '{split}', but {found}. "
                "Fetch it again."
            )
        texts.append([unescape(line) for line in lines])
    return texts


if __name__ == "__main__":
    main(prog_name="python -m data_prep.captions")
