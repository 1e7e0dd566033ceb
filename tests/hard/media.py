"""The readers of pictures, recordings and settings under test; see ``tests.hard.readers``."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor, nn

from mmt.errors import MMTError
from tests.hard.damage import NASTY, Rng, damaged, one, text
from tests.hard.readers import Reader, Truth, Wrong, row_of

LOSSLESS = ("PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP")
KINDS = (*LOSSLESS, "JPEG", "JPEG", "JPEG")


def png(width: int, height: int, *chunks: tuple[bytes, bytes], data: bytes = b"") -> bytes:
    """A PNG of that size by its header, grey, with ``data`` as its pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = b"".join(chunk(name, part) for name, part in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files that say, or hold, much more than they should."""
    gif = io.BytesIO()
    frames = [Image.new("P", (20, 20), n % 256) for n in range(500)]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(jpeg, "JPEG")
    at = jpeg.getvalue().index(b"\xff\xc0") + 5
    wide = bytearray(jpeg.getvalue())
    struct.pack_into(">HH", wide, at, 65_000, 65_000)
    edge = bytearray(jpeg.getvalue())
    struct.pack_into(">HH", edge, at, 9_400, 9_400)
    progressive = io.BytesIO()
    Image.new("RGB", (9_000, 9_000)).save(progressive, "JPEG", progressive=True, quality=1)
    bitmap = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(bitmap, "BMP")
    tall = bytearray(bitmap.getvalue())
    struct.pack_into("<ii", tall, 18, 60_000, 60_000)
    tiff = io.BytesIO()
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = "x" * 5_000_000
    Image.new("RGB", (16, 16)).save(tiff, "TIFF", tiffinfo=tags, compression="tiff_deflate")
    whole = zlib.compress(bytes(9_401 * 9_400), 9)
    return {
        "png, 60,000 a side": png(60_000, 60_000, data=zlib.compress(b"\0" * 100)),
        "png, at the limit": png(9_400, 9_400, data=whole),
        "png, over the limit": png(9_700, 9_700, data=whole),
        "png, much text": png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9)),
        data=zlib.compress(bytes(72))),
        "png, big profile": png(8, 8, (b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 9)),
        data=zlib.compress(bytes(72))),
        "png, more pixels than it says": png(8, 8, data=zlib.compress(bytes(10**8), 9)),
        "png, no width": png(0, 8),
        "png, a line": png(50_000, 1, data=zlib.compress(bytes(50_001))),
        "gif, 500 frames": gif.getvalue(),
        "gif, big screen": b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + gif.getvalue()[10:],
        "jpeg, 65,000 a side": bytes(wide),
        "jpeg, at the limit": bytes(edge),
        "jpeg, many scans": progressive.getvalue()[:-2] + progressive.getvalue()[-2_000:-2] * 50 + b"\xff\xd9",
        "bmp, 60,000 a side": bytes(tall),
        "tiff, long tag": tiff.getvalue(),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(was_run) (w) file closefile showpage\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3) + bytes(400),
        "icns": b"icns" + struct.pack(">I", 2**31 - 1) + b"ic10" + struct.pack(">I", 2**31 - 20) + bytes(90),
        "fits": b"SIMPLE  =                    T".ljust(80) + b"NAXIS   = 2".ljust(2_800),
        "text": b"kein Bild" * 30,
        "pdf": b"%PDF-1.4\n1 0 obj<<>>endobj\n",
        "riff": b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WEBPVP8X" + struct.pack("<I",
        10) + b"\x02" + b"\xff" * 9,
        "empty": b"",
    }  # fmt: skip


class Images(Reader):
    """Pictures of every kind and mode: whole, turned, damaged, bombs, and under another's ending."""

    name = "images"

    def prepare(self) -> None:
        self.bombs = bombs()

    def make(self, rng: Rng, folder: Path) -> Truth:
        name = "picture" + one(rng, (".png", ".jpg", ".gif", ".webp", ".tif", ".bmp", "", ".txt", ".JPG", ".wav"))
        if rng.random() < 0.06:
            kind = one(
                rng,
                [key for key in self.bombs if rng.random() < 0.1 or ("limit" not in key and "scans" not in key)],
            )
            raw = self.bombs[kind]
            if rng.random() < 0.2 and len(raw) < 100_000:
                raw = damaged(rng, raw)
            (folder / name).write_bytes(raw)
            return Truth(kind, more=(name, None, None))
        kind = one(rng, KINDS)
        modes = {
            "JPEG": ("L", "RGB", "CMYK"), "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
            "BMP": ("1", "L", "P", "RGB"), "GIF": ("L", "P", "RGB", "RGBA"), "WEBP": ("RGB", "RGBA"),
            "PPM": ("1", "L", "RGB", "I;16"), "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB"),
        }  # fmt: skip
        mode = one(rng, modes[kind])
        height, width = (int(n) for n in rng.integers(1, 40, 2))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if mode in ("I;16", "I", "F"):
            numbers = (pixels[:, :, 0].astype(np.uint16) << 8) + pixels[:, :, 1]
            image = Image.fromarray(numbers) if mode == "I;16" else Image.fromarray(numbers).convert(mode)
        else:
            image = Image.fromarray(pixels)
            image = image.convert(mode) if mode != "LAB" else Image.merge("LAB", image.split())
        options: dict[str, Any] = {}
        if kind in ("JPEG", "PNG", "WEBP", "TIFF") and rng.random() < 0.3:
            exif = Image.Exif()
            exif[0x0112] = int(rng.integers(1, 9)) if kind == "TIFF" else int(rng.integers(0, 10))
            if kind != "TIFF":  # PIL writes no such text there
                exif[0x010E] = text(rng, most=2)[:50].encode("ascii", "replace").decode()
            options["exif"] = exif
        if kind == "JPEG":
            options |= {"progressive": bool(rng.random() < 0.3), "quality": int(rng.integers(1, 96))}
        if kind == "WEBP":
            options |= {"lossless": True, "exact": True}
        if kind == "TIFF" and mode not in ("F", "LAB", "YCbCr"):
            options["compression"] = one(rng, (None, "tiff_lzw", "tiff_deflate", "packbits"))
        if kind in ("GIF", "PNG", "WEBP", "TIFF") and mode == "RGB" and rng.random() < 0.2:
            options |= {"save_all": True, "append_images": [Image.new("RGB", image.size, "red")] * 3}
            options.pop("exif", None)
        data = io.BytesIO()
        image.save(data, kind, **options)
        raw = data.getvalue()
        turned = int(options["exif"][0x0112]) if "exif" in options else 1
        size = (width, height) if turned in (5, 6, 7, 8) else (height, width)
        exact = pixels if mode == "RGB" and kind not in ("JPEG", "GIF") and turned not in range(2, 9) else None
        truth = Truth(f"{kind} {mode}", whole=mode not in ("I", "F", "LAB"), more=(name, size, exact))
        if rng.random() < 0.7:
            raw = damaged(rng, raw)
            truth = Truth(f"{kind} {mode}, damaged", more=(name, None, None))
        (folder / name).write_bytes(raw)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.features.decoding import decode_image

        name, size, exact = truth.more
        before = set(folder.iterdir())
        found = decode_image(folder / name)
        if set(folder.iterdir()) != before:
            raise Wrong("reading a picture wrote a file")
        if (
            found.dtype != np.uint8
            or found.ndim != 3
            or found.shape[2] != 3
            or found.shape[0] * found.shape[1] > 9e7
        ):
            raise Wrong(f"{found.dtype} {found.shape}")
        if size is not None and found.shape[:2] != size:
            raise Wrong(f"{found.shape[:2]} pixels, not {size}")
        if exact is not None and not np.array_equal(found, exact):
            raise Wrong("other pixels")


class _Colour(nn.Module):
    """A backbone that costs nothing: the mean colour of a picture."""

    def __new__(cls) -> Any:
        from mmt.data.feature_signature import FeatureSignature
        from mmt.features.backbone import Backbone
        from mmt.features.decoding import decode_image

        class Colour(Backbone):
            def __init__(self) -> None:
                nn.Module.__init__(self)
                from collections import Counter

                self.things, self.notes = "images", Counter()
                self.signature = FeatureSignature("colour", "pool", "mean", "ab" * 32, 1, 3)

            def read(self, source: Any) -> Tensor:
                return torch.from_numpy(decode_image(source)).float().mean((0, 1)).unsqueeze(0)

            def stack(self, read: Any) -> Tensor:
                return torch.stack(list(read))

            def forward(self, images: Tensor) -> Tensor:
                return images

        return Colour()


class Folders(Reader):
    """Folders of pictures on their way into a feature store: each gets its own features,
    or is left out by name."""

    name = "folders"

    def make(self, rng: Rng, folder: Path) -> Truth:
        (folder / "in" / "sub").mkdir(parents=True)
        colours: dict[str, Any] = {}
        for number in range(int(rng.integers(1, 7))):
            name = (
                one(rng, ("", "sub/", ""))
                + one(rng, ("a", "Bär", "犬", "\u202eb", "a b", "x" * 200, "é\u0301"))
                + f"{number}"
            )
            name += one(rng, (".png", ".PNG", ".bmp", ".gif"))
            colour = tuple(row_of(name, 3).astype(int) % 256)
            data = io.BytesIO()
            Image.new("RGB", (3, 2), colour).save(data, one(rng, ("PNG", "BMP")))
            raw = data.getvalue()
            if rng.random() < 0.3:
                raw, colour = damaged(rng, raw), ()
            (folder / "in" / name).write_bytes(raw)
            colours[name] = colour
        kind = one(
            rng, ("none", "none", "none", "pipe", "device", "link", "folder", "hidden", "huge", "bytes", "loop")
        )
        place = folder / "in" / "z.png"
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "device":
            place.symlink_to("/dev/zero")
        elif kind == "link":
            Image.new("RGB", (2, 2)).save(folder / "out.png")
            place.symlink_to("../out.png")
        elif kind == "folder":
            place.mkdir()
        elif kind == "hidden":
            (folder / "in" / ".z.png").write_bytes(b"x")
        elif kind == "huge":
            with place.open("wb") as file:
                file.truncate(1 << 38)
        elif kind == "bytes":
            Image.new("RGB", (2, 2)).save(folder / "x.png")
            os.rename(folder / "x.png", os.fsencode(folder / "in") + b"/\xff\xfe.png")
        elif kind == "loop":
            place.symlink_to("z.png")
        return Truth(kind, more=colours)

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.features.extract import extract_features
        from mmt.features.images import find_images

        found = find_images(folder / "in")
        report = extract_features(found, _Colour(), folder / "s", "float32", 2, 1, progress=False)
        from mmt.data.feature_store import FeatureStore

        store = FeatureStore.open(folder / "s")
        if set(store.ids) | set(report.left_out) != set(found) or set(store.ids) & set(report.left_out):
            raise Wrong("a picture has neither features nor a reason, or both")
        for name, colour in truth.more.items():
            if name not in found:
                raise Wrong(f"{name} was not found")
            if colour and (name not in store or not np.array_equal(store.get([name])[0, 0], colour)):
                raise Wrong(f"{name} has another picture's features")


class Audio(Reader):
    """Recordings of every kind: whole, damaged, and with headers that lie."""

    name = "audio"

    def prepare(self) -> None:
        import soundfile

        from mmt.features.speech import load_logmel

        self.backbone = load_logmel("logmel80:1", "grid", None)
        kinds = (
            ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("WAV",
            "IMA_ADPCM"),
            ("WAV", "PCM_U8"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
            ("AIFF", "PCM_16"),
            ("AU", "PCM_16"), ("W64", "PCM_16"), ("CAF", "PCM_16"), ("RF64", "PCM_16"),
        )  # fmt: skip
        time = np.arange(48_000)
        self.files: list[tuple[str, bytes]] = []
        for container, coding in kinds:
            for rate, channels, length in ((16_000, 1, 6_000), (48_000, 2, 9_000)):
                wave = 0.3 * np.sin(time[:length] * 2 * np.pi * 440 / rate)
                data = io.BytesIO()
                soundfile.write(data, np.stack([wave] * channels, 1), rate, coding, format=container)
                self.files.append((f"{container} {coding}", data.getvalue()))
        self.wav = self.files[0][1]

    def special(self, rng: Rng) -> tuple[str, bytes]:
        kind = one(
            rng,
            (
                "channels",
                "rate",
                "size",
                "bits",
                "nan",
                "silent",
                "short",
                "empty",
                "text",
                "align",
                "id3",
                "long",
            ),
        )
        raw = bytearray(self.wav)
        if kind == "channels":
            struct.pack_into("<H", raw, 22, int(one(rng, (0, 3, 33, 1024, 65_535))))
        elif kind == "rate":
            struct.pack_into(
                "<I", raw, 24, int(one(rng, (0, 1, 3_999, 384_001, 383_999, 15_999, 2**31, 2**32 - 1)))
            )
        elif kind == "size":
            struct.pack_into("<I", raw, 40, int(one(rng, (0, 1, 2**31, 2**32 - 1))))
            struct.pack_into("<I", raw, 4, int(one(rng, (0, 1, 2**31, 2**32 - 1))))
        elif kind == "bits":
            struct.pack_into("<H", raw, 34, int(one(rng, (0, 1, 7, 64, 65_535))))
        elif kind == "align":
            struct.pack_into("<HH", raw, 32, int(one(rng, (0, 1, 65_535))), 16)
        elif kind in ("nan", "silent", "short", "long"):
            import soundfile

            samples = {
                "nan": np.full(6_000, one(rng, (np.nan, np.inf, 1e30))), "silent": np.zeros(6_000),
                "short": np.ones(3) / 2,
                "long": np.sin(np.arange(2_000_000) / 9),
            }[kind]  # fmt: skip
            data = io.BytesIO()
            soundfile.write(data, samples, 16_000, "FLOAT", format="WAV")
            raw = bytearray(data.getvalue())
        elif kind == "empty":
            raw = bytearray()
        elif kind == "text":
            raw = bytearray(b"no sound " * 50)
        elif kind == "id3":
            raw = bytearray(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + rng.bytes(200) + self.files[-1][1])
        return kind, bytes(raw)

    def make(self, rng: Rng, folder: Path) -> Truth:
        name = "sound" + one(rng, (".wav", ".flac", ".ogg", ".mp3", ".opus", ".png"))
        if rng.random() < 0.15:
            kind, raw = self.special(rng)
            truth = Truth(kind, more=name, seen=kind in ("empty", "text", "nan", "silent", "short"))
        else:
            kind, raw = one(rng, self.files)
            truth = Truth(kind, more=name, whole=True)
            if rng.random() < 0.85:
                truth = Truth(f"{kind}, damaged", more=name)
                raw = damaged(rng, raw)
        (folder / name).write_bytes(raw)
        return truth

    def read(self, folder: Path, truth: Truth) -> None:
        found = self.backbone.read(folder / truth.more)
        if tuple(found.shape) != (98, 80) or torch.isinf(found).any() or torch.isnan(found[0]).any():
            raise Wrong(f"{tuple(found.shape)}, {torch.isinf(found).any()}, {torch.isnan(found).sum()}")


_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [" + ", ".join([f"*{chr(97 + n)}"] * 9) + "]\n" for n in range(12)
)
_YAML = (
    _LAUGHS, _LAUGHS + "seed: *m\n", "data: {path: *x}", "seed: &a [*a]", "data: &a {path: *a}", "[" * 30_000,
    "{a: " * 30_000,
    "seed: 2001-99-99", "seed: 2001-12-14t21:59:43.10-05:00", "seed: !!int x", "seed: !!float x",
    "seed: !!binary '!'",
    "seed: !!python/object/apply:os.mkdir [was_run]", "seed: !!python/name:os.system", "seed: !!timestamp x",
    "? [1]\n: 2",
    "? {a: 1}\n: 2", "seed: !!set {a}", "seed: !!omap [a: 1]", "seed: 1:99:99", "seed: 0x", "seed: 0o8",
    "seed: .inf",
    "optimizer: {lr: .nan}", "seed: 1\nseed: 2", "\ufeffseed: 1", "\t", "%YAML 9.9\n---\nseed: 1",
    "--- 1\n--- 2", "seed: |\n x", "- 1",
    "model: {model_dim: 0}", "model: {num_heads: 0}", "regime: {report_every: 0}", "regime: {report_every: -1}",
    "model: 3", "data: []",
    "beside: {}", "beside: [1]", "beside: [[]]", "stack: {trainer: 1}", "stack: 3", "null: 1", "1: 2", "true: 1",
    "<<: {seed: 3}",
    "<<: 1", "model: {fusion: gated, num_heads: -4}", "seed: " + "9" * 5_000, "seed: '" + "x" * 10**6 + "'",
    "a" * 10**6, "#" * 10**6,
    "\x00", "seed: \x07", "data:\n  path: \"a\\0b\"", "model: {max_length: 1000000000000}",
    "model: {num_encoder_layers: -1}", "",
    "seed: !<tag:yaml.org,2002:python/object/new:os.mkdir> [was_run]", "seed: -" * 300,
)  # fmt: skip


class Config(Reader):
    """Training settings: YAML of every shape, and settings from the command line."""

    name = "config"

    def prepare(self) -> None:
        import yaml

        from mmt.training.config_file import dump_config, read_config

        self.whole = dump_config(read_config(None, ["data.path=x"]))
        self.tree = yaml.safe_load(self.whole)
        self.keys = [
            f"{k}.{n}" if n else k
            for k, v in self.tree.items()
            for n in (v if isinstance(v, dict) and v else [""])
        ]

    def make(self, rng: Rng, folder: Path) -> Truth:
        import json

        import yaml

        kind = one(rng, ("none", "bytes", "value", "value", "value", "yaml", "override", "override", "key"))
        raw, overrides = self.whole.encode(), []
        if kind == "bytes":
            raw = damaged(rng, raw)
        elif kind in ("value", "key"):
            tree = json.loads(json.dumps(self.tree))
            for _ in range(int(rng.integers(1, 4))):
                section, _, name = one(rng, self.keys).partition(".")
                value = one(rng, [v for v in NASTY if v != "\ud800"])
                if not isinstance(tree.get(section), dict) or not name:
                    tree[section] = value
                elif kind == "key":
                    tree[section][name[:-1] + one(rng, ("", "x", "."))] = value
                else:
                    tree[section][name] = value
            raw = yaml.safe_dump(tree, allow_unicode=True).encode()
        elif kind == "yaml":
            raw = one(rng, _YAML).encode()
            if rng.random() < 0.5:
                raw = self.whole.encode() + b"\n" + raw
        elif kind == "override":
            value = one(rng, ("[", "{", "'", "&a [*a]", "!!python/object/apply:os.mkdir [was_run]", "2001-99-99",
            "!!int x", "\0", "\x07",
                              "[" * 3_000, "1", "", "null", "-1", "0", ".nan", "1e999", "x" * 100_000, *map(str,
                              NASTY[:12])))  # fmt: skip
            overrides = [f"{one(rng, self.keys)}{one(rng, ('=', '=', '=', '', '.x=', '..='))}{value}"]
        (folder / "c.yaml").write_bytes(raw)
        return Truth(kind, whole=kind == "none", more=overrides)

    def also_names(self, truth: Truth) -> list[str]:
        return ["--config", *(override[:30] for override in truth.more)]

    def read(self, folder: Path, truth: Truth) -> None:
        from mmt.experiments.config import read_compare
        from mmt.training.config_file import dump_config, read_config

        before = os.getcwd()
        os.chdir(folder)
        try:
            config = read_config(folder / "c.yaml", truth.more)
            dump_config(config)
            with contextlib.suppress(MMTError):
                read_compare(folder / "c.yaml")
        finally:
            os.chdir(before)
            if (folder / "was_run").exists():
                raise Wrong("code in a configuration was run")
