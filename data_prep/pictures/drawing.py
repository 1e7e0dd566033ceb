"""A pen for small pictures: smooth shapes with outline and shade, backgrounds, and weather.

A drawing is a function of a ``Pen``. It draws in a unit box, x to the right and y down, both from -1 to 1; the
pen turns, mirrors, scales and moves it onto the picture. Everything is drawn ``ZOOM`` times as large and then
reduced, which is what makes the edges smooth.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

SIDE = 224  # pixels, the size that image encoders expect
ZOOM = 3
INK = (42, 38, 50)

Colour = tuple[int, int, int]
Point = tuple[float, float]
Points = Sequence[Point]
Floats = npt.NDArray[np.float64]


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """The colour ``share`` of the way from ``colour`` to ``other``."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def dark(colour: Colour, share: float = 0.28) -> Colour:
    """A shadowed ``colour``; towards violet rather than black, which looks like paint."""
    return mix(colour, (40, 20, 70), share)


def light(colour: Colour, share: float = 0.45) -> Colour:
    """A lit ``colour``."""
    return mix(colour, (255, 255, 255), share)


def smooth(points: Points, closed: bool = True) -> list[Point]:
    """A Catmull-Rom curve through ``points``."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        before, start, end, after = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        q = np.concatenate([p[:1], p, p[-1:]])
        before, start, end, after = q[:-3], q[1:-2], q[2:-1], q[3:]
    t = np.linspace(0, 1, 10, endpoint=False)[None, :, None]
    before, start, end, after = (a[:, None, :] for a in (before, start, end, after))
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    flat = curve.reshape(-1, 2)
    if not closed:
        flat = np.concatenate([flat, p[-1:]])
    return _pairs(flat)


def bend(*stations: tuple[float, ...]) -> list[Point]:
    """A path with corners: ``(x, y)`` is reached straight, ``(x, y, b)`` by a bow to the right of travel.

    ``b`` is the bow's control point, as a share of the distance travelled; negative bows to the left.
    """
    x, y = stations[0][:2]
    path: list[Point] = [(x, y)]
    for station in stations[1:]:
        x1, y1 = station[:2]
        if len(station) == 3:
            cx = (x + x1) / 2 - station[2] * (y1 - y)
            cy = (y + y1) / 2 + station[2] * (x1 - x)
            for step in range(1, 10):
                t = step / 10
                a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
                path.append((a * x + b * cx + c * x1, a * y + b * cy + c * y1))
        path.append((x1, y1))
        x, y = x1, y1
    return path


def ring(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> list[Point]:
    """Points of an ellipse, clockwise from ``start`` to ``stop`` degrees (0 is to the right)."""
    angles = np.radians(np.linspace(start, stop, 49))
    return _pairs(np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1))


def _pairs(p: Floats) -> list[Point]:
    return [(x, y) for x, y in p.tolist()]


class Pen:
    """Draws shapes given in the unit box onto ``image``.

    ``colour`` is the main colour where a scene asks for one; ``tint`` chooses among a drawing's own colours.
    """

    def __init__(
        self,
        image: Image.Image,
        matrix: Floats,
        line: float,
        tint: int = 0,
        colour: Colour | None = None,
    ) -> None:
        self.image, self.matrix, self.line = image, matrix, line
        self.tint, self.colour = tint, colour
        self.draw = ImageDraw.Draw(image)
        self.scale = math.sqrt(abs(float(np.linalg.det(matrix[:2, :2]))))

    def at(self, x: float, y: float, size: float = 1, angle: float = 0, mirror: bool = False) -> Pen:
        """A pen whose unit box lies at (x, y) in this one's, ``size`` times as large, turned by ``angle``."""
        a = math.radians(angle)
        flip = -1 if mirror else 1
        local = np.array(
            [
                [flip * size * math.cos(a), -size * math.sin(a), x],
                [flip * size * math.sin(a), size * math.cos(a), y],
                [0, 0, 1],
            ]
        )
        matrix = self.matrix @ local
        line = self.line * max(0.55, size**0.5)
        return Pen(self.image, matrix, line, self.tint, self.colour)

    def pick(self, *colours: Colour) -> Colour:
        """One of a drawing's own colours, by ``tint``."""
        return colours[self.tint % len(colours)]

    def main(self, *colours: Colour) -> Colour:
        """The colour that the scene asks for, or one of the drawing's own."""
        return self.colour or self.pick(*colours)

    def shape(
        self, points: Iterable[Point], fill: Colour, line: bool = True, shade: float = 0.28, width: float = 1
    ) -> None:
        """A filled polygon; ``shade`` darkens the side away from the light, 0 for a flat fill."""
        placed = self._place(points)
        if shade:
            self._shaded(placed, fill, shade)
        else:
            self.draw.polygon(placed, fill=fill)
        if line:
            stroke = max(1, round(self.line * width))
            self.draw.line([*placed, *placed[:2]], fill=INK, width=stroke, joint="curve")

    def blob(self, points: Points, fill: Colour, line: bool = True, shade: float = 0.28, width: float = 1) -> None:
        """A smooth closed shape through ``points``."""
        self.shape(smooth(points), fill, line, shade, width)

    def oval(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: Colour,
        line: bool = True,
        shade: float = 0.28,
        angle: float = 0,
    ) -> None:
        """An ellipse, turned by ``angle`` degrees."""
        pen = self.at(x, y, 1, angle) if angle else self
        pen.shape(ring(0 if angle else x, 0 if angle else y, rx, ry)[:-1], fill, line, shade)

    def box(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour,
        corner: float = 0,
        line: bool = True,
        shade: float = 0.28,
    ) -> None:
        """A rectangle with corners rounded by ``corner``."""
        c = corner
        if c:
            points = [
                *ring(x1 - c, y0 + c, c, c, -90, 0)[::8],
                *ring(x1 - c, y1 - c, c, c, 0, 90)[::8],
                *ring(x0 + c, y1 - c, c, c, 90, 180)[::8],
                *ring(x0 + c, y0 + c, c, c, 180, 270)[::8],
            ]
        else:
            points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        self.shape(points, fill, line, shade)

    def stroke(
        self,
        points: Points,
        colour: Colour = INK,
        width: float = 0.0,
        curved: bool = True,
        edge: bool = True,
        closed: bool = False,
    ) -> None:
        """A line with round ends, ``width`` units wide (0: as an outline), itself outlined if ``edge``."""
        path = smooth(points, closed) if curved and len(points) > 2 else list(points)
        placed = self._place(path)
        inner = width * self.scale if width else self.line
        if closed:
            self._band(placed, INK, inner + 2 * self.line if width and edge else 0)
            self._band(placed, colour, inner)
            return
        if width and edge:
            self._line(placed, INK, inner + 2 * self.line)
        self._line(placed, colour, inner)

    def dot(self, x: float, y: float, radius: float, colour: Colour = INK) -> None:
        """A flat disc without outline."""
        ((x, y),) = self._place([(x, y)])
        r = radius * self.scale
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def eye(self, x: float, y: float, radius: float) -> None:
        """A black eye with a glint."""
        self.dot(x, y, radius)
        self.dot(x - radius * 0.3, y - radius * 0.35, radius * 0.35, (255, 255, 255))

    def _place(self, points: Iterable[Point]) -> list[Point]:
        p = np.asarray(list(points), dtype=np.float64)
        p = p @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        return _pairs(p)

    def _line(self, placed: list[Point], colour: Colour, width: float) -> None:
        wide = width > 4 * ZOOM  # PIL's own joints show on the edge of a wide line
        self.draw.line(placed, fill=colour, width=max(1, round(width)), joint=None if wide else "curve")
        r = width / 2
        for x, y in placed if wide else (placed[0], placed[-1]):
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def _band(self, placed: list[Point], colour: Colour, width: float) -> None:
        """A closed line; PIL's own shows its joints on a tight curve."""
        p = np.asarray(placed)
        along = np.roll(p, -1, 0) - np.roll(p, 1, 0)
        across = np.stack([along[:, 1], -along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
        outwards = 1 if ((p - p.mean(0)) * across).sum() > 0 else -1
        x0, y0, x1, y1 = self._bounds(p, width)
        mask = Image.new("L", (x1 - x0, y1 - y0))
        draw = ImageDraw.Draw(mask)
        for side, fill in ((outwards, 255), (-outwards, 0)):
            draw.polygon([(float(x) - x0, float(y) - y0) for x, y in p + side * width / 2 * across], fill=fill)
        self.image.paste(colour, (x0, y0), mask)

    def _bounds(self, p: Floats, margin: float = 0) -> tuple[int, int, int, int]:
        """The pixels around ``p``, no more than the picture's own; at least one, so that a mask can be made."""
        edge = self.image.size[0]
        x0, y0 = (min(edge - 1, max(0, math.floor(v - margin))) for v in p.min(0))
        x1, y1 = (
            max(low + 1, min(edge, math.ceil(v + margin) + 1)) for low, v in zip((x0, y0), p.max(0), strict=True)
        )
        return x0, y0, x1, y1

    def _shaded(self, placed: list[Point], fill: Colour, shade: float) -> None:
        p = np.asarray(placed)
        x0, y0, x1, y1 = self._bounds(p)
        shift = 0.16 * min(p.max(0) - p.min(0))
        whole, lit = (Image.new("L", (x1 - x0, y1 - y0)) for _ in range(2))
        ImageDraw.Draw(whole).polygon([(x - x0, y - y0) for x, y in placed], fill=255)
        ImageDraw.Draw(lit).polygon([(x - x0 - shift, y - y0 - shift) for x, y in placed], fill=255)
        self.image.paste(dark(fill, shade), (x0, y0), whole)
        self.image.paste(fill, (x0, y0), ImageChops.darker(whole, lit))


def base_pen(image: Image.Image) -> Pen:
    """The pen whose unit box is the whole picture."""
    half = image.size[0] / 2
    return Pen(image, np.array([[half, 0, half], [0, half, half], [0, 0, 1]]), line=1.6 * ZOOM)


PLACES = ("paper", "room", "table", "meadow", "sand", "street")
OUTDOORS = ("meadow", "sand", "street")
WEATHERS = ("rain", "snow", "night", "sun")

_PAPER: tuple[Colour, ...] = ((244, 238, 226), (226, 236, 242), (236, 230, 242), (230, 241, 229), (245, 231, 226))
_WALL: tuple[Colour, ...] = ((232, 222, 204), (214, 226, 230), (226, 219, 232), (218, 229, 214), (238, 218, 210))
_FLOOR: tuple[Colour, ...] = ((178, 142, 108), (156, 132, 116), (190, 166, 138), (142, 126, 120))
_GROUND: dict[str, tuple[Colour, ...]] = {
    "meadow": ((150, 190, 112), (132, 182, 118), (168, 196, 120)),
    "sand": ((236, 214, 160), (226, 204, 158), (240, 222, 180)),
    "street": ((176, 176, 182), (188, 182, 176), (164, 168, 178)),
}


def draw_background(pen: Pen, place: str, weather: str, rng: random.Random) -> None:
    """Fills the picture with a place and puts a few small things in it that do not matter."""
    if place == "paper":
        pen.image.paste(rng.choice(_PAPER), (0, 0, *pen.image.size))
        pale = mix(rng.choice(_PAPER), (255, 255, 255), 0.3)
        for _ in range(rng.randint(0, 4)):
            pen.dot(rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.1, 0.4), pale)
        return
    if place in ("room", "table"):
        _draw_room(pen, place, rng)
        return
    horizon = rng.uniform(0.25, 0.6)
    top, bottom = {
        "rain": ((148, 160, 174), (196, 204, 210)),
        "snow": ((190, 204, 220), (226, 232, 240)),
        "night": ((40, 48, 98), (96, 108, 162)),
    }.get(weather, ((128 + rng.randint(0, 40), 190, 236), (222, 238, 246)))
    _draw_sky(pen, top, bottom)
    if weather == "night":
        _draw_night_sky(pen, rng)
    elif weather == "sun":
        _draw_sun(pen, rng)
    else:
        for _ in range(rng.randint(0, 2)):
            cloud = light(bottom, 0.7) if weather != "rain" else (168, 176, 186)
            draw_cloud(pen.at(rng.uniform(-0.9, 0.9), rng.uniform(-0.95, -0.6), rng.uniform(0.14, 0.24)), cloud)
    ground = rng.choice(_GROUND[place])
    if weather == "snow":
        ground = mix(ground, (250, 252, 255), 0.8)
    elif weather == "night":
        ground = mix(ground, (50, 56, 110), 0.5)
    rise = rng.uniform(-0.12, 0.12) if place == "meadow" else 0
    edge = smooth([(-1.3, horizon), (-0.4, horizon - rise), (0.4, horizon + rise), (1.3, horizon)], closed=False)
    pen.shape([*edge, (1.3, 1.3), (-1.3, 1.3)], ground, line=False, shade=0)
    for _ in range(rng.randint(0, 4)):
        x, y = rng.uniform(-0.95, 0.95), rng.uniform(horizon + 0.12, 0.97)
        if place == "meadow":
            for lean in (-0.03, 0, 0.03):
                pen.stroke([(x, y), (x + lean, y - 0.07)], dark(ground, 0.3))
        else:
            pen.oval(x, y, rng.uniform(0.02, 0.05), 0.02, dark(ground, 0.22), line=False, shade=0)


def draw_weather(pen: Pen, weather: str, rng: random.Random) -> None:
    """Rain or snow in front of everything."""
    if weather == "rain":
        for _ in range(36):
            x, y = rng.uniform(-1, 1.1), rng.uniform(-1, 1)
            pen.stroke([(x, y), (x - 0.035, y + 0.12)], (214, 228, 244))
    elif weather == "snow":
        for _ in range(44):
            x, y, r = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0.012, 0.026)
            pen.dot(x, y, r + 0.006, (190, 204, 222))
            pen.dot(x, y, r, (255, 255, 255))


def draw_cloud(pen: Pen, colour: Colour) -> None:
    """A cloud without outline."""
    for x, y, r in ((-0.55, 0.1, 0.4), (0, -0.2, 0.55), (0.55, 0.1, 0.42)):
        pen.dot(x, y, r, colour)
    pen.box(-0.6, 0, 0.6, 0.5, colour, corner=0.2, line=False, shade=0)


def _draw_sky(pen: Pen, top: Colour, bottom: Colour) -> None:
    side = pen.image.size[0]
    fall = np.minimum(1, np.linspace(0, 1.45, side))[:, None, None]
    rows = np.array(top) + (np.array(bottom) - np.array(top)) * fall
    pen.image.paste(Image.fromarray(np.repeat(rows.round().astype(np.uint8), side, axis=1)))


def _draw_night_sky(pen: Pen, rng: random.Random) -> None:
    for _ in range(14):
        pen.dot(rng.uniform(-1, 1), rng.uniform(-1, 0.1), rng.uniform(0.008, 0.016), (250, 246, 214))
    for step in range(16):  # a glow behind the object, so that dark things stand out
        pen.dot(0, 0, 0.98 - step * 0.03, mix((68, 78, 132), (144, 156, 202), step / 15))
    x, y = rng.choice((-0.78, 0.78)), rng.uniform(-0.82, -0.7)
    pen.dot(x, y, 0.15, (250, 240, 190))


def _draw_sun(pen: Pen, rng: random.Random) -> None:
    x, y = rng.choice((-0.8, 0.8)), rng.uniform(-0.84, -0.74)
    for ray in range(12):
        a = math.radians(30 * ray)
        c, s = math.cos(a), math.sin(a)
        pen.stroke([(x + 0.2 * c, y + 0.2 * s), (x + 0.28 * c, y + 0.28 * s)], (250, 204, 70), 0.03, edge=False)
    pen.dot(x, y, 0.16, (252, 214, 80))


def _draw_room(pen: Pen, place: str, rng: random.Random) -> None:
    wall, floor = rng.choice(_WALL), rng.choice(_FLOOR)
    pen.image.paste(wall, (0, 0, *pen.image.size))
    if place == "room":
        gap = rng.uniform(0.22, 0.5)
        start = rng.uniform(-1, -0.7)
        for stripe in range(10):
            pen.box(
                start + stripe * gap, -1, start + stripe * gap + 0.05, 1, dark(wall, 0.05), line=False, shade=0
            )
    horizon = rng.uniform(0.4, 0.62)
    pen.box(-1.1, horizon, 1.1, 1.1, floor, line=False, shade=0)
    pen.box(-1.1, horizon, 1.1, horizon + 0.045, light(floor, 0.3), line=False, shade=0)
