"""Systems whose answers are stored, so that an interrupted evaluation resumes and computes nothing twice.

``StoredSystem`` stands for a system of any kind, and opens it only for what is not stored yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from mmt.errors import MMTError
from mmt.evidence.systems import Progress, System, describe, has_text_base, scorer, tokens_of
from mmt.io.atomic import write_whole
from mmt.io.text_files import parse_json

_FACTS = "system.json"


class FailedSystemError(MMTError):
    """A system that cannot be evaluated, by its name, with the reason."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class StoredSystem:
    """Implements ``System`` and ``ScoringSystem`` of ``mmt.evidence.systems`` for any system that they describe.

    ``folder`` has ``system.json``, which says what the system can do, and one file for each call of ``translate``
    and ``score``, named by a checksum of all that the call was given. Files appear whole or not at all. The caller
    names another folder for what would answer otherwise: a retrained model, another prompt.
    """

    def __init__(self, name: str, folder: Path, opening: Callable[[], AbstractContextManager[System]]) -> None:
        """
        Args:
            name: of the system, in ``FailedSystemError``.
            folder: where the answers are stored.
            opening: opens the system; called when something is not stored.
        """
        self.name, self.folder = name, folder
        self._opening, self._system, self._stack = opening, None, ExitStack()
        self._first: dict[str, Any] = {}  # what it said when it was opened
        self._before: dict[str, Any] = {}  # and before this call
        self._facts: dict[str, Any] | None = None

    _system: System | None

    @property
    def uses_images(self) -> bool:
        return bool(self._known["uses_images"])

    @property
    def can_score(self) -> bool:
        return bool(self._known["can_score"])

    @property
    def blank_is_text_only(self) -> bool:
        return bool(self._known["blank_is_text_only"])

    @property
    def tokens(self) -> str | None:
        tokens: str | None = self._known["tokens"]
        return tokens

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        """As the system translates. Raises FailedSystemError where it raises MMTError."""
        return self._call("translate", (sentences, images), lambda one: one.translate(sentences, images, progress))

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        """As the system scores. Raises FailedSystemError where it raises MMTError."""

        def work(one: System) -> list[float]:
            able = scorer(one)
            assert able is not None  # noqa: S101  # can_score says so
            return able.score(sentences, images, targets, progress)

        return self._call("score", (sentences, images, targets), work)

    def describe(self) -> dict[str, Any]:
        """What the system says about itself. What it counts, such as cleaned answers, is of all stored calls."""
        about: dict[str, Any] = self._known["about"]
        for path in sorted(self.folder.glob("*-*.json")):
            about = _sum(about, self._read(path)["counted"])
        return about

    def release(self) -> None:
        """Closes the system if it is open; a later call opens it again."""
        self._stack.close()
        self._system = None

    @property
    def _known(self) -> dict[str, Any]:
        if self._facts is None:
            path = self.folder / _FACTS
            if path.exists():
                self._facts = self._read(path)
            else:
                self._open()
        assert self._facts is not None  # noqa: S101  # _open() sets it
        return self._facts

    def _open(self) -> System:
        if self._system is None:
            try:
                self._system = self._stack.enter_context(self._opening())
                self._before = describe(self._system)
            except MMTError as error:
                raise FailedSystemError(self.name, str(error)) from error
            self._first = self._before
            self._facts = {
                "uses_images": self._system.uses_images,
                "can_score": scorer(self._system) is not None,
                "blank_is_text_only": has_text_base(self._system),
                "tokens": tokens_of(self._system),
                "about": self._before,
            }
            self._write(self.folder / _FACTS, self._facts)
        return self._system

    def _call(self, kind: str, given: Sequence[Any], work: Callable[[System], list[Any]]) -> list[Any]:
        key = hashlib.sha256(json.dumps(given).encode()).hexdigest()[:32]
        path = self.folder / f"{kind}-{key}.json"
        if path.exists():
            stored: list[Any] = self._read(path)["result"]
            return stored
        system = self._open()
        try:
            result = work(system)
        except MMTError as error:
            raise FailedSystemError(self.name, str(error)) from error
        after = describe(system)
        self._write(path, {"result": result, "counted": _grown(self._before, after)})
        self._before = after
        if (about := _uncounted(after, self._first)) != self._known["about"]:  # such as which model answered
            self._known["about"] = about
            self._write(self.folder / _FACTS, self._known)
        return result

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            read: dict[str, Any] = parse_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise MMTError(f"{path}: damaged ({error}). Remove it, and rerun the command.") from None
        return read

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, ensure_ascii=False, default=str) + "\n")


def _grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """By how much each whole number of ``after``, nested ones too, is above that of ``before``."""
    grown: dict[str, Any] = {}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, Mapping):
            inner = _grown(old if isinstance(old, Mapping) else {}, value)
            grown |= {key: inner} if inner else {}
        elif type(value) is int and value > (old or 0):
            grown[key] = value - (old or 0)
    return grown


def _uncounted(about: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """``about`` with the whole numbers of ``first``, 0 where it has none."""
    told: dict[str, Any] = {}
    for key, value in about.items():
        old = first.get(key)
        if isinstance(value, Mapping):
            told[key] = _uncounted(value, old if isinstance(old, Mapping) else {})
        else:
            told[key] = (old or 0) if type(value) is int else value
    return told


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """``one`` with the numbers of ``other`` added, nested ones too."""
    total = dict(one)
    for key, value in other.items():
        old = total.get(key)
        total[key] = _sum(old or {}, value) if isinstance(value, Mapping) else (old or 0) + value
    return total
