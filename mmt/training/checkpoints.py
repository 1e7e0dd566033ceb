"""Checkpoints of a training run: files of plain tensors, which are read without unpickling.

fairseq2 0.8.1 defines the layout of ``OUT/checkpoints/step_N/``: ``model`` and ``optimizer`` contain a file for
each shard (a single one without FSDP), ``trainer`` one for each process, ``data_reader`` one for each process that
reads data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from fairseq2.io import TensorFileDumper, TensorFileDumpOptions, TensorFileLoader, TensorFileLoadOptions
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from mmt.errors import MMTError
from mmt.io.atomic import replaced, writing
from mmt.model.weights import renamed

WEIGHTS, OPTIMIZER = "model/pp_00/tp_00", "optimizer/pp_00/tp_00"
SHARDS = (WEIGHTS, OPTIMIZER)
READER = "data_reader"
TRAINER = "trainer"

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Suffixes of the names of buffers, of which every shard has the whole."""


def checkpoint_steps(output: Path) -> list[int]:
    """The updates after which a run's checkpoints were written, in order."""
    folders = (output / "checkpoints").glob("*step_*")
    names = {folder.name for folder in folders if folder.is_dir()}
    numbers = {name.removeprefix("step_") for name in names}
    # Includes one that rank 0 is replacing: the other ranks see it under its temporary name.
    steps = [int(number) for number in numbers if number.isascii() and number.isdigit()]
    return sorted({*steps, *steps_being_replaced(output)})


def steps_being_replaced(output: Path) -> list[int]:
    """Steps of checkpoints whose replacement was interrupted, or is under way."""
    pattern = re.compile(re.escape(replaced(Path("step_0")).name).replace("0", "([0-9]+)"))
    matches = (pattern.fullmatch(path.name) for path in (output / "checkpoints").glob(".step_*"))
    return [int(match[1]) for match in matches if match]


def checkpoint_folder(output: Path, step: int) -> Path:
    return output / "checkpoints" / f"step_{step}"


def remove_half_written(output: Path) -> None:
    """Removes what fairseq2 had half written when it was killed: a checkpoint's score, a report's last line.

    ``mmt.training.trainer`` repeats the validation to get the score; the report is lost.
    """
    for path in (output / "checkpoints" / "scores").glob("step_*.txt"):
        if _score(path) is None:
            path.unlink()
    for path in (output / "metrics").glob("*.jsonl"):
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)


def checkpoint_score(output: Path, step: int) -> float | None:
    """The validation score of a checkpoint; None if fairseq2 has not written it completely."""
    return _score(output / "checkpoints" / "scores" / f"step_{step}.txt")


def _score(path: Path) -> float | None:
    try:
        content = path.read_text(encoding="utf-8")
        return float(content) if content.endswith("\n") else None
    except (FileNotFoundError, ValueError):
        return None


def load_weights(output: Path, step: int) -> dict[str, Tensor]:
    """A checkpoint's complete weights, whatever the number of processes that wrote it.

    Raises:
        MMTError: a file is missing or damaged.
    """
    files = part_files(checkpoint_folder(output, step), *SHARDS)
    return renamed(join_shards([read_tensors(file) for file in files]))


class PlainLoader(TensorFileLoader):
    """Reads plain tensors and values; fairseq2's own loader unpickles whatever a file contains."""

    def load(self, file: Path, options: TensorFileLoadOptions | None = None) -> dict[str, object]:
        state = read_tensors(file)
        # fairseq2 restricts the model's part alone. Those of earlier versions have other names for the weights, in
        # the same order, by which the optimizer's state is numbered.
        return dict(renamed(state)) if options is not None and options.restrict else state


class PlainDumper(TensorFileDumper):
    """Writes files that ``PlainLoader`` reads."""

    def dump(self, data: Mapping[str, object], file: Path, options: TensorFileDumpOptions | None = None) -> None:
        write_tensors(data, file)


def read_tensors(file: Path, *, in_memory: bool = True) -> dict[str, Any]:
    """The content of a file, without unpickling anything but plain tensors and values.

    Args:
        in_memory: False leaves tensors on disk until they are used.
    Raises:
        MMTError: the file is missing or damaged.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=not in_memory)
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
    """The error to raise for a file or folder of a checkpoint with unexpected content."""
    step = next((one for one in (path, *path.parents) if one.name.startswith("step_")), path)
    return MMTError(  # without torch's message, which advises to run the code in the file
        f"{path}: not a checkpoint, or damaged, or of an earlier version ({type(error).__name__}). Remove {step}; "
        "training resumes from the one before."
    )


def write_tensors(state: Mapping[str, object], file: Path) -> None:
    with writing(file), file.open("wb") as stream:
        torch.save(dict(state), stream, pickle_protocol=2)  # the only protocol that weights_only reads
        stream.flush()
        os.fsync(stream.fileno())


def part_files(folder: Path, name: str, other: str) -> list[Path]:
    """The files of a part of a checkpoint, in the order of ranks.

    Args:
        other: a part that must have the same number of files.
    Raises:
        MMTError: a file is missing.
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


def map_tensors(states: Sequence[Any], change: Callable[[str, list[Tensor]], Any], name: str = "") -> Any:
    """A tree like each of ``states``, with tensors ``change(name, tensors of that name)``."""
    first = states[0]
    if isinstance(first, Tensor):
        return change(name, list(states))
    if isinstance(first, dict):
        return {key: map_tensors([state[key] for state in states], change, str(key)) for key in first}
    return first


def is_split(name: str, tensor: Tensor) -> bool:
    return tensor.ndim > 0 and not name.endswith(BUFFERS)


def join_shards(states: Sequence[Any]) -> dict[str, Any]:
    """The whole of a state, of which FSDP2 split parameters and moments along their first dimension."""

    def join(name: str, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts) if len(parts) > 1 and is_split(name, parts[0]) else parts[0]

    return cast(dict[str, Any], map_tensors(states, join))


def keep_local(optimizer: Optimizer) -> None:
    """Makes an optimiser's state dict plain tensors: under FSDP it would hold the processes that wrote it."""
    optimizer.register_state_dict_post_hook(_to_local)
    optimizer.register_load_state_dict_pre_hook(_from_local)


def _to_local(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    def local(__: str, tensors: list[Tensor]) -> Tensor:
        return tensors[0].to_local() if isinstance(tensors[0], DTensor) else tensors[0]

    return state | {"state": map_tensors([state["state"]], local)}


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
