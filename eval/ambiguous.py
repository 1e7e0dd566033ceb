"""Score translations on the words that have several translations: see ``mmt.metrics.ambiguity``.

python -m eval.ambiguous data/ambiguous_en_de.json data/multi30k_en_de test_2016_flickr text_only.de gated.de
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from mmt.cli.command import Command
from mmt.cli.options import PATH, format_option
from mmt.data.dataset import read_info, read_split
from mmt.data.inputs import read_texts
from mmt.errors import MMTError
from mmt.io.formats import TRANSLATIONS
from mmt.io.tables import print_table
from mmt.io.terminal import console, print_json
from mmt.metrics.ambiguity import GROUPS, USUAL, Lexicon, SenseScore, sense_accuracy
from mmt.metrics.moses import unescape
from mmt.metrics.p_values import McNemar, mcnemar
from mmt.metrics.significance import p_text


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("lexicon", type=PATH)
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("hypotheses", metavar="HYP [HYP2 ...]", nargs=-1, required=True, type=PATH)
@format_option
def main(lexicon: Path, data: Path, split: str, hypotheses: tuple[Path, ...], form: str) -> None:
    """Score translations of SPLIT of the prepared dataset DATA on the ambiguous words of LEXICON.

    Each HYP is one system's translations, one a line, plain or .gz. The others are compared with the first by
    McNemar's test.
    """
    scores = score_files(lexicon, data, split, hypotheses)
    if form == "json":
        systems = [
            {**asdict(score), "name": name, "difference": asdict(test) if test is not None else None}
            for (name, score), test in zip(scores.items(), _tests(list(scores.values())), strict=True)
        ]
        result = {"data": str(data), "split": split, "lexicon": str(lexicon), "systems": systems}
        print_json(result)
    else:
        print_scores(scores)


def score_files(lexicon: Path, data: Path, split: str, hypotheses: Sequence[Path]) -> dict[str, SenseScore]:
    """Scores files of translations; of masked sources, the words that were there are looked up.

    Raises:
        MMTError: a file cannot be read, is of other languages, or has not a line for each sentence of the split.
    """
    words, info = Lexicon.load(lexicon), read_info(data)
    words.check_languages(info.source_lang, info.target_lang, data)
    rows = read_split(data, split)
    sources = list(rows["unmasked" if "unmasked" in rows.column_names else "source"])
    scores = {}
    for path in hypotheses:
        lines = [unescape(line) for line in read_texts(path, TRANSLATIONS)]
        if len(lines) != len(sources):
            raise MMTError(f"{path} has {len(lines):,} lines and {data} {split} {len(sources):,} sentences.")
        scores[str(path)] = sense_accuracy(words, sources, list(rows["target"]), lines)
    return scores


def print_scores(scores: dict[str, SenseScore]) -> None:
    """Prints the table and, below it, the signature."""
    out = console()
    first = next(iter(scores.values()))
    groups = [f"{100 * (name == USUAL):.2f}" if group.items else "-" for name, group in first.groups.items()]
    usual = map(_percent, (first.usual_accuracy, first.usual_accuracy, first.usual_macro_f1))
    rows = [["baseline", *usual, *groups, ""]]
    for number, (score, test) in enumerate(zip(scores.values(), _tests(list(scores.values())), strict=True), 1):
        numbers = (score.accuracy, score.micro_f1, score.macro_f1, *(g.accuracy for g in score.groups.values()))
        p_value = p_text(test.p_value, label=False) if test is not None else ""
        rows.append([str(number), *map(_percent, numbers), p_value])
    rows.append(["items", f"{len(first.items):,}", "", "", *(f"{g.items:,}" for g in first.groups.values()), ""])
    print_table(("system", "accuracy", "micro F1", "macro F1", *GROUPS, "p"), rows)
    for number, name in enumerate(scores, 1):
        out.print(f"{number}: {name}", soft_wrap=True)
    out.print("baseline: the word's most frequent translation every time")
    for name, meaning in GROUPS.items():
        out.print(f"{name}: the reference has {meaning}")
    if len(scores) > 1:
        out.print("p: of the accuracy's difference from the first system, exact McNemar test, two-sided")
    out.print(first.signature, soft_wrap=True)


def _tests(scores: Sequence[SenseScore]) -> list[McNemar | None]:
    """Of each system against the first, whose own place holds None."""
    hits = [[item.hit for item in score.items] for score in scores]
    return [None, *(mcnemar(hits[0], others) for others in hits[1:])]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main(prog_name="python -m eval.ambiguous")
