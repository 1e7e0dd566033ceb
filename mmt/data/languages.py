"""The language codes of pretrained models: which of a model's codes a user's code means."""

from __future__ import annotations

from collections.abc import Iterable

from mmt.errors import MMTError, nearest

# NLLB and M2M-100 name the individual language where CLDR has the macrolanguage, and M2M-100 has codes of its own.
_OTHERS = {"ff": "fuv", "no": "nb", "ns": "nso", "ps": "pbt", "qu": "quy"}


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
    """Language and script ("" for none) of a code: ``zho_Hans``, ``pt-BR``. A region implies its likely script."""
    from langcodes import Language  # its tables take a tenth of a second, which most models do without
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = Language.get(code).prefer_macrolanguage()
    except LanguageTagError:
        return code, ""
    script = tag.script or (tag.maximize().script if tag.territory else None)
    return _OTHERS.get(tag.language or "", tag.language or code), script or ""
