"""Laws of decoding: what a viewer shows, or an error that names the file."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmt.errors import MMTError
from mmt.features.decoding import decode_image
from tests.features.pictures import bad_files, distance, encoded, picture


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_lossless_kinds_decode_exactly(kind: str, tmp_path: Path) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encoded(picture(), kind, **options)
    (tmp_path / "x.jpg").write_bytes(data)  # the name's ending does not matter
    assert distance(decode_image(tmp_path / "x.jpg"), picture()) == 0
    assert distance(decode_image(data), picture()) == 0
    assert distance(decode_image(Image.open(io.BytesIO(data))), picture()) == 0


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_decodes_as_a_viewer_shows_it(mode: str, progressive: bool) -> None:
    data = encoded(picture().convert(mode), "JPEG", quality=95, progressive=progressive)
    assert distance(decode_image(data), Image.open(io.BytesIO(data)).convert("RGB")) <= 4
    assert distance(decode_image(data), picture().convert(mode)) < 24


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_rotation_is_undone(kind: str, orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # how the upright picture lay in the camera: the inverse of the tag's turn
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture().transpose(undo[orientation]) if orientation > 1 else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    assert distance(decode_image(data), picture()) < (24 if kind == "JPEG" else 1)


def test_sixteen_bits_keep_the_upper_eight() -> None:
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    for kind in ("PNG", "TIFF"):
        pixels = decode_image(encoded(Image.fromarray(grey), kind))
        np.testing.assert_array_equal(pixels, np.broadcast_to((grey >> 8)[:, :, None], (32, 32, 3)))


def test_thirty_two_bits_are_refused() -> None:
    with pytest.raises(MMTError, match="32-bit"):
        decode_image(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_palette_and_grey_become_colour() -> None:
    palette = picture().quantize(16)
    assert distance(decode_image(encoded(palette, "PNG")), palette) == 0
    assert distance(decode_image(encoded(picture().convert("L"), "PNG")), picture().convert("L")) == 0
    assert distance(decode_image(encoded(picture().convert("1"), "PNG")), picture().convert("1")) == 0


def test_transparency_lies_over_white() -> None:
    for transparent in (picture().convert("RGBA"), picture().convert("LA")):
        transparent.putalpha(0)
        assert (decode_image(encoded(transparent, "PNG")) == 255).all()
    opaque = picture().convert("RGBA")
    assert distance(decode_image(encoded(opaque, "PNG")), picture()) == 0
    palette = picture().quantize(8)
    corner = palette.getpixel((0, 0))
    assert decode_image(encoded(palette, "PNG", transparency=corner))[0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [picture(seed).quantize(16).convert("RGB") for seed in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert distance(decode_image(data), frames[0]) < 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(MMTError, match=rf"{re.escape(name)}: .*({reason})"):
            decode_image(tmp_path / name)
    with pytest.raises(MMTError, match=r"gone\.jpg: no such file"):
        decode_image(tmp_path / "gone.jpg")
    with pytest.raises(MMTError, match="is a directory"):
        decode_image(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_jpeg_bomb_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(MMTError, match=r"limit of 1,000|exceeds limit"):
        decode_image(encoded(picture(), "JPEG"))


# --- metadata

_BROKEN_EXIF = b"Exif\0\0no TIFF header"
_TURNED_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""The orientation 6: a viewer turns the picture by 90 degrees."""


def chunk(name: bytes, body: bytes, *, wrong: int = 0, longer: int = 0) -> bytes:
    """A chunk of PNG; with ``wrong`` another checksum than its own, with ``longer`` another length."""
    check = zlib.crc32(name + body) ^ wrong
    return struct.pack(">I", len(body) + longer) + name + body + struct.pack(">I", check)


def png_with(chunks: bytes, *, behind: bool = False, mode: str = "RGB") -> bytes:
    """A PNG with ``chunks`` before its pixels, or behind."""
    data = encoded(picture().convert(mode), "PNG")
    at = data.index(b"IEND" if behind else b"IDAT") - 4
    return data[:at] + chunks + data[at:]


def tiff_with(number: int, kind: int, count: int, value: int) -> bytes:
    """A TIFF with one more tag."""
    data = encoded(picture(), "TIFF")
    (at,) = struct.unpack_from("<I", data, 4)
    (num,) = struct.unpack_from("<H", data, at)
    tags = [data[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(num)]
    tags = sorted([*tags, struct.pack("<HHII", number, kind, count, value)], key=lambda tag: tag[1::-1])
    table = struct.pack("<H", num + 1) + b"".join(tags) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    data = encoded(picture(), "JPEG", quality=95)
    added = (b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return data[:2] + b"".join(added) + data[2:]


def webp_with(*chunks: tuple[bytes, bytes], longer: int = 0) -> bytes:
    """A WebP with chunks behind its pixels, the last of them said to be longer than it is."""
    data = encoded(picture(), "WEBP", lossless=True, exact=True, exif=_TURNED_EXIF)
    data = data[: data.index(b"EXIF")]
    for number, (name, body) in enumerate(chunks, 1):
        data += name + struct.pack("<I", len(body) + (longer if number == len(chunks) else 0)) + body
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


DAMAGED_METADATA = {
    "png, exif": png_with(chunk(b"eXIf", b"no TIFF header")),
    "png, exif behind": png_with(chunk(b"eXIf", b"no TIFF header"), behind=True),
    "png, text": png_with(chunk(b"tEXt", b"a\0b", wrong=1)),
    "png, text behind": png_with(chunk(b"tEXt", b"a\0b", wrong=1), behind=True),
    "png, text of grey": png_with(chunk(b"tEXt", b"a\0b", wrong=1), mode="L"),
    "png, packed text": png_with(chunk(b"zTXt", b"a\0\x07packed")),
    "png, text without end": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))),
    "png, profile": png_with(chunk(b"iCCP", b"a\0\x07no profile")),
    "png, gamma": png_with(chunk(b"gAMA", b"")),
    "png, frames": png_with(chunk(b"acTL", b"\0\0\0\x02\0\0\0\0") + chunk(b"fcTL", b"x" * 26)),
    "png, length": png_with(chunk(b"tEXt", b"a\0b", longer=1 << 30)),
    "png, length behind": png_with(chunk(b"tEXt", b"a\0b", longer=3), behind=True),
    "png, cut behind": png_with(chunk(b"tEXt", b"a\0" + b"b" * 99), behind=True)[:-80],
    "webp, exif": webp_with((b"EXIF", _BROKEN_EXIF)),
    "webp, cut": webp_with((b"EXIF", _BROKEN_EXIF), longer=90),
    "jpeg, exif": jpeg_with((0xE1, _BROKEN_EXIF)),
    "jpeg, profile": jpeg_with((0xE2, b"ICC_PROFILE\0\x09\x03nothing")),
    "jpeg, pictures in it": jpeg_with((0xE2, b"MPF\0MM\0*\0\0\0\x08\0\x01\xb0\x02\0\x07\0\0\xff\0\0\0\0\0")),
    "jpeg, photoshop": jpeg_with((0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed\0\0\0\0\xff\xff")),
    "tiff, exif": tiff_with(0x8769, 4, 1, 1 << 30),
    "tiff, profile": tiff_with(0x8773, 7, 1 << 20, 1 << 30),
    "tiff, orientation": tiff_with(0x0112, 2, 1 << 20, 1 << 30),
    "gif, comment": encoded(picture().quantize(16), "GIF").replace(b",\0\0\0\0", b"!\xfe\x01\xff\0,\0\0\0\0", 1),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # PIL's, of what it cannot read
@pytest.mark.parametrize("kind", DAMAGED_METADATA)
def test_damaged_metadata_changes_no_pixel(kind: str) -> None:
    data, whole = DAMAGED_METADATA[kind], picture()
    if kind == "png, text of grey":
        whole = whole.convert("L")
    elif kind.startswith("gif"):
        whole = whole.quantize(16)
    assert distance(decode_image(data), whole) <= (24 if kind.startswith("jpeg") else 0)


@pytest.mark.parametrize(
    "data",
    [
        png_with(chunk(b"eXIf", _TURNED_EXIF[6:]) + chunk(b"tEXt", b"a\0b", wrong=1)),
        jpeg_with((0xE1, _TURNED_EXIF), (0xE2, b"ICC_PROFILE\0\x09\x03nothing")),
        webp_with((b"EXIF", _TURNED_EXIF), (b"XMP ", b"<x>"), longer=90),
    ],
    ids=["png", "jpeg", "webp"],
)
def test_an_orientation_that_can_be_read_holds_beside_damaged_metadata(data: bytes) -> None:
    assert distance(decode_image(data), picture().transpose(Image.Transpose.ROTATE_270)) <= 24


def test_damaged_pixels_are_refused_whatever_the_metadata() -> None:
    """No copy without metadata saves what the pixels themselves have lost."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    text = chunk(b"tEXt", b"a\0b", wrong=1)
    png, palette = encoded(noise, "PNG"), encoded(noise.quantize(64), "PNG")
    clear = encoded(noise.quantize(64), "PNG", transparency=3)
    header, at, middle = 8 + 25, png.index(b"IDAT") - 4, len(png) // 2
    webp = encoded(noise, "WEBP", lossless=True, exif=_BROKEN_EXIF)
    cases = {
        "header": png[:17] + b"\x01" + png[18:],
        "pixels": png[:header] + text + png[header:middle] + bytes(40) + png[middle + 40 :],
        "cut": png[:at] + text + png[at:middle],
        "name of the pixels": png.replace(b"IDAT", b"iDAT"),
        "palette": palette[: 8 + 25 + 30] + b"\1\2\3" + palette[8 + 25 + 33 :],
        "name of the palette": palette.replace(b"PLTE", b"pLTE"),
        "transparency": clear.replace(b"tRNS\xff", b"tRNS\xfe"),
        "name of the transparency": clear.replace(b"tRNS", b"tRNs"),
        "webp, cut": webp[: len(webp) // 2],
        "webp, name": webp.replace(b"VP8L", b"VP8M"),
    }
    for name, data in cases.items():
        with pytest.raises(MMTError):
            pytest.fail(f"{name}: {tuple(decode_image(data).shape)}")
