"""Signals: what stops, when, and what does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mmt.atomic import replacing
from mmt.command import Command
from mmt.stopping import Stopped, StopSwitch, stopping_at_once


def test_a_command_says_what_becomes_of_the_work() -> None:
    @click.command(cls=Command, when_stopped="It goes on.")
    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    done = CliRunner().invoke(work)
    assert done.exit_code == 128 + signal.SIGTERM
    assert done.output == "stopped by SIGTERM. It goes on.\n"


def test_a_switch_notes_the_first_signal_and_the_same_again_stops() -> None:
    with StopSwitch() as switch:
        assert not switch.asked
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert switch.asked == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)  # to the launcher, and from it: one
        switch._since -= 1
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_is_noted_though_nobody_reads_what_is_said() -> None:
    """Ctrl+C behind a pipe ends the reader, too."""
    code = (
        "import os, signal, sys; from mmt.stopping import StopSwitch\n"
        "r, w = os.pipe(); os.dup2(w, 2); os.close(w); os.close(r)\n"
        "with StopSwitch() as switch: os.kill(os.getpid(), signal.SIGINT); print(switch.asked)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_at_once():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_forked_worker_ends_as_it_would_have() -> None:
    code = (  # in a process of its own, as one with threads should not fork
        "import multiprocessing, time; from mmt.stopping import stopping_at_once\n"
        "with stopping_at_once():\n"
        "    worker = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "    worker.start(); time.sleep(0.3); worker.terminate(); worker.join(20)\n"
        "print(worker.exitcode)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
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
