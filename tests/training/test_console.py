"""The console of a training: what it changes in the process is restored."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest

from mmt.training.console import quiet_fairseq2


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
