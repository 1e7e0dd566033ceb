"""Laws of the model."""

from __future__ import annotations

import pytest
import torch
from conftest import DIM, tiny_model
from fairseq2.nn import BatchLayout, IncrementalStateBag

from mmt.data import Batch, Example, collate
from mmt.model import MMTModel

EXAMPLES = [Example([5, 6, 7], [8, 9]), Example([10, 11], [12, 13, 14, 15]), Example([16], [17])]
V = 40


def logits(model: MMTModel, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(
            batch.source,
            batch.source_layout(),
            batch.target[:, :-1],
            batch.target_layout(),
            image=batch.image,
            image_pad=batch.image_pad,
        )
    return out


def with_images(batch: Batch, rows: list[int], regions: int = 2) -> Batch:
    torch.manual_seed(3)
    batch.image = torch.randn(len(batch.source), regions, DIM)
    batch.image_pad = torch.ones(len(batch.source), regions, dtype=torch.bool)
    batch.image_pad[rows] = False
    return batch


@pytest.mark.parametrize("norm_order", ["post", "pre"])
def test_no_image_equals_text_only(norm_order: str) -> None:
    """A gated model without images computes exactly what a text-only model with its weights computes."""
    gated = tiny_model(V, "gated", norm_order=norm_order)
    text_only = tiny_model(V, "none", norm_order=norm_order)
    text_only.load_state_dict({k: v for k, v in gated.state_dict().items() if k in text_only.state_dict()})
    expected = logits(text_only, collate(EXAMPLES))
    assert torch.equal(logits(gated, collate(EXAMPLES)), expected)
    assert torch.equal(logits(gated, with_images(collate(EXAMPLES), [])), expected)
    seen = logits(gated, with_images(collate(EXAMPLES), [1]))
    assert torch.equal(seen[[0, 2]], expected[[0, 2]])
    assert not torch.allclose(seen[1], expected[1])


@pytest.mark.parametrize("fusion", ["gated", "selective"])
def test_what_is_looked_at_is_what_the_decoder_sees(fusion: str) -> None:
    model, batch = tiny_model(V, fusion), with_images(collate(EXAMPLES), [0, 1])
    assert batch.image is not None
    with torch.no_grad():
        seen = model.encode(batch.source, batch.source_layout(), batch.image, batch.image_pad)
        look = model.look(batch.source, batch.source_layout(), batch.image, batch.image_pad)
        text = model.encode(batch.source, batch.source_layout())
    assert torch.equal(look.states, seen)
    assert torch.equal(look.text, text)


def test_padding_changes_nothing() -> None:
    model = tiny_model(V)
    together = logits(model, collate(EXAMPLES))
    for number, example in enumerate(EXAMPLES):
        alone = logits(model, collate([example]))[0]
        torch.testing.assert_close(together[number, : len(alone)], alone, rtol=1e-4, atol=1e-5)


def test_order_of_sentences_changes_nothing() -> None:
    model = tiny_model(V, "gated")
    forward = logits(model, with_images(collate(EXAMPLES), [0, 1, 2]))
    batch = with_images(collate(EXAMPLES), [0, 1, 2])
    assert batch.image is not None
    assert batch.image_pad is not None
    turned = collate(EXAMPLES[::-1])
    turned.image, turned.image_pad = batch.image.flip(0), batch.image_pad.flip(0)
    torch.testing.assert_close(logits(model, turned).flip(0), forward, rtol=1e-4, atol=1e-5)


def test_the_future_changes_nothing() -> None:
    model = tiny_model(V)
    longer = logits(model, collate([Example([5, 6], [7, 8, 9, 10])]))
    shorter = logits(model, collate([Example([5, 6], [7, 8])]))
    torch.testing.assert_close(longer[:, :3], shorter, rtol=1e-4, atol=1e-5)


def test_cached_decoding_equals_uncached() -> None:
    model = tiny_model(V)
    batch = collate([Example([5, 6, 7], [8, 9, 10, 11])])
    full = logits(model, batch)
    state = IncrementalStateBag(10)
    with torch.no_grad():
        encoded = model.encode(batch.source, batch.source_layout())
        for step in range(5):
            token = batch.target[:, step : step + 1]
            states = model.decode(token, BatchLayout.of(token), encoded, batch.source_layout(), state)
            state.increment_step_nr()
            torch.testing.assert_close(model.final_proj(states)[:, 0], full[:, step], rtol=1e-4, atol=1e-5)


def test_loss_is_that_of_the_logits() -> None:
    model = tiny_model(V)
    batch = collate(EXAMPLES)
    labels = batch.target[:, 1:]
    with torch.no_grad():
        _, nll = model(batch.source, batch.source_layout(), batch.target[:, :-1], batch.target_layout(), labels)
    log_p = torch.log_softmax(logits(model, batch), -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(nll, -log_p[labels != 0].sum(), rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_image_projection() -> None:
    model = tiny_model(V, "gated").train()
    batch = with_images(collate(EXAMPLES), [0])
    loss, _ = model(
        batch.source,
        batch.source_layout(),
        batch.target[:, :-1],
        batch.target_layout(),
        batch.target[:, 1:],
        image=batch.image,
        image_pad=batch.image_pad,
    )
    loss.backward()
    assert model.image_proj.weight.grad is not None
    assert model.image_proj.weight.grad.abs().sum() > 0


def test_the_tiny_configuration_has_the_papers_size() -> None:
    """About 2.57 M parameters at 9,711 pieces, Wu et al. (2021)."""
    from mmt.sizes import MMTConfig

    model = MMTModel(MMTConfig(vocab_size=9711))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(2.57e6, rel=0.01)
