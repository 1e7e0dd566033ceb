"""The tokenizer of a model of several language pairs that was trained from scratch: a tag names the target."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from mmt.data.languages import find_language
from mmt.data.tokenizer import TOKENIZER_CONFIG, UNK, Tokenizer
from mmt.errors import MMTError, unreadable
from mmt.io.atomic import write_whole
from mmt.io.text_files import parse_json

KIND = "scratch"
"""In ``tokenizer.json``."""


def language_tag(code: str) -> str:
    """The piece of the language that is translated into, ``<2de>`` (Johnson et al. 2017)."""
    return f"<2{code}>"


def write_languages(folder: Path, languages: Iterable[str]) -> None:
    """Writes ``tokenizer.json``: which languages have a tag in ``tokenizer.model``."""
    content = {"kind": KIND, "languages": sorted(set(languages))}
    write_whole(folder / TOKENIZER_CONFIG, json.dumps(content, indent=2) + "\n")


def tagged_languages(folder: Path) -> list[str]:
    """The languages of ``write_languages``; empty if the tokenizer in ``folder`` is of another kind.

    Raises:
        MMTError: the file is damaged.
    """
    path = folder / TOKENIZER_CONFIG
    if not path.is_file():
        return []
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["kind"] != KIND:
            return []
        if not content["languages"] or not all(isinstance(code, str) for code in content["languages"]):
            raise ValueError("languages of the wrong kind")
        return list(content["languages"])
    except PermissionError as error:
        raise unreadable(error) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MMTError(f"{path}: damaged ({error}). Copy the model folder again.") from None


class TaggedTokenizer(Tokenizer):
    """A SentencePiece model with a tag for each language, which stands before the source sentence.

    The tag is that of the target language (Johnson et al. 2017, https://aclanthology.org/Q17-1024); the source's
    language is not named. A text never contains a tag, as tags are control symbols.

    Raises:
        MMTError: as ``Tokenizer``; or the model lacks the tag of a language.
    """

    def __init__(self, path: Path, languages: Sequence[str]) -> None:
        super().__init__(path)
        self._tags = {code: int(self._model.piece_to_id(language_tag(code))) for code in languages}
        lacking = [code for code, tag in self._tags.items() if tag == UNK]
        if lacking or not languages:
            raise MMTError(
                f"{path}: expected a tag for each language of {TOKENIZER_CONFIG}, found none for "
                f"'{lacking[0] if lacking else ''}'. Copy the model folder again."
            )
        self.languages = tuple(languages)

    def for_languages(self, source: str, target: str) -> Self:
        find_language(source, self._tags)
        target = find_language(target, self._tags)
        bound = copy.copy(self)
        bound.source_prefix = (self._tags[target],)
        return bound

    def encode(self, line: str) -> list[int]:
        """The ids of the source line after the target language's tag, without eos; [] for an empty line.

        Raises:
            MMTError: no target language was named.
        """
        if not self.source_prefix:
            raise MMTError(
                f"{self.path}: of several languages ({', '.join(self.languages)}). Name the source's and the "
                "target's, on the command line by --source-lang and --target-lang."
            )
        return super().encode(line)
