"""The part of a vocabulary that one language needs: what a translation into it may be written with.

A pretrained model of many languages computes a quarter of a million logits for each token, of which a translation
into one language needs a few thousand.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmt.data.tokenizer import EOS, Tokenizer
from mmt.errors import MMTError
from mmt.io.text_files import read_lines

VOCABULARY = "vocabulary.npy"
"""In a model folder: the ids with which translations are written, if not with all; int64, sorted."""


def pieces_of(lines: Iterable[list[int]], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """The ids that occur in a text, sorted, with the four special ids, all bytes, and all pieces of one character.

    So every word can still be written, a name for example, if not always with its usual pieces. Others fill the
    number up to a multiple of 64, which is faster to search.

    Args:
        lines: ids of target sentences, as ``Tokenizer.encode_target`` gives them.
    """
    used = np.zeros(tokenizer.vocab_size, bool)
    used[: EOS + 1] = True
    used |= tokenizer.lengths == 1  # bytes, too
    for line in lines:
        used[line] = True
    used[np.nonzero(~used)[0][: -int(used.sum()) % 64]] = True
    return np.nonzero(used)[0]


def pieces_of_file(path: Path, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """``pieces_of`` a text file in the target language, one sentence a line.

    Raises:
        MMTError: the file cannot be read, or has no text.
    """
    return pieces_of(map(tokenizer.encode_target, read_lines(path)), tokenizer)


def read_vocabulary(folder: Path, vocab_size: int) -> NDArray[np.int64] | None:
    """The ids with which a model writes; None: with all. Raises MMTError for a damaged file."""
    path = folder / VOCABULARY
    if not path.is_file():
        return None
    try:
        ids: NDArray[np.int64] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None
    specials = np.arange(EOS + 1)
    if ids.dtype != np.int64 or ids.ndim != 1 or not np.array_equal(ids[: len(specials)], specials):
        raise MMTError(
            f"{path}: expected ids from 0 to {EOS} and more, found others. Copy the model folder again."
        )
    if np.any(np.diff(ids) <= 0) or ids[-1] >= vocab_size:
        raise MMTError(f"{path}: expected ascending ids below {vocab_size:,}. Copy the model folder again.")
    return ids
