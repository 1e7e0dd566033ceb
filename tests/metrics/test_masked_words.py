"""Laws of masked words: what counts as a translation, and what counts as restored."""

from __future__ import annotations

import gzip
import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmt.data.masking import CHARACTERS, COLOURS, Probe
from mmt.errors import MMTError
from mmt.metrics.masked_words import LANGUAGES, gold_items, probe_accuracy, translations
from tests.worlds import data_root


@pytest.mark.parametrize(
    ("lang", "word", "right", "wrong"),
    [
        ("de", "red", "rot rote rotem roten roter rotes hellrot dunkelroten Rot", "Brot rosarot blau"),
        ("de", "orange", "orange oranges oranger orangefarbenen", "Orangensaft"),
        ("de", "pink", "rosa pinkes rosafarbener rosarot", "roter"),
        ("de", "purple", "purpurner purpurn purpurfarben purpurroten fliederfarbene lila", "rosa roten"),
        ("de", "yellow", "gelblich gelblichem quietschgelben gelbgrün goldgelbe", "golden"),
        ("de", "white", "weißlichen grauweiße schwarzweißer rotweiß", "schweißen weißt rosarot"),
        ("de", "gray", "grauweißen weißgrau gräulichem blaugraues", "weißen"),
        ("de", "black", "schwarzweißes braunschwarzer", "braunweiß"),
        ("de", "tan", "gelblichen bräunlich rotbraune beige", "gelben rot"),
        ("de", "gold", "goldenen goldfarben Gold", "Goldschmuck"),
        ("de", "boy", "Junge Jungen", "junge jungen"),
        ("de", "man", "Mann Mannes", "Männer man"),
        ("de", "men", "Männer Männern", "Mann"),
        ("de", "people", "Leute Menschen Personen", "Person Menschenmenge"),
        ("fr", "white", "blanc blanche blancs blanches", "blanchi"),
        ("fr", "brown", "brun brunes marron marrons", "bruit"),
        ("fr", "tan", "marron marrons bronzé beiges brune", "bronze jaune"),
        ("fr", "green", "vert verdoyante verdoyants", "verdure"),
        ("fr", "red", "rouges roux", "rousse rousseur"),
        ("fr", "girl", "fille Fille", "filles garçon"),
    ],
)
def test_forms(lang: str, word: str, right: str, wrong: str) -> None:
    assert all(gold_items([word], token, lang) != [None] for token in right.split())
    assert all(gold_items([word], token, lang) == [None] for token in wrong.split())


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_word_that_is_masked_has_translations(lang: str) -> None:
    assert all(translations(lang)[word] for word in (*COLOURS, *CHARACTERS))
    assert set(translations(lang)) == {*COLOURS, *CHARACTERS}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("kind", ["colour", "character"])
def test_references_translate_nearly_every_masked_word(lang: str, kind: str) -> None:
    raw = data_root() / "multi30k" / "raw"
    if not raw.is_dir():
        pytest.skip(f"no Multi30K in {raw}")
    sides = [
        gzip.decompress((raw / f"val.{side}.gz").read_bytes()).decode().split("\n")[:-1] for side in ("en", lang)
    ]
    gold = [
        form for en, other in zip(*sides, strict=True) for form in gold_items(Probe(kind).mask(en)[1], other, lang)
    ]
    assert len(gold) > 400
    assert gold.count(None) < 0.06 * len(gold)


def test_each_token_of_a_text_is_used_once() -> None:
    assert set(gold_items(["Red", "red"], "rotes Boot, roter Hut", "de")) == {"rotes", "roter"}
    assert gold_items(["red"], "rotes Boot, roter Hut, rote Uhr", "de") == ["rotes"]
    for reference in (
        "un animal brun frappé par un taureau marron",
        "un animal marron frappé par un taureau brun",
    ):
        words = reference.split()
        assert gold_items(["tan", "brown"], reference, "fr") == [words[2], words[-1]]  # in the order of the words
    assert gold_items(["red", "red", "blue"], "ein roter Hut, ein blauer", "de").count(None) == 1
    score = probe_accuracy([["red", "red"]], ["roter roter"], ["ein roter"], "colour", "de")
    assert (score.restricted, score.relaxed) == (0.5, 0.5)


def test_hyphens_apostrophes_and_decomposed_letters_part_no_word_from_its_form() -> None:
    assert gold_items(["black", "white"], "Ein schwarz-weißer Hund", "de") == ["schwarz", "weißer"]
    assert gold_items(["man"], "l'homme", "fr") == ["homme"]
    assert gold_items(["men"], unicodedata.normalize("NFD", "Männer"), "de") == ["Männer"]


def test_restricted_asks_for_the_references_form_and_relaxed_for_any() -> None:
    masked, references = [["red"], ["black"], []], ["Ein roter Hut.", "Ein Mann in Blau.", "Ein Hund."]
    for hypothesis, expected in (("Ein Roter", (1, 1, 1)), ("die dunkelrote", (1, 0, 1)), ("blauer", (1, 0, 0))):
        hypotheses = [hypothesis, "", "roter"]
        score = probe_accuracy(masked, references, hypotheses, "colour", "de")
        assert score.hits == (expected, (0, 0, 0), (0, 0, 0))
        assert (score.items, score.without_gold) == (1, 1)
        assert (score.restricted, score.relaxed) == expected[1:]


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.sampled_from(["tan", "brown", "beige", "gray"]), min_size=1, max_size=3),
    tokens=st.lists(st.sampled_from(["braun", "hellbraun", "beige", "grau", "Hund"]), max_size=4),
)
def test_as_many_words_are_found_as_can_be(words: list[str], tokens: list[str]) -> None:
    forms = [translations("de")[word] for word in words]
    padded = [*tokens, *[""] * len(words)]
    best = max(
        sum(token in allowed for token, allowed in zip(order, forms, strict=True))
        for order in itertools.permutations(padded, len(words))
    )
    gold = gold_items(words, " ".join(tokens), "de")
    assert sum(form is not None for form in gold) == best
    assert all(form is None or form in allowed for form, allowed in zip(gold, forms, strict=True))
    score = probe_accuracy([words], ["braun braun beige beige grau"], [" ".join(tokens)], "colour", "de")
    assert score.restricted <= score.relaxed


def test_the_reference_restores_everything() -> None:
    words = {"red": "roter", "Blue": "blauer", "green": "grüner", "White": "weißer"}
    references = [f"Ein {word} Hund sieht den Mann." for word in words.values()]
    masked = [Probe("colour").mask(f"A {word} dog sees the man.")[1] for word in words]
    score = probe_accuracy(masked, references, references, "colour", "de")
    assert (score.restricted, score.relaxed, score.items, score.without_gold) == (1, 1, 4, 0)


def test_what_cannot_be_scored_is_refused() -> None:
    for masked, kind, lang, complaint in (
        ([["dog"]], "noun", "de", "expected colour or character"),
        ([["red"]], "colour", "cs", "into de or fr, found 'cs'"),
        ([["red"]], "colour", "fr", "no reference has a translation"),
        ([["red"], []], "colour", "de", "as sentences .2., got 1 and 1"),
    ):
        with pytest.raises(MMTError, match=complaint):
            probe_accuracy(masked, ["ein roter Hund"], ["ein roter Hund"], kind, lang)
