"""Opens a model folder's tokenizer: one of our own training, or a pretrained model's."""

from __future__ import annotations

from pathlib import Path

from mmt.data.tokenizer import TOKENIZER, Tokenizer


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in ``folder``, a model folder or the output folder of a run.

    Raises:
        MMTError: a file is missing or damaged.
    """
    return Tokenizer(folder / TOKENIZER)
