"""Laws of the scripts in recipes/, with stand-ins for the commands that they run."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


def run(script: str, folder: Path, command: str = 'echo "$@"') -> subprocess.CompletedProcess[str]:
    """What the script does with ``folder / "multi30k"``; every command only prints its arguments, or does this."""
    for name, does in (("mmt", command), ("python", command), ("sacremoses", "cat")):
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / "bin" / name).chmod(0o755)
    (folder / "multi30k" / "tok").mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [RECIPES / script, folder / "out"],
        env=os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "MULTI30K": str(folder / "multi30k")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def commands(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The commands that printed their arguments."""
    kinds = ("prepare", "train", "export", "evaluate", "-m")
    return [line for line in done.stdout.splitlines() if line.split()[0] in kinds]


@pytest.mark.parametrize(
    ("script", "fails"),
    [
        ("speedrun.sh", "prepare translated"),
        ("small_model.sh", "prepare translated"),
        ("colours.sh", "prepare translated"),
        ("data_diversification.sh", "prepare translated"),
        ("french.sh", "prepare translated"),
        ("many.sh", "train runs/multi30k_many_fr"),
    ],
)
def test_a_script_resumes_at_the_step_that_failed(tmp_path: Path, script: str, fails: str) -> None:
    for name in ("tok/train.en", "tok/val.en", "tok/test_2016_flickr.en"):
        (tmp_path / "multi30k" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "multi30k" / name).write_text("a dog .\n")
    for name in ("train", "val", "test_2016_flickr"):
        (tmp_path / "multi30k" / "raw").mkdir(exist_ok=True)
        (tmp_path / "multi30k" / "raw" / f"{name}.cs.gz").write_bytes(gzip.compress(b"Pes.\n"))
    failed = run(script, tmp_path, f'case "$*" in *"{fails}"*) exit 7;; esac; echo "$@"')
    resumed = run(script, tmp_path)
    assert (failed.returncode, resumed.returncode) == (7, 0), resumed.stderr
    assert commands(resumed)[0].startswith(fails)
    once = commands(failed) + commands(resumed)
    assert len(once) == len(set(once)) > 5
    assert commands(run(script, tmp_path)) == []  # all is done
    assert all(Path(word).is_file() for line in once for word in line.split() if word.endswith(".yaml"))


@pytest.mark.parametrize("name", ["val.en", "val.en.gz"])
def test_the_small_model_is_timed_on_plain_or_compressed_sentences(tmp_path: Path, name: str) -> None:
    (tmp_path / "multi30k" / "tok").mkdir(parents=True)
    (tmp_path / "multi30k" / "tok" / name).touch()
    done = run("small_model.sh", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"/tok/{name} --precision") == 3


def test_the_small_model_without_sentences_is_refused_before_the_first_step(tmp_path: Path) -> None:
    done = run("small_model.sh", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "val.en: expected this file or" in done.stderr
