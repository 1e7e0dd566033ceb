"""Draws the built-in dataset: English-German sentences whose open word only the picture settles.

    python -m data_prep.pictures data/pictures

"The woman looks at the crane." is German for a Kranich or a Kran; the picture decides. Beside such nouns there
are colours ("a coloured dress"), numbers ("some apples"), and plain sentences that leave nothing open. In
every split each open sentence comes with all its readings, each with its own picture, so that English
alone is right by chance only. The split ``contrastive`` holds pairs of rows: one source, two pictures, two
translations, as in CoMMuTE (Futeral et al. 2023, https://aclanthology.org/2023.acl-long.295).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from data_prep.pictures import living, places, plain, things, tools
from data_prep.pictures.drawing import (
    OUTDOORS,
    PLACES,
    SIDE,
    ZOOM,
    Pen,
    base_pen,
    draw_background,
    draw_weather,
)
from data_prep.pictures.sentences import (
    AMBIGUOUS,
    COLOURED,
    COLOURS,
    COUNTED,
    NUMBERS,
    PLAIN,
    Noun,
    Phrase,
    Wording,
    noun_phrase,
    number_phrase,
    write,
)
from mmt.data.dataset import DatasetInfo, read_info, write_dataset
from mmt.errors import MMTError
from mmt.io.atomic import made_beside
from mmt.io.processes import in_processes

NAME = "pictures_en_de"
SIZES = {"train": 3600, "val": 300, "test": 500, "contrastive": 400}
DRAWINGS: dict[str, Callable[[Pen], None]] = {
    name.removeprefix("draw_"): function
    for module in (living, places, plain, things, tools)
    for name, function in vars(module).items()
    if name.startswith("draw_") and function.__module__ == module.__name__
}
_VIEWS = ("bank_river", "jam_traffic")  # they fill the picture and need a sky
_UPRIGHT = (*_VIEWS, "bank_building", "crane_machine", "factory", "house", "ring_boxing", "tank_army", "tank_fish")
_NOT_MIRRORED = ("letter_glyph", "bank_building", "key_board")  # they bear signs that have a right way round
_LAYOUTS: dict[int, tuple[tuple[tuple[float, float], ...], ...]] = {
    1: (((0, 0),),),
    2: (((-0.48, 0.04), (0.48, -0.04)), ((-0.46, -0.34), (0.46, 0.34)), ((-0.46, 0.34), (0.46, -0.34))),
    3: (((-0.5, 0.42), (0.5, 0.42), (0, -0.46)), ((-0.5, -0.42), (0.5, -0.42), (0, 0.46))),
    4: (((-0.5, -0.48), (0.5, -0.48), (-0.5, 0.48), (0.5, 0.48)),),
}


@dataclass(frozen=True)
class Scene:
    """All that decides what a picture looks like: two equal scenes are the same picture."""

    drawing: str
    count: int
    colour: str
    place: str
    weather: str
    x: float
    y: float
    size: float
    angle: float
    mirror: bool
    line: float
    tint: int
    layout: int
    noise: int

    @classmethod
    def draw(cls, rng: random.Random, drawing: str, count: int = 1, colour: str = "", weather: str = "") -> Scene:
        """A random scene that shows what is asked for."""
        size = rng.uniform(0.74, 0.94) if count == 1 else rng.uniform(0.9, 1.0)
        tilt = 3 if drawing in _UPRIGHT else 9
        slack = 1 - size if count == 1 else 0.03  # the object stays inside the picture
        return cls(
            drawing,
            count,
            colour,
            rng.choice(OUTDOORS if weather or drawing in _VIEWS else PLACES),
            weather,
            round(rng.uniform(-slack, slack), 3),
            round(rng.uniform(-slack, slack), 3),
            round(size, 3),
            round(rng.uniform(-tilt, tilt), 2),
            drawing not in _NOT_MIRRORED and rng.random() < 0.5,
            round(rng.uniform(0.8, 1.3), 3),
            rng.randrange(1000),
            rng.randrange(len(_LAYOUTS[count])),
            rng.randrange(2**32),
        )


def draw_scene(scene: Scene) -> Image.Image:
    """The picture of ``scene``, SIDE pixels wide and high."""
    rng = random.Random(scene.noise)
    image = Image.new("RGB", (SIDE * ZOOM, SIDE * ZOOM))
    pen = base_pen(image)
    draw_background(pen, scene.place, scene.weather, rng)
    pen.line *= scene.line
    pen.tint = scene.tint
    pen.colour = COLOURS[scene.colour][1] if scene.colour else None
    group = pen.at(scene.x, scene.y, scene.size, 0 if scene.count > 1 else scene.angle, scene.mirror)
    for x, y in _LAYOUTS[scene.count][scene.layout]:
        one = group if scene.count == 1 else group.at(x, y, 0.44, scene.angle + rng.uniform(-6, 6))
        DRAWINGS[scene.drawing](one)
    draw_weather(pen, scene.weather, rng)
    return image.reduce(ZOOM)  # as smooth as LANCZOS for a whole factor, and 8 ms a picture faster


@dataclass(frozen=True)
class Row:
    """One sentence and its scene. ``contrast`` is the translation that another picture would ask for."""

    source: str
    target: str
    kind: str
    word: str
    answer: str
    contrast: str
    wrong_answer: str
    scene: Scene


def plan(seed: int, sizes: dict[str, int]) -> dict[str, list[Row]]:
    """All rows of all splits, nothing drawn yet. A split depends on ``seed`` and its own size only.

    In ``contrastive`` the rows 2i and 2i + 1 are one pair; in the other splits the order is random.
    """
    splits = {}
    for split, size in sizes.items():
        rng = random.Random(f"{seed}/{split}")
        if split == "contrastive":
            colour = number = max(2, size // 20 * 2)
            groups = [*_nouns(rng, size - colour - number), *_colours(rng, colour, 2), *_numbers(rng, number, 2)]
            rng.shuffle(groups)
        else:
            colour, number = max(6, size * 13 // 600 * 6), max(3, size * 12 // 300 * 3)
            plain = size // 5
            plain += (size - colour - number - plain) % 2  # nouns come in pairs
            groups = [
                *_nouns(rng, size - colour - number - plain),
                *_colours(rng, colour, len(COLOURS)),
                *_numbers(rng, number, len(NUMBERS)),
                *_plain(rng, plain),
            ]
        rows = [row for group in groups for row in group]
        if split != "contrastive":
            rng.shuffle(rows)
        splits[split] = rows
    seen: set[tuple[object, ...]] = set()
    for split, rows in splits.items():
        for row in rows:
            if astuple(row.scene) in seen:
                raise RuntimeError(f"{split}: two equal scenes, {row.scene}")
            seen.add(astuple(row.scene))
    return splits


def _nouns(rng: random.Random, size: int) -> list[list[Row]]:
    groups = []
    for noun in _in_turn(rng, AMBIGUOUS, size // 2):
        wording = Wording.draw(rng)
        if noun.english == "jam":  # "a jam" would lean towards the traffic
            wording = replace(wording, definite=True)
        phrases = [noun_phrase(noun, sense, wording) for sense in noun.senses]
        scenes = [Scene.draw(rng, sense.drawing, weather=wording.weather) for sense in noun.senses]
        groups.append(_group(rng, "noun", noun.english, wording, phrases, scenes))
    return groups


def _colours(rng: random.Random, size: int, readings: int) -> list[list[Row]]:
    groups = []
    for noun in _in_turn(rng, COLOURED, size // readings):
        wording = replace(Wording.draw(rng, modified=True), weather="")  # night and rain change colours
        colours = rng.sample(list(COLOURS), readings)
        sense = noun.senses[0]
        phrases = [noun_phrase(noun, sense, wording, "coloured", COLOURS[colour][0]) for colour in colours]
        scenes = [Scene.draw(rng, sense.drawing, colour=colour) for colour in colours]
        groups.append(_group(rng, "colour", "coloured", wording, phrases, scenes))
    return groups


def _numbers(rng: random.Random, size: int, readings: int) -> list[list[Row]]:
    groups = []
    for noun in _in_turn(rng, COUNTED, size // readings):
        wording = Wording.draw(rng, modified=True)
        word = "some" if wording.definite else "a few"
        numbers = rng.sample(list(NUMBERS), readings)
        phrases = [number_phrase(noun, number, word) for number in numbers]
        scenes = [
            Scene.draw(rng, noun.senses[0].drawing, count=number, weather=wording.weather) for number in numbers
        ]
        groups.append(_group(rng, "number", word, wording, phrases, scenes))
    return groups


def _plain(rng: random.Random, size: int) -> list[list[Row]]:
    groups = []
    for noun in _in_turn(rng, PLAIN, size):
        wording = Wording.draw(rng)
        sense = noun.senses[0]
        chance = rng.random()
        if chance < 0.3 and noun in COLOURED:
            wording = replace(wording, weather="")
            colour = rng.choice(list(COLOURS))
            phrase = noun_phrase(noun, sense, wording, colour, COLOURS[colour][0])
            scene = Scene.draw(rng, sense.drawing, colour=colour)
        elif chance < 0.5 and noun.plural:
            number = rng.choice(list(NUMBERS))
            phrase = number_phrase(noun, number, NUMBERS[number][0])
            scene = Scene.draw(rng, sense.drawing, count=number, weather=wording.weather)
        else:
            phrase = noun_phrase(noun, sense, wording)
            scene = Scene.draw(rng, sense.drawing, weather=wording.weather)
        source, target, _ = write(wording, phrase)
        groups.append([Row(source, target, "plain", "", "", "", "", scene)])
    return groups


def _group(
    rng: random.Random, kind: str, word: str, wording: Wording, phrases: list[Phrase], scenes: list[Scene]
) -> list[Row]:
    """One row a reading, in random order; each row's contrast is the next one's target."""
    written = [write(wording, phrase) for phrase in phrases]
    rows = []
    for place, (source, target, answer) in enumerate(written):
        _, contrast, wrong = written[(place + 1) % len(written)]
        rows.append(Row(source, target, kind, word, answer, contrast, wrong, scenes[place]))
    rng.shuffle(rows)
    return rows


def _in_turn(rng: random.Random, nouns: tuple[Noun, ...], times: int) -> Iterator[Noun]:
    """``times`` nouns, each about as often as any other."""
    order: list[Noun] = []
    for _ in range(times):
        if not order:
            order = list(nouns)
            rng.shuffle(order)
        yield order.pop()


def prepare(out: Path, seed: int, sizes: dict[str, int], processes: int | None = None) -> DatasetInfo:
    """Draws the dataset and writes it to ``out``; an older one there is replaced once the new one is whole.

    Raises:
        MMTError: a size is too small, or ``out`` holds something else.
    """
    for split, size in sizes.items():
        if size < 16 or (split == "contrastive" and size % 2):
            raise MMTError(f"--{split} must be at least 16 (contrastive: and even), but is {size} instead.")
    refuse_foreign(out, NAME)
    splits = plan(seed, sizes)
    with made_beside(out) as images:
        jobs: list[tuple[Path, Scene]] = []
        tables: dict[str, list[dict[str, object]]] = {}
        for split, rows in splits.items():
            tables[split] = []
            for number, row in enumerate(rows):
                name = f"{split}-{number:05d}"
                jobs.append((images / f"{name}.jpg", row.scene))
                tables[split].append(
                    {
                        "id": name, "image": f"{name}.jpg", "source": row.source, "target": row.target,
                        "has_image": True, "kind": row.kind, "word": row.word, "answer": row.answer,
                        "contrast": row.contrast, "wrong_answer": row.wrong_answer,
                    }
                )  # fmt: skip
        draw_all(jobs, processes or os.cpu_count() or 1)
        return write_dataset(out, DatasetInfo(NAME, "en", "de", "images"), tables, images_from=images)


def refuse_foreign(out: Path, name: str) -> None:
    """Raises MMTError where ``out`` is neither new nor an older dataset called ``name``."""
    if out.is_dir() and (out / "dataset.json").is_file():
        found = read_info(out).name
        if found == name:
            return
        found = f"the dataset '{found}'"
    elif not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    else:
        found = "something else"
    raise MMTError(
        f"{out}: expected a new folder or an older {name}, found {found}. "
        "Name another folder, or remove this one yourself."
    )


def draw_all(jobs: list[tuple[Path, Scene]], processes: int) -> None:
    """Draws each scene into its file, in ``processes`` at a time, with a progress bar."""
    with tqdm(total=len(jobs), desc="drawing", unit=" pictures", disable=None) as bar:
        for _ in in_processes(_draw_one, jobs, processes):
            bar.update()


def _draw_one(job: tuple[Path, Scene]) -> None:
    path, scene = job
    draw_scene(scene).save(path, quality=90)
