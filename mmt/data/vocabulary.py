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
from mmt.io.text_files import read_lines


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
