"""The pieces that one language needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmt.data.tokenizer import Tokenizer
from mmt.data.vocabulary import VOCABULARY, pieces_of_file, read_vocabulary
from mmt.errors import MMTError


def test_a_text_can_be_written_with_its_own_pieces_and_any_other_with_characters(
    world: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(world / "tokenizer.model")
    text, other = "Ein Hund sieht das Boot.", "A dog sees the ball."
    (tmp_path / "de.txt").write_text(f"{text}\n\n", encoding="utf-8")
    ids = pieces_of_file(tmp_path / "de.txt", tokenizer)
    assert ids.tolist() == sorted(set(ids.tolist()))
    assert ids[:4].tolist() == [0, 1, 2, 3]
    assert set(tokenizer.encode_target(text)) <= set(ids.tolist()) < set(range(tokenizer.vocab_size))
    assert not set(tokenizer.encode_target(other)) <= set(ids.tolist())
    pieces = tokenizer.pieces(ids.tolist())
    assert all(f"<0x{byte:02X}>" in pieces for byte in range(256))
    assert all(letter in pieces for letter in "dogsethbal")


@pytest.mark.parametrize(
    "ids",
    [[0, 1, 2], [0, 1, 2, 3, 9, 8], [0, 1, 2, 3, 3], [1, 2, 3, 4, 5], [0, 1, 2, 3, 50], [[0, 1, 2, 3]], [0.0] * 5],
)
def test_ids_that_are_no_vocabulary_are_refused(ids: list[object], tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path, 50) is None
    np.save(tmp_path / VOCABULARY, np.array([0, 1, 2, 3, 49]))
    assert read_vocabulary(tmp_path, 50) is not None
    np.save(tmp_path / VOCABULARY, np.array(ids))
    with pytest.raises(MMTError, match=r"vocabulary\.npy: expected .*Copy the model folder again"):
        read_vocabulary(tmp_path, 50)
    (tmp_path / VOCABULARY).write_bytes(b"\x93NUMPY")
    with pytest.raises(MMTError, match="damaged"):
        read_vocabulary(tmp_path, 50)
