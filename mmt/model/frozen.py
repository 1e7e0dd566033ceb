"""A text model whose weights are those of a base: shared with other models, and frozen if they are not trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmt.errors import MMTError
from mmt.model.model import MMTModel


def insert_base(model: MMTModel, weights: Mapping[str, Tensor], where: object, *, share: bool) -> None:
    """Makes a base's weights those of ``model.text``; what a fusion adds to its layers keeps its values.

    Args:
        weights: see ``Base.weights``.
        where: the base, for the message.
        share: use these tensors, where they have the device and type of the model's; else copy them.
    Raises:
        MMTError: a weight is missing, is none of this model's, or has another shape.
    """
    own = {name: weight for name, weight in model.named_parameters() if model.is_of_text(name)}
    given = {f"text.{name}": weight for name, weight in weights.items()}
    different = [
        f"{name} {_shape(given.get(name))} instead of {_shape(own.get(name))}"
        for name in dict.fromkeys([*own, *given])
        if _shape(given.get(name)) != _shape(own.get(name))
    ]
    if different:
        raise MMTError(
            f"{where}: its weights do not fit its configuration: {len(different)} of {len(own)} differ, such as "
            f"{different[0]}. Download the base again."
        )
    for name, weight in given.items():
        parameter = own[name]
        if share:
            part, _, leaf = name.rpartition(".")
            value = weight.to(device=parameter.device, dtype=parameter.dtype)
            setattr(model.get_submodule(part), leaf, nn.Parameter(value, parameter.requires_grad))
        else:
            with torch.no_grad():
                parameter.copy_(weight)
    model.text.tie()


def _shape(weight: Tensor | None) -> str:
    return "missing" if weight is None else "x".join(map(str, weight.shape)) or "number"


def freeze_text(model: MMTModel, *, saved: bool) -> None:
    """Freezes the text model's weights, but not those that a fusion adds to its layers.

    They get no gradient, and the text model is always in evaluation mode. Without dropout in it, a sentence
    without an image has in training, too, exactly the output of the text model alone.

    Args:
        saved: False leaves them out of the model's state dict, and ``load_state_dict`` does not ask for them:
            they are elsewhere. (``model.text.state_dict()`` has them.)
    """
    for name, parameter in model.named_parameters():
        if model.is_of_text(name):
            parameter.requires_grad_(False)
    model.text.frozen = True
    model.text.eval()
    if not saved:
        model.register_state_dict_post_hook(_leave_out_text)  # type: ignore[no-untyped-call]
        model.register_load_state_dict_post_hook(_expect_no_text)  # type: ignore[no-untyped-call]


def _leave_out_text(model: Any, state: dict[str, Tensor], prefix: str, _: object) -> None:
    for name in [name for name in state if model.is_of_text(name.removeprefix(prefix))]:
        del state[name]


def _expect_no_text(model: Any, keys: Any) -> None:
    keys.missing_keys[:] = [name for name in keys.missing_keys if not model.is_of_text(name)]
