"""Signals: what stops, when, and what does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mmt.cli.command import Command, write_alone, write_alone_in
from mmt.io.atomic import replacing, replacing_folder
from mmt.io.signals import SIGNALS, Stopped, StopSwitch, stopping_at_once
from tests.worlds import usual_signals

pytestmark = pytest.mark.usefixtures("_signals")


def python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=usual_signals,
        **more,
    )


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_command_says_what_becomes_of_the_work_and_cleans_up(signum: signal.Signals, tmp_path: Path) -> None:
    @click.command(cls=Command, when_stopped="It goes on.")
    def work() -> None:
        write_alone(tmp_path / "out", tmp_path / "folder")
        with replacing(tmp_path / "out") as stream, replacing_folder(tmp_path / "folder"):
            stream.write(b"half")
            os.kill(os.getpid(), signum)

    done = CliRunner().invoke(work)
    assert done.exit_code == 128 + signum
    assert done.output == f"stopped by {signum.name}. It goes on.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_does_not_cut_off_the_cleaning_up(
    second: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGHUP comes from the terminal and from its shell."""
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)  # the second comes within a second

    @click.command(cls=Command)
    def work() -> None:
        write_alone_in(tmp_path / "folder")
        click.get_current_context().call_on_close(lambda: os.kill(os.getpid(), second))
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), second)
            (tmp_path / "cleaned").touch()

    done = CliRunner().invoke(work)
    assert (done.exit_code, done.output) == (129, "stopped by SIGHUP. Rerun the same command to start again.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["cleaned"]


def test_a_switch_notes_the_first_signal_and_the_same_again_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with StopSwitch() as switch:
        assert not switch.signum
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert switch.signum == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)  # to the launcher, and from it: one
        now += 1
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_is_noted_though_nobody_reads_what_is_said() -> None:
    """Ctrl+C behind a pipe ends the reader, too."""
    code = (
        "import os, signal, sys; from mmt.io.signals import StopSwitch\n"
        "r, w = os.pipe(); os.dup2(w, 2); os.close(w); os.close(r)\n"
        "with StopSwitch() as switch: os.kill(os.getpid(), signal.SIGINT); print(switch.signum)"
    )
    assert python(code).stdout == "2\n"


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_switch_notes_every_signal(signum: signal.Signals) -> None:
    with StopSwitch() as switch:
        os.kill(os.getpid(), signum)
        assert switch.signum == signum


@pytest.mark.parametrize("signum", SIGNALS)
def test_an_ignored_signal_stays_ignored(signum: signal.Signals) -> None:
    """As SIGHUP under nohup."""
    signal.signal(signum, signal.SIG_IGN)
    with stopping_at_once():
        os.kill(os.getpid(), signum)
        with StopSwitch() as switch:
            os.kill(os.getpid(), signum)
            switch.note(signum)  # of fairseq2, which takes SIGUSR1 for itself
            assert not switch.signum


def test_a_forked_worker_ends_as_it_would_have() -> None:
    code = (  # in a process of its own, as one with threads should not fork
        "import multiprocessing, os, time; from mmt.io.signals import stopping_at_once\n"
        "ours, theirs = os.pipe()\n"
        "def work(): os.write(theirs, b'.'); time.sleep(600)\n"
        "with stopping_at_once():\n"
        "    worker = multiprocessing.get_context('fork').Process(target=work)\n"
        "    worker.start(); os.read(ours, 1); worker.terminate(); worker.join(300)\n"
        "print(worker.exitcode)"
    )
    done = python(code)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")


def test_a_stopped_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with pytest.raises(Stopped), stopping_at_once(), replacing(tmp_path / "out"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "old"


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link") as stream:
        stream.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    (tmp_path / "null").symlink_to("/dev/null")
    with replacing(tmp_path / "null") as stream:
        stream.write(b"new")
    assert Path("/dev/null").is_char_device()


# --- streams that are closed, terminals that vanish -------------------------------------------------------


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_no_file_takes_the_place_of_a_closed_stream(closed: tuple[int, ...], tmp_path: Path) -> None:
    code = (
        "import os, sys, click, pathlib; from mmt.cli.command import Command\n"
        "from mmt.io.atomic import replacing\n"
        "@click.command(cls=Command)\n"
        "def work():\n"
        "    with replacing(pathlib.Path('out')) as stream:\n"
        "        print('said'); click.echo('said', err=True); os.write(1, b'said'); os.write(2, b'said')\n"
        "        stream.write(b'whole')\n"
        "work()"
    )

    def close() -> None:
        usual_signals()
        for descriptor in closed:
            os.close(descriptor)

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, preexec_fn=close)
    assert done.returncode == 0
    assert (tmp_path / "out").read_text() == "whole"


@pytest.mark.parametrize("descriptor", [0, 1])
def test_a_closed_stream_that_is_needed_is_named(descriptor: int) -> None:
    wanted = ("list(read_input(None, 'text', Images()))", "next(iter([replacing(None).__enter__()]))")
    code = (
        "import sys, click; from mmt.cli.command import Command; from mmt.io.atomic import replacing\n"
        "from mmt.data.inputs import Images, read_input\n"
        "@click.command(cls=Command)\n"
        f"def work(): {wanted[descriptor]}\n"
        "work()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE, text=True, check=False, preexec_fn=lambda: os.close(descriptor),
    )  # fmt: skip
    name = ("input", "output")[descriptor]
    assert (done.returncode, done.stderr) == (2, f"error: standard {name} is closed. Name a file with --{name}.\n")


def test_scores_that_go_nowhere_are_no_success(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a dog\n")
    done = subprocess.run(
        [sys.executable, "-m", "mmt.cli", "score", "text", "--ref", "text"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False, preexec_fn=lambda: os.close(1),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output is closed")


def test_work_goes_on_when_its_terminal_vanishes(tmp_path: Path) -> None:
    """A job that was disowned gets no signal, but its messages go nowhere."""
    code = (
        "import sys, time, click, pathlib; from mmt.cli.command import Command\n"
        "@click.command(cls=Command)\n"
        "def work():\n"
        "    click.echo('begun', err=True)\n"
        "    while not pathlib.Path('gone').exists(): time.sleep(0.01)\n"
        "    for _ in range(3): click.echo('more', err=True); print('more', file=sys.stderr)\n"
        "    pathlib.Path('done').touch()\n"
        "work()"
    )
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert b"begun" in os.read(ours, 100)
    os.close(ours)
    (tmp_path / "gone").touch()
    assert process.wait(60) == 0
    assert (tmp_path / "done").exists()
