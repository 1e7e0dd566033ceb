"""``mmt translate``: translates sentences, each with its image or without."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command, write_alone
from mmt.cli.engines import ran_on_engine, shard_of
from mmt.cli.options import (
    PATH_OR_DASH,
    collected,
    device_option,
    import_option,
    models_option,
    on_option,
    quiet_option,
    runtime_option,
    shard_option,
    source_lang_option,
    target_lang_option,
    threads_option,
    vocabulary_option,
)
from mmt.cli.reading import READS_SENTENCES, Reading, file_or_stdout
from mmt.errors import MMTError

if TYPE_CHECKING:
    from mmt.inference.files import FileTranslator
    from mmt.inference.open import Runtime
    from mmt.inference.translator import BaseTranslator
    from mmt.model.stepping import Precision

_SHOWN = {"right": "with image", "wrong": "with another's image", "blank": "with image (blank)"}


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Options of the search; None takes the value of the model's card."""

    beam_size: int | None
    length_penalty: float | None
    n_best: int
    guidance: float
    max_tokens: int


_DECODES = collected(
    Decoding,
    "decoding",
    click.option("--beam-size", type=click.IntRange(min=1), help="Beam size.  [default: the model's]"),
    click.option("--length-penalty", type=float,
                 help="Length penalty; over 1 favours longer translations.  [default: the model's]"),
    click.option("--n-best", type=click.IntRange(min=1), default=1,
                 help="Number of translations of each sentence."),
    click.option("--guidance", type=click.FloatRange(min=0), default=1.0, metavar="GAMMA",
                 help="Classifier-free guidance: over 1 amplifies the image's effect, 0 drops it."),
    click.option("--max-tokens", type=click.IntRange(min=1), default=8192,
                 help="Maximum number of tokens in a batch, beams included."),
)  # fmt: skip


@click.command("translate", cls=Command)
@models_option
@source_lang_option
@target_lang_option
@READS_SENTENCES
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=1,
    help="Number of draws of wrong images, with consecutive seeds; put {draw} into --output.",
)
@click.option(
    "--output",
    type=PATH_OR_DASH,
    default="-",
    help="Output file, one translation a line; .jsonl writes JSON lines, .gz compresses.",
)
@_DECODES
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "int8"]),
    default="float32",
    help="Precision of the decoder's matrices; bfloat16 and int8 are faster and less exact.",
)
@vocabulary_option
@runtime_option
@threads_option
@device_option
@shard_option
@on_option
@quiet_option
@import_option
def translate_command(
    model: Path,
    source_lang: str | None,
    target_lang: str | None,
    reading: Reading,
    draws: int,
    output: Path,
    decoding: Decoding,
    precision: Precision,
    vocabulary: Path | None,
    runtime: Runtime,
    threads: int | None,
    device: str,
    shard: str | None,
    engine: str | None,
    quiet: bool,
) -> None:
    """Translate sentences, with their images or without. Every input line yields one output line."""
    # Inputs are checked before torch is loaded.
    share = shard_of(shard, engine)
    reading.check(output, share, engine)
    outputs = _outputs(reading, output, draws)
    if share is None and engine is None:
        write_alone(*map(file_or_stdout, dict.fromkeys(outputs)))
    card, store = reading.read_card(model), reading.open_stores()
    source_lang, target_lang = reading.languages(model, source_lang, target_lang)
    lines = reading.open(card)
    if ran_on_engine(engine, *dict.fromkeys(outputs), threads=threads, quiet=quiet):
        return

    from mmt.engines.worker import kept
    from mmt.inference.files import FileTranslator, write_output
    from mmt.inference.open import open_translator

    def opened() -> BaseTranslator:
        translator = open_translator(
            model, store, precision, runtime, threads,
            source_lang=source_lang, target_lang=target_lang, device=device,
        )  # fmt: skip
        if vocabulary is not None:
            translator.restrict_vocabulary(vocabulary)
        return translator

    translator = kept("translator", opened)
    runtimes = [one.runtime.partition(" (")[0] for one in translator.members]  # as opened, without the reason
    options = [
        decoding.beam_size, decoding.length_penalty, decoding.guidance, decoding.n_best, decoding.max_tokens,
        precision, runtimes, source_lang, target_lang, str(vocabulary or ""),
    ]  # fmt: skip
    for draw, path in enumerate(outputs):
        if draw:
            lines = reading.open(card)
        work = FileTranslator(translator, lines, reading.missing_images, share)
        started = time.monotonic()
        seed = reading.control_seed + draw
        translations = work.translate(
            **asdict(decoding), image_control=reading.image_control, control_seed=seed, show_progress=not quiet
        )
        with reading.parts(path, share, model, options=options, seed=seed) or nullcontext() as parts:
            message = write_output(translations, file_or_stdout(path), decoding.n_best, parts)
        if not quiet:
            _summarize(work, message, _SHOWN[reading.image_control], time.monotonic() - started)


def _outputs(reading: Reading, output: Path, draws: int) -> list[Path]:
    """The output of each draw of wrong images. Raises MMTError where draws cannot be written or drawn."""
    if draws > 1 and (reading.image_control != "wrong" or "{draw}" not in output.name or reading.from_stdin):
        raise MMTError(
            f"--draws {draws}: expected --image-control wrong, an input that can be read again (--input FILE "
            "or --data), and an output for each draw, such as --output wrong.{draw}.de."
        )
    if reading.image_control != "wrong" or "{draw}" not in output.name:
        return [output] * draws
    return [output.with_name(output.name.replace("{draw}", str(draw + 1))) for draw in range(draws)]


def _summarize(work: FileTranslator, message: str, shown: str, seconds: float) -> None:
    if message:
        click.echo(message, err=True)
    speed = f"{seconds:.1f} s ({work.counts.sentences / seconds:,.0f} sentences/s)"
    click.echo(f"{work.counts.summary(shown)}, {speed}, {work.model.runtime}{work.input.note}", err=True)
    if missing := work.missing():
        click.echo(missing, err=True)
