"""What systems answer under controls, computed by several workers of an engine, and read by their driver."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmt.errors import MMTError
from mmt.evidence.systems import Progress, System, scorer
from mmt.io.atomic import write_whole
from mmt.io.shards import Shard
from mmt.io.text_files import parse_json

_PLAN = "plan.json"


class SharedCalls:
    """A folder with the result of each call of a system, which all workers see.

    Each translation or scoring of all sentences under one control is a call. A worker computes the calls of its
    shard, and takes blanks for the others. The driver reads the results, and computes what is missing.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        """
        Args:
            shard: of a worker; None is the driver.
        """
        self._folder, self._shard = folder, shard
        self._count = 0

    def claim(self, plan: dict[str, Any]) -> None:
        """Notes what is evaluated. Raises MMTError where the folder holds calls of another evaluation."""
        path = self._folder / _PLAN
        now = json.loads(json.dumps(plan, default=str))
        if path.exists():
            before = parse_json(path.read_bytes())
            changed = [key for key in now if before.get(key) != now[key]]
            if changed:
                raise MMTError(
                    f"{self._folder}: holds answers of another evaluation, with other {changed[0]}. Finish that, "
                    "or remove the folder."
                )
        write_whole(path, json.dumps(now, indent=1) + "\n")

    def of(self, name: str, system: System) -> SharedSystem:
        """A system, whose calls are shared."""
        return SharedSystem(name, system, self)

    def result(self, key: Sequence[Any], blank: list[Any], work: Callable[[], list[Any]]) -> list[Any]:
        """The result of a call.

        Args:
            key: what it is given (JSON).
            blank: what a worker takes for the result of another one's call.
        """
        number, self._count = self._count, self._count + 1
        if self._shard is not None and not self._shard.has(number):
            return blank
        path = self._folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"
        if path.exists():
            try:
                stored: list[Any] = parse_json(path.read_bytes())
            except (OSError, ValueError) as error:
                raise MMTError(f"{path}: damaged ({error}). Remove it, and rerun the command.") from None
            return stored
        result = work()
        write_whole(path, json.dumps(result) + "\n")
        return result


class SharedSystem:
    """Implements ``ScoringSystem`` of ``mmt.evidence.systems``."""

    def __init__(self, name: str, system: System, calls: SharedCalls) -> None:
        self._name, self._system, self._calls = name, system, calls

    @property
    def uses_images(self) -> bool:
        return self._system.uses_images

    @property
    def can_score(self) -> bool:
        return scorer(self._system) is not None

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        key = [self._name, "translate", sentences, images]
        return self._calls.result(
            key, [""] * len(sentences), lambda: self._system.translate(sentences, images, progress)
        )

    def score(
        self,
        sentences: Sequence[str],
        images: Sequence[str | None] | None,
        targets: Sequence[str],
        progress: Progress | None = None,
    ) -> list[float]:
        able = scorer(self._system)
        assert able is not None  # noqa: S101  # can_score says so
        key = [self._name, "score", sentences, images, targets]
        return self._calls.result(
            key, [0.0] * len(sentences), lambda: able.score(sentences, images, targets, progress)
        )
