"""Pictures: which there are, and their pixels as a viewer shows them."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from mmt.data.image_names import files_below
from mmt.errors import MMTError, local_path
from mmt.features.image_metadata import without_metadata

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")

Key = TypeVar("Key")

_MAX_ASPECT = 100  # a thinner image would be resized to a strip of gigabytes
_MAX_BYTES = 1 << 30  # of a file
_NAMED = 5  # of files that are not taken
# Those of IMAGE_SUFFIXES. PIL knows dozens more; to read EPS it runs another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation of EXIF."""


# --- decoding ---------------------------------------------------------------------------------------------


class ImageError(MMTError):
    """An image that cannot be read; ``reason`` is the message without the image's name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


def decode_image(source: Path | bytes | Image.Image) -> Tensor:
    """Decodes one image to what a viewer shows: upright, the first frame, transparency over white.

    8-bit grey and colour JPEGs go through torchvision (twice as fast), everything else through PIL; which way
    depends on the file alone, so one file always gives the same pixels. 16-bit grey keeps its upper 8 bits.
    Damaged metadata (EXIF, colour profile, text) of a file whose pixels are whole is ignored.

    Args:
        source: a file, a file's bytes, or an opened PIL image.
    Returns:
        (3, H, W) uint8 RGB.
    Raises:
        ImageError: (an MMTError) naming the file: missing, empty, truncated, not an image, too large (PIL's
            guard against decompression bombs), or of 32-bit pixels, whose range is not known.
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
        return _decode(data, name)
    except ImageError:
        for copy in without_metadata(data):
            with contextlib.suppress(ImageError):
                return _decode(copy, name)
        raise


def _decode(data: bytes, name: str) -> Tensor:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)  # reads the header only
    except UnidentifiedImageError:
        raise ImageError(name, f"not an image, or of another kind than {', '.join(_FORMATS)}") from None
    except Exception as error:  # PIL's readers raise nearly anything on damaged files
        raise ImageError(name, f"cannot be read ({error})") from None
    _check_size(image, name)
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        try:
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels: Tensor = decode_jpeg(encoded, ImageReadMode.RGB, apply_exif_orientation=True)
            return pixels
        except RuntimeError:
            pass  # a JPEG that torchvision does not take, or a damaged one: PIL takes it, or says what is wrong
    return _decode_pil(image, name)


def read_ahead(source: object) -> None:
    """Asks the system for a file's content and does not wait for it; nothing where ``source`` is none."""
    if isinstance(source, Path) and hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError, ValueError):
            file = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # or a pipe would make it wait
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises OSError or ValueError, also for a pipe, which may wait, and a device without end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(
            "is a directory" if stat.S_ISDIR(found.st_mode) else "is not a file, but a pipe or a device"
        )
    if found.st_size > _MAX_BYTES:
        raise ValueError(f"{found.st_size:,} bytes are over the limit of {_MAX_BYTES:,}")
    return path.read_bytes()


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if min(width, height) == 0:
        raise ImageError(name, f"has no pixels ({width} x {height})")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(name, f"{width} x {height} pixels are over PIL's limit of {Image.MAX_IMAGE_PIXELS:,}")
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise ImageError(name, f"{width} x {height} pixels are too thin, over {_MAX_ASPECT} to 1")


def _decode_pil(image: Image.Image, name: str) -> Tensor:
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
        pixels = np.array(image.convert("RGB"))
    except ImageError:
        raise
    except Exception as error:  # as above
        raise ImageError(name, f"damaged ({error})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _upright(image: Image.Image) -> Image.Image:
    """As its EXIF says, as far as that can be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # of any kind: the pixels are read already
        orientation = None
        with contextlib.suppress(Exception):
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
        return image if turn is None else image.transpose(turn)


# --- finding ----------------------------------------------------------------------------------------------


def find_images(source: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Lists the images of a prepared dataset or of a folder, in a fixed order.

    Args:
        source: a prepared dataset (``mmt.data.dataset``): the ``image`` column of its sentences that have an
            image, all splits; or a folder of image files, searched through all its subfolders. Links are followed;
            those that lead nowhere or in a circle are named on standard error.
        suffixes: of the files to look for in such a folder, lower case.
    Returns:
        image id -> file. The id is the name in the image folder, with ``/`` between folders.
    Raises:
        MMTError: no such folder, no image in it, or an image whose name leads out of it.
    """
    if (source / "dataset.json").is_file():
        from mmt.data.dataset import image_folder, read_info, read_split

        info = read_info(source)
        folder, ids = image_folder(source, info), set[str]()
        for split in info.splits:
            columns = read_split(source, split).select_columns(["image", "has_image"])
            for batch in columns.with_format(None).iter(batch_size=1000):
                ids |= {i for i, there in zip(batch["image"], batch["has_image"], strict=True) if there}
        what = "a prepared dataset with images"
    else:
        if not source.is_dir():
            raise MMTError(f"{source}: expected a folder of images or a prepared dataset, found no such folder.")
        folder, endings = source, ", ".join(suffixes)
        what = f"files ({endings})"
        names, left_out = files_below(folder)
        names += left_out  # a link that is called like an image is an image that cannot be read
        ids = {name for name in names if os.path.splitext(name)[1].lower() in suffixes and not _is_hidden(name)}
        for name, reason in left_out.items():
            if name not in ids:
                print(f"{source}: left out: {name} ({reason})", file=sys.stderr)
        others = [name for name in names if name not in ids and name not in left_out and not _is_hidden(name)]
        if ids and others:
            more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
            listed = ", ".join(others[:_NAMED]) + more
            print(f"{source}: not taken, as they do not end in {endings}: {listed}", file=sys.stderr)
    if not ids:
        raise MMTError(f"{source}: expected {what}, found none.")
    return {image_id: image_file(folder, image_id) for image_id in sorted(ids)}


def _is_hidden(name: str) -> bool:
    return os.path.basename(name).startswith(".")


def image_file(folder: Path, image_id: str) -> Path:
    """The file of an image in a folder, whether it is there or not: a name out of data never leads out of it.

    Links in the folder are followed: whoever put them there decides where they lead.

    Raises:
        MMTError: a name that leads out, or a URL.
    """
    local_path(image_id)
    parts = PurePosixPath(image_id)
    if parts.is_absolute() or ".." in parts.parts or "\n" in image_id or "\0" in image_id:
        raise MMTError(
            f"image id {image_id!r}: expected a file name inside {folder}, without '..' and line breaks."
        )
    return folder / parts
