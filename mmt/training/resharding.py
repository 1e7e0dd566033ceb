"""Prepares a run's last checkpoint for another number of processes than wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from mmt.data.reader import joined_states
from mmt.io.atomic import replacing_folder, restore, sweep
from mmt.training.checkpoints import (
    READER,
    SHARDS,
    TRAINER,
    checkpoint_folder,
    checkpoint_steps,
    damaged,
    is_split,
    join_shards,
    map_tensors,
    part_files,
    read_tensors,
    steps_being_replaced,
    write_tensors,
)
from mmt.training.trainer import redistribute


def reshard_last_checkpoint(output: Path, *, processes: int, shards: int) -> None:
    """Rewrites a run's last checkpoint, if there is one, for this number of processes and shards.

    Model, optimiser, schedule and the position in the data stay the same. A process that was not there before
    draws random numbers of its own.

    Args:
        output: the run's folder.
        processes: number of processes that train.
        shards: number of shards of the model and of the optimiser's state; 1 without FSDP.
    Raises:
        MMTError: a file is missing or damaged.
    """
    for step in steps_being_replaced(output):
        restore(checkpoint_folder(output, step))
    if (output / "checkpoints").is_dir():
        sweep(output / "checkpoints", "step_[0-9]+")
    steps = checkpoint_steps(output)
    if not steps:
        return
    folder = checkpoint_folder(output, steps[-1])
    pairs = (SHARDS, SHARDS[::-1], (TRAINER, READER), (READER, TRAINER))
    files_of = {name: part_files(folder, name, other) for name, other in pairs}
    numbers = dict.fromkeys(SHARDS, shards) | {TRAINER: processes, READER: processes}
    if all(len(files_of[name]) == number for name, number in numbers.items()):
        return
    states = {name: [read_tensors(file) for file in files] for name, files in files_of.items()}
    try:
        made = {name: split_shards(join_shards(states[name]), shards) for name in SHARDS}
        made[TRAINER] = redistribute(states[TRAINER], processes)
        made[READER] = [joined_states(states[READER])] * processes
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise damaged(folder, error) from None
    kinds = dict.fromkeys(SHARDS, "sdp") | {TRAINER: "rank", READER: "dp"}
    with replacing_folder(folder) as beside:
        for name, parts in made.items():
            (beside / name).mkdir(parents=True)
            for number, state in enumerate(parts):
                write_tensors(state, beside / name / f"{kinds[name]}_{number:02d}.pt")


def split_shards(state: dict[str, Any], shards: int) -> list[dict[str, Any]]:
    """The opposite of ``join_shards``."""

    def part(number: int) -> dict[str, Any]:
        def take(name: str, whole: list[Tensor]) -> Tensor:
            if shards == 1 or not is_split(name, whole[0]):
                return whole[0]
            parts = whole[0].chunk(shards)  # as DTensor does: the last shards may be empty
            return parts[number].clone() if number < len(parts) else whole[0][:0].clone()

        return cast(dict[str, Any], map_tensors([state], take))

    return [part(number) for number in range(shards)]
