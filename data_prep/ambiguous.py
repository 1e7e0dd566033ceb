"""Lists the source words of a prepared dataset that have several translations: see ``mmt.metrics.ambiguity``.

    python -m data_prep.ambiguous data/multi30k_en_de data/ambiguous_en_de.json

The words are found in the train split; of masked sources (``data_prep.probes``), in the sentences as they were.
"""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.options import PATH
from mmt.data.dataset import read_info, read_split
from mmt.io.tables import print_table
from mmt.io.terminal import counted
from mmt.metrics.ambiguity import Lexicon, find_ambiguous

_TOP = 20


@click.command(cls=Command)
@click.argument("data", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--min-count",
    type=click.IntRange(min=1),
    default=10,
    help="Minimum number of aligned occurrences of a translation.",
)
@click.option(
    "--min-share",
    type=click.FloatRange(0, 1),
    default=0.05,
    help="Minimum share of its word's aligned occurrences.",
)
@click.option("--seed", type=int, default=1, help="Random seed of the aligner.")
def main(data: Path, out: Path, min_count: int, min_share: float, seed: int) -> None:
    """Find the ambiguous words of the prepared dataset DATA, and write them to OUT (JSON)."""
    write_alone(out)
    info = read_info(data)
    rows = read_split(data, "train")
    sources = rows["unmasked" if "unmasked" in rows.column_names else "source"]
    lexicon = find_ambiguous(
        list(sources),
        list(rows["target"]),
        info.source_lang,
        info.target_lang,
        min_count=min_count,
        min_share=min_share,
        seed=seed,
    )
    lexicon.save(out)
    print_words(lexicon, _TOP)
    click.echo(f"{out}: {counted(len(lexicon.words), 'word')}\n{lexicon.signature}")


def print_words(lexicon: Lexicon, top: int) -> None:
    """Prints the ``top`` words that are ambiguous most often: by entropy times count."""
    rows = []
    for word in sorted(lexicon.words.values(), key=lambda word: -word.entropy * word.count)[:top]:
        translations = ", ".join(f"{sense.name} {sense.probability:.0%}" for sense in word.senses)
        rows.append([word.word, f"{word.count:,}", f"{word.entropy:.2f}", translations])
    title = f"Most ambiguous, {lexicon.source_lang}-{lexicon.target_lang}"
    print_table(("word", "count", "bits", "translations"), rows, title=title, text=(0, 3))


if __name__ == "__main__":
    main(prog_name="python -m data_prep.ambiguous")
