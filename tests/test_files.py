"""Files are translated as they are read, so their size does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmt import files
from mmt.files import FileTranslator
from mmt.inputs import Images, Input, Line
from mmt.translating import Translation


def test_no_more_lines_are_read_than_a_chunk_ahead_of_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CHUNK", 10)
    read = 0

    def endless() -> Iterator[Line]:
        nonlocal read
        while True:
            read += 1
            yield Line(read, str(read))

    def hypotheses(sentences: list[str], *_: Any, **__: Any) -> list[list[Translation]]:
        return [[Translation(sentence, 0.0, False)] for sentence in sentences]

    translator: Any = SimpleNamespace(hypotheses=hypotheses)
    work = FileTranslator(translator, Input(endless(), None, Images(), Path()))
    for written, (line, best) in enumerate(work.translate(show_progress=False), 1):
        assert (line.number, best[0].text) == (written, str(written))
        assert read <= written + 9
        if written == 95:
            break
