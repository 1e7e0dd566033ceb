"""The three kinds of comparison, by their configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmt.experiments.leaderboard_config import is_leaderboard
from mmt.experiments.tuning_config import is_tuning

Kind = Literal["trainings", "tuning", "leaderboard"]


def kind_of(config_file: Path) -> Kind:
    """
    Raises:
        MMTError: no such file, not YAML, or keys of two kinds.
    """
    if is_leaderboard(config_file):
        return "leaderboard"
    return "tuning" if is_tuning(config_file) else "trainings"
