"""The pieces that one language needs."""

from __future__ import annotations

from pathlib import Path

from mmt.data.tokenizer import Tokenizer
from mmt.data.vocabulary import pieces_of_file


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
