"""Training objectives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Rows of logits held at once: enough for products at the processor's full speed and, in bfloat16, for few sums of
# rounded products into the gradient.
_ROWS = 512


def label_smoothed_nll(states: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Output projection and label-smoothed cross-entropy in one, without ever holding all the logits.

    loss = sum over rows of (1 - e) * -log p(target) + e * mean over V of -log p(v), Szegedy et al. (2016),
    https://arxiv.org/abs/1512.00567; its gradient, softmax - (1 - e) * onehot - e / V, is formed chunk by chunk
    in the forward pass.

    Args:
        states: (M, D) decoder states of real target tokens.
        weight: (V, D) output embedding.
        targets: (M) ids.
        smoothing: e above.
    Returns:
        The summed loss (differentiable) and the summed plain negative log-likelihood (not).
    """
    loss, nll = _FusedLoss.apply(states, weight, targets, smoothing)  # type: ignore[no-untyped-call]
    return loss, nll


def soft_cross_entropy(states: Tensor, weight: Tensor, wanted: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of one model's words with another's, without ever holding all the logits.

    -sum over rows and words of q log p, p = softmax(states weight'), q = softmax(wanted by'); its gradient, p - q,
    is formed chunk by chunk in the forward pass.

    Args:
        states: (M, D) decoder states.
        weight: (V, D) output embedding.
        wanted: (M, E) the other model's states at the same places.
        by: (V, E) the other model's output embedding.
    Returns:
        The sum (differentiable in ``states`` and ``weight``), and the summed entropy of q (not).
    """
    loss, entropy = _SoftLoss.apply(states, weight, wanted, by)  # type: ignore[no-untyped-call]
    return loss, entropy


class _SoftLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, wanted: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(states.device.type, enabled=False):
            states, weight_as, wanted, by = states.float(), weight.float(), wanted.float(), by.float()
            loss, entropy = states.new_zeros(()), states.new_zeros(())
            grad_states, grad_weight = torch.empty_like(states), torch.zeros_like(weight_as)
            for first in range(0, len(states), _ROWS):
                rows = states[first : first + _ROWS]
                log_p = torch.log_softmax(rows @ weight_as.T, dim=1)  # (C, V)
                log_q = torch.log_softmax(wanted[first : first + _ROWS] @ by.T, dim=1)
                q = log_q.exp()
                loss -= (q * log_p).sum()
                entropy -= (q * log_q).sum()
                grad = log_p.exp_().sub_(q)
                torch.mm(grad, weight_as, out=grad_states[first : first + _ROWS])
                grad_weight.addmm_(grad.T, rows)
        ctx.save_for_backward(grad_states, grad_weight)
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(entropy)
        return loss, entropy

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_states, grad_weight = ctx.saved_tensors
        return grad_states * grad_loss, (grad_weight * grad_loss).to(ctx.dtype), None, None


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        device = states.device.type
        # Under autocast its products, too, are of rounded numbers; sums and softmax never are.
        kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        with torch.autocast(device, enabled=False):
            states, weight_as = states.float(), weight.float()
            rounded, weight_rounded = states.to(kind), weight_as.to(kind)
            needs_grad = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
            nll = states.new_zeros(())
            smooth = states.new_zeros(())
            mean_weight = weight_as.mean(dim=0)  # (D): the mean logit of a row is state . mean weight
            grad_states = torch.empty_like(states) if needs_grad else states.new_empty(0)
            grad_weight = torch.zeros_like(weight_as) if needs_grad else states.new_empty(0)
            for first in range(0, len(states), _ROWS):
                rows, ids = rounded[first : first + _ROWS], targets[first : first + _ROWS].unsqueeze(1)
                logits = (rows @ weight_rounded.T).float()  # (C, V)
                p = torch.softmax(logits, dim=1)
                # Of the exponentials' sum, to rounding: a row's greatest p is at least 1 / V. So one exponential a
                # logit is enough, where log_softmax and then exp would take two.
                log_sum = logits.amax(dim=1) - p.amax(dim=1).log()
                nll += (log_sum - logits.gather(1, ids).squeeze(1)).sum()
                smooth += log_sum.sum()  # mean over V of -log p = log of the sum - mean logit
                if needs_grad:
                    grad = p.scatter_add_(1, ids, p.new_full(ids.shape, smoothing - 1.0))
                    if kind == torch.float32:
                        torch.mm(grad, weight_as, out=grad_states[first : first + _ROWS])
                        grad_weight.addmm_(grad.T, rows)
                    else:
                        grad = grad.to(kind)
                        grad_states[first : first + _ROWS] = grad @ weight_rounded
                        grad_weight += grad.T @ rows
            smooth -= states.sum(dim=0) @ mean_weight
            if needs_grad and smoothing:
                # the e / V that is the same for every word
                grad_states -= smoothing * mean_weight
                grad_weight -= smoothing / len(weight) * states.sum(dim=0)
        ctx.save_for_backward(grad_states, grad_weight)
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(nll)
        return (1.0 - smoothing) * nll + smoothing * smooth, nll

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_states, grad_weight = ctx.saved_tensors
        return grad_states * grad_loss, (grad_weight * grad_loss).to(ctx.dtype), None, None
