"""The fused loss against PyTorch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmt.model.losses import label_smoothed_nll, r_drop_loss, soft_cross_entropy, token_log_probs


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("rows", "words"), [(1, 50), (512, 50), (1300, 50), (700, 6000)])
def test_fused_loss_equals_cross_entropy(rows: int, words: int, smoothing: float) -> None:
    torch.manual_seed(rows)
    states = torch.randn(rows, 8, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(words, 8, requires_grad=True)
    targets = torch.randint(0, words, (rows,))
    loss, nll = label_smoothed_nll(states, weight, targets, smoothing)
    ours = torch.autograd.grad(3 * loss, (states, weight))
    logits = states @ weight.T
    expected = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    theirs = torch.autograd.grad(3 * expected, (states, weight))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(nll, F.cross_entropy(logits, targets, reduction="sum"))
    for got, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_an_output_bias_counts_in_both_losses() -> None:
    """As in Marian's models: loss and gradients are those of logits with the bias added."""
    torch.manual_seed(2)
    states, weight = torch.randn(700, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    bias = torch.randn(50, requires_grad=True)
    teacher_states, teacher_weight, teacher_bias = torch.randn(700, 5), torch.randn(50, 5), torch.randn(50)
    targets = torch.randint(0, 50, (700,))
    logits = states @ weight.T + bias
    q = torch.softmax(teacher_states @ teacher_weight.T + teacher_bias, dim=1)
    losses = (
        label_smoothed_nll(states, weight, targets, 0.1, bias)[0],
        soft_cross_entropy(states, weight, teacher_states, teacher_weight, bias, teacher_bias)[0],
    )
    expected = (
        F.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum"),
        -(q * torch.log_softmax(logits, dim=1)).sum(),
    )
    for ours, theirs in zip(losses, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        gradients = torch.autograd.grad(theirs, (states, weight, bias), retain_graph=True)
        for got, wanted in zip(torch.autograd.grad(ours, (states, weight, bias)), gradients, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("size", [50, 6000])
def test_weighted_rows_count_as_often_as_their_weight_says(smoothing: float, autocast: bool, size: int) -> None:
    """Against a loop over the rows; an output bias with ids that are no words is included."""
    torch.manual_seed(4)
    states, weight = torch.randn(700, 8, requires_grad=True), torch.randn(size, 8, requires_grad=True)
    bias = torch.randn(size).index_fill(0, torch.tensor([2, size - 1]), -torch.inf).requires_grad_()
    targets, weights = torch.randint(3, size - 1, (700,)), torch.rand(700) * 4
    weights[5] = 0
    kind = torch.bfloat16 if autocast else torch.float32
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, nll = label_smoothed_nll(states, weight, targets, smoothing, bias, weights)
    plain = states.new_zeros(())
    expected = states.new_zeros(())
    words = [v for v in range(size) if v not in (2, size - 1)]
    for state, target, w in zip(states, targets.tolist(), weights.tolist(), strict=True):
        log_p = torch.log_softmax(weight.to(kind).float() @ state.to(kind).float() + bias, dim=0)
        plain = plain - log_p[target].detach()
        expected = expected - w * ((1 - smoothing) * log_p[target] + smoothing * log_p[words].mean())
    rtol, atol = (0.02, 0.1) if autocast else (1e-4, 1e-3)
    torch.testing.assert_close(nll, plain, rtol=rtol, atol=atol)
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=atol)
    inputs = (states, weight, bias)
    theirs = torch.autograd.grad(expected, inputs)
    for got, wanted in zip(torch.autograd.grad(loss, inputs), theirs, strict=True):
        error = (got - wanted)[..., words] if got.ndim == 1 else got - wanted
        assert float(error.abs().max()) < (0.02 if autocast else 5e-5) * float(
            wanted[wanted.isfinite()].abs().max()
        )
    assert not torch.autograd.grad(label_smoothed_nll(states, weight, targets, 0.1, bias, weights)[0], states)[0][
        5
    ].any()


def test_equal_weights_are_a_factor_and_none_are_one() -> None:
    torch.manual_seed(5)
    states, weight, bias = torch.randn(700, 8), torch.randn(50, 8), torch.randn(50)
    targets = torch.randint(0, 50, (700,))
    without = label_smoothed_nll(states, weight, targets, 0.1, bias)
    ones = label_smoothed_nll(states, weight, targets, 0.1, bias, torch.ones(700))
    thrice = label_smoothed_nll(states, weight, targets, 0.1, bias, torch.full((700,), 3.0))
    torch.testing.assert_close(ones, without)
    torch.testing.assert_close(thrice[0], 3 * without[0])
    assert torch.equal(thrice[1], without[1])


def test_log_probabilities_of_tokens_one_by_one() -> None:
    torch.manual_seed(6)
    states, weight, bias = torch.randn(700, 8, requires_grad=True), torch.randn(50, 8), torch.randn(50)
    bias[7] = -torch.inf
    targets = torch.randint(8, 50, (700,))
    with torch.autocast("cpu", torch.bfloat16):
        found = token_log_probs(states, weight, targets, bias)
    expected = torch.log_softmax(states @ weight.T + bias, dim=1)[torch.arange(700), targets]
    torch.testing.assert_close(found, expected.detach())
    assert not found.requires_grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ids_whose_bias_is_minus_infinity_do_not_exist(smoothing: float) -> None:
    """Losses and gradients are those of the vocabulary without these ids, which get no gradient at all."""
    torch.manual_seed(3)
    words = torch.ones(50, dtype=torch.bool)
    words[[2, 48, 49]] = False
    states, weight = torch.randn(700, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    bias = torch.randn(50).masked_fill(~words, -torch.inf).requires_grad_()
    teacher = torch.randn(700, 5), torch.randn(50, 5), torch.randn(50).masked_fill(~words, -torch.inf)
    kept = torch.arange(50)[words]
    targets = torch.randint(0, len(kept), (700,))
    small_weight, small_bias = weight.detach()[words].requires_grad_(), bias.detach()[words].requires_grad_()
    pairs = [
        (
            label_smoothed_nll(states, weight, kept[targets], smoothing, bias)[0],
            label_smoothed_nll(states, small_weight, targets, smoothing, small_bias)[0],
        ),
        (
            soft_cross_entropy(states, weight, teacher[0], teacher[1], bias, teacher[2])[0],
            soft_cross_entropy(states, small_weight, teacher[0], teacher[1][words], small_bias, teacher[2][words])[
                0
            ],
        ),
    ]
    for whole, small in pairs:
        torch.testing.assert_close(whole, small)
        gradients = torch.autograd.grad(whole, (states, weight, bias))
        wanted = torch.autograd.grad(small, (states, small_weight, small_bias))
        torch.testing.assert_close(gradients[0], wanted[0], rtol=1e-4, atol=1e-4)
        for got, expected in zip(gradients[1:], wanted[1:], strict=True):
            torch.testing.assert_close(got[words], expected, rtol=1e-4, atol=1e-4)
            assert not got[~words].any()


def test_a_frozen_output_gets_no_gradient() -> None:
    """Of a large vocabulary it would be as large as the embedding."""
    states, weight, bias = torch.randn(5, 8, requires_grad=True), torch.randn(50, 8), torch.randn(50)
    for loss in (
        label_smoothed_nll(states, weight, torch.arange(5), 0.1, bias)[0],
        soft_cross_entropy(states, weight, torch.randn(5, 4), torch.randn(50, 4), bias, torch.randn(50))[0],
    ):
        assert [one is None for one in loss.grad_fn.saved_tensors] == [False, True, True]  # type: ignore[union-attr]
        loss.backward()


def test_extreme_logits_stay_finite() -> None:
    states = torch.full((2, 4), 100.0, requires_grad=True)
    weight = torch.tensor([[30.0] * 4, [-30.0] * 4, [0.0] * 4], requires_grad=True)
    loss, _ = label_smoothed_nll(states, weight, torch.tensor([1, 0]), 0.1)
    loss.backward()
    assert loss.isfinite() and states.grad is not None and states.grad.isfinite().all()  # noqa: PT018


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    with torch.no_grad():
        loss, _ = label_smoothed_nll(torch.randn(5, 4), torch.randn(7, 4), torch.tensor([1] * 5), 0.1)
    assert not loss.requires_grad


def test_under_autocast_loss_and_gradient_are_those_of_rounded_numbers() -> None:
    torch.manual_seed(1)
    states = torch.randn(700, 16, requires_grad=True)  # more rows than a chunk has
    weight = torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (700,))
    with torch.autocast("cpu", torch.bfloat16):
        loss, nll = label_smoothed_nll(states, weight, targets, 0.1)
    logits = states.bfloat16().float() @ weight.bfloat16().float().T
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    assert nll.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item(), rel=0.01
    )
    wanted = torch.autograd.grad(expected, (states, weight))
    for ours, other in zip(torch.autograd.grad(loss, (states, weight)), wanted, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, other, atol=0.02 * float(other.abs().max()), rtol=0.05)
    exact = label_smoothed_nll(states, weight, targets, 0.1)[0]
    assert exact.item() != loss.item()


@pytest.mark.parametrize("rows", [1, 700])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_two_passes(rows: int, with_bias: bool, weighted: bool, smoothing: float) -> None:
    """Against PyTorch's own, with gradients; two ids are no words."""
    torch.manual_seed(rows)
    states, others = (torch.randn(rows, 8, requires_grad=True) for _ in range(2))
    weight = torch.randn(50, 8, requires_grad=True)
    bias = torch.randn(50).index_fill(0, torch.tensor([2, 49]), -torch.inf).requires_grad_() if with_bias else None
    words = [v for v in range(50) if not with_bias or v not in (2, 49)]
    targets, weights = torch.randint(3, 49, (rows,)), 4 * torch.rand(rows) if weighted else None
    both = [
        torch.log_softmax((one @ weight.T + (0 if bias is None else bias))[:, words], dim=1)
        for one in (states, others)
    ]
    places = torch.tensor([words.index(target) for target in targets.tolist()])
    expected, nll = torch.zeros(()), torch.zeros(())
    for log_p in both:
        of_rows = F.nll_loss(log_p, places, reduction="none")
        nll = nll + of_rows.sum() / 2
        of_rows = (1 - smoothing) * of_rows - smoothing * log_p.mean(dim=1)
        expected = expected + (of_rows if weights is None else weights * of_rows).sum() / 2
    divergence = sum(F.kl_div(a, b, log_target=True, reduction="sum") for a, b in (both, both[::-1])) / 2
    expected = expected + 3.0 / 2 * divergence
    inputs = [states, others, weight, *([] if bias is None else [bias])]
    found = r_drop_loss(states, others, weight, targets, smoothing, 3.0, bias, weights)
    for got, wanted in zip(found, (expected, nll, divergence), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)
    assert [one.requires_grad for one in found] == [True, False, False]
    gradients = torch.autograd.grad(3 * expected, inputs)
    for got, wanted in zip(torch.autograd.grad(3 * found[0], inputs), gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    swapped = r_drop_loss(others, states, weight, targets, smoothing, 3.0, bias, weights)
    torch.testing.assert_close(swapped, found)


def test_two_equal_passes_are_one() -> None:
    torch.manual_seed(3)
    states, weight, targets = torch.randn(600, 8), torch.randn(50, 8), torch.randint(0, 50, (600,))
    expected = label_smoothed_nll(states, weight, targets, 0.2)
    *found, divergence = r_drop_loss(states, states, weight, targets, 0.2, 5.0)
    torch.testing.assert_close(found, list(expected))
    assert divergence.item() == 0


def test_under_autocast_the_products_of_two_passes_are_rounded() -> None:
    """And neither sums nor the gradient's sign."""
    torch.manual_seed(0)
    given = [torch.randn(rows, 8, requires_grad=True) for rows in (600, 600, 50)]
    targets = torch.randint(0, 50, (600,))
    expected = r_drop_loss(*given, targets, 0.1, 5.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = r_drop_loss(*given, targets, 0.1, 5.0)
    assert found[0].dtype == torch.float32
    assert not torch.equal(found[0], expected[0])
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.1)
    for got, wanted in zip(
        torch.autograd.grad(found[0], given), torch.autograd.grad(expected[0], given), strict=True
    ):
        assert float((got - wanted).abs().max()) < 0.03 * float(wanted.abs().max())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kind", ["label_smoothed", "r_drop"])
def test_parts_that_stay_in_the_cache_change_nothing(
    kind: str, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    states, others, weight = (torch.randn(rows, 8, requires_grad=True) for rows in (600, 600, 50))
    bias = torch.randn(50).index_fill(0, torch.tensor([2, 49]), -torch.inf).requires_grad_()
    targets, weights = torch.randint(3, 49, (600,)), torch.rand(600)

    def losses() -> list[torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if kind == "r_drop":
                found = r_drop_loss(states, others, weight, targets, 0.1, 3.0, bias, weights)
            else:
                found = label_smoothed_nll(states + others, weight, targets, 0.1, bias, weights)
        return [*found, *torch.autograd.grad(found[0], (states, others, weight, bias))]

    expected = losses()
    monkeypatch.setattr("mmt.model.losses.IN_CACHE", 7 * 50)
    torch.testing.assert_close(losses(), expected, rtol=1e-4, atol=1e-3)
