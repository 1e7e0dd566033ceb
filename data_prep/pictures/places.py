"""Buildings, vehicles and views. Each function draws one of them with a ``Pen`` in the unit box."""

from __future__ import annotations

import math

from data_prep.pictures.drawing import INK, Colour, Pen, bend, dark, light, mix, ring
from data_prep.pictures.plain import draw_car, draw_fish

_WHITE: Colour = (252, 252, 252)
_GLASS: Colour = (190, 224, 240)


def draw_bank_building(pen: Pen) -> None:
    """A bank: columns, a gable with a coin, steps."""
    stone = pen.pick((236, 228, 210), (220, 222, 228), (240, 218, 190))
    pen.box(-0.86, 0.72, 0.86, 0.96, stone)
    pen.box(-0.78, 0.56, 0.78, 0.74, stone)
    pen.box(-0.68, -0.22, 0.68, 0.56, dark(stone, 0.3), shade=0)
    pen.box(-0.14, 0.02, 0.14, 0.56, (112, 74, 52))
    for x in (-0.56, -0.26, 0.26, 0.56):
        pen.box(x - 0.09, -0.2, x + 0.09, 0.56, stone)
        pen.box(x - 0.13, -0.24, x + 0.13, -0.14, stone)
        pen.box(x - 0.13, 0.48, x + 0.13, 0.57, stone)
    pen.box(-0.8, -0.38, 0.8, -0.22, stone)
    pen.shape([(-0.9, -0.38), (0, -0.96), (0.9, -0.38)], stone)
    pen.oval(0, -0.6, 0.19, 0.19, (244, 196, 56))
    pen.stroke(ring(0.03, -0.6, 0.1, 0.1, 50, 310)[::6], INK, 0.03, edge=False)
    for y in (-0.63, -0.57):
        pen.stroke([(-0.12, y), (0.03, y)], INK, 0.025, edge=False)


def draw_bank_river(pen: Pen) -> None:
    """A river and its grassy bank with reeds and a boat."""
    grass = pen.pick((112, 178, 84), (134, 184, 92), (92, 164, 92))
    water = pen.pick((74, 150, 214), (92, 170, 216), (66, 134, 196))
    pen.shape([(-1.7, -0.36), (1.7, -0.36), (1.7, 1.7), (-1.7, 1.7)], water, line=False, shade=0)
    pen.blob(
        [(-1.8, -0.5), (-0.9, -0.58), (0, -0.5), (0.9, -0.6), (1.8, -0.5), (1.8, -0.3), (-1.8, -0.3)],
        dark(grass, 0.2),
        shade=0,
    )
    for x, y in ((0.5, -0.14), (0.9, 0.12), (0.1, 0.06), (0.64, 0.36), (1.1, 0.56), (-0.2, -0.16)):
        pen.stroke(
            [(x - 0.14, y), (x - 0.07, y - 0.04), (x, y), (x + 0.07, y - 0.04), (x + 0.14, y)],
            light(water, 0.55),
            0.03,
            edge=False,
        )
    edge = [(-1.7, -0.1), (-0.9, 0.0), (-0.5, 0.2), (-0.3, 0.5), (0.2, 0.7), (0.5, 1.1), (0.5, 1.8), (-1.8, 1.8)]
    pen.blob([(x + 0.07, y + 0.1) for x, y in edge], (150, 106, 70))
    pen.blob(edge, grass, shade=0)
    for x, y, size in ((-0.42, 0.36, 1.0), (-0.26, 0.56, 0.9), (-0.58, 0.2, 0.86)):
        pen.stroke([(x, y), (x + 0.02, y - 0.5 * size)], (70, 120, 56), 0.03, edge=False)
        pen.stroke([(x + 0.02, y - 0.42 * size), (x + 0.02, y - 0.62 * size)], (122, 76, 44), 0.07)
        pen.shape(bend((x, y), (x - 0.2, y - 0.34, 0.2), (x - 0.04, y, -0.1)), (84, 146, 66), shade=0)
    for x, y in ((-0.8, 0.5), (-0.6, 0.8), (-0.2, 0.88), (-0.9, 0.86)):
        for lean in (-0.05, 0, 0.05):
            pen.stroke([(x, y), (x + lean, y - 0.12)], dark(grass, 0.4))
    boat = pen.at(0.5, 0.1, 0.36)
    boat.shape(bend((-1, -0.2), (1, -0.2, 0.06), (0.66, 0.4, -0.1), (-0.66, 0.4), (-1, -0.2, -0.1)), (168, 96, 56))
    boat.stroke([(-0.8, 0.04), (0.8, 0.04)], dark((168, 96, 56), 0.5))


def draw_crane_machine(pen: Pen) -> None:
    """A tower crane with a load on its hook."""
    steel = pen.pick((246, 186, 44), (236, 130, 40), (226, 80, 60))
    pen.box(-0.56, 0.84, 0.04, 0.98, (150, 152, 160))
    for x in (-0.38, -0.14):
        pen.stroke([(x, -0.5), (x, 0.84)], steel, 0.05)
    for step in range(6):
        y = -0.44 + step * 0.21
        pen.stroke([(-0.38, y), (-0.14, y + 0.21)], steel, 0.03)
        pen.stroke([(-0.14, y), (-0.38, y + 0.21)], steel, 0.03)
    for y in (-0.66, -0.48):
        pen.stroke([(-0.84, y), (0.98, y)], steel, 0.05)
    for step in range(11):
        x = -0.82 + step * 0.164
        pen.stroke([(x, -0.48), (x + 0.08, -0.66), (x + 0.164, -0.48)], steel, 0.025, curved=False)
    pen.stroke([(-0.26, -0.98), (-0.8, -0.66)])
    pen.stroke([(-0.26, -0.98), (0.7, -0.66)])
    pen.stroke([(-0.36, -0.62), (-0.26, -0.98), (-0.16, -0.62)], steel, 0.05, curved=False)
    pen.box(-0.92, -0.54, -0.66, -0.24, (120, 124, 134))
    pen.box(-0.42, -0.44, -0.08, -0.16, steel)
    pen.box(-0.34, -0.38, -0.16, -0.24, _GLASS, shade=0)
    pen.stroke([(0.6, -0.48), (0.6, 0.14)])
    pen.stroke([(0.6, 0.14), (0.36, 0.34)])
    pen.stroke([(0.6, 0.14), (0.84, 0.34)])
    pen.box(0.3, 0.34, 0.9, 0.6, pen.pick((176, 92, 64), (110, 130, 160), (150, 110, 80)))


def draw_ring_boxing(pen: Pen) -> None:
    """A boxing ring: a raised floor, four posts, three ropes."""
    floor = pen.pick((230, 234, 240), (170, 206, 232), (236, 224, 200))
    apron = pen.pick((40, 74, 150), (170, 34, 44), (50, 52, 64))
    ropes: tuple[Colour, ...] = ((220, 40, 48), (250, 250, 250), (44, 90, 190))
    back, front = (-0.62, -0.1), (-0.94, 0.46)
    pen.shape([(-0.94, 0.46), (0.94, 0.46), (0.94, 0.94), (-0.94, 0.94)], apron)
    for step in range(6):
        pen.stroke([(-0.62 + step * 0.25, 0.5), (-0.62 + step * 0.25, 0.9)], dark(apron, 0.4))
    pen.shape([back, (0.62, -0.1), (0.94, 0.46), front], floor, shade=0)
    pen.oval(0, 0.17, 0.32, 0.12, light(apron, 0.45), line=False, shade=0)
    rise, tall = 0.52, 0.66
    for level, rope in zip((0.92, 0.62, 0.32), ropes, strict=True):
        pen.stroke([(-0.62, -0.1 - rise * level), (0.62, -0.1 - rise * level)], rope, 0.035)
        for side in (-1, 1):
            pen.stroke([(side * 0.62, -0.1 - rise * level), (side * 0.94, 0.46 - tall * level)], rope, 0.04)
    for side in (-1, 1):
        pen.box(side * 0.62 - 0.05, -0.1 - rise, side * 0.62 + 0.05, -0.06, ropes[0])
    for level, rope in zip((0.92, 0.62, 0.32), ropes, strict=True):
        pen.stroke([(-0.94, 0.46 - tall * level), (0.94, 0.46 - tall * level)], rope, 0.045)
    for side in (-1, 1):
        pen.box(side * 0.92 - 0.07, 0.46 - tall - 0.06, side * 0.92 + 0.07, 0.54, ropes[2])


def draw_jam_traffic(pen: Pen) -> None:
    """A traffic jam: cars bumper to bumper in two lanes."""
    pen.shape([(-1.8, -0.62), (1.8, -0.62), (1.8, 0.94), (-1.8, 0.94)], (104, 106, 116), line=False, shade=0)
    for x in range(-3, 4):
        pen.box(x * 0.5 - 0.14, 0.11, x * 0.5 + 0.14, 0.17, (244, 240, 220), line=False, shade=0)
    for lane, (y, shift) in enumerate(((-0.3, -0.1), (0.5, 0.16))):
        for slot in range(-2, 3):
            car = pen.at(slot * 0.84 + shift, y, 0.41)
            car.tint = pen.tint + slot * 2 + lane * 3 + 5
            car.colour = None
            draw_car(car)


def draw_factory(pen: Pen) -> None:
    """A factory with a saw-tooth roof and smoking chimneys."""
    wall = pen.pick((188, 96, 76), (170, 176, 186), (204, 150, 110))
    for x, top in ((-0.7, -0.56), (-0.38, -0.44)):
        for step, (dx, dy, r) in enumerate(((0.04, -0.12, 0.11), (0.16, -0.24, 0.15), (0.34, -0.34, 0.18))):
            pen.dot(x + dx, top + dy, r, mix((190, 190, 198), (150, 150, 160), step / 3))
        pen.shape(
            [(x - 0.09, top), (x + 0.09, top), (x + 0.12, 0.9), (x - 0.12, 0.9)],
            (150, 80, 66) if wall[0] < 180 else (140, 144, 156),
        )
        pen.box(x - 0.11, top - 0.02, x + 0.11, top + 0.08, (230, 230, 234), shade=0)
    pen.shape(
        [
            (-0.94, 0.94),
            (-0.94, 0.2),
            (-0.2, 0.2),
            (-0.2, -0.16),
            (0.18, 0.14),
            (0.18, -0.16),
            (0.56, 0.14),
            (0.56, -0.16),
            (0.94, 0.14),
            (0.94, 0.94),
        ],
        wall,
    )
    for x in (-0.8, -0.5, 0.0, 0.3, 0.62):
        pen.box(x, 0.34, x + 0.2, 0.52, (250, 226, 130), shade=0)
    pen.box(0.34, 0.62, 0.76, 0.94, (84, 88, 100), shade=0)
    for y in (0.7, 0.78, 0.86):
        pen.stroke([(0.36, y), (0.74, y)], (140, 144, 156))
    for x in (-0.8, -0.5, -0.1):
        pen.box(x, 0.66, x + 0.2, 0.84, (250, 226, 130), shade=0)


def draw_tank_army(pen: Pen) -> None:
    """A battle tank."""
    paint = pen.pick((108, 122, 72), (138, 128, 86), (96, 108, 96), (164, 146, 100))
    pen.stroke([(0.1, -0.34), (1.0, -0.46)], paint, 0.09)
    pen.box(0.9, -0.54, 1.03, -0.38, paint, 0.02)
    pen.shape(bend((-0.5, -0.14), (-0.42, -0.52, -0.06), (0.14, -0.54, -0.04), (0.4, -0.14, -0.1)), paint)
    pen.box(-0.3, -0.66, 0.0, -0.52, dark(paint, 0.15), 0.04)
    pen.stroke([(-0.42, -0.5), (-0.56, -0.96)])
    pen.shape([(-0.96, -0.14), (0.8, -0.14), (0.98, 0.14), (-0.98, 0.14)], paint)
    star = [
        (
            0.15 * (1 if k % 2 == 0 else 0.42) * math.cos(math.radians(36 * k - 90)) - 0.08,
            -0.33 + 0.15 * (1 if k % 2 == 0 else 0.42) * math.sin(math.radians(36 * k - 90)),
        )
        for k in range(10)
    ]
    pen.shape(star, _WHITE, line=False, shade=0)
    pen.box(-1.0, 0.1, 1.0, 0.62, (58, 58, 62), 0.25, shade=0)
    for step in range(5):
        x = -0.7 + step * 0.35
        pen.oval(x, 0.36, 0.17, 0.17, dark(paint, 0.1))
        pen.oval(x, 0.36, 0.06, 0.06, (58, 58, 62), shade=0)


def draw_tank_fish(pen: Pen) -> None:
    """A fish tank."""
    water = pen.pick((120, 196, 232), (134, 214, 224), (104, 178, 224))
    pen.box(-0.94, -0.66, 0.94, 0.74, (228, 242, 248), 0.03, shade=0)
    pen.box(-0.92, -0.44, 0.92, 0.72, water, line=False, shade=0)
    pen.stroke([(-0.9, -0.44), (0, -0.42), (0.9, -0.44)], light(water, 0.6), 0.03, edge=False)
    pen.shape(
        [(-0.92, 0.52), (-0.4, 0.46), (0.2, 0.54), (0.92, 0.46), (0.92, 0.72), (-0.92, 0.72)],
        (226, 196, 140),
        line=False,
        shade=0,
    )
    for x, tall in ((-0.76, 0.7), (-0.62, 0.46), (0.7, 0.76), (0.56, 0.44)):
        pen.stroke(
            [(x, 0.56), (x + 0.05, 0.56 - tall / 3), (x - 0.05, 0.56 - tall / 1.5), (x + 0.04, 0.56 - tall)],
            (64, 156, 80),
            0.07,
        )
    for slot, (x, y, size) in enumerate(((-0.14, -0.12, 0.34), (0.36, 0.2, 0.3), (-0.3, 0.3, 0.22))):
        fish = pen.at(x, y, size, 0, slot == 1)
        fish.tint = pen.tint + slot
        draw_fish(fish)
    for x, y in ((-0.54, -0.2), (-0.58, -0.32), (0.1, -0.3)):
        pen.oval(x, y, 0.04, 0.04, light(water, 0.8), shade=0)
    frame = [(-0.94, -0.66), (0.94, -0.66), (0.94, 0.74), (-0.94, 0.74)]
    pen.stroke([*frame, frame[0]], INK, 0.03, curved=False, edge=False)
    pen.box(-0.98, -0.76, 0.98, -0.64, (60, 64, 74), 0.03, shade=0)
    pen.box(-0.98, 0.7, 0.98, 0.84, (60, 64, 74), 0.03, shade=0)
    pen.stroke([(-0.82, -0.5), (-0.82, -0.1)], _WHITE, 0.04, edge=False)
