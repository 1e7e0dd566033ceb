"""The documentation site, apart from its build (``make docs``): pages and settings are complete."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mmt.experiments.config import CompareConfig
from mmt.experiments.leaderboard_config import DatasetEntry, LeaderboardConfig, SystemEntry
from mmt.experiments.tuning_config import Range, TuningConfig
from mmt.training.config import TrainConfig

DOCS = Path(__file__).parents[2] / "docs"
sys.path.append(str(DOCS / "_extensions"))

from settings_reference import settings  # noqa: E402

from tests.cli.interface import keys  # noqa: E402

KINDS = (TrainConfig, CompareConfig, TuningConfig, Range, LeaderboardConfig, SystemEntry, DatasetEntry)


def test_the_reference_of_settings_has_every_key_with_its_default() -> None:
    for kind in KINDS:
        described = {key.replace("[]", "") for key, *_ in settings(kind)}
        assert {line.split()[0].replace("[]", "") for line in keys(kind)} <= described
    found = {key: (what, default) for key, what, default, _ in settings(TrainConfig)}
    assert found["optimizer.lr"] == ("number, above 0, at most 100", "0.005")
    assert found["regime.patience"] == ("integer, at least 1, at most 1,000,000,000 or null", "10")
    assert found["data.path"] == ("path or null", "null")


def test_every_setting_is_explained() -> None:
    for kind in KINDS:
        assert [key for key, what, _, text in settings(kind) if not text and what != "section"] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = set()
    for block in re.findall(r"```\{toctree\}(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL):
        listed |= {line for line in block.split("\n") if line and not line.startswith((":", "{"))}
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    assert pages - {"index"} == listed
