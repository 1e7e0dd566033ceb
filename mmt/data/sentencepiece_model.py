"""Opens SentencePiece models by somebody else: checks what SentencePiece itself trusts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from mmt.errors import MMTError

_MAX_TRIE = 1 << 18  # units; nmt_nfkc_cf, the largest table of SentencePiece, has a fifth of these
_MAX_DEPTH = 32  # SentencePiece has room for so many keys that begin alike
_MAX_REPLACEMENT = 1024  # bytes that one character may become


def open_sentencepiece(path: Path, *, with_table: bool = False) -> sentencepiece.SentencePieceProcessor:
    """Loads a SentencePiece model.

    Args:
        with_table: allow a normalisation table, which published models have (``nmt_nfkc``), if it is sound.
            SentencePiece trusts the table and reads beyond its end: a malicious one crashes the process
            (https://github.com/google/sentencepiece/issues/1269).
    Raises:
        MMTError: ``path`` is missing, is not a SentencePiece model, or has a table that is damaged or not allowed.
    """
    if not path.is_file():
        raise MMTError(f"{path}: no tokenizer model there. Is this a whole model folder?")
    try:
        data = path.read_bytes()
        for table in _tables(data):
            if not with_table:
                raise ValueError("has a normalisation table")
            check_table(table)
        return sentencepiece.SentencePieceProcessor(model_proto=data)
    except (RuntimeError, OSError, ValueError, IndexError):
        raise MMTError(f"{path}: not a SentencePiece model. Copy the model folder again.") from None


def check_table(table: bytes) -> None:
    """Checks a SentencePiece normalisation table (``precompiled_charsmap``), so that no text leads out of it.

    The table is the number of bytes of a trie, the trie in the format of Darts-clone
    (https://github.com/s-yata/darts-clone), whose values are offsets into the last part: replacements that each
    end in a zero byte. The trie is walked as Darts-clone's ``commonPrefixSearch`` does, by all keys at once: one
    byte a step, from places to places (a place is a node combined with its offset; a byte combined with a place
    is a child).

    Raises:
        ValueError: the trie leads outside itself or outside the replacements, is too deep or too large, or a
            replacement has no end or over 1,024 bytes.
    """
    size = int.from_bytes(table[:4], "little")
    if size % 4 or not 1024 <= size <= 4 * _MAX_TRIE or 4 + size >= len(table):
        raise ValueError("a trie of a wrong size")
    replacements = np.frombuffer(table, np.uint8, offset=4 + size)
    ends = np.nonzero(replacements == 0)[0]
    if not len(ends) or ends[-1] != len(replacements) - 1:
        raise ValueError("a replacement without an end")
    if np.diff(ends, prepend=-1).max() > _MAX_REPLACEMENT:
        raise ValueError("a replacement that is too long")
    units = np.frombuffer(table, "<u4", size // 4, 4).astype(np.int64)
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    labels, values, has_leaf = units & ((1 << 31) | 0xFF), units & ((1 << 31) - 1), (units >> 8 & 1).astype(bool)
    every_byte = np.arange(256)
    places = offsets[:1]
    for _ in range(_MAX_DEPTH + 1):
        if np.max(places | 255) >= len(units):
            raise ValueError("a trie that leads outside itself")
        children = []
        for part in np.array_split(places, -(-len(places) // 4096)):
            around = part[:, None] ^ every_byte
            children.append(around[labels[around] == every_byte])
        nodes = np.concatenate(children)
        following = nodes ^ offsets[nodes]
        leaves = following[has_leaf[nodes]]
        if len(leaves) and (leaves.max() >= len(units) or values[leaves].max() >= len(replacements)):
            raise ValueError("a trie that leads outside the replacements")
        places = np.unique(following)
        if not len(places):
            return
    raise ValueError("a trie that is too deep")


def _tables(data: bytes) -> Iterator[bytes]:
    """The normalisation tables of a model that are not empty. Raises ValueError and IndexError."""
    for spec, content in _fields(data):
        if spec in (3, 5):  # normaliser, and back
            yield from (table for number, table in _fields(content) if number == 2 and table)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a protocol buffer; empty content for integers. Raises ValueError."""
    at = 0

    def number() -> int:
        nonlocal at
        found = 0
        for shift in range(0, 70, 7):
            at += 1
            byte = data[at - 1]
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise ValueError("not a number")

    while at < len(data):
        key = number()
        if key & 7 not in (0, 2):
            raise ValueError(f"a field of type {key & 7}")
        length = number()
        content = b""
        if key & 7 == 2:
            content, at = data[at : at + length], at + length
        yield key >> 3, content
