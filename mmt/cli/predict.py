"""``mmt predict``: labels and scores of sentences, each with its image or without."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.engines import ran_on_engine, shard_of
from mmt.cli.options import (
    MODEL,
    PATH_OR_DASH,
    device_option,
    import_option,
    on_option,
    quiet_option,
    shard_option,
    threads_option,
)
from mmt.cli.reading import READS_SENTENCES, Reading, file_or_stdout


@click.command("predict", cls=Command)
@click.option("--model", type=MODEL, required=True, help="Model folder of a model trained for labels or scores.")
@READS_SENTENCES
@click.option("--output", type=PATH_OR_DASH, default="-",
              help="Output file: label, probability and score, tab-separated; .jsonl writes JSON lines, "
              ".gz compresses.")  # fmt: skip
@threads_option
@device_option
@shard_option
@on_option
@quiet_option
@import_option
def predict_command(
    model: Path,
    reading: Reading,
    output: Path,
    threads: int | None,
    device: str,
    shard: str | None,
    engine: str | None,
    quiet: bool,
) -> None:
    """Predict labels and scores of sentences. Every input line yields one output line."""
    share = shard_of(shard, engine)
    reading.check(output, share, engine)
    if share is None and engine is None:
        write_alone(file_or_stdout(output))
    card, store = reading.read_card(model), reading.open_stores()
    lines = reading.open(card)
    if ran_on_engine(engine, output, threads=threads, quiet=quiet):
        return

    # torch is loaded after the inputs have been checked.
    from mmt.engines.worker import kept
    from mmt.inference.labelling import FileLabeller, write_predictions
    from mmt.inference.loaded import LoadedModel
    from mmt.inference.threads import use_threads

    use_threads(threads)
    loaded = kept("model", lambda: LoadedModel.from_dir(model, store).to(device))
    labeller = FileLabeller(loaded, lines, reading.missing_images, share)
    predictions = labeller.predict(
        image_control=reading.image_control, control_seed=reading.control_seed, show_progress=not quiet
    )
    with reading.parts(output, share, model, seed=reading.control_seed) or nullcontext() as parts:
        message = write_predictions(predictions, file_or_stdout(output), parts)
    if quiet:
        return
    if message:
        click.echo(message, err=True)
    notes = "".join(f"; some {note}" for note in labeller.notes())
    click.echo(f"{labeller.counts.summary()}{notes}, torch{lines.note}", err=True)
    if missing := labeller.missing():
        click.echo(missing, err=True)
