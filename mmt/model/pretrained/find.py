"""The base of a model folder that has only what was trained on it: identified by checksum, and found again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mmt.errors import MMTError
from mmt.model.pretrained.base import Base, open_base

BASE_VARIABLE = "MMT_BASE"
"""The environment variable that says where bases are now: a folder, or several separated as in PATH."""


def identity(base: Base, model: Path) -> dict[str, str]:
    """What a card says of its base.

    Args:
        model: the model folder, from which ``folder`` leads to the base, so that both may be moved together.
    """
    identity = {"name": base.name, "family": base.name.partition(":")[0], "sha256": base.sha256}
    if base.folder.is_dir():
        identity["folder"] = os.path.relpath(base.folder.resolve(), model.resolve())
    return identity


def find_base(text: Mapping[str, str], model: Path) -> Base:
    """The base of the model folder ``model``.

    It is looked for where ``MMT_BASE`` says, then where it was, then where it was in relation to ``model``.

    Args:
        text: of ``identity``.
    Raises:
        MMTError: it is in none of these places; what is there instead is named.
    """
    family, _, place = text["name"].partition(":")
    moved = [one for one in os.environ.get(BASE_VARIABLE, "").split(os.pathsep) if one]
    places = [*moved, place, *([str(model.resolve() / text["folder"])] if "folder" in text else [])]
    others, reasons = [], []
    for one in dict.fromkeys(places):
        try:
            base = open_base(f"{family}:{one}", download=False)  # nobody asked for one
            if base.sha256 == text["sha256"]:
                return base
            others.append(f"{one} has {base.sha256[:12]}")
        except (MMTError, OSError) as error:
            reasons.append(str(error))
    found = f"another base is there ({', '.join(others)})" if others else f"found none ({reasons[0]})"
    raise MMTError(
        f"{model}: has only what was trained on {text['name']}. Expected that base, whose sha256 begins with "
        f"{text['sha256'][:12]}; {found}. Set {BASE_VARIABLE} to the folder where it is now."
    )
