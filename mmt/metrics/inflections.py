"""What counts as a translation of a word that the probes mask: every form of its German and French words.

The words are those by which the training references of Multi30K translate the masked ones; a synonym that they
never use (Kerl, Dame, gars) is not listed. Of the masked words of the 29,000 pairs, 96 % have a listed form in the
German reference and 98 % in the French one. Least is people, 89 % in German: "a crowd of people" is often eine
Menschenmenge, which says no more than the "crowd" that stays in the source.

A form is one token of ``\\w+``: schwarz-weißer is two, and so is l'homme. One in small letters is matched in
either case; a German noun needs its capital, which is all that tells der Junge (boy) from die junge Frau. Colours
have every gender and number, persons only the number of the English word, for women, boys and girls are not masked
and to translate them is no guess. Names of skin and hair (dunkelhäutig, schwarzhaarig) are no colour words.
"""

from __future__ import annotations

from functools import cache

LANGUAGES = ("de", "fr")

# A shade and a colour are one word in German ("light [MASK_C]" is hellblau), and it is the colour that was masked.
_SHADES = (
    "", "hell", "dunkel", "knall", "neon", "tief", "blass", "zart", "mittel", "marine", "himmel", "baby", "lind",
    "oliv", "olive", "zitronen", "kastanien", "wein", "burgunder", "purpur", "bordeaux", "klar", "sanft", "leucht",
    "quietsch", "gras", "jade", "erbsen", "rost", "feuer", "scharlach", "erdbeer", "eis", "wasser", "indigo",
    "eierschalen", "asch",
)  # fmt: skip
# Two colours are one word, too: schwarz-weiß-er names black and white, and restores either. Rosarot is pink.
_MIXED = ("schwarz", "weiß", "rot", "blau", "grün", "gelb", "orange", "braun", "grau", "silber", "gold")
_ENDINGS = ("", "e", "em", "en", "er", "es")

# Stems; each takes every shade and ending, and farben before the ending: hell-blau-en, orange-farben-er.
_GERMAN_COLOURS = {
    "black": "schwarz",
    "white": "weiß weißlich",
    "red": "rot rötlich",
    "blue": "blau bläulich",
    "green": "grün grünlich",
    "yellow": "gelb gelblich",
    "orange": "orange orang orangen",
    "brown": "braun bräunlich gelblich",
    "pink": "rosa rosan pink rosarot",
    "purple": "lila lilan violett purpur purpurn flieder purpurrot",
    "gray": "grau gräulich",
    "grey": "grau gräulich",
    "tan": "braun bräunlich gelblich beige beig lohfarben gebräunt",
    "gold": "gold golden",
    "silver": "silber silbern silbrig",
    "beige": "beige beig",
    "violet": "violett lila lilan purpur purpurn",
}
_GERMAN_CHARACTERS = {
    "man": "Mann Mannes Manns",
    "woman": "Frau",
    "boy": "Junge Jungen",
    "girl": "Mädchen Mädchens",
    "people": "Leute Leuten Menschen Personen Menschengruppe Menschenansammlung Menschenschlange Personengruppe",
    "men": "Männer Männern",
}

# Singular and plural, masculine and feminine, written out where they differ.
_FRENCH = {
    "black": "noir noire noirs noires",
    "white": "blanc blanche blancs blanches",
    "red": "rouge rouges roux",
    "blue": "bleu bleue bleus bleues",
    "green": "vert verte verts vertes verdoyant verdoyante verdoyants verdoyantes",
    "yellow": "jaune jaunes",
    "orange": "orange oranges orangé orangée orangés orangées",
    "brown": "brun brune bruns brunes marron marrons châtain châtaine châtains châtaines",
    "pink": "rose roses",
    "purple": "violet violette violets violettes pourpre pourpres mauve mauves",
    "gray": "gris grise grises",
    "grey": "gris grise grises",
    "tan": "beige beiges brun brune bruns brunes marron marrons fauve fauves ocre ocres bronzé bronzés",
    "gold": "or doré dorée dorés dorées",
    "silver": "argent argenté argentée argentés argentées",
    "beige": "beige beiges",
    "violet": "violet violette violets violettes",
    "man": "homme",
    "woman": "femme",
    "boy": "garçon",
    "girl": "fille fillette",
    "people": "gens personnes individus",
    "men": "hommes",
}


@cache
def translations(lang: str) -> dict[str, frozenset[str]]:
    """The forms that translate each word of ``mmt.data.masking.COLOURS`` and ``CHARACTERS``.

    Args:
        lang: one of ``LANGUAGES``.
    """
    if lang == "fr":
        return {word: frozenset(forms.split()) for word, forms in _FRENCH.items()}
    forms = {word: frozenset(forms.split()) for word, forms in _GERMAN_CHARACTERS.items()}
    for word, stems in _GERMAN_COLOURS.items():
        forms[word] = frozenset(
            shade + stem + tail + ending
            for shade in _SHADES
            for stem in stems.split()
            for tail in ("", "farben")
            for ending in _ENDINGS
        ) | {
            one + other + ending
            for stem in stems.split()
            for mixed in _MIXED
            for one, other in ((stem, mixed), (mixed, stem))
            for ending in _ENDINGS
        }
    return forms
