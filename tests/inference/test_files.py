"""Files are translated as they are read, so their size does not matter."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmt.data.inputs import Arriving, Images, Input, Line
from mmt.data.tokenizer import Tokenizer
from mmt.inference import files
from mmt.inference.files import FileTranslator
from mmt.inference.translator import Translation
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests import warm
from tests.worlds import tiny_folder, tiny_model


def test_no_more_lines_are_read_than_a_chunk_ahead_of_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 10)
    read = 0

    def endless() -> Iterator[Line]:
        nonlocal read
        while True:
            read += 1
            yield Line(read, str(read))

    def hypotheses(sentences: list[str], *_: Any, **__: Any) -> list[list[Translation]]:
        return [[Translation(sentence, 0.0, False)] for sentence in sentences]

    translator: Any = SimpleNamespace(hypotheses=hypotheses, tokenizer=SimpleNamespace(training=None))
    work = FileTranslator(translator, Input(endless(), None, Images(), Path()))
    for written, (line, best) in enumerate(work.translate(show_progress=False), 1):
        assert (line.number, best[0].text) == (written, str(written))
        assert read <= written + 9
        if written == 95:
            break


def test_what_a_pipe_holds_is_read_without_waiting_for_more() -> None:
    theirs, ours = os.pipe()
    given = Arriving(theirs)
    os.write(ours, b"one\ntwo\nthr")
    assert (given.readline(100), given.waits(), given.readline(100)) == (b"one\n", False, b"two\n")
    assert given.waits()  # half a line is none
    os.write(ours, b"ee\n" + b"x" * 50)
    assert not given.waits()
    assert (given.readline(100), given.readline(20)) == (b"three\n", b"x" * 20)
    os.close(ours)
    assert (given.readline(100), given.waits(), given.readline(100)) == (b"x" * 30, False, b"")
    os.close(theirs)


@pytest.mark.parametrize("command", ["translate", "predict"])
def test_a_line_in_a_pipe_is_answered_before_the_next_is_written(
    world: Path, tmp_path: Path, command: str
) -> None:
    if command == "translate":
        tiny_folder(tmp_path / "model", world)
    else:
        tokenizer = Tokenizer(world / "tokenizer.model")
        model = tiny_model(tokenizer.vocab_size, heads=("classification",), num_labels=2)
        card = ModelCard(vars(model.config), "en", "", labels=["good", "bad"])
        save_model(tmp_path / "model", model.state_dict(), tokenizer.path, card)
    given = [sys.executable, "-m", "mmt.cli", command, "--model", str(tmp_path / "model"), "--quiet"]
    process = warm.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for line in (b"A dog.\n", b"Two cats.\n"):
        process.stdin.write(line)
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 120)[0], "no answer"
        assert os.read(process.stdout.fileno(), 1 << 16).count(b"\n") == 1
    process.stdin.close()
    assert process.wait(120) == 0
