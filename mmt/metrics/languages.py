"""Language codes, and languages that are written without spaces between words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmt.errors import MMTError

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8})*")

# The three-letter codes (ISO 639-3 and 639-2, as FLORES and NLLB use) of languages with rules here or in Moses.
_SAME = {
    "zh": "zho chi cmn yue lzh wuu hak nan gan hsn cdo", "ja": "jpn", "ko": "kor", "th": "tha", "lo": "lao",
    "km": "khm", "my": "mya bur", "bo": "bod tib", "dz": "dzo",
    "ca": "cat", "cs": "ces cze", "de": "deu ger", "el": "ell gre", "en": "eng", "es": "spa", "et": "est",
    "fi": "fin", "fr": "fra fre", "hi": "hin", "hu": "hun", "is": "isl ice", "it": "ita", "lt": "lit",
    "lv": "lvs lav", "nl": "nld dut", "pl": "pol", "pt": "por", "ro": "ron rum", "ru": "rus", "sk": "slk slo",
    "sl": "slv", "sv": "swe",
}  # fmt: skip
_SHORT = {long: short for short, longs in _SAME.items() for long in longs.split()}

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
    code = found[1].lower()
    return _SHORT.get(code, code)


def is_unspaced(lines: Iterable[str]) -> bool:
    """Whether most letters are from scripts without spaces between words."""
    unspaced = letters = 0
    for line in lines:
        unspaced += len(_UNSPACED_LETTERS.findall(line))
        letters += sum(map(str.isalpha, line))
    return 2 * unspaced > letters
