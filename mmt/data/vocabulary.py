"""The part of a vocabulary that one language needs: what a translation into it may be written with.

A pretrained model of many languages computes a quarter of a million logits for each token, of which a translation
into one language needs a few thousand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmt.data.tokenizer import EOS, Tokenizer
from mmt.errors import MMTError, unreadable
from mmt.io.text_files import parse_json, read_lines

VOCABULARY = "vocabulary.json"
"""The file in a model folder."""


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


def vocabulary_json(ids: NDArray[np.int64]) -> str:
    """The content of ``vocabulary.json``."""
    value = {"about": "ids that a translation is written with; mmt/data/vocabulary.py", "ids": ids.tolist()}
    return json.dumps(value) + "\n"


def read_vocabulary(folder: Path, vocab_size: int) -> NDArray[np.int64] | None:
    """Reads a model folder's file; None if there is none: then all ids are written.

    Raises:
        MMTError: it is damaged.
    """
    path = folder / VOCABULARY
    try:
        ids = parse_json(path.read_text(encoding="utf-8"))["ids"]
        if not all(type(one) is int and 0 <= one < vocab_size for one in ids):
            raise ValueError(f"expected ids of {vocab_size:,} pieces")
        if sorted(set(ids)) != ids or ids[: EOS + 1] != list(range(EOS + 1)):
            raise ValueError("expected sorted ids, 0 to 3 among them")
        return np.asarray(ids, np.int64)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None
