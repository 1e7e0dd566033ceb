"""What was prepared, as a table."""

from __future__ import annotations

from mmt.data.dataset import DatasetInfo
from mmt.io.tables import print_table


def print_splits(info: DatasetInfo) -> None:
    """Prints the table of splits: sentences, images found and missing, checksum."""
    rows = []
    for name, split in info.splits.items():
        numbers = (split.sentences, split.images_found, split.images_missing)
        rows.append([name, *(f"{number:,}" for number in numbers), split.checksum[:12]])
    columns = ("split", "sentences", "images found", "images missing", "checksum")
    print_table(columns, rows, title=f"{info.name} ({info.source_lang}-{info.target_lang})")
