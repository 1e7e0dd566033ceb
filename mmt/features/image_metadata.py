"""Image files without their metadata, for files with intact pixels and damaged metadata."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

# Chunks of PNG that pixels need. PNG's other registered chunks describe the picture, and may be dropped.
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_PNG_METADATA = frozenset(
    b"acTL bKGD caBX cHRM cICP cLLI dSIG eXIf fcTL fdAT gAMA gIFg gIFt gIFx hIST iCCP iDOT iTXt mDCV oFFs pCAL "
    b"pHYs sBIT sCAL sPLT sRGB sTER tEXt tIME vpAg zTXt".split()
)
_WEBP_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_ALPHA, _WEBP_EXIF, _WEBP_ANIMATION = 0x10, 0x08, 0x02  # flags of VP8X; its others announce metadata
# Tags of TIFF that pixels need, by number: sizes, compression, colours, strips and tiles.
_TIFF_PIXELS = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332,
    338, 339, 347, 512, 513, 514, 519, 520, 521, 529, 530, 531, 532,
})  # fmt: skip
_ORIENTATION = 274
_JFIF, _EXIF, _ADOBE, _COMMENT, _SCAN = 0xE0, 0xE1, 0xEE, 0xFE, 0xDA


def without_metadata(data: bytes) -> Iterator[bytes]:
    """Copies of an image file to try in order, if the file itself does not decode.

    Everything that pixels depend on, including transparency and palette, is kept with its own checksum, so that
    damaged pixels stay damaged. The first copy keeps the EXIF, for its orientation. For JPEG and TIFF, where
    damaged EXIF may prevent decoding, there is a second copy without it. There is no copy if the file is not PNG,
    JPEG, WebP, TIFF or GIF, or is so damaged that its parts cannot be separated.
    """
    for start, strip in _KINDS.items():
        if data.startswith(start):
            copies = [data]
            for keep_exif in (True, False) if strip in (_jpeg, _tiff) else (True,):
                try:
                    copy = strip(data, keep_exif)
                except (struct.error, IndexError, ValueError):
                    return
                if copy not in copies:
                    yield copy
                copies.append(copy)


def _png(data: bytes, keep_exif: bool) -> bytes:
    kept, at, has_pixels = [data[:8]], 8, False
    known = _PNG_METADATA.union(_PNG_PIXELS)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, end = data[at + 4 : at + 8], at + 12 + length
        whole = end <= len(data) and data[end - 4 : end] == struct.pack(">I", zlib.crc32(data[at + 4 : end - 4]))
        if name in _PNG_PIXELS or (name == b"eXIf" and keep_exif and whole):
            kept.append(data[at:end])
            has_pixels |= name == b"IDAT"
        elif not whole and has_pixels:  # everything after the pixels is metadata, or pixels are missing
            break
        elif not whole and name not in _PNG_METADATA:  # perhaps a palette with a damaged name
            raise ValueError(f"damaged chunk {name!r}")
        elif not whole and data[end + 4 : end + 8] not in known:  # its length is damaged, too
            end = _next_png_chunk(data, at + 8)
        elif name == b"IEND":
            break
        at = end
    return b"".join([*kept, b"\0\0\0\0IEND\xae\x42\x60\x82"])


def _next_png_chunk(data: bytes, at: int) -> int:
    """The start of the next chunk that pixels need. Raises ValueError if there is none."""
    places = [data.find(name, at) - 4 for name in _PNG_PIXELS[1:]]
    return min(place for place in places if place >= at)


def _webp(data: bytes, keep_exif: bool) -> bytes:
    if data[8:12] != b"WEBP":
        raise ValueError("not WebP")
    kept, at = [], 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if name == b"VP8X":
            flags = data[at + 8] & (_WEBP_ALPHA | _WEBP_ANIMATION | (_WEBP_EXIF if keep_exif else 0))
            kept.append(data[at : at + 8] + bytes([flags]) + data[at + 9 : end])
        elif name in _WEBP_PIXELS or (name == b"EXIF" and keep_exif and end <= len(data)):
            kept.append(data[at:end])
        elif name not in (b"ICCP", b"EXIF", b"XMP "):  # perhaps pixels with a damaged name
            raise ValueError(f"unknown chunk {name!r}")
        at = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg(data: bytes, keep_exif: bool) -> bytes:
    kept, at = [data[:2]], 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:
            return b"".join([*kept, data[at:]])
        if marker == 0xFF:  # padding
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        metadata = 0xE0 <= marker <= 0xEF and marker not in (_JFIF, _ADOBE)
        exif = marker == _EXIF and data[at + 4 : at + 10] == b"Exif\0\0"
        if not (metadata or marker == _COMMENT) or (exif and keep_exif):
            kept.append(data[at:end])
        at = end
    raise ValueError("no marker")


def _tiff(data: bytes, keep_exif: bool) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    entries = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    wanted = _TIFF_PIXELS | ({_ORIENTATION} if keep_exif else set())
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in wanted]
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)  # no other picture follows
    return data[:at] + table + data[at + len(table) :]


def _gif(data: bytes, keep_exif: bool) -> bytes:
    """Up to the end of the first image; of the extensions only those that control how it is drawn."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    kept = [data[:at]]
    while True:
        kind, start = data[at], at
        if kind == 0x2C:
            at += 10
            at += 1 + (3 << (data[at - 1] & 7) + 1 if data[at - 1] & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        else:
            raise ValueError("no block")
        while data[at]:
            at += 1 + data[at]
        at += 1
        if kind == 0x2C or data[start + 1] == 0xF9:
            kept.append(data[start:at])
        if kind == 0x2C:
            return b"".join([*kept, b";"])


_KINDS: dict[bytes, Callable[[bytes, bool], bytes]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8": _jpeg,
    b"RIFF": _webp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"GIF8": _gif,
}
