"""Things of the house. Each function draws one of them with a ``Pen`` in the unit box."""

from __future__ import annotations

import math

from data_prep.pictures.drawing import Colour, Pen, bend, dark, draw_cloud, light, ring

_WHITE: Colour = (252, 252, 252)
_STEEL: Colour = (176, 184, 194)
_GOLD: Colour = (238, 190, 62)


def draw_ring_jewel(pen: Pen) -> None:
    """A gold ring with a diamond."""
    metal = pen.pick(_GOLD, (206, 212, 222), (232, 168, 130))
    gem = pen.pick((150, 222, 244), (120, 220, 170), (240, 120, 150), (170, 160, 244))
    pen.stroke(ring(0, 0.34, 0.52, 0.52)[:-1:3], metal, 0.17, closed=True)
    pen.stroke(ring(0, 0.34, 0.55, 0.55, 130, 210)[::6], light(metal, 0.7), 0.05, edge=False)
    pen.shape([(-0.2, -0.28), (0.2, -0.28), (0.26, -0.1), (-0.26, -0.1)], metal)
    top, mid, low = -0.94, -0.66, -0.14
    pen.shape([(-0.3, top), (0.3, top), (0.5, mid), (0, low), (-0.5, mid)], gem)
    pen.shape([(-0.3, top), (0.3, top), (0.2, mid), (-0.2, mid)], light(gem, 0.65), shade=0, width=0.6)
    pen.shape([(-0.2, mid), (0.2, mid), (0, low)], light(gem, 0.35), shade=0, width=0.6)
    pen.stroke([(-0.5, mid), (0.5, mid)])


def draw_seal_wax(pen: Pen) -> None:
    """A wax seal with a ribbon."""
    wax = pen.pick((196, 36, 44), (150, 26, 40), (212, 60, 50))
    ribbon = pen.pick((230, 196, 110), (60, 90, 160), (70, 130, 90))
    for side in (-1, 1):
        pen.shape(
            [(side * 0.02, 0.2), (side * 0.4, 0.12), (side * 0.6, 0.9), (side * 0.4, 0.82), (side * 0.26, 1.0)],
            ribbon,
        )
    edge = []
    for step in range(16):
        a = math.radians(22.5 * step)
        r = 0.72 + 0.05 * math.sin(3 * step + pen.tint) + 0.03 * math.cos(5 * step)
        edge.append((r * math.cos(a), -0.18 + r * math.sin(a)))
    pen.blob(edge, wax)
    pen.oval(0, -0.18, 0.5, 0.5, dark(wax, 0.2))
    pen.oval(0.02, -0.16, 0.47, 0.47, wax, line=False, shade=0)
    star = []
    for step in range(10):
        a = math.radians(36 * step - 90)
        r = 0.36 if step % 2 == 0 else 0.15
        star.append((r * math.cos(a), -0.17 + r * math.sin(a)))
    pen.shape(star, light(wax, 0.25))
    pen.stroke(ring(0, -0.18, 0.62, 0.62, 195, 250)[::8], light(wax, 0.5), 0.05, edge=False)


def draw_pitcher_jug(pen: Pen) -> None:
    """A jug with a handle and a spout."""
    clay = pen.pick((92, 142, 196), (206, 124, 78), (236, 226, 206), (120, 168, 130))
    band = pen.pick(_WHITE, (250, 226, 180), (60, 100, 170), (250, 244, 214))
    pen.stroke([(0.26, -0.52), (0.7, -0.54), (0.78, -0.06), (0.42, 0.34)], clay, 0.13)
    pen.shape(
        bend(
            (-0.66, -0.78),
            (-0.34, -0.72, 0.05),
            (0.32, -0.8, 0.1),
            (0.26, -0.3, 0.06),
            (0.52, 0.36, -0.2),
            (0.3, 0.96, -0.16),
            (-0.36, 0.96),
            (-0.56, 0.36, -0.16),
            (-0.34, -0.34, -0.2),
            (-0.66, -0.78, 0.1),
        ),
        clay,
    )
    pen.shape(bend((-0.66, -0.78), (0.32, -0.8, -0.12), (-0.66, -0.78, -0.12)), dark(clay, 0.5), shade=0)
    pen.stroke([(-0.5, 0.22), (0, 0.32), (0.46, 0.22)], band, 0.1, edge=False)
    for step in range(5):
        pen.dot(-0.36 + step * 0.17, 0.5 - 0.02 * (step - 2) ** 2, 0.045, band)


def draw_glasses_eye(pen: Pen) -> None:
    """A pair of spectacles."""
    frame = pen.pick((46, 44, 54), (160, 60, 50), (110, 74, 52), (40, 80, 150))
    for side in (-1, 1):
        pen.stroke([(side * 0.9, -0.06), (side * 1.0, -0.3), (side * 0.8, -0.5), (side * 0.5, -0.54)], frame, 0.07)
    for side in (-1, 1):
        pen.oval(side * 0.5, 0.08, 0.4, 0.4, (206, 232, 246), shade=0.12)
        pen.stroke([(side * 0.5 - 0.18, 0.06), (side * 0.5 + 0.02, -0.18)], _WHITE, 0.07, edge=False)
        pen.stroke([(side * 0.5 - 0.1, 0.2), (side * 0.5 + 0.14, -0.08)], _WHITE, 0.04, edge=False)
        pen.stroke(ring(side * 0.5, 0.08, 0.4, 0.4)[:-1:3], frame, 0.1, closed=True, edge=False)
    pen.stroke([(-0.12, 0.02), (0, -0.07), (0.12, 0.02)], frame, 0.1, edge=False)


def draw_glasses_drink(pen: Pen) -> None:
    """Two wine glasses."""
    drink = pen.pick((170, 30, 60), (244, 210, 90), (236, 130, 140), (240, 150, 50))
    glass = (226, 240, 246)
    for x, y in ((-0.46, -0.04), (0.46, 0.06)):
        g = pen.at(x, y, 0.94)
        g.shape([(-0.05, 0.2), (0.05, 0.2), (0.05, 0.84), (-0.05, 0.84)], glass)
        g.oval(0, 0.88, 0.3, 0.08, glass)
        g.shape(
            bend(
                (-0.34, -0.9),
                (0.34, -0.9),
                (0.4, -0.3, -0.02),
                (0, 0.26, -0.26),
                (-0.4, -0.3, -0.26),
                (-0.34, -0.9, -0.02),
            ),
            glass,
            shade=0.12,
        )
        g.shape(bend((-0.39, -0.4), (0.39, -0.4), (0, 0.24, -0.3), (-0.39, -0.4, -0.3)), drink)
        g.oval(0, -0.4, 0.39, 0.07, light(drink, 0.25), shade=0)
        g.oval(0, -0.9, 0.34, 0.07, light(glass, 0.5), shade=0)
        g.stroke([(-0.26, -0.76), (-0.28, -0.5)], _WHITE, 0.06, edge=False)


def draw_bolt_lightning(pen: Pen) -> None:
    """A bolt of lightning from a dark cloud."""
    cloud = pen.pick((98, 106, 130), (120, 124, 140), (84, 88, 116))
    pen.shape(
        [(0.1, -0.4), (-0.42, 0.3), (-0.06, 0.26), (-0.34, 1.0), (0.46, 0.04), (0.08, 0.08), (0.42, -0.4)],
        (255, 216, 50),
        shade=0.1,
    )
    for x, y, r in ((-0.58, -0.5, 0.32), (0.6, -0.5, 0.3), (-0.18, -0.66, 0.38), (0.26, -0.64, 0.36)):
        pen.oval(x, y, r, r * 0.9, cloud, shade=0)
    draw_cloud(pen.at(0, -0.5, 0.9), cloud)
    pen.stroke([(-0.46, -0.78), (-0.3, -0.9), (-0.1, -0.9)], light(cloud, 0.35), 0.05, edge=False)


def draw_letter_mail(pen: Pen) -> None:
    """A letter in its envelope."""
    paper = pen.pick((252, 246, 230), (250, 250, 252), (244, 226, 196), (226, 236, 246))
    pen.box(-0.92, -0.6, 0.92, 0.62, paper, 0.03, shade=0.12)
    pen.stroke([(-0.92, 0.6), (-0.14, 0.0)])
    pen.stroke([(0.92, 0.6), (0.14, 0.0)])
    pen.shape(bend((-0.92, -0.6), (0.92, -0.6), (0.1, 0.12), (-0.1, 0.12, -0.3)), light(paper, 0.3), shade=0.1)


_GLYPHS: tuple[tuple[list[tuple[float, float]], ...], ...] = (
    ([(-0.6, 0.8), (0, -0.8), (0.6, 0.8)], [(-0.36, 0.26), (0.36, 0.26)]),  # A
    (
        [(-0.45, 0), (0.1, 0), (0.4, -0.2), (0.4, -0.6), (0.1, -0.8), (-0.45, -0.8), (-0.45, 0.8), (0.2, 0.8)],
        [(0.2, 0.8), (0.5, 0.6), (0.5, 0.2), (0.1, 0)],
    ),  # B
    ([(0.45, -0.8), (-0.45, -0.8), (-0.45, 0.8), (0.45, 0.8)], [(-0.45, 0), (0.3, 0)]),  # E
    ([(-0.5, -0.8), (-0.5, 0.8)], [(0.5, -0.8), (0.5, 0.8)], [(-0.5, 0), (0.5, 0)]),  # H
    ([(-0.45, -0.8), (-0.45, 0.8)], [(0.5, -0.8), (-0.4, 0.05), (0.5, 0.8)]),  # K
    (
        [(-0.45, 0.8), (-0.45, -0.8), (0.15, -0.8), (0.45, -0.6), (0.45, -0.2), (0.15, 0), (-0.4, 0)],
        [(0.05, 0.05), (0.5, 0.8)],
    ),  # R
)


def draw_letter_glyph(pen: Pen) -> None:
    """A large letter of the alphabet."""
    colour = pen.pick(
        (214, 48, 56), (44, 98, 190), (48, 148, 84), (240, 160, 40), (130, 70, 170), (60, 60, 70), (220, 90, 140)
    )
    lines = _GLYPHS[pen.tint % len(_GLYPHS)]
    for edge in (True, False):
        for line in lines:
            pen.stroke(line, colour, 0.3, curved=False, edge=edge)


def draw_pipe_tobacco(pen: Pen) -> None:
    """A smoker's pipe with smoke."""
    wood = pen.pick((140, 74, 44), (112, 60, 40), (170, 96, 54))
    for x, lean in ((-0.66, 0.1), (-0.42, 0.14)):
        pen.stroke(
            [(x, -0.28), (x - lean, -0.5), (x + lean, -0.7), (x - 0.02, -0.94)], (216, 218, 226), 0.07, edge=False
        )
    pen.stroke([(-0.4, 0.62), (0.1, 0.5), (0.5, 0.1), (0.94, -0.02)], (44, 40, 46), 0.12)
    pen.shape(
        bend(
            (-0.84, -0.12),
            (-0.22, -0.12),
            (-0.18, 0.3, -0.08),
            (0.12, 0.34, 0.2),
            (0.16, 0.56),
            (-0.46, 0.86, -0.2),
            (-0.84, -0.12, -0.36),
        ),
        wood,
    )
    pen.oval(-0.53, -0.13, 0.32, 0.1, dark(wood, 0.5))
    pen.oval(-0.53, -0.12, 0.2, 0.05, (240, 130, 50), line=False, shade=0)
    pen.stroke([(0.08, 0.36), (0.12, 0.56)], _GOLD, 0.06)


def draw_jam_jar(pen: Pen) -> None:
    """A jar of jam with a cloth on its lid."""
    jam = pen.pick((198, 32, 56), (238, 130, 36), (116, 40, 110), (220, 60, 80))
    cloth = pen.pick((226, 60, 60), (70, 120, 200), (90, 160, 90))
    pen.box(-0.62, -0.5, 0.62, 0.96, (222, 238, 242), 0.2)
    pen.box(-0.54, -0.3, 0.54, 0.88, jam, 0.16, line=False, shade=0.2)
    pen.stroke([(-0.46, -0.2), (-0.46, 0.7)], light(jam, 0.5), 0.06, edge=False)
    pen.box(-0.4, 0.0, 0.4, 0.6, (252, 246, 228), 0.04, shade=0)
    berry = pen.at(0, 0.32, 0.24)
    berry.blob(
        [(0, -0.6), (0.6, -0.62), (0.76, -0.1), (0.4, 0.6), (0, 0.98), (-0.4, 0.6), (-0.76, -0.1), (-0.6, -0.62)],
        jam,
    )
    for angle in (-150, -90, -30):
        berry.at(0, -0.56, 0.66, angle).shape(bend((0, 0), (0.9, 0, -0.3), (0, 0, -0.3)), (84, 160, 74), shade=0)
    pen.shape(
        bend(
            (-0.56, -0.9),
            (0.56, -0.9, -0.08),
            (0.6, -0.62),
            (0.74, -0.34, 0.1),
            (0.4, -0.44, 0.3),
            (0.14, -0.34, 0.3),
            (-0.14, -0.44, 0.3),
            (-0.4, -0.34, 0.3),
            (-0.74, -0.36, 0.3),
            (-0.6, -0.62, 0.1),
        ),
        cloth,
    )
    for x in (-0.4, -0.13, 0.13, 0.4):
        for y in (-0.84, -0.72):
            pen.dot(x, y, 0.05, _WHITE)
    pen.stroke([(-0.6, -0.6), (0, -0.56), (0.6, -0.6)], _GOLD, 0.06)


def draw_bow_ribbon(pen: Pen) -> None:
    """A bow tied from ribbon."""
    silk = pen.pick((222, 50, 80), (232, 120, 170), (90, 110, 210), (150, 80, 190), (226, 80, 60))
    for mirror in (False, True):
        half = pen.at(0, 0, 1, 0, mirror)
        half.shape(
            bend(
                (0.02, 0.0),
                (0.3, 0.5, -0.1),
                (0.36, 0.96, -0.06),
                (0.52, 0.78),
                (0.74, 0.84),
                (0.5, 0.36, 0.1),
                (0.12, -0.04, 0.1),
            ),
            silk,
        )
        half.shape(
            bend((0.06, -0.16), (0.86, -0.6, 0.12), (0.96, -0.06, -0.3), (0.84, 0.3, -0.2), (0.06, 0.0, 0.12)),
            silk,
        )
        half.shape(
            bend((0.3, -0.16), (0.8, -0.36, 0.1), (0.78, 0.08, -0.3), (0.3, -0.06, 0.1)), dark(silk, 0.42), shade=0
        )
        half.stroke([(0.16, -0.1), (0.4, -0.2)], dark(silk, 0.5))
    pen.box(-0.17, -0.26, 0.17, 0.12, silk, 0.09)
    pen.stroke([(-0.06, -0.16), (-0.05, 0.04)], dark(silk, 0.5))


def draw_fan_hand(pen: Pen) -> None:
    """A folding fan, opened."""
    cloth = pen.pick((220, 60, 70), (236, 150, 170), (90, 150, 200), (110, 90, 170), (240, 180, 70))
    hub = (0.0, 0.62)
    angles = [-172 + step * 164 / 14 for step in range(15)]

    def spot(angle: float, radius: float) -> tuple[float, float]:
        a = math.radians(angle)
        return hub[0] + radius * math.cos(a), hub[1] + radius * math.sin(a)

    for step in range(14):
        tone = cloth if step % 2 else light(cloth, 0.35)
        a, b = angles[step], angles[step + 1]
        pen.shape(
            [spot(a, 0.44), spot(a, 1.06), spot((a + b) / 2, 1.1), spot(b, 1.06), spot(b, 0.44)],
            tone,
            shade=0,
            width=0.6,
        )
    pen.stroke([spot(a, 0.86) for a in angles], light(cloth, 0.8), 0.06, edge=False)
    for angle in angles:
        pen.stroke([hub, spot(angle, 0.46)], (196, 150, 96), 0.03)
    for angle in (angles[0], angles[-1]):
        pen.stroke([hub, spot(angle, 1.06)], (150, 96, 56), 0.05)
    pen.oval(*hub, 0.07, 0.07, _GOLD)
    pen.stroke([(0, 0.68), (0.04, 0.82), (-0.02, 0.98)], (200, 40, 60), 0.06)
