"""Pictures that say what the sentences do not, and models that look at them, never look, or cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmt.data.batch import Example, collate
from mmt.data.dataset import DatasetInfo, read_split, write_dataset
from mmt.data.feature_signature import FeatureSignature
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.features.writer import FeatureWriter
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.worlds import DIM, NOUNS, tiny_model


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences that do not say what their pictures show; 24 pictures, a feature for each noun, a tokenizer."""
    folder = tmp_path_factory.mktemp("shown")
    nouns = list(NOUNS.values())
    (folder / "images").mkdir()
    rows, values = [], []
    for number in range(24):
        noun = number % len(nouns)
        name = f"{number}.png"
        Image.new("RGB", (16, 12), (noun * 40, 90, number * 10)).save(folder / "images" / name)
        row = {"id": str(number), "image": name, "source": "He sees the thing.", "has_image": True}
        rows.append({**row, "target": f"Er sieht {nouns[noun]}.", "answer": nouns[noun]})
        values.append(np.eye(DIM, dtype=np.float32)[noun].reshape(1, DIM) * 4)
    text = {**rows[0], "id": "text", "image": "", "has_image": False}
    pairs = []
    for number in range(0, 24, 2):
        for one, other in ((number, number + 1), (number + 1, number)):
            contrast = {"contrast": rows[other]["target"], "wrong_answer": rows[other]["answer"]}
            pairs.append({**rows[one], **contrast, "id": f"c{one}"})
    info = DatasetInfo("shown", "en", "de", str(folder / "images"))
    write_dataset(folder / "data", info, {"test": [*rows, text], "contrastive": pairs})
    signature = FeatureSignature("tiny", "pool", "none", "ab" * 32, 1, DIM)
    with FeatureWriter(folder / "features", signature, "float32") as writer:
        writer.append([row["image"] for row in rows], np.stack(values))
        writer.finish()
    lines = [row[side] for row in rows for side in ("source", "target")]
    train_tokenizer(lines, 310, folder / "tokenizer.model")
    return folder


def save(folder: Path, shown: Path, model: torch.nn.Module) -> Path:
    tokenizer = Tokenizer(shown / "tokenizer.model")
    uses = model.config.fusion != "none"  # type: ignore[union-attr]
    signature = FeatureStore.open(shown / "features").signature if uses else None
    card = ModelCard(vars(model.config), "en", "de", signature, {"beam_size": 2})
    save_model(folder, model.state_dict(), tokenizer.path, card)
    return folder


@pytest.fixture(scope="session")
def copying(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for a moment to say what the picture shows."""
    tokenizer, store = Tokenizer(shown / "tokenizer.model"), FeatureStore.open(shown / "features")
    rows = [row for row in read_split(shown / "data", "test") if row["has_image"]]
    examples = [
        Example(tokenizer.encode(r["source"]), tokenizer.encode(r["target"]), r["image"])
        for r in rows[: len(NOUNS)]
    ]
    batch = collate(examples, store)
    small = {"num_encoder_layers": 1, "num_decoder_layers": 1, "norm_order": "pre", "dropout_p": 0.0}
    model = tiny_model(tokenizer.vocab_size, "gated", **small).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        loss, _ = model.cross_entropy(batch)
        (loss / batch.num_target_tokens).backward()
        optimizer.step()
        if loss < 0.003 * batch.num_target_tokens:
            break
    return save(tmp_path_factory.mktemp("m") / "copying", shown, model)


@pytest.fixture(scope="session")
def ignoring(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gate that never opens."""
    model = tiny_model(Tokenizer(shown / "tokenizer.model").vocab_size, "gated")
    with torch.no_grad():
        model.fusion.gate_text.bias.fill_(-1e4)
    return save(tmp_path_factory.mktemp("m") / "ignoring", shown, model)


@pytest.fixture(scope="session")
def text_only(shown: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model(Tokenizer(shown / "tokenizer.model").vocab_size)
    return save(tmp_path_factory.mktemp("m") / "text", shown, model)
