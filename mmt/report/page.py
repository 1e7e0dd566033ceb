"""What the pages share: the templates' environment, numbers in words, and pictures."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from mmt.data.tokenizer import MASK
from mmt.features.decoding import decode_image
from mmt.features.images import ImageError
from mmt.metrics.significance import p_text

_SIDE = 320  # pixels of a picture's longer side, as it is kept and as it is shown
_MOST = 12  # of a list, such as of missing images; all of them are in the JSON

# Characters that act without being visible: controls, and those that reverse the direction of the text after them.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def environment(package: str = "mmt.report") -> Environment:
    """Of a package's templates: it escapes all values, refuses undefined ones, and knows the formats here."""
    made = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "signed": signed,
        "p": p_text,
        "piece": piece_text,
        "percent": percent,
        "significant": significant,
        "deviation": deviation,
        "signed_significant": signed_significant,
        "facts": facts,
        "masks": masks,
        "svg": Markup,  # for the plots, which are made of numbers alone
    }
    made.filters |= filters
    # Every value that the page prints passes here.
    made.finalize = lambda value: visible(value) if type(value) is str else value
    return made


def visible(text: str) -> str:
    """Text with every character that acts without being visible written out, as ``[U+202E]``."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found.group()):04X}]", text)


def masks(source: str) -> list[tuple[str, bool]]:
    """The source in parts, and which of them stand for a masked word."""
    return [(part, bool(MASK.fullmatch(part))) for part in re.split(f"({MASK.pattern})", source)]


def number(value: float | None, decimals: int = 2) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float | None, decimals: int = 2) -> str:
    text = number(value, decimals)
    return text if text[0] in "−–" else "+" + text if text.strip("0.,") else "±" + text


def deviation(std: float | None, decimals: int) -> str:
    """``" ± 0.2"``; nothing for None; ``" ± <0.1"`` for one that would be rounded to 0."""
    if std is None:
        return ""
    return f" ± {number(std, decimals)}" if not 0 < std < 0.5 * 10**-decimals else f" ± <\u00a0{10**-decimals:g}"


def significant(value: float | None, digits: int = 2) -> str:
    """A number with this many significant digits: 0.23, 0.0041."""
    if value is None or not math.isfinite(value):
        return "–"
    return number(value, max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0)


def signed_significant(value: float | None) -> str:
    text = significant(value)
    return text if text[0] in "−–" or value == 0 else "+" + text


def percent(share: float | None, items: int = 0) -> str:
    """A share in whole percent; with one decimal of 1,000 items or more, and next to 0 and to 100 %."""
    if share is None or not math.isfinite(share):
        return "–"
    value = 100 * share
    whole = items < 1000 and (round(value) not in (0, 100) or value in (0, 100))
    return number(value, 0 if whole else 1) + "\u00a0%"


def piece_text(piece: str) -> str:
    """A SentencePiece piece for the reader: without U+2581, which begins a word, or with … if it continues one."""
    if piece == "</s>":
        return "(end)"
    if MASK.fullmatch(piece):
        return piece
    return piece[1:] or "(space)" if piece.startswith("\u2581") else f"…{piece}"


def facts(values: Mapping[str, Any] | None, *, nested: bool) -> list[tuple[str, str]]:
    """Name and text of each nested entry (a list or a table), or of each plain one."""
    return [
        (str(name).replace("_", " "), _fact(value, str(name)))
        for name, value in (values or {}).items()
        if value is not None and isinstance(value, Mapping | list | tuple | set) == nested
    ]


def _fact(value: Any, name: str = "") -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_fact(inner, str(key))}" for key, inner in value.items())
    if isinstance(value, list | tuple | set):
        if not value:
            return "–"
        shown = [
            *map(_fact, list(value)[:_MOST]),
            *([f"and {len(value) - _MOST:,} more"] if len(value) > _MOST else []),
        ]
        return ", ".join(shown)
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if "checksum" in name and isinstance(value, str):
        return value[:12]  # enough to tell two apart; whole in the JSON
    if isinstance(value, int):
        return str(value) if "seed" in name else f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Picture:
    """``width``, ``height``: as shown, in CSS pixels. ``data``: a data URI, empty for a picture not at hand."""

    name: str
    width: int
    height: int
    data: str
    reason: str = ""


def make_picture(
    name: str, pictures: Mapping[str, Image.Image | Path] | None, side: int = _SIDE, quality: int = 85
) -> Picture:
    """The picture of this name as a small JPEG.

    Args:
        side: pixels of its longer side at most.
        pictures: opened, or their files, by name; None where they must not be shared.
    """
    if pictures is None or name not in pictures:
        return Picture(name, _SIDE, _SIDE, "", "not in this file" if pictures is None else "not at hand")
    try:
        pixels = decode_image(pictures[name])  # upright and on white, as the model sees it
    except ImageError as error:
        return Picture(name, _SIDE, _SIDE, "", error.reason)  # a page without one picture is still a page
    small = Image.fromarray(pixels)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=quality, optimize=True)
    longer = max(small.size)
    width, height = (max(1, round(side * length / longer)) for length in small.size)
    return Picture(name, width, height, "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode())
