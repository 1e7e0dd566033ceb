"""Cross-entropy losses that project decoder states and never hold all the logits.

Legend: M rows (target tokens), D model width, V vocabulary, C rows of one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Rows of logits held at once: enough for products at the processor's full speed and, in bfloat16, for few sums of
# rounded products into the gradient.
_ROWS = 512
_LOGITS = 1 << 26  # of a large vocabulary at once, 256 MiB; there are up to six such matrices

IN_CACHE = 1 << 19
"""Logits between the products that stay in a CPU's cache: softmax and the rest pass over them several times."""


def _num_rows(vocab_size: int) -> int:
    """C for this vocabulary."""
    return min(_ROWS, max(_LOGITS // vocab_size, 1))


def _in_cache(rows: Tensor, first: int) -> Iterator[tuple[slice, Tensor]]:
    """Parts of (C, V) rows that stay in a CPU's cache, each with its place; rows[0] is at ``first``."""
    step = max(IN_CACHE // rows.size(1), 1) if rows.device.type == "cpu" else len(rows)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        yield slice(first + start, first + start + len(part)), part


def label_smoothed_nll(
    states: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Output projection and label-smoothed cross-entropy in one.

    loss = sum over rows of w * ((1 - e) * -log p(target) + e * mean over V of -log p(v)), Szegedy et al. (2016),
    https://arxiv.org/abs/1512.00567; its gradient, w * (softmax - (1 - e) * onehot - e / V), is formed chunk by
    chunk in the forward pass.

    Args:
        states: (M, D) decoder states of real target tokens.
        weight: (V, D) output embedding.
        targets: (M) ids.
        smoothing: e above.
        bias: (V) of the output projection. -inf marks ids that are no words, such as padding of the vocabulary:
            they have probability 0, and the mean over V leaves them out.
        weights: (M) w above, which get no gradient; None is 1 everywhere.
    Returns:
        The summed loss (differentiable) and the summed negative log-likelihood, unweighted and without smoothing
        (not differentiable).
    """
    loss, nll = _FusedLoss.apply(states, weight, targets, smoothing, bias, weights)  # type: ignore[no-untyped-call]
    return loss, nll


@torch.no_grad()
def token_log_probs(states: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None = None) -> Tensor:
    """(M) float32 log-probabilities of the targets, from float32 logits even under autocast; no gradient.

    The arguments are ``label_smoothed_nll``'s.
    """
    num_rows, found = _num_rows(len(weight)), states.new_empty(len(targets), dtype=torch.float32)
    with torch.autocast(states.device.type, enabled=False):
        weight = weight.float()
        for first in range(0, len(targets), num_rows):
            chunk = slice(first, first + num_rows)
            logits = _project(states[chunk].float(), weight, bias)
            found[chunk] = logits.gather(1, targets[chunk].unsqueeze(1))[:, 0] - logits.logsumexp(dim=1)
    return found


def soft_cross_entropy(
    states: Tensor,
    weight: Tensor,
    teacher_states: Tensor,
    teacher_weight: Tensor,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a model's distribution with a teacher's.

    -sum over rows and V of q log p, p = softmax(states weight' + bias) and q the teacher's; its gradient, p - q,
    is formed chunk by chunk in the forward pass.

    Args:
        states: (M, D) decoder states.
        weight: (V, D) output embedding.
        teacher_states: (M, E) at the same positions.
        teacher_weight: (V, E).
        bias, teacher_bias: (V) of the output projections, -inf at the same ids that are no words.
    Returns:
        The sum (differentiable in ``states``, ``weight`` and ``bias``), and the summed entropy of q (not).
    """
    loss, entropy = _SoftLoss.apply(states, weight, teacher_states, teacher_weight, bias, teacher_bias)  # type: ignore[no-untyped-call]
    return loss, entropy


class _SoftLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        teacher_states: Tensor,
        teacher_weight: Tensor,
        bias: Tensor | None,
        teacher_bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(states.device.type, enabled=False):
            states, weight_as = states.float(), weight.float()
            teacher_states, teacher_weight = teacher_states.float(), teacher_weight.float()
            loss, entropy = states.new_zeros(()), states.new_zeros(())
            grad_states = torch.empty_like(states)
            grad_weight = torch.zeros_like(weight_as) if ctx.needs_input_grad[1] else None
            grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[4] else None
            no_words = None if bias is None else bias.isneginf()
            num_rows = _num_rows(len(weight))
            for first in range(0, len(states), num_rows):
                chunk = slice(first, first + num_rows)
                rows, teacher_rows = states[chunk], teacher_states[chunk]
                log_p = torch.log_softmax(_project(rows, weight_as, bias), dim=1)  # (C, V)
                log_q = torch.log_softmax(_project(teacher_rows, teacher_weight, teacher_bias), dim=1)
                q = log_q.exp()
                if no_words is not None:  # 0 * -inf is 0 here, not nan
                    log_p.masked_fill_(no_words, 0)
                    log_q.masked_fill_(no_words, 0)
                loss -= (q * log_p).sum()
                entropy -= (q * log_q).sum()
                grad = log_p.exp_()
                if no_words is not None:
                    grad.masked_fill_(no_words, 0)
                grad.sub_(q)
                torch.mm(grad, weight_as, out=grad_states[chunk])
                if grad_weight is not None:
                    grad_weight.addmm_(grad.T, rows)
                if grad_bias is not None:
                    grad_bias += grad.sum(dim=0)
        ctx.save_for_backward(grad_states, grad_weight, grad_bias)
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(entropy)
        return loss, entropy

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias = _scaled(ctx, grad_loss)
        return states, weight, None, None, bias, None


def _project(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(C, D) states to (C, V) logits."""
    logits = states @ weight.T
    return logits if bias is None else logits.add_(bias)


class _Words:
    """The ids that are words: those whose bias is not -inf. The host does not read them: it would wait for a GPU.

    none: (V) bool, True for an id that is no word; None if all are.
    mean_weight, mean_bias: over words, (D) and a number: a row's mean logit is state . mean weight + mean bias.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.none = None if bias is None else bias.isneginf()
        self.mean_bias: Tensor | float
        if self.none is None or bias is None:
            self._share: Tensor | None = None
            self._num = len(weight)
            self.mean_weight, self.mean_bias = weight.mean(dim=0), 0.0
        else:
            words = (~self.none).float()
            self._share = words / words.sum()  # (V) of the words together
            self.mean_weight = self._share @ weight
            self.mean_bias = self._share @ bias.float().masked_fill(self.none, 0)

    def smooth(
        self, grad_weight: Tensor | None, grad_bias: Tensor | None, smoothing: float, summed: Tensor, count: Any
    ) -> None:
        """Takes from the gradients what label smoothing takes from words, which share (D) and a number equally."""
        if self._share is None:
            if grad_weight is not None:
                grad_weight -= smoothing / self._num * summed
            return
        if grad_weight is not None:
            grad_weight.addr_(self._share, summed, alpha=-smoothing)
        if grad_bias is not None:
            grad_bias -= self._share * (smoothing * count)


def _scaled(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The saved gradients of states, weight and bias, times the loss's own."""
    grad_states, grad_weight, grad_bias = ctx.saved_tensors
    weight = None if grad_weight is None else (grad_weight * grad_loss).to(ctx.dtype)
    bias = None if grad_bias is None else (grad_bias * grad_loss).to(ctx.dtype)
    return grad_states * grad_loss, weight, bias


def _weighted_sum(states: Tensor, weights: Tensor | None) -> tuple[Tensor, Any]:
    """(D) the sum of (M, D) states times (M) weights, and the sum of the weights; None is 1 everywhere."""
    return (states.sum(dim=0), len(states)) if weights is None else (weights @ states, weights.sum())


def _row_losses(logits: Tensor, p: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """(C) the logarithm of the sum of exponentials, and -log p of the (C, 1) ids; p is softmax(logits)."""
    # Of the exponentials' sum, to rounding: a row's greatest p is at least 1 / V. So one exponential a logit is
    # enough, where log_softmax and then exp would take two.
    log_sum = logits.amax(dim=1) - p.amax(dim=1).log()
    return log_sum, log_sum - logits.gather(1, ids).squeeze(1)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, where the product may be rounded and the sum is not."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        bias: Tensor | None,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        device = states.device.type
        # Under autocast its products, too, are of rounded numbers; sums and softmax never are.
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            states, weight_as = states.float(), weight.float()
            rounded, weight_rounded = states.to(kind), weight_as.to(kind)
            needs_grad = any(ctx.needs_input_grad)
            nll, weighted, smooth = states.new_zeros(()), states.new_zeros(()), states.new_zeros(())
            words = _Words(weight_as, bias)
            grad_states = torch.empty_like(states) if needs_grad else states.new_empty(0)
            grad_weight = torch.zeros_like(weight_as) if ctx.needs_input_grad[1] else None
            grad_bias = None
            if bias is not None and ctx.needs_input_grad[4]:
                grad_bias = torch.zeros_like(bias, dtype=torch.float32)
            num_rows = _num_rows(len(weight))
            for first in range(0, len(states), num_rows):
                chunk = slice(first, first + num_rows)
                rows = rounded[chunk]
                products = rows @ weight_rounded.T  # (C, V) logits, and then their gradient
                for here, part in _in_cache(products, first):
                    ids = targets[here].unsqueeze(1)
                    logits = part.float()
                    if bias is not None:
                        logits += bias
                    p = torch.softmax(logits, dim=1)
                    log_sum, of_rows = _row_losses(logits, p, ids)
                    nll += of_rows.sum()
                    if weights is not None:
                        weighted += of_rows @ weights[here]
                        log_sum = log_sum * weights[here]
                    smooth += log_sum.sum()  # mean over V of -log p = log of the sum - mean logit
                    if needs_grad:
                        grad = p.scatter_add_(1, ids, p.new_full(ids.shape, smoothing - 1.0))
                        if weights is not None:
                            grad *= weights[here].unsqueeze(1)
                        if grad_bias is not None:
                            grad_bias += grad.sum(dim=0)
                        part.copy_(grad)
                if needs_grad:
                    grad_states[chunk] = products @ weight_rounded
                    if grad_weight is not None:
                        _add_product(grad_weight, products.T, rows)
            summed, count = _weighted_sum(states, weights)
            smooth -= summed @ words.mean_weight
            smooth -= count * words.mean_bias
            if needs_grad and smoothing:
                # the e / V that is the same for every word
                mean = words.mean_weight
                grad_states -= smoothing * (mean if weights is None else weights.outer(mean))
                words.smooth(grad_weight, grad_bias, smoothing, summed, count)
        ctx.save_for_backward(grad_states, grad_weight, grad_bias)
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(nll)
        return (1.0 - smoothing) * (nll if weights is None else weighted) + smoothing * smooth, nll

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias = _scaled(ctx, grad_loss)
        return states, weight, None, None, bias, None


def r_drop_loss(
    states: Tensor,
    other_states: Tensor,
    weight: Tensor,
    targets: Tensor,
    smoothing: float,
    alpha: float,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of two passes that should agree, from one projection of each.

    loss = sum over rows of w * (CE_p + CE_q) / 2 + alpha / 2 * (KL(p || q) + KL(q || p)) / 2, where
    p = softmax(states weight' + bias), q is the same of ``other_states``, and CE is the loss of
    ``label_smoothed_nll``. Its gradients are formed chunk by chunk in the forward pass.

    Args:
        states, other_states: (M, D) decoder states of the same target tokens.
        weight, targets, smoothing, bias, weights: as of ``label_smoothed_nll``.
    Returns:
        The loss (differentiable); and not differentiable the sums over rows of the mean of the two negative
        log-likelihoods, unweighted and without smoothing, and of the mean of the two divergences.
    """
    loss, nll, divergence = _RDropLoss.apply(  # type: ignore[no-untyped-call]
        states, other_states, weight, targets, smoothing, alpha, bias, weights
    )
    return loss, nll, divergence


class _RDropLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        other_states: Tensor,
        weight: Tensor,
        targets: Tensor,
        smoothing: float,
        alpha: float,
        bias: Tensor | None,
        weights: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = states.device.type
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            both, weight_as = (states.float(), other_states.float()), weight.float()
            rounded, weight_rounded = [one.to(kind) for one in both], weight_as.to(kind)
            of_tokens = states.new_ones(len(targets), dtype=torch.float32) if weights is None else weights
            words = _Words(weight_as, bias)
            sums = weight_as.new_zeros(3)  # cross-entropy, nll, divergence
            grads = [torch.empty_like(one) for one in both]
            grad_weight = torch.zeros_like(weight_as)
            grad_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
            num_rows = _num_rows(len(weight))
            share = alpha / 4
            for first in range(0, len(targets), num_rows):
                chunk = slice(first, first + num_rows)
                # (C, V) logits, and then their gradients
                products = [one[chunk] @ weight_rounded.T for one in rounded]
                for (here, p_part), (_, q_part) in zip(*(_in_cache(one, first) for one in products), strict=True):
                    ids, w = targets[here].unsqueeze(1), of_tokens[here].unsqueeze(1)
                    p_logits, q_logits = p_part.float(), q_part.float()
                    if bias is not None:
                        p_logits += bias
                        q_logits += bias
                    log_sums, probabilities = [], []
                    for logits, exact in zip((p_logits, q_logits), both, strict=True):
                        probability = torch.softmax(logits, dim=1)
                        log_sum, nll = _row_losses(logits, probability, ids)
                        # mean over V of -log p = log of the sum - mean logit
                        smooth = log_sum - exact[here] @ words.mean_weight - words.mean_bias
                        sums[0] += (w[:, 0] * ((1.0 - smoothing) * nll + smoothing * smooth)).sum() / 2
                        sums[1] += nll.sum() / 2
                        log_sums.append(log_sum.unsqueeze(1))
                        probabilities.append(probability)
                    p, q = probabilities
                    gain = (p_logits - q_logits).sub_(log_sums[0] - log_sums[1])  # log p - log q
                    if words.none is not None:  # -inf - -inf is 0 here, not nan
                        gain.masked_fill_(words.none, 0)
                    p_to_q, q_to_p = ((one.unsqueeze(1) @ gain.unsqueeze(2))[:, 0] for one in (p, q))  # (C, 1)
                    q_to_p.neg_()
                    sums[2] += (p_to_q + q_to_p).sum() / 2
                    # The gradients of the logits, apart from what label smoothing takes from every word.
                    of_p = (gain * share).add_(share - share * p_to_q + w / 2).mul_(p).sub_(q, alpha=share)
                    of_q = gain.mul_(-share).add_(share - share * q_to_p + w / 2).mul_(q).sub_(p, alpha=share)
                    for part, of_logits in ((p_part, of_p), (q_part, of_q)):
                        of_logits.scatter_add_(1, ids, w * ((smoothing - 1.0) / 2))
                        if grad_bias is not None:
                            grad_bias += of_logits.sum(dim=0)
                        part.copy_(of_logits)
                for product, one, grad in zip(products, rounded, grads, strict=True):
                    grad[chunk] = product @ weight_rounded
                    _add_product(grad_weight, product.T, one[chunk])
            half = smoothing / 2  # of each pass
            for one, grad in zip(both, grads, strict=True):
                grad -= (of_tokens * half).outer(words.mean_weight)
                words.smooth(grad_weight, grad_bias, half, of_tokens @ one, of_tokens.sum())
        ctx.save_for_backward(*grads, grad_weight, grad_bias)
        ctx.dtype = weight.dtype
        loss, nll, divergence = sums[0] + alpha / 2 * sums[2], sums[1].clone(), sums[2].clone()
        ctx.mark_non_differentiable(nll, divergence)
        return loss, nll, divergence

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_others, of_weight, of_bias = ctx.saved_tensors
        bias = None if of_bias is None else (of_bias * grad_loss).to(ctx.dtype)
        weight = (of_weight * grad_loss).to(ctx.dtype)
        return of_states * grad_loss, of_others * grad_loss, weight, None, None, None, bias, None
