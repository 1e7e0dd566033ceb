"""``mmt score``: files in, a table or JSON out, and one line for what is wrong with them."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmt.cli.main import main
from mmt.metrics.significance import paired_bootstrap
from mmt.metrics.translation import corpus_scores, tokenize_as_papers

Run = Callable[..., tuple[int, str, str]]
REFERENCES = [f"Der {i}. Hund von {i * i} Hunden läuft über die Straße Nummer {i}, schön." for i in range(40)]


def _damaged(seed: int, share: float = 0.2) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(word for word in s.split() if draw.random() > share) for s in REFERENCES]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in 80 columns; returns its exit status, what it printed, and its complaints."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            main(["score", *map(str, arguments)], prog_name="mmt")
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A reference, two systems, and one of them once more, packed."""
    for name, lines in (("ref.de", REFERENCES), ("one.de", _damaged(1)), ("two.de", _damaged(2, 0.3))):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "two.de.gz").write_bytes(gzip.compress((tmp_path / "two.de").read_bytes()))
    return tmp_path


def _json(run: Run, *arguments: object) -> dict[str, Any]:
    status, out, complaint = run(*arguments, "--format", "json")
    assert status == 0, complaint
    result: dict[str, Any] = json.loads(out)
    return result


def test_json_has_every_score_difference_and_signature(files: Path, run: Run) -> None:
    names = [files / "one.de", files / "two.de"]
    result = _json(run, "--ref", files / "ref.de", *names, "--lang", "de", "--bootstrap", 50, "--seed", 3)
    assert [system["sentences"] for system in result["systems"]] == [len(REFERENCES)] * 2
    assert result["baseline"] == str(names[0])
    assert [system["name"] for system in result["systems"]] == list(map(str, names))
    one, two = _damaged(1), _damaged(2, 0.3)
    for system, lines in zip(result["systems"], (one, two), strict=True):
        expected = corpus_scores(lines, REFERENCES, target_lang="de")
        assert system["scores"] == {key: vars(score) for key, score in expected.items()}
    (differences,) = paired_bootstrap(one, [two], REFERENCES, target_lang="de", samples=50, seed=3)
    assert result["systems"][0]["differences"] == {}
    assert result["systems"][1]["differences"] == {key: vars(value) for key, value in differences.items()}


def test_the_table_shows_what_json_holds_in_eighty_columns(files: Path, run: Run) -> None:
    long = files / "a_long_folder_name_for_a_system" / "[bold]beam5" / "test_2016_flickr.hyp.de"
    long.parent.mkdir(parents=True)
    long.write_bytes((files / "two.de").read_bytes())
    arguments = ("--ref", files / "ref.de", files / "one.de", long, "--lang", "de", "--bootstrap", 50)
    status, out, _ = run(*arguments)
    assert status == 0
    table, signatures = out.split("Signatures:\n")
    assert max(map(len, table.splitlines())) <= 80
    first, second = _json(run, *arguments)["systems"]
    for key in ("bleu", "chrf", "ter", "bleu_lc_tok"):
        assert f"{first['scores'][key]['value']:.2f}" in table
        assert f"{second['scores'][key]['value']:.2f}" in table
        assert f"{second['differences'][key]['value']:+.2f}" in table
        assert f"p {second['differences'][key]['p_value']:.3f}" in table
        assert second["differences"][key]["signature"] in map(str.strip, signatures.splitlines())
    assert "not sacreBLEU" in signatures
    folded = "".join(re.findall(r"^│ (\S+) +│", table, re.MULTILINE))
    assert str(long.relative_to(files)) in folded  # what the two do not share; brackets not taken for markup


def test_the_table_names_a_system_by_what_tells_it_from_the_others(files: Path, run: Run) -> None:
    names = []
    for system in ("none", "gated"):
        path = files / "runs" / system / "out" / "test.hyp.de"
        path.parent.mkdir(parents=True)
        path.write_bytes((files / "two.de").read_bytes())
        names.append(path)
    shown = {}
    for count in (1, 2):
        _, out, _ = run("--ref", files / "ref.de", *names[:count], "--bootstrap", 0)
        shown[count] = "".join(re.findall(r"^│ (\S+) +│", out, re.MULTILINE))
    assert shown == {1: str(names[0]), 2: "nonegated"}
    result = _json(run, "--ref", files / "ref.de", *names, "--bootstrap", 0)
    assert [system["name"] for system in result["systems"]] == list(map(str, names))
    _, out, _ = run("--ref", files / "ref.de", names[0], names[0], "--bootstrap", 0)
    assert "".join(re.findall(r"^│ (\S+) +│", out, re.MULTILINE)) == 2 * str(names[0])


def test_packed_and_plain_files_score_alike(files: Path, run: Run) -> None:
    result = _json(run, "--ref", files / "ref.de", files / "two.de", files / "two.de.gz", "--bootstrap", 20)
    plain, packed = result["systems"]
    assert plain["scores"] == packed["scores"]
    assert {d["p_value"] for d in packed["differences"].values()} == {1.0}


def test_one_system_has_no_comparison_and_no_language_no_papers_bleu(files: Path, run: Run) -> None:
    status, out, _ = run("--ref", files / "ref.de", files / "one.de")
    assert status == 0
    assert "bootstrap" not in out
    assert "lc-tok" not in out
    assert "--lang" in out
    result = _json(run, "--ref", files / "ref.de", files / "one.de", files / "two.de", "--bootstrap", 0)
    assert [system["differences"] for system in result["systems"]] == [{}, {}]


def _escaped(line: str) -> str:
    return line.replace("&", "&amp;").replace("'", "&apos;").replace('"', "&quot;")


@pytest.fixture
def french(files: Path) -> Path:
    """Raw, tokenised and escaped references and hypotheses."""
    references = [f"L'homme n° {i} s'assoit sur \"l'herbe\", loin d'ici." for i in range(40)]
    draw = random.Random(7)
    hypotheses = [" ".join(word for word in line.split() if draw.random() > 0.2) for line in references]
    for side, lines in (("ref", references), ("hyp", hypotheses)):
        tokens = tokenize_as_papers(lines, "fr")
        for name, text in (("raw", lines), ("tok", tokens), ("esc", [_escaped(line) for line in tokens])):
            (files / f"{side}.{name}").write_text("\n".join(text) + "\n", encoding="utf-8")
    return files


@pytest.mark.parametrize("reference", ["raw", "tok", "esc"])
def test_papers_bleu_does_not_hang_on_which_file_is_tokenised_or_escaped(
    french: Path, run: Run, reference: str
) -> None:
    files = [french / f"hyp.{name}" for name in ("raw", "tok", "esc")]
    raw = _json(run, "--ref", french / "ref.raw", files[0], "--lang", "fr")["systems"][0]
    expected = raw["scores"]["bleu_lc_tok"]["value"]
    assert 20 < expected < 90
    assert (raw["tokenized"], list(raw["omitted"])) == ("", [])
    systems = _json(run, "--ref", french / f"ref.{reference}", *files, "--lang", "fr", "--bootstrap", 5)["systems"]
    for system in systems:
        assert system["scores"]["bleu_lc_tok"]["value"] == pytest.approx(expected)
        assert list(system["omitted"]) == ["bleu"]
        assert "hyp.raw" in system["tokenized"].partition("tokenised for this")[2]
        assert system["differences"].get("bleu_lc_tok", {"value": 0})["value"] == 0


def test_tokenised_text_needs_no_language_unless_other_text_must_be_tokenised(french: Path, run: Run) -> None:
    status, out, _ = run("--ref", french / "ref.esc", french / "hyp.tok")
    assert status == 0
    assert "BLEU is omitted: the text is tokenised" in out
    for lang in ((), ("--lang", "tr")):
        status, _, complaint = run("--ref", french / "ref.esc", french / "hyp.raw", *lang)
        assert (status, complaint.count("\n")) == (2, 1)
        assert "ref.esc is tokenised text" in complaint
        assert "hyp.raw is not" in complaint
    assert run("--ref", french / "ref.esc", french / "hyp.raw", "--tokenized")[0] == 0
    assert "bleu" in _json(run, "--ref", french / "ref.tok", french / "hyp.tok", "--raw")["systems"][0]["scores"]


@pytest.mark.parametrize("lang", ["tr", "ar", "uk", "ja", "ko", "zh", "th", "xx", "pt-BR", "zh_TW"])
def test_every_language_has_scores_and_a_reason_for_those_it_lacks(files: Path, run: Run, lang: str) -> None:
    arguments = ("--ref", files / "ref.de", files / "one.de", files / "two.de", "--lang", lang, "--bootstrap", 2)
    status, out, _ = run(*arguments)
    assert status == 0
    assert "chrF2" in out
    for system in _json(run, *arguments)["systems"]:
        assert {*system["scores"], *system["omitted"]} == {"bleu", "chrf", "ter", "bleu_lc_tok"}
        assert out.count("omitted: ") == len(system["omitted"])


def test_few_sentences_have_differences_but_no_p(files: Path, run: Run) -> None:
    for name in ("ref.de", "one.de", "two.de"):
        lines = (files / name).read_text().split("\n")[:5]
        (files / name).write_text("\n".join(lines))
    status, out, _ = run("--ref", files / "ref.de", files / "one.de", files / "two.de")
    assert status == 0
    assert "No p value: 5 sentences" in out
    assert not re.search(r"p \d", out.split("Signatures")[0].split("Below")[0])


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("one.de", b"a\nb\n", ["one.de has 2 lines", "ref.de has 40"]),
        ("ref.de", b"a\nb\n", ["one.de has 40 lines", "ref.de has 2"]),
        ("one.de", b"", ["one.de", "empty"]),
        ("ref.de", b"\n\n", ["ref.de", "all of its 2 lines are blank"]),
        ("one.de", b"gut\nsch\xf6n\n", ["one.de: line 2, byte 4", "UTF-8"]),
        ("ref.de", b"a\n\nb\n", ["ref.de: line 2 is blank"]),
        ("one.de", None, ["one.de: no such file"]),
    ],
)
def test_bad_files_are_one_line_and_exit_two(
    files: Path, run: Run, name: str, raw: bytes | None, said: list[str]
) -> None:
    (files / name).unlink() if raw is None else (files / name).write_bytes(raw)
    status, out, complaint = run("--ref", files / "ref.de", files / "one.de", "--lang", "de")
    assert status == 2
    assert out == ""
    assert complaint.count("\n") == 1
    for part in said:
        assert part in complaint


def test_bad_options_exit_two(files: Path, run: Run) -> None:
    good = ["--ref", files / "ref.de", files / "one.de"]
    for arguments in (
        good[:2],
        good[2:],
        [*good, "--seed", 0],
        [*good, "--bootstrap", -1],
        [*good, "--lang", "german"],
    ):
        assert run(*arguments)[0] == 2


def test_it_runs_as_a_module(files: Path) -> None:
    command = [sys.executable, "-m", "eval.score", "--ref", str(files / "ref.de")]
    root = Path(__file__).parents[2]
    done = subprocess.run([*command, files / "ref.de"], capture_output=True, text=True, check=True, cwd=root)
    assert "100.00" in done.stdout
    bad = subprocess.run([*command, files / "nope"], capture_output=True, text=True, check=False, cwd=root)
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)
