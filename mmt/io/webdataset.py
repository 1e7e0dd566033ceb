"""Tars as the package webdataset writes them: the files of one sample share a key and lie one after the other.

``shop/17.jpg`` and ``shop/17.txt`` are the sample ``shop/17``: the key is the name up to the first dot after the
last slash, in lower case the rest tells what the file is. Tars are not compressed, so that a member is read by
itself, from wherever the tar lies.
"""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, NamedTuple

from mmt.errors import MMTError
from mmt.io.locations import StoredFile, reading

SUFFIX = ".tar"
_BLOCK = 512
_READ = 1 << 16
_MAX_TEXT = 1 << 24  # bytes
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
        MMTError: the file is no tar, compressed, cut off, or followed by other bytes.
    """
    yield from (member for member, _ in _opened(tar, lambda _: False))


def samples(tar: StoredFile, wanted: Callable[[str], bool]) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    """The samples in order, reading the tar from its beginning to its end.

    Args:
        wanted: whether members with that suffix are read.
    Yields:
        Key, and content by suffix; None for members that are not wanted.
    Raises:
        MMTError: as ``members``; or a sample's members are not together, one occurs twice, or is too large to be
            text.
    """
    before: set[int] = set()  # hashes of keys, smaller than these
    for key, found in itertools.groupby(_opened(tar, wanted), key=lambda one: one[0].key):
        if hash(key) in before:
            raise MMTError(f"{tar.name}: the members of '{key}' are not together. Pack it with tar --sort=name.")
        before.add(hash(key))
        sample: dict[str, bytes | None] = {}
        for member, content in found:
            if member.suffix in sample:
                raise MMTError(f"{tar.name}: '{member.name}' occurs twice. Leave one out.")
            sample[member.suffix] = content
        yield key, sample


def _opened(tar: StoredFile, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, bytes | None]]:
    with tar.open() as stream, reading(tar.name):
        start = stream.read(2)
        if start in _PACKED:
            raise MMTError(
                f"{tar.name}: is compressed, so no image can be read by itself. Unpack it with {_PACKED[start]}."
            )
        stream.seek(0)
        try:
            for member in _members(stream):
                yield member, _content(stream, member, tar.name) if wanted(member.suffix) else None
            _check_end(stream, tar.name)
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


def _check_end(stream: IO[bytes], name: str) -> None:
    """Refuses what follows the end mark, which readers of tars would leave out without a word."""
    while padding := stream.read(_READ):
        if padding.count(0) != len(padding):
            raise MMTError(
                f"{name}: other bytes follow the end of the tar, perhaps a second tar. Join tars with "
                "tar --concatenate."
            )


def _content(stream: IO[bytes], member: Member, name: str) -> bytes:
    if member.size > _MAX_TEXT:
        raise MMTError(f"{name}: '{member.name}': {member.size:,} bytes are too many for a text.")
    stream.seek(member.offset)
    content = stream.read(member.size)
    if len(content) < member.size:
        raise EOFError(f"in '{member.name}'")
    return content


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
