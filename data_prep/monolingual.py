"""Prepares the descriptions of Multi30K's training images (task 2) as text in one language, to be translated.

    python -m data_prep.monolingual data/mono_de --multi30k DIR --language de --images A --images B
    python -m data_prep.monolingual data/mono_de --multi30k DIR --language de --no-images --moses --full-stop

They were written without seeing the sentences of task 1, five for each image. ``data_prep.translated`` makes
pseudo-parallel data of them: back-translation with ``--back``, self-training without.

A description is left out, and counted, if its image belongs to validation or test, if it is a sentence of task 1
or a description of a validation image, or if the same text came before. Texts are compared as ``--moses`` writes
them, without the punctuation at their end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from data_prep.captions import SPLITS, read_descriptions
from data_prep.image_folders import ImageFolders, images_option
from data_prep.raw_text import find_layout, read_raw
from data_prep.splits import LANGUAGES
from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.metrics.translation import tokenize_as_papers

_ALL = (1, 2, 3, 4, 5)
_END = " .!?…\"'”“»"
"""What may end a sentence, and what the comparison of two texts ignores there."""


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option(
    "--multi30k", type=PATH, required=True, help="Folder with raw/, image_splits/ and captions_LANGUAGE/."
)
@click.option("--language", type=click.Choice(LANGUAGES), required=True, help="Language of the descriptions.")
@click.option("--description", "chosen", type=click.IntRange(1, 5), multiple=True,
              help="Use this one of the five descriptions; repeatable.  [default: all five]")  # fmt: skip
@images_option
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--only-images", is_flag=True, help="Keep only descriptions whose image exists.")
@click.option("--moses", is_flag=True,
              help="Lowercase, normalise punctuation and tokenise, as Multi30K's tok/ is.")  # fmt: skip
@click.option(
    "--full-stop", is_flag=True, help="End descriptions without punctuation at their end with a full stop."
)
def main(
    out: Path,
    multi30k: Path,
    language: str,
    chosen: tuple[int, ...],
    images: tuple[Path, ...],
    no_images: bool,
    only_images: bool,
    moses: bool,
    full_stop: bool,
) -> None:
    """Prepare the descriptions of Multi30K's training images as the dataset OUT, without translations."""
    write_alone(out)
    if no_images and (images or only_images):
        raise MMTError(f"--no-images contradicts --{'images' if images else 'only-images'}. Leave one out.")
    folders = None
    if not no_images:
        folders = ImageFolders(images or [find_layout(multi30k)[2]])
        for folder in folders.folders:
            if not folder.is_dir():
                raise MMTError(f"--images: no folder {folder}. Give the image folders, or --no-images.")
    numbers = sorted(set(chosen)) or _ALL
    print_splits(
        prepare(
            out,
            multi30k,
            language,
            descriptions=numbers,
            images=folders,
            only_images=only_images,
            moses=moses,
            full_stop=full_stop,
        )
    )
    click.echo(f"written to {out}")


def prepare(
    out: Path,
    multi30k: Path,
    language: str,
    *,
    descriptions: Sequence[int] = _ALL,
    images: ImageFolders | None = None,
    only_images: bool = False,
    moses: bool = False,
    full_stop: bool = False,
) -> DatasetInfo:
    """Writes the dataset ``out``: a split ``train``, whose targets are empty; its images stay where they are.

    Args:
        descriptions: which of the five, from 1.
        images: None writes no image.
        only_images: leave out descriptions without one.
        moses: lowercase, normalise punctuation and tokenise, without Moses' escapes.
        full_stop: end a description with a full stop where no punctuation ends it.
    Returns:
        What was written. ``id`` of a row is ``IMAGE#NUMBER``, NUMBER from 1.
    Raises:
        MMTError: a folder or file is missing, files are not parallel, or nothing is left; ``only_images`` without
            ``images``.
    """
    if only_images and images is None:
        raise MMTError("only_images: expected image folders, found none. Give images, or leave only_images out.")
    raw, image_splits, _ = find_layout(multi30k)
    pairs = read_raw(raw, image_splits, source=language, target=language, wanted=list(SPLITS))
    names = pairs["train"].images
    held_out = {name for split in SPLITS if split != "train" for name in pairs[split].images}
    known = {_key(text) for split in SPLITS for text in tokenize_as_papers(pairs[split].sources, language)}
    of_valid = read_descriptions(multi30k, "val", language, len(pairs["val"].images), _ALL)
    known_valid = {_key(text) for texts in of_valid for text in tokenize_as_papers(texts, language)}
    left_out: Counter[str] = Counter()
    there = set(images.existing(names)) if images is not None else set()

    def rows() -> Iterator[dict[str, object]]:
        seen: set[str] = set()
        texts = read_descriptions(multi30k, "train", language, len(names), descriptions)
        tokenized = [tokenize_as_papers(lines, language) for lines in texts]
        for line, name in enumerate(names):
            for number, plain, tokens in zip(descriptions, texts, tokenized, strict=True):
                key = _key(tokens[line])
                if only_images and name not in there:
                    left_out["without an image"] += 1
                elif name in held_out:
                    left_out["whose image belongs to validation or test"] += 1
                elif key in known:
                    left_out["equal to a sentence of task 1"] += 1
                elif key in known_valid:
                    left_out["equal to a description of a validation image"] += 1
                elif key in seen:
                    left_out["repeated"] += 1
                else:
                    seen.add(key)
                    text = tokens[line] if moses else plain[line]
                    if full_stop and text[-1] not in _END:
                        text += " ." if moses else "."
                    row = {"id": f"{name}#{number}", "image": name, "source": text, "target": ""}
                    yield {**row, "has_image": name in there}

    found = list(rows())
    for reason, count in left_out.items():
        click.echo(f"left out: {count:,} {reason}", err=True)
    info = DatasetInfo(f"multi30k_descriptions_{language}{'_tok' * moses}", language, "", "")
    if images is None:
        return write_dataset(out, info, {"train": found})
    images.report_missing(names, there)
    return images.write(out, info, {"train": found})


def _key(tokens: str) -> str:
    return tokens.rstrip(_END)


if __name__ == "__main__":
    main(prog_name="python -m data_prep.monolingual")
