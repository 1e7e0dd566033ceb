"""What ``eval.bench.gpu`` measures: our side of each section, and the plain one that does the same work."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from mmt.data.batch import Batch, Example, collate
from mmt.data.tokenizer import EOS


@dataclass(frozen=True)
class Sides:
    """Two ways to do the same work.

    units: of one turn, such as target tokens. about: sizes, for the record. close: removes their files.
    """

    ours: Callable[[], object]
    plain: Callable[[], object]
    units: int
    unit: str
    about: dict[str, Any]
    close: Callable[[], object] = field(default=lambda: None)


def training(device: str, tiny: bool, bfloat16: bool) -> Sides:
    """Updates as ``mmt train`` makes them, against those of ``torch.nn.Transformer`` (eval.bench.training)."""
    from eval.bench.training import our_step, plain_step

    vocab_size, max_tokens, steps = (200, 128, 2) if tiny else (10_000, 16_384, 6)
    batches = _batches(vocab_size, max_tokens, steps, device)
    sizes = _TINY if tiny else {}
    sides = [make(vocab_size, bfloat16, device, **sizes) for make in (our_step, plain_step)]

    def turn(step: Callable[[Batch], object]) -> None:
        for batch in batches:
            step(batch)

    tokens = sum(batch.num_target_tokens for batch in batches)
    about = {"vocab_size": vocab_size, "steps": steps, "target_tokens_a_step": round(tokens / steps)}
    return Sides(lambda: turn(sides[0]), lambda: turn(sides[1]), tokens, "target tokens", about)


def loss(device: str, tiny: bool) -> Sides:
    """Output projection, label-smoothed loss and gradients, against ``cross_entropy``; without fairseq2."""
    from mmt.model.losses import label_smoothed_nll

    rows, vocab_size, dim = (64, 200, 16) if tiny else (8192, 32_000, 512)
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(rows, dim, generator=generator).to(device).requires_grad_()
    weight = (torch.randn(vocab_size, dim, generator=generator) * dim**-0.5).to(device).requires_grad_()
    targets = torch.randint(vocab_size, (rows,), generator=generator).to(device)

    def ours() -> None:
        total, _ = label_smoothed_nll(states, weight, targets, 0.1)
        torch.autograd.grad(total, (states, weight))

    def plain() -> None:
        total = cross_entropy(linear(states, weight), targets, label_smoothing=0.1, reduction="sum")
        torch.autograd.grad(total, (states, weight))

    return Sides(ours, plain, rows, "target tokens", {"rows": rows, "vocab_size": vocab_size, "dim": dim})


def translation(device: str, tiny: bool, shape: str, precision: str) -> Sides:
    """Beam search, against ``generate`` of transformers on the same random weights (eval.bench.pretrained)."""
    from eval.bench.pretrained import SHAPES, STEPS, our_translations, their_translations, write_random

    family, size = SHAPES["tiny" if tiny else shape]
    num, batch, beam = (6, 3, 2) if tiny else (256, 64, 5)
    ids = [row.tolist() for row in _random_rows(size["vocab_size"], num)]
    folder = tempfile.TemporaryDirectory()
    write_random("tiny" if tiny else shape, Path(folder.name))
    given: dict[str, Any] = {
        "family": family,
        "folder": Path(folder.name),
        "ids": ids,
        "beam": beam,
        "precision": precision,
    }
    ours = our_translations(**given, pieces=0, device=device)
    theirs = their_translations(**given, device=device)
    about = {
        "shape": "tiny" if tiny else shape, "precision": precision, "batch": batch, "beam": beam,
        "tokens_a_sentence": STEPS,
    }  # fmt: skip
    return Sides(lambda: ours(batch), lambda: theirs(batch), num, "sentences", about, folder.cleanup)


def features(device: str, tiny: bool) -> Sides:
    """Feature extraction of JPEGs into a store, against a ``DataLoader`` of PIL and torchvision's transforms.

    Raises:
        RuntimeError: the two give different features.
    """
    from mmt.features.extract import extract_features

    num, batch_size, workers = (6, 3, 0) if tiny else (1024, 128, 8)
    folder = tempfile.TemporaryDirectory()
    images = _write_images(Path(folder.name), num, (60, 45) if tiny else (500, 375))
    network, backbone = _backbone(tiny)
    network.to(device)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as out:
            extract_features(
                images, backbone, Path(out, "store"), "float32", batch_size=batch_size, progress=False,
                device=device, runtime="torch",
            )  # fmt: skip

    def plain() -> list[np.ndarray[Any, Any]]:
        loader = torch.utils.data.DataLoader(
            _Pictures(list(images.values()), tiny), batch_size, num_workers=workers, pin_memory=device != "cpu"
        )
        with torch.inference_mode():
            return [network(part.to(device, non_blocking=True)).cpu().numpy() for part in loader]

    some = list(images.values())[:3]
    expected = backbone.to(device)(backbone.stack([backbone.read(path) for path in some]))[:, 0].cpu().numpy()
    found = np.concatenate(plain())[: len(some)]
    if not np.allclose(found, expected, rtol=0.05, atol=0.05 * float(np.abs(expected).max())):
        raise RuntimeError("the plain network gives other features than ours: the two cannot be compared")
    about = {"images": num, "batch": batch_size, "network": "tiny" if tiny else "resnet50, random weights"}
    return Sides(ours, plain, num, "images", about, folder.cleanup)


_TINY = {"model_dim": 32, "ffn_dim": 64, "num_heads": 2, "num_encoder_layers": 1, "num_decoder_layers": 1}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Pictures(torch.utils.data.Dataset[Tensor]):
    def __init__(self, paths: list[Path], tiny: bool) -> None:
        from torchvision.transforms import v2

        resize, crop = (40, 32) if tiny else (232, 224)
        self._paths = paths
        self._transform = v2.Compose(
            [
                v2.Resize(resize), v2.CenterCrop(crop), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(_MEAN, _STD),
            ]
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Tensor:
        from PIL import Image

        with Image.open(self._paths[number]) as picture:
            found: Tensor = self._transform(picture.convert("RGB"))
        return found


def _backbone(tiny: bool) -> tuple[nn.Module, Any]:
    """A network, and our backbone of the same weights."""
    import copy

    from torchvision.models import resnet50
    from torchvision.transforms import InterpolationMode

    from mmt.features.backbone import Backbone, Transform

    torch.manual_seed(1)
    if tiny:
        network: nn.Module = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    else:
        network = resnet50(weights=None)
        network.fc = nn.Identity()
    network = network.eval().requires_grad_(False)
    size = (40, 32) if tiny else (232, 224)
    transform = Transform(*size, InterpolationMode.BILINEAR, _MEAN, _STD)
    backbone = Backbone(
        "bench",
        "pool",
        copy.deepcopy(network),
        lambda part, images: part(images).unsqueeze(1),
        transform,
        not tiny,
    )
    return network, backbone


def _write_images(folder: Path, num: int, size: tuple[int, int]) -> dict[str, Path]:
    """JPEGs of random colours, smooth as photographs are: id -> file."""
    from PIL import Image

    generator, images = np.random.default_rng(1), {}
    for number in range(num):
        small = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        path = folder / f"{number}.jpg"
        small.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        images[path.name] = path
    return images


def _random_rows(vocab_size: int, num: int) -> list[Tensor]:
    """Ids of sentences about as long as those of Multi30K, in order of their lengths."""
    generator = torch.Generator().manual_seed(1)
    lengths = (torch.randn(num, generator=generator) * 4 + 14).clamp(4, 40).long().sort().values
    return [torch.randint(EOS + 5, vocab_size - 8, (int(one),), generator=generator) for one in lengths]


def _batches(vocab_size: int, max_tokens: int, num: int, device: str) -> list[Batch]:
    """Batches of sentences of similar length, on the device; source and target are equally long."""
    rows = _random_rows(vocab_size, 32 * max_tokens // 14)
    batches = []
    for place in range(num):
        first = (place + 1) * len(rows) // (num + 1)
        length = len(rows[first]) + 2
        some = [row.tolist() for row in rows[first : first + max_tokens // length]]
        batch = collate([Example(row, row) for row in some])
        batch.to(torch.device(device))
        batches.append(batch)
    return batches
