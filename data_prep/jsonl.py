"""Prepares any data in JSON lines: sentences with images, one or several references, and contrastive items.

    python -m data_prep.jsonl OUT --data train.jsonl --data dev.jsonl.gz=val --data items.jsonl=contrastive \
        --source en --target de --images PHOTOS

Each file is a split, named after the file unless ``=SPLIT`` follows. A line is an object::

    {"source": "A bat.", "image": "cave/bat.jpg", "references": ["Eine Fledermaus."], "id": "17"}
    {"source": "A bat.", "image": "cave/bat.jpg",
     "contrastive": {"correct": "Eine Fledermaus.", "incorrect": "Ein Schläger."}}

``source``: the sentence. ``image``: a path inside one of the image folders, or null. ``references``: a list, or
one text; also called ``reference``, ``target`` or ``translation``. ``id``: unique in the file; else
``SPLIT-00017``. ``contrastive``: a right and a wrong translation; the right one is the reference. Other keys are
ignored. Sentences without translations, such as captions, have an empty target.

The first reference is the column ``target``, which everything in mmt trains on and scores with; if a sentence has
several, all are in the column ``references``, which ``mmt score`` and ``mmt evidence`` do not read. The wrong
translation is the column ``contrast``: ``python -m eval.commute MODEL OUT --split contrastive`` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from data_prep.image_folders import ImageFolders, Unreadable, images_option
from data_prep.splits import split_name
from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.features.images import image_file
from mmt.io.formats import IMAGES, SOURCES
from mmt.io.normalization import is_blank
from mmt.io.text_files import decode_lines, open_text, parse_json

REFERENCES = ("references", "reference", "target", "translation", "refs", "ref", "tgt")


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--data", "files", metavar="FILE[=SPLIT]", multiple=True, required=True,
              help="JSON lines, .jsonl or .jsonl.gz: a split; repeatable.")  # fmt: skip
@click.option("--source", required=True, metavar="CODE", help="Source language, such as en.")
@click.option("--target", default="", metavar="CODE",
              help="Target language, such as de; not for sentences without translations.")  # fmt: skip
@images_option
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--unreadable", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Image that does not decode: refuse (exit) or skip (count as missing).")  # fmt: skip
@click.option("--name", help="The dataset's name.  [default: as OUT]")
def main(
    out: Path,
    files: tuple[str, ...],
    source: str,
    target: str,
    images: tuple[Path, ...],
    no_images: bool,
    unreadable: Unreadable,
    name: str | None,
) -> None:
    """Prepare JSON lines as the dataset OUT."""
    if bool(images) == no_images:
        raise MMTError("expected --images with the folder of the images, or --no-images for text alone.")
    for folder in images:
        if not folder.is_dir():
            raise MMTError(f"--images: no folder {folder}; give the folder of the images, or --no-images.")
    write_alone(out)
    folders = ImageFolders(images, subfolders=True) if images else None
    splits: dict[str, list[dict[str, Any]]] = {}
    for one in files:
        path, split = _file_and_split(one)
        if split in splits:
            raise MMTError(f"--data {one}: the split '{split}' is named twice. Say {path}=OTHER.")
        splits[split] = read_jsonl(path, split, images)
    _check_targets(splits, target)
    info = DatasetInfo(name or out.resolve().name, source, target, "")
    if folders is None:
        info = write_dataset(out, info, splits)
    else:
        if not any(row["image"] for rows in splits.values() for row in rows):
            raise MMTError("no line names an image. Take the text alone with --no-images.")
        info = folders.write_found(out, info, splits, unreadable)
    print_splits(info)
    click.echo(f"written to {out}; images: {folders or 'none'}")


def read_jsonl(path: Path, split: str, images: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """The rows of a split, see above; no row has its image yet.

    Args:
        images: the image folders; an absolute path inside one of them becomes relative.
    Raises:
        MMTError: a line is not as described, an id occurs twice, or an image lies outside the folders.
    """
    rows: list[dict[str, Any]] = []
    ids: dict[str, int] = {}
    with open_text(path) as stream:
        for number, text in enumerate(decode_lines(stream, str(path)), 1):
            where = f"{path}: line {number}"
            try:
                value = parse_json(text)
            except ValueError as error:
                raise MMTError(f"{where}: not JSON ({error}).") from None
            if not isinstance(value, dict):
                raise MMTError(f'{where}: expected an object such as {{"source": "...", "references": ["..."]}}.')
            row = _row(value, f"{split}-{len(rows):05d}", where, images)
            first = ids.setdefault(row["id"], number)
            if first != number:
                raise MMTError(f"{where}: the id '{row['id']}' is line {first}'s, too. Ids must be unique.")
            rows.append(row)
    several = any(len(row["references"]) > 1 for row in rows)
    contrastive = any(row["contrast"] for row in rows)
    left_out = {name for name, kept in (("references", several), ("contrast", contrastive)) if not kept}
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


def _row(value: dict[str, Any], default_id: str, where: str, images: Sequence[Path]) -> dict[str, Any]:
    source = _text(_first(value, SOURCES), "source", where)
    references = _first(value, REFERENCES)
    if references is None:
        references = []
    elif isinstance(references, str):
        references = [references]
    if not isinstance(references, list):
        raise MMTError(f"{where}: expected references as a list of texts, found {references!r}.")
    references = [_text(one, "references", where) for one in references]
    contrast = ""
    if (contrastive := value.get("contrastive")) is not None:
        if not isinstance(contrastive, dict):
            raise MMTError(f'{where}: expected contrastive as {{"correct": "...", "incorrect": "..."}}.')
        correct, contrast = (
            _text(contrastive.get(k), f"contrastive.{k}", where) for k in ("correct", "incorrect")
        )
        if references and correct != references[0]:
            raise MMTError(
                f"{where}: the first reference and contrastive.correct differ: both are the right translation. "
                "Leave one out."
            )
        references = references or [correct]
    number = value.get("id", default_id)
    if not isinstance(number, str | int) or isinstance(number, bool) or is_blank(str(number)):
        raise MMTError(f"{where}: expected id as a text or a number, found {number!r}.")
    return {
        "id": str(number),
        "image": _image(_first(value, IMAGES), where, images),
        "source": source,
        "target": references[0] if references else "",
        "has_image": False,
        "references": references,
        "contrast": contrast,
    }


def _first(value: dict[str, Any], names: Sequence[str]) -> Any:
    """The value of the first of ``names`` that there is."""
    return next((value[name] for name in names if name in value), None)


def _text(value: Any, name: str, where: str) -> str:
    if not isinstance(value, str) or is_blank(value):
        raise MMTError(f"{where}: expected a text as {name}, found {value!r}.")
    return " ".join(value.split())


def _image(value: Any, where: str, images: Sequence[Path]) -> str:
    """The image's path inside its folder, "" for none."""
    if value is None or (isinstance(value, str) and is_blank(value)):
        return ""
    if not isinstance(value, str):
        raise MMTError(f"{where}: expected the image's path or null, found {value!r}.")
    path = Path(value)
    if path.is_absolute():
        inside = [folder.resolve() for folder in images if path.is_relative_to(folder.resolve())]
        value = str(path.relative_to(inside[0])) if inside else value
    try:
        image_file(Path(), value)
    except MMTError as error:
        raise MMTError(f"{where}: {error}") from None
    return Path(value).as_posix()


def _file_and_split(given: str) -> tuple[Path, str]:
    """``FILE=SPLIT``; without ``=``, the split is called as the file, without its suffixes."""
    name, equals, split = given.rpartition("=")
    path = Path(name if equals else given)
    if not equals:
        split = split_name(re.sub(r"(\.jsonl|\.ndjson)?(\.gz)?$", "", path.name))
    if not re.fullmatch(r"\w+", split):
        raise MMTError(f"--data {given}: a split's name must be letters, digits and '_'; say {path}=NAME.")
    return path, split


def _check_targets(splits: dict[str, list[dict[str, Any]]], target: str) -> None:
    """Raises MMTError for translations without a language, and for a split that has them in some lines only."""
    for split, rows in splits.items():
        lacking = [number for number, row in enumerate(rows, 1) if not row["target"]]
        if len(lacking) < len(rows) and not target:
            raise MMTError(f"--target: expected the language of the translations, as '{split}' has some.")
        if lacking and target:
            raise MMTError(
                f"split '{split}' line {lacking[0]}: expected a translation, found none. Leave --target out for "
                "sentences without translations, or put them into a dataset of their own."
            )


if __name__ == "__main__":
    main(prog_name="python -m data_prep.jsonl")
