"""Serves models until the process is stopped: what ``mmt serve`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmt.io.terminal import counted, print_note
from mmt.serve.api import create_app
from mmt.serve.limits import Limits
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel, open_models
from mmt.serve.server import address_of, bind, run

if TYPE_CHECKING:
    from mmt.inference.open import Runtime
    from mmt.model.stepping import Precision


def serve(
    models: Sequence[str],
    limits: Limits,
    *,
    host: str,
    port: int,
    page: bool,
    examples: Path | None,
    index: Path | None,
    precision: Precision,
    runtime: Runtime,
    source_lang: str | None,
    target_lang: str | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Opens models and answers requests until Ctrl+C.

    Args:
        models, precision, runtime, source_lang, target_lang: as in ``open_models``.
        host, port: as in ``bind``.
        page: whether there is a web page beside the API.
        examples, index: of the page, as in ``add_page``.
        threads: for each model; None is the number of cores.
        quiet: do not print what is served, and where.
    Raises:
        MMTError: the address is not free, a model cannot be opened, or the examples or the index do not fit.
    """
    listening = bind(host, port)  # before the models, which take seconds
    metrics = Metrics()
    opened = open_models(
        models,
        limits,
        metrics,
        threads=threads or os.cpu_count() or 1,
        precision=precision,
        runtime=runtime,
        source_lang=source_lang,
        target_lang=target_lang,
    )
    app = create_app(opened, limits, metrics)
    if page:
        from mmt.serve.page import add_page  # Gradio, which the API alone needs not

        add_page(app, examples, index)

    def ready() -> None:
        if not quiet:
            _print_served(opened, address_of(listening), page=page)

    run(app, listening, ready=ready)


def _print_served(models: Sequence[ServedModel], address: str, *, page: bool) -> None:
    for one in models:
        runtime = f"; {one.translator.runtime}" if one.writes else ""
        languages = f"{one.card.source_lang}-{one.card.target_lang}"
        reads = "" if one.reads_images else f"; no images: {one.images_refused}"
        print_note(f"{one.name}: {languages}, {' and '.join(one.tasks)}{reads}{runtime}")
    what = f"{counted(len(models), 'model')}: {'page and API' if page else 'API'}"
    print_note(f"{what} at {address}, described at {address}/docs")
