"""A tiny served model that reads images, and requests to it."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from mmt.features.decoding import decode_image
from mmt.inference.runtime_model import ImageFile
from mmt.inference.torch_runtime import Translator
from mmt.inference.translator import Translation
from mmt.serve.api import create_app
from mmt.serve.limits import Limits
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel
from tests.features.pictures import encoded, picture
from tests.worlds import DIM, tiny_folder

PICTURES = [encoded(picture(seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP", "GIF"))]


class Reader(Translator):
    """A translator with a tiny backbone: means of the pixels. It reads no image while its gate is closed."""

    reads = 0

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.gate, self.reading = threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def read_images(self, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        self.reading.release()
        assert self.gate.wait(60)
        type(self).reads += len(images)
        return self.read_means(images)

    def read_means(self: Translator, images: Sequence[ImageFile]) -> NDArray[np.float32]:
        means = [np.tile(decode_image(image).mean((0, 1)) / 64, 2) for image in images]
        assert all(len(one) == DIM for one in means)
        return np.stack(means)[:, None].astype(np.float32)


class Gated(Reader):
    """A translator that translates nothing while ``translating`` is not set."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.translating = threading.Event()
        self.translating.set()

    def hypotheses(self, *arguments: Any, **settings: Any) -> list[list[Translation]]:
        assert self.translating.wait(100)
        return super().hypotheses(*arguments, **settings)


def open_reader(world: Path, folder: Path, **changes: object) -> Reader:
    return Reader.from_dir(tiny_folder(folder, world, "gated", **changes))


def serve(reader: Translator, limits: Limits | None = None, threads: int = 2) -> FastAPI:
    limits, metrics = limits or Limits(), Metrics()
    return create_app([ServedModel("tiny", reader.card, reader, threads, limits, metrics)], limits, metrics)


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def body(*sentences: str | tuple[str, bytes], **settings: object) -> dict[str, Any]:
    rows = [
        {"text": one} if isinstance(one, str) else {"text": one[0], "image": in_base64(one[1])}
        for one in sentences
    ]
    return {"sentences": rows, **settings}


def send_all(
    app: FastAPI,
    bodies: Sequence[dict[str, Any]],
    answered: Callable[[httpx.Response], object] = lambda answer: None,
) -> list[httpx.Response]:
    """The answers to requests that are sent at the same time. ``answered`` gets each as it comes."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://tests", timeout=600) as client:

            async def one(content: dict[str, Any]) -> httpx.Response:
                answer = await client.post("/translate", json=content)
                answered(answer)
                return answer

            return await asyncio.gather(*map(one, bodies))

    return asyncio.run(send())


def texts(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return [[one["text"] for one in row["hypotheses"]] for row in answer.json()["translations"]]


def scope(path: str = "/translate") -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("tests", 80),
        "client": ("tests", 1),
        "root_path": "",
    }


def status_of_slow_upload(app: FastAPI, path: str) -> int:
    """The status that answers a request whose body never ends."""
    sent: list[Any] = []

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope(path), receive, send)

    asyncio.run(asyncio.wait_for(run(), 60))
    status: int = sent[0]["status"]
    return status
