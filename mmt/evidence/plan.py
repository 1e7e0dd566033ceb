"""The plan of an evaluation: which sentence is translated with which image, so that any system can be run.

``mmt evidence --plan DIR`` writes it; ``mmt.evidence.answers`` reads what a system made of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmt.errors import MMTError, unreadable
from mmt.evidence.sentences import Sentences
from mmt.io.atomic import write_together
from mmt.io.text_files import parse_json

PLAN, ROWS_TSV, ROWS_JSONL, TARGETS = "plan.json", "plan.tsv", "plan.jsonl", "targets.jsonl"
_FORMAT = 1
_COLUMNS = ("part", "id", "seed", "source", "image")
_ABOUT = ("data", "languages", "split", "seed", "draws")


@dataclass(frozen=True)
class Part:
    """Sentences that are translated in one go.

    name: ``right``, ``blank``, ``wrong.1`` and so on for each draw; of contrastive pairs ``contrastive.right``,
        ``contrastive.blank``, ``commute.right`` and ``commute.blank``.
    images: the image of each sentence, by name; None throughout for a part without images.
    targets: what a system that scores is asked for: the reference, if there is one, or the correct and the
        incorrect translation.
    seed: of a draw of wrong images.
    """

    name: str
    ids: list[str]
    sources: list[str]
    images: list[str | None]
    targets: list[tuple[str, ...]]
    seed: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"part": self.name, "id": row, "seed": self.seed, "source": source, "image": image}
            for row, source, image in zip(self.ids, self.sources, self.images, strict=True)
        ]

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of the rows."""
        return hashlib.sha256(json.dumps(self.rows()).encode()).hexdigest()


@dataclass(frozen=True)
class Pairs:
    """Contrastive pairs by ``name``; targets are the correct and the incorrect translation."""

    name: str
    ids: list[str]
    sources: list[str]
    images: list[str]
    targets: list[tuple[str, ...]]


@dataclass(frozen=True)
class Plan:
    """All parts, and what they were made of: data, languages, split, seed and number of draws."""

    about: dict[str, Any]
    parts: list[Part]

    def to_dict(self) -> dict[str, Any]:
        parts = {
            part.name: {"rows": len(part.ids), "seed": part.seed, "sha256": part.checksum} for part in self.parts
        }
        return {"format": _FORMAT, **self.about, "parts": parts}


def make_plan(
    about: dict[str, Any], sentences: Sentences, draws: Sequence[Sequence[str]], seed: int, pairs: Sequence[Pairs]
) -> Plan:
    """The plan of the sentences with their own images, with each draw of wrong ones, and without."""
    ids, sources = sentences.ids, sentences.sources
    references: list[tuple[str, ...]] = [()] * len(ids)
    if sentences.has_references:
        references = [(reference,) for reference in sentences.references]
    blank: list[str | None] = [None] * len(ids)
    parts = [Part("right", ids, sources, [*sentences.images], references)]
    parts += [
        Part(f"wrong.{number}", ids, sources, [*images], references, seed + number - 1)
        for number, images in enumerate(draws, 1)
    ]
    parts.append(Part("blank", ids, sources, blank, references))
    for one in pairs:
        none: list[str | None] = [None] * len(one.ids)
        parts.append(Part(f"{one.name}.right", one.ids, one.sources, [*one.images], one.targets))
        parts.append(Part(f"{one.name}.blank", one.ids, one.sources, none, one.targets))
    return Plan({**about, "seed": seed, "draws": len(draws)}, parts)


def write_plan(plan: Plan, folder: Path, images: dict[str, str]) -> None:
    """Writes ``plan.json``, the inputs as ``plan.tsv`` and ``plan.jsonl``, and ``targets.jsonl`` for scoring.

    Args:
        images: where images lie, by the beginning of their names.
    Raises:
        MMTError: the folder cannot be written.
    """
    rows = [row for part in plan.parts for row in part.rows()]
    table = ["\t".join(_COLUMNS), *("\t".join(one_line(row[name]) for name in _COLUMNS) for row in rows)]
    targets = [
        {"part": part.name, "id": row, "targets": list(of_row)}
        for part in plan.parts
        for row, of_row in zip(part.ids, part.targets, strict=True)
    ]
    write_together(
        {
            folder / ROWS_TSV: "".join(f"{line}\n" for line in table),
            folder / ROWS_JSONL: _json_lines(rows),
            folder / TARGETS: _json_lines(targets),
            folder / PLAN: json.dumps({**plan.to_dict(), "images": images}, indent=1, ensure_ascii=False) + "\n",
        }
    )


def one_line(value: object) -> str:
    """A cell of a table: white space of any kind is a space."""
    return "" if value is None else " ".join(str(value).split())


def _json_lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def check_plan(folder: Path, plan: Plan) -> list[Part]:
    """The parts of ``plan`` that were planned in ``folder``, too.

    Raises:
        MMTError: no plan there, or one of other sentences, images, seeds or draws.
    """
    path = folder / PLAN
    try:
        theirs = parse_json(path.read_text(encoding="utf-8"))
        parts = {name: (about["rows"], about["sha256"]) for name, about in theirs["parts"].items()}
        told = {name: theirs[name] for name in ("format", *_ABOUT)}
    except (FileNotFoundError, NotADirectoryError):
        raise MMTError(
            f"{folder}: no {PLAN}, which tells what was translated. mmt evidence --plan {folder} writes it; its "
            "answers belong beside it."
        ) from None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Write the plan again.") from None
    ours = {"format": _FORMAT, **plan.about}
    remedy = "Evaluate with the settings of the plan, or write a new plan and translate that."
    for name in ("format", *_ABOUT):
        if told[name] != ours[name]:
            raise MMTError(f"{path}: expected {name} {ours[name]}, found {told[name]}. {remedy}")
    known = []
    for part in plan.parts:
        if part.name not in parts:
            if "." in part.name and not part.name.startswith("wrong."):
                continue  # contrastive pairs that were not planned are left out
            raise MMTError(f"{path}: no part '{part.name}'. {remedy}")
        rows, checksum = parts[part.name]
        if rows != len(part.ids):
            raise MMTError(
                f"{path}: part '{part.name}': expected {len(part.ids):,} rows, found {rows:,}. {remedy}"
            )
        if checksum != part.checksum:
            raise MMTError(f"{path}: part '{part.name}': other sentences or images than here. {remedy}")
        known.append(part)
    return known
