"""Lemmas of the words of a sentence, and which are content words: English, German, French and Czech."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from simplemma import is_known, lemmatize

from mmt.errors import MMTError, nearest
from mmt.io.normalization import normalize

# A word with all that hyphens and apostrophes join to it; the lemmatiser splits l'homme and man's.
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")

_LISTS = json.loads(Path(__file__).with_name("lemmas.json").read_text(encoding="utf-8"))
# Closed-class words, numbers, auxiliaries and light verbs: their translations are a matter of grammar. A language
# is known here if it has a list.
_FUNCTION_WORDS: dict[str, str] = _LISTS["function_words"]
# Numbers are function words for a translation, because each has one form per language; but an image may show them.
_NUMBERS: dict[str, str] = _LISTS["numbers"]


def words_of(text: str) -> list[str]:
    """The words of a sentence, normalised, without punctuation."""
    return _WORD.findall(normalize(text))


def true_case(sentences: Sequence[str]) -> list[list[str]]:
    """The words of each sentence; the first in lower case if that is its usual form inside sentences."""
    tokens = [words_of(sentence) for sentence in sentences]
    inside = Counter(word for words in tokens for word in words[1:])
    for words in tokens:
        if words and inside[words[0].lower()] > inside[words[0]]:
            words[0] = words[0].lower()
    return tokens


def is_content(lemma: str, lang: str) -> bool:
    """Whether it is a content word; numbers and single letters are not."""
    return len(lemma) > 1 and lemma[0].isalpha() and lemma not in _function_words(lang)


def is_number(word: str, lang: str) -> bool:
    """Whether it is a number from 2 to 10 in words, or contains a digit."""
    return word in _NUMBERS.get(lang, "").split() or any(map(str.isdigit, word))


@cache
def lemmatizer(lang: str) -> Callable[[str], str]:
    """A function that returns a word's lemma in lower case, by simplemma. A capital marks a German noun.

    Raises:
        MMTError: a language without a list of function words.
    """
    if lang not in _FUNCTION_WORDS:
        raise MMTError(
            f"language '{lang}': ambiguous words are known for {', '.join(_FUNCTION_WORDS)}."
            + nearest(lang, _FUNCTION_WORDS)
        )

    @cache
    def lemma(form: str) -> str:
        # Participles, which the French word list has as adjectives: marchant like marchiez.
        if lang == "fr" and form.endswith("ant") and is_known(form[:-3] + "iez", lang=lang):
            form = form[:-3] + "iez"
        return lemmatize(form, lang=lang).lower()

    return lemma


def readings(form: str, lemma: Callable[[str], str]) -> tuple[str, ...]:
    """Lemmas of a word as it is; then in lower case, as inside a sentence; then with a noun's capital."""
    return lemma(form), lemma(form.lower()), lemma(form.capitalize())


@cache
def _function_words(lang: str) -> frozenset[str]:
    words, lemma = _FUNCTION_WORDS[lang].split(), lemmatizer(lang)
    return frozenset(words) | frozenset(map(lemma, words))
