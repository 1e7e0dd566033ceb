"""``mmt serve``: models on a web page and in an HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmt.cli.command import Command
from mmt.cli.options import (
    PATH,
    import_option,
    quiet_option,
    runtime_option,
    source_lang_option,
    target_lang_option,
    threads_option,
)
from mmt.errors import MMTError
from mmt.serve.limits import Limits

if TYPE_CHECKING:
    from mmt.inference.open import Runtime


@click.command("serve", cls=Command)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 is all networks of this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="Port to listen on; 0 takes a free one.")
@click.option("--page/--no-page", default=True, help="Serve the web page, or the HTTP API alone.")
@click.option("--examples", type=PATH, metavar="DATA",
              help="Prepared dataset: sentences and pictures to try on the page.")  # fmt: skip
@click.option("--index", type=PATH, help="Index of mmt retrieve, to search on the page.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "int8"]), default="float32",
              help="Precision of the decoder's matrices.")  # fmt: skip
@click.option("--max-megabytes", type=click.FloatRange(min=0.001), default=32.0, help="Limit on a request's size.")
@click.option("--max-megapixels", type=click.FloatRange(min=0.001), default=25.0, help="Limit on an image's size.")
@click.option("--max-sentences", type=click.IntRange(min=1), default=64, help="Limit on a request's sentences.")
@click.option("--max-characters", type=click.IntRange(min=1), default=10_000, help="Limit on a sentence's length.")
@click.option("--max-waiting", type=click.IntRange(min=1), default=1024,
              help="Limit on the sentences that wait for one model; further requests get 503.")  # fmt: skip
@click.option("--max-seconds", type=click.FloatRange(min=0.01), default=30.0,
              help="Limit on the time from a request to its answer.")  # fmt: skip
@click.option(
    "--max-batch", type=click.IntRange(min=1), default=256, help="Limit on sentences translated at a time."
)
@runtime_option
@source_lang_option
@target_lang_option
@threads_option
@quiet_option
@import_option
def serve_command(
    models: tuple[str, ...],
    host: str,
    port: int,
    page: bool,
    examples: Path | None,
    index: Path | None,
    precision: str,
    max_megabytes: float,
    max_megapixels: float,
    max_sentences: int,
    max_characters: int,
    max_waiting: int,
    max_seconds: float,
    max_batch: int,
    runtime: Runtime,
    source_lang: str | None,
    target_lang: str | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Serve models on a web page and in an HTTP API, until Ctrl+C.

    MODEL is a model folder, an exported model, a pretrained text model or pictures-en-de, which comes with mmt;
    several are served side by side. NAME=MODEL gives one a name.
    """
    if not page and (examples or index):
        raise MMTError("--examples and --index are for the page. Leave out --no-page.")
    limits = Limits(
        round(max_megabytes * 1e6), round(max_megapixels * 1e6), max_sentences, max_characters, max_waiting,
        max_seconds, max_batch,
    )  # fmt: skip
    # Imported here: the help and the checks of the options need neither NumPy nor the web framework.
    from mmt.serve.run import serve

    serve(
        models,
        limits,
        host=host,
        port=port,
        page=page,
        examples=examples,
        index=index,
        precision=precision,  # type: ignore[arg-type]  # click checks it
        runtime=runtime,
        source_lang=source_lang,
        target_lang=target_lang,
        threads=threads,
        quiet=quiet,
    )
