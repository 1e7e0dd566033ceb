"""Scores of files of translations, and whether a difference between systems is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmt.data.inputs import read_texts
from mmt.errors import MMTError
from mmt.io.formats import TRANSLATIONS
from mmt.metrics.languages import primary_language
from mmt.metrics.moses import looks_tokenized, unescape
from mmt.metrics.scores import Score
from mmt.metrics.significance import Difference, paired_bootstrap
from mmt.metrics.translation import corpus_scores, metrics_for, normalized, tokenize_as_papers


@dataclass(frozen=True)
class SystemScores:
    """One file's scores and, unless it is the baseline, how far they are from the baseline's."""

    name: str
    sentences: int
    scores: Mapping[str, Score]
    differences: Mapping[str, Difference]
    omitted: Mapping[str, str]
    """Why other scores are left out, the same for all systems."""
    tokenized: str
    """Where the text is tokenised: what was done about it."""


def score_files(
    hypotheses: Sequence[Path],
    reference: Path,
    *,
    lang: str | None,
    samples: int = 1000,
    seed: int = 12345,
    tokenized: bool | None = None,
) -> list[SystemScores]:
    """Scores files of translations against one reference.

    Args:
        hypotheses: one file a system, see ``mmt.data.inputs.read_texts``; the first is the baseline of the others.
        reference: the reference translations, line by line.
        lang: the target language; None leaves out the papers' BLEU.
        samples: of the paired bootstrap; 0 for none.
        seed: of the paired bootstrap.
        tokenized: whether the files are Moses-tokenised; None: whether each looks so. Where one is, the others are
            lower-cased and tokenised as the papers do it, and the scores are of tokenised text.
    Raises:
        MMTError: a file cannot be read, or has not as many lines as the reference; no code of a language; one file
            is tokenised and another cannot be.
    """
    references = read_texts(reference, TRANSLATIONS)
    if "" in references:
        raise MMTError(f"{reference}: line {references.index('') + 1} is blank: there is nothing to compare with.")
    systems = [read_texts(path, TRANSLATIONS) for path in hypotheses]
    for path, lines in zip(hypotheses, systems, strict=True):
        if len(lines) != len(references):
            raise MMTError(
                f"{path} has {len(lines):,} lines and {reference} has {len(references):,}: expected one for one."
            )
    note = ""
    if tokenized is not False:
        note, (references, *systems) = _tokenized(
            [reference, *hypotheses], [references, *systems], lang, tokenized
        )
    tokens = bool(note)
    omitted = metrics_for(references, target_lang=lang, tokenized=tokens)[1]
    scores = [corpus_scores(lines, references, target_lang=lang, tokenized=tokens) for lines in systems]
    differences: list[dict[str, Difference]] = [{} for _ in systems]
    if samples and len(systems) > 1:
        differences[1:] = paired_bootstrap(
            systems[0], systems[1:], references, target_lang=lang, samples=samples, seed=seed, tokenized=tokens
        )
    return [
        SystemScores(str(path), len(references), *both, omitted, note)
        for path, both in zip(hypotheses, zip(scores, differences, strict=True), strict=True)
    ]


def _tokenized(
    paths: Sequence[Path], texts: Sequence[list[str]], lang: str | None, known: bool | None
) -> tuple[str, list[list[str]]]:
    """Makes all texts tokenised ones if any is; returns what was done, "" for nothing, and the texts."""
    texts = [[unescape(line) if known is not False else line for line in lines] for lines in texts]
    looks = [known if known is not None else looks_tokenized(lines) for lines in texts]
    if True not in looks:
        return "", list(texts)
    first = paths[looks.index(True)]
    raw = [number for number, look in enumerate(looks) if look is False]
    note = f"{first} is tokenised text, so tokens are scored as they stand, in lower case"
    for number in raw:
        code = primary_language(lang) if lang is not None else ""
        try:
            texts[number] = tokenize_as_papers(normalized(texts[number]), code)
        except MMTError:
            raise MMTError(
                f"{first} is tokenised text, {paths[number]} is not: expected two of a kind, or --lang with a "
                "language whose Moses rules tokenise the other. --tokenized or --raw says that all files are."
            ) from None
    if raw:
        note += f"; tokenised for this, as the papers do it: {', '.join(str(paths[number]) for number in raw)}"
    return f"{note}.", list(texts)
