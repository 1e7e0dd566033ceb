"""Prompts: how a language model is told to translate, from a template file and optional examples.

A template is text with the placeholders ``{source}``, ``{source_language}`` and ``{target_language}``, the latter
two filled with names such as German. Nothing else in it is interpreted, so that a template cannot run code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langcodes import Language
from langcodes.tag_parser import LanguageTagError

from mmt.data.masking import SYMBOLS
from mmt.errors import MMTError, nearest
from mmt.io.text_files import read_lines

CHAT = (
    "Translate this sentence from {source_language} into {target_language}. "
    "Answer with the translation only.\n\n{source}"
)
"""The template for a model with a chat template."""
COMPLETION = "{source_language}: {source}\n{target_language}:"
"""The template for a model without one, which continues text."""

MASK = "[MASK]"
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_KNOWN = ("source", "source_language", "target_language")
_SYMBOL = re.compile("|".join(re.escape(symbol) for symbol in SYMBOLS.values()))


def show_masks(sentence: str) -> str:
    """The sentence with every probe's symbol, such as ``[MASK_C]``, as ``[MASK]``, which language models know."""
    return _SYMBOL.sub(MASK, sentence)


def language_name(code: str) -> str:
    """The English name of a language: German for ``de``, ``deu`` and ``deu_Latn``.

    Raises:
        MMTError: not the code of one language.
    """
    try:
        language = Language.get(code) if code else None
    except LanguageTagError:
        language = None
    if language is None or not language.is_valid() or language.language in (None, "mul", "und"):
        raise MMTError(f"language '{code}': expected the code of one language, such as de, for the prompt.")
    return str(language.simplify_script().display_name())


@dataclass(frozen=True)
class Prompt:
    """A template with its languages and examples.

    template: text with ``{source}``. source_language, target_language: names. examples: sentences with their
    translations, which the model reads before the sentence. place: the template's file, or "" for a built-in one.
    """

    template: str
    source_language: str
    target_language: str
    examples: tuple[tuple[str, str], ...] = ()
    place: str = ""

    def __post_init__(self) -> None:
        place = self.place or "prompt"
        names = _PLACEHOLDER.findall(self.template)
        for name in names:
            if name not in _KNOWN:
                known = ", ".join(f"{{{one}}}" for one in _KNOWN)
                raise MMTError(f"{place}: unknown placeholder {{{name}}}.{nearest(name, _KNOWN)} Known: {known}.")
        if "source" not in names:
            raise MMTError(f"{place}: expected {{source}}, where the sentence is put, found a prompt without it.")

    @classmethod
    def read(
        cls, source_lang: str, target_lang: str, template: Path | None, examples: Path | None, default: str = CHAT
    ) -> Prompt:
        """Reads a prompt.

        Args:
            source_lang, target_lang: codes of the languages.
            template: a text file; None takes ``default``.
            examples: sentences and their translations, separated by a tab, one pair a line; None for none.
        Raises:
            MMTError: a file cannot be read, the template lacks the sentence or has an unknown placeholder, a line
                of the examples is not a pair, or a language is unknown.
        """
        text = default if template is None else "\n".join(read_lines(template)).strip("\n")
        return cls(
            text,
            language_name(source_lang),
            language_name(target_lang),
            () if examples is None else tuple(_read_examples(examples)),
            str(template or ""),
        )

    def fill(self, sentence: str) -> str:
        """The template with one sentence."""
        values = {
            "source": show_masks(sentence),
            "source_language": self.source_language,
            "target_language": self.target_language,
        }
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.template)

    def turns(self, sentence: str) -> list[tuple[str, str]]:
        """A conversation, as pairs of role and text: the examples, then the sentence, which the user says."""
        asked = [
            (role, text)
            for source, target in self.examples
            for role, text in (("user", self.fill(source)), ("assistant", target))
        ]
        return [*asked, ("user", self.fill(sentence))]

    def completion(self, sentence: str) -> str:
        """One text that a model continues with the translation: the examples, each on lines of its own, before."""
        shown = [f"{self.fill(source)} {target}\n" for source, target in self.examples]
        return "\n".join([*shown, self.fill(sentence)])

    @property
    def checksum(self) -> str:
        """SHA-256 (hex) of template, languages and examples."""
        parts = [self.template, self.source_language, self.target_language, *map("\t".join, self.examples)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        return {"template": self.template, "examples": len(self.examples), "checksum": self.checksum}


def _read_examples(path: Path) -> Sequence[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        source, _, target = (part.strip() for part in line.partition("\t"))
        if not source or not target or "\t" in target:
            raise MMTError(f"{path}: line {number}: expected a sentence, a tab and its translation.")
        pairs.append((source, target))
    return pairs
