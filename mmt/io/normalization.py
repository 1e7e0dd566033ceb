"""The normalisation of text: what models read, what metrics compare, and which lines are blank.

The rule, after The Unicode Standard, https://www.unicode.org/versions/latest/core-spec/:

1. Canonically equivalent strings are one string: NFC (UAX 15). An é is the same as an e with a separate accent.
2. White space (each run of it, of any kind), control characters and U+2581 are one space; none at either end.
3. Invisible characters that spell nothing are dropped: zero-width spaces and byte order marks (U+200B, U+2060,
   U+FEFF), the soft hyphen (U+00AD), direction marks, embeddings, overrides and isolates (U+061C, U+200E, U+200F,
   U+202A-202E, U+2066-2069), invisible operators and deprecated format controls (U+2061-2064, U+206A-206F), and
   variation selectors (U+FE00-FE0F, U+E0100-E01EF), which choose a glyph and never another character (23.4).
4. Invisible characters that spell something stay, but only where they do: the zero-width joiner and non-joiner
   (U+200D, U+200C) after a letter of a script whose letters they shape (Arabic, Persian, the scripts of India,
   Mongolian, ...; 9.2, 12.1, UAX 31 section 2.3), the joiner in an emoji sequence (UTS 51), the grapheme joiner
   (U+034F) between marks (23.2), the tags of a flag (U+E0020-E007F, UTS 51). Elsewhere they are dropped: in
   "Auf(U+200C)lage" the non-joiner only forbids a ligature. Mongolian vowel and variation selectors and the Hangul
   and Khmer fillers stay as they are.
5. A line is blank if nothing is left that prints: white space, control characters and what Unicode calls
   Default_Ignorable_Code_Point (UAX 44) do not, nor does the blank Braille cell (U+2800).
"""

from __future__ import annotations

import re
import unicodedata

NORM = "norm:nfc"
"""The part of a score's signature that says: both sides were normalised by ``normalize``."""

_SPACE = r"\s\x00-\x1f\x7f-\x9f\u2581"  # U+2581: by which SentencePiece marks a space
_SPACES = re.compile(f"[{_SPACE}]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# Unicode sorts the marks on one letter, in time quadratic in their number.
_MANY_MARKS = re.compile(r"[\u0300-\U0010ffff]{256,}")

# Default_Ignorable_Code_Point, of UAX 44
_IGNORABLE = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(f"[^{_SPACE}{_IGNORABLE}\u2800]")
# _MEANINGLESS matches a flag's tags first, and keeps them: the last one ends the flag.
_MEANINGLESS = re.compile(
    r"(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)"
    r"|[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufff8"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_JOINERS = re.compile(r"[\u034f\u200c\u200d]")
_GRAPHEME_JOINER, _NON_JOINER = "\u034f", "\u200c"
# Blocks of scripts whose letters join or stack: Arabic, Syriac, Mongolian, those of India and South-East Asia.
_SHAPED = re.compile(
    r"[\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1700-\u1aff\u1b00-\u1cff\ua800-\ua8ff\ua930-\ua95f\ua980-\uabff"
    r"\ufb50-\ufdff\ufe70-\ufefe\U00010a00-\U00011fff\U0001e900-\U0001e95f]"
)
_EMOJI = re.compile(r"[\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")


def normalize(line: str) -> str:
    """The line as a model reads it and the metrics compare it, by the rule above; "" for a blank one.

    A tokenizer's encode and decode leave every returned line unchanged, except for its case if
    ``Tokenizer.lowercases``. A lone surrogate, which no file can contain, becomes U+FFFD; more than 128 marks on
    one letter are separated by U+034F after each 128. Nothing else changes: case, quotes and compatibility
    characters stay.
    """
    line = canonical(line)
    if (
        not line.isprintable() or "  " in line or "\u2581" in line
    ):  # almost no line: a scan is quicker than the rule
        line = _SPACES.sub(" ", line)
    line = line.strip(" ")
    return "" if not line.isascii() and is_blank(line) else line


def canonical(line: str) -> str:
    """The line in NFC, without the invisible characters that spell nothing; white space is unchanged."""
    if line.isascii():
        return line
    line = _SURROGATES.sub("\ufffd", line)
    line = _composed(_MEANINGLESS.sub(r"\1", line))
    return line if _JOINERS.search(line) is None else _composed(_without_stray_joiners(line))


def is_blank(line: str) -> bool:
    """Whether nothing in the line is visible; see the rule above."""
    return _VISIBLE.search(line) is None


def _composed(line: str) -> str:
    return unicodedata.normalize("NFC", _MANY_MARKS.sub(_kept_apart, line))


def _kept_apart(found: re.Match[str]) -> str:
    """Unicode's stream-safe text format (UAX 15), with a larger limit."""
    parts, marks = [], 0
    for character in found.group():
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > 128:
            parts.append(_GRAPHEME_JOINER)
            marks = 1
        parts.append(character)
    return "".join(parts)


def _without_stray_joiners(line: str) -> str:
    """Drops joiners without effect. Letters decide, not marks, whose order is arbitrary."""
    nexts: list[str] = []  # the letter after each place
    letter = ""
    for character in reversed(line):
        nexts.append(letter)
        if not unicodedata.combining(character) and not _JOINERS.match(character):
            letter = character
    kept: list[str] = []
    letter = ""
    for place, (character, after) in enumerate(zip(line, reversed(nexts), strict=True)):
        if not _JOINERS.match(character):
            kept.append(character)
            if not unicodedata.combining(character):
                letter = character
        elif character == _GRAPHEME_JOINER:
            if unicodedata.combining(line[place + 1 : place + 2] or " "):
                kept.append(character)
        elif not kept or not _JOINERS.match(kept[-1]):
            shapes = _SHAPED.match(letter) and (character != _NON_JOINER or _SHAPED.match(after))
            if shapes or (character != _NON_JOINER and _EMOJI.match(letter) and _EMOJI.match(after)):
                kept.append(character)
    return "".join(kept)
