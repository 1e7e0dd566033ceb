"""A neural metric whose scores are stored, so that no translation is scored twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmt.io.atomic import write_whole
from mmt.io.text_files import parse_json
from mmt.metrics.external import NeuralMetric


@dataclass(frozen=True)
class StoredMetric:
    """``metric``, with the scores of each source, translation and reference in a file of ``folder``."""

    metric: NeuralMetric
    folder: Path

    @property
    def label(self) -> str:
        return self.metric.label

    @property
    def reads_references(self) -> bool:
        return self.metric.reads_references

    def check(self) -> Path:
        return self.metric.check()

    def run(
        self, systems: Sequence[Sequence[str]], references: Sequence[str], sources: Sequence[str]
    ) -> tuple[list[list[float]], str]:
        """As ``NeuralMetric.run``, which gets only what is not stored."""
        keys = [
            [_key(*row) for row in zip(sources, hypotheses, references, strict=True)] for hypotheses in systems
        ]
        path = self.folder / f"{self.metric.kind}-{_key(self.metric.place)}.json"
        stored: dict[str, Any] = (
            parse_json(path.read_bytes()) if path.exists() else {"signature": "", "scores": {}}
        )
        known: dict[str, float] = stored["scores"]
        todo = {
            key: (hypothesis, reference, source)
            for of_system, hypotheses in zip(keys, systems, strict=True)
            for key, hypothesis, reference, source in zip(of_system, hypotheses, references, sources, strict=True)
            if key not in known
        }
        if todo:
            hypotheses, references_left, sources_left = zip(*todo.values(), strict=True)
            (scores,), signature = self.metric.run([hypotheses], references_left, sources_left)
            if signature != stored["signature"]:  # of another checkpoint or version, whose scores do not mix
                if known:
                    path.unlink()
                    return self.run(systems, references, sources)
                stored["signature"] = signature
            known |= dict(zip(todo, scores, strict=True))
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(stored) + "\n")
        return [[known[key] for key in of_system] for of_system in keys], stored["signature"]


def _key(*texts: str) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:32]
