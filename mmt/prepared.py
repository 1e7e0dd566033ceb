"""The prepared data set: one folder, written by ``data_prep/``, read by everything else.

``FOLDER/`` is a ``datasets.DatasetDict`` on disk (Arrow, one split a set) with the columns
``id, image, source, target, has_image`` (more may follow), and ``dataset.json`` beside it: languages, image
folder, and for each split its counts and checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmt.errors import MMTError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("id", "image", "source", "target", "has_image")
_INFO_FILE = "dataset.json"


@dataclass(frozen=True)
class SplitInfo:
    """Counts of one split; ``checksum`` is the SHA-256 over its rows, so that equal data has an equal sum."""

    sentences: int
    images_found: int
    images_missing: int
    checksum: str


@dataclass(frozen=True)
class DatasetInfo:
    """What a prepared data set says of itself.

    ``images`` is the image folder: relative to the data set's folder when it lies inside it (the folder can
    then be moved), absolute otherwise.
    """

    name: str
    source_lang: str
    target_lang: str
    images: str
    splits: dict[str, SplitInfo] = field(default_factory=dict)


def write_dataset(
    folder: Path, info: DatasetInfo, splits: Mapping[str, Sequence[Mapping[str, Any]]]
) -> DatasetInfo:
    """Writes a prepared data set beside ``folder``, then renames it into place.

    Args:
        folder: where it goes; an older prepared data set there is replaced, anything else is refused.
            A folder that already holds only the image folder named by ``info.images`` keeps it.
        info: names and languages; its ``splits`` are filled in here.
        splits: rows of each split, with at least the columns of ``COLUMNS``; ``image`` is the image's file
            name in the image folder, or "" for a sentence that never had one.
    Returns:
        ``info`` with the counts and checksums of what was written.
    Raises:
        MMTError: a split is empty, a column is missing, or an id stands twice.
    """
    from datasets import Dataset, DatasetDict, disable_progress_bars

    counted = {name: _count(name, rows) for name, rows in splits.items()}
    info = DatasetInfo(info.name, info.source_lang, info.target_lang, info.images, counted)
    inside = folder / info.images if info.images and not os.path.isabs(info.images) else None
    foreign = _foreign(folder, inside)
    if foreign:
        raise MMTError(
            f"{folder}: expected a new folder or a prepared data set, found '{foreign}' in it. "
            "Name another folder, or remove this one yourself."
        )
    disable_progress_bars()
    beside = folder.with_name(folder.name + ".writing")
    shutil.rmtree(beside, ignore_errors=True)
    tables = {name: Dataset.from_list([dict(row) for row in rows]) for name, rows in splits.items()}
    DatasetDict(tables).save_to_disk(str(beside))
    (beside / _INFO_FILE).write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    if inside is not None and inside.is_dir():
        inside.rename(beside / info.images)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)
    return info


def read_info(folder: Path) -> DatasetInfo:
    """Reads ``dataset.json``. Raises MMTError where ``folder`` is no prepared data set."""
    path = folder / _INFO_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["splits"] = {name: SplitInfo(**split) for name, split in raw["splits"].items()}
        return DatasetInfo(**raw)
    except FileNotFoundError:
        raise MMTError(
            f"{folder}: expected a prepared data set, found no {_INFO_FILE}. "
            "Make one with python -m data_prep.multi30k or python -m data_prep.pictures."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise MMTError(f"{path}: not a data set description ({error}). Prepare the data again.") from None


def image_folder(folder: Path, info: DatasetInfo | None = None) -> Path:
    """The image folder of the prepared data set in ``folder``."""
    return folder / (info or read_info(folder)).images  # an absolute path replaces the folder


def read_split(folder: Path, split: str) -> Dataset:
    """Memory-maps one split. Raises MMTError with the nearest name where there is no such split."""
    from datasets import load_from_disk

    info = read_info(folder)
    if split not in info.splits:
        raise MMTError(
            f"{folder}: no split '{split}'; it has {', '.join(info.splits)}.{nearest(split, info.splits)}"
        )
    try:
        return load_from_disk(str(folder / split))
    except (OSError, ValueError) as error:
        raise MMTError(f"{folder / split}: cannot be read ({error}). Prepare the data again.") from None


def print_splits(info: DatasetInfo) -> None:
    """Prints the table of splits: sentences, images found and missing, checksum."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{info.name} ({info.source_lang}-{info.target_lang})", title_justify="left")
    table.add_column("split")
    for column in ("sentences", "images found", "images missing"):
        table.add_column(column, justify="right")
    table.add_column("checksum")
    for name, split in info.splits.items():
        numbers = (split.sentences, split.images_found, split.images_missing)
        table.add_row(name, *(f"{number:,}" for number in numbers), split.checksum[:12])
    Console().print(table)


def _count(split: str, rows: Sequence[Mapping[str, Any]]) -> SplitInfo:
    if not rows:
        raise MMTError(f"split '{split}': expected sentences, found none. Check the input files.")
    digest = hashlib.sha256()
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        missing = [column for column in COLUMNS if column not in row]
        if missing:
            raise MMTError(f"split '{split}' row {number}: no column {', '.join(missing)}.")
        first = seen.setdefault(row["id"], number)
        if first != number:
            raise MMTError(
                f"split '{split}': the id '{row['id']}' stands in rows {first} and {number}. Ids must be unique."
            )
        digest.update(json.dumps([row[c] for c in COLUMNS], ensure_ascii=False).encode())
    found = sum(bool(row["has_image"]) for row in rows)
    return SplitInfo(len(rows), found, len(rows) - found, digest.hexdigest())


def _foreign(folder: Path, inside: Path | None) -> str:
    """Names something in ``folder`` that this module did not put there, or returns an empty string."""
    if not folder.exists() or (folder / _INFO_FILE).is_file():
        return ""
    return next((p.name for p in sorted(folder.iterdir()) if p != inside), "")
