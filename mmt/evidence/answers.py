"""Translations made elsewhere: the system ``files:DIR``, which answers what a plan asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmt.errors import MMTError
from mmt.evidence.plan import PLAN, ROWS_JSONL, ROWS_TSV, TARGETS, Part, Plan, check_plan, one_line
from mmt.evidence.systems import Progress
from mmt.io.atomic import is_temporary
from mmt.io.normalization import is_blank
from mmt.io.text_files import parse_json, read_lines

_NOT_ANSWERS = {PLAN, ROWS_TSV, ROWS_JSONL, TARGETS}
_LOG_PROBS = ("log_prob", "log_prob_contrast")


@dataclass(frozen=True)
class Answers:
    """What a file says of a part.

    log_probs: of each of the part's targets, the mean log-probability of a token of each row, in nats; empty if
        the file has none.
    """

    part: Part
    translations: list[str]
    log_probs: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class AnswersSystem:
    """A system of which only its answers are known: by the name of the part of the plan."""

    folder: Path
    answers: dict[str, Answers]

    @property
    def uses_images(self) -> bool:
        return "right" in self.answers

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        shown = [None] * len(sentences) if images is None else list(images)
        for one in self.answers.values():
            if one.part.images == shown and one.part.sources == list(sentences):
                if progress is not None:
                    progress(len(sentences))
                return one.translations
        raise MMTError(f"{self.folder}: has no answers for these sentences with these images. Write a new plan.")

    def answers_pairs(self, name: str) -> bool:
        """Whether it translates the contrastive pairs called ``name``."""
        return f"{name}.blank" in self.answers and (not self.uses_images or f"{name}.right" in self.answers)

    def scores_pairs(self, name: str) -> bool:
        """Whether it also knows how probable both translations of each pair are."""
        own = [one for key, one in self.answers.items() if key.startswith(f"{name}.")]
        return self.answers_pairs(name) and all(one.log_probs for one in own)

    def describe(self) -> dict[str, Any]:
        return {"answers": self.folder.resolve().name, "parts": list(self.answers)}


@dataclass(frozen=True)
class ScoredAnswersSystem(AnswersSystem):
    """A system whose answers have the log-probabilities of the references, too."""

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        """Known are the scores of the plan's targets alone."""
        shown = [None] * len(sentences) if images is None else images
        if progress is not None:
            progress(len(sentences))
        try:
            return [self._known[key] for key in zip(sentences, shown, targets, strict=True)]
        except KeyError as missing:
            source, image, target = missing.args[0]
            raise MMTError(
                f"{self.folder}: no log-probability of {target!r} for {source!r} with "
                f"{'no image' if image is None else image}. Write a new plan."
            ) from None

    @property
    def _known(self) -> dict[tuple[str, str | None, str], float]:
        known: dict[tuple[str, str | None, str], float] = {}
        for one in self.answers.values():
            part = one.part
            for place, values in enumerate(one.log_probs):
                for source, image, targets, value in zip(
                    part.sources, part.images, part.targets, values, strict=True
                ):
                    known.setdefault((source, image, targets[place]), value)
        return known


def open_files(folder: Path, plan: Plan) -> AnswersSystem:
    """Reads the answers in a folder, which also has the plan that they answer.

    ``PART.SUFFIX`` has the answers of a part: JSON lines (``.jsonl``) or a table (``.tsv``) with ``id`` and
    ``translation`` of each row, in the plan's order; any other suffix is text, one translation a line. A
    text-only system answers the part ``blank`` alone. JSON lines and tables may have ``log_prob``, the mean
    log-probability of a token of the reference, and for contrastive pairs ``log_prob_contrast``, that of the
    incorrect translation.

    Raises:
        MMTError: the plan is another one; a file is missing, in excess, twice there or not UTF-8; or its rows are
            not the plan's: missing, extra, reordered, duplicated, of another seed or image.
    """
    parts = check_plan(folder, plan)
    files = _files(folder, [part.name for part in parts])
    answers = {part.name: _read(files[part.name], part) for part in parts if part.name in files}
    controls = [part.name for part in parts if "." not in part.name or part.name.startswith("wrong.")]
    if missing := [name for name in controls if name not in answers]:
        if set(controls) - set(missing) != {"blank"}:
            raise MMTError(
                f"{folder}: expected answers to every part, such as {missing[0]}.txt; found none to "
                f"{', '.join(missing)}. (A text-only system answers blank alone.)"
            )
        answers = {name: one for name, one in answers.items() if name.endswith("blank")}
    own = [answers[name] for name in controls if name in answers]
    if partly := [one.part.name for one in own if bool(one.log_probs) != bool(own[0].log_probs)]:
        raise MMTError(
            f"{folder}: expected log_prob in all parts or in none; {own[0].part.name} and {partly[0]} differ."
        )
    return (ScoredAnswersSystem if own[0].log_probs else AnswersSystem)(folder, answers)


def _files(folder: Path, names: list[str]) -> dict[str, Path]:
    """The file of each part that has one."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name in _NOT_ANSWERS or is_temporary(path.name) or path.name.startswith(".") or path.is_dir():
            continue
        name = next((name for name in names if path.name.startswith(f"{name}.")), None)
        if name is None:
            raise MMTError(
                f"{path}: answers to no part of the plan, which has {', '.join(names)}. Remove it, or write a new "
                "plan."
            )
        if name in found:
            raise MMTError(f"{folder}: expected one file of {name}, found {found[name].name} and {path.name}.")
        found[name] = path
    return found


def _read(path: Path, part: Part) -> Answers:
    suffix = next((s for s in (".jsonl", ".tsv") if path.name.removesuffix(".gz").endswith(s)), "")
    lines = read_lines(path)
    if not suffix:
        _check_number(len(lines), path, part)
        return Answers(part, lines)
    rows = list((_json_rows if suffix == ".jsonl" else _table_rows)(lines, path))
    _check_ids([row.get("id") for _, row in rows], [number for number, _ in rows], path, part)
    translations, log_probs = [], []
    for (number, row), planned in zip(rows, part.rows(), strict=True):
        where = f"{path}: line {number}"
        for name in ("part", "seed", "source", "image"):
            if name in row and one_line(row[name]) != one_line(planned[name]):
                raise MMTError(
                    f"{where}: expected the {name} {planned[name]!r}, found {row[name]!r}. "
                    "Translate the plan again."
                )
        if not isinstance(row.get("translation"), str):
            raise MMTError(f"{where}: expected a text 'translation', found {row.get('translation')!r}.")
        text = row["translation"]
        translations.append("" if is_blank(text) else one_line(text))
        log_probs.append([_log_prob(row[name], where) for name in _LOG_PROBS if row.get(name) not in (None, "")])
    num = len(log_probs[0])
    if odd := next((row for row, values in enumerate(log_probs) if len(values) != num), 0) or (
        num and num != len(part.targets[0])
    ):
        raise MMTError(
            f"{path}: expected {' and '.join(_LOG_PROBS[: len(part.targets[0])])} in every row or in none; "
            f"row {odd + 1} differs."
        )
    return Answers(part, translations, [list(column) for column in zip(*log_probs, strict=True)])


def _log_prob(value: object, where: str) -> float:
    try:
        number = float(str(value))
        if not math.isfinite(number) or number > 0:
            raise ValueError
    except ValueError:
        raise MMTError(f"{where}: expected a log-probability, 0 or less, found {value!r}.") from None
    return number


def _json_rows(lines: list[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError("no object")
        except ValueError as error:
            raise MMTError(f"{path}: line {number}: expected a JSON object ({error}).") from None
        yield number, row


def _table_rows(lines: list[str], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    names = lines[0].split("\t")
    if not {"id", "translation"} <= set(names):
        raise MMTError(
            f"{path}: line 1: expected column names, id and translation among them, found {lines[0]!r}."
        )
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        cells += [""] * (len(names) - len(cells))  # the white space at a line's end is gone
        if len(cells) != len(names):
            raise MMTError(f"{path}: line {number}: expected {len(names)} columns, found {len(cells)}.")
        yield number, dict(zip(names, cells, strict=True))


def _check_ids(ids: list[Any], numbers: list[int], path: Path, part: Part) -> None:
    seen: dict[str, int] = {}
    planned = Counter(part.ids)
    for given, number in zip(ids, numbers, strict=True):
        if not isinstance(given, str) or given not in planned:
            raise MMTError(f"{path}: line {number}: the id {given!r} is not in the plan.")
        if given in seen and planned[given] == 1:
            raise MMTError(f"{path}: line {number}: the id '{given}' was in line {seen[given]}, too.")
        seen[given] = number
    if missing := next((one for one in part.ids if one not in seen), None):
        raise MMTError(
            f"{path}: no answer to the id '{missing}'; {len(ids):,} of {len(part.ids):,} rows are there."
        )
    _check_number(len(ids), path, part)
    for expected, given, number in zip(part.ids, ids, numbers, strict=True):
        if expected != given:
            raise MMTError(
                f"{path}: line {number}: expected the id '{expected}', found '{given}'. Write the rows in the "
                "plan's order."
            )


def _check_number(num: int, path: Path, part: Part) -> None:
    if num != len(part.ids):
        raise MMTError(
            f"{path}: expected {len(part.ids):,} answers, one for each row of the plan's part '{part.name}', "
            f"found {num:,}."
        )
