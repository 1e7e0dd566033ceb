"""Models that are exported for tests of several files: exporting takes long."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mmt.cli.main import main
from mmt.data.domain import TrainingPieces
from mmt.data.feature_store import FeatureStore
from mmt.data.tokenizer import Tokenizer
from mmt.inference import onnx_export
from mmt.inference.onnx_export import export_model
from mmt.model.card import ModelCard
from mmt.model.folder import save_model
from tests.worlds import sentences, tiny_model

__all__ = ["WEIGHTS", "export_large", "export_model", "saved"]

WEIGHTS = {f"{graph}.{kind}.onnx.data" for graph in ("encoder", "decoder") for kind in ("float32", "int8")}
"""Files of weights that lie beside their graphs."""


def saved(folder: Path, world: Path, features: Path | None, fusion: str, **changes: object) -> Path:
    """A model folder, which knows the pieces of its training text."""
    tokenizer = Tokenizer(world / "tokenizer.model")
    signature = FeatureStore.open(features).signature if features is not None else None
    sets = ((signature.num_regions, 6),) if signature is not None else ()
    model = tiny_model(tokenizer.vocab_size, fusion, **{"image_sets": sets, **changes})
    with torch.no_grad():
        model.text.frontend.embed.weight[4:].mul_(2)  # sentences end late
    card = ModelCard(vars(model.config), "en", "de", signature)
    pieces = TrainingPieces.of((tokenizer.encode(source) for source, _ in sentences(60, 0)), tokenizer)
    save_model(folder, model.state_dict(), tokenizer.path, card, pieces)
    return folder


def export_large(model: Path, out: Path) -> None:
    """By the command, in both precisions, as if the weights were too large for a graph file."""
    out.mkdir()
    for name in WEIGHTS:  # what is there is known to be an exported model, and replaced
        (out / name).write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "LARGEST_FILE", 10_000)
        result = CliRunner().invoke(main, ["export", "--quiet", "--model", str(model), "--out", str(out)])
    assert (result.exit_code, result.output) == (0, "")
