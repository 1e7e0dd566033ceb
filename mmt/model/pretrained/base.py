"""A base: a pretrained translation model whose weights become a ``TextModel``, and stay where they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor

from mmt.errors import MMTError, nearest


class Base(ABC):
    """A checkpoint of a pretrained translation model.

    ``name``: as in ``model.text``, such as ``nllb:facebook/nllb-200-distilled-600M``. ``folder``:
    where its files are.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The fields of ``mmt.model.config.MMTConfig`` that follow from the checkpoint.

        Raises:
            MMTError: the folder is no checkpoint of this family.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The weights by their names in ``TextModel`` (``frontend.embed.weight``), rows in the order of our ids.

        ``final_proj.weight`` is not among them, as it is the target's embedding.

        Raises:
            MMTError: a weight is missing, or is none of this family's, or a file is damaged or could run code.
        """

    @abstractmethod
    def write_tokenizer(self, folder: Path) -> None:
        """Writes the tokenizer's files to ``folder``, ``tokenizer.model`` last; see ``open_tokenizer``."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """The checksum that identifies the weights and the tokenizer."""


FAMILIES: dict[str, type[Base]] = {}
"""By the name that stands before the colon in ``model.text``."""


def open_base(name: str) -> Base:
    """The base that ``model.text`` names, FAMILY:NAME_OR_FOLDER.

    Raises:
        MMTError: there is no such family, or no such checkpoint.
    """
    family, colon, place = name.partition(":")
    if not colon or family not in FAMILIES or not place:
        raise MMTError(
            f"model.text: expected scratch or FAMILY:NAME_OR_FOLDER, found {name!r}.{nearest(family, FAMILIES)} "
            f"Families: {', '.join(FAMILIES)}."
        )
    return FAMILIES[family](name, Path(place))
