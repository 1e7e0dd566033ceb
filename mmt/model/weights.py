"""Weights in files: their names, in this version and in earlier ones, and what they may contain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

BIAS = "text.final_proj.bias"

# How names of weights begin, in earlier versions and since: applied one after the other, so that each format
# goes through the later ones.
_RENAMED = (
    ("image_proj.weight", "image_proj.0.weight"),  # format 1: one set of features
    ("image_proj.bias", "image_proj.0.bias"),
    ("frontend.", "text.frontend."),  # format 2: one flat model
    ("encoder.", "text.encoder."),
    ("decoder.", "text.decoder."),
    ("final_proj.", "text.final_proj."),
    ("image_proj.", "image.projections."),
)


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of this or an earlier version, under the names of this one."""
    return {_renamed(name): weight for name, weight in weights.items()}


def _renamed(name: str) -> str:
    for old, new in _RENAMED:
        if name.startswith(old):
            name = new + name.removeprefix(old)
    return name


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a model folder's file, under the names of this version.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: it is damaged.
        ValueError: a weight is not a number, or infinite.
    """
    weights = renamed(load_file(path))
    for name, tensor in weights.items():
        # -inf in this bias marks ids that are no words
        if not (tensor.isfinite() | (tensor.isneginf() if name == BIAS else False)).all():
            raise ValueError(f"{name} has values that are not numbers, or infinite")
    return weights
