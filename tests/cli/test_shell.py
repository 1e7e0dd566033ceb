"""What a shell sees of ``mmt``: completed words, exit codes, and the versions for a bug report."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

import mmt
from mmt.cli.main import COMMANDS, main
from mmt.cli.version import PACKAGES, report
from tests.worlds import usual_signals

ROOT = Path(__file__).parents[2]


# --- versions ---------------------------------------------------------------------------------------------


def test_the_version_is_one_line_and_with_v_all_that_mmt_runs_on() -> None:
    alone = CliRunner().invoke(main, ["--version"])
    assert (alone.exit_code, alone.output) == (0, f"mmt, version {mmt.__version__}\n")
    for given in (["--version", "-v"], ["-v", "--version"]):
        whole = CliRunner().invoke(main, given)
        assert whole.exit_code == 0, whole.output
        rows = dict(re.split(r"  +", line, maxsplit=1) for line in whole.output.splitlines())
        assert rows["mmt"] == mmt.__version__
        assert rows["Python"].startswith(platform.python_version())
        assert {"torch", "fairseq2", "onnxruntime", "sacrebleu"} <= set(PACKAGES) <= set(rows)
        assert rows["torch"] == version("torch")
        assert f"{len(os.sched_getaffinity(0))} of" in rows["CPU"]
        assert {"CPU features", "OMP_NUM_THREADS", "system"} <= set(rows)


def test_a_package_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmt.cli.version.PACKAGES", ("no-such-package-here",))
    assert report("1").splitlines()[-1].split() == ["no-such-package-here", "missing"]


def test_v_without_version_is_refused() -> None:
    for given in (["-v"], ["-v", "recipe", "list"]):
        done = CliRunner().invoke(main, given)
        assert done.exit_code == 2
        assert "mmt --version -v" in done.output


# --- completion -------------------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    complete = BashComplete(main, {}, "mmt", "_MMT_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_commands_and_options_are_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed("") == sorted(COMMANDS)
    assert completed("tra") == ["train", "translate"]
    assert completed("translate", "--beam") == ["--beam-size"]
    assert completed("translate", "--runtime", "") == ["auto", "torch", "onnx"]
    assert completed("recipe", "s") == ["show"]
    assert completed("evaluate", "prob") == ["probes"]
    assert "multi30k" in completed("prepare", "")
    assert completed("--vers") == ["--version"]
    assert completed("--version", "tra") == ["train", "translate"]
    assert capsys.readouterr().out == ""


def test_completion_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from click.shell_completion import BashComplete\n"
        "from mmt.cli.main import COMMANDS, main\n"
        "complete = BashComplete(main, {}, 'mmt', '_MMT_COMPLETE')\n"
        "found = complete.get_completions([], '')\n"
        "for name in COMMANDS:\n"
        "    for word in ('', '-'): found += complete.get_completions([name], word)\n"
        "heavy = {'torch', 'fairseq2', 'datasets', 'transformers', 'numpy', 'rich', 'eval', 'data_prep'}\n"
        "print(len(found), sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    number, heavy = done.stdout.split(maxsplit=1)
    assert int(number) > 100
    assert heavy == "[]\n"


def test_bash_completes_as_the_documents_say(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    (line,) = re.findall(r'^eval "\$\(_MMT_COMPLETE=bash_source mmt\)"', page, re.M)
    program = tmp_path / "mmt"
    program.write_text(f"#!{sys.executable}\nfrom mmt.cli.main import main\nmain()\n")
    program.chmod(0o755)
    script = (
        f'{line}\nCOMP_WORDS=(mmt translate --beam); COMP_CWORD=2\n_mmt_completion mmt; echo "${{COMPREPLY[@]}}"'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("--beam-size\n", "")


# --- exit codes -------------------------------------------------------------------------------------------

_STOPPED = (
    "import os, click; from mmt.cli.command import Command\n@click.command(cls=Command)\ndef work(): {}\nwork()"
)
_ENDS = {
    "0": ["-m", "mmt", "--version"],
    "1": ["-c", _STOPPED.format("raise ZeroDivisionError")],
    "2": ["-m", "mmt", "info", "/nowhere"],
    **{
        str(128 + number): ["-c", _STOPPED.format(f"os.kill(os.getpid(), {int(number)})")]
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    },
    "137": ["-c", _STOPPED.format(f"os.kill(os.getpid(), {int(signal.SIGKILL)})")],
    "141": ["-c", _STOPPED.format("raise BrokenPipeError")],
}


def test_exit_codes_are_those_of_the_documents() -> None:
    section = (ROOT / "docs" / "reliability.md").read_text().partition("## Exit codes\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| (\d+) \|", section, re.MULTILINE)
    assert documented == list(_ENDS)
    found = {}
    for code, command in _ENDS.items():
        done = subprocess.run([sys.executable, *command], capture_output=True, preexec_fn=usual_signals)
        found[code] = str(done.returncode if done.returncode >= 0 else 128 - done.returncode)  # as a shell has it
    assert found == {code: code for code in _ENDS}
    told = CliRunner().invoke(main, ["--help"]).output.partition("Exit codes: ")[2]
    assert {"0", "1", "2", "130", "141", "143"} <= set(re.findall(r"\d+", told))


# --- options of one meaning -------------------------------------------------------------------------------


def _leaves(group: click.Group, context: click.Context) -> dict[str, click.Command]:
    found = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {own}": one for own, one in _leaves(command, click.Context(command)).items()}
        else:
            found[name] = command
    return found


def test_what_gives_a_table_gives_json_too_and_by_the_same_options() -> None:
    named = {
        name: {option: one for one in command.params for option in one.opts}
        for name, command in _leaves(main, click.Context(main)).items()
    }
    tables = {
        name
        for name, options in named.items()
        if isinstance(kind := options["--format"].type if "--format" in options else None, click.Choice)
        and "table" in kind.choices
    }
    assert {"info", "recipe list", "score", "evaluate ambiguous"} <= tables
    assert {name for name, options in named.items() if "--json" in options} == tables
    listed = [
        CliRunner().invoke(main, ["recipe", "list", *form]).output for form in (["--json"], ["--format", "json"])
    ]
    assert listed[0] == listed[1]
    assert listed[0].startswith("{")


def test_every_command_with_a_progress_bar_can_be_quiet() -> None:
    for name, command in _leaves(main, click.Context(main)).items():
        names = {option for one in command.params for option in one.opts}
        if name.partition(" ")[0] not in ("prepare", "evaluate", "serve", "demo", "push"):
            assert "--quiet" in names or not names & {"--model", "--backbone", "--system"}, name
