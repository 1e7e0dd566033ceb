"""Moses-tokenised text: its escapes, and how it is told from raw text."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from sacremoses import MosesTokenizer

from mmt.metrics.moses import looks_tokenized, unescape

REAL = Path(os.environ.get("MMT_DATA", "../shared/data")) / "multi30k"
RAW = {
    "en": ["A man's hat, a dogs' house and \"it\".", "He doesn't [see] it: <b> | & so on."],
    "fr": ["L'homme s'assoit sur l'herbe.", "Qu'est-ce que c'est ? Un chien, dit-il !"],
    "de": ["Ein Mann, z. B. ein Bäcker, backt.", "Peter's Laden für 3,50 Euro."],
}


@pytest.mark.parametrize("lang", RAW)
def test_escapes_are_undone(lang: str) -> None:
    tokenizer = MosesTokenizer(lang)
    for line in RAW[lang]:
        escaped = tokenizer.tokenize(line, return_str=True)
        assert unescape(escaped) == tokenizer.tokenize(line, return_str=True, escape=False)
        assert unescape(line) == line
    assert unescape("stone & amp ; tile , kids & apos ; toys") == "stone & tile , kids ' toys"
    assert unescape("&amp;apos; &copy; AT&T &") == "&apos; &copy; AT&T &"  # one escape at a time, and no other's


@pytest.mark.parametrize("lang", RAW)
@pytest.mark.parametrize("escape", [True, False])
def test_tokenised_text_is_told_from_raw_text(lang: str, escape: bool) -> None:
    tokenizer = MosesTokenizer(lang)
    tokens = [tokenizer.tokenize(line, return_str=True, escape=escape) for line in RAW[lang]]
    assert looks_tokenized(tokens) is True
    assert looks_tokenized(RAW[lang]) is False


def test_text_without_full_stop_comma_or_escape_tells_nothing() -> None:
    assert looks_tokenized(["ein hund", "Hunde ! Quoi ?", "वह है ।"]) is None
    assert looks_tokenized([]) is None
    assert looks_tokenized(["un coup d&apos; œil"]) is True


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no Multi30K in {REAL} (set MMT_DATA)")
@pytest.mark.parametrize("lang", ["en", "de", "fr"])
def test_multi30ks_raw_and_tokenised_text_are_told_apart(lang: str) -> None:
    for folder, tokenized in (("raw", False), ("tok", True)):
        with gzip.open(REAL / folder / f"test_2016_flickr.{lang}.gz", "rt", encoding="utf-8") as lines:
            assert looks_tokenized(lines) is tokenized
