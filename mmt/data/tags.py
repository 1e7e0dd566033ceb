"""Tags: pieces that stand before source sentences in training and tell a model what kind of data they are.

A back-translated dataset names its tag in ``dataset.json`` (tagged back-translation, Caswell et al. 2019,
https://aclanthology.org/W19-5206). Training learns a vocabulary in which it is one piece, and puts it before each
source sentence of that dataset. It is a control symbol, so that no text contains it.
"""

from __future__ import annotations

import re

from mmt.errors import MMTError

_TAG = re.compile(r"<[^\s<>]{1,32}>")
_OTHERS = re.compile(r"</?s>|<(pad|unk|mask)>|<2[^>]*>|<0x[0-9A-F]{2}>")
"""Control symbols, bytes and the tags of languages."""


def is_tag(tag: object) -> bool:
    """Whether it may be a dataset's tag.

    >>> is_tag("<bt>"), is_tag("bt"), is_tag("<2de>")
    (True, False, False)
    """
    return isinstance(tag, str) and bool(_TAG.fullmatch(tag)) and not _OTHERS.fullmatch(tag)


def check_tag(tag: str, where: str) -> None:
    """Raises MMTError, beginning with ``where``, for what cannot be a tag."""
    if not is_tag(tag):
        raise MMTError(
            f"{where}: expected a word in angle brackets that is no other symbol, such as <bt>, found '{tag}'."
        )
