"""Models by name: those that come with mmt, and those of the Hugging Face hub."""

from __future__ import annotations

import csv
from pathlib import Path

from mmt.errors import MMTError, nearest
from mmt.io.hub import HubModel, fetch, is_hub_name

_BOX = Path(__file__).parents[1] / "box"

EXAMPLES = _BOX / "examples.tsv"
"""Sentences with pictures: columns source, image, what the picture shows, and the translation that it asks for."""

BUILT_IN = {"pictures-en-de": "English to German, about the built-in pictures; gated fusion, EfficientNet-Lite0"}
"""What the models that come with mmt are, by name."""


def built_in_model(name: str | Path) -> Path | None:
    """The folder of a model that comes with mmt; None for another name, and where there is a folder so called."""
    if str(name) not in BUILT_IN or Path(name).exists():
        return None
    return _BOX / str(name)


def named_model(name: str, revision: str | None = None) -> Path:
    """The folder of the model that ``Translator.from_pretrained`` opens: a built-in one, or the hub's, downloaded.

    Args:
        name: of ``BUILT_IN``; or OWNER/NAME on the hub, with or without ``hub:`` before it.
        revision: a branch, tag or commit of the hub; None is the main branch.
    Raises:
        MMTError: no model has that name, it is a folder of this machine, or as ``mmt.io.hub.fetch``.
    """
    if str(name) in BUILT_IN and revision is None:
        return _BOX / name
    if not is_hub_name(name) and Path(name).exists():
        raise MMTError(
            f"{name}: that is a folder: use from_dir. If you mean the model of the Hugging Face hub: hub:{name}."
        )
    if "/" not in str(name):
        raise MMTError(
            f"no model '{name}'; there is {', '.join(BUILT_IN)}.{nearest(name, BUILT_IN)} A model of the "
            "Hugging Face hub is called OWNER/NAME."
        )
    return fetch(HubModel.parse(name, revision))


def examples() -> list[dict[str, str]]:
    """The rows of ``EXAMPLES``: a string for each of its columns; images are named from its folder."""
    with EXAMPLES.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
