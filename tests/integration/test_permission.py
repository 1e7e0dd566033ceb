"""What may not be read is whole: no message has it made anew."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmt.data.dataset import read_info
from mmt.data.domain import read_pieces
from mmt.data.feature_store import read_meta
from mmt.errors import MMTError
from mmt.inference.index import open_index
from mmt.model.card import read_card

READERS: dict[str, Callable[[Path], object]] = {
    "data": read_info,
    "model": read_card,
    "pieces": lambda folder: read_pieces(folder, 300),
    "features": read_meta,
    "index": lambda folder: open_index(folder, folder),
}


@pytest.mark.parametrize("name", READERS)
def test_missing_permission_is_no_damage(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    for reading in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, reading, refuse)
    with pytest.raises(
        MMTError, match=rf"^{tmp_path}/\S+: cannot be read \(Permission denied\)\. Check owner and mode"
    ):
        READERS[name](tmp_path)
