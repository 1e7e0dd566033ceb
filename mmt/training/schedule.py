"""The learning rate: warm-up, inverse square root, and, if wanted, a cooldown at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairseq2.optim.lr_schedulers import AbstractLRScheduler
from torch import Tensor
from torch.optim import Optimizer


@dataclass(kw_only=True)
class ScheduleConfig:
    num_warmup_steps: int
    start_lr: float
    num_steps: int
    cooldown_steps: int


class InverseSquareRoot(AbstractLRScheduler):
    """lr(t) = lr * min(t / w, sqrt(w / t)), w warm-up updates; the warm-up starts from ``start_lr``.

    Over the last ``cooldown_steps`` of ``num_steps`` it is multiplied by a factor that falls from 1 to 0 in a
    straight line, Hägele et al. (2024), https://arxiv.org/abs/2405.18392. The rate depends on the update and
    these numbers alone, so a run that is taken up may be given another end.
    """

    def __init__(self, optimizer: Optimizer, config: ScheduleConfig) -> None:
        self.config = config
        super().__init__(optimizer)

    def _compute_lrs(self) -> list[float | Tensor]:
        config, step = self.config, self.last_epoch
        warmup = max(config.num_warmup_steps, 1)
        left = config.num_steps - step
        cooling = left / config.cooldown_steps if left < config.cooldown_steps else 1.0
        if step < warmup:
            start = config.start_lr
            return [cooling * (start + (base - start) * step / warmup) for base in self.base_lrs]
        return [cooling * base * (warmup / step) ** 0.5 for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("last_epoch", "_step_count", "_last_lr")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in ("last_epoch", "_step_count", "_last_lr"):
            setattr(self, name, state_dict[name])
