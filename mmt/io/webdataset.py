"""Tars as the package webdataset writes them: the files of one sample share a key and lie one after the other.

``shop/17.jpg`` and ``shop/17.txt`` are the sample ``shop/17``: the key is the name up to the first dot after the
last slash, in lower case the rest tells what the file is. Tars are not compressed, so that a member is read by
itself, from wherever the tar lies.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from typing import IO, NamedTuple

from mmt.errors import MMTError
from mmt.io.locations import StoredFile, reading

SUFFIX = ".tar"
_BLOCK = 512
_PACKED = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"\x28\xb5": "unzstd"}


class Member(NamedTuple):
    """A file in a tar: its sample's ``key``, the ``suffix`` after it without a dot, and where its bytes lie."""

    key: str
    suffix: str
    offset: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.key}.{self.suffix}"


def members(tar: StoredFile) -> Iterator[Member]:
    """The members in order, without those that belong to no sample: folders, links, hidden files, no dot.

    Raises:
        MMTError: the file is no tar, compressed, or cut off.
    """
    with tar.open() as stream, reading(tar.name):
        start = stream.read(2)
        if start in _PACKED:
            raise MMTError(
                f"{tar.name}: is compressed, so no image can be read by itself. Unpack it with {_PACKED[start]}."
            )
        stream.seek(0)
        try:
            yield from _members(stream)
        except (tarfile.TarError, EOFError) as error:
            raise MMTError(f"{tar.name}: not a tar, or cut off ({error}). Copy it again.") from None


def _members(stream: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while (found := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # otherwise it holds all of them
            folder, slash, base = found.name.rpartition("/")
            stem, dot, suffix = base.partition(".")
            if found.isreg() and not found.issparse() and stem and dot and suffix:
                yield Member(folder + slash + stem, suffix.lower(), found.offset_data, found.size)
        stream.seek(archive.offset)
        if stream.read(_BLOCK) != bytes(_BLOCK):  # every tar ends with zeros; tarfile also stops at damage
            raise EOFError(f"no file and no end mark at byte {archive.offset:,}")


def write_sample(archive: tarfile.TarFile, key: str, files: Mapping[str, bytes]) -> None:
    """Adds a sample to an open tar; equal samples give equal bytes.

    Args:
        key: without a dot after its last slash.
        files: content by suffix, without a dot.
    """
    for suffix, content in files.items():
        about = tarfile.TarInfo(f"{key}.{suffix}")
        about.size = len(content)
        archive.addfile(about, io.BytesIO(content))
