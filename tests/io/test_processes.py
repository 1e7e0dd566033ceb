"""Work spread over processes comes out as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.worlds import usual_signals


def with_processes(code: str) -> subprocess.Popen[str]:
    """In a process of its own, as one with threads should not fork."""
    start = (
        "import os, signal, sys, time; from mmt.io.processes import in_processes\n"
        "from mmt.errors import MMTError\n"
    )
    command = [sys.executable, "-c", start + code]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=usual_signals
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_from_processes(processes: int) -> None:
    done = with_processes(f"print(*in_processes(abs, range(-40, 0), {processes}))")
    assert done.communicate(timeout=60) == (" ".join(f"{n}" for n in range(40, 0, -1)) + "\n", "")


def test_a_killed_process_is_said() -> None:
    code = (
        "def work(n): os.kill(os.getpid(), signal.SIGKILL) if n == 30 else None\n"
        "try: list(in_processes(work, range(40), 2))\n"
        "except MMTError as error: print(error)"
    )
    said, errors = with_processes(code).communicate(timeout=60)
    assert said.startswith("one of 2 processes was killed")
    assert errors == ""


def test_processes_end_with_the_one_that_began_them() -> None:
    code = "def work(n): print(os.getpid(), flush=True); time.sleep(60)\nlist(in_processes(work, range(40), 2))"
    process = with_processes(code)
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=20)  # ends when nobody is left who could write


def test_a_stopped_work_in_processes_ends_soon() -> None:
    code = (
        "from mmt.io.signals import Stopped, stopping_at_once\n"
        "def work(n): print(n, flush=True); time.sleep(0.05)\n"
        "try:\n"
        "    with stopping_at_once(): list(in_processes(work, range(4000), 2))\n"
        "except Stopped: print('stopped')"
    )
    process = with_processes(code)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=20)
    assert said.endswith("stopped\n")
    assert errors == ""
