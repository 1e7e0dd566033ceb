"""A tiny world for the tests: a prepared dataset with pictures, a feature store, a tokenizer, models."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.domain import TrainingPieces
from mmt.data.feature_store import FeatureSignature, FeatureStore
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.features.writer import FeatureWriter
from mmt.io.signals import SIGNALS
from mmt.model.config import MMTConfig
from mmt.model.folder import ModelCard, save_model
from mmt.model.model import MMTModel

NOUNS = {"dog": "Hund", "cat": "Katze", "house": "Haus", "tree": "Baum", "ball": "Ball", "boat": "Boot"}
VERBS = {"sees": "sieht", "finds": "findet", "paints": "malt"}
DIM = 6

torch.set_num_threads(1)


def usual_signals() -> None:
    """For ``preexec_fn``: a child gets the signals, whatever its parent ignores (nohup, a script's ``&``)."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


@pytest.fixture
def _signals() -> Iterator[None]:
    """This process gets the signals, too, while a test sends them to it."""
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {signum: signal.signal(signum, handler) for signum, handler in usual.items()}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


def data_root() -> Path:
    """Where the real data lies; tests that need it are skipped where it does not."""
    return Path(os.environ.get("MMT_DATA", "../shared/data"))


def sentences(num: int, seed: int) -> list[tuple[str, str]]:
    generator = np.random.default_rng(seed)
    pairs = []
    for _ in range(num):
        first, second = generator.choice(list(NOUNS), 2)
        verb = generator.choice(list(VERBS))
        pairs.append((f"A {first} {verb} the {second}.", f"{NOUNS[first]} {VERBS[verb]} {NOUNS[second]}."))
    return pairs


def make_dataset(folder: Path, sizes: dict[str, int]) -> Path:
    """A prepared dataset in which every second sentence has an image."""
    splits = {}
    images = folder.with_name(folder.name + "_images")
    images.mkdir(parents=True)
    for seed, (split, size) in enumerate(sizes.items()):
        rows = []
        for number, (source, target) in enumerate(sentences(size, seed)):
            image = f"{split}-{number}.png"
            has_image = number % 2 == 0
            if has_image:
                Image.new("RGB", (8, 8), (number * 7 % 256, seed * 50, 90)).save(images / image)
            row = {"id": f"{split}-{number}", "image": image, "source": source, "target": target}
            rows.append({**row, "has_image": has_image})
        splits[split] = rows
    write_dataset(folder, DatasetInfo("tiny", "en", "de", str(images.resolve())), splits)
    return folder


def make_features(folder: Path, ids: list[str], *, regions: int = 1, backbone: str = "tiny") -> FeatureStore:
    signature = FeatureSignature(backbone, "pool", "none", "ab" * 32, regions, DIM)
    values = np.random.default_rng(0).normal(size=(len(ids), regions, DIM)).astype(np.float32)
    with FeatureWriter(folder, signature, "float32") as writer:
        writer.append(ids, values)
        return writer.finish()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/`` (train 60, val 10, test 8), ``features/`` of its images and ``tokenizer.model``."""
    folder = tmp_path_factory.mktemp("world")
    sizes = {"train": 60, "val": 10, "test": 8}
    make_dataset(folder / "data", sizes)
    make_features(folder / "features", [f"{s}-{n}.png" for s, size in sizes.items() for n in range(0, size, 2)])
    lines = (side for pair in sentences(60, 0) for side in pair)
    train_tokenizer(lines, 330, folder / "tokenizer.model")
    return folder


@pytest.fixture(scope="session")
def tokenizer(world: Path) -> Tokenizer:
    return Tokenizer(world / "tokenizer.model")


def tiny_model(vocab_size: int, fusion: str = "none", seed: int = 0, **changes: object) -> MMTModel:
    """A random model whose output is far from uniform, so that searches have something to choose."""
    torch.manual_seed(seed)
    sizes = {"model_dim": 16, "ffn_dim": 32, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
    config = {**sizes, "vocab_size": vocab_size, "image_sets": ((1, DIM),) if fusion != "none" else (), **changes}
    model = MMTModel(MMTConfig(fusion=fusion, **config))  # type: ignore[arg-type]
    with torch.no_grad():
        model.frontend.embed.weight.mul_(4)
    return model.eval()


def tiny_folder(folder: Path, world: Path, fusion: str = "none", target_lang: str = "de") -> Path:
    """A model folder with random weights."""
    tokenizer = Tokenizer(world / "tokenizer.model")
    model = tiny_model(tokenizer.vocab_size, fusion)
    features = FeatureStore.open(world / "features").signature if fusion != "none" else None
    config = vars(model.config)
    card = ModelCard(config, "en", target_lang, features, {"beam_size": 2, "length_penalty": 1.0})
    pieces = TrainingPieces.of((tokenizer.encode(source) for source, _ in sentences(60, 0)), tokenizer)
    save_model(folder, model.state_dict(), tokenizer.path, card, pieces)
    return folder
