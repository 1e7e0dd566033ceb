"""Laws of shared evidence: what workers answered is what one process answers, and it is computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmt.errors import MMTError
from mmt.evidence.collect import Inputs, answer, collect, identity
from mmt.evidence.findings import Evidence
from mmt.evidence.models import ModelSystem
from mmt.evidence.shared import SharedCalls
from mmt.io.shards import Shard


def figures(evidence: Evidence) -> dict[str, Any]:
    """All that does not depend on the time."""
    found = {name: value for name, value in vars(evidence).items() if name != "settings"}
    return {name: repr(value) for name, value in found.items()}


def test_evidence_of_workers_is_that_of_one_process(
    shown: Path, ignoring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs({"model": ignoring}, shown / "data", "test", (shown / "features",), draws=2, gallery=3)
    alone = figures(collect(inputs)[0])
    calls: list[str] = []
    for name in ("translate", "score"):
        work = getattr(ModelSystem, name)

        def counted(*given: Any, _work: Any = work, _name: str = name) -> Any:
            calls.append(_name)
            return _work(*given)

        monkeypatch.setattr(ModelSystem, name, counted)
    for number in (2, 0, 1):
        answer(replace(inputs, calls=SharedCalls(tmp_path / "calls", Shard(number, 3))))
    assert sorted(calls) == ["score"] * 4 + ["translate"] * 4, "right, blank and two wrong draws, each once"
    calls.clear()
    assert figures(collect(replace(inputs, calls=SharedCalls(tmp_path / "calls")))[0]) == alone
    assert calls == [], "the driver computes nothing again"


def test_the_driver_computes_what_is_missing(shown: Path, ignoring: Path, tmp_path: Path) -> None:
    inputs = Inputs({"model": ignoring}, shown / "data", "test", (shown / "features",), draws=1, gallery=3)
    answer(replace(inputs, calls=SharedCalls(tmp_path / "calls", Shard(1, 2))))
    shared = figures(collect(replace(inputs, calls=SharedCalls(tmp_path / "calls")))[0])
    assert shared == figures(collect(inputs)[0])


def test_calls_of_another_evaluation_are_refused(shown: Path, ignoring: Path, tmp_path: Path) -> None:
    inputs = Inputs({"model": ignoring}, shown / "data", "test", (shown / "features",), draws=2)
    SharedCalls(tmp_path / "calls").claim(identity(inputs))
    SharedCalls(tmp_path / "calls").claim(identity(inputs))
    with pytest.raises(MMTError, match="holds answers of another evaluation, with other settings"):
        SharedCalls(tmp_path / "calls").claim(identity(replace(inputs, draws=3)))
