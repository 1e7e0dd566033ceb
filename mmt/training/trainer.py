"""All that depends on the internals of fairseq2 0.8.1's trainer: its private names, and the keys of its state.

fairseq2's trainer does not stop on request while the number of updates is given, never stops early, does not
repeat a validation that was interrupted, and counts no epochs of a stream. ``MMTTrainer`` adds these.
``tests/training/test_trainer.py`` lists every private name that is used here: an upgrade of fairseq2 fails there.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import fairseq2.recipe  # before its evaluator and trainer, which import it in a circle  # noqa: F401
import torch
from fairseq2.checkpoint.manager import CheckpointError, StandardCheckpointManager
from fairseq2.datasets import DataReader
from fairseq2.early_stopper import NOOP_EARLY_STOPPER, EarlyStopper
from fairseq2.evaluator import EvalUnit
from fairseq2.gang import ReduceOperation, broadcast_flag
from fairseq2.optim.lr_schedulers import AbstractLRScheduler
from fairseq2.recipe import RecipeContext
from fairseq2.recipe.internal.trainer import _TrainerFactory, _ValidatorFactory
from fairseq2.runtime.dependency import wire_object
from fairseq2.trainer import Trainer, TrainUnit, _TrainerState
from torch import Tensor
from torch.optim import Optimizer

from mmt.data.batch import Batch
from mmt.data.reader import StreamReader
from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.signals import StopSwitch
from mmt.io.text_files import parse_json
from mmt.training.checkpoints import (
    PlainDumper,
    PlainLoader,
    checkpoint_folder,
    checkpoint_score,
    checkpoint_steps,
    damaged,
    keep_local,
)
from mmt.training.moving_average import drop_moving_average, keep_moving_average


class MMTTrainer(Trainer):  # type: ignore[misc]  # final for type checkers only
    """fairseq2's trainer, which also stops on request and makes up for an interrupted validation."""

    output: Path
    """The run's folder."""

    switch: StopSwitch
    """Knows whether a signal has asked this process to stop."""

    def request_stop(self) -> None:
        """What fairseq2 does on SIGUSR1, which it handles itself."""
        self.switch.note(signal.SIGUSR1)

    def _publish_metrics(self) -> None:
        if isinstance(self._data_reader, StreamReader):  # it has no end, where fairseq2 counts an epoch
            self._data_epoch_nr = self._data_reader.epoch
        super()._publish_metrics()

    def _run_post_step(self) -> _TrainerState:
        """Ends training after the update in which a signal reached any process, with a checkpoint.

        A validation that is due is not waited for, since a launcher may give half a minute. The resumed run makes
        up for it.
        """
        if self._stops_now() and self._step_nr != self._max_num_steps:
            self._maybe_save_checkpoint(blocking=True)
            self._maybe_publish_metrics()
            return _TrainerState.EARLY_STOP
        validates = self._should_validate()
        state = super()._run_post_step()
        if state == _TrainerState.DATA_LOAD and validates and self._stops_now():
            return _TrainerState.EARLY_STOP
        return state

    def _stops_now(self) -> bool:
        """Whether any process was asked to stop: all stop, or one would wait for the others for ever."""
        gang = self._gangs.root
        if gang.size > 1:
            signum = torch.tensor(self.switch.signum, device=gang.device)
            gang.all_reduce(signum, ReduceOperation.MAX)
            self.switch.signum = int(signum)
        return self.switch.signum != 0

    def _maybe_restore_state(self) -> _TrainerState:
        """Repeats a validation that was interrupted, so that its checkpoint is compared with the others.

        It also shows ``Patience`` the last validation of a run that now resumes; fairseq2 does not.
        """
        try:
            state = super()._maybe_restore_state()
        except (CheckpointError, LookupError, TypeError, ValueError, AttributeError) as error:
            last = checkpoint_steps(self.output)[-1]
            raise damaged(checkpoint_folder(self.output, last), error) from None
        step, gang = self._step_nr, self._gangs.root
        known = checkpoint_score(self.output, step)
        ended = state == _TrainerState.STOPPED
        self._state = _TrainerState.END_OF_TRAINING if ended else _TrainerState.POST_STEP
        due = step > 0 and self._should_validate()
        if broadcast_flag(gang, due and known is None):
            score = self._validate()
        else:
            score = known if due and not ended else None
        if broadcast_flag(gang, score is not None) and self._maybe_request_early_stop(score or 0.0):
            return _TrainerState.EARLY_STOP
        return state


def create_trainer(
    context: RecipeContext,
    unit: TrainUnit[Batch],
    reader: DataReader[Batch],
    validation: tuple[EvalUnit[Batch], DataReader[Batch]],
    *,
    output: Path,
    switch: StopSwitch,
    early_stopper: EarlyStopper | None = None,
    average_decay: float | None = None,
) -> MMTTrainer:
    """As ``context.create_trainer``, with our trainer, an early stopper, and checkpoints without pickles.

    Args:
        average_decay: of the weights' moving average; None keeps none.
    """
    resolver = context.resolver
    manager = wire_object(
        resolver,
        StandardCheckpointManager,
        tensor_file_loader=PlainLoader(),
        tensor_file_dumper=PlainDumper(),
        checkpoint_dir=None,  # as without ours: checkpoints/ in the run's folder
    )
    optimizer = context.get_optimizer()
    keep_local(optimizer)
    if average_decay is None:
        drop_moving_average(optimizer)
    else:
        keep_moving_average(optimizer, average_decay)

    def create(**parts: Any) -> MMTTrainer:
        parts |= {"checkpoint_manager": manager, "early_stopper": early_stopper or NOOP_EARLY_STOPPER}
        trainer = wire_object(resolver, MMTTrainer, **parts)
        trainer.output, trainer.switch = output, switch
        return trainer

    validator = resolver.resolve(_ValidatorFactory).create([validation[0]], [validation[1]])
    factory = wire_object(resolver, _TrainerFactory, base_factory=create)
    return cast(MMTTrainer, factory.create(unit, reader, validator))


# --- early stopping ---------------------------------------------------------------------------------------


class Patience(EarlyStopper):
    """Stops after ``patience`` validations without a better score; a resumed run continues the count.

    Args:
        path: the file that holds the score of each validation.
    """

    def __init__(self, path: Path, patience: int) -> None:
        self._path, self._patience = path, patience

    def should_stop(self, step_nr: int, score: float) -> bool:
        # An interrupted run repeats what came after its last checkpoint.
        scores = {step: value for step, value in self._scores().items() if step < step_nr} | {step_nr: score}
        write_whole(self._path, json.dumps(scores))
        return self._is_out(scores)

    def has_stopped(self, step_nr: int) -> bool:
        """Whether it stopped the run after ``step_nr`` updates."""
        scores = {step: value for step, value in self._scores().items() if step <= step_nr}
        return step_nr in scores and self._is_out(scores)

    def _scores(self) -> dict[int, float]:
        try:
            return {int(step): float(value) for step, value in parse_json(self._path.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise MMTError(
                f"{self._path}: expected the score of each validated step, found something else ({error}). "
                "Remove the file: patience is then counted from here on."
            ) from None

    def _is_out(self, scores: dict[int, float]) -> bool:
        best = max(sorted(scores), key=lambda step: scores[step])
        return len([step for step in scores if step > best]) >= self._patience


# --- the learning rate ------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class ScheduleConfig:
    """See ``InverseSquareRoot``; ``start_lr`` is a learning rate, the others are numbers of updates."""

    num_warmup_steps: int
    start_lr: float
    num_steps: int
    cooldown_steps: int


class InverseSquareRoot(AbstractLRScheduler):
    """lr(t) = lr * min(t / w, sqrt(w / t)) with w warm-up updates; the warm-up starts from ``start_lr``.

    Over the last ``cooldown_steps`` of ``num_steps`` updates it is multiplied by a factor that falls linearly from
    1 to 0, Hägele et al. (2024), https://arxiv.org/abs/2405.18392. The rate depends on the update and these
    numbers alone, so a resumed run may be given another ``num_steps``.
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


# --- the trainer's state in a checkpoint ------------------------------------------------------------------


def redistribute(states: Sequence[dict[str, Any]], processes: int) -> list[dict[str, Any]]:
    """The trainer's states of ``len(states)`` processes as those of ``processes``.

    Totals are sums over processes: the first process gets them whole. A process that was not there before draws
    random numbers of its own.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, RuntimeError: a state is not of fairseq2 0.8.1.
    """
    made = []
    for number in range(processes):
        state = dict(states[min(number, len(states) - 1)])
        if number >= len(states):
            generators = [
                torch.Generator("cuda" if place else "cpu")
                .manual_seed(int(torch.randint(2**31, (), generator=_seeded(state, number))))
                .get_state()
                for place, _ in enumerate(state["_rng_bag"]["generators"])
            ]
            state["_rng_bag"] = {"generators": generators}
        state["_metric_bag"] = {
            name: {
                key: _total([one["_metric_bag"][name][key] for one in states], number)
                if name.startswith("total_")
                else value
                for key, value in metric.items()
            }
            for name, metric in state["_metric_bag"].items()
        }
        made.append(state)
    return made


def _seeded(state: dict[str, Any], number: int) -> torch.Generator:
    """Depends on the process and on the update, so that no two of either draw the same numbers."""
    return torch.Generator().manual_seed(1_000_003 * number + int(state["_step_nr"]))


def _total(values: list[Any], number: int) -> Any:
    if not isinstance(values[0], Tensor):
        return values[0]
    total = torch.stack(values).sum(0)
    return total if number == 0 else torch.zeros_like(total)
