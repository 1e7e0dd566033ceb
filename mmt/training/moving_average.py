"""An exponential moving average of the trained weights, kept in the optimiser's state.

So it is in every checkpoint, is sharded and resharded with Adam's moments, and a resumed run continues it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from mmt.training.checkpoints import (
    OPTIMIZER,
    SHARDS,
    checkpoint_folder,
    damaged,
    join_shards,
    load_weights,
    part_files,
    read_tensors,
)

_NAME = "moving_average"


def keep_moving_average(optimizer: Optimizer, decay: float) -> None:
    """Averages the weights after each update: a <- d a + (1 - d) w, beginning with the first update's weights.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that the average of a short training forgets its
    beginning. Weights that are not trained have no average.

    Args:
        decay: in [0, 1). Updates longer ago than 1 / (1 - decay) count little.
    """

    def update(optimizer: Optimizer, *_: Any) -> None:
        states = [(one, optimizer.state[one]) for one in _parameters(optimizer) if optimizer.state.get(one)]
        if not states:
            return
        updates = float(states[0][1]["step"])
        share = 1 - min(decay, (1 + updates) / (10 + updates))
        with torch.no_grad():
            for parameter, state in states:
                if _NAME not in state:
                    state[_NAME] = parameter.detach().clone()
                else:
                    _local(state[_NAME]).lerp_(_local(parameter), share)

    optimizer.register_step_post_hook(update)


def drop_moving_average(optimizer: Optimizer) -> None:
    """Leaves the average of an earlier part of the run out of what the optimizer loads: it would be outdated."""

    def without(_: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        kept = {
            number: {name: value for name, value in values.items() if name != _NAME}
            for number, values in state["state"].items()
        }
        return state | {"state": kept}

    optimizer.register_load_state_dict_pre_hook(without)


def load_moving_average(output: Path, step: int, model: nn.Module) -> dict[str, Tensor] | None:
    """The weights of a checkpoint; the trained ones are replaced by their moving averages.

    Args:
        output: the run's folder.
        model: of the run; the optimiser's state is numbered by the order of its parameters.
    Returns:
        Weights as ``load_weights`` gives them; None if the checkpoint has no average.
    Raises:
        MMTError: a file is missing or damaged.
    """
    files = part_files(checkpoint_folder(output, step), OPTIMIZER, next(one for one in SHARDS if one != OPTIMIZER))
    weights, names = load_weights(output, step), _names(model)
    try:
        shards = [
            {
                name: values[_NAME]
                for number, values in read_tensors(file, in_memory=False)["state"].items()
                if _NAME in values
                for name in names[int(number)]
            }
            for file in files
        ]
        averages = join_shards(shards)
        if not averages:
            return None
        if different := [name for name, value in averages.items() if value.shape != weights[name].shape]:
            raise ValueError(different[0])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise damaged(files[0], error) from None
    return weights | {name: value.clone() for name, value in averages.items()}


def _names(model: nn.Module) -> list[list[str]]:
    """The names of each parameter: the embedding's is also that of a tied output projection."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return list(names.values())


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [one for group in optimizer.param_groups for one in group["params"]]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
