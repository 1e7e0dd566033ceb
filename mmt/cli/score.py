"""``mmt score``: scores files of translations, and says whether a difference between systems is one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from mmt.cli.command import Command
from mmt.cli.options import bootstrap_seed_option, format_option
from mmt.data.inputs import read_texts
from mmt.errors import MMTError
from mmt.io.formats import TRANSLATIONS
from mmt.io.terminal import console, counted, print_json, print_table
from mmt.metrics.languages import primary_language
from mmt.metrics.moses import looks_tokenized, unescape
from mmt.metrics.significance import FEWEST_SENTENCES, Difference, paired_bootstrap
from mmt.metrics.translation import Score, corpus_scores, metrics_for, normalized, tokenize_as_papers

_HEADINGS = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER ↓", "bleu_lc_tok": "BLEU-lc-tok *"}


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


def print_scores(systems: Sequence[SystemScores]) -> None:
    """Prints the table and, below it, the signatures."""
    first, out, rows = systems[0], console(), []
    for system, name in zip(systems, _apart([system.name for system in systems]), strict=True):
        cells = [
            f"{score.value:.2f}" + _difference(system.differences.get(key)) for key, score in system.scores.items()
        ]
        rows.append([name, *cells])
    print_table(["system", *(_HEADINGS[key] for key in first.scores)], rows, lines=len(systems) > 1)
    if len(systems) > 1 and systems[1].differences:
        below = "Below a score: its difference from the first system"
        if first.sentences < FEWEST_SENTENCES:
            below += f". No p value for {counted(first.sentences, 'sentence')}, it takes {FEWEST_SENTENCES}."
        else:
            below += (
                " and p by sacrebleu's paired bootstrap, in effect one-sided: for a two-sided test at 5 % ask for "
                "p < 0.025."
            )
        out.print(below)
    out.print("Signatures:")
    for key, score in first.scores.items():
        difference = systems[-1].differences.get(key)
        star = "* " if key == "bleu_lc_tok" else ""
        signature = difference.signature if difference else score.signature
        out.print(f"{star}{score.name}\n  {signature}", soft_wrap=True)
    if first.tokenized:
        out.print(first.tokenized, soft_wrap=True)
    for line in explain_omitted(first.omitted):
        out.print(line, soft_wrap=True)


def explain_omitted(omitted: Mapping[str, str]) -> list[str]:
    """A line for each score that is left out: which one, and why."""
    names = {"bleu_lc_tok": "The papers' BLEU", "ter": "TER"}
    return [f"{names.get(key, _HEADINGS[key])} is omitted: {reason}." for key, reason in omitted.items()]


@click.command("score", cls=Command)
@click.option("--ref", "reference", required=True, type=click.Path(path_type=Path), help="Reference translations.")
@click.argument("hypotheses", metavar="HYP [HYP2 ...]", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--lang", help="Target language, such as de or zh: chooses the tokenizer, adds the papers' BLEU.")
@click.option(
    "--tokenized/--raw",
    default=None,
    help="Whether all files are Moses-tokenised, or none.  [default: as they look]",
)
@format_option
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=1000,
    help="Number of bootstrap resamples; 0 makes no comparison.",
)
@bootstrap_seed_option
def score_command(
    reference: Path,
    hypotheses: tuple[Path, ...],
    lang: str | None,
    tokenized: bool | None,
    output: str,
    bootstrap: int,
    seed: int,
) -> None:
    """Score translations: BLEU, chrF2, TER and the BLEU of the papers.

    Each HYP is one system's translations, one a line, plain or .gz. The first is the baseline: the others are
    compared with it by paired bootstrap resampling.
    """
    if sys.stdout is None:
        raise MMTError("standard output is closed, and the scores go there. Redirect it to a file.")
    systems = score_files(hypotheses, reference, lang=lang, samples=bootstrap, seed=seed, tokenized=tokenized)
    if output == "json":
        print_json(_json(systems, reference))
    else:
        print_scores(systems)


def _json(systems: Sequence[SystemScores], reference: Path) -> dict[str, Any]:
    return {
        "reference": str(reference),
        "baseline": systems[0].name,
        "systems": [asdict(system) for system in systems],
    }


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    p_value = "" if difference.p_value is None else f"\np {difference.p_value:.3f}"
    return f"\n{difference.value:+.2f}{p_value}"


def _apart(paths: Sequence[str]) -> list[str]:
    """Paths without the first and the last parts that they share: what tells them apart, and fits a table."""
    parts = [Path(path).parts for path in paths]
    if len(set(parts)) == 1:
        return list(paths)
    while min(map(len, parts)) > 1 and len({path[0] for path in parts}) == 1:
        parts = [path[1:] for path in parts]
    while min(map(len, parts)) > 1 and len({path[-1] for path in parts}) == 1:
        parts = [path[:-1] for path in parts]
    return [str(Path(*path)) for path in parts]
