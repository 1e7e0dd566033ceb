"""Image files to pixels, as a viewer shows them; no torch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mmt.features.image_metadata import without_metadata
from mmt.features.images import ImageError, read_file

Pixels: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB."""

_MAX_ASPECT = 100  # a thinner image would be resized to a strip of gigabytes
# Those of IMAGE_SUFFIXES. PIL knows dozens more; to read EPS it runs another program.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that undoes each EXIF orientation."""


def decode_image(
    source: Path | bytes | Image.Image,
    decode_jpeg: Callable[[bytes], Pixels | None] | None = None,
    smallest_side: int | None = None,
) -> Pixels:
    """Decodes one image as a viewer shows it: upright, the first frame, transparency over white.

    16-bit grey keeps its upper 8 bits. Damaged metadata (EXIF, colour profile, text) of a file with intact pixels
    is ignored.

    Args:
        source: a file, a file's bytes, or an opened PIL image.
        decode_jpeg: decodes 8-bit grey and colour JPEGs faster than PIL, to the same upright pixels; it returns
            None for a file that it cannot decode.
        smallest_side: JPEGs of at least twice this size are decoded at a half, a quarter or an eighth of their
            size, with no side below this; much faster, and not the same pixels as after a resize.
    Returns:
        (H, W, 3) uint8 RGB.
    Raises:
        ImageError: (an MMTError) with the file's name: missing, empty, truncated, not an image, too large (PIL's
            limit against decompression bombs), or with 32-bit pixels, whose range is unknown.
    """
    if isinstance(source, Image.Image):
        return _decode_pil(source, "the image given")
    name = "the image bytes given" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_file(source)
    except (OSError, ValueError) as error:
        raise ImageError(name, (getattr(error, "strerror", None) or str(error)).lower()) from None
    if not data:
        raise ImageError(name, "the file is empty")
    try:
        return _decode(data, name, decode_jpeg, smallest_side)
    except ImageError:
        for copy in without_metadata(data):
            with contextlib.suppress(ImageError):
                return _decode(copy, name, decode_jpeg, smallest_side)
        raise


def _decode(
    data: bytes, name: str, decode_jpeg: Callable[[bytes], Pixels | None] | None, smallest_side: int | None
) -> Pixels:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)  # reads the header only
    except UnidentifiedImageError:
        raise ImageError(name, f"not an image, or of another kind than {', '.join(FORMATS)}") from None
    except Exception as error:  # PIL's readers raise nearly anything on damaged files
        raise ImageError(name, f"cannot be read ({error})") from None
    _check_size(image, name)
    if smallest_side is not None:
        full = image.size
        image.draft(None, (smallest_side, smallest_side))  # does nothing unless it is a JPEG
        if image.size != full:
            return _decode_pil(image, name)
    if decode_jpeg is not None and image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        pixels = decode_jpeg(data)
        if pixels is not None:  # else PIL decodes it, or explains the error
            return pixels
    return _decode_pil(image, name)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) == 0:
        raise ImageError(name, f"has no pixels ({width} x {height})")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(name, f"{width} x {height} pixels are over PIL's limit of {Image.MAX_IMAGE_PIXELS:,}")
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ImageError(name, f"{width} x {height} pixels are too thin, over {_MAX_ASPECT} to 1")


def _decode_pil(image: Image.Image, name: str) -> Pixels:
    _check_size(image, name)
    try:
        sixteen = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")
        image.load()
        image = _upright(image)
        if image.mode in ("I", "F") and not sixteen:
            raise ImageError(name, "32-bit pixels, whose range is not known. Save it with 8 or 16 bits")
        if sixteen:
            # PIL's own conversion cuts everything over 255 to white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # as above
        raise ImageError(name, f"damaged ({error})") from None


def _upright(image: Image.Image) -> Image.Image:
    """Rotated as its EXIF says, as far as that is readable."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of any kind: the pixels are read already
        orientation = None
        with contextlib.suppress(Exception):
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
        return image if turn is None else image.transpose(turn)
