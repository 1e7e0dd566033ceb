"""``mmt score``: scores files of translations and tests the differences between systems."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH, bootstrap_seed_option, format_option, metrics_option
from mmt.errors import MMTError


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

    # Imported here: the help needs neither sacrebleu nor rich.
    from mmt.report.scores import compare_files

    compare_files(
        hypotheses, reference, lang=lang, tokenized=tokenized, source=source, metrics=metrics, samples=bootstrap,
        seed=seed, json=form == "json",
    )  # fmt: skip
