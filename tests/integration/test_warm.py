"""A warm process is what a fresh one is, to whoever begins it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests import warm
from tests.worlds import usual_signals

SAYS = """
import json, os, resource, signal, sys
print(json.dumps({
    "name": __name__,
    "arguments": sys.argv,
    "folder": os.getcwd(),
    "environment": {name: value for name, value in os.environ.items() if name != "LC_CTYPE"},
    "first": sys.path[:2],
    "input": sys.stdin.read(),
    "leads": os.getsid(0) == os.getpid(),
    "parent": os.getppid(),
    "limit": resource.getrlimit(resource.RLIMIT_FSIZE),
    "open": [number for number in range(256) if os.path.exists(f"/proc/self/fd/{number}")],
    "handlers": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
    "buffered": [sys.stdout.line_buffering, sys.stderr.line_buffering, sys.stdout.encoding],
    "torch": "torch" in sys.modules,
}))
print("error", file=sys.stderr)
sys.exit(5)
"""


@pytest.mark.parametrize("session", [False, True])
def test_a_warm_process_gets_what_a_fresh_one_gets(session: bool, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAYS, "one", "-two"]
    ours, theirs = os.pipe()
    given = {
        "cwd": tmp_path,
        "env": {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "ITS": "own"},
        "input": "A dog.\n",
        "start_new_session": session,
        "pass_fds": [theirs],
        "preexec_fn": partial(resource.setrlimit, resource.RLIMIT_FSIZE, (5000, 5000)),
    }
    fresh, forked = (run(command, capture_output=True, text=True, **given) for run in (subprocess.run, warm.run))
    said = [json.loads(done.stdout) for done in (fresh, forked)]
    assert [one.pop("torch") for one in said] == [False, True]
    assert said[0] == said[1]
    assert (said[1]["parent"], said[1]["leads"], said[1]["limit"]) == (os.getpid(), session, [5000, 5000])
    assert [(done.returncode, done.stderr) for done in (fresh, forked)] == [(5, "error\n")] * 2
    os.close(ours)
    os.close(theirs)


def test_a_module_is_run_as_python_runs_it(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys\nprint(__name__, __file__, sys.argv, sys.path[0])\n1 / 0\n")
    done = [
        run([sys.executable, "-m", "own", "x"], cwd=tmp_path, capture_output=True, text=True)
        for run in (subprocess.run, warm.run)
    ]
    assert done[0].stdout == done[1].stdout != ""
    assert [one.returncode for one in done] == [1, 1]
    assert (
        done[0].stderr.splitlines()[-1] == done[1].stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(signum: signal.Signals) -> None:
    code = "import time; print('here', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code]
    with warm.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=usual_signals
    ) as process:
        assert process.stdout.readline() == b"here\n"
        assert process.poll() is None
        process.send_signal(signum)
        assert process.wait(60) == -signum
    assert not Path(f"/proc/{process.pid}").exists()


def test_another_command_starts_as_ever() -> None:
    assert warm.run(["echo", "a"], capture_output=True, text=True).stdout == "a\n"
    with pytest.raises(FileNotFoundError):
        warm.run(["no such command"])
    with pytest.raises(ValueError, match="knows none of"):
        warm.run([sys.executable, "-c", ""], umask=0o22)


@pytest.mark.parametrize(
    "code",
    [
        "print('all', end='')",
        "import sys; sys.exit(3)",
        "import sys; sys.exit(-1)",
        "import sys; sys.exit('why')",
        "import atexit; atexit.register(print, 'at the end')",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.2), print('waited for'))).start()",
        "import sys; sys.stdout = open('/dev/full', 'w'); print('lost')",
        "raise ValueError",
    ],
)
def test_it_ends_as_a_fresh_one(code: str) -> None:
    command = [sys.executable, "-c", code]
    fresh, forked = (run(command, capture_output=True, text=True) for run in (subprocess.run, warm.run))
    assert (forked.returncode, forked.stdout) == (fresh.returncode, fresh.stdout)
    assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]
