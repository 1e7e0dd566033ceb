"""Animals, plants and people. Each function draws one of them with a ``Pen`` in the unit box."""

from __future__ import annotations

import math

from data_prep.pictures.drawing import INK, Colour, Pen, bend, dark, light, smooth

_SKIN: tuple[Colour, ...] = ((244, 204, 172), (226, 176, 138), (186, 130, 96), (146, 98, 72))
_WHITE: Colour = (252, 252, 252)


def draw_bat(pen: Pen) -> None:
    """A flying bat with open wings."""
    fur = pen.pick((92, 72, 96), (104, 80, 66), (80, 80, 100), (120, 84, 90))
    skin = light(fur, 0.22)
    for mirror in (False, True):
        wing = pen.at(0, 0, 1, 0, mirror)
        wing.shape(
            bend(
                (0.08, -0.12),
                (0.46, -0.62, -0.1),
                (1.0, -0.2, -0.18),
                (0.74, 0.1, -0.3),
                (0.7, 0.42, 0.02),
                (0.46, 0.22, 0.35),
                (0.3, 0.52, 0.1),
                (0.08, 0.3, 0.35),
            ),
            skin,
        )
        for x, y in ((0.72, 0.38), (0.31, 0.48)):
            wing.stroke([(0.46, -0.58), (x, y)], dark(fur))
    pen.oval(0, 0.12, 0.22, 0.42, fur)
    for side in (-1, 1):
        pen.shape([(side * 0.04, -0.5), (side * 0.24, -0.86), (side * 0.25, -0.34)], fur)
        pen.stroke([(side * 0.08, 0.5), (side * 0.1, 0.64)])
    pen.oval(0, -0.34, 0.26, 0.24, fur)
    for side in (-1, 1):
        pen.dot(side * 0.1, -0.38, 0.065, (250, 240, 200))
        pen.dot(side * 0.1, -0.37, 0.035)
        pen.shape([(side * 0.09, -0.23), (side * 0.03, -0.23), (side * 0.06, -0.13)], _WHITE, shade=0, width=0.5)
    pen.dot(0, -0.28, 0.03)


def draw_crane_bird(pen: Pen) -> None:
    """A crane, the bird: long legs, long neck, long beak, a red crown."""
    body = pen.pick((206, 212, 222), (232, 234, 238), (190, 200, 212))
    leg = (70, 66, 74)
    pen.stroke([(-0.02, 0.3), (-0.06, 0.66), (-0.02, 1.0)], leg, 0.035, curved=False)
    pen.stroke([(-0.02, 1.0), (-0.16, 1.02)], leg, 0.03)
    pen.stroke([(0.12, 0.3), (0.16, 0.64), (0.1, 1.0)], leg, 0.035, curved=False)
    pen.stroke([(0.1, 1.0), (-0.04, 1.02)], leg, 0.03)
    for drop, reach in ((0.56, 0.62), (0.48, 0.74), (0.36, 0.8)):
        pen.shape(bend((0.3, -0.06), (reach, drop, -0.3), (0.24, 0.3, -0.2)), (66, 66, 78), shade=0)
    pen.stroke([(-0.3, 0.1), (-0.5, -0.16), (-0.4, -0.44), (-0.38, -0.72)], body, 0.13)
    pen.shape(
        bend((-0.46, 0.04), (0.1, -0.18, -0.1), (0.62, 0.16, -0.1), (0.06, 0.4, -0.2), (-0.46, 0.04, -0.2)), body
    )
    pen.stroke([(-0.36, 0.04), (-0.5, -0.16), (-0.4, -0.44), (-0.38, -0.66)], body, 0.13, edge=False)
    pen.stroke([(-0.06, 0.06), (0.2, 0.16), (0.46, 0.16)], dark(body, 0.4))
    pen.stroke([(-0.1, 0.18), (0.14, 0.27), (0.32, 0.26)], dark(body, 0.4))
    pen.shape([(-0.5, -0.8), (-1.0, -0.62), (-0.5, -0.68)], (212, 160, 70))
    pen.oval(-0.41, -0.76, 0.16, 0.13, body)
    pen.shape(bend((-0.54, -0.82), (-0.3, -0.84, -0.5)), (214, 40, 44), shade=0)
    pen.eye(-0.45, -0.76, 0.03)


def draw_mouse_animal(pen: Pen) -> None:
    """A mouse with big ears and a long tail."""
    fur = pen.pick((168, 164, 170), (190, 160, 136), (204, 202, 206), (140, 128, 126))
    pink = (240, 172, 176)
    pen.stroke([(0.6, 0.5), (0.88, 0.48), (0.9, 0.1), (0.72, -0.12), (0.88, -0.36)], pink, 0.06)
    pen.oval(-0.12, -0.4, 0.26, 0.28, fur)
    pen.blob(
        [(-0.96, 0.3), (-0.72, -0.04), (-0.4, -0.24), (0.1, -0.3), (0.54, -0.1), (0.72, 0.32), (0.5, 0.6),
         (-0.1, 0.64), (-0.6, 0.56), (-0.88, 0.44)],
        fur,
    )  # fmt: skip
    pen.oval(-0.36, -0.36, 0.28, 0.31, fur)
    pen.oval(-0.37, -0.35, 0.18, 0.21, pink, line=False)
    pen.stroke([(0.16, 0.56), (0.1, 0.32), (0.3, 0.14), (0.5, 0.22)], dark(fur, 0.5))
    for x in (-0.42, 0.24):
        pen.oval(x, 0.64, 0.15, 0.06, pink)
    pen.eye(-0.62, 0.12, 0.07)
    pen.oval(-0.96, 0.32, 0.07, 0.06, pink)
    for y in (0.24, 0.36, 0.48):
        pen.stroke([(-0.78, 0.36), (-0.5, y)], INK)


def draw_seal_animal(pen: Pen) -> None:
    """A seal resting on its flippers, head up."""
    fur = pen.pick((124, 136, 152), (146, 136, 130), (104, 112, 130), (168, 172, 180))
    pen.shape(
        bend((0.62, 0.5), (0.98, 0.2, -0.25), (0.86, 0.48, -0.1), (1.0, 0.62, -0.1), (0.62, 0.66, -0.2)),
        dark(fur, 0.15),
    )
    pen.blob(
        [(-0.5, -0.86), (-0.24, -0.74), (-0.14, -0.44), (0.04, -0.1), (0.4, 0.2), (0.78, 0.46), (0.76, 0.66),
         (0.3, 0.76), (-0.3, 0.76), (-0.6, 0.6), (-0.62, 0.1), (-0.66, -0.3), (-0.82, -0.5), (-0.72, -0.76)],
        fur,
    )  # fmt: skip
    pen.blob(
        [(-0.5, 0.62), (-0.52, 0.1), (-0.38, -0.18), (-0.26, 0.2), (-0.18, 0.6), (-0.34, 0.7)],
        light(fur, 0.45),
        line=False,
        shade=0,
    )
    pen.shape(bend((-0.3, 0.34), (-0.04, 0.86, 0.1), (-0.5, 0.86, 0.2), (-0.44, 0.42, 0.1)), dark(fur, 0.18))
    pen.oval(-0.76, -0.48, 0.15, 0.12, light(fur, 0.4))
    pen.oval(-0.84, -0.55, 0.07, 0.05, INK, line=False, shade=0)
    for tilt in (-0.08, 0.02, 0.12):
        pen.stroke([(-0.7, -0.46), (-0.36, -0.42 + tilt)], INK)
    pen.eye(-0.56, -0.64, 0.075)


def draw_trunk_elephant(pen: Pen) -> None:
    """An elephant's head with a long trunk."""
    skin = pen.pick((150, 156, 168), (168, 164, 166), (136, 146, 160))
    pen.blob(
        [(0.1, -0.7), (0.5, -0.92), (0.94, -0.66), (0.96, -0.1), (0.7, 0.36), (0.36, 0.2), (0.16, -0.2)], skin
    )
    pen.blob(
        [(0.3, -0.56), (0.6, -0.72), (0.82, -0.5), (0.8, -0.1), (0.62, 0.16), (0.42, 0)],
        (222, 176, 182),
        line=False,
    )
    trunk = [(-0.36, -0.2), (-0.52, 0.2), (-0.5, 0.58), (-0.62, 0.84), (-0.84, 0.8), (-0.88, 0.56)]
    _taper(pen, trunk, 0.2, 0.08, skin)
    pen.blob(
        [
            (-0.5, -0.6),
            (-0.14, -0.86),
            (0.28, -0.76),
            (0.44, -0.4),
            (0.34, 0.04),
            (0.04, 0.3),
            (-0.26, 0.16),
            (-0.54, -0.14),
        ],
        skin,
    )
    _taper(pen, trunk, 0.2, 0.08, skin, edge=False)
    for x, y, half in (
        (-0.5, 0.14, 0.16),
        (-0.52, 0.28, 0.15),
        (-0.52, 0.42, 0.13),
        (-0.52, 0.56, 0.12),
        (-0.56, 0.7, 0.09),
    ):
        pen.stroke([(x - half, y), (x, y + 0.05), (x + half * 0.9, y)], dark(skin, 0.5))
    pen.shape(bend((-0.24, 0.12), (-0.14, 0.62, 0.2), (0.04, 0.18, -0.45)), (250, 246, 230))
    pen.eye(-0.18, -0.32, 0.075)
    pen.stroke([(-0.28, -0.44), (-0.18, -0.48), (-0.08, -0.44)])


def _taper(
    pen: Pen, points: list[tuple[float, float]], start: float, stop: float, fill: Colour, edge: bool = True
) -> None:
    """A limb along ``points`` that narrows from radius ``start`` to ``stop``."""
    path = smooth(points, closed=False)
    outline = pen.line / pen.scale if edge else 0
    for step, (x, y) in enumerate(path):
        radius = start + (stop - start) * step / (len(path) - 1) + outline
        pen.dot(x, y, radius, INK if edge else fill)


def draw_tree_trunk(pen: Pen) -> None:
    """A thick tree trunk with roots; of the crown only the start is seen."""
    bark = pen.pick((142, 98, 66), (124, 92, 72), (160, 116, 78))
    leaf = pen.pick((96, 156, 74), (78, 140, 84), (128, 160, 66))
    for x, y, r in ((-0.62, -0.74, 0.34), (0.62, -0.74, 0.34), (-0.22, -0.86, 0.36), (0.26, -0.86, 0.36)):
        pen.oval(x, y, r, r * 0.8, leaf)
    pen.shape(
        bend(
            (-0.3, -0.66), (-0.62, -0.86), (-0.5, -0.92), (-0.2, -0.74), (-0.06, -0.96), (0.1, -0.96),
            (0.16, -0.74), (0.5, -0.9), (0.6, -0.82), (0.32, -0.6), (0.3, 0.4, 0.06), (0.86, 0.92, 0.2),
            (0.36, 0.8, 0.1),
            (0.1, 0.98, 0.1), (-0.06, 0.82, 0.1), (-0.4, 0.96, 0.1), (-0.84, 0.9, -0.05), (-0.32, 0.4, 0.2),
        ),
        bark,
    )  # fmt: skip
    for x, y0, y1 in (
        (-0.18, -0.5, 0.0),
        (-0.2, 0.2, 0.7),
        (0.2, -0.46, -0.1),
        (0.2, 0.3, 0.7),
        (0.02, -0.6, -0.3),
        (0, 0.36, 0.76),
    ):
        pen.stroke([(x, y0), (x + 0.03, (y0 + y1) / 2), (x - 0.01, y1)], dark(bark, 0.5))
    pen.oval(0.04, 0.04, 0.13, 0.19, dark(bark, 0.5))
    pen.oval(0.05, 0.06, 0.06, 0.1, dark(bark, 0.8), line=False, shade=0)


def draw_palm_tree(pen: Pen) -> None:
    """A palm tree on a little island."""
    leaf = pen.pick((70, 156, 80), (94, 166, 66), (52, 140, 96))
    bark = (164, 118, 76)
    pen.shape(bend((-0.66, 0.98), (0.66, 0.98, -0.32)), (240, 216, 150))
    pen.shape(bend((-0.12, 0.86), (0.06, -0.36, 0.16), (0.2, -0.34), (0.1, 0.86, -0.16)), bark)
    for step in range(6):
        y = 0.7 - step * 0.18
        x = -0.01 + 0.16 * math.sin((0.86 - y) / 1.2 * 1.5) * 0.9 - 0.03
        pen.stroke([(x - 0.1, y), (x, y + 0.05), (x + 0.1, y)], dark(bark, 0.5))
    for x, y in ((0.02, -0.26), (0.24, -0.26)):
        pen.oval(x, y, 0.09, 0.09, (112, 74, 50))
    for angle, size in ((-92, 0.66), (152, 0.82), (26, 0.82), (-134, 0.9), (-46, 0.9), (-170, 1.0), (-8, 0.98)):
        frond = pen.at(0.13, -0.36, size, angle)
        # a leaf hangs: it bows towards the ground on either side
        sag = 1 if -91 < angle < 90 else -1
        frond.shape(
            bend((0, 0), (1.0, 0.3 * sag, -0.34 * sag), (0.78, 0.2 * sag, 0.1 * sag), (0.74, 0.36 * sag),
                 (0.58, 0.14 * sag), (0.5, 0.32 * sag), (0.38, 0.1 * sag), (0.28, 0.24 * sag), (0, 0)),
            leaf,
        )  # fmt: skip
        frond.stroke(bend((0, 0), (0.92, 0.22 * sag, -0.3 * sag)), dark(leaf, 0.45), curved=False)


def draw_palm_hand(pen: Pen) -> None:
    """An open hand, the palm towards the viewer."""
    skin = pen.pick(*_SKIN[:3])
    fingers = (
        ([(-0.3, 0.1), (-0.46, -0.52)], 0.17),
        ([(-0.1, 0.0), (-0.15, -0.76)], 0.18),
        ([(0.12, 0.0), (0.17, -0.72)], 0.18),
        ([(0.32, 0.1), (0.47, -0.42)], 0.16),
        ([(-0.2, 0.6), (-0.52, 0.3), (-0.8, -0.02)], 0.19),
    )
    palm = [(-0.42, 0.06), (0, -0.06), (0.42, 0.08), (0.44, 0.46), (0.26, 0.82), (-0.22, 0.82), (-0.42, 0.46)]
    pen.box(-0.24, 0.7, 0.26, 1.04, skin)
    for points, width in fingers:
        pen.stroke(points, skin, width)
    pen.blob(palm, skin, shade=0)
    for points, width in fingers:
        pen.stroke(points, skin, width, edge=False)
    pen.box(-0.2, 0.68, 0.22, 0.98, skin, line=False, shade=0)
    line = dark(skin, 0.5)
    for start, stop in (
        ((-0.42, -0.1), (-0.28, -0.14)),
        ((-0.2, -0.16), (-0.04, -0.16)),
        ((0.06, -0.14), (0.22, -0.14)),
        ((0.3, -0.06), (0.44, -0.02)),
    ):
        pen.stroke([start, stop], line)
    pen.stroke([(-0.36, 0.22), (-0.1, 0.28), (-0.02, 0.56), (-0.1, 0.78)], line)
    pen.stroke([(-0.36, 0.2), (0, 0.2), (0.34, 0.4)], line)
    pen.stroke([(-0.2, 0.08), (0.14, 0.12), (0.4, 0.08)], line)


def draw_fingernail(pen: Pen) -> None:
    """A finger from the back of the hand, with a large painted nail."""
    skin = pen.pick(*_SKIN[:3])
    polish = pen.pick((214, 44, 74), (226, 92, 140), (160, 40, 110), (236, 120, 130), (190, 36, 40))
    pen.shape(
        bend(
            (-0.4, 1.02),
            (-0.44, 0.3, -0.04),
            (-0.36, -0.3, 0.04),
            (0, -0.86, -0.34),
            (0.36, -0.3, -0.34),
            (0.44, 0.3, 0.04),
            (0.4, 1.02, -0.04),
        ),
        skin,
    )
    pen.shape(
        bend(
            (-0.25, -0.02),
            (-0.25, -0.56, -0.04),
            (0, -0.98, -0.22),
            (0.25, -0.56, -0.22),
            (0.25, -0.02, -0.04),
            (0, 0.14, -0.2),
            (-0.25, -0.02, -0.2),
        ),
        polish,
    )
    pen.stroke([(-0.13, -0.1), (-0.14, -0.36), (-0.08, -0.62)], light(polish, 0.7), 0.05, edge=False)
    for y, half in ((0.48, 0.26), (0.58, 0.3), (0.68, 0.24)):
        pen.stroke([(-half, y), (0, y + 0.06), (half, y)], dark(skin, 0.45))


def draw_pitcher_player(pen: Pen) -> None:
    """A baseball pitcher about to throw."""
    skin = pen.pick(*_SKIN)
    shirt = pen.pick((246, 246, 250), (214, 224, 240), (240, 226, 200))
    cap = pen.pick((196, 40, 48), (36, 76, 160), (34, 110, 74))
    pen.stroke([(0.08, 0.36), (0.3, 0.62), (0.34, 0.92)], shirt, 0.18)
    pen.shape(bend((0.24, 0.9), (0.46, 0.9), (0.44, 1.02), (0.1, 1.02), (0.12, 0.94, -0.3)), INK, shade=0)
    pen.stroke([(0.0, 0.36), (-0.42, 0.26), (-0.44, 0.62)], shirt, 0.18)
    pen.shape(bend((-0.54, 0.6), (-0.34, 0.6), (-0.34, 0.74), (-0.68, 0.74), (-0.66, 0.66, -0.3)), INK, shade=0)
    pen.stroke([(0.2, -0.2), (0.56, -0.26), (0.68, -0.6)], skin, 0.12, curved=False)
    pen.stroke([(0.2, -0.18), (0.46, -0.25)], shirt, 0.16)
    pen.shape(
        bend((-0.2, -0.3), (0.24, -0.3, -0.1), (0.24, 0.4, -0.05), (-0.14, 0.42), (-0.2, -0.3, -0.05)), shirt
    )
    for x in (-0.08, 0.04, 0.16):
        pen.stroke([(x, -0.2), (x, 0.32)], cap)
    pen.box(-0.16, 0.3, 0.26, 0.38, INK, shade=0)
    pen.stroke([(-0.14, -0.16), (-0.42, 0.02), (-0.6, -0.16)], skin, 0.12, curved=False)
    pen.stroke([(-0.14, -0.16), (-0.34, -0.02)], shirt, 0.16)
    pen.blob(
        [(-0.56, -0.06), (-0.5, -0.3), (-0.68, -0.42), (-0.84, -0.3), (-0.8, -0.1), (-0.66, 0)], (150, 92, 52)
    )
    pen.oval(0.71, -0.72, 0.12, 0.12, _WHITE)
    pen.stroke([(0.64, -0.78), (0.69, -0.72), (0.64, -0.65)], (210, 40, 44))
    pen.oval(0, -0.54, 0.22, 0.24, skin)
    pen.shape(bend((-0.23, -0.58), (0.22, -0.58, -0.62)), cap)
    pen.shape(bend((-0.2, -0.6), (-0.46, -0.54, -0.2), (-0.2, -0.5)), cap)
    pen.eye(-0.1, -0.48, 0.03)
    pen.stroke([(-0.14, -0.38), (-0.06, -0.36)])


def draw_plant(pen: Pen) -> None:
    """A leafy plant in a pot."""
    leaf = pen.pick((76, 160, 84), (104, 172, 78), (54, 138, 96))
    pot = pen.pick((204, 112, 72), (98, 140, 186), (230, 220, 206), (196, 160, 90))
    for angle, size in ((-150, 0.72), (-30, 0.72), (-126, 0.98), (-54, 0.98), (-90, 1.1)):
        stem = pen.at(0, 0.36, size, angle)
        stem.shape(bend((0, 0), (1.1, 0, -0.32), (0, 0, -0.32)), leaf)
        stem.stroke([(0.05, 0), (0.96, 0)], dark(leaf, 0.45))
    pen.shape([(-0.42, 0.42), (0.42, 0.42), (0.3, 0.98), (-0.3, 0.98)], pot)
    pen.box(-0.5, 0.28, 0.5, 0.46, pot, 0.03)
