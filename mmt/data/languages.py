"""The language codes of pretrained models: which of a model's codes a user's code means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmt.errors import MMTError, nearest

# ISO 639-1 to ISO 639-3. Where the two-letter code is of a macrolanguage, the individual language that NLLB has
# (``ar``: Standard Arabic); ``ns`` and ``ff`` are M2M-100's own choice.
_LONG = {
    "af": "afr", "ak": "aka", "am": "amh", "ar": "arb", "as": "asm", "ay": "ayr", "az": "azj", "ba": "bak",
    "be": "bel", "bg": "bul", "bm": "bam", "bn": "ben", "bo": "bod", "br": "bre", "bs": "bos", "ca": "cat",
    "cs": "ces", "cy": "cym", "da": "dan", "de": "deu", "dz": "dzo", "ee": "ewe", "el": "ell", "en": "eng",
    "eo": "epo", "es": "spa", "et": "est", "eu": "eus", "fa": "pes", "ff": "fuv", "fi": "fin", "fj": "fij",
    "fo": "fao", "fr": "fra", "fy": "fry", "ga": "gle", "gd": "gla", "gl": "glg", "gn": "grn", "gu": "guj",
    "ha": "hau", "he": "heb", "hi": "hin", "hr": "hrv", "ht": "hat", "hu": "hun", "hy": "hye", "id": "ind",
    "ig": "ibo", "is": "isl", "it": "ita", "ja": "jpn", "jv": "jav", "ka": "kat", "kg": "kon", "ki": "kik",
    "kk": "kaz", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kmr", "ky": "kir", "lb": "ltz", "lg": "lug",
    "li": "lim", "ln": "lin", "lo": "lao", "lt": "lit", "lv": "lvs", "mg": "plt", "mi": "mri", "mk": "mkd",
    "ml": "mal", "mn": "khk", "mr": "mar", "ms": "zsm", "mt": "mlt", "my": "mya", "nb": "nob", "ne": "npi",
    "nl": "nld", "nn": "nno", "no": "nob", "ns": "nso", "ny": "nya", "oc": "oci", "om": "gaz", "or": "ory",
    "pa": "pan", "pl": "pol", "ps": "pbt", "pt": "por", "qu": "quy", "rn": "run", "ro": "ron", "ru": "rus",
    "rw": "kin", "sa": "san", "sc": "srd", "sd": "snd", "sg": "sag", "si": "sin", "sk": "slk", "sl": "slv",
    "sm": "smo", "sn": "sna", "so": "som", "sq": "als", "sr": "srp", "ss": "ssw", "st": "sot", "su": "sun",
    "sv": "swe", "sw": "swh", "ta": "tam", "te": "tel", "tg": "tgk", "th": "tha", "ti": "tir", "tk": "tuk",
    "tl": "tgl", "tn": "tsn", "tr": "tur", "ts": "tso", "tt": "tat", "tw": "twi", "ug": "uig", "uk": "ukr",
    "ur": "urd", "uz": "uzn", "vi": "vie", "wo": "wol", "xh": "xho", "yi": "ydd", "yo": "yor", "zh": "zho",
    "zu": "zul",
}  # fmt: skip


def find_language(code: str, known: Iterable[str]) -> str:
    """The code among ``known`` that ``code`` means: ``de``, ``deu`` and ``deu_Latn`` are one language.

    Raises:
        MMTError: ``code`` means none of them, or several (such as zh: ``zho_Hans`` and ``zho_Hant``).
    """
    codes = list(known)
    if not code:
        raise MMTError(
            f"a model of {len(codes):,} languages: expected the codes of source and target, found none. On the "
            "command line give --source-lang and --target-lang."
        )
    if code in codes:
        return code
    language, script = _parts(code)
    meant = [
        one
        for one, (its_language, its_script) in ((one, _parts(one)) for one in codes)
        if language == its_language and (not script or not its_script or script == its_script)
    ]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise MMTError(f"language '{code}': expected one of {', '.join(meant)}.")
    shown = ", ".join(codes) if len(codes) <= 12 else f"{', '.join(codes[:6])} and {len(codes) - 6:,} others"
    raise MMTError(f"language '{code}': unknown to this model.{nearest(code, codes)} It knows {shown}.")


def _parts(code: str) -> tuple[str, str]:
    """Language (ISO 639-3) and script (ISO 15924; "" for none) of a code: ``zh``, ``pt-BR``, ``zho_Hans``."""
    first, *others = re.split("[-_]", code.lower())
    script = next((one for one in others if len(one) == 4 and one.isalpha()), "")
    return _LONG.get(first, first), script
