"""Groups of photographs in ``eval.probes``: do the masked words of each come back?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from mmt.errors import MMTError
from mmt.io.tables import print_table

SAMPLES = 4000
INTERVAL = f"95 % interval of the bootstrap over sentences (percentiles of {SAMPLES:,} samples)"

Members = dict[str, NDArray[np.bool_]]
"""(sentences,) of each group: whether its image belongs there."""


def read_groups(given: Sequence[str], images: Sequence[str]) -> Members:
    """Reads ``NAME=WHERE``: WHERE is a folder of image files, or a text file of image names, one a line.

    Args:
        images: the image of each sentence. Those in no group form the group ``others``.
    Raises:
        MMTError: no name, a name given twice, nothing there, or a group without any of the images.
    """
    members: Members = {}
    for text in given:
        name, _, where = text.partition("=")
        if not name or not where or name in {*members, "others"}:
            raise MMTError(f"--group {text}: expected NAME=FOLDER or NAME=FILE, a new NAME, and not 'others'.")
        names = _names(Path(where), text)
        members[name] = np.array([image in names for image in images])
        if not members[name].any():
            raise MMTError(f"--group {text}: expected images of the split, such as {images[0]}, found none.")
    if members and not (others := ~np.any(list(members.values()), axis=0)).all() and others.any():
        members["others"] = others
    return members


def _names(where: Path, text: str) -> frozenset[str]:
    if where.is_dir():
        return frozenset(path.name for path in where.iterdir())
    try:
        return frozenset(where.read_text(encoding="utf-8").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise MMTError(f"--group {text}: expected a folder, or a file of image names ({error}).") from None


def group_scores(
    hits: Mapping[str, NDArray[Any]], items: NDArray[np.int_], members: Members, seed: int
) -> dict[str, Any]:
    """Of each group the accuracies, and how far the right image is ahead, with an interval.

    Args:
        hits: (sentences with a masked word,) of each system: restored words, the mean over seeds and draws.
        items: (sentences with a masked word,): how many there are.
        members: (sentences with a masked word,) of each group.
        seed: of the bootstrap.
    Returns:
        By group ``items``, ``sentences_with_items``, ``accuracy`` of each system, and ``right_minus`` text-only
        and wrong images: difference, low and high; the last two are None for a single sentence. All are shares.
    """
    groups = {}
    for name, chosen in members.items():
        count = items[chosen]
        groups[name] = {
            "sentences_with_items": len(count),
            "items": int(count.sum()),
            "accuracy": {system: _share(of[chosen], count) for system, of in hits.items()},
            "right_minus": {
                other: _interval(hits["right"][chosen] - hits[other][chosen], count, seed)
                for other in ("text_only", "wrong")
            },
        }
    return groups


def _share(hits: NDArray[Any], items: NDArray[Any], axis: int = -1) -> Any:
    total = items.sum(axis)
    return hits.sum(axis) / np.maximum(total, 1)


def _interval(difference: NDArray[Any], items: NDArray[Any], seed: int) -> dict[str, float | None]:
    low = high = None
    if len(items) > 1:
        found = bootstrap(
            (difference, items),
            _share,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=SAMPLES,
            rng=np.random.default_rng(seed),
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    return {"difference": float(_share(difference, items)), "low": low, "high": high}


def print_groups(groups: Mapping[str, Any], kind: str) -> None:
    """Prints a row for each group."""
    rows = [
        [
            name,
            f"{group['items']:,}",
            *(f"{100 * group['accuracy'][system]:.1f}" for system in ("text_only", "right", "wrong")),
            *(_difference(group["right_minus"][other]) for other in ("text_only", "wrong")),
        ]
        for name, group in groups.items()
    ]
    headings = ["images", "words", "text only", "right", "wrong", "right - text only", "right - wrong"]
    print_table(headings, rows, title=f"{kind} accuracy % by images; {INTERVAL}")


def _difference(one: Mapping[str, float | None]) -> str:
    whole = f"{100 * (one['difference'] or 0):+.1f}"
    if one["low"] is None or one["high"] is None:
        return whole
    return f"{whole} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
