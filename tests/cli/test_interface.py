"""What users can name does not change unnoticed."""

from __future__ import annotations

import difflib
from pathlib import Path

from tests.cli.interface import interface

FROZEN = Path(__file__).with_name("interface.txt")


def test_options_and_yaml_keys_are_as_committed() -> None:
    """For an intended change: ``python -m tests.cli.interface > tests/cli/interface.txt``, and CHANGELOG.md."""
    frozen, now = FROZEN.read_text(encoding="utf-8").splitlines(), interface().splitlines()
    assert list(difflib.unified_diff(frozen, now, "committed", "now", lineterm="", n=0)) == []
