"""The distribution's name, version and supported Pythons, wherever they are written."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import mmt
from mmt.io.versions import versions

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEXTS = [
    path
    for part in ("*.md", "docs/*.md", "recipes/*.md", ".github/**/*", "mmt/**/*.py", "recipes/*.py",
                 "data_prep/**/*.py", "eval/**/*.py", "Makefile", "pyproject.toml", "CITATION.cff")
    for path in sorted(ROOT.glob(part))
    if path.is_file()
]  # fmt: skip


def test_nothing_installs_somebody_elses_mmt() -> None:
    """`mmt` on the package index is not this project."""
    install = re.compile(r"(?:pip3?|uv|pipx)(?: pip)? (?:install|add)\b[^\n`]*")
    wrong = re.compile(r"(?<![\w./-])mmt(?![\w/-])")
    commands = {command for path in TEXTS for command in install.findall(path.read_text(encoding="utf-8"))}
    assert any("mmt-toolkit[train]" in command for command in commands)
    assert [command for command in commands if wrong.search(command)] == []


def test_the_version_is_written_once() -> None:
    assert "version" in PROJECT["dynamic"]
    assert versions("torch")["mmt"] == mmt.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    release = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", changelog, re.MULTILINE)
    assert release is not None
    assert release[1] == mmt.__version__


def test_supported_pythons_agree() -> None:
    listed = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    lowest, highest = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()  # type: ignore[union-attr]
    assert listed == [f"3.{minor}" for minor in range(int(lowest), int(highest))]
    assert f"3.{sys.version_info.minor}" in listed
