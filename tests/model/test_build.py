"""Laws of building: which random numbers a model is made of, and in which order its parameters are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmt.data.batch import Example, collate
from mmt.model.build import build_model
from mmt.model.config import MMTConfig
from mmt.model.fusion import FUSIONS

# By version 0.1: an integer drawn after the model was built, the sum of its weights' absolute values, and the loss
# in training.
RECORDED: dict[str, tuple[dict[str, object], int, float, float]] = {
    "none": ({}, 1544018141, 1786.6048, 42.18705),
    "early": ({"norm_order": "pre"}, 300738548, 2075.4993, 40.15075),
    "prefix": ({"norm_order": "pre"}, 300738548, 2075.4993, 40.16687),  # since 0.3
    "concat": ({}, 1497241108, 2112.0608, 38.37476),
    "gated": ({"norm_order": "pre"}, 1497241108, 2185.3387, 40.24030),
    "selective": ({}, 657359657, 2314.8474, 48.80802),
    "late": ({"norm_order": "pre"}, 760263485, 2639.5916, 40.48455),
    "hybrid": ({}, 760263485, 2607.5916, 39.62845),
    "lstm": ({"fusion": "gated", "text_encoder": "lstm"}, 210450890, 2064.0656, 45.60816),
    "frames": (
        {"fusion": "gated", "image_encoder": "frames", "image_sets": ((12, 8),)}, 2048795262, 3685.1150, 42.61905
    ),
}  # fmt: skip


def config_of(name: str) -> MMTConfig:
    sizes = {"vocab_size": 40, "model_dim": 16, "ffn_dim": 32, "num_heads": 2, "dropout_p": 0.2, "num_labels": 3}
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 2}
    image: dict[str, object] = {}
    if name != "none":
        image["image_sets"] = ((2, 8), (1, 6))
        image["heads"] = ("contrastive", "imagination", "classification", "regression")
    return MMTConfig(**{"fusion": name, **sizes, **layers, **image, **RECORDED[name][0]})  # type: ignore[arg-type]


def test_every_fusion_is_recorded() -> None:
    assert RECORDED.keys() >= FUSIONS.keys()


@pytest.mark.parametrize("name", RECORDED)
def test_a_seed_gives_the_same_model_in_every_version(name: str) -> None:
    """The recorded results are repeated exactly by it: so many random numbers, in the same order."""
    _, drawn, size, expected = RECORDED[name]
    torch.manual_seed(1)
    model = build_model(config_of(name)).train()
    assert int(torch.randint(2**31, (1,))) == drawn
    assert sum(float(p.detach().abs().double().sum()) for p in model.parameters()) == pytest.approx(size, rel=1e-6)
    batch = collate([Example([5, 6, 7], [8, 9]), Example([10, 11], [12, 13, 14, 15]), Example([16], [17])])
    if name != "none":
        num = 12 if name == "frames" else 3
        batch.add_images([0, 1], np.linspace(-1, 1, 2 * num * 8, dtype=np.float32).reshape(2, num, 8))
    loss, _ = model.cross_entropy(batch, 0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["gated", "late"])
def test_parameters_are_in_the_order_of_computation(name: str) -> None:
    """It numbers an optimizer's state and decides the last bit of a gradient's norm; also in a wrapper (DDP)."""
    model = build_model(config_of(name))
    for wrapped in (model, torch.nn.Sequential(model)):
        names = [name.removeprefix("0.") for name, _ in wrapped.named_parameters()]
        parts = list(dict.fromkeys(name.split(".")[0] for name in names))
        assert parts[:2] == ["text", "image"]
        of_text = [name.split(".")[1] for name in names if name.startswith("text.")]
        assert list(dict.fromkeys(of_text)) == ["frontend", "encoder", "decoder"]
        image = [number for number, name in enumerate(names) if name.startswith(("image.", "fusion."))]
        assert names[image[0] - 1].startswith("text.encoder.")
        assert names[image[-1] + 1].startswith("text.decoder.")
        assert names[-1].startswith("heads.")
        assert len(names) == len(set(names)) == len(list(model.parameters()))
