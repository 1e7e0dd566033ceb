"""Scores of files of translations, and the differences between systems, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmt.io.tables import print_table
from mmt.io.terminal import console, counted, print_json
from mmt.metrics.external import add_neural_scores
from mmt.metrics.files import SystemScores, score_files
from mmt.metrics.significance import FEWEST_SENTENCES, Difference

_HEADINGS = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER ↓", "bleu_lc_tok": "BLEU-lc-tok *"}


def compare_files(
    hypotheses: Sequence[Path],
    reference: Path,
    *,
    lang: str | None,
    tokenized: bool | None,
    source: Path | None,
    metrics: Sequence[str],
    samples: int,
    seed: int,
    json: bool,
) -> None:
    """Scores files, the first of them the baseline, and prints a table or JSON.

    Args:
        hypotheses, reference, lang, tokenized, samples, seed: as in ``score_files``.
        source, metrics: as in ``add_neural_scores``.
    Raises:
        MMTError: as these two.
    """
    systems = score_files(hypotheses, reference, lang=lang, samples=samples, seed=seed, tokenized=tokenized)
    if metrics:
        systems = add_neural_scores(systems, hypotheses, reference, source, metrics, samples=samples, seed=seed)
    if json:
        print_json(_json(systems, reference))
    else:
        print_scores(systems)


def print_scores(systems: Sequence[SystemScores]) -> None:
    """Prints the table and, below it, the signatures."""
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
