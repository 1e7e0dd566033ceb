"""Tools and fittings. Each function draws one of them with a ``Pen`` in the unit box."""

from __future__ import annotations

import math

from data_prep.pictures.drawing import INK, Colour, Pen, bend, dark, light, ring

_WHITE: Colour = (252, 252, 252)
_STEEL: Colour = (176, 184, 194)
_GOLD: Colour = (238, 190, 62)


def draw_bat_club(pen: Pen) -> None:
    """A baseball bat and ball."""
    wood = pen.pick((222, 172, 108), (196, 134, 78), (232, 196, 140), (170, 110, 70))
    bat = pen.at(0, 0, 1.08, -45)
    bat.shape(
        bend(
            (-0.98, -0.07),
            (-0.2, -0.09),
            (0.5, -0.22, 0.02),
            (0.9, -0.2),
            (0.9, 0.2, -0.4),
            (0.5, 0.22),
            (-0.2, 0.09, 0.02),
            (-0.98, 0.07),
        ),
        wood,
    )
    bat.box(-0.96, -0.075, -0.48, 0.075, pen.pick((60, 56, 66), (150, 40, 44), (40, 70, 130)))
    for x in (-0.84, -0.72, -0.6):
        bat.stroke([(x, -0.07), (x + 0.06, 0.07)], (210, 206, 214))
    bat.box(-1.06, -0.13, -0.94, 0.13, wood, 0.05)
    pen.oval(0.56, 0.56, 0.27, 0.27, _WHITE)
    for side in (-1, 1):
        pen.stroke(
            [(0.56 + side * 0.2, 0.4), (0.56 + side * 0.08, 0.56), (0.56 + side * 0.2, 0.72)],
            (210, 40, 44),
            0.03,
            edge=False,
        )


def draw_mouse_computer(pen: Pen) -> None:
    """A computer mouse from above, with cable, buttons and wheel."""
    shell = pen.pick((226, 228, 234), (74, 78, 90), (200, 204, 212), (120, 128, 142))
    pen.stroke([(0, -0.5), (0.04, -0.76), (0.3, -0.86), (0.56, -0.98)], (60, 60, 68), 0.05)
    pen.blob(
        [
            (0, -0.6),
            (0.36, -0.5),
            (0.5, -0.1),
            (0.52, 0.4),
            (0.36, 0.84),
            (0, 0.96),
            (-0.36, 0.84),
            (-0.52, 0.4),
            (-0.5, -0.1),
            (-0.36, -0.5),
        ],
        shell,
    )
    pen.stroke([(-0.51, 0.04), (-0.2, 0.12), (0.2, 0.12), (0.51, 0.04)])
    pen.stroke([(0, -0.6), (0, 0.12)])
    pen.box(-0.09, -0.42, 0.09, -0.06, (46, 48, 56), 0.08)
    for y in (-0.32, -0.24, -0.16):
        pen.stroke([(-0.05, y), (0.05, y)], (190, 194, 202))
    pen.dot(0, 0.6, 0.07, pen.pick((60, 160, 220), (230, 60, 60), (90, 190, 90)))


def draw_nail_iron(pen: Pen) -> None:
    """An iron nail."""
    steel = pen.pick(_STEEL, (150, 156, 166), (196, 186, 172))
    nail = pen.at(0, 0, 1.1, 40)
    nail.shape([(-0.11, -0.72), (0.11, -0.72), (0.11, 0.66), (0, 1.02), (-0.11, 0.66)], steel)
    for y in (-0.54, -0.46, -0.38):
        nail.stroke([(-0.1, y), (0.1, y)], dark(steel, 0.5))
    nail.stroke([(-0.04, -0.28), (-0.04, 0.6)], light(steel, 0.8), 0.04, edge=False)
    nail.oval(0, -0.78, 0.38, 0.13, steel)
    nail.oval(0, -0.82, 0.36, 0.1, light(steel, 0.4))


def draw_bolt_screw(pen: Pen) -> None:
    """A bolt with a hexagonal head, and its thread."""
    steel = pen.pick(_STEEL, (150, 160, 176), (200, 178, 130))
    bolt = pen.at(0, 0, 1.06, -35)
    bolt.box(-0.2, -0.4, 0.2, 0.9, steel)
    for step in range(8):
        y = -0.08 + step * 0.12
        bolt.stroke([(-0.23, y + 0.06), (0.23, y)], dark(steel, 0.15), 0.05)
    bolt.shape([(-0.14, 0.88), (0.14, 0.88), (0.1, 0.98), (-0.1, 0.98)], steel)
    bolt.box(-0.5, -0.5, 0.5, -0.4, light(steel, 0.2), 0.03)
    bolt.shape([(-0.46, -0.84), (-0.36, -0.92), (0.36, -0.92), (0.46, -0.84), (0.46, -0.5), (-0.46, -0.5)], steel)
    bolt.box(-0.2, -0.92, 0.22, -0.5, light(steel, 0.35))


def draw_key_lock(pen: Pen) -> None:
    """A key for a lock."""
    metal = pen.pick(_GOLD, _STEEL, (206, 150, 84))
    key = pen.at(0, 0, 1.04, -35)
    key.shape(
        [
            (0.52, 0.04),
            (0.52, 0.36),
            (0.62, 0.36),
            (0.62, 0.24),
            (0.7, 0.24),
            (0.7, 0.4),
            (0.84, 0.4),
            (0.84, 0.04),
        ],
        metal,
    )
    key.box(-0.2, -0.09, 0.96, 0.09, metal, 0.04)
    key.box(-0.18, -0.15, -0.06, 0.15, metal, 0.03)
    key.stroke(ring(-0.56, 0, 0.34, 0.34)[:-1:3], metal, 0.18, closed=True)
    key.stroke(ring(-0.56, 0, 0.36, 0.36, 200, 280)[::8], light(metal, 0.7), 0.05, edge=False)
    key.stroke([(0, -0.03), (0.86, -0.03)], light(metal, 0.7), 0.035, edge=False)


def draw_key_board(pen: Pen) -> None:
    """A piece of a keyboard, one key of it coloured."""
    plate = pen.pick((58, 62, 74), (206, 210, 218), (90, 98, 116))
    cap = pen.pick((236, 238, 242), (250, 248, 242), (224, 228, 236))
    hit = pen.pick((226, 62, 58), (246, 180, 50), (64, 150, 220), (86, 180, 100))
    pen.box(-0.98, -0.72, 0.98, 0.76, plate, 0.08)
    for row in range(3):
        for column in range(4):
            x, y = -0.87 + column * 0.44, -0.62 + row * 0.44
            pressed = row == 1 and column in (1, 2)
            if pressed and column == 2:
                continue
            wide = 0.82 if pressed else 0.38
            colour = hit if pressed else cap
            pen.box(x, y, x + wide, y + 0.4, dark(colour, 0.3), 0.05, shade=0)
            pen.box(x + 0.05, y + 0.02, x + wide - 0.05, y + 0.31, colour, 0.05, line=False, shade=0)
    pen.stroke([(0.16, -0.14), (0.16, 0.02), (-0.16, 0.02)], INK, 0.045, curved=False, edge=False)
    pen.shape([(-0.26, 0.02), (-0.1, -0.09), (-0.1, 0.12)], INK, shade=0)


def draw_pipe_tube(pen: Pen) -> None:
    """A water pipe with an elbow, two flanges and a drop."""
    metal = pen.pick((150, 164, 178), (196, 124, 80), (120, 150, 140), (176, 180, 186))
    bore = [(-0.9, -0.5), (0.1, -0.5), (0.42, -0.4), (0.52, -0.08), (0.52, 0.5)]
    pen.stroke(bore, metal, 0.4)
    pen.stroke(
        [(x - 0.02, y - 0.1) if x < 0.3 else (x + 0.08, y - 0.06) for x, y in bore],
        light(metal, 0.5),
        0.07,
        edge=False,
    )
    pen.box(-1.0, -0.8, -0.8, -0.2, metal, 0.03)
    pen.box(-0.28, -0.78, -0.1, -0.22, metal, 0.03)
    pen.box(0.24, -0.02, 0.8, 0.14, metal, 0.03)
    pen.box(0.2, 0.42, 0.84, 0.6, metal, 0.03)
    pen.shape(bend((0.52, 0.66), (0.6, 0.9, -0.1), (0.44, 0.9, -0.7), (0.52, 0.66, -0.1)), (70, 160, 230))


def draw_fan_electric(pen: Pen) -> None:
    """An electric fan on a stand."""
    blade = pen.pick((96, 166, 220), (120, 190, 150), (230, 110, 100), (170, 176, 190))
    pen.box(-0.07, 0.3, 0.07, 0.9, (196, 200, 208))
    pen.oval(0, 0.92, 0.44, 0.1, (90, 96, 110))
    pen.oval(0, -0.26, 0.7, 0.7, (238, 242, 246), shade=0.06)
    for step in range(4):
        wing = pen.at(0, -0.26, 1, 90 * step + 20 * (pen.tint % 5))
        wing.blob([(-0.04, 0), (-0.24, -0.28), (-0.2, -0.56), (0.08, -0.62), (0.28, -0.48), (0.16, -0.24)], blade)
    pen.stroke(ring(0, -0.26, 0.7, 0.7)[:-1:3], (104, 110, 124), 0.05, closed=True)
    for step in range(16):
        a = math.radians(22.5 * step)
        pen.stroke(
            [(0.14 * math.cos(a), -0.26 + 0.14 * math.sin(a)), (0.69 * math.cos(a), -0.26 + 0.69 * math.sin(a))],
            (104, 110, 124),
        )
    pen.stroke(ring(0, -0.26, 0.42, 0.42)[:-1:3], (104, 110, 124), 0, closed=True)
    pen.oval(0, -0.26, 0.15, 0.15, (104, 110, 124))


def draw_bow_archery(pen: Pen) -> None:
    """A bow with its string and an arrow."""
    wood = pen.pick((150, 92, 52), (120, 70, 44), (186, 124, 68))
    pen.stroke([(-0.18, -0.94), (-0.5, 0), (-0.18, 0.94)], (236, 232, 220), 0.02, curved=False)
    pen.stroke(
        [(-0.1, -0.98), (-0.16, -0.88), (0.3, -0.56), (0.52, 0), (0.3, 0.56), (-0.16, 0.88), (-0.1, 0.98)],
        wood,
        0.1,
    )
    pen.stroke([(0.5, -0.16), (0.52, 0), (0.5, 0.16)], (190, 50, 46), 0.13)
    pen.stroke([(-0.6, 0), (0.8, 0)], (222, 186, 130), 0.045)
    pen.shape([(0.74, -0.13), (1.02, 0), (0.74, 0.13)], _STEEL)
    for side in (-1, 1):
        pen.shape(
            [(-0.5, side * 0.02), (-0.62, side * 0.16), (-0.94, side * 0.16), (-0.82, side * 0.02)],
            (214, 60, 60),
            shade=0,
        )
