"""A training's checkpoints: files of plain tensors, read without pickles, and for any number of processes.

``OUT/checkpoints/step_N/`` is laid out by fairseq2 0.8.1: ``model`` and ``optimizer`` hold a file a shard (one
but for FSDP), ``trainer`` one a process, ``data_reader`` one a process that reads data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from fairseq2.checkpoint.manager import StandardCheckpointManager
from fairseq2.io import TensorFileDumper, TensorFileDumpOptions, TensorFileLoader, TensorFileLoadOptions
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from mmt.data.reader import joined_states
from mmt.errors import MMTError
from mmt.io.atomic import replaced, replacing_folder, restore, sweep, writing

_SHARDS = ("model/pp_00/tp_00", "optimizer/pp_00/tp_00")
_READER = "data_reader"
_TRAINER = "trainer"

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of what a model keeps beside its parameters; every shard has it whole."""


def checkpoint_steps(output: Path) -> list[int]:
    """After how many updates each of a run's checkpoints was made, in order."""
    folders = (output / "checkpoints").glob("*step_*")
    names = {folder.name for folder in folders if folder.is_dir()}
    numbers = {name.removeprefix("step_") for name in names}
    # One that process 0 is replacing just now is there for the others, too.
    steps = [int(number) for number in numbers if number.isascii() and number.isdigit()]
    return sorted({*steps, *_waiting(output)})


def _waiting(output: Path) -> list[int]:
    """Steps of the checkpoints that were being replaced when that was cut off, or are just now."""
    pattern = re.compile(re.escape(replaced(Path("step_0")).name).replace("0", "([0-9]+)"))
    found = (pattern.fullmatch(path.name) for path in (output / "checkpoints").glob(".step_*"))
    return [int(one[1]) for one in found if one]


def checkpoint_folder(output: Path, step: int) -> Path:
    return output / "checkpoints" / f"step_{step}"


def cut_off_halves(output: Path) -> None:
    """Removes what a kill left half-written where fairseq2 writes in place: a checkpoint's score, a report's line.

    The score is made up for (``mmt.training.trainer``); the report is lost.
    """
    for path in (output / "checkpoints" / "scores").glob("step_*.txt"):
        if _score(path) is None:
            path.unlink()
    for path in (output / "metrics").glob("*.jsonl"):
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)


def score_of(output: Path, step: int) -> float | None:
    """What fairseq2 wrote down as the score of a checkpoint; None where it did not, or not whole."""
    return _score(output / "checkpoints" / "scores" / f"step_{step}.txt")


def _score(path: Path) -> float | None:
    try:
        content = path.read_text(encoding="utf-8")
        return float(content) if content.endswith("\n") else None
    except (FileNotFoundError, ValueError):
        return None


def load_weights(output: Path, step: int) -> dict[str, Tensor]:
    """A checkpoint's weights, whole, by however many processes it was written.

    Raises:
        MMTError: there are none, or a file is damaged.
    """
    files = _files(checkpoint_folder(output, step), *_SHARDS)
    return cast(dict[str, Tensor], _joined([_read(file) for file in files]))


def fit_last_checkpoint(output: Path, *, processes: int, shards: int) -> None:
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
    for step in _waiting(output):
        restore(checkpoint_folder(output, step))
    if (output / "checkpoints").is_dir():
        sweep(output / "checkpoints", "step_[0-9]+")
    steps = checkpoint_steps(output)
    if not steps:
        return
    folder = checkpoint_folder(output, steps[-1])
    pairs = (_SHARDS, _SHARDS[::-1], (_TRAINER, _READER), (_READER, _TRAINER))
    found = {name: _files(folder, name, other) for name, other in pairs}
    wanted = dict.fromkeys(_SHARDS, shards) | {_TRAINER: processes, _READER: processes}
    if all(len(found[name]) == number for name, number in wanted.items()):
        return
    states = {name: [_read(file) for file in files] for name, files in found.items()}
    try:
        made = {name: _split(_joined(states[name]), shards) for name in _SHARDS}
        made[_TRAINER] = _trainers(states[_TRAINER], processes)
        made[_READER] = [joined_states(states[_READER])] * processes
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise damaged(folder, error) from None
    kinds = dict.fromkeys(_SHARDS, "sdp") | {_TRAINER: "rank", _READER: "dp"}
    with replacing_folder(folder) as beside:
        for name, parts in made.items():
            (beside / name).mkdir(parents=True)
            for number, state in enumerate(parts):
                _write(state, beside / name / f"{kinds[name]}_{number:02d}.pt")


def keep_plain(manager: object, optimizer: Optimizer) -> None:
    """Lets fairseq2's ``manager`` write files of plain tensors only, and read nothing else.

    As it comes, it unpickles whatever stands in all files but the model's; and those of an optimiser under FSDP
    hold the processes that made them.
    """
    if not isinstance(manager, StandardCheckpointManager):
        raise TypeError(f"expected fairseq2 0.8.1's checkpoint manager, found {type(manager)}")
    manager._tensor_file_loader, manager._tensor_file_dumper = _Loader(), _Dumper()
    optimizer.register_state_dict_post_hook(_to_local)
    optimizer.register_load_state_dict_pre_hook(_from_local)


class _Loader(TensorFileLoader):
    def load(self, file: Path, options: TensorFileLoadOptions | None = None) -> dict[str, object]:
        return _read(file)


class _Dumper(TensorFileDumper):
    def dump(self, data: Mapping[str, object], file: Path, options: TensorFileDumpOptions | None = None) -> None:
        _write(data, file)


def _read(file: Path) -> dict[str, Any]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError
    except OSError as error:
        raise MMTError(f"{file}: cannot be read ({error.strerror or error}). Check the path.") from None
    except MemoryError:
        raise
    except Exception as error:  # pickle, zip and torch errors; none of the file's code is run
        raise damaged(file, error) from None
    return state


def damaged(path: Path, error: Exception) -> MMTError:
    """What to raise for a file or the folder of a checkpoint that does not hold what it should."""
    step = next((one for one in (path, *path.parents) if one.name.startswith("step_")), path)
    return MMTError(  # without torch's words, which advise to run what stands in the file
        f"{path}: not a checkpoint, or damaged, or of an earlier version ({type(error).__name__}). Remove {step}; "
        "training resumes from the one before."
    )


def _write(state: Mapping[str, object], file: Path) -> None:
    with writing(file), file.open("wb") as stream:
        torch.save(dict(state), stream, pickle_protocol=2)  # what reading without pickles understands
        stream.flush()
        os.fsync(stream.fileno())


def _files(folder: Path, name: str, other: str) -> list[Path]:
    """The files of a part of a checkpoint, in the order of processes; ``other`` is a part that has as many.

    Raises:
        MMTError: one is missing.
    """
    files, others = (sorted((folder / part).glob("*_[0-9]*.pt"), key=_number) for part in (name, other))
    numbers, wanted = [_number(file) for file in files], range(max(1, len(files), len(others)))
    if numbers != list(wanted):
        raise MMTError(
            f"{folder / name}: expected files numbered 0 to {wanted[-1]}, found {numbers or 'none'}. Remove "
            f"{folder}; training resumes from the one before."
        )
    return files


def _number(file: Path) -> int:
    number = file.stem.rpartition("_")[2]
    return int(number) if number.isascii() and number.isdigit() else -1


def _each(states: Sequence[Any], change: Callable[[str, list[Tensor]], Any], name: str = "") -> Any:
    """The same tree, each tensor replaced by ``change(its name, it in each of states)``."""
    first = states[0]
    if isinstance(first, Tensor):
        return change(name, list(states))
    if isinstance(first, dict):
        return {key: _each([state[key] for state in states], change, str(key)) for key in first}
    return first


def _is_split(name: str, tensor: Tensor) -> bool:
    return tensor.ndim > 0 and not name.endswith(BUFFERS)


def _joined(states: Sequence[Any]) -> dict[str, Any]:
    """FSDP2 splits parameters, and what the optimiser has of each, along their first dimension."""

    def join(name: str, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts) if len(parts) > 1 and _is_split(name, parts[0]) else parts[0]

    return cast(dict[str, Any], _each(states, join))


def _split(state: dict[str, Any], shards: int) -> list[dict[str, Any]]:
    def part(number: int) -> dict[str, Any]:
        def take(name: str, whole: list[Tensor]) -> Tensor:
            if shards == 1 or not _is_split(name, whole[0]):
                return whole[0]
            parts = whole[0].chunk(shards)  # as DTensor does: the last ones may have nothing
            return parts[number].clone() if number < len(parts) else whole[0][:0].clone()

        return cast(dict[str, Any], _each([state], take))

    return [part(number) for number in range(shards)]


def _trainers(states: list[dict[str, Any]], processes: int) -> list[dict[str, Any]]:
    """The trainer's state of each process: totals, which are sums over processes, go to the first one."""
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
    """Of the process's number and of where training stands, that no two of either draw alike."""
    return torch.Generator().manual_seed(1_000_003 * number + int(state["_step_nr"]))


def _total(values: list[Any], number: int) -> Any:
    if not isinstance(values[0], Tensor):
        return values[0]
    total = torch.stack(values).sum(0)
    return total if number == 0 else torch.zeros_like(total)


def _to_local(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    def local(__: str, tensors: list[Tensor]) -> Tensor:
        return tensors[0].to_local() if isinstance(tensors[0], DTensor) else tensors[0]

    return state | {"state": _each([state["state"]], local)}


def _from_local(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    spread = {}
    for number, values in state["state"].items():
        parameter = parameters[number]
        spread[number] = {
            key: DTensor.from_local(
                value.to(parameter.device),
                parameter.device_mesh,
                parameter.placements,
                run_check=False,
                shape=parameter.shape,
                stride=parameter.stride(),
            )
            if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.ndim
            else value
            for key, value in values.items()
        }
    return state | {"state": spread}
