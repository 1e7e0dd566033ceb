"""Language codes, and languages that are written without spaces between words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from langcodes import Language

from mmt.errors import MMTError

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8})*")

# What is written like Chinese, and has no macrolanguage in CLDR.
_CHINESE = frozenset({"yue", "lzh", "wuu", "hak", "nan", "gan", "hsn", "cdo"})

UNSPACED = ("zh", "ja", "th", "lo", "km", "my", "bo", "dz")
"""Languages without spaces between words."""

# Han, kana, Thai, Lao, Tibetan, Burmese, Khmer
_UNSPACED_LETTERS = re.compile(
    r"[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    r"\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\u1780-\u17ff]"
)


def primary_language(tag: str) -> str:
    """The language of a tag, without region and script: ``pt-BR`` is pt, ``zh_TW`` zh, ``deu_Latn`` de.

    An unassigned code is returned unchanged.

    Raises:
        MMTError: not a code, but a name or something else.
    """
    found = _TAG.fullmatch(tag.strip())
    if found is None:
        from sacremoses.corpus import NonbreakingPrefixes  # a scorer's, which training does without

        code = NonbreakingPrefixes().available_langs.get(tag.strip().lower())
        meant = f" Did you mean '{code}'?" if code else ""
        raise MMTError(f"language '{tag}': expected a code such as de, pt-BR or zh_TW.{meant}")
    code = Language.get(found[1]).prefer_macrolanguage().language or found[1]
    return "zh" if code in _CHINESE else code


def is_unspaced(lines: Iterable[str]) -> bool:
    """Whether most letters are from scripts without spaces between words."""
    unspaced = letters = 0
    for line in lines:
        unspaced += len(_UNSPACED_LETTERS.findall(line))
        letters += sum(map(str.isalpha, line))
    return 2 * unspaced > letters
