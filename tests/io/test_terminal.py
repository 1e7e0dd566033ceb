"""What commands print is whole: in any encoding, at any width, whatever names hold."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import mmt.cli.main
from mmt.cli.main import main
from mmt.experiments.table import Row, table_of
from mmt.io.tables import print_table
from mmt.io.terminal import counted, print_note
from mmt.metrics.significance import Spread
from tests.commands import commands_of, scripts

ROWS = [
    ["text only", "43.9 ± 1.2", "", "83.1"],
    ["gated (pool of regions)", "99.9 ± 0.1", "1.2e-05", "98.9 ± 0.3"],
]
COLUMNS = ["system", "right choice %, right image", "p, text only", "BLEU, right image"]


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS, title="[red]tiny[/red] :dog: test")
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20])
def test_numbers_stay_whole_at_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = printed(capsys, monkeypatch, width)
    for number in ("43.9 ± 1.2", "99.9 ± 0.1", "1.2e-05", "98.9 ± 0.3", "83.1"):
        assert number in text
    assert "…" not in text
    if width >= 40:
        assert max(map(len, text.splitlines())) <= width
    words = re.sub(r"[^\w%]+", " ", text)
    assert all(word in words for name in COLUMNS[1:] for word in re.findall(r"\w+", name))


def test_names_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "[red]tiny[/red] :dog: test" in printed(capsys, monkeypatch, 80)
    names = ["[red]x.de", "[bold]y.de", ":dog:.de"]
    for name in (*names, "ref"):
        (tmp_path / name).write_text("Ein Hund.\nEine Katze.\n")
    given = ["score", "--ref", tmp_path / "ref", "--bootstrap", 0, *(tmp_path / name for name in names)]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(main, [*map(str, given)])
    assert done.exit_code == 0, done.output
    assert all(name in done.stdout for name in names)


def test_a_comparison_keeps_its_p_values_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = Spread.of([43.21, 44.56])
    scores = {"right choice %": {"right": spread, "wrong": spread, "blank": spread}, "BLEU": {"right": spread}}
    rows = [
        Row("gated", "pool", [1, 2], 1_000_000, 3_000.0, [4, 4], scores, p_text_only=0.0012345, p_wrong=0.01),
    ]  # type: ignore[list-item]
    columns, lines = table_of(rows)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(columns, lines)
    assert "0.0012" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_encoding_of_the_terminal_will_do(encoding: str, tmp_path: Path) -> None:
    name = "Übung–日本.de"
    for file in (name, "b.de", "ref.de"):
        (tmp_path / file).write_text("Ein Hund geht über die Brücke.\nZwei Katzen.\n")
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    command = [sys.executable, "-m", "mmt.cli", "score", "--ref", "ref.de", "--lang", "de", "--bootstrap", "10"]
    for form in ("table", "json"):
        done = subprocess.run(
            [*command, "--format", form, name, "b.de"], cwd=tmp_path, env=environment, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        text = done.stdout.decode(encoding)
        assert "100.0" in text
        assert "TER ?" not in text
        if form == "json":
            assert json.loads(text)["baseline"] == name


def test_a_note_never_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_note("to people")
    assert capsys.readouterr() == ("", "to people\n")
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it where it is closed
    print_note("to nobody")
    assert capsys.readouterr().out == ""


def test_a_name_that_is_no_text_is_printed(tmp_path: Path) -> None:
    """Linux allows any bytes in a name."""
    name = os.fsencode(tmp_path) + b"/\xff\xfe.de"
    for path in (name, os.fsencode(tmp_path / "ref")):
        with open(path, "wb") as stream:
            stream.write(b"Ein Hund.\n")
    command = [sys.executable, "-m", "mmt.cli", "score", "--ref", str(tmp_path / "ref"), name]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert b"??.de" in done.stdout


@pytest.mark.parametrize(("count", "said"), [(0, "0 queries"), (1, "1 query"), (2_000, "2,000 queries")])
def test_one_of_a_thing_is_singular(count: int, said: str) -> None:
    assert counted(count, "query", "queries") == said


COMMANDS = [(module, leaf) for module in (mmt.cli.main, *scripts()) for leaf in commands_of(module)]
BENCHMARKS = ("eval.bench.", "recipes.train", "eval.score")


def options() -> list[tuple[str, click.Option]]:
    return [
        (f"{module.__name__} {leaf.name}", option)
        for module, leaf in COMMANDS
        if not module.__name__.startswith(BENCHMARKS)
        for option in leaf.params
        if isinstance(option, click.Option) and not option.hidden
    ]


def test_every_option_says_what_it_is() -> None:
    assert [f"{where} {option.name}" for where, option in options() if not option.help] == []
    fragments = re.compile(r"(Of|Its|Their|Whose|With|Instead|Where|How|Which|Draws|\[)\b")
    unclear = [f"{where} --{option.name}: {option.help}" for where, option in options() if option.help]
    assert [line for line in unclear if fragments.match(line.partition(": ")[2]) and "With --" not in line] == []


@pytest.mark.parametrize("name", ["--threads", "--quiet", "--shard", "--import", "--draws"])
def test_an_option_of_one_name_has_one_meaning(name: str) -> None:
    told = {option.help for where, option in options() if name in option.opts and "labels" not in where}
    assert len(told - {_SEVERAL_DRAWS}) == 1


_SEVERAL_DRAWS = "Number of draws of wrong images, with consecutive seeds; put {draw} into --output."


def test_every_command_that_runs_a_model_takes_threads() -> None:
    runs_a_model = {"--model", "--models", "--backbone", "--system"}
    given = [
        (f"{module.__name__} {leaf.name}", {name for option in leaf.params for name in option.opts})
        for module, leaf in COMMANDS
        if not module.__name__.startswith((*BENCHMARKS, "eval.vqa", "eval.bleu_by_image"))
    ]
    without = [where for where, names in given if names & runs_a_model and "--threads" not in names]
    assert without == ["mmt.cli.main export"]  # which computes nothing


@pytest.mark.parametrize("width", ["40", "80"])
@pytest.mark.parametrize("module", ["mmt.cli.main", "data_prep.vqa", "data_prep.classes"])
def test_the_list_of_commands_is_not_cut(module: str, width: str) -> None:
    given = importlib.import_module(module).main
    done = CliRunner().invoke(given, ["--help"], terminal_width=int(width))
    assert "Commands:" in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]
