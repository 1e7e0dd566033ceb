"""The benchmark for a GPU, as far as a CPU can run it: every section works, and nothing is recorded unmeasured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.bench import gpu
from eval.bench.gpu_sides import Sides

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": sys.executable}


def test_every_section_works(tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "eval/bench/gpu.sh"), "out.json", "--tiny"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["skipped"] == {}, found
    assert list(found["sections"]) == list(gpu.sections())
    assert (found["tiny"], found["fairseq2n"]) == (True, "loaded")
    for section in found["sections"].values():
        assert len(section["ratios"]) >= 3
        assert section["ratios"][0] - 0.001 <= section["ours_vs_plain"] <= section["ratios"][-1] + 0.001


def test_training_is_measured_where_fairseq2n_does_not_load(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['fairseq2n'] = None\n"
        "from eval.bench.gpu import main\n"
        "main([sys.argv[1], '--tiny', '--only', 'training_float32'])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert "fairseq2n" in found["fairseq2n"]
    assert list(found["sections"]) == ["training_float32"]


def test_sections_that_cannot_be_measured_leave_a_line_and_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = []

    def missing(device: str, tiny: bool) -> Sides:
        raise ModuleNotFoundError("No module named 'transformers'")

    def broken(device: str, tiny: bool) -> Sides:
        return Sides(lambda: None, lambda: 1 / 0, 1, "turns", {}, lambda: closed.append(1))

    def works(device: str, tiny: bool) -> Sides:
        return Sides(lambda: None, lambda: None, 1, "turns", {})

    monkeypatch.setattr(gpu, "sections", lambda: {"missing": missing, "broken": broken, "works": works})
    gpu.run(tmp_path / "out.json", "cpu", True, 1.0, ())
    found = json.loads((tmp_path / "out.json").read_text())
    assert list(found["sections"]) == ["works"]
    assert found["skipped"] == {
        "missing": "ModuleNotFoundError: No module named 'transformers'",
        "broken": "ZeroDivisionError: division by zero",
    }
    assert closed == [1]
    assert "missing: skipped, ModuleNotFoundError" in capsys.readouterr().out
    gpu.run(tmp_path / "late.json", "cpu", True, 0.0, ())
    late = json.loads((tmp_path / "late.json").read_text())
    assert late["sections"] == {}
    assert set(late["skipped"].values()) == {"TimeoutError: no time left"}
