"""Laws of the one normalisation: what is read, what is compared, what is blank."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import pytest
import regex
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from mmt.normalization import is_blank, normalize

IGNORABLE = [chr(i) for i in range(0x110000) if regex.match(r"\p{Default_Ignorable_Code_Point}", chr(i))]
DROPPED = [
    *map(chr, (0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFE0E, 0xFE0F, 0xE0100, 0xE0041)),
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
]
JOINERS = ["\u200c", "\u200d", "\u034f"]
LETTERS = "aeu \u0301\u0308\u0323گ\u064b\u0654क\u093c\u094dß中❤🐈\u2329\u1025\u102e"
FLAG = ["\U0001f3f4", "\U000e0067", "\U000e007f"]
texts = st.text() | st.text(st.sampled_from([*LETTERS, *JOINERS, *DROPPED, *FLAG]))


@settings(max_examples=1000, deadline=None)
@given(texts)
def test_normalising_twice_changes_nothing(line: str) -> None:
    once = normalize(line)
    assert normalize(once) == once
    assert once == unicodedata.normalize("NFC", once)


@settings(max_examples=500, deadline=None)
@given(texts, st.sampled_from(["NFC", "NFD"]))
def test_canonically_equivalent_lines_are_one(line: str, form: Literal["NFC", "NFD"]) -> None:
    assert normalize(unicodedata.normalize(form, line)) == normalize(line)


@settings(max_examples=500, deadline=None)
@given(texts, st.lists(st.tuples(st.sampled_from(DROPPED), st.integers(0, 99))))
def test_invisible_characters_that_spell_nothing_change_nothing(line: str, added: list[tuple[str, int]]) -> None:
    line = line.replace("\U0001f3f4", "")  # in whose tags they would stand
    with_them = line
    for character, place in added:
        with_them = with_them[:place] + character + with_them[place:]
    assert normalize(with_them) == normalize(line)


@settings(max_examples=500, deadline=None)
@given(texts | st.text(st.sampled_from([*IGNORABLE[:99], " ", "\t", "\u2800", "\x00"])))
def test_a_line_is_blank_if_nothing_is_left_of_it(line: str) -> None:
    assert is_blank(line) == (normalize(line) == "")


def test_unicode_says_what_is_blank() -> None:
    assert all(is_blank(character) for character in IGNORABLE)
    blank = {character for character in map(chr, range(0x110000)) if is_blank(character)}
    others = blank - set(IGNORABLE) - {"\u2581", "\u2800"}
    assert all(regex.match(r"[\p{White_Space}\p{Cc}]", character) for character in others)


@pytest.mark.parametrize("joiner", JOINERS)
@pytest.mark.parametrize(
    "line", ["Auf{}lage", "中{}国", "3{}4", "{}Two dogs", "Two dogs{}", "Two {}dogs", "สวัส{}ดี"]
)
def test_joiners_that_join_nothing_are_dropped(joiner: str, line: str) -> None:
    assert normalize(line.format(joiner)) == line.format("")


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cروم",  # Persian: I go
        "नन्\u200dहा",  # Hindi, a half form
        "ശരത്\u200cകാലം",  # Malayalam: autumn
        "ന\u0d4d\u200d",  # an old chillu, at the end of a word
        "ක්\u200dෂ",  # Sinhala
        "👩\u200d👩\u200d👧",
        "🐈\u200d⬛",
        "👩🏽\u200d🚒",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England's flag
        "a\u0323\u034f\u0300",
    ],
)
def test_joiners_that_spell_something_stay(text: str) -> None:
    assert normalize(f"x {text} y.") == unicodedata.normalize("NFC", f"x {text} y.")


def test_non_joiners_at_the_end_of_a_persian_word_are_dropped() -> None:
    assert normalize("کتاب\u200c \u200cها\u200c.") == "کتاب ها."


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("aäßé.,-'\"1 \t\u00a0\u3000", min_size=1), min_size=1, max_size=4))
def test_what_was_normal_before_scores_as_by_sacrebleu_itself(lines: list[str]) -> None:
    """White space, which each of sacrebleu's metrics splits at, is all that changes here."""
    normal = [normalize(line) for line in lines]
    for metric in (sacrebleu.BLEU(force=True, effective_order=True), sacrebleu.CHRF(), sacrebleu.TER()):
        references = [[" ".join(line[::-1].split()) for line in lines]]
        assert metric.corpus_score(normal, references).score == metric.corpus_score(lines, references).score, (
            re.escape(str(lines))
        )
