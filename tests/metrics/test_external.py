"""Neural metrics: our side with a stand-in for COMET's Python, and COMET itself where its environment exists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmt.cli.main import main
from mmt.errors import MMTError
from mmt.metrics.external import NeuralMetric, creation_command, environment
from mmt.metrics.significance import FEWEST_SENTENCES

SOURCES = [f"A dog runs {n} times." for n in range(FEWEST_SENTENCES)]
REFERENCES = [f"Ein Hund rennt {n} Mal schnell weg." for n in range(FEWEST_SENTENCES)]
GOOD = [f"Ein Hund rennt {n} Mal." for n in range(FEWEST_SENTENCES)]
BAD = [f"Die Katze {n}" for n in range(FEWEST_SENTENCES)]

# COMET's Python: scores by the number of words, so that every input is seen.
STAND_IN = """#!{python}
import json, os, sys
assert sys.argv[1] == "-I" and sys.argv[2].endswith("comet_runner.py")
request = json.load(open(sys.argv[3]))
json.dump([request, dict(os.environ)], open({seen!r}, "w"))
scores = [[len(h.split()) / 10 + len(s.split()) / 1000 for h, s in zip(hypotheses, request["sources"])]
          for hypotheses in request["systems"]]
result = {{"version": "2.2.7", "references": not request["reference_free"], "scores": scores}}
{change}
json.dump(result, open(sys.argv[4], "w"))
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes an environment; its Python runs a line of code before it writes the result."""

    def make(change: str = "") -> Path:
        python = tmp_path / "environment" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        seen = tmp_path / "seen.json"
        python.write_text(STAND_IN.format(python=sys.executable, seen=str(seen), change=change))
        python.chmod(0o755)
        monkeypatch.setenv("MMT_COMET", str(tmp_path / "environment"))
        return seen

    return make


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "tiny" / "checkpoints").mkdir(parents=True)
    (tmp_path / "tiny" / "checkpoints" / "model.ckpt").write_bytes(b"weights")
    return tmp_path / "tiny"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    monkeypatch.setenv("COLUMNS", "100")
    for name, lines in (("src", SOURCES), ("ref", REFERENCES), ("good", GOOD), ("bad", BAD)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(*arguments: object) -> tuple[int, str, str]:
        files = {name: str(tmp_path / name) for name in ("src", "ref", "good", "bad")}
        words = [files.get(str(word), str(word)) for word in arguments]
        try:
            main(["score", "--lang", "de", *words], prog_name="mmt")
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


def test_scores_signature_and_differences(
    stand_in: Callable[[str], Path], checkpoint: Path, run: Callable[..., Any]
) -> None:
    seen = stand_in("")
    common = ("--ref", "ref", "--source", "src", "good", "bad", "--metric")
    status, out, complaint = run(*common, f"comet:{checkpoint}", "--format", "json")
    assert status == 0, complaint
    good, bad = json.loads(out)["systems"]
    assert good["scores"]["comet:tiny"]["value"] == pytest.approx(100 * (0.5 + 0.005))
    assert bad["scores"]["comet:tiny"]["value"] == pytest.approx(100 * (0.3 + 0.005))
    signature = good["scores"]["comet:tiny"]["signature"]
    assert signature.startswith("comet|refs:1|model:tiny|checkpoint:")
    assert "|version:2.2.7|" in signature
    assert bad["differences"]["comet:tiny"]["value"] == pytest.approx(-20)
    assert bad["differences"]["comet:tiny"]["p_value"] == pytest.approx(1 / 1001)
    assert good["differences"] == {}
    assert "bleu" in good["scores"]
    request, variables = json.loads(seen.read_text())
    assert (request["systems"], request["references"], request["sources"]) == ([GOOD, BAD], REFERENCES, SOURCES)
    assert request["checkpoint"] == str(checkpoint / "checkpoints" / "model.ckpt")
    assert variables["HF_HUB_OFFLINE"] == "1"
    status, out, _ = run(*common, "cometkiwi:wmt22-cometkiwi-da", "--bootstrap", "0")
    assert status == 0
    assert "CometKiwi" in out
    assert "cometkiwi|refs:0|model:wmt22-cometkiwi-da|version:2.2.7" in out
    request, variables = json.loads(seen.read_text())
    assert (request["checkpoint"], request["model"]) == (None, "Unbabel/wmt22-cometkiwi-da")
    assert variables.get("HF_HUB_OFFLINE") == os.environ.get("HF_HUB_OFFLINE")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sys.exit('no such model')", "failed: no such model. If its environment"),
        ("raise RuntimeError('boom')", "failed: RuntimeError: boom"),
        ("os.kill(os.getpid(), 9)", "failed: exit status -9"),
        ("sys.exit(0)", "failed: exit status 0"),
        ("result['scores'][1].pop()", "expected a number for each translation"),
        ("result['scores'][0][3] = float('nan')", "expected a number for each translation"),
        ("result['scores'][0][3] = 'good'", "expected a number for each translation"),
        ("del result['scores']", "expected a number for each translation"),
        ("result = []", "expected a JSON object"),
    ],
)
def test_failures(change: str, message: str, stand_in: Callable[[str], Path], checkpoint: Path) -> None:
    stand_in(change)
    with pytest.raises(MMTError, match=message):
        NeuralMetric.parse(f"comet:{checkpoint}").run([GOOD, BAD], REFERENCES, SOURCES)


def test_a_missing_environment_says_how_to_create_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any], checkpoint: Path
) -> None:
    monkeypatch.delenv("MMT_COMET", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert environment() == tmp_path / "cache" / "mmt" / "comet"
    status, _, complaint = run("--ref", "ref", "--source", "src", "good", "--metric", f"comet:{checkpoint}")
    assert status == 2
    assert f"-m venv {environment()} && {environment()}/bin/pip install unbabel-comet==2.2.7" in complaint
    assert creation_command() in complaint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source", "src", "--metric", "bleurt:x"), "expected comet:CHECKPOINT_OR_NAME or cometkiwi:"),
        (("--source", "src", "--metric", "comet:"), "expected comet:CHECKPOINT_OR_NAME"),
        (("--source", "src", "--metric", "comet:/nowhere/model.ckpt"), "no such checkpoint"),
        (("--metric", "comet:x"), "Name their file with --source"),
        (("--source", "good", "--metric", "comet:x", "--tokenized"), "expected raw text"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[str, ...], message: str, run: Callable[..., Any], stand_in: Callable[[str], Path]
) -> None:
    stand_in("")
    status, _, complaint = run("--ref", "ref", "good", *arguments)
    assert status == 2
    assert message in complaint


def test_sources_must_match(run: Callable[..., Any], stand_in: Callable[[str], Path], tmp_path: Path) -> None:
    stand_in("")
    (tmp_path / "short").write_text("A dog.\n")
    status, _, complaint = run("--ref", "ref", "good", "--source", tmp_path / "short", "--metric", "comet:x")
    assert status == 2
    assert "has 1 lines and" in complaint


@pytest.mark.skipif(
    not (environment() / "bin" / "python").is_file(), reason=f"no environment of COMET: {creation_command()}"
)
@pytest.mark.parametrize("kind", ["comet", "cometkiwi"])
def test_comet_itself(kind: str, tmp_path: Path) -> None:
    folder, rows, scores = tmp_path / "tiny", tmp_path / "rows.json", tmp_path / "scores.json"
    pairs = zip(SOURCES, GOOD, REFERENCES, strict=True)
    rows.write_text(json.dumps([{"src": s, "mt": m, "ref": r} for s, m, r in pairs]))
    script = Path(__file__).with_name("comet_checkpoint.py")
    python = environment() / "bin" / "python"
    subprocess.run([python, "-I", script, folder, kind, rows, scores], check=True, capture_output=True)
    found, signature = NeuralMetric.parse(f"{kind}:{folder}").run([GOOD, BAD], REFERENCES, SOURCES)
    assert found[0] == pytest.approx(json.loads(scores.read_text()), abs=1e-5)
    assert found[1] != pytest.approx(found[0], abs=1e-3)
    assert signature.startswith(f"{kind}|refs:{int(kind == 'comet')}|model:tiny|checkpoint:")
    if kind == "comet":
        with pytest.raises(MMTError, match="this model needs references"):
            NeuralMetric.parse(f"cometkiwi:{folder}").run([GOOD], REFERENCES, SOURCES)
