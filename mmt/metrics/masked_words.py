"""How many masked words a translation restores: colours and characters, by every form of their translations.

The listed words are the translations of the masked words in the training references of Multi30K; synonyms that
these never use (Kerl, Dame, gars) are not listed. Of the masked words of the 29,000 pairs, 96 % have a listed form
in the German reference and 98 % in the French one. The minimum is people, 89 % in German: "a crowd of people" is
often eine Menschenmenge, which says no more than the "crowd" that stays in the source.

A form is one token of ``\\w+``: schwarz-weißer is two, and so is l'homme. A lower-case form matches either case; a
German noun needs its capital, the only difference between der Junge (boy) and die junge Frau. Colours are listed
in every gender and number, persons only in the number of the English word, because women, boys and girls are not
masked and translating them is no guess. Words for skin and hair (dunkelhäutig, schwarzhaarig) are not colours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy  # which loads scipy.optimize when it is first used

from mmt.data.masking import SCORED
from mmt.errors import MMTError
from mmt.io.normalization import normalize

LANGUAGES = ("de", "fr")

_FORMS = Path(__file__).with_name("masked_words.json")


@cache
def translations(lang: str) -> dict[str, frozenset[str]]:
    """The forms that translate each word of ``mmt.data.masking.COLOURS`` and ``CHARACTERS``.

    French forms are listed: singular and plural, masculine and feminine where they differ. German colours are
    stems. A shade and a colour are one word ("light [MASK_C]" is hellblau), and the colour is what was masked;
    ``farben`` may stand before the ending (orange-farben-er). Two colours are one word as well (schwarz-weiß-er),
    which restores either.

    Args:
        lang: one of ``LANGUAGES``.
    """
    lists = json.loads(_FORMS.read_text(encoding="utf-8"))
    if lang == "fr":
        return {word: frozenset(forms.split()) for word, forms in lists["french"].items()}
    forms = {word: frozenset(forms.split()) for word, forms in lists["german_characters"].items()}
    shades, endings = ["", *lists["shades"].split()], ["", *lists["endings"].split()]
    mixed = lists["mixed"].split()
    for word, stems in lists["german_colours"].items():
        whole = {shade + stem + tail for shade in shades for stem in stems.split() for tail in ("", "farben")}
        whole |= {pair for stem in stems.split() for other in mixed for pair in (stem + other, other + stem)}
        forms[word] = frozenset(form + ending for form in whole for ending in endings)
    return forms


class Hits(NamedTuple):
    """Of one sentence: the number of items, and of those restored in the reference's form and in any form."""

    items: int
    restricted: int
    relaxed: int


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """How many of the masked words a system's translations restore.

    restricted, relaxed: the share of ``items`` whose translation is in the hypothesis, from 0 to 1: in the
        reference's form, or in any form that translates the word.
    items: number of masked words whose translation is in the reference.
    without_gold: number of the others, which are left out.
    hits: of each sentence, including those without items.
    """

    restricted: float
    relaxed: float
    items: int
    without_gold: int
    hits: tuple[Hits, ...]


def probe_accuracy(
    masked: Sequence[Sequence[str]], references: Sequence[str], hypotheses: Sequence[str], kind: str, lang: str
) -> ProbeScore:
    """Counts the masked words that a system's translations restore.

    Each word uses up one token of the hypothesis: two masked "men" need "Männer" twice.

    Args:
        masked: the masked words of each sentence, in order; empty for a sentence without any.
        references: raw text, one per sentence.
        hypotheses: raw text, one per sentence.
        kind: what was masked, a key of ``SCORED``.
        lang: the target language, one of ``LANGUAGES``.
    Raises:
        MMTError: the lengths differ, no reference translates a masked word, or words of this kind have no listed
            translations in the language.
    """
    if not len(masked) == len(references) == len(hypotheses):
        raise MMTError(
            f"probe: expected as many references and hypotheses as sentences ({len(masked):,}), got "
            f"{len(references):,} and {len(hypotheses):,}."
        )
    if not can_be_scored(kind, lang):
        raise MMTError(
            f"probe '{kind}': expected {' or '.join(SCORED)}, whose words have known translations, into "
            f"{' or '.join(LANGUAGES)}, found '{lang}'. For others compare BLEU: mmt evaluate probes does."
        )
    without_gold, hits = 0, []
    for words, reference, hypothesis in zip(masked, references, hypotheses, strict=True):
        found = zip(words, gold_items(words, reference, lang), strict=True)
        gold = [(word.lower(), form) for word, form in found if form is not None]
        without_gold += len(words) - len(gold)
        tokens = _tokens(hypothesis)
        restricted = _matched([{form} for _, form in gold], tokens)
        relaxed = _matched([translations(lang)[word] for word, _ in gold], tokens)
        hits.append(Hits(len(gold), _count(restricted), _count(relaxed)))
    items = sum(hit.items for hit in hits)
    if not items:
        raise MMTError(
            f"probe '{kind}': no reference has a translation of a masked word in it. Is it '{lang}' text?"
        )
    shares = (sum(hit.restricted for hit in hits) / items, sum(hit.relaxed for hit in hits) / items)
    return ProbeScore(*shares, items, without_gold, tuple(hits))


def can_be_scored(kind: str, lang: str) -> bool:
    """Whether the masked words can be looked for in the translation."""
    return kind in SCORED and lang in LANGUAGES


def check_scorable(
    masked: Sequence[Sequence[str]], references: Sequence[str], kind: str, lang: str, name: str
) -> tuple[int, int] | None:
    """Counts the masked words, and those whose translation is in the reference, before any long work.

    Args:
        masked, references, kind, lang: as in ``probe_accuracy``.
        name: whose sentences these are.
    Returns:
        Both numbers; None for a kind or a language for which whole sentences are scored.
    Raises:
        MMTError: no reference translates a masked word.
    """
    if not can_be_scored(kind, lang):
        return None
    gold = [form for words, text in zip(masked, references, strict=True) for form in gold_items(words, text, lang)]
    found = sum(form is not None for form in gold)
    if gold and not found:
        lower = lang == "de" and kind == "character" and not any(map(_has_capital, references))
        reason = (
            "German nouns are looked for with their capital (der Junge, but die junge Frau), and this text is in "
            "lower case. Mask the text in its own case"
            if lower
            else f"Is it '{lang}' text"
        )
        raise MMTError(
            f"{name}: probe '{kind}': no reference has the translation of one of the {len(gold):,} masked words. "
            f"{reason}{'.' if lower else '?'}"
        )
    return len(gold), found


def _has_capital(line: str) -> bool:
    return line != line.lower()


def gold_items(words: Sequence[str], reference: str, lang: str) -> list[str | None]:
    """The form by which the reference translates each masked word; None if no listed form is left.

    Args:
        words: the masked words of a sentence, of ``COLOURS`` or ``CHARACTERS``, in either case.
        lang: one of ``LANGUAGES``.
    """
    return _matched([translations(lang)[word.lower()] for word in words], _tokens(reference))


def _tokens(text: str) -> list[str]:
    # Normalised, because \w does not match the separate accent of a decomposed letter.
    return re.findall(r"\w+", normalize(text))


def _count(found: Sequence[str | None]) -> int:
    return sum(form is not None for form in found)


def _matched(wanted: Sequence[Set[str]], tokens: Sequence[str]) -> list[str | None]:
    """Matches tokens to sets of forms, as many as possible, no token twice, the earliest tokens first."""
    forms = [[_form(token, allowed) for token in tokens] for allowed in wanted]
    fits = np.array([[form is not None for form in row] for row in forms], float).reshape(len(wanted), len(tokens))
    earlier = 1 - np.linspace(0, 1, len(tokens)) / (len(tokens) + 1) / 2  # in total less than one match
    places = [np.linspace(0, 1, size, endpoint=False) for size in (len(wanted), len(tokens))]
    fits *= 1 - 1e-7 * (places[0][:, None] - places[1]) ** 2  # of equal choices, the one in the order of the words
    found: list[str | None] = [None] * len(wanted)
    for item, token in zip(*scipy.optimize.linear_sum_assignment(fits * earlier, maximize=True), strict=True):
        found[item] = forms[item][token]
    return found


def _form(token: str, allowed: Set[str]) -> str | None:
    return next((form for form in (token, token.lower()) if form in allowed), None)
