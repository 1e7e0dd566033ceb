"""Writes a prepared dataset as webdataset tars or Parquet files, to share it or to keep it in a bucket.

    python -m data_prep.export data/multi30k_en_de s3://bucket/multi30k --format webdataset

Each split becomes files ``SPLIT-00000.tar``, ``SPLIT-00001.tar``, ...; equal data gives equal bytes. A sentence
with an image carries the bytes of its file, also where several sentences have the same one. ``mmt prepare
collection`` and ``mmt features --images`` read them again, and so do other programs that know these formats:

- webdataset: a sample has ``KEY.json`` with the row (``id``, ``source``, ``target``, other columns), and
  ``KEY.jpg`` or the like.
- Parquet: the same columns, and ``image``, a struct of ``bytes`` and ``path``, the file's name in the dataset.

Ids consist of letters, digits, ``-`` and ``_``, and no two are equal: the row ``5`` of the split ``train`` is
``train-5``, and an id with other characters becomes the row's number, ``train_00000012``.

``collection.json`` beside the files is written last; a folder without it is not complete.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command
from mmt.cli.options import LOCATION, PATH
from mmt.data.dataset import image_folder, open_split, read_info
from mmt.errors import MMTError
from mmt.features.images import IMAGE_SUFFIXES, image_file, read_file
from mmt.io import parquet, webdataset
from mmt.io.atomic import replacing_folder
from mmt.io.locations import Location, as_local, opened_system, reading, shown
from mmt.io.terminal import counted

_ROWS = 1024  # read at a time
_GROUP, _TEXTS = 64, 10_000  # rows of a row group, with images and without
_BUCKETS = {"s3", "gs"}  # a folder is a part of a name there, and making one would make a bucket
_INFO = "collection.json"


@click.command(cls=Command)
@click.argument("data", type=PATH)
@click.argument("out", type=LOCATION)
@click.option(
    "--format", "kind", type=click.Choice(["webdataset", "parquet"]), required=True, help="Format of the files."
)
@click.option("--shard-megabytes", type=click.FloatRange(min=0, min_open=True), default=500.0,
              help="A file that has as many is followed by the next one.")  # fmt: skip
@click.option("--no-images", is_flag=True, help="Write the text alone.")
def main(data: Path, out: Location, kind: str, shard_megabytes: float, no_images: bool) -> None:
    """Write the prepared dataset DATA as files in OUT, a new folder or a URL."""
    info = read_info(data)
    if not no_images and not info.images and any(split.images_found for split in info.splits.values()):
        raise MMTError(
            f"{data}: its images are not in a folder, but in the tars or Parquet files of which it was made. "
            "Write the text alone with --no-images."
        )
    num = 0
    with _target(out) as (system, root):
        for split in info.splits:
            rows = _rows(data, split, images=not no_images)
            features = _features(data, split, images=not no_images and info.splits[split].images_found > 0)
            num += _write_split(system, f"{root}/{split}", rows, kind, features, int(1e6 * shard_megabytes))
        about = asdict(info) | {"images": ""}
        system.pipe_file(f"{root}/{_INFO}", (json.dumps(about, indent=2) + "\n").encode())
    click.echo(f"written to {shown(out)}: {counted(num, 'file')}")


@contextmanager
def _target(out: Location) -> Iterator[tuple[Any, str]]:
    """The file system and the folder to write to. One of this machine appears when it is complete."""
    local = as_local(out)
    system, root = opened_system(out)
    # The errors of this machine's disks have a remedy of their own.
    errors = reading(shown(out), "written") if local is None else nullcontext()
    with ExitStack() as stack, errors:
        if local is not None:
            if local.is_file() or (local.is_dir() and any(local.iterdir())):
                raise MMTError(f"{shown(out)}: expected a new folder, found files there. Name another one.")
        elif taken := _exported(system, root):
            raise MMTError(
                f"{shown(out)}: expected a new folder, found {taken} there. Name another one, or remove what an "
                "export that was stopped left there."
            )
        if local is not None:
            root = str(stack.enter_context(replacing_folder(local)))
        if _BUCKETS.isdisjoint([system.protocol] if isinstance(system.protocol, str) else system.protocol):
            system.makedirs(root, exist_ok=True)
        yield system, root


def _exported(system: Any, folder: str) -> str | None:
    """The name of a file in a store's folder that readers would take for a part of this export."""
    system.invalidate_cache()
    try:
        names = sorted(path.rpartition("/")[2] for path in system.ls(folder, detail=False))
    except FileNotFoundError:
        return None
    return next(
        (name for name in names if name == _INFO or name.endswith((webdataset.SUFFIX, parquet.SUFFIX))), None
    )


def _features(data: Path, split: str, *, images: bool) -> Any:
    from datasets import Features, Image

    features = dict(open_split(data, split).features)
    del features["image"], features["has_image"]
    return Features(features | ({"image": Image()} if images else {}))


def _rows(data: Path, split: str, *, images: bool) -> Iterator[tuple[dict[str, Any], tuple[str, bytes] | None]]:
    """Each row without its image, and that image's name and bytes."""
    table, folder, num = open_split(data, split), image_folder(data), 0
    for batch in table.with_format(None).iter(batch_size=_ROWS):
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            name, there = row.pop("image"), row.pop("has_image")
            row["id"] = _key(row["id"], split, num)
            num += 1
            if not images or not there:
                yield row, None
                continue
            try:
                yield row, (name, read_file(image_file(folder, name)))
            except (OSError, ValueError) as error:
                raise MMTError(
                    f"{folder / name}: cannot be read ({error}). Bring it back, or write the text alone with "
                    "--no-images."
                ) from None


def _key(row_id: str, split: str, number: int) -> str:
    """The id of a row, unique among those of all splits, without what ends a key.

    Always with the split in front, and with another mark after it where the number replaces the id: otherwise
    ``5`` and ``train-5``, or ``00000001`` and the second row's ``a.b``, would become the same.
    """
    return f"{split}-{row_id}" if re.fullmatch(r"[\w-]+", row_id) else f"{split}_{number:08d}"


class _Tar:
    """Writes rows into one tar."""

    def __init__(self, stream: Any) -> None:
        self._archive = tarfile.open(fileobj=stream, mode="w")  # noqa: SIM115  # closed below

    def write(self, row: dict[str, Any], image: tuple[str, bytes] | None) -> None:
        files = {}
        if image is not None:
            suffix = Path(image[0]).suffix.lower()
            if suffix not in IMAGE_SUFFIXES:
                raise MMTError(
                    f"image '{image[0]}': expected a name that ends in {', '.join(IMAGE_SUFFIXES)}, by which "
                    "readers of tars know an image. Use --format parquet."
                )
            files[suffix.removeprefix(".")] = image[1]
            row = row | {"image": image[0]}
        webdataset.write_sample(
            self._archive, row["id"], files | {"json": json.dumps(row, ensure_ascii=False).encode()}
        )

    def close(self) -> None:
        self._archive.close()


class _Table:
    """Writes rows into one Parquet file. ``features``: of the columns, as ``datasets`` calls their types."""

    def __init__(self, stream: Any, features: Any) -> None:
        import pyarrow.parquet

        self._schema, self._has_images = features.arrow_schema, "image" in features
        self._writer = pyarrow.parquet.ParquetWriter(stream, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any], image: tuple[str, bytes] | None) -> None:
        cell = {"image": {"bytes": image[1], "path": image[0]} if image else None} if self._has_images else {}
        self._rows.append(row | cell)
        if len(self._rows) >= (_GROUP if self._has_images else _TEXTS):
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _write_split(
    system: Any, start: str, rows: Iterator[tuple[dict[str, Any], tuple[str, bytes] | None]], kind: str,
    features: Any, most: int,
) -> int:  # fmt: skip
    """Writes files of about ``most`` bytes of content, and returns their number."""
    count = 0
    while (first := next(rows, None)) is not None:
        suffix = "tar" if kind == "webdataset" else "parquet"
        with system.open(f"{start}-{count:05d}.{suffix}", "wb") as stream:
            writer = _Tar(stream) if kind == "webdataset" else _Table(stream, features)
            size = 0
            for row, image in itertools.chain([first], rows):
                writer.write(row, image)
                size += len(image[1]) if image is not None else len(row["source"]) + len(row["target"])
                if size >= most:
                    break
            writer.close()
        count += 1
    return count


if __name__ == "__main__":
    main(prog_name="python -m data_prep.export")
