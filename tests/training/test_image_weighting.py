"""Laws of the objectives that compare a model with itself without the image, each against a loop over tokens."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmt.data.batch import Batch, Example, collate
from mmt.model.card import read_card
from mmt.model.frozen import freeze_text
from mmt.model.fusion import FUSIONS
from mmt.model.model import MMTModel
from mmt.training.forward_pass import Pass, without_dropout
from mmt.training.objectives import faithfulness, image_weights
from mmt.training.recipe import train
from mmt.training.tasks import Objectives
from tests.worlds import DIM, assert_same_weights, config, reports, tiny_model, weights

V = 30
KINDS = [name for name in FUSIONS if name != "none"]
IMAGES = [0, None, 1, 2, None]


def batch(images: list[int | None]) -> Batch:
    """Sentences of two to five tokens with targets of two to six, and these images; the last is the longest."""
    made = collate(
        [
            Example([5 + n, 6, 7, 8, 9][: 2 + n % 4], [10, 11 + n, 12, 13, 14, 15][: 2 + n])
            for n in range(len(images))
        ]
    )
    pictures = 3 * torch.randn(10, 2, DIM, generator=torch.Generator().manual_seed(1)).numpy()
    rows = [row for row, image in enumerate(images) if image is not None]
    made.add_images(rows, pictures[[image for image in images if image is not None]])
    return made


def alone(given: Batch, row: int, *, image: bool) -> Batch:
    """One sentence without padding, with or without its image."""
    source = given.source[row, : given.source_lens[row] - 1].tolist()
    made = collate([Example(source, given.target[row, 1 : given.target_lens[row]].tolist())])
    if image:
        assert given.image is not None
        made.add_images([0], given.image[row : row + 1].numpy())
    return made


def log_probs(model: MMTModel, given: Batch, row: int, *, image: bool) -> torch.Tensor:
    """(T, V) of one sentence."""
    return torch.log_softmax(model.logits(alone(given, row, image=image))[0], dim=-1)


def by_loop(model: MMTModel, given: Batch, images: list[int | None], strength: float) -> list[list[float]]:
    """The weight of each token: 1 + strength * min(max(pcxmi, 0), 3)."""
    rows = []
    for row, has in enumerate(images):
        targets = given.labels[row, : given.target_lens[row]].tolist()
        ours, text = (log_probs(model, given, row, image=image) for image in (has is not None, False))
        gains = [float(ours[t, target] - text[t, target]) for t, target in enumerate(targets)]
        rows.append([1 + strength * min(max(gain, 0), 3) for gain in gains])
    return rows


@pytest.mark.parametrize("fusion", KINDS)
def test_tokens_weigh_what_the_image_tells_of_them(fusion: str) -> None:
    """In training mode, too: dropout does not touch the weights, nor do they the random numbers."""
    model, given = tiny_model(V, fusion, dropout_p=0.3), batch(IMAGES)
    with torch.no_grad():
        expected = by_loop(model, given, IMAGES, 0.5)
    model.train()
    model.text.encoder.eval()
    before = torch.get_rng_state()
    found, pcxmi = image_weights(Pass(model, given), 0.5)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model.text.decoder.training
    assert not any(module.training for module in model.text.encoder.modules())
    assert found.shape == given.labels.shape
    for row, of_tokens in enumerate(expected):
        assert found[row, : len(of_tokens)].tolist() == pytest.approx(of_tokens, abs=1e-3)
        assert (found[row, len(of_tokens) :] == 1).all()
    assert (found[[row for row, has in enumerate(IMAGES) if has is None]] == 1).all()
    assert not found.requires_grad
    some = [weight for of_tokens in expected for weight in of_tokens]
    assert min(some) == 1
    assert len({round(weight, 4) for weight in some}) > 3
    assert math.isfinite(float(pcxmi))
    assert float(pcxmi) != 0


def test_the_largest_weight_is_bounded() -> None:
    model, given = tiny_model(V, "gated", seed=1), batch(IMAGES)
    with torch.no_grad():
        model.image.projections[0].weight.mul_(20)
    found, _ = image_weights(Pass(model, given), 2.0)
    assert float(found.max()) == 7


def test_the_weighted_loss_and_its_gradient_by_a_loop() -> None:
    """Weights have no gradient, and the reported nll is not weighted."""
    model, given = tiny_model(V, "selective"), batch(IMAGES)
    objectives = Objectives(label_smoothing=0.1, image_weighting=1.5)
    found = objectives.computed(model, given)
    assert found.keys() == {"translation", "nll", "pcxmi"}
    with torch.no_grad():
        weights = by_loop(model, given, IMAGES, 1.5)
    loss, nll, pcxmi = torch.zeros(()), 0.0, 0.0
    for row, has in enumerate(IMAGES):
        targets = given.labels[row, : given.target_lens[row]].tolist()
        ours, text = (log_probs(model, given, row, image=image) for image in (has is not None, False))
        for t, target in enumerate(targets):
            loss = loss - weights[row][t] * (0.9 * ours[t, target] + 0.1 * ours[t].mean())
            nll -= float(ours[t, target].detach())
            pcxmi += float((ours[t, target] - text[t, target]).detach())
    assert float(found["translation"].detach()) == pytest.approx(float(loss.detach()), rel=1e-4)
    assert float(found["nll"]) == pytest.approx(nll, rel=1e-4)
    assert float(found["pcxmi"]) == pytest.approx(pcxmi, rel=1e-3)
    parameters = list(model.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found["translation"], parameters, allow_unused=True),
        torch.autograd.grad(loss, parameters, allow_unused=True),
        strict=True,
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_under_autocast_too_all_that_is_trained_gets_its_gradient(frozen: bool) -> None:
    """The passes without a gradient come first, and autocast keeps the weights that they rounded."""
    model, given, found = tiny_model(V, "gated+adapters"), batch(IMAGES), []
    if frozen:
        freeze_text(model, saved=True)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    objectives = Objectives(weights={"faithful": 1.0} if frozen else {}, image_weighting=0.5)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            losses = objectives.computed(model, given)
            loss = losses["translation"] + losses.get("faithful", 0)
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        found.append(dict(zip(trained, gradients, strict=True)))
    for name, exact in found[0].items():
        rounded = found[1][name]
        assert (exact is None) == (rounded is None), name
        if exact is not None and rounded is not None:
            agree = float((rounded * exact).sum() / (rounded.norm() * exact.norm()).clamp(min=1e-6))
            assert agree > 0.8 or float(exact.norm()) < 1e-3, name


def test_without_an_image_in_the_batch_the_loss_is_the_usual_one() -> None:
    model, given = tiny_model(V, "late"), batch([None, None, None])
    usual = Objectives(label_smoothing=0.1).computed(model, given)
    found = Objectives(label_smoothing=0.1, image_weighting=2.0).computed(model, given)
    torch.testing.assert_close(found["translation"], usual["translation"])
    assert float(found["pcxmi"]) == 0
    assert faithfulness(Pass(model, given)).item() == 0


@pytest.mark.parametrize("fusion", KINDS)
def test_the_model_without_its_image_is_the_teacher(fusion: str) -> None:
    """Equal to another model of the same text, as the law of every fusion says; text-only sentences add 0."""
    model, own, given = tiny_model(V, fusion, dropout_p=0.3), tiny_model(V, "none"), batch(IMAGES)
    own.load_state_dict({name: model.state_dict()[name] for name in own.state_dict()})
    found, other = faithfulness(Pass(model, given)), faithfulness(Pass(model, given), own)
    divergence = 0.0
    with torch.no_grad():
        for row, has in enumerate(IMAGES):
            log_p, log_q = (log_probs(model, given, row, image=image) for image in (has is not None, False))
            divergence += float((log_q.exp() * (log_q - log_p)).sum())
    assert divergence > 0.01
    assert found.item() == pytest.approx(divergence / given.num_target_tokens, rel=1e-3)
    assert other.item() == pytest.approx(found.item(), rel=1e-3)
    model.text.requires_grad_(False)
    moving = [parameter for name, parameter in model.named_parameters() if not model.is_of_text(name)]
    for parameter in moving:
        parameter.requires_grad_(True)
    ours, theirs = (
        torch.autograd.grad(faithfulness(Pass(model, given), teacher), moving, allow_unused=True)
        for teacher in (None, own)
    )
    for one, two in zip(ours, theirs, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_passes_are_shared_and_leave_out_sentences_without_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass for training's losses, one of the text for teacher and weights, and one without dropout."""
    model, given = tiny_model(V, "gated", dropout_p=0.3).train(), batch(IMAGES)
    seen: list[tuple[int, bool, bool, bool]] = []
    encode = model.encode

    def counting(source: torch.Tensor, lens: Any, image: Any = None, pad: Any = None) -> Any:
        seen.append((len(source), image is not None, model.training, torch.is_grad_enabled()))
        return encode(source, lens, image, pad)

    monkeypatch.setattr(model, "encode", counting)
    Objectives(weights={"faithful": 1.0}, image_weighting=1.0).computed(model, given)
    whole, without_image, with_image = (5, True, True, True), (3, False, False, False), (3, True, False, False)
    assert sorted(seen) == sorted([whole, without_image, with_image])


def test_dropout_comes_back_after_an_error() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).train()
    model[1].eval()

    def fails() -> None:
        with without_dropout(model):
            assert not model[0].training
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert [model.training, model[0].training, model[1].training] == [True, True, False]


# --- runs -------------------------------------------------------------------------------------------------


def test_a_weighted_run_learns_and_resumes_exactly(world: Path, tmp_path: Path) -> None:
    more = ("objectives.image_weighting=2", "images.dropout_p=0.3", "model.dropout_p=0.1")
    train(tmp_path / "whole", config(world, *more))
    train(tmp_path / "halves", config(world, *more, "regime.num_steps=6"))
    train(tmp_path / "halves", config(world, *more))
    assert_same_weights(weights(tmp_path / "halves", 12), weights(tmp_path / "whole", 12))
    lines = reports(tmp_path / "whole", "train")
    assert lines[-1]["NLL Loss"] < lines[0]["NLL Loss"]
    assert lines[-1]["Loss"] < lines[0]["Loss"]
    assert all(math.isfinite(line["pcxmi"]) and line["pcxmi"] != 0 for line in lines)
    assert read_card(tmp_path / "whole" / "model").training["image_weighting"] == 2
    train(tmp_path / "usual", config(world, *more, "objectives.image_weighting=0"))
    assert "pcxmi" not in reports(tmp_path / "usual", "train")[0]
    last = [weights(tmp_path / run, 12)["image.projections.0.weight"] for run in ("whole", "usual")]
    assert not torch.equal(*last)


def test_frozen_text_is_its_own_teacher(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "text", config(world, fusion="none"))

    def second_model(_: Path) -> None:
        raise AssertionError("a second model was loaded")

    monkeypatch.setattr("mmt.training.recipe.load_model", second_model)
    begin = (
        f"start.model={tmp_path / 'text' / 'model'}",
        "start.freeze_text=true",
        "objectives.image_weighting=1",
    )
    train(tmp_path / "run", config(world, *begin, "objectives.faithful=1", "objectives.masked=1"))
    before, after = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("text", "run"))
    assert [name for name, weight in before.items() if not torch.equal(after[name], weight)] == []
    lines = reports(tmp_path / "run", "train")
    assert all(line["faithful"] > 0 for line in lines)
    with pytest.raises(AssertionError, match="second model"):
        train(tmp_path / "trained", config(world, begin[0], "objectives.faithful=1"))


def test_a_base_that_is_trained_stays_the_teacher(world: Path, tmp_path: Path) -> None:
    """As the same model does under ``start.model``: both runs are one."""
    train(tmp_path / "text", config(world, fusion="none"))
    text = tmp_path / "text" / "model"
    for run, begin in (("base", f"model.text=mmt:{text}"), ("start", f"start.model={text}")):
        train(tmp_path / run, config(world, begin, "objectives.faithful=1", "regime.num_steps=6"))
    assert_same_weights(weights(tmp_path / "base", 6), weights(tmp_path / "start", 6))
    assert [one["faithful"] for one in reports(tmp_path / "base", "train")] == [
        one["faithful"] for one in reports(tmp_path / "start", "train")
    ]
