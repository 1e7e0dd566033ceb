"""Image files for the tests of features: good ones and bad ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mmt.features.images import find_images


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


def distance(pixels: np.ndarray, image: Image.Image) -> float:
    expected = np.array(image.convert("RGB"))
    assert (pixels.dtype, pixels.shape) == (np.uint8, expected.shape)
    return float(np.abs(pixels.astype(int) - expected.astype(int)).max())


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


def save_tiny_clip(folder: Path) -> Path:
    """A random CLIP image tower in transformers' layout."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=12)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
