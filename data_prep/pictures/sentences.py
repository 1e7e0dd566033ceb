"""English sentences that leave something open, and the German sentence for each picture that settles it.

A sentence is a frame (``FRAMES``) around one noun phrase. The frame and everything in it are chosen without
looking at the sense, so English alone never tells which German noun, colour or number is right.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class German:
    """A German noun: gender ``m``, ``f``, ``n``, or ``p`` for a plural, and its forms in three cases."""

    nominative: str
    gender: str
    accusative: str = ""
    dative: str = ""

    def form(self, case: str) -> str:
        """The noun in ``nom``, ``acc`` or ``dat``."""
        return {"nom": self.nominative, "acc": self.accusative, "dat": self.dative}[case] or self.nominative


@dataclass(frozen=True)
class Sense:
    """One reading of an English noun, and the drawing that shows it."""

    drawing: str
    german: German


@dataclass(frozen=True)
class Noun:
    """An English noun and its readings; more than one makes it ambiguous."""

    english: str
    senses: tuple[Sense, ...]
    plural: str = ""  # English and German plural, where the noun is counted
    german_plural: str = ""
    dative_plural: str = ""
    is_plural: bool = False  # glasses


def _two(english: str, *senses: tuple[str, str, str], is_plural: bool = False) -> Noun:
    made = []
    for drawing, noun, gender in senses:
        nominative, _, oblique = noun.partition("/")
        accusative = oblique if gender == "m" else ""  # Buchstabe/Buchstaben: a weak noun
        made.append(Sense(drawing, German(nominative, gender, accusative, oblique)))
    return Noun(english, tuple(made), is_plural=is_plural)


AMBIGUOUS = (
    _two("bank", ("bank_river", "Ufer", "n"), ("bank_building", "Bank", "f")),
    _two("bat", ("bat", "Fledermaus", "f"), ("bat_club", "Schläger", "m")),
    _two("bolt", ("bolt_lightning", "Blitz", "m"), ("bolt_screw", "Schraube", "f")),
    _two("bow", ("bow_archery", "Bogen", "m"), ("bow_ribbon", "Schleife", "f")),
    _two("crane", ("crane_bird", "Kranich", "m"), ("crane_machine", "Kran", "m")),
    _two("fan", ("fan_electric", "Ventilator", "m"), ("fan_hand", "Fächer", "m")),
    _two("glasses", ("glasses_eye", "Brille", "f"), ("glasses_drink", "Gläser/Gläsern", "p"), is_plural=True),
    _two("jam", ("jam_jar", "Marmelade", "f"), ("jam_traffic", "Stau", "m")),
    _two("key", ("key_lock", "Schlüssel", "m"), ("key_board", "Taste", "f")),
    _two("letter", ("letter_mail", "Brief", "m"), ("letter_glyph", "Buchstabe/Buchstaben", "m")),
    _two("mouse", ("mouse_animal", "Maus", "f"), ("mouse_computer", "Computermaus", "f")),
    _two("nail", ("nail_iron", "Nagel", "m"), ("fingernail", "Fingernagel", "m")),
    _two("palm", ("palm_tree", "Palme", "f"), ("palm_hand", "Handfläche", "f")),
    _two("pipe", ("pipe_tobacco", "Pfeife", "f"), ("pipe_tube", "Rohr", "n")),
    _two("pitcher", ("pitcher_jug", "Krug", "m"), ("pitcher_player", "Werfer", "m")),
    _two("plant", ("plant", "Pflanze", "f"), ("factory", "Fabrik", "f")),
    _two("ring", ("ring_jewel", "Ring", "m"), ("ring_boxing", "Boxring", "m")),
    _two("seal", ("seal_animal", "Robbe", "f"), ("seal_wax", "Siegel", "n")),
    _two("tank", ("tank_army", "Panzer", "m"), ("tank_fish", "Aquarium", "n")),
    _two("trunk", ("trunk_elephant", "Rüssel", "m"), ("tree_trunk", "Baumstamm", "m")),
)


def _one(english: str, german: str, gender: str, plural: str = "", plurals: str = "", dative: str = "") -> Noun:
    return Noun(english, (Sense(english, German(german, gender)),), plural, plurals, dative or plurals)


COLOURED = (
    _one("dress", "Kleid", "n"),
    _one("umbrella", "Regenschirm", "m"),
    _one("balloon", "Luftballon", "m"),
    _one("car", "Auto", "n"),
    _one("flower", "Blume", "f"),
    _one("cup", "Tasse", "f"),
)
COUNTED = (
    _one("apple", "Apfel", "m", "apples", "Äpfel", "Äpfeln"),
    _one("ball", "Ball", "m", "balls", "Bälle", "Bällen"),
    _one("candle", "Kerze", "f", "candles", "Kerzen"),
    _one("cup", "Tasse", "f", "cups", "Tassen"),
    _one("fish", "Fisch", "m", "fish", "Fische", "Fischen"),
    _one("flower", "Blume", "f", "flowers", "Blumen"),
)
PLAIN = (*COLOURED[:4], *COUNTED, _one("house", "Haus", "n"), _one("boat", "Boot", "n"))

COLOURS = {
    "red": ("rot", (214, 40, 44)),
    "blue": ("blau", (40, 96, 212)),
    "green": ("grün", (46, 158, 70)),
    "yellow": ("gelb", (250, 212, 40)),
    "purple": ("violett", (142, 62, 178)),
    "black": ("schwarz", (50, 50, 54)),
}
NUMBERS = {2: ("two", "zwei"), 3: ("three", "drei"), 4: ("four", "vier")}

# Nothing that a picture would show, so that no sentence says what its picture denies.
ADJECTIVES = {
    "": "", "old": "alt", "new": "neu", "strange": "seltsam", "famous": "berühmt", "beautiful": "schön",
    "unusual": "ungewöhnlich", "valuable": "wertvoll",
}  # fmt: skip
SUBJECTS = {
    "she": ("sie", 1), "he": ("er", 1), "we": ("wir", 2), "Anna": ("Anna", 1), "Peter": ("Peter", 1),
    "the woman": ("die Frau", 1), "the child": ("das Kind", 1), "the tourists": ("die Touristen", 2),
    "my brother": ("mein Bruder", 1), "my parents": ("meine Eltern", 2), "the old man": ("der alte Mann", 1),
    "your sister": ("deine Schwester", 1),
}  # fmt: skip
TIMES = {
    "": "", "again": "wieder", "in the morning": "am Morgen", "in the evening": "am Abend",
    "on Sunday": "am Sonntag", "after school": "nach der Schule", "during the holidays": "in den Ferien",
}  # fmt: skip
# The picture shows these four.
WEATHER = {"rain": ("in the rain", "im Regen"), "snow": ("in the snow", "im Schnee"),
           "night": ("at night", "in der Nacht"), "sun": ("in the sun", "in der Sonne")}  # fmt: skip

# <a|b>: as the subject is one or many; [a|b]: as the noun phrase is one or many, in its own language.
# {s}: subject; {np}: the noun phrase; {nom}, {acc}, {dat}: it in German, {rel}: its relative pronoun;
# {t}: time or weather; {how}: a second adjective.
FRAMES = (
    ("{s} <looks|look> at {np}{t}.", "{s} <betrachtet|betrachten>{t} {acc}."),
    ("{s} <photographs|photograph> {np}{t}.", "{s} <fotografiert|fotografieren>{t} {acc}."),
    ("{s} <is|are> painting {np}{t}.", "{s} <malt|malen>{t} {acc}."),
    ("{s} <talks|talk> about {np}{t}.", "{s} <spricht|sprechen>{t} über {acc}."),
    ("{s} <dreams|dream> of {np}{t}.", "{s} <träumt|träumen>{t} von {dat}."),
    ("{s} <wants|want> to see {np}{t}.", "{s} <will|wollen>{t} {acc} sehen."),
    ("{s} looked for {np}{t}.", "{s} <hat|haben>{t} nach {dat} gesucht."),
    ("{s} can show you {np}{t}.", "{s} <kann|können> dir{t} {acc} zeigen."),
    ("why <does|do> {s} like {np}?", "warum <mag|mögen> {s} {acc}?"),
    ("did {s} find {np}{t}?", "<hat|haben> {s}{t} {acc} gefunden?"),
    ("I believe that {s} saw {np}{t}.", "ich glaube, dass {s}{t} {acc} gesehen <hat|haben>."),
    ("there [is|are] {np} in this picture.", "auf diesem Bild [ist|sind] {nom} zu sehen."),
    ("{np} in this picture [looks|look] {how}.", "{nom} auf diesem Bild [sieht|sehen] {how} aus."),
    (
        "[this is|these are] {np} that {s} <talks|talk> about.",
        "das [ist|sind] {nom}, über {rel} {s} <spricht|sprechen>.",
    ),
)

_ARTICLES = {
    "nom": {"m": ("der", "ein"), "f": ("die", "eine"), "n": ("das", "ein"), "p": ("die", "")},
    "acc": {"m": ("den", "einen"), "f": ("die", "eine"), "n": ("das", "ein"), "p": ("die", "")},
    "dat": {"m": ("dem", "einem"), "f": ("der", "einer"), "n": ("dem", "einem"), "p": ("den", "")},
}
_ENDINGS = {  # of an adjective after der, and after ein or nothing
    "nom": {"m": ("e", "er"), "f": ("e", "e"), "n": ("e", "es"), "p": ("en", "e")},
    "acc": {"m": ("en", "en"), "f": ("e", "e"), "n": ("e", "es"), "p": ("en", "e")},
    "dat": {"m": ("en", "en"), "f": ("en", "en"), "n": ("en", "en"), "p": ("en", "en")},
}


@dataclass(frozen=True)
class Wording:
    """Everything about a sentence but its noun phrase's meaning; ``time`` and ``weather`` exclude each other."""

    frame: int
    subject: str
    adjective: str
    how: str
    time: str
    weather: str
    definite: bool

    @classmethod
    def draw(cls, rng: random.Random, modified: bool = False) -> Wording:
        """A random wording; ``modified`` leaves the adjective's place to a colour or number."""
        weather = rng.choice(sorted(WEATHER)) if rng.random() < 0.3 else ""
        frame = rng.randrange(len(FRAMES))
        if "{t}" not in FRAMES[frame][0]:
            weather = ""
        adjective, how = rng.choice(list(ADJECTIVES)), rng.choice(list(ADJECTIVES)[1:])
        if adjective == how or modified:
            adjective = ""
        time = rng.choice(list(TIMES))
        return cls(
            frame, rng.choice(list(SUBJECTS)), adjective, how, "" if weather else time, weather, rng.random() < 0.6
        )


@dataclass(frozen=True)
class Phrase:
    """A noun phrase in both languages; ``answers`` holds the German word that the picture settles, by case."""

    english: str
    many: bool
    german: dict[str, str]
    german_many: bool
    gender: str
    answers: dict[str, str]


def noun_phrase(noun: Noun, sense: Sense, wording: Wording, english: str = "", german: str = "") -> Phrase:
    """``noun`` in the reading ``sense``, with the wording's article and adjective.

    Args:
        english, german: an adjective in place of the wording's; where ``english`` is "coloured", the German
            adjective is what the picture settles, and otherwise the German noun.
    """
    english = english or wording.adjective
    stem = german or ADJECTIVES[wording.adjective]
    words = f"{english} {noun.english}".strip()
    article = "the" if wording.definite else "" if noun.is_plural else "an" if words[0] in "aeiou" else "a"
    gender = sense.german.gender
    column = 0 if wording.definite else 1
    forms, answers = {}, {}
    for case in ("nom", "acc", "dat"):
        name = sense.german.form(case)
        adjective = stem + _ENDINGS[case][gender][column] if stem else ""
        forms[case] = " ".join(word for word in (_ARTICLES[case][gender][column], adjective, name) if word)
        answers[case] = adjective if english == "coloured" else name
    return Phrase(f"{article} {words}".strip(), noun.is_plural, forms, gender == "p", gender, answers)


def number_phrase(noun: Noun, number: int, english: str) -> Phrase:
    """``number`` of ``noun``, which English calls ``english`` ("some", "a few", or the number)."""
    german = NUMBERS[number][1]
    forms = {
        "nom": f"{german} {noun.german_plural}",
        "acc": f"{german} {noun.german_plural}",
        "dat": f"{german} {noun.dative_plural}",
    }
    return Phrase(f"{english} {noun.plural}", True, forms, True, "p", dict.fromkeys(forms, german))


def write(wording: Wording, phrase: Phrase) -> tuple[str, str, str]:
    """The English sentence, the German one, and the answer in the form in which it stands there."""
    english, german = FRAMES[wording.frame]
    subject, count = SUBJECTS[wording.subject]
    time, zeit = WEATHER[wording.weather] if wording.weather else (wording.time, TIMES[wording.time])
    source = _agree(english, count == 2, phrase.many).format(
        s=wording.subject, np=phrase.english, t=time and f" {time}", how=wording.how
    )
    rel = _ARTICLES["acc"][phrase.gender][0]
    target = _agree(german, count == 2, phrase.german_many).format(
        s=subject, t=zeit and f" {zeit}", how=ADJECTIVES[wording.how], rel=rel, **phrase.german
    )
    case = next(case for case in ("nom", "acc", "dat") if f"{{{case}}}" in german)
    target = re.sub(r"\bvon dem\b", "vom", target)
    source, target = (sentence[0].upper() + sentence[1:] for sentence in (source, target))
    answer = phrase.answers[case]
    if target.startswith(answer.capitalize()):  # "Zwei Äpfel auf diesem Bild ..."
        answer = answer.capitalize()
    return source, target, answer


def _agree(frame: str, subject_many: bool, phrase_many: bool) -> str:
    frame = re.sub(r"<([^|]*)\|([^>]*)>", lambda m: m[2 if subject_many else 1], frame)
    return re.sub(r"\[([^|]*)\|([^]]*)]", lambda m: m[2 if phrase_many else 1], frame)
