"""Laws of locks: one writer an output, which names its holder, and nothing left of a killed one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.locks import NoLocksError, hold, only_writer, only_writer_in


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def python(code: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **more)


def test_the_second_writer_names_the_first(tmp_path: Path) -> None:
    out, code = (
        tmp_path / "out",
        "from pathlib import Path; from mmt.io.locks import *\nwith only_writer(Path('out')): ",
    )
    with only_writer(out):
        done = python(code + "print('both')", cwd=tmp_path)
        assert rf"{out}: another process is writing it: process {os.getpid()} on " in done.stderr
        assert done.stdout == ""
    assert names(tmp_path) == []
    assert python(code + "print('alone')", cwd=tmp_path).stdout == "alone\n"
    assert names(tmp_path) == []


def test_a_folder_made_for_the_lock_alone_goes_with_it(tmp_path: Path) -> None:
    with only_writer_in(tmp_path / "run"):
        assert names(tmp_path / "run") == [".lock"]
    assert names(tmp_path) == []


def test_a_folder_under_another_name_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    for one, other in (("link", "run"), ("run", str(tmp_path / "link")), ("./run", "link/../run")):
        with only_writer_in(Path(one)), only_writer(Path(one)):
            with only_writer_in(Path(other)), only_writer(Path(other)):
                pass
            for kind in ("only_writer", "only_writer_in"):
                done = python(
                    f"from pathlib import Path; from mmt.io.locks import *\nwith {kind}(Path('{other}')): 1"
                )
                assert f"another process is writing it: process {os.getpid()} on " in done.stderr


def test_the_first_of_two_that_start_together_is_named(tmp_path: Path) -> None:
    """Between taking the lock and noting who has it, some time passes."""
    held = hold(tmp_path / ".out.lock", remove=True)
    assert held is not None
    note = '{"pid": 12, "host": "here", "since": "now", "command": "mmt"}'
    noting = threading.Timer(0.1, (tmp_path / ".out.lock").write_text, [note])
    noting.start()
    with held, pytest.raises(MMTError, match="process 12 on here"), only_writer(tmp_path / "out"):
        pass
    noting.join()


def test_a_worker_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, time; from pathlib import Path; from mmt.io.locks import *\n"
        "with only_writer(Path('out')):\n"
        "    if (worker := os.fork()) == 0: os.close(1); os.close(2); time.sleep(60)\n"
        "    print(worker, flush=True); os._exit(0)"
    )
    worker = int(python(code, cwd=tmp_path).stdout)
    try:
        with only_writer(tmp_path / "out"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_any_user_can_tell_that_a_holder_is_dead(tmp_path: Path) -> None:
    """In a folder of a group, by the umask of one of them."""
    before = os.umask(0o077)
    try:
        with only_writer(tmp_path / "out"), only_writer_in(tmp_path / "run"):
            locks = (tmp_path / ".out.lock", tmp_path / "run" / ".lock")
            assert [path.stat().st_mode & 0o777 for path in locks] == [0o644, 0o644]
    finally:
        os.umask(before)


def test_a_lock_file_that_cannot_be_read_says_less(tmp_path: Path) -> None:
    held = hold(tmp_path / ".out.lock", remove=True)
    assert held is not None
    with held, pytest.raises(MMTError, match=r"writing it: another process\. Wait"), only_writer(tmp_path / "out"):
        pass


def test_without_locks_it_is_said_and_outputs_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: Any, **__: Any) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("filelock.lock_descriptor", none)
    with only_writer(tmp_path / "out"):
        write_whole(tmp_path / "out", "new")
    said = capsys.readouterr().err
    assert said.count("this file system has no locks") == 1
    assert str(tmp_path / "out") in said
    assert (tmp_path / "out").read_text() == "new"
    with pytest.raises(NoLocksError, match=r"cannot be locked .No locks available"):
        hold(tmp_path / "lock")
