"""Labels and scores of the sentences of a prepared dataset, for training and validation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmt.data.batch import Example
from mmt.data.dataset import read_split
from mmt.errors import MMTError, nearest
from mmt.io.normalization import normalize


def label_names(folder: Path, split: str, column: str, at_most: int | None) -> list[str]:
    """The labels of a split, the most frequent first, equally frequent ones in alphabetical order.

    Args:
        column: the column with the labels; an empty one means no label.
        at_most: how many of the most frequent labels to keep; None keeps all.
    Raises:
        MMTError: no such column, or it has fewer than two labels.
    """
    counts = Counter(label for label in read_labels(folder, split, column) if label)
    if len(counts) < 2:
        raise MMTError(
            f"{folder}: expected labels of two kinds or more in the column '{column}' of '{split}', found "
            f"{list(counts)}. Name another with data.label."
        )
    return [label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))][:at_most]


def with_labels(
    examples: Sequence[Example],
    folder: Path,
    split: str,
    *,
    label: str | None,
    names: Sequence[str],
    rare_ones_left_out: bool,
    score: str | None,
) -> list[Example]:
    """The split's examples, in order, with their labels and scores.

    Args:
        label, score: the columns with them; None for none.
        names: the labels that the model knows; an example's class is the index of its label.
        rare_ones_left_out: whether ``names`` is a selection, so that other labels are expected.
    Raises:
        MMTError: no such column, a label that is not in ``names``, or a score that is not a number.
    """
    numbers = {normalize(name): number for number, name in enumerate(names)}
    kinds: dict[str, type[str] | type[float]] = {} if label is None else {label: str}
    columns = read_columns(folder, split, kinds if score is None else {**kinds, score: float})
    if label is not None:
        labels = [normalize(one) for one in columns[label]]
        unknown = next((row for row, name in enumerate(labels) if name and name not in numbers), None)
        if unknown is not None and not rare_ones_left_out:
            raise MMTError(
                f"{folder}: {split} row {unknown + 1}: the label '{labels[unknown]}' is not among the training "
                f"split's: {', '.join(list(names)[:20])}.{nearest(labels[unknown], names)} Correct it, or set "
                "data.num_labels, with which others count as wrong."
            )
        examples = [replace(e, label=numbers.get(name, -1)) for e, name in zip(examples, labels, strict=True)]
    if score is not None:
        examples = [replace(e, score=value) for e, value in zip(examples, columns[score], strict=True)]
    return list(examples)


def read_labels(folder: Path, split: str, column: str) -> list[str]:
    """The labels in a column, normalised (``mmt.io.normalization``). Raises MMTError as ``read_columns``."""
    return [normalize(label) for label in read_column(folder, split, column, str)]


def read_column(folder: Path, split: str, column: str, kind: type[str] | type[float]) -> list[Any]:
    """Reads one column, see ``read_columns``."""
    return read_columns(folder, split, {column: kind})[column]


def read_columns(folder: Path, split: str, kinds: Mapping[str, type[str] | type[float]]) -> dict[str, list[Any]]:
    """Reads columns of text (``str``) and of finite numbers (``float``), the split once.

    Raises:
        MMTError: a column is missing, or holds something else.
    """
    if not kinds:
        return {}
    rows = read_split(folder, split)
    columns = {}
    for column, kind in kinds.items():
        if column not in rows.column_names:
            raise MMTError(
                f"{folder}: no column '{column}' in '{split}'; it has {', '.join(rows.column_names)}."
                f"{nearest(column, rows.column_names)}"
            )
        columns[column] = list(rows[column])
        for number, value in enumerate(columns[column], 1):
            good = (
                isinstance(value, str) if kind is str else isinstance(value, int | float) and math.isfinite(value)
            )
            if not good:
                wanted = "text" if kind is str else "a finite number"
                raise MMTError(
                    f"{folder}: {split} row {number}: expected {wanted} in '{column}', found {value!r}."
                )
    return columns
