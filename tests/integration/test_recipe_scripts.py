"""Laws of the scripts in recipes/, with stand-ins for the commands that they run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


def small_model(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    """What the script does with these files of Multi30K's text; every command only prints its arguments."""
    for name in ("mmt", "python"):
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text('#!/bin/sh\necho "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    for name in names:
        (folder / "multi30k" / "tok" / name).touch()
    return subprocess.run(
        [RECIPES / "small_model.sh", folder / "out"],
        env=os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "MULTI30K": str(folder / "multi30k")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["val.en", "val.en.gz"])
def test_the_small_model_is_timed_on_plain_or_compressed_sentences(tmp_path: Path, name: str) -> None:
    (tmp_path / "multi30k" / "tok").mkdir(parents=True)
    done = small_model(tmp_path, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"/tok/{name} --precision") == 3


def test_the_small_model_without_sentences_is_refused_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "multi30k" / "tok").mkdir(parents=True)
    done = small_model(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "val.en: expected this file or" in done.stderr
