"""The console of a training: what it changes in the process is restored."""

from __future__ import annotations

import logging
import re
import threading
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.training.console import quiet_fairseq2
from tests.worlds import PLAIN, settings


def process_state() -> tuple[object, ...]:
    ours, root = logging.getLogger("fairseq2"), logging.getLogger()
    loggers = [(logger.level, logger.propagate, list(logger.filters)) for logger in (ours, root)]
    return loggers, logging.raiseExceptions, warnings.showwarning, list(warnings.filters), threading.excepthook


@pytest.mark.parametrize("raise_exceptions", [True, False])
def test_the_process_is_as_it_was_after_a_training(
    raise_exceptions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", raise_exceptions)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    logger = logging.getLogger("fairseq2")
    monkeypatch.setattr(logger, "propagate", True)
    before = process_state()
    with pytest.raises(KeyError), quiet_fairseq2():  # noqa: PT012  # also when a training fails
        assert process_state() != before
        logger.propagate = False  # as fairseq2 sets it
        warnings.simplefilter("once")
        raise KeyError
    assert process_state() == before


def test_a_full_disk_in_a_thread_takes_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: others.append(failed.exc_type))

    def fail(error: Exception) -> None:
        raise error

    with quiet_fairseq2():
        for error in (OSError(28, "No space left on device"), KeyError("other")):
            thread = threading.Thread(target=fail, args=(error,))
            thread.start()
            thread.join()
    assert "TensorBoard's files are not written any more (No space left on device)" in capsys.readouterr().err
    assert others == [KeyError]


def test_a_quiet_training_prints_nothing_and_writes_the_same(world: Path, tmp_path: Path) -> None:
    said = {}
    for name, more in (("loud", ()), ("quiet", ("--quiet",))):
        overrides = [f"--config={one}" for one in settings(world, *PLAIN, "regime.num_steps=3")]
        done = CliRunner().invoke(main, ["train", str(tmp_path / name), *overrides, *more])
        assert done.exit_code == 0, done.output
        said[name] = done.output
    assert "model: " in said["loud"]
    assert "valid  loss" in said["loud"]
    assert said["quiet"] == ""
    loud, quiet = (
        {str(path.relative_to(tmp_path / name)): path for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in said
    )
    unlike = re.compile(r"events\.out|rank_|\.log")  # named after the time and the process
    assert {one for one in loud if not unlike.search(one)} == {one for one in quiet if not unlike.search(one)}
    assert loud["model/model.safetensors"].read_bytes() == quiet["model/model.safetensors"].read_bytes()


def test_a_quiet_command_still_reports_errors(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["train", str(tmp_path / "run"), "--config", f"data.path={tmp_path}", "--quiet"]
    )
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
