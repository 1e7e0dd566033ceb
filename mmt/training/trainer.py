"""What fairseq2 0.8.1's trainer does not do: stop when asked, or early; validate what a kill came into."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import torch
from fairseq2.checkpoint.manager import CheckpointError
from fairseq2.early_stopper import EarlyStopper
from fairseq2.gang import Gang, ReduceOperation, broadcast_flag
from fairseq2.recipe import RecipeContext  # noqa: F401  # before fairseq2.trainer, which imports it in a circle
from fairseq2.trainer import Trainer, _TrainerState

from mmt.data.reader import StreamReader
from mmt.errors import MMTError
from mmt.io.atomic import write_whole
from mmt.io.signals import StopSwitch
from mmt.io.text_files import parse_json
from mmt.training.checkpoints import checkpoint_folder, checkpoint_steps, damaged, score_of


def report_epoch_of(trainer: Trainer, reader: StreamReader) -> None:
    """Streams have no end, at which fairseq2 counts an epoch."""
    publish = trainer._publish_metrics

    def with_epoch() -> None:
        trainer._data_epoch_nr = reader.epoch
        publish()

    trainer._publish_metrics = with_epoch  # type: ignore[method-assign]


def stop_when_asked(trainer: Trainer, switch: StopSwitch, gang: Gang) -> None:
    """Ends training after the update in which a signal came to any process, with a checkpoint.

    A validation that is due is not waited for: a launcher may give half a minute. It is made up for when training
    goes on. fairseq2 0.8.1's own way, ``request_stop``, is not looked at where the number of updates is given.
    """
    after_update = trainer._run_post_step

    def is_asked() -> bool:
        if gang.size > 1:  # all or none, or one would wait for the others for ever
            asked = torch.tensor(switch.asked, device=gang.device)
            gang.all_reduce(asked, ReduceOperation.MAX)
            switch.asked = int(asked)
        return switch.asked != 0

    def then_stop() -> _TrainerState:
        if is_asked() and trainer._step_nr != trainer._max_num_steps:
            trainer._maybe_save_checkpoint(blocking=True)
            trainer._maybe_publish_metrics()
            return _TrainerState.EARLY_STOP
        validates = trainer._should_validate()
        state = after_update()
        return _TrainerState.EARLY_STOP if state == _TrainerState.DATA_LOAD and validates and is_asked() else state

    trainer._run_post_step = then_stop  # type: ignore[method-assign]
    # fairseq2 takes SIGUSR1 for itself, and calls this.
    trainer.request_stop = lambda: switch.ask(signal.SIGUSR1)  # type: ignore[method-assign]


def validate_when_cut_off(trainer: Trainer, output: Path, gang: Gang) -> None:
    """Makes up for a validation that a kill came into, for its checkpoint to be judged with the others.

    And for what ``Patience`` has not seen, as fairseq2 does not ask it about the last validation of a run.
    """
    restore = trainer._maybe_restore_state

    def then_validate() -> _TrainerState:
        try:
            state = restore()
        except (CheckpointError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise damaged(checkpoint_folder(output, checkpoint_steps(output)[-1]), error) from None
        step = trainer._step_nr
        known = score_of(output, step)
        trainer._state = (
            _TrainerState.END_OF_TRAINING if state == _TrainerState.STOPPED else _TrainerState.POST_STEP
        )
        due = step > 0 and trainer._should_validate()
        if broadcast_flag(gang, due and known is None):
            score = trainer._validate()
        else:
            score = known if due and state != _TrainerState.STOPPED else None
        if broadcast_flag(gang, score is not None) and trainer._maybe_request_early_stop(score or 0.0):
            return _TrainerState.EARLY_STOP
        return state

    trainer._maybe_restore_state = then_validate  # type: ignore[method-assign]


class Patience(EarlyStopper):
    """Stops after ``patience`` validations without a better score; remembers them over a restart."""

    def __init__(self, path: Path, patience: int) -> None:
        self._path, self._patience = path, patience

    def should_stop(self, step_nr: int, score: float) -> bool:
        # What an interrupted run saw after its last checkpoint is seen again.
        scores = {step: value for step, value in self._scores().items() if step < step_nr} | {step_nr: score}
        write_whole(self._path, json.dumps(scores))
        return self._is_out(scores)

    def has_stopped(self, step_nr: int) -> bool:
        """Whether it was at its end after ``step_nr`` updates."""
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
