"""Questions about the built-in pictures, which the picture alone answers: draws them, and asks.

Three sorts of pictures: one thing in a known colour, one to four equal things, and one of many things; the last
two also in rain, snow, sun or at night. Three questions are asked of each picture, of these kinds:

* ``colour``: "What colour is the balloon?", 6 answers;
* ``number``: "How many cups are there?", 4 answers;
* ``what``: "What is in the picture?", any of the things, as one or as several;
* ``where``: "Where is the umbrella?", 4 answers; not in snow and at night, which hide the ground;
* ``weather``: "What is the weather like?", 3 answers, and "Is it day or night?";
* ``yes/no``: "Is there a key in the picture?", "Are there exactly two balls?", "Is the car red?".

Yes and no are equally frequent, and the thing, number or colour of a no is drawn as those that are there, so that
no question tells its answer.
"""

from __future__ import annotations

import os
import random
from dataclasses import astuple, dataclass
from pathlib import Path

from data_prep.pictures.scenes import Scene, draw_all, refuse_foreign
from data_prep.pictures.sentences import COLOURED, COLOURS, COUNTED, NUMBERS
from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.errors import MMTError
from mmt.io.atomic import made_beside
from mmt.metrics.vqa import normalise_answer

NAME = "pictures_vqa"
SIZES = {"train": 15_000, "val": 501, "test": 1002}
PER_PICTURE = 3

# What the drawings of the third sort are called. Those without a plain name are left out: a folding fan, a printed
# letter, a water pipe and a wax seal.
THINGS = {
    "balloon": "balloon", "bank_building": "bank", "bank_river": "river", "bat": "bat",
    "bat_club": "baseball bat", "boat": "boat", "bolt_lightning": "lightning", "bolt_screw": "screw",
    "bow_archery": "bow", "bow_ribbon": "ribbon", "crane_bird": "bird", "crane_machine": "crane",
    "dress": "dress", "factory": "factory", "fan_electric": "fan", "fingernail": "finger",
    "glasses_drink": "wine glasses", "glasses_eye": "glasses", "house": "house", "jam_jar": "jam",
    "jam_traffic": "traffic jam", "key_board": "keyboard", "key_lock": "key", "letter_mail": "envelope",
    "mouse_animal": "mouse", "mouse_computer": "computer mouse", "nail_iron": "nail", "palm_hand": "hand",
    "palm_tree": "palm tree", "pipe_tobacco": "pipe", "pitcher_jug": "jug", "pitcher_player": "baseball player",
    "plant": "plant", "ring_boxing": "boxing ring", "ring_jewel": "ring", "seal_animal": "seal",
    "tank_army": "tank", "tank_fish": "aquarium", "tree_trunk": "tree", "trunk_elephant": "elephant",
    "umbrella": "umbrella",
}  # fmt: skip
COUNTS = {1: "one"} | {number: words[0] for number, words in NUMBERS.items()}
PLURALS = {noun.english: noun.plural for noun in COUNTED}
PLACES = {
    "room": "in the room", "table": "in the room", "meadow": "on the grass", "sand": "on the sand",
    "street": "on the street",
}  # fmt: skip
WEATHER = {"rain": "rainy", "snow": "snowy", "sun": "sunny"}

_NOT_SOMEWHERE = ("bank_river", "bolt_lightning", "jam_traffic", "palm_tree")  # they bring their own place
_SEVERAL = ("glasses", "wine glasses")
_UNCOUNTED = ("lightning", "jam")
# Where one is drawn, it could be argued that another of the same set is there too: no question asks for it.
_ALIKE = (
    {"river", "boat", "plant"},
    {"traffic jam", "car"},
    {"aquarium", "fish", "plant"},
    {"bank", "house", "factory"},
    {"baseball bat", "bat", "ball", "baseball player"},
    {"bird", "bat"},
    {"bow", "ribbon"},
    {"finger", "hand", "nail"},
    {"glasses", "wine glasses"},
    {"jug", "cup"},
    {"key", "keyboard"},
    {"mouse", "computer mouse"},
    {"palm tree", "tree", "plant", "flower"},
    {"ring", "boxing ring"},
)


@dataclass(frozen=True)
class Question:
    """A question, its answer and its kind."""

    text: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Picture:
    """A scene, the thing that it shows ("cup", also where there are three), and what is asked of it."""

    scene: Scene
    thing: str
    questions: tuple[Question, ...]


def plan(seed: int, sizes: dict[str, int]) -> dict[str, list[Picture]]:
    """All pictures and questions of all splits, nothing drawn yet. No two scenes are equal.

    Args:
        seed: another draws others. A split depends on it and on its own size only.
        sizes: questions of each split, ``PER_PICTURE`` for each picture.
    Raises:
        MMTError: a size is too small, or no multiple of ``PER_PICTURE``.
    """
    splits = {}
    seen: set[tuple[object, ...]] = set()
    for split, size in sizes.items():
        if size < 30 or size % PER_PICTURE:
            raise MMTError(
                f"--{split} must be at least 30 and a multiple of {PER_PICTURE}, the questions a picture, but is "
                f"{size} instead."
            )
        rng = random.Random(f"{seed}/{split}/vqa")
        shown = [_draw_scene(rng, number % 10) for number in range(size // PER_PICTURE)]
        rng.shuffle(shown)
        things = [thing for thing, _ in shown]
        splits[split] = [Picture(scene, thing, _ask(rng, scene, thing, things)) for thing, scene in shown]
        for _, scene in shown:
            if astuple(scene) in seen:
                raise RuntimeError(f"{split}: two equal scenes, {scene}")
            seen.add(astuple(scene))
    return splits


def _draw_scene(rng: random.Random, sort: int) -> tuple[str, Scene]:
    """What is shown, and where. Sorts 0 to 2 show a colour, 3 to 5 a number, 6 to 9 one of many things."""
    if sort < 3:  # without weather: night and rain change colours
        noun = rng.choice(COLOURED)
        return noun.english, Scene.draw(rng, noun.senses[0].drawing, colour=rng.choice(list(COLOURS)))
    weather = rng.choice(["rain", "snow", "sun", "night"]) if rng.random() < 0.5 else ""
    if sort < 6:
        noun = rng.choice(COUNTED)
        return noun.english, Scene.draw(rng, noun.senses[0].drawing, rng.choice(list(COUNTS)), weather=weather)
    drawing = rng.choice(list(THINGS))
    return THINGS[drawing], Scene.draw(rng, drawing, weather=weather)


def _ask(rng: random.Random, scene: Scene, thing: str, things: list[str]) -> tuple[Question, ...]:
    """``PER_PICTURE`` questions; ``things`` is what all pictures of the split show."""
    yes = rng.random() < 0.5
    what = Question(rng.choice(["What is in the picture?", "What can you see?"]), _said(scene, thing), "what")
    more = _surroundings(scene, thing)
    about_thing = rng.random() < 0.5
    if scene.colour:
        wording = rng.choice(["What colour is the {}?", "Which colour does the {} have?"])
        first = Question(wording.format(thing), scene.colour, "colour")
        check = _is_there(rng, thing, things, yes) if about_thing else _is_coloured(rng, scene, thing, yes)
    elif thing in PLURALS:
        first = Question(f"How many {PLURALS[thing]} are there?", COUNTS[scene.count], "number")
        check = _is_there(rng, thing, things, yes) if about_thing else _is_counted(rng, scene, thing, yes)
    else:
        return (
            what,
            _is_there(rng, thing, things, yes),
            rng.choice(more or [_is_there(rng, thing, things, not yes)]),
        )
    return first, check, rng.choice([what, *more])


def _surroundings(scene: Scene, thing: str) -> list[Question]:
    """Questions about the place and the weather that can be seen."""
    asked = []
    if scene.weather not in ("snow", "night") and scene.place in PLACES and scene.drawing not in _NOT_SOMEWHERE:
        verb = "are" if scene.count > 1 or thing in _SEVERAL else "is"
        asked.append(Question(f"Where {verb} the {_said(scene, thing)}?", PLACES[scene.place], "where"))
    if scene.weather in WEATHER:
        asked.append(Question("What is the weather like?", WEATHER[scene.weather], "weather"))
    if scene.weather:
        day = "night" if scene.weather == "night" else "day"
        asked.append(Question("Is it day or night?", day, "weather"))
    return asked


def _said(scene: Scene, thing: str) -> str:
    return PLURALS[thing] if scene.count > 1 else thing


def _is_there(rng: random.Random, thing: str, things: list[str], yes: bool) -> Question:
    if not yes:
        alike = {thing}.union(*(names for names in _ALIKE if thing in names))
        thing = rng.choice([other for other in things if other not in alike])
    verb = "Are" if thing in _SEVERAL else "Is"
    article = "" if thing in (*_SEVERAL, *_UNCOUNTED) else "an " if thing[0] in "aeiou" else "a "
    return Question(f"{verb} there {article}{thing} in the picture?", "yes" if yes else "no", "yes/no")


def _is_coloured(rng: random.Random, scene: Scene, thing: str, yes: bool) -> Question:
    colour = scene.colour if yes else rng.choice([other for other in COLOURS if other != scene.colour])
    return Question(f"Is the {thing} {colour}?", "yes" if yes else "no", "yes/no")


def _is_counted(rng: random.Random, scene: Scene, thing: str, yes: bool) -> Question:
    count = scene.count if yes else rng.choice([other for other in COUNTS if other != scene.count])
    number = f"Are there exactly {COUNTS[count]} {PLURALS[thing]}?" if count > 1 else f"Is there only one {thing}?"
    return Question(number, "yes" if yes else "no", "yes/no")


def prepare(out: Path, seed: int, sizes: dict[str, int], processes: int | None = None) -> DatasetInfo:
    """Draws the pictures and writes the dataset to ``out``; an older one there is replaced once this is whole.

    Raises:
        MMTError: a size is wrong (see ``plan``), or ``out`` holds something else.
    """
    refuse_foreign(out, NAME)
    splits = plan(seed, sizes)
    with made_beside(out) as drawn:
        jobs: list[tuple[Path, Scene]] = []
        rows: dict[str, list[dict[str, object]]] = {}
        for split, pictures in splits.items():
            rows[split] = []
            for number, picture in enumerate(pictures):
                name = f"{split}-{number:05d}"
                jobs.append((drawn / f"{name}.jpg", picture.scene))
                rows[split] += [
                    {
                        "id": f"{name}-{place}", "image": f"{name}.jpg", "source": question.text,
                        "target": question.answer, "has_image": True, "kind": question.kind,
                        "answers": [question.answer], "label": normalise_answer(question.answer),
                    }
                    for place, question in enumerate(picture.questions)
                ]  # fmt: skip
        draw_all(jobs, processes or os.cpu_count() or 1)
        return write_dataset(out, DatasetInfo(NAME, "en", "en", "images"), rows, images_from=drawn)
