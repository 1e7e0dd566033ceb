"""A run's last checkpoint for another number of processes than it was written by."""

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
    """Makes a run's last checkpoint one of so many processes and shards, if there is one and it is not.

    Model, optimiser, schedule and what was read of the data stay; a process that was not there before draws random
    numbers of its own.

    Args:
        output: the run's folder.
        processes: that train.
        shards: of the model and of the optimiser's state; 1 but for FSDP.
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
    found = {name: part_files(folder, name, other) for name, other in pairs}
    wanted = dict.fromkeys(SHARDS, shards) | {TRAINER: processes, READER: processes}
    if all(len(found[name]) == number for name, number in wanted.items()):
        return
    states = {name: [read_tensors(file) for file in files] for name, files in found.items()}
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
    def part(number: int) -> dict[str, Any]:
        def take(name: str, whole: list[Tensor]) -> Tensor:
            if shards == 1 or not is_split(name, whole[0]):
                return whole[0]
            parts = whole[0].chunk(shards)  # as DTensor does: the last ones may have nothing
            return parts[number].clone() if number < len(parts) else whole[0][:0].clone()

        return cast(dict[str, Any], map_tensors([state], take))

    return [part(number) for number in range(shards)]
