"""Prepares a collection of any size: webdataset tars or Parquet files, by path or by URL such as s3://.

    python -m data_prep.collection OUT --data 's3://bucket/train-{000..127}.tar=train' --data val.parquet \
        --source en --target de

Each ``--data`` is a split: a folder, a file or a pattern of files. Rows are written as they are read, so that they
need not fit into memory. The images stay where they are, and nothing but the texts is read: features come from the
same files, ``mmt features --images 's3://bucket/*.tar'``, whose ids are the names of images in the dataset.

A sample of a tar has its texts in ``KEY.json``, with the names of columns below, or in ``KEY.txt`` (the source)
and ``KEY.en.txt``, ``KEY.de.txt``; its image is ``KEY.jpg`` or the like. Of Parquet, the columns are

========  ========================================================================================
source    ``source``, another name of ``mmt.io.formats.SOURCES``, or the language's code
target    ``target``, ``translation``, ``reference``, or the language's code
          (``translation.en`` and ``translation.de`` of a column ``translation`` that holds both)
image     a column of bytes, or a struct of ``datasets``
id        as for ``mmt features``; without images it may be missing
========  ========================================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from data_prep.splits import split_name
from data_prep.table import TARGETS
from mmt.cli.command import Command, write_alone
from mmt.cli.options import LOCATION, PATH
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.splits import print_splits
from mmt.errors import MMTError
from mmt.features.images import IMAGE_SUFFIXES
from mmt.features.stored_images import IDS, check_id, has_bytes, id_column, id_text, image_column
from mmt.io import parquet, webdataset
from mmt.io.formats import SOURCES
from mmt.io.locations import Location, StoredFile, as_local, shown, stored_files
from mmt.io.normalization import is_blank
from mmt.io.terminal import counted
from mmt.io.text_files import parse_json

Incomplete = Literal["refuse", "skip"]
_NUMBER = re.compile(r"[-_.]?(\{\d+\.\.\d+\}|\d+|\*)$")


@click.command(cls=Command)
@click.argument("out", type=PATH)
@click.option("--data", "given", metavar="LOCATION[=SPLIT]", multiple=True, required=True,
              help="Tars or Parquet files: a folder, a file or a pattern: a split; repeatable.")  # fmt: skip
@click.option("--source", required=True, metavar="CODE", help="Source language, such as en.")
@click.option("--target", default="", metavar="CODE",
              help="Target language, such as de; not for sentences without translations.")  # fmt: skip
@click.option("--no-images", is_flag=True, help="Use the text alone.")
@click.option("--incomplete", type=click.Choice(["refuse", "skip"]), default="refuse",
              help="Row without a sentence or without a translation: refuse (exit) or skip (leave out and count).",
              )  # fmt: skip
@click.option("--name", help="The dataset's name.  [default: as OUT]")
@click.pass_context
def main(
    context: click.Context,
    out: Path,
    given: tuple[str, ...],
    source: str,
    target: str,
    no_images: bool,
    incomplete: Incomplete,
    name: str | None,
) -> None:
    """Prepare tars or Parquet files as the dataset OUT."""
    splits: dict[str, Collection] = {}
    for one in given:
        whole = not re.search(r"=\w+$", one) or os.path.exists(as_local(one) or "")  # a folder may be ``lang=en``
        location, _, split = (one, "", "") if whole else one.rpartition("=")
        split = split or _named(location)
        if split in splits:
            raise MMTError(f"--data {one}: the split '{split}' is named twice. Say {location}=OTHER.")
        place = LOCATION.convert(location, None, context)
        splits[split] = Collection(place, split, source, target, incomplete, images=not no_images)
    write_alone(out)
    info = DatasetInfo(name or out.resolve().name, source, target, "")
    info = write_dataset(out, info, {split: iter(rows) for split, rows in splits.items()})
    if left_out := sum(rows.left_out for rows in splits.values()):
        click.echo(f"left out, {counted(left_out, 'incomplete row')}", err=True)
    print_splits(info)
    click.echo(f"written to {out}; the images stay in {', '.join(rows.name for rows in splits.values())}")


def _named(location: str) -> str:
    """The split's name by that of its files: ``train`` of ``train-{000..127}.tar``."""
    last = location.rstrip("/").rpartition("/")[2]
    stem = re.sub(r"(\.tar|\.parquet)$", "", last)
    while (shorter := _NUMBER.sub("", stem)) not in ("", stem):
        stem = shorter
    if not re.search(r"\w", stem) or any(mark in stem for mark in "*?[{"):
        raise MMTError(f"--data {location}: expected the split's name after it, such as {location}=train.")
    return split_name(stem)


class Collection:
    """The rows of a split; each iteration reads them from the files."""

    def __init__(
        self, location: Location, split: str, source: str, target: str, incomplete: Incomplete, *, images: bool
    ) -> None:
        """
        Raises:
            MMTError: nothing is there, or neither tars nor Parquet files.
        """
        self.name, self.left_out = shown(location), 0
        self._split, self._incomplete, self._images = split, incomplete, images
        self._languages = {
            "source": source.lower(),
            "target": target.lower(),
        }  # as the names in files are compared
        self._names: dict[str, tuple[str, ...]] = {"source": (*SOURCES, self._languages["source"], "txt")}
        if target:
            self._names["target"] = (*TARGETS, self._languages["target"])
        files = stored_files(location)
        self._tars, self._tables = (
            [file for file in files if file.path.lower().endswith(suffix)]
            for suffix in (webdataset.SUFFIX, parquet.SUFFIX)
        )
        if bool(self._tars) == bool(self._tables):
            what = "both" if self._tars else "neither"
            raise MMTError(f"{self.name}: expected tars or Parquet files, found {what}. Name them by a pattern.")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = 0
        for file in self._tars or self._tables:
            for where, row in self._of_tar(file) if self._tars else self._of_table(file):
                texts = {kind: _text(row.get(kind), f"{file.name}: {where}: {kind}") for kind in self._names}
                lacking = next((kind for kind, text in texts.items() if not text), None)
                if lacking is not None and self._incomplete == "refuse":
                    raise MMTError(
                        f"{file.name}: {where}: has no {lacking}. Correct it, or leave such rows out with "
                        "--incomplete skip."
                    )
                if lacking is not None:
                    self.left_out += 1
                    continue
                has_image = self._images and bool(row["has_image"])
                if has_image:
                    check_id(row["key"], f"{file.name}: {where}")
                yield {
                    "id": row["id"] or f"{self._split}-{number:05d}",
                    "image": row["key"] if has_image else "",
                    "source": texts["source"],
                    "target": texts.get("target", ""),
                    "has_image": has_image,
                }
                number += 1

    # --- webdataset ---

    def _of_tar(self, tar: StoredFile) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, files in webdataset.samples(tar, lambda suffix: suffix.rpartition(".")[2] in ("json", "txt")):
            where = f"sample '{key}'"
            texts: dict[str, Any] = {}
            for suffix, content in files.items():
                if content is not None:
                    texts |= _texts(suffix, content, f"{tar.name}: '{key}.{suffix}'")
            row: dict[str, Any] = {
                kind: next((texts[one] for one in names if one in texts), None)
                for kind, names in self._names.items()
            }
            ends = {f".{suffix.rpartition('.')[2]}" for suffix in files}
            row_id = texts.get("id", key)
            if not isinstance(row_id, str | int) or isinstance(row_id, bool):
                raise MMTError(f"{tar.name}: {where}: expected id as a text or a number, found {row_id!r}.")
            yield where, row | {"id": str(row_id), "key": key, "has_image": not ends.isdisjoint(IMAGE_SUFFIXES)}

    # --- Parquet ---

    def _of_table(self, table: StoredFile) -> Iterator[tuple[str, dict[str, Any]]]:
        with parquet.opened(table) as found:
            columns = {
                kind: _column(found, names, self._languages[kind], table.name)
                for kind, names in self._names.items()
            }
            with_images = self._images and any(has_bytes(one.type) for one in found.schema_arrow)
            image = image_column(found, table.name) if with_images else None
            if image is not None or not set(IDS).isdisjoint(found.schema_arrow.names):
                columns["id"] = id_column(found, table.name)
            all_there = image is not None and _no_nulls(found, image)
            if image is not None and not all_there:
                columns["has_image"] = image
            rows = 1024 if "has_image" not in columns else 32
            number = 0
            for batch in parquet.batches(found, sorted({*columns.values()}), rows=rows):
                for row in batch.to_pylist():
                    values = {kind: _value(row, column) for kind, column in columns.items()}
                    row_id = id_text(values.get("id"), columns.get("id", ""), number, table.name)
                    number += 1
                    if image is not None and not row_id:
                        raise MMTError(f"{table.name}: row {number} has no id.")
                    values["key"] = values["id"] = row_id
                    yield f"row {number:,}", {"has_image": all_there} | values


def _texts(suffix: str, content: bytes, where: str) -> dict[str, Any]:
    """Texts by the names of columns, of one member."""
    try:
        text = content.decode("utf-8-sig")
        if suffix.rpartition(".")[2] == "txt":
            return {suffix.removesuffix(".txt") if suffix != "txt" else "txt": text}
        value = parse_json(text)
    except UnicodeError:
        raise MMTError(f"{where}: expected text in UTF-8, found other bytes.") from None
    except ValueError as error:
        raise MMTError(f"{where}: not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise MMTError(f'{where}: expected an object such as {{"source": "...", "target": "..."}}.')
    return {name.lower(): one for name, one in value.items()}


def _text(value: Any, where: str) -> str:
    """In one line, "" for none."""
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise MMTError(f"{where}: expected text, found {type(value).__name__} {str(value)[:60]!r}.")
    return "" if is_blank(value) else " ".join(value.split())


def _column(found: Any, names: Sequence[str], language: str, where: str) -> str:
    schema = found.schema_arrow
    both = schema.field("translation").type if "translation" in schema.names else None
    if both is not None and hasattr(both, "get_field_index"):
        field = next((one.name for one in both if one.name.lower() == language), None)
        if field is not None:
            return f"translation.{field}"
    by_name: dict[str, str] = {name.lower(): name for name in schema.names}
    column = next((by_name[name] for name in names if name in by_name), None)
    if column is None:
        raise MMTError(
            f"{where}: expected a column {' or '.join(map(repr, names))}; its columns are "
            f"{', '.join(map(repr, schema.names))}."
        )
    return column


def _value(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    name, _, field = column.rpartition(".")
    value = row.get(name)
    return value.get(field) if isinstance(value, dict) else None


def _no_nulls(found: Any, column: str) -> bool:
    """Whether the statistics of every row group say that the column has no null."""
    about = found.metadata
    place = next(n for n in range(about.num_columns) if about.schema.column(n).path == column)
    groups = (about.row_group(n).column(place).statistics for n in range(found.num_row_groups))
    return all(one is not None and one.has_null_count and one.null_count == 0 for one in groups)


if __name__ == "__main__":
    main(prog_name="python -m data_prep.collection")
