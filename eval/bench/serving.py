"""Measures where the time of ``mmt serve`` goes: a sentence by the size of its batch, and the rest of a request.

    python -m eval.bench.serving

The built-in model translates sentences about the built-in pictures, in the order in which they come, as requests
do. Times are of the processor, with one thread; the load of the machine is printed. ``tests/hard/serve_load.py``
measures a whole server with clients.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import click
from fastapi import FastAPI

from data_prep.pictures.scenes import plan
from mmt.cli.command import Command
from mmt.inference.open import open_translator
from mmt.inference.translator import BaseTranslator
from mmt.io.tables import print_table
from mmt.serve.api import create_app
from mmt.serve.limits import Limits
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CLIENTS = 64
_SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/translate",
    "raw_path": b"/translate",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
    "http_version": "1.1",
    "scheme": "http",
    "server": ("bench", 80),
    "client": ("bench", 1),
    "root_path": "",
}


def of_a_sentence(translator: BaseTranslator, sentences: Sequence[str], size: int) -> float:
    """Milliseconds of processor time for a sentence in batches of ``size``."""
    used = sentences[: max(48, 4 * size)]
    began = time.process_time()
    for start in range(0, len(used), size):
        translator.hypotheses(used[start : start + size])
    return 1000 * (time.process_time() - began) / len(used)


def without_search(translator: BaseTranslator, sentence: str) -> BaseTranslator:
    """A translator that gives the translation of ``sentence`` at once, whatever it is given."""
    known, fast = translator.hypotheses([sentence])[0], copy.copy(translator)
    fast.hypotheses = lambda sentences, *_, **__: [known] * len(sentences)  # type: ignore[method-assign]
    return fast


def of_a_request(app: FastAPI, sentences: Sequence[str]) -> float:
    """Milliseconds of processor time for a request with one sentence, of ``CLIENTS`` at a time."""

    async def ask(sentence: str) -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        content = json.dumps({"sentences": [{"text": sentence}]}).encode()
        messages.put_nowait({"type": "http.request", "body": content, "more_body": False})

        async def send(message: Any) -> None:
            pass

        await app(dict(_SCOPE), messages.get, send)

    async def client(own: Sequence[str]) -> None:
        for sentence in own:
            await ask(sentence)

    async def run() -> None:
        await asyncio.gather(*(client(sentences[number::CLIENTS]) for number in range(CLIENTS)))

    began = time.process_time()
    asyncio.run(run())
    return 1000 * (time.process_time() - began) / len(sentences)


@click.command("serving", cls=Command)
@click.option("--model", default="pictures-en-de", help="Model that translates English text.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, help="Number of measurements of each figure.")
def main(model: str, rounds: int) -> None:
    """Measure a sentence by the size of its batch, and the rest of a request."""
    sentences = list(dict.fromkeys(row.source for row in plan(1, {"train": 3000})["train"]))[:1024]
    translator = open_translator(model, runtime="auto", threads=1)
    limits, metrics = Limits(), Metrics()
    served = ServedModel("model", translator.card, without_search(translator, sentences[0]), 2, limits, metrics)
    app = create_app([served], limits, metrics)
    print(f"{translator.runtime}; load of the machine: {os.getloadavg()[0]:.1f}")
    sizes = (*SIZES, len(sentences))
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for size in sizes:
            found.setdefault(f"a sentence in a batch of {size:,}", []).append(
                of_a_sentence(translator, sentences, size)
            )
        found.setdefault("the rest of a request", []).append(of_a_request(app, sentences))
    print_table(
        ["what", "ms of CPU time"],
        [[what, ", ".join(f"{one:.2f}" for one in times)] for what, times in found.items()],
    )
    served.close()


if __name__ == "__main__":
    main()
