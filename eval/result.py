"""Writes down what a trained model scores: ``test.hyp.LANG`` and ``result.json`` for ``recipes/results``.

python -m eval.result runs/multi30k_en_de_none/model data/multi30k_en_de test_2016_flickr OUT
"""

from __future__ import annotations

from pathlib import Path

import click

from mmt.cli.command import Command, write_alone_in
from mmt.cli.options import MODEL, PATH, import_option, stores_option, threads_option
from mmt.data.dataset import read_info
from mmt.experiments.reproduce import write_result
from mmt.inference.threads import use_threads
from mmt.report.scores import explain_omitted


@click.command(cls=Command)
@click.argument("model", type=MODEL)
@click.argument("data", type=PATH)
@click.argument("split")
@click.argument("out", type=PATH)
@stores_option
@threads_option
@import_option
def main(model: Path, data: Path, split: str, out: Path, images: tuple[Path, ...], threads: int | None) -> None:
    """Translate SPLIT of the prepared dataset DATA with MODEL, score it, and write both into OUT."""
    use_threads(threads)
    write_alone_in(out)
    result = write_result(model, data, split, out, images)
    if result["features"] is None and (left := read_info(data).splits[split].images_found):
        click.echo(f"the model is text-only: {left:,} images of the data not used", err=True)
    for score in result["scores"].values():
        click.echo(f"{score['value']:6.2f}  {score['name']}")
    for line in explain_omitted(result["scores_left_out"]):
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="python -m eval.result")
