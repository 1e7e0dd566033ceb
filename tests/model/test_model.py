"""Laws of the model."""

from __future__ import annotations

import pytest
import torch
from fairseq2.device import CPU
from fairseq2.gang import create_fake_gangs
from fairseq2.nn import BatchLayout, IncrementalStateBag

from mmt.data.batch import Batch, Example, collate
from mmt.model.build import build_model
from mmt.model.config import MMTConfig
from mmt.model.fusion import FUSIONS, Memory, fusion_places
from mmt.model.model import MMTModel
from tests.worlds import DIM, MODELS, tiny_model

EXAMPLES = [Example([5, 6, 7], [8, 9]), Example([10, 11], [12, 13, 14, 15]), Example([16], [17])]
KINDS = [name for name in MODELS if name != "none"]
V = 40


def logits(model: MMTModel, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(batch)


def with_images(batch: Batch, rows: list[int], regions: int = 2) -> Batch:
    torch.manual_seed(3)
    batch.image = torch.randn(len(batch.source), regions, DIM)
    batch.image_pad = torch.ones(len(batch.source), regions, dtype=torch.bool)
    batch.image_pad[rows] = False
    return batch


@pytest.mark.parametrize("norm_order", ["post", "pre"])
@pytest.mark.parametrize("fusion", KINDS)
def test_no_image_equals_text_only(fusion: str, norm_order: str) -> None:
    """A model without images computes exactly what a text-only model with its weights computes."""
    model = tiny_model(V, fusion, norm_order=norm_order)
    text_only = tiny_model(V, "none", norm_order=norm_order)
    text_only.load_state_dict({k: v for k, v in model.state_dict().items() if k in text_only.state_dict()})
    expected = logits(text_only, collate(EXAMPLES))
    assert torch.equal(logits(model, collate(EXAMPLES)), expected)
    assert torch.equal(logits(model, with_images(collate(EXAMPLES), [])), expected)
    batch = with_images(collate(EXAMPLES), [1])
    seen = logits(model, batch)
    for row in (0, 2):  # beside a sentence with an image; to rounding, as early fusion makes the batch wider
        real = batch.target_lens[row]
        torch.testing.assert_close(seen[row, :real], expected[row, :real], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(seen[1], expected[1])


@pytest.mark.parametrize("fusion", KINDS)
def test_padding_regions_change_nothing(fusion: str) -> None:
    """Wherever they stand, and whatever is in them."""
    model = tiny_model(V, fusion)
    batch = with_images(collate(EXAMPLES), [0, 1])
    assert batch.image is not None
    assert batch.image_pad is not None
    expected = logits(model, batch)
    padding = torch.full_like(batch.image[:, :1], torch.nan)
    batch.image = torch.cat([batch.image[:, :1], padding, batch.image[:, 1:], padding], 1)
    pad = torch.ones(len(EXAMPLES), 1, dtype=torch.bool)
    batch.image_pad = torch.cat([batch.image_pad[:, :1], pad, batch.image_pad[:, 1:], pad], 1)
    torch.testing.assert_close(logits(model, batch), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", KINDS)
def test_each_region_of_an_image_counts(fusion: str) -> None:
    model, batch = tiny_model(V, fusion), with_images(collate(EXAMPLES), [0, 1, 2])
    assert batch.image_pad is not None
    whole = logits(model, batch)
    batch.image_pad[:, 1] = True
    assert (logits(model, batch) - whole).abs().amax((1, 2)).min() > 1e-3


@pytest.mark.parametrize("fusion", KINDS)
def test_several_sets_of_features_stand_side_by_side(fusion: str) -> None:
    """A set counts, by its own width alone; one whose regions are all padding leaves what the other says."""
    model = tiny_model(V, fusion, image_sets=((2, DIM), (3, DIM - 2)))
    batch = with_images(collate(EXAMPLES), [0, 1, 2], regions=5)
    assert batch.image is not None
    assert batch.image_pad is not None
    both = logits(model, batch)
    batch.image[:, 2:, DIM - 2 :] = torch.nan  # beyond the second set's width
    assert torch.equal(logits(model, batch), both)
    batch.image_pad[:, 2:] = True
    first = logits(model, batch)
    assert (first - both).abs().amax((1, 2)).min() > 1e-3
    one = tiny_model(V, fusion, image_sets=((2, DIM),))
    one.load_state_dict({name: model.state_dict()[name] for name in one.state_dict()})
    batch.image, batch.image_pad = batch.image[:, :2], batch.image_pad[:, :2]
    torch.testing.assert_close(logits(one, batch), first, rtol=1e-5, atol=1e-5)


def test_each_set_of_features_weighs_the_same_where_means_are_taken() -> None:
    """So a grid of 49 regions does not drown a pooled vector beside it."""
    model = tiny_model(V, "gated", image_sets=((2, DIM), (1, DIM)))
    with torch.no_grad():
        model.image.projections[1].load_state_dict(model.image.projections[0].state_dict())
        image = torch.randn(1, 3, DIM)
        regions, _ = model.image(image, None)
        expected = model.image.projections[0](torch.stack([image[:, :2].mean(1), image[:, 2]], 1))
    torch.testing.assert_close(regions, expected)


@pytest.mark.parametrize("fusion", KINDS)
def test_what_is_looked_at_is_what_the_decoder_sees(fusion: str) -> None:
    model, batch = tiny_model(V, fusion), with_images(collate(EXAMPLES), [0, 1])
    assert batch.image is not None
    with torch.no_grad():
        seen = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
        look = model.look(batch.source, batch.source_lens, batch.image, batch.image_pad)
        text = model.encode(batch.source, batch.source_lens)
    if look is None:
        assert "between" not in fusion_places(model.config.fusion)
        return
    assert torch.equal(look.states, seen.states)
    if model.config.lora_rank == 0:  # which reads the text otherwise where there is an image
        assert torch.equal(look.text, text.states)


@pytest.mark.parametrize("fusion", ["late", "hybrid"])
def test_a_closed_gate_in_the_decoder_returns_text(fusion: str) -> None:
    model, batch = tiny_model(V, fusion), with_images(collate(EXAMPLES), [0, 1])
    with torch.no_grad():
        for layer in model.text.decoder.layers:
            layer.encoder_decoder_attn.gate_text.bias.fill_(-1e4)
        memory = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
        assert memory.image is not None
        looked, text_alone = (
            model.decode(batch.target[:, :-1], batch.target_layout(), seen)
            for seen in (memory, Memory(memory.states, memory.lens))
        )
    torch.testing.assert_close(looked, text_alone)


def test_padding_changes_nothing() -> None:
    model = tiny_model(V)
    together = logits(model, collate(EXAMPLES))
    for number, example in enumerate(EXAMPLES):
        alone = logits(model, collate([example]))[0]
        torch.testing.assert_close(together[number, : len(alone)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", KINDS)
def test_order_of_sentences_changes_nothing(fusion: str) -> None:
    model = tiny_model(V, fusion)
    batch = with_images(collate(EXAMPLES), [0, 1])
    assert batch.image is not None
    assert batch.image_pad is not None
    forward = logits(model, batch)
    turned = collate(EXAMPLES[::-1])
    turned.image, turned.image_pad = batch.image.flip(0), batch.image_pad.flip(0)
    torch.testing.assert_close(logits(model, turned).flip(0), forward, rtol=1e-4, atol=1e-5)


def test_the_future_changes_nothing() -> None:
    model = tiny_model(V)
    longer = logits(model, collate([Example([5, 6], [7, 8, 9, 10])]))
    shorter = logits(model, collate([Example([5, 6], [7, 8])]))
    torch.testing.assert_close(longer[:, :3], shorter, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fusion", ["none", *KINDS])
def test_cached_decoding_equals_uncached(fusion: str) -> None:
    """Also where sentences multiply and leave on the way, as beams do."""
    model = tiny_model(V, fusion)
    examples = [Example([5, 6, 7], [8, 9, 10, 11]), Example([10], [12, 13, 14, 15]), Example([7, 5], [9, 8, 7, 6])]
    batch = collate(examples)
    if fusion != "none":
        batch = with_images(batch, [0, 2])
    full = logits(model, batch)
    state, rows = IncrementalStateBag(10), [0, 1, 2]
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lens, batch.image, batch.image_pad)
        for step in range(5):
            token = batch.target[rows, step : step + 1]
            states = model.decode(token, BatchLayout.of(token), memory, state)
            state.increment_step_nr()
            torch.testing.assert_close(model.text.project(states)[:, 0], full[rows, step], rtol=1e-4, atol=1e-5)
            kept = torch.tensor({1: [0, 1, 1, 2], 2: [1, 3]}.get(step, range(len(rows))))
            state.reorder(kept)
            memory, rows = memory.take(kept), [rows[n] for n in kept.tolist()]


def test_loss_is_that_of_the_logits() -> None:
    model = tiny_model(V)
    batch = collate(EXAMPLES)
    labels = batch.target[:, 1:]
    with torch.no_grad():
        _, nll = model.cross_entropy(batch)
    log_p = torch.log_softmax(logits(model, batch), -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(nll, -log_p[labels != 0].sum(), rtol=1e-4, atol=1e-4)


def test_a_forward_pass_computes_what_it_is_asked_for() -> None:
    model, batch = tiny_model(V), collate(EXAMPLES)
    with torch.no_grad():
        found = model(batch, [lambda m, b: {"nll": m.cross_entropy(b)[1]}, lambda m, b: {"rows": b.source[:, 0]}])
        assert torch.equal(found["nll"], model.cross_entropy(batch)[1])
        assert torch.equal(found["rows"], batch.source[:, 0])
        assert model(batch, []) == {}


@pytest.mark.parametrize("rows", [[0], []])
@pytest.mark.parametrize("fusion", KINDS)
def test_gradients_reach_the_image_projection(fusion: str, rows: list[int]) -> None:
    """Without any image they are zero, but there: several processes wait for every parameter's gradient."""
    model = tiny_model(V, fusion).train()
    batch = with_images(collate(EXAMPLES), rows)
    loss, _ = model.cross_entropy(batch)
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    grad = model.image.projections[0].weight.grad
    assert grad.isfinite().all()
    assert bool(grad.abs().sum() > 0) == bool(rows)


@pytest.mark.parametrize("fusion", KINDS)
def test_half_precision_stays_finite(fusion: str) -> None:
    model, batch = tiny_model(V, fusion).bfloat16(), with_images(collate(EXAMPLES), [0, 1])
    assert batch.image is not None
    batch.image = batch.image.bfloat16() * 50
    assert logits(model, batch).isfinite().all()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_layer_is_in_the_gangs_that_the_model_is_told(fusion: str) -> None:
    sizes = {"image_encoder": "frames", "image_sets": ((4, 80),)} if fusion != "none" else {}
    config = MMTConfig(fusion=fusion, vocab_size=V, **sizes)  # type: ignore[arg-type]
    gangs = create_fake_gangs(CPU)
    found = [module.tp_gang for module in build_model(config, gangs).modules() if hasattr(module, "tp_gang")]
    assert found
    assert all(gang is gangs.tp for gang in found)


def test_a_model_is_made_on_the_device_of_its_context() -> None:
    with torch.device("meta"):
        model = build_model(MMTConfig(vocab_size=V))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_the_tiny_configuration_has_the_papers_size() -> None:
    """About 2.57 M parameters at 9,711 pieces, Wu et al. (2021)."""
    model = build_model(MMTConfig(vocab_size=9711))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(2.57e6, rel=0.01)
