"""Text tokenised and escaped by the Moses scripts, as in published corpora (Multi30K's ``tok``)."""

from __future__ import annotations

import re
from collections.abc import Iterable

# From deescape-special-chars.perl; &bar;, &bra; and &ket; are from older versions.
_ESCAPES = {
    "&amp;": "&", "&apos;": "'", "&quot;": '"', "&lt;": "<", "&gt;": ">", "&#124;": "|", "&#91;": "[",
    "&#93;": "]", "&bar;": "|", "&bra;": "[", "&ket;": "]",
}  # fmt: skip
# Text that was escaped before it was tokenised has them in parts, "stone & amp ; tile".
_ESCAPE = re.compile(f"{'|'.join(_ESCAPES)}|(?<!\\S)& (?:amp|apos|quot|lt|gt) ;(?!\\S)")
# A full stop or comma on its own, and one at a word's end. Raw French has spaces before ! ? : ; and raw Hindi
# before its danda.
_APART = re.compile(r"(?<=\s)[.,。、،](?=\s|$)")
_JOINED = re.compile(r"\w[.,。、،](?=\s|$|\w)")
_SPACED_ESCAPE = re.compile(r"\s&apos;\w+(?=\s|$)|\w&apos;\s|(?:^|\s)&(?:apos|quot|#\d+);(?:\s|$)")


def unescape(line: str) -> str:
    """Undoes the escapes of Moses' tokenizer: ``d&apos; une`` is ``d' une``."""
    return _ESCAPE.sub(lambda found: _ESCAPES[found[0].replace(" ", "")], line) if "&" in line else line


def looks_tokenized(lines: Iterable[str]) -> bool | None:
    """Whether most full stops and commas are separated from the words before them; None if there are none.

    Escapes beside a space, ``man &apos;s``, count as well.
    """
    apart = joined = 0
    for line in lines:
        apart += len(_APART.findall(line)) + len(_SPACED_ESCAPE.findall(line))
        joined += len(_JOINED.findall(line))
    return apart > joined if apart or joined else None
