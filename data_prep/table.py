"""Prepares your own data in one table: a sentence in each row, with its translation and its picture.

    python -m data_prep.table shop.tsv data/shop --source-lang en --target-lang es --name shop

The table is tab- or comma-separated text, JSON lines or Parquet, packed with gzip or not; see
``data_prep.table_rows``. Its first line, or its keys, name the columns:

========  ========================================================================================
source    ``source``, another name of ``mmt.io.formats.SOURCES``, or the language's code; ``--source``
target    ``target``, ``translation``, ``reference``, or the language's code; ``--target``
image     ``image``, another name of ``IMAGES``, or ``url``: a path or an address; ``--image``
split     ``split``: the split of each row, if you chose it yourself; ``--split``
id        ``id``: a name of each row, unique in its split
========  ========================================================================================

Paths of images begin in the table's own folder, or in a folder of ``--images``. Addresses are downloaded once into
``OUT.images``. Rerun the same command to resume.

Without a column of splits, each row's split is drawn: a checksum of its picture's content decides (of its
sentence, without a picture). So all rows of a picture are in one split, also where the picture has several names,
and more rows in the table change nothing about the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from data_prep.downloads import Limits, check_some, download, is_address
from data_prep.image_folders import ImageFolders, Unreadable, images_option, some
from data_prep.splits import split_name
from data_prep.table_rows import Quotes, Table, read_table
from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.features.images import image_file
from mmt.io.formats import IMAGES, SOURCES
from mmt.io.normalization import is_blank
from mmt.io.terminal import counted
from mmt.io.text_files import file_checksum
from mmt.metrics.significance import FEWEST_SENTENCES

TARGETS = ("target", "tgt", "translation", "reference", "ref")
_IMAGES = (*IMAGES, "url", "image_url")
SPLITS = ("split", "set", "fold")
Incomplete = Literal["refuse", "skip"]
_DOWNLOADS = ".images"


@click.command(cls=Command, when_stopped="Rerun the same command to resume.")
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@click.option("--source-lang", required=True, metavar="CODE", help="Source language, such as en.")
@click.option("--target-lang", default="", metavar="CODE",
              help="Target language, such as es; not for sentences without translations.")  # fmt: skip
@click.option("--name", help="The dataset's name.  [default: as OUT]")
@click.option(
    "--source", metavar="COLUMN", help="Column of the sentences.  [default: source, caption, ..., or CODE]"
)
@click.option("--target", metavar="COLUMN", help="Column of the translations.  [default: target, ..., or CODE]")
@click.option("--image", metavar="COLUMN", help="Column of the images.  [default: image, photo, url, ...]")
@click.option("--split", metavar="COLUMN", help="Column of the splits.  [default: split, if there is one]")
@click.option("--no-target", is_flag=True,
              help="There are no translations; --target-lang says what models are to translate into.")  # fmt: skip
@images_option
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--shares", default="train=80,val=10,test=10",
              help="Shares of the splits that are drawn, without a column of splits.")  # fmt: skip
@click.option("--incomplete", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Row without a sentence or without a translation: refuse (exit) or skip (leave out and count).",
              )  # fmt: skip
@click.option("--unreadable", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Image that does not decode: refuse (exit) or skip (count as missing).")  # fmt: skip
@click.option("--encoding", metavar="NAME", help="Encoding of a text file, such as cp1252.  [default: UTF-8]")
@click.option("--quotes", type=click.Choice(["csv", "text"]),
              help="Double quotes around a cell: csv (not part of it) or text.  [default: csv in .csv, else text]",
              )  # fmt: skip
@click.option("--max-megabytes", type=click.FloatRange(min=0, min_open=True), default=20.0,
              help="Largest image to download.")  # fmt: skip
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), default=30.0,
              help="Longest download of an image.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), default=8, help="Number of downloads at a time.")
def main(
    data: Path,
    out: Path,
    source_lang: str,
    target_lang: str,
    name: str | None,
    source: str | None,
    target: str | None,
    image: str | None,
    split: str | None,
    no_target: bool,
    images: tuple[Path, ...],
    no_images: bool,
    shares: str,
    incomplete: Incomplete,
    unreadable: Unreadable,
    encoding: str | None,
    quotes: Quotes | None,
    max_megabytes: float,
    max_seconds: float,
    jobs: int,
) -> None:
    """Prepare the table DATA as the dataset OUT."""
    if no_images and (images or image):
        raise MMTError("--no-images and --images or --image exclude each other. Leave one out.")
    if no_target and target:
        raise MMTError("--no-target and --target exclude each other. Leave one out.")
    for folder in images:
        if not folder.is_dir():
            raise MMTError(f"--images: no folder {folder}; give the folder of the images, or --no-images.")
    drawn = parse_shares(shares)
    write_alone(out)
    table = read_table(data, encoding=encoding, quotes=quotes)
    columns = {
        "source": table.column(source, (*SOURCES, source_lang), "--source", required=True),
        "target": None
        if no_target
        else table.column(target, (*TARGETS, target_lang), "--target", required=bool(target_lang)),
        "image": None if no_images else table.column(image, _IMAGES, "--image", required=True),
        "split": table.column(split, SPLITS, "--split", required=False),
        "id": table.column(None, ("id",), "", required=False),
    }
    _check_columns(table, columns, target_lang)
    rows = read_rows(table, columns, incomplete)
    folders = _find_images(
        rows, images or (data.parent,), out, Limits(int(max_megabytes * 1e6), max_seconds, jobs)
    )
    splits = split_rows(table.name, rows, drawn if columns["split"] is None else None, folders)
    info = DatasetInfo(name or out.resolve().name, source_lang, target_lang, "")
    if folders is None:
        if columns["image"] is not None:
            click.echo(f"no row has an image in '{columns['image']}': the text alone is used", err=True)
        info = write_dataset(out, info, splits)
    else:
        info = folders.write_found(out, info, splits, unreadable)
    print_splits(info)
    for name, of_split in splits.items() if columns["split"] is None else ():
        if name.startswith("test") and len(of_split) < FEWEST_SENTENCES:
            click.echo(
                f"'{name}' is small: mmt evidence compares systems on {FEWEST_SENTENCES} sentences or more. Raise "
                "its share, such as --shares train=60,val=10,test=30.",
                err=True,
            )
    click.echo(f"written to {out}; images: {folders or 'none'}")


def parse_shares(text: str) -> dict[str, float]:
    """Reads ``train=80,val=10,test=10``: shares of 1 by split. Raises MMTError for anything else."""
    shares: dict[str, float] = {}
    for one in text.split(","):
        match = re.fullmatch(r"\s*(\w+)=(\d+(?:\.\d+)?)\s*", one)
        if match is None or float(match[2]) == 0 or match[1] in shares:
            raise MMTError(
                f"--shares {text}: expected each split once with its share, such as train=80,val=10,test=10."
            )
        shares[match[1]] = float(match[2])
    return {split: share / sum(shares.values()) for split, share in shares.items()}


def _check_columns(table: Table, columns: Mapping[str, str | None], target_lang: str) -> None:
    """Says which columns are read. Raises MMTError for one column of two kinds, or translations of no language."""
    used = [column for column in columns.values() if column is not None]
    twice = next((column for column in used if used.count(column) > 1), None)
    if twice is not None:
        kinds = " and ".join(kind for kind, column in columns.items() if column == twice)
        raise MMTError(f"{table.name}: the column '{twice}' would be {kinds}. Name the columns with --source, ...")
    if columns["target"] is not None and not target_lang:
        raise MMTError(
            f"--target-lang: expected the language of the column '{columns['target']}', or --no-target if it has "
            "no translations."
        )
    read = ", ".join(f"{kind} is '{column}'" for kind, column in columns.items() if column is not None)
    others = [repr(column) for column in table.columns if column not in used]
    click.echo(f"columns: {read}{f'; not read: {some(others, 10)}' if others else ''}", err=True)


def read_rows(
    table: Table, columns: Mapping[str, str | None], incomplete: Incomplete = "refuse"
) -> list[dict[str, Any]]:
    """The rows of a dataset; ``image`` is as in the table, ``split`` and ``id`` may be empty.

    Args:
        columns: the name of each column by its kind; None for one that the table lacks.
        incomplete: what to do with a row without a sentence or a translation.
    Raises:
        MMTError: such a row is refused, a value is not text, or no row is left.
    """
    rows, bad = [], []
    for where, cells in table.rows:
        row = {
            kind: _text(cells.get(column), f"{table.name}: {where}: '{column}'", kind)
            for kind, column in columns.items()
            if column is not None
        }
        lacking = next(
            (kind for kind in ("source", "target") if columns[kind] is not None and not row[kind]), None
        )
        if lacking is not None:
            bad.append(f"{where} (no {lacking})")
            continue
        rows.append({"where": where, "target": "", "image": "", "split": "", "id": ""} | row)
    if bad and (incomplete == "refuse" or not rows):
        none = ". If there are no translations at all, give --no-target" if columns["target"] is not None else ""
        raise MMTError(
            f"{table.name}: {len(bad):,} of {len(table.rows):,} rows are incomplete: {some(bad)}. "
            f"Correct them, or leave them out with --incomplete skip{none}."
        )
    if bad:
        click.echo(f"left out, {counted(len(bad), 'incomplete row')}: {some(bad, 10)}", err=True)
    return rows


def _text(value: Any, where: str, kind: str) -> str:
    """A cell in one line, "" for none."""
    if isinstance(value, int) and not isinstance(value, bool) and kind not in ("source", "target"):
        value = str(value)
    if value is None or (isinstance(value, str) and is_blank(value)):
        return ""
    if not isinstance(value, str):
        found = f"{type(value).__name__} {str(value)[:60]!r}"
        hint = " Save the pictures to files, and name these." if kind == "image" else ""
        hint = " mmt prepare jsonl reads several references." if kind == "target" else hint
        raise MMTError(f"{where}: expected text, found {found}.{hint}")
    if "\0" in value:
        raise MMTError(f"{where}: has a NUL character. Is the file another format, or damaged? Save it again.")
    return value.strip() if kind == "image" else " ".join(value.split())


def _find_images(
    rows: Sequence[dict[str, Any]], folders: Sequence[Path], out: Path, limits: Limits
) -> ImageFolders | None:
    """Downloads what has to be, and replaces each row's image by its name in a folder.

    Returns:
        Where the images are; None where no row has one.
    Raises:
        MMTError: a name leads out of the folders, or no address can be downloaded.
    """
    urls = [row["image"] for row in rows if is_address(row["image"])]
    downloads = out.resolve().with_name(out.resolve().name + _DOWNLOADS)
    names, failed = download(urls, downloads, limits) if urls else ({}, {})
    check_some(names, failed)
    if failed:
        listed = some([f"{url} ({reason})" for url, reason in failed.items()], 10)
        click.echo(f"not downloaded, {len(failed):,} of {len({*urls}):,} images: {listed}", err=True)
    local = set()
    for row in rows:
        if is_address(row["image"]):
            row["image"] = names.get(row["image"], "")
        elif row["image"]:
            row["image"] = _local_name(row["image"], row["where"], folders)
            local.add(row["image"])
    places = [*(folders if local else ()), *([downloads] if names else [])]
    return ImageFolders(places, names=local | {*names.values()}) if places else None


def _local_name(name: str, where: str, folders: Sequence[Path]) -> str:
    """An image's path inside the folders. Raises MMTError if it leads out of them."""
    path = Path(name.replace("\\", "/"))
    if path.is_absolute():
        for folder in folders:
            if path.is_relative_to(folder.resolve()):
                path = path.relative_to(folder.resolve())
                break
    try:
        image_file(Path(), str(path))
    except MMTError as error:
        raise MMTError(f"{where}: {error} Give the folder of the images with --images.") from None
    return path.as_posix()


def split_rows(
    where: str, rows: Sequence[Mapping[str, Any]], shares: Mapping[str, float] | None, folders: ImageFolders | None
) -> dict[str, list[dict[str, Any]]]:
    """The dataset's rows by split: as the table says, or drawn by picture.

    Args:
        where: the table's name.
        shares: of the splits to draw; None takes those of the table.
        folders: with the pictures.
    Raises:
        MMTError: a row has no split, a split would be empty, or an id occurs twice.
    """
    keys = _keys(rows, folders)
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in shares or ()}
    of_key: dict[str, set[str]] = {}
    for row, key in zip(rows, keys, strict=True):
        split = draw(key, shares) if shares is not None else _own_split(row, where)
        of_key.setdefault(key, set()).add(split)
        number = f"{split}-{len(splits.setdefault(split, [])):05d}"
        kept = {column: row[column] for column in ("image", "source", "target")}
        splits[split].append({"id": row["id"] or number, **kept, "has_image": False})
    shared = sum(len(of) > 1 for of in of_key.values())
    if shared:
        what = counted(shared, "picture or sentence", "pictures or sentences")
        click.echo(f"in several splits by the table's own column: {what}", err=True)
    if empty := next((split for split, of_split in splits.items() if not of_split), None):
        raise MMTError(
            f"{where}: no row was drawn for '{empty}', as there {'is' if len(of_key) == 1 else 'are'} only "
            f"{counted(len(of_key), 'picture')}. Raise its share with --shares, or add a column 'split'."
        )
    return splits


def _own_split(row: Mapping[str, Any], where: str) -> str:
    if not row["split"]:
        raise MMTError(f"{where}: {row['where']}: expected the name of a split, found an empty cell.")
    return split_name(row["split"])


def _keys(rows: Sequence[Mapping[str, Any]], folders: ImageFolders | None) -> list[str]:
    """What must stay in one split: the content of a row's picture; without a file its name; else its sentence."""
    contents: dict[str, str] = {}
    if folders is not None:
        for name, path in folders.files.items():
            try:
                contents[name] = file_checksum(path)
            except OSError as error:
                raise MMTError(f"{path}: cannot be read ({error.strerror}).") from None
    return [
        contents.get(row["image"], f"name {row['image']}") if row["image"] else f"text {row['source'].lower()}"
        for row in rows
    ]


def draw(key: str, shares: Mapping[str, float]) -> str:
    """The split of everything with this key, the same on every machine and whatever else there is."""
    place = int(hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:13], 16) / 16**13
    total = 0.0
    for split, share in shares.items():
        total += share
        if place < total:
            return split
    return list(shares)[-1]


if __name__ == "__main__":
    main(prog_name="python -m data_prep.table")
