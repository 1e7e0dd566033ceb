"""Requests' bodies, JSON or multipart, read into memory within the limits. Nothing is written to disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from pydantic import ValidationError
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mmt.serve.limits import Limits, RefusedError
from mmt.serve.pictures import from_base64
from mmt.serve.schema import Settings, TranslateRequest

LARGE = 1 << 18  # bytes; larger bodies are parsed beside the event loop
_CHUNK = 1 << 16


class _InMemory(MultiPartParser):
    """Keeps files in memory, where Starlette writes those over 1 MB to disk."""

    spool_max_size = 0


class Budget:
    """Bytes of the bodies that are being read or translated.

    ``beside``: returns the number of bytes of the requests that Gradio holds.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0
        self.beside: Callable[[], int] = lambda: 0

    async def read_in_time(self, request: Request) -> Body:
        """As ``read``; a body that does not arrive within the time limit is refused, too (408)."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self.read(request)
        except TimeoutError:
            raise RefusedError(408, "the request did not arrive within the time limit.") from None

    async def read(self, request: Request) -> Body:
        """Reads a body; it counts until ``Body.release``.

        Raises:
            RefusedError: it is too large (413), or all bodies together are (503).
            ClientDisconnect: the connection was dropped.
        """
        limits, body = self.limits, Body(self)
        announced = request.headers.get("content-length", "")
        most = f"the limit of {limits.request_bytes:,} bytes"
        if announced.isdecimal() and int(announced) > limits.request_bytes:
            raise RefusedError(413, f"the request has {int(announced):,} bytes, over {most}.")
        try:
            async for chunk in request.stream():
                body.add(chunk)
                if len(body.data) > limits.request_bytes:
                    raise RefusedError(413, f"the request is over {most}.")
                if self.held + self.beside() > limits.held_bytes:
                    raise RefusedError(503, "too many large requests at a time. Try again later.")
        except BaseException:
            body.release()
            raise
        return body


class Body:
    def __init__(self, budget: Budget) -> None:
        self._budget, self.data, self._held = budget, bytearray(), 0

    def add(self, chunk: bytes) -> None:
        self.data += chunk
        self._held += len(chunk)
        self._budget.held += len(chunk)

    def release(self) -> None:
        self._budget.held -= self._held
        self._held = 0


async def parse_request(
    body: Body, request: Request, limits: Limits
) -> tuple[TranslateRequest, list[bytes | None]]:
    """The request, its sentences without their images, and the image file of each.

    Raises:
        RefusedError: another content type (415), a body unlike the schema (422), or over a limit (413).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        if len(body.data) < LARGE:
            return _from_json(body.data, limits)
        return await asyncio.to_thread(_from_json, body.data, limits)
    if kind == "multipart/form-data":
        return await _from_form(body, request, limits)
    raise RefusedError(
        415, f"content type: expected application/json or multipart/form-data, found {kind or 'none'}."
    )


def _from_json(data: bytearray, limits: Limits) -> tuple[TranslateRequest, list[bytes | None]]:
    try:
        parsed = TranslateRequest.model_validate_json(data)
    except ValidationError as error:
        raise RefusedError(422, told(error)) from None
    check_texts(parsed, limits)
    images: list[bytes | None] = []
    for number, one in enumerate(parsed.sentences):
        images.append(None if one.image is None else from_base64(one.image, f"sentences[{number}].image"))
        one.image = None
    return parsed, images


async def _from_form(body: Body, request: Request, limits: Limits) -> tuple[TranslateRequest, list[bytes | None]]:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body.data), _CHUNK):
            yield bytes(body.data[start : start + _CHUNK])
            await asyncio.sleep(0)
        yield b""

    most = limits.sentences + 1  # one more, for a message of ours
    parser = _InMemory(
        request.headers, chunks(), max_files=most, max_fields=most + 16, max_part_size=8 * limits.characters + 1024
    )
    try:
        form = await parser.parse()
    except (MultiPartException, MultipartParseError) as error:
        message = getattr(error, "message", "") or str(error)
        raise RefusedError(422, f"multipart/form-data: {message.rstrip('.')}.") from None
    try:
        fields: dict[str, Any] = {}
        texts: list[dict[str, Any]] = []
        images: list[bytes | None] = []
        for name, value in form.multi_items():
            if name == "image":
                if not isinstance(value, UploadFile):
                    raise RefusedError(422, "image: expected a file, found a text.")
                images.append(await value.read() or None)
            elif isinstance(value, UploadFile):
                raise RefusedError(422, f"{name}: expected a text, found a file.")
            elif name == "text":
                texts.append({"text": value})
            elif name in fields or name not in Settings.model_fields:
                known = ", ".join(Settings.model_fields)
                raise RefusedError(422, f"{name}: expected each field once, of text, image, {known}.")
            else:
                fields[name] = value
    finally:
        await form.close()
    if images and len(images) != len(texts):
        raise RefusedError(422, f"image: expected a file for each text (empty for none), found {len(images)}.")
    try:
        parsed = TranslateRequest.model_validate({"sentences": texts} | fields)
    except ValidationError as error:
        raise RefusedError(422, told(error)) from None
    check_texts(parsed, limits)
    return parsed, images or [None] * len(texts)


def check_texts(parsed: TranslateRequest, limits: Limits) -> None:
    if len(parsed.sentences) > limits.sentences:
        raise RefusedError(
            413, f"sentences: {len(parsed.sentences):,} are over the limit of {limits.sentences:,}."
        )
    for number, one in enumerate(parsed.sentences):
        check_text(one.text, f"sentences[{number}].text", limits)


def check_text(text: str, where: str, limits: Limits) -> None:
    if len(text) > limits.characters:
        raise RefusedError(413, f"{where}: {len(text):,} characters are over the limit of {limits.characters:,}.")


def told(error: ValidationError) -> str:
    """The first of a request's errors, in one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return f"{where or 'body'}: {first['msg']}."
