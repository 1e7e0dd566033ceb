"""Images of requests: what is refused before anything is decoded."""

from __future__ import annotations

import base64
import binascii
import io
import re

from PIL import Image

from mmt.features.decoding import FORMATS
from mmt.serve.limits import Limits, RefusedError

_DATA_URL = re.compile(r"data:[\w/+.-]*(?:;[\w=.-]+)*;base64,", re.ASCII)


def from_base64(text: str, where: str) -> bytes:
    """The bytes of an image in base64, also with line breaks or as a data URL. Raises RefusedError (422)."""
    start = _DATA_URL.match(text)
    try:
        return base64.b64decode("".join(text[start.end() if start else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(422, f"{where}: expected an image file in base64, found something else.") from None


def check_picture(data: bytes, where: str, limits: Limits) -> None:
    """Reads an image's header.

    Raises:
        RefusedError: no image of a known format (422), or more pixels than the limit (413).
    """
    if not data:
        raise RefusedError(422, f"{where}: the image is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise RefusedError(413, f"{where}: more pixels than the limit of {limits.image_pixels:,}.") from None
    except Exception:  # PIL's readers raise nearly anything on damaged files
        raise RefusedError(422, f"{where}: not an image, or of another kind than {', '.join(FORMATS)}.") from None
    if width * height > limits.image_pixels:
        raise RefusedError(
            413, f"{where}: {width} x {height} pixels are over the limit of {limits.image_pixels:,}. Shrink it."
        )
