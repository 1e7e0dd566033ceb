"""What tests share beside fixtures: a tiny world (dataset, features, models), and short trainings in it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from mmt.data.dataset import DatasetInfo, write_dataset
from mmt.data.domain import TrainingPieces
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.features.writer import FeatureWriter
from mmt.inference.own_graphs import EXPORTED, write_made_from
from mmt.io.signals import SIGNALS
from mmt.model.build import build_model
from mmt.model.card import ModelCard, read_card
from mmt.model.config import MMTConfig
from mmt.model.folder import save_model
from mmt.model.fusion import FUSIONS
from mmt.model.model import MMTModel
from mmt.training.checkpoints import load_weights
from mmt.training.config import TrainConfig
from mmt.training.config_file import read_config
from tests import warm

if TYPE_CHECKING:
    import pytest

NOUNS = {"dog": "Hund", "cat": "Katze", "house": "Haus", "tree": "Baum", "ball": "Ball", "boat": "Boot"}
VERBS = {"sees": "sieht", "finds": "findet", "paints": "malt"}
DIM = 6

torch.set_num_threads(1)


def usual_signals() -> None:
    """For ``preexec_fn``: a child gets the signals, whatever its parent ignores (nohup, a script's ``&``)."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def on_terminal() -> None:
    """For ``preexec_fn``: a child's terminal is its standard input. It needs a session of its own."""
    usual_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


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


def make_features(
    folder: Path, ids: list[str], *, regions: int = 1, backbone: str = "tiny", padded: bool = False
) -> FeatureStore:
    """``padded``: the last region of every second image is missing."""
    signature = FeatureSignature(backbone, "pool", "none", "ab" * 32, regions, DIM)
    values = np.random.default_rng(0).normal(size=(len(ids), regions, DIM)).astype(np.float32)
    if padded:
        values[::2, -1] = np.nan
    with FeatureWriter(folder, signature, "float32") as writer:
        writer.append(ids, values)
        return writer.finish()


ADAPTERS: dict[str, dict[str, object]] = {
    "adapters": {"adapter_dim": 4},
    "lora": {
        "lora_rank": 2,
        "lora_alpha": 4.0,
        "lora_targets": ("q", "k", "v", "output", "ffn_inner", "ffn_outer"),
    },
}
MODELS = [*FUSIONS, "prefix+adapters", "gated+lora", "hybrid+adapters+lora"]
"""The models for which every law holds: each fusion, and some of them with adapters or LoRA, by ``tiny_model``."""


def tiny_model(vocab_size: int, fusion: str = "none", seed: int = 0, **changes: object) -> MMTModel:
    """A random model whose output is far from uniform, so that searches have something to choose.

    ``fusion``: one of ``MODELS``. Adapters and LoRA are as if they were trained: a new one changes nothing.
    """
    torch.manual_seed(seed)
    fusion, *adapters = fusion.split("+")
    for name in adapters:
        changes = ADAPTERS[name] | changes
    sizes = {"model_dim": 16, "ffn_dim": 32, "num_encoder_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
    config = {**sizes, "vocab_size": vocab_size, "image_sets": ((1, DIM),) if fusion != "none" else (), **changes}
    model = build_model(MMTConfig(fusion=fusion, **config))  # type: ignore[arg-type]
    with torch.no_grad():
        model.text.frontend.embed.weight.mul_(4)
        for name, weight in model.named_parameters():
            if "_up." in name:
                weight.normal_(std=0.3)
    return model.eval()


def tiny_folder(
    folder: Path, world: Path, fusion: str = "none", target_lang: str = "de", **changes: object
) -> Path:
    """A model folder with random weights; ``changes`` as of ``tiny_model``."""
    tokenizer = Tokenizer(world / "tokenizer.model")
    model = tiny_model(tokenizer.vocab_size, fusion, **changes)
    features = FeatureStore.open(world / "features").signature if fusion != "none" else None
    config = vars(model.config)
    card = ModelCard(config, "en", target_lang, features, {"beam_size": 2, "length_penalty": 1.0})
    pieces = TrainingPieces.of((tokenizer.encode(source) for source, _ in sentences(60, 0)), tokenizer)
    save_model(folder, model.state_dict(), tokenizer.path, card, pieces)
    return folder


def base_folder(folder: Path, world: Path, seed: int = 0) -> Path:
    """A text-only model folder with random weights and the sizes of ``SETTINGS``: a base."""
    tokenizer = Tokenizer(world / "tokenizer.model")
    sizes = {"num_encoder_layers": 1, "num_decoder_layers": 1, "norm_order": "pre"}
    model = tiny_model(tokenizer.vocab_size, seed=seed, **sizes)
    card = ModelCard(vars(model.config), "en", "de", None, {"beam_size": 2, "length_penalty": 1.0})
    save_model(folder, model.state_dict(), tokenizer.path, card)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that all processes of a test run share, filled by the first that needs it; not to be changed."""
    root = factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            beside = folder.with_suffix(".making")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            make(beside)
            beside.rename(folder)
    return folder


def add_graphs(model: Path, graphs: Path) -> Path:
    """``model`` with graphs that were exported from its weights before: exporting takes seconds."""
    shutil.copytree(graphs, model / EXPORTED)
    write_made_from(model / EXPORTED, model, read_card(model), {})
    return model


ONE_LAYER: dict[str, object] = {"num_encoder_layers": 1, "num_decoder_layers": 1}
"""Of a model to be exported, which takes time by the layer."""

SETTINGS = [
    "text.vocab_size=330",
    "data.max_tokens=120",
    "model.model_dim=16",
    "model.ffn_dim=32",
    "model.num_heads=2",
    "model.num_encoder_layers=1",
    "model.num_decoder_layers=1",
    "model.norm_order=pre",
    "optimizer.lr=0.02",
    "optimizer.num_warmup_steps=5",
    "regime.num_steps=12",
    "regime.report_every=3",
    "regime.validate_every=3",
    "regime.keep_last=2",
    "decoding.export=false",
    "threads=1",
]


STILL = ("optimizer.lr=1e-30", "optimizer.start_lr=0")
"""A learning rate so small that no weight changes."""


def settings(world: Path, *more: str, fusion: str = "gated") -> list[str]:
    images = [f"images.features={world / 'features'}"] if fusion != "none" else []
    every = [f"data.path={world / 'data'}", f"model.fusion={fusion}", *images, *SETTINGS, *more]
    return list({one.partition("=")[0]: one for one in every}.values())  # mmt train takes one value a key


def config(world: Path, *more: str, fusion: str = "gated") -> TrainConfig:
    return read_config(None, settings(world, *more, fusion=fusion))


def weights(output: Path, step: int) -> dict[str, torch.Tensor]:
    return torch.load(next((output / "checkpoints" / f"step_{step}" / "model").rglob("*.pt")), weights_only=True)


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def reports(output: Path, kind: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "metrics" / f"{kind}.jsonl").read_text().splitlines()]


PLAIN = ("model.dropout_p=0", "regime.keep_last=4")  # else each process draws its own


def begin(world: Path, output: Path, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    return begin_training(output, settings(world, *PLAIN, *more), processes)


def begin_training(output: Path, overrides: list[str], processes: int = 2) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "mmt.cli", "train", str(output)]
    for one in overrides:
        command += ["--config", one]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return warm.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=usual_signals,
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        said, _ = process.communicate(timeout=900)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return said


def assert_close_weights(one: Path, other: Path, step: int) -> None:
    ours, theirs = load_weights(one, step), load_weights(other, step)
    assert ours.keys() == theirs.keys()
    # A bias of the keys moves all scores of a query alike: its gradient is rounding, which Adam makes large.
    matter = [name for name in ours if not name.endswith("k_proj.bias")]
    worst = max(float((ours[name] - theirs[name]).abs().max()) for name in matter)
    assert worst < 1e-5, f"weights differ by {worst}"


_WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "fairseq2", "timm", "safetensors", "transformers"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
"""


def without_torch(program: str, *arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Runs a program in Python where what the small install lacks cannot be imported.

    Args:
        settings: of ``subprocess.run``.
    """
    command = [sys.executable, "-c", _WITHOUT_TORCH + program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)
