"""Laws of every fusion, and each formula on an example worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from mmt.fusion import FUSIONS, Fusion, GatedFusion, SelectiveFusion, mean_region

KINDS = [name for name, kind in FUSIONS.items() if kind is not None]
N, S, R, D = 3, 5, 4, 8


def make(name: str) -> Fusion:
    torch.manual_seed(0)
    kind = FUSIONS[name]
    assert kind is not None
    return kind(D)


def states() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(N, S, D), torch.randn(N, R, D)


@pytest.mark.parametrize("name", KINDS)
def test_no_region_equals_text_exactly(name: str) -> None:
    text, image = states()
    pad = torch.zeros(N, R, dtype=torch.bool)
    pad[1] = True
    fused = make(name)(text, image, pad)
    assert torch.equal(fused[1], text[1])
    assert not torch.allclose(fused[0], text[0])


@pytest.mark.parametrize("name", KINDS)
def test_padding_regions_change_nothing(name: str) -> None:
    text, image = states()
    fusion = make(name)
    wider = torch.cat([image, torch.full((N, 2, D), math.nan)], dim=1)
    pad = torch.zeros(N, R + 2, dtype=torch.bool)
    pad[:, R:] = True
    torch.testing.assert_close(fusion(text, wider, pad), fusion(text, image, None))


@pytest.mark.parametrize("name", KINDS)
def test_order_of_sentences_changes_nothing(name: str) -> None:
    text, image = states()
    pad = torch.tensor([[False] * R, [True] * R, [False, True] * (R // 2)])
    fusion, order = make(name), torch.tensor([2, 0, 1])
    torch.testing.assert_close(fusion(text[order], image[order], pad[order]), fusion(text, image, pad)[order])


@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_the_image_and_every_parameter(name: str) -> None:
    text, image = states()
    image.requires_grad_()
    fusion = make(name)
    fusion(text, image, None).square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fusion.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_stays_finite(name: str) -> None:
    text, image = states()
    fused = make(name).bfloat16()(text.bfloat16() * 50, image.bfloat16() * 50, None)
    assert fused.isfinite().all()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_looked_at_is_what_is_computed(name: str) -> None:
    text, image = states()
    fusion = make(name)
    look = fusion.look(text, image, None)
    assert torch.equal(look.states, fusion(text, image, None))
    assert torch.equal(look.text, text)
    assert look.image.shape == text.shape
    if look.gate is not None:
        assert look.gate.shape == text.shape
        assert ((look.gate >= 0) & (look.gate <= 1)).all()
    if look.attention is not None:
        assert look.attention.shape == (N, S, R)
        torch.testing.assert_close(look.attention.sum(-1), torch.ones(N, S))


@pytest.mark.parametrize("name", KINDS)
def test_no_region_has_no_part_and_breaks_no_numbers(name: str) -> None:
    text, _ = states()
    image = torch.full((N, R, D), math.nan)
    look = make(name).look(text, image, torch.ones(N, R, dtype=torch.bool))
    assert torch.equal(look.states, text)
    assert not look.image.any()
    assert all(part.isfinite().all() for part in (look.gate, look.attention) if part is not None)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_attended_to_in_padding(name: str) -> None:
    text, image = states()
    pad = torch.zeros(N, R, dtype=torch.bool)
    pad[:, 1] = True
    attention = make(name).look(text, image, pad).attention
    if attention is not None:
        assert not attention[:, :, 1].any()
        torch.testing.assert_close(attention.sum(-1), torch.ones(N, S))


@pytest.mark.parametrize("name", KINDS)
def test_a_closed_gate_returns_text(name: str) -> None:
    text, image = states()
    fusion = make(name)
    assert isinstance(fusion, GatedFusion | SelectiveFusion)
    with torch.no_grad():
        fusion.gate_text.bias.fill_(-1e4)
    torch.testing.assert_close(fusion(text, image, None), text)


def test_gated_agrees_with_its_paper_by_hand() -> None:
    """H' = H + sigmoid(W [H; V] + b) * V at width 2, W = [[1, 0, 2, 0], [0, 1, 0, -1]], b = [0.5, 0]."""
    fusion = GatedFusion(2)
    with torch.no_grad():
        fusion.gate_text.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        fusion.gate_text.bias.copy_(torch.tensor([0.5, 0.0]))
        fusion.gate_image.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
    fused = fusion(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]]), None)
    # gate = [sigmoid(1 + 6 + 0.5), sigmoid(2 - 4)] = [0.99944722, 0.11920292]
    torch.testing.assert_close(fused, torch.tensor([[[1 + 0.99944722 * 3, 2 + 0.11920292 * 4]]]))


def test_selective_agrees_with_its_paper_by_hand() -> None:
    """A = softmax(Q(H) K(V)' / sqrt(D)) U(V), g = sigmoid(W [A; H]), H' = (1 - g) * H + g * A at width 2.

    ====================  =====================================================  =================================
    H = [1, 0]            Q = K = identity                                       Q(H) = [1, 0]
    V1 = [sqrt2 ln 3, 4]  scores [sqrt2 ln 3, 0] / sqrt2 = [ln 3, 0]             shares [3/4, 1/4]
    V2 = [0, 8]           U(V) = [[0, 1], [0, -1]] V + [0, 1]                    [4, -3] and [8, -7]
    A                     3/4 [4, -3] + 1/4 [8, -7]                              [5, -4]
    g                     sigmoid([0.2 * 5 + 1, 0.25 * -4 + 0 + 1])              sigmoid [2, 0] = [0.88079708, 0.5]
    H'                    [0.11920292 * 1 + 0.88079708 * 5, 0.5 * 0 + 0.5 * -4]  [4.52318832, -2]
    ====================  =====================================================  =================================
    """
    fusion = SelectiveFusion(2)
    with torch.no_grad():
        for linear in (fusion.query, fusion.key, fusion.gate_text):
            linear.weight.copy_(torch.eye(2))
        fusion.value.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
        fusion.value.bias.copy_(torch.tensor([0.0, 1.0]))
        fusion.gate_image.weight.copy_(torch.tensor([[0.2, 0.0], [0.0, 0.25]]))
        fusion.gate_text.bias.copy_(torch.tensor([0.0, 1.0]))
    regions = torch.tensor([[[2**0.5 * math.log(3), 4.0], [0.0, 8.0]]])
    look = fusion.look(torch.tensor([[[1.0, 0.0]]]), regions, None)
    assert look.gate is not None
    assert look.attention is not None
    torch.testing.assert_close(look.attention, torch.tensor([[[0.75, 0.25]]]))
    torch.testing.assert_close(look.gate, torch.tensor([[[0.88079708, 0.5]]]))
    torch.testing.assert_close(look.image, torch.tensor([[[0.88079708 * 5, -2.0]]]))
    torch.testing.assert_close(look.states, torch.tensor([[[4.52318832, -2.0]]]))


def test_mean_region_leaves_padding_out() -> None:
    image = torch.tensor([[[1.0], [3.0], [99.0]], [[5.0], [5.0], [5.0]]])
    pad = torch.tensor([[False, False, True], [True, True, True]])
    assert mean_region(image, pad).flatten().tolist() == [2.0, 0.0]
