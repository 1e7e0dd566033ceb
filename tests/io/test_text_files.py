"""Text files: one sentence a line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mmt.errors import MMTError
from mmt.io.text_files import read_lines


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_newline_ends_a_line(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "a.en"
    path.write_bytes(f"one{separator}two\nthree\n".encode())
    assert read_lines(path) == [f"one{separator}two", "three"]


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"  a b\t\n b ", ["a b", "b"]),
        (b"\xef\xbb\xbfa\nb\n", ["a", "b"]),
        (b"\na\n\n", ["", "a", ""]),
    ],
    ids=["plain", "no-last-newline", "windows", "whitespace", "byte-order-mark", "blank-lines-stay"],
)
def test_lines_come_without_their_surroundings(tmp_path: Path, raw: bytes, lines: list[str]) -> None:
    plain, packed = tmp_path / "a.en", tmp_path / "a.en.gz"
    plain.write_bytes(raw)
    packed.write_bytes(gzip.compress(raw))
    assert read_lines(plain) == lines
    assert read_lines(packed) == lines


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("a.de", "gut\nschön\nso\n".encode("latin-1"), "a.de: line 2, byte 4: expected UTF-8 text, found 0xf6"),
        ("a.de", "gut\n".encode("utf-16"), "line 1, byte 1"),
        ("a.de", b"", "empty"),
        ("a.de", b" \n\n", "all of its 2 lines are blank"),
        ("a.de.gz", gzip.compress(b"\n" * 1000, mtime=0), "all of its 1,000 lines are blank"),
        ("a.de.gz", gzip.compress(b"", mtime=0), "empty"),
        ("a.de.gz", b"not packed\n", "not a complete gzip file"),
        ("a.de.gz", gzip.compress(b"abc\n" * 1000, mtime=0)[:-12], "not a complete gzip file"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, raw: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(MMTError) as error:
        read_lines(tmp_path / name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"nope\.en: no such file"):
        read_lines(tmp_path / "nope.en")
    with pytest.raises(MMTError, match="cannot be read"):
        read_lines(tmp_path)
