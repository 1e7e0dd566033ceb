"""Image files: finding them and reading their bytes. ``mmt.features.decoding`` decodes them."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmt.data.dataset import image_folder, read_info, read_split
from mmt.data.image_names import files_below
from mmt.errors import MMTError, local_path

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")

_MAX_BYTES = 1 << 30  # of a file
_NAMED = 5  # of files that are not taken


# --- reading ----------------------------------------------------------------------------------------------


class ImageError(MMTError):
    """An image that cannot be read; ``reason`` is the message without the image's name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.reason = reason


def read_ahead(source: object) -> None:
    """Asks the system to load a file into its cache, without waiting; does nothing if ``source`` is not a path."""
    if isinstance(source, Path) and hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError, ValueError):
            file = os.open(source, os.O_RDONLY | os.O_NONBLOCK)  # or a pipe would make it wait
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(file)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises OSError or ValueError, also for a pipe, which may block, and an endless device."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(
            "is a directory" if stat.S_ISDIR(found.st_mode) else "is not a file, but a pipe or a device"
        )
    if found.st_size > _MAX_BYTES:
        raise ValueError(f"{found.st_size:,} bytes are over the limit of {_MAX_BYTES:,}")
    return path.read_bytes()


# --- finding ----------------------------------------------------------------------------------------------


def find_images(source: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Lists the images of a prepared dataset or of a folder, in a fixed order.

    Args:
        source: a prepared dataset (``mmt.data.dataset``): the ``image`` column of its sentences that have an
            image, in all splits; or a folder of image files, searched with its subfolders. Links are followed;
            broken and circular ones are listed on standard error.
        suffixes: of the files to find in such a folder, lower case.
    Returns:
        image id -> file. The id is the name in the image folder, with ``/`` between folders.
    Raises:
        MMTError: no such folder, no image in it, or an image whose name leads out of it.
    """
    if (source / "dataset.json").is_file():
        info = read_info(source)
        folder, ids = image_folder(source, info), set[str]()
        for split in info.splits:
            columns = read_split(source, split).select_columns(["image", "has_image"])
            for batch in columns.with_format(None).iter(batch_size=1000):
                ids |= {i for i, there in zip(batch["image"], batch["has_image"], strict=True) if there}
        what = "a prepared dataset with images"
        if ids and not info.images:
            raise MMTError(
                f"{source}: its images are not in a folder, but in the tars or Parquet files of which it was "
                "made. Name these."
            )
    else:
        if not source.is_dir():
            raise MMTError(f"{source}: expected a folder of images or a prepared dataset, found no such folder.")
        folder, endings = source, ", ".join(suffixes)
        what = f"files ({endings})"
        names, left_out = files_below(folder)
        names += left_out  # a broken link named like an image is an unreadable image
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
    """The file of an image in a folder, whether it exists or not. A name from data never leads out of the folder.

    Links in the folder are followed: the folder's owner decides where they lead.

    Raises:
        MMTError: the name leads out of the folder, or is a URL.
    """
    local_path(image_id)
    parts = PurePosixPath(image_id)
    if parts.is_absolute() or ".." in parts.parts or "\n" in image_id or "\0" in image_id:
        raise MMTError(
            f"image id {image_id!r}: expected a file name inside {folder}, without '..' and line breaks."
        )
    return folder / parts
