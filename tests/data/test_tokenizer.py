"""Laws of text."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmt.data.tokenizer import EOS, UNK, Tokenizer, train_tokenizer
from mmt.errors import MMTError
from mmt.io.normalization import normalize

TEXT = Path(__file__).read_text(encoding="utf-8")
ODD = [
    "",
    "   ",
    "emoji 😀 👩‍👩‍👧 🇩🇪",
    "\u200fעברית עם English",
    "العربية ١٢٣",
    "<s> </s> <unk> <pad> <0x41> ▁a▁b",
    "\x00nul\x07bell\ttab\r",
    "line\u2028separator\u2029paragraph\x85nel",
    "e\u0301 ﬁ ½ ①",
    "a" * 3000,
    "中文字符",
    "\ud800 lone",
    "\ufeff bom",
    "„Gänsefüßchen“ – Straße",
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("text") / "tokenizer.model"
    train_tokenizer(TEXT.splitlines(), 500, path)
    return Tokenizer(path)


def test_the_mask_of_a_vocabulary_without_one_is_a_piece_that_no_text_has(small: Tokenizer) -> None:
    assert small.mask_id == UNK
    assert all(UNK not in small.encode(line) for line in (*ODD, *TEXT.splitlines()))


@pytest.mark.parametrize("line", ODD)
def test_round_trip_keeps_every_normalised_line(small: Tokenizer, line: str) -> None:
    assert small.decode(small.encode(line)) == normalize(line)


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_round_trip_keeps_any_unicode(small: Tokenizer, line: str) -> None:
    assert small.decode(small.encode(line)) == normalize(line)


@pytest.fixture(scope="module")
def lowercased(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("lowercased") / "tokenizer.model"
    train_tokenizer(TEXT.lower().splitlines(), 500, path)
    return Tokenizer(path)


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_what_was_trained_without_capitals_reads_none(lowercased: Tokenizer, line: str) -> None:
    assert lowercased.encode(line) == lowercased.encode(line.lower())
    assert lowercased.decode(lowercased.encode(line)) == normalize(line.lower())


def test_masks_stay_where_all_else_is_lowercased(tmp_path: Path) -> None:
    train_tokenizer(TEXT.lower().splitlines(), 500, tmp_path / "tokenizer.model", ["[MASK_C]"])
    masked = Tokenizer(tmp_path / "tokenizer.model")
    assert masked.decode(masked.encode("LAWS of [MASK_C] and [MASK_N]")) == "laws of [MASK_C] and [mask_n]"
    assert len(masked.encode("[MASK_C]")) <= 2  # itself, and the space before a line


def test_one_capital_in_the_vocabulary_and_case_is_kept(small: Tokenizer, lowercased: Tokenizer) -> None:
    assert small.encode("Laws") != small.encode("laws")
    assert lowercased.decode(lowercased.encode("LAWS of „Straße“")) == "laws of „straße“"


@given(st.text())
def test_normalising_twice_changes_nothing(line: str) -> None:
    once = normalize(line)
    assert normalize(once) == once
    assert once == unicodedata.normalize("NFC", once)
    once.encode("utf-8")  # can be written to a file


def test_control_symbols_in_text_stay_text(small: Tokenizer) -> None:
    assert all(i > EOS for i in small.encode("</s> <s> <pad>"))


def test_decode_prints_no_control_symbols(small: Tokenizer) -> None:
    ids = small.encode("Laws of text.")
    assert small.decode([2, 1, *ids, 3, 0, 0]) == "Laws of text."


def test_pieces_are_the_text_cut_up(small: Tokenizer) -> None:
    pieces = small.pieces([*small.encode("Laws of text."), EOS])
    assert "".join(pieces) == "\u2581Laws\u2581of\u2581text.</s>"
    assert [small.decode([i]) for i in small.encode("Laws")] == [
        piece.strip("\u2581") for piece in small.pieces(small.encode("Laws"))
    ]
    assert small.pieces(small.encode("\u8a9e"))[-3:] == ["<0xE8>", "<0xAA>", "<0x9E>"]


def test_the_same_text_gives_the_same_model(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train_tokenizer(TEXT.splitlines(), 400, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_too_many_pieces_are_refused_with_the_key(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match=r"text\.vocab_size: 5,000 pieces are too many"):
        train_tokenizer(["only a little text"], 5000, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_damaged_or_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no tokenizer model"):
        Tokenizer(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"\x00not a model")
    with pytest.raises(MMTError, match="not a SentencePiece model"):
        Tokenizer(tmp_path / "bad")


@pytest.mark.parametrize(
    "lines",
    [
        ["A dog."],
        ["A dog sees the cat.", "Ein Hund sieht die Katze."],
        ["".join(chr(0x4E00 + number) for number in range(200))],
        ["\U0001f600 e\u0301 \u05d0\u05d1", "\u0967\u0968 \u0e01"],
    ],
    ids=["small", "larger", "many characters", "scripts"],
)
@pytest.mark.parametrize("symbols", [(), ("[MASK_C]",)], ids=["plain", "mask"])
def test_a_refused_vocabulary_size_names_the_nearest_possible(
    tmp_path: Path, lines: list[str], symbols: tuple[str, ...]
) -> None:
    path = tmp_path / "tokenizer.model"
    limits = {}
    for size, word in ((261, "least"), (5000, "most")):
        with pytest.raises(
            MMTError, match=rf"^text\.vocab_size: {size:,} pieces .* at {word} [\d,]+\.$"
        ) as caught:
            train_tokenizer(lines, size, path, symbols)
        limits[word] = int(str(caught.value).rsplit(" ", 1)[1].rstrip(".").replace(",", ""))
    for size, beyond in ((limits["least"], limits["least"] - 1), (limits["most"], limits["most"] + 1)):
        train_tokenizer(lines, size, path, symbols)
        assert Tokenizer(path).vocab_size == size
        with pytest.raises(MMTError):
            train_tokenizer(lines, beyond, path, symbols)


def test_a_vocabulary_of_no_sentence_is_refused_as_that(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no sentence that is not blank"):
        train_tokenizer(["", " "], 300, tmp_path / "tokenizer.model")
