"""The learning rate against its formula."""

from __future__ import annotations

import pytest
import torch

from mmt.training.schedule import InverseSquareRoot, ScheduleConfig


def rates(num: int, cooldown: int, start: float = 0.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    config = ScheduleConfig(num_warmup_steps=4, start_lr=start, num_steps=num, cooldown_steps=cooldown)
    schedule = InverseSquareRoot(optimizer, config)
    found = []
    for _ in range(num):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_warm_up_then_inverse_square_root() -> None:
    assert rates(17, 0)[:5] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    assert rates(17, 0)[16] == pytest.approx(2.0 * (4 / 16) ** 0.5)
    assert rates(2, 0, start=1.0) == pytest.approx([1.0, 1.25])


def test_the_cooldown_goes_to_zero_in_a_straight_line() -> None:
    plain, cooled = rates(20, 0), rates(20, 5)
    assert cooled[:16] == pytest.approx(plain[:16])
    assert [c / p for c, p in zip(cooled[15:], plain[15:], strict=True)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_a_run_taken_up_may_be_given_another_end() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    old = InverseSquareRoot(
        optimizer, ScheduleConfig(num_warmup_steps=4, start_lr=0, num_steps=99, cooldown_steps=0)
    )
    for _ in range(9):
        optimizer.step()
        old.step()
    new = InverseSquareRoot(
        optimizer, ScheduleConfig(num_warmup_steps=4, start_lr=0, num_steps=12, cooldown_steps=4)
    )
    new.load_state_dict(old.state_dict())
    optimizer.step()
    new.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * (4 / 10) ** 0.5 * 2 / 4)
