"""An overview of the built-in dataset's pictures, for the README."""

from __future__ import annotations

import io
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from data_prep.pictures.scenes import Scene, draw_scene
from data_prep.pictures.sentences import AMBIGUOUS, COLOURED, COLOURS, COUNTED, NUMBERS
from mmt.io.atomic import write_whole

_CELL, _GAP, _CAPTION, _TITLE = 138, 6, 24, 26
_INK, _GREY = (40, 38, 50), (112, 110, 122)


def draw_sheet(path: Path, seed: int = 6) -> None:
    """Draws each ambiguous noun's two pictures beside one another, then colours and numbers."""
    rng = random.Random(seed)
    blocks: list[tuple[str, list[tuple[Scene, str]]]] = [
        (
            f"the {noun.english}",
            [(Scene.draw(rng, sense.drawing), sense.german.nominative) for sense in noun.senses],
        )
        for noun in AMBIGUOUS
    ]
    dress = COLOURED[0].senses[0].drawing
    blocks.append(
        (
            "a coloured dress",
            [(Scene.draw(rng, dress, colour=name), f"ein {stem}es Kleid") for name, (stem, _) in COLOURS.items()],
        )
    )
    for noun in (COUNTED[0], COUNTED[4]):
        counted = [
            (Scene.draw(rng, noun.senses[0].drawing, count=number), f"{german} {noun.german_plural}")
            for number, (_, german) in NUMBERS.items()
        ]
        blocks.append((f"some {noun.plural}", counted))
    rows: list[list[tuple[str, list[tuple[Scene, str]]]]] = [[]]
    for block in blocks:
        if sum(len(cells) for _, cells in rows[-1]) + len(block[1]) > 8:
            rows.append([])
        rows[-1].append(block)
    step, height = _CELL + _GAP, _TITLE + _CELL + _CAPTION + 6
    sheet = Image.new("RGB", (8 * step + 3 * 12 + 2 * _GAP, len(rows) * height), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(18)
    for row, line in enumerate(rows):
        x, y = _GAP, row * height
        for title, cells in line:
            draw.text((x, y + 4), title, _INK, font)
            for scene, caption in cells:
                sheet.paste(draw_scene(scene).resize((_CELL, _CELL), Image.Resampling.LANCZOS), (x, y + _TITLE))
                _write(sheet, x, y + _TITLE + _CELL + 2, caption, 15)
                x += step
            x += 12
    palette = sheet.quantize(256, Image.Quantize.MEDIANCUT, kmeans=6, dither=Image.Dither.NONE)
    picture = io.BytesIO()
    palette.save(picture, "PNG", optimize=True)
    write_whole(path, picture.getvalue())


def _write(sheet: Image.Image, x: int, y: int, text: str, size: int) -> None:
    """Text across one cell; the dots of the umlauts are set by hand, for PIL's own font has no such letters."""
    zoom = 4
    font = ImageFont.load_default(size * zoom)
    mask = Image.new("L", (_CELL * zoom, _CAPTION * zoom))
    draw = ImageDraw.Draw(mask)
    bare = text.translate(str.maketrans("äöüÄÖÜ", "aouAOU"))
    left, top = (mask.width - font.getlength(bare)) / 2, 2.5 * zoom
    draw.text((left, top), bare, 255, font)
    for place, letter in enumerate(text):
        if letter == bare[place]:
            continue
        middle = left + font.getlength(bare[: place + 1]) - font.getlength(bare[place]) / 2
        height = top + font.getbbox(bare[place])[1] - 2.2 * zoom
        radius = 1.05 * zoom
        for dot in (middle - 2.2 * zoom, middle + 2.2 * zoom):
            draw.ellipse((dot - radius, height - radius, dot + radius, height + radius), fill=255)
    sheet.paste(_GREY, (x, y), mask.reduce(zoom))
