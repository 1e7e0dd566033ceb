"""Words of a sentence as lemmas, and which of them are content words: in English, German, French and Czech."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from mmt.errors import MMTError, nearest
from mmt.io.normalization import normalize

# A word and what hyphens and apostrophes join to it; the lemmatiser parts l'homme and man's.
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")

# Closed-class words, numbers, auxiliaries and light verbs: their translations are a matter of grammar. A language
# is known here if it has a list.
_FUNCTION_WORDS = {
    "en": """
        a about above across after against all along also an and another any around as at away back be
        because before behind below beside between both but by can could do down during each eight every few
        five for four from front get go have he her here him his how i if in inside into it its just many
        may me might more most much must my near next nine no not of off on one only onto or other our out
        outside over same seven several shall she should six so some such ten than that the their them then
        there these they this those three through to together too toward towards two under up us very we
        what when where which while who whose will with within without would you your himself herself itself
        themselves
    """,
    "de": """
        ab acht alle als am an ander anderer anders auch auf aus bei beide beim bis da dabei damit daran
        darauf dass davon dazu der die das dein dem den des dies diese dieser doch dort drei durch ein eine
        einander einer einige einiger einzig entlang er es etwas fünf für gegen haben her herum hier hin
        hinter ihm ihn ihnen ihr ihre im in ins ja jede jeder jemand können man mehr mehrere mit nach neben
        neun nicht noch nur ob oben oder ohne sechs sehr sein seine sich sie sieben so sollen sonst über um
        und unten unter unterhalb viel vier vom von vor während was weg welcher wenn wer werden wie wir wo
        wollen zehn zu zum zur zusammen zwei zwischen vorne hinten herunter hinunter hinauf heraus hinaus
        hinein
    """,
    "fr": """
        à à-côté afin alors après au aucun aussi autour autre aux avant avec avoir beaucoup ce cela celui
        certain certains ces cet chaque chez cinq comme contre côté dans de dehors depuis derrière des
        dessous dessus deux devant dix dont du elle en encore entre et être eux face faire huit il ils je
        jusque la là le les leur loin long lui mais même moins neuf ne non notre nous on où ou par parmi pas
        pendant plus plusieurs pour près prendre qu quatre que quel quelque quelques qui quoi sans se sept
        seul si six soi son sous sur tandis tout très trois tu un une vers voici voilà votre vous y
    """,
    "cs": """
        a aby ale ani asi až bez být by co což čtyři další deset devět do dva ho i já jak jako jeden jeho
        jejich jen její jenž ji jiný již k každý kde kdo když ke kolem který kteří má mezi mít můj my na nad
        náš ne nebo něco některý několik nějaký o ob od on ona oni ono osm pak po pod podél podle pro proti
        protože přes před při s sám se sedm šest si skrz stejný svůj tak také tam ten tento ti to tři ty u
        uprostřed v váš ve vedle velmi však všechen vy z za zatímco ze zpět že pět on mnoho více tenhle
    """,
}

# Function words for a translation, as they have one form in each language; but a picture may tell them.
_NUMBERS = {
    "en": "two three four five six seven eight nine ten",
    "de": "zwei drei vier fünf sechs sieben acht neun zehn",
    "fr": "deux trois quatre cinq six sept huit neuf dix",
    "cs": "dva dvě tři čtyři pět šest sedm osm devět deset",
}


def words_of(text: str) -> list[str]:
    """The words of a sentence, normalised, without punctuation."""
    return _WORD.findall(normalize(text))


def true_case(sentences: Sequence[str]) -> list[list[str]]:
    """Words of each sentence; the first is in small letters where it mostly is inside of sentences."""
    tokens = [words_of(sentence) for sentence in sentences]
    inside = Counter(word for words in tokens for word in words[1:])
    for words in tokens:
        if words and inside[words[0].lower()] > inside[words[0]]:
            words[0] = words[0].lower()
    return tokens


def is_content(lemma: str, lang: str) -> bool:
    """Whether it is a content word; a number or a single letter is none."""
    return len(lemma) > 1 and lemma[0].isalpha() and lemma not in _function_words(lang)


def is_number(word: str, lang: str) -> bool:
    """Whether it is a number from 2 to 10 in letters, or has a digit."""
    return word in _NUMBERS.get(lang, "").split() or any(map(str.isdigit, word))


@cache
def lemmatizer(lang: str) -> Callable[[str], str]:
    """What gives a word's lemma in small letters, by simplemma. A capital tells it a German noun.

    Raises:
        MMTError: a language without a list of function words.
    """
    if lang not in _FUNCTION_WORDS:
        raise MMTError(
            f"language '{lang}': ambiguous words are known for {', '.join(_FUNCTION_WORDS)}."
            + nearest(lang, _FUNCTION_WORDS)
        )
    from simplemma import is_known, lemmatize

    @cache
    def lemma(form: str) -> str:
        # Participles, which stand in the French word list as adjectives: marchant as marchiez.
        if lang == "fr" and form.endswith("ant") and is_known(form[:-3] + "iez", lang=lang):
            form = form[:-3] + "iez"
        return lemmatize(form, lang=lang).lower()

    return lemma


def readings(form: str, lemma: Callable[[str], str]) -> tuple[str, ...]:
    """Lemmas of a word as it stands; then as if it stood inside a sentence, or had lost a noun's capital."""
    return lemma(form), lemma(form.lower()), lemma(form.capitalize())


@cache
def _function_words(lang: str) -> frozenset[str]:
    words, lemma = _FUNCTION_WORDS[lang].split(), lemmatizer(lang)
    return frozenset(words) | frozenset(map(lemma, words))
