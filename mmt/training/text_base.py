"""A run whose text model is a pretrained base: sizes and tokenizer are the base's."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import fields, replace
from typing import Any

from mmt.errors import MMTError
from mmt.model.config import ModelSizes
from mmt.model.pretrained.base import Base, open_base
from mmt.training.config import TrainConfig

SCRATCH = "scratch"


def base_of(config: TrainConfig) -> Base | None:
    """The base that ``model.text`` names. Raises MMTError if there is no such base."""
    return None if config.model.text == SCRATCH else open_base(config.model.text)


def base_settings(base: Base) -> dict[str, Any]:
    """All fields of ``mmt.model.config.MMTConfig`` that a base decides."""
    return {"text_encoder": "transformer"} | base.settings()


def with_base(config: TrainConfig, tree: Mapping[str, Any], where: str) -> TrainConfig:
    """``config`` with the sizes of its base, if it has one.

    Args:
        tree: the keys that the user set, of which none may differ from the base.
        where: begins the message.
    Raises:
        MMTError: a size differs from the base's, or there is no such base.
    """
    base = base_of(config)
    if base is None:
        return config
    settings = base_settings(base)
    known = {one.name for one in fields(ModelSizes)}
    given = {f"model.{name}": value for name, value in (tree.get("model") or {}).items()}
    given |= {f"text.{name}": value for name, value in (tree.get("text") or {}).items()}
    theirs = {f"model.{name}": value for name, value in settings.items() if name in known}
    theirs["text.vocab_size"] = settings["vocab_size"]
    for key in given.keys() & theirs.keys():
        if given[key] != theirs[key]:
            raise MMTError(
                f"{where}: {key} is {given[key]}, but {config.model.text} has {theirs[key]}. Leave it out: the "
                "sizes are those of model.text."
            )
    model = replace(config.model, **{name: value for name, value in settings.items() if name in known})
    text = copy(config.text)
    text.vocab_size = settings["vocab_size"]  # set here, since a base's size may be outside the setting's range
    return replace(config, model=model, text=text)
