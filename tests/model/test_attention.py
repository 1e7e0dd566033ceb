"""The layers' own parts against torch's and fairseq2's."""

from __future__ import annotations

import pytest
import torch
from fairseq2.models.transformer import AttentionBiasCache, CausalAttentionBias, IdentityBias, NaiveSDPA
from fairseq2.nn import BatchLayout
from torch import nn

from mmt.model.attention import Attention, Dropout, with_fast_dropout


def parts(lens: list[int], length: int) -> tuple[torch.Tensor, BatchLayout]:
    states = torch.randn(len(lens), length, 2, 4, requires_grad=True)
    return states, BatchLayout.of(states[:, :, 0, 0], lens)


@pytest.mark.parametrize("length", [5, 20, 70])  # keys are filled up; as they are; too many for plain products
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_and_its_gradient_are_fairseq2_s(length: int, padded: bool, causal: bool) -> None:
    torch.manual_seed(1)
    lens = [length, 2, 1] if padded else [length] * 3
    (q, layout), (k, _), (v, _) = parts(lens, length), parts(lens, length), parts(lens, length)
    theirs = NaiveSDPA(CausalAttentionBias() if causal else IdentityBias())
    real = torch.arange(length) < torch.tensor(lens)[:, None]
    found = []
    for part in (Attention(causal=causal), theirs):
        cache = AttentionBiasCache()
        states, weights = part(q, layout, k, layout, v, cache, needs_weights=True)
        quick, none = part(q, layout, k, layout, v, cache)
        assert none is None
        torch.testing.assert_close(quick[real], states[real])
        gradients = torch.autograd.grad((quick[real] ** 2).sum(), (q, k, v))
        found.append((states[real], weights.transpose(1, 2)[real], *(g[real] for g in gradients)))
    for ours, other in zip(*found, strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize(("queries", "keys"), [(1, 5), (7, 4), (3, 20), (70, 66)])
def test_attention_to_another_number_of_positions(queries: int, keys: int) -> None:
    torch.manual_seed(2)
    (q, asking), (k, layout) = parts([queries, queries], queries), parts([keys, 2], keys)
    found, expected = (
        part(q, asking, k, layout, k, AttentionBiasCache(), needs_weights=weights)
        for part, weights in ((Attention(), False), (NaiveSDPA(IdentityBias()), True))
    )
    torch.testing.assert_close(found[0], expected[0])
    _, weights = Attention()(q, asking, k, layout, k, AttentionBiasCache(), needs_weights=True)
    torch.testing.assert_close(weights, expected[1])


def test_one_position_at_a_time_may_look_at_all_that_came_before() -> None:
    (q, one), (k, layout) = parts([1, 1], 1), parts([4, 4], 4)
    causal, free = (Attention(causal=c)(q, one, k, layout, k, AttentionBiasCache())[0] for c in (True, False))
    torch.testing.assert_close(causal, free)


@pytest.mark.parametrize("length", [5, 20, 70])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("needs_weights", [False, True])
def test_bfloat16_is_near_and_so_is_its_gradient(length: int, causal: bool, needs_weights: bool) -> None:
    torch.manual_seed(3)
    lens = [length, 3]
    (q, layout), (k, _), (v, _) = parts(lens, length), parts(lens, length), parts(lens, length)
    real = torch.arange(length) < torch.tensor(lens)[:, None]
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        part = Attention(causal=causal)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            given = (q.to(dtype), layout, k.to(dtype), layout, v.to(dtype), AttentionBiasCache())
            states, weights = part(*given, needs_weights=needs_weights)
        assert states.dtype == dtype
        assert weights is None or weights.dtype == torch.float32
        gradients = torch.autograd.grad((states[real].float() ** 2).sum(), (q, k, v))
        found.append((states[real].detach().float(), *(gradient[real] for gradient in gradients)))
    for exact, rounded in zip(*found, strict=True):
        assert float((rounded - exact).norm() / exact.norm()) < 0.05  # bfloat16 has eight bits


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(1)
    states = torch.ones(1001, 333, requires_grad=True)
    dropped = Dropout(p)(states)
    share = float((dropped == 0).float().mean())
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / states.numel()) ** 0.5)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)])
    # neighbours, which share a draw of 64 bits, are dropped independently
    both = float(((dropped[:, 1:] == 0) & (dropped[:, :-1] == 0)).float().mean())
    assert both == pytest.approx(p * p, abs=0.01)
    dropped.sum().backward()
    assert torch.equal(states.grad, dropped)
    torch.manual_seed(1)
    assert torch.equal(Dropout(p)(states), dropped)


def test_dropout_does_nothing_outside_of_training() -> None:
    states = torch.randn(7, 3)
    assert torch.equal(Dropout(0.5).eval()(states), states)
    assert torch.equal(Dropout(0.0)(states), states)
    module = nn.Sequential(nn.Dropout(0.4), nn.ModuleList([nn.Dropout(0.2)]))
    with_fast_dropout(module)
    assert [(type(one), one.p) for one in (module[0], module[1][0])] == [(Dropout, 0.4), (Dropout, 0.2)]


@pytest.mark.parametrize(("p", "share"), [(2**-18, 0), (2**-16, 2**-16), (1 - 2**-16, 1 - 2**-16), (1.0, 1)])
def test_dropout_at_its_ends(p: float, share: float) -> None:
    torch.manual_seed(1)
    dropped = (Dropout(p)(torch.ones(1000, 1000)) == 0).sum().item()
    assert dropped == pytest.approx(share * 1e6, abs=20)
    assert Dropout(p)(torch.ones(0, 3)).shape == (0, 3)
