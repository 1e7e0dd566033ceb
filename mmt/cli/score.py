"""``mmt score``: scores files of translations and tests the differences between systems."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH, bootstrap_seed_option, format_option, metrics_option
from mmt.errors import MMTError
from mmt.io.terminal import console, counted, print_json, print_table

if TYPE_CHECKING:
    from mmt.metrics.files import SystemScores
    from mmt.metrics.significance import Difference

_HEADINGS = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER ↓", "bleu_lc_tok": "BLEU-lc-tok *"}


def print_scores(systems: Sequence[SystemScores]) -> None:
    """Prints the table and, below it, the signatures."""
    from mmt.metrics.significance import FEWEST_SENTENCES

    first, out, rows = systems[0], console(), []
    for system, name in zip(systems, _apart([system.name for system in systems]), strict=True):
        cells = [
            f"{score.value:.2f}" + _difference(system.differences.get(key)) for key, score in system.scores.items()
        ]
        rows.append([name, *cells])
    print_table(
        ["system", *(_HEADINGS.get(key, score.name) for key, score in first.scores.items())],
        rows,
        lines=len(systems) > 1,
    )
    if len(systems) > 1 and systems[1].differences:
        below = "Below a score: its difference from the first system"
        if first.sentences < FEWEST_SENTENCES:
            few = counted(first.sentences, "sentence")
            below += f". No p value: {few}, and at least {FEWEST_SENTENCES} are needed."
        else:
            below += (
                " and p by sacrebleu's paired bootstrap, in effect one-sided: for a two-sided test at 5 % require "
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
    """One line for each omitted score, with the reason."""
    names = {"bleu_lc_tok": "The papers' BLEU", "ter": "TER"}
    return [f"{names.get(key, _HEADINGS[key])} is omitted: {reason}." for key, reason in omitted.items()]


@click.command("score", cls=Command)
@click.option("--ref", "reference", required=True, type=PATH, help="Reference translations.")
@click.argument("hypotheses", metavar="HYP [HYP2 ...]", nargs=-1, required=True, type=PATH)
@click.option("--lang", help="Target language, such as de or zh: chooses the tokenizer, adds the papers' BLEU.")
@click.option(
    "--tokenized/--raw",
    default=None,
    help="Whether all files are Moses-tokenised, or none.  [default: as they look]",
)
@click.option("--source", type=PATH, help="Sentences that were translated; --metric needs them.")
@metrics_option
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
    source: Path | None,
    metrics: tuple[str, ...],
    form: str,
    bootstrap: int,
    seed: int,
) -> None:
    """Score translations: BLEU, chrF2, TER, the BLEU of the papers, and COMET.

    Each HYP is one system's translations, one a line, plain or .gz. The first is the baseline: the others are
    compared with it by paired bootstrap resampling.
    """
    if sys.stdout is None:
        raise MMTError("standard output is closed, and the scores go there. Redirect it to a file.")

    from mmt.metrics.files import score_files  # loads sacrebleu and SciPy

    systems = score_files(hypotheses, reference, lang=lang, samples=bootstrap, seed=seed, tokenized=tokenized)
    if metrics:
        from mmt.metrics.external import add_neural_scores  # for those that want one

        systems = add_neural_scores(systems, hypotheses, reference, source, metrics, samples=bootstrap, seed=seed)
    if form == "json":
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
    """Paths without their common first and last parts, short enough for a table."""
    parts = [Path(path).parts for path in paths]
    if len(set(parts)) == 1:
        return list(paths)
    while min(map(len, parts)) > 1 and len({path[0] for path in parts}) == 1:
        parts = [path[1:] for path in parts]
    while min(map(len, parts)) > 1 and len({path[-1] for path in parts}) == 1:
        parts = [path[:-1] for path in parts]
    return [str(Path(*path)) for path in parts]
