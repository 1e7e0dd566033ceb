"""The pieces that one language needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmt.data.tokenizer import Tokenizer
from mmt.data.vocabulary import VOCABULARY, pieces_of, pieces_of_file, read_vocabulary, vocabulary_json
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


def test_what_was_written_is_read_and_what_is_damaged_refused(world: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(world / "tokenizer.model")
    size, path = tokenizer.vocab_size, tmp_path / VOCABULARY
    assert read_vocabulary(tmp_path, size) is None
    ids = pieces_of([[300, 301]], tokenizer)
    path.write_text(vocabulary_json(ids), encoding="utf-8")
    found = read_vocabulary(tmp_path, size)
    assert found is not None
    assert np.array_equal(found, ids)
    for wrong in (
        [0, 1, 2, 3, size],
        [0, 1, 3, 4],
        [0, 1, 2, 3, 9, 8],
        [0, 1, 2, 3, 3],
        [0, 1, 2, 3, True],
        "0123",
        5,
    ):
        path.write_text(json.dumps({"ids": wrong}), encoding="utf-8")
        with pytest.raises(MMTError, match=r"vocabulary\.json: damaged"):
            read_vocabulary(tmp_path, size)
