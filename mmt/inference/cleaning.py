"""Cleaning: the translation in what a language model answers, by fixed rules that are counted.

The rules, in this order; each is applied at most once to an answer, and counted by its name:

``thoughts``: text in ``<think>...</think>`` before the answer is dropped.
``role``: a role such as ``assistant`` before the answer is dropped.
``fence``: of a block between lines of three backticks, the block is kept.
``label``: words before a colon that only announce a translation, such as "Translation:", "German:" or "Here is the
    German translation:", are dropped, unless the source begins with the same word.
``lines``: of several lines the first one with text is kept.
``quotes``: quotes or asterisks around the whole answer are dropped, unless the source is quoted, too.

An answer with nothing left is counted as ``empty``, and its translation is "".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from langcodes import Language

from mmt.io.normalization import is_blank

RULES = ("thoughts", "role", "fence", "label", "lines", "quotes", "empty")

_THOUGHTS = re.compile(r"\s*(?:<think>)?.*?</think>\s*", re.DOTALL)
_UNFINISHED = re.compile(r"\s*<think>.*", re.DOTALL)
_ROLE = re.compile(r"\s*(?:<\|im_start\|>|<start_of_turn>)?(?:assistant|model)(?:\s*:|\s*\n)\s*", re.IGNORECASE)
_FENCE = re.compile(r"[^`]*?```[^\n`]*\n(.*?)(?:\n```.*|```.*|\Z)", re.DOTALL)
_QUOTED = {'"': '"', "“": "”", "„": "“”", "«": "»", "»": "«", "‘": "’", "‚": "‘’", "'": "'", "`": "`", "*": "*"}
_ANNOUNCED = r"(?:sure|certainly|of course|okay|ok)[,!.]?\s+"
_HERE = r"here(?:\s+is|\s*['’]s)\s+"


class Cleaner:
    """Cleans answers in one language pair and counts what it did.

    counts: how often each of ``RULES`` was applied.
    """

    def __init__(self, source_lang: str, target_lang: str) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        names = "|".join(re.escape(name) for name in _names(source_lang, target_lang))
        translation = rf"(?:(?:{names})\s+)?(?:translation|übersetzung|traduction|překlad)"
        ending = rf"(?:\s+(?:in|into|to)\s+(?:{names})|\s+of\s+[^:\n]{{1,60}})?"
        self._prefix = re.compile(
            rf"\s*[*_#]*(?:{_ANNOUNCED})?(?:{_HERE})?(?:the\s+)?(?:{translation}{ending}|{names})"
            rf"[*_]*\s*:[*_]*\s*",
            re.IGNORECASE,
        )

    def clean(self, answer: str, source: str) -> str:
        """The translation in an answer to ``source``: one line without white space around it; "" for none."""
        text = answer
        rules = (self._thoughts, self._role, self._fence, self._label, self._lines, self._quotes)
        for rule, apply in zip(RULES, rules, strict=False):
            cleaned = apply(text, source)
            if cleaned != text:
                self.counts[rule] += 1
                text = cleaned
        text = text.strip()
        if is_blank(text):
            self.counts["empty"] += 1
            return ""
        return text

    def _thoughts(self, text: str, source: str) -> str:
        if "</think>" in text:
            return _THOUGHTS.sub("", text, count=1)
        return _UNFINISHED.sub("", text, count=1) if text.lstrip().startswith("<think>") else text

    def _role(self, text: str, source: str) -> str:
        return _without(_ROLE, text, source)

    def _label(self, text: str, source: str) -> str:
        return _without(self._prefix, text, source)

    def _fence(self, text: str, source: str) -> str:
        found = _FENCE.fullmatch(text) if "```" in text else None
        return text if found is None else found[1]

    def _lines(self, text: str, source: str) -> str:
        lines = [line for line in text.splitlines() if not is_blank(line)]
        return lines[0] if len(lines) > 1 else text

    def _quotes(self, text: str, source: str) -> str:
        inner = text.strip()
        while inner.startswith("**") and inner.endswith("**") and len(inner) > 4:
            inner = inner[2:-2].strip()
        closing = _QUOTED.get(inner[:1], "")
        inside = inner[1:-1]
        if len(inner) > 2 and inner[-1] in closing and not set(inside) & {inner[0], inner[-1]}:
            inner = inside.strip()
        return text if inner == text.strip() or source.strip()[:1] in _QUOTED else inner


def _without(prefix: re.Pattern[str], text: str, source: str) -> str:
    """The text without a prefix, which the source must not have as well."""
    found = prefix.match(text)
    return text if found is None or prefix.match(source) else text[found.end() :]


def _names(*codes: str) -> Sequence[str]:
    """Each language's name, in English and in itself."""
    languages = [Language.get(code).simplify_script() for code in codes]
    return [name for one in languages for name in dict.fromkeys((one.language_name(), one.autonym()))]
