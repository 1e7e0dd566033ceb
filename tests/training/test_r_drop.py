"""R-Drop: two passes with different dropout, against a loop over tokens, and in a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmt.data.batch import Batch
from mmt.errors import MMTError
from mmt.model.card import read_card
from mmt.model.frozen import freeze_text
from mmt.model.model import MMTModel
from mmt.training.config_file import read_config
from mmt.training.forward_pass import Pass
from mmt.training.objectives import image_weights
from mmt.training.recipe import train
from mmt.training.tasks import Objectives
from tests.training.test_image_weighting import IMAGES, V, batch
from tests.worlds import (
    MODELS,
    assert_same_weights,
    begin_training,
    config,
    finish,
    reports,
    settings,
    tiny_model,
    weights,
)


def by_loop(
    model: MMTModel, given: Batch, alpha: float, smoothing: float, of_tokens: torch.Tensor | None
) -> tuple[torch.Tensor, float, float]:
    """Loss, nll and divergence of two passes, token by token."""
    first, second = (torch.log_softmax(model.logits(given), dim=-1) for _ in range(2))
    loss, nll, divergence = torch.zeros(()), 0.0, 0.0
    for row, length in enumerate(given.target_lens):
        for t in range(length):
            target = given.labels[row, t]
            for log_p, log_q in ((first[row, t], second[row, t]), (second[row, t], first[row, t])):
                weight = 1.0 if of_tokens is None else of_tokens[row, t]
                cross_entropy = -(1 - smoothing) * log_p[target] - smoothing * log_p.mean()
                kl = (log_p.exp() * (log_p - log_q)).sum()
                loss = loss + weight * cross_entropy / 2 + alpha / 2 * kl / 2
                nll -= float(log_p[target].detach()) / 2
                divergence += float(kl.detach()) / 2
    return loss, nll, divergence


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("image_weighting", [0.0, 1.5])
def test_two_passes_by_a_loop(kind: str, image_weighting: float) -> None:
    """Loss and gradient, with label smoothing, padding, sentences without an image, and weighted tokens."""
    if kind == "none" and image_weighting:
        return
    model, given = tiny_model(V, kind, dropout_p=0.3), batch(IMAGES)
    if kind == "none":
        given.image = given.image_pad = None
    model.train()
    objectives = Objectives(label_smoothing=0.1, r_drop=3.0, image_weighting=image_weighting)
    torch.manual_seed(5)
    found = objectives.computed(model, given)
    of_tokens = image_weights(Pass(model, given), image_weighting)[0] if image_weighting else None
    torch.manual_seed(5)
    loss, nll, divergence = by_loop(model, given, 3.0, 0.1, of_tokens)
    assert found.keys() == {"translation", "nll", "r_drop"} | ({"pcxmi"} if image_weighting else set())
    assert divergence > 0.1
    assert float(found["translation"].detach()) == pytest.approx(float(loss.detach()), rel=1e-4)
    assert float(found["nll"]) == pytest.approx(nll, rel=1e-4)
    assert float(found["r_drop"]) == pytest.approx(divergence, rel=1e-3)
    assert not found["r_drop"].requires_grad
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found["translation"], parameters, allow_unused=True),
        torch.autograd.grad(loss, parameters, allow_unused=True),
        strict=True,
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_without_dropout_the_loss_is_the_usual_one() -> None:
    model, given = tiny_model(V, "gated"), batch(IMAGES)
    usual, found = (Objectives(label_smoothing=0.1, r_drop=alpha).computed(model, given) for alpha in (0.0, 5.0))
    torch.testing.assert_close(found["translation"], usual["translation"])
    torch.testing.assert_close(found["nll"], usual["nll"])
    assert float(found["r_drop"]) == 0
    assert "r_drop" not in usual


@pytest.mark.parametrize("encoder", ["linear", "mlp"])
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "none" and "+" not in kind])
def test_a_frozen_text_model_is_refused_where_nothing_is_drawn(kind: str, encoder: str) -> None:
    """A frozen text model has no dropout, so that the fusion or the image encoder needs some."""
    model = tiny_model(V, kind, dropout_p=0.3, image_encoder=encoder)
    freeze_text(model, saved=True)
    model.train()
    found = Objectives(r_drop=5.0).computed(model, batch(IMAGES))
    settings = ["data.path=x", f"model.fusion={kind}", "images.features=x", f"model.image_encoder={encoder}"]
    settings += ["objectives.r_drop=5", "start.model=x", "start.freeze_text=true"]
    if float(found["r_drop"]):
        read_config(None, settings)
    else:
        with pytest.raises(MMTError, match=r"no part that is trained has any.* Set model\.lora_dropout_p"):
            read_config(None, settings)
    read_config(None, [*settings, "model.lora_rank=2", "model.lora_dropout_p=0.1"])
    with pytest.raises(MMTError, match=r"no part that is trained has any.* Set model\.dropout_p, or"):
        read_config(None, [*settings, "model.dropout_p=0"])


def test_masks_of_a_recording_are_enough() -> None:
    settings = [
        "data.path=x",
        "model.fusion=gated",
        "images.features=x",
        "objectives.r_drop=5",
        "model.dropout_p=0",
    ]
    read_config(None, [*settings, "model.image_encoder=frames"])
    with pytest.raises(MMTError, match="no part that is trained has any"):
        read_config(None, [*settings, "model.image_encoder=frames", "model.num_frame_masks=0"])


def test_a_run_resumes_exactly_and_reports_the_divergence(world: Path, tmp_path: Path) -> None:
    more = ("objectives.r_drop=5", "model.dropout_p=0.3")
    train(tmp_path / "whole", config(world, *more))
    train(tmp_path / "parts", config(world, *more, "regime.num_steps=6"))
    model = train(tmp_path / "parts", config(world, *more))
    assert_same_weights(weights(tmp_path / "parts", 12), weights(tmp_path / "whole", 12))
    assert all(line["r_drop"] > 0 for line in reports(tmp_path / "whole", "train"))
    assert read_card(model).training["r_drop"] == 5.0


def test_two_processes_train_together(world: Path, tmp_path: Path) -> None:
    more = ("objectives.r_drop=5", "model.dropout_p=0.3", "regime.num_steps=6")
    process = begin_training(tmp_path / "two", settings(world, *more))
    said = finish(process)
    assert process.returncode == 0, said
    assert all(line["r_drop"] > 0 for line in reports(tmp_path / "two", "train"))


def test_what_does_not_fit_is_refused() -> None:
    every = ["data.path=x", "model.fusion=none", "objectives.r_drop=5"]
    with pytest.raises(MMTError, match=r"objectives\.r_drop compares two passes .* Set model\.dropout_p"):
        read_config(None, [*every, "model.dropout_p=0"])
    more = ["model.fusion=gated", "images.features=x", "objectives.translation=0", "objectives.masked=1"]
    with pytest.raises(MMTError, match=r"objectives\.r_drop is part of the loss of translations"):
        read_config(None, [*every, *more])
