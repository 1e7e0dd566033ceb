"""What reaches Gradio: the requests that the page needs, within the limits, and nothing that writes to disk."""

from __future__ import annotations

import asyncio
import contextlib
import re

from pydantic import BaseModel, Field, StrictBool, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmt.serve.held import note_size
from mmt.serve.limits import RefusedError
from mmt.serve.reading import LARGE, Budget, told

_ALLOWED = re.compile(
    r"/(?:|config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|(?:static|assets|svelte)/[\w./@+-]*"
    r"|gradio_api/(?:info|startup-events|app_id|cancel|reset|queue/(?:join|data|status)|heartbeat/\w+))"
)
_KEPT_OPEN = ("/gradio_api/queue/data",)
_OURS = re.compile(r"/(?:translate|health|metrics|docs(?:/.*)?|openapi\.json|static-offline-docs/.*)")
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data:; base-uri 'self'; "
        b"object-src 'none'; form-action 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


_JOIN = "/gradio_api/queue/join"
_Value = str | StrictBool | int | float | None


class _Join(BaseModel):
    """What the page asks. Other values could be Gradio's files, which it fetches from any address and writes."""

    data: list[_Value]
    event_data: dict[str, _Value] | None = None
    fn_index: int
    trigger_id: int | None = None
    session_hash: str = Field(min_length=1, max_length=64)


class Guard:
    """Passes on our own paths and those of the page; Gradio's others, such as its uploads, do not exist."""

    def __init__(self, app: ASGIApp, budget: Budget, stopping: asyncio.Event) -> None:
        """
        Args:
            budget: that of the API, for bodies.
            stopping: once it is set, the connections that the page keeps open are closed.
        """
        self._app, self._budget, self._stopping = app, budget, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or _OURS.fullmatch(path):
            await self._app(scope, receive, send)
        elif not _ALLOWED.fullmatch(path):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
        elif scope["method"] == "POST":
            await self._pass_body(scope, receive, _with_headers(send))
        elif path in _KEPT_OPEN or path.startswith("/gradio_api/heartbeat/"):
            await self._keep_open(scope, receive, _with_headers(send))
        else:
            await self._app(scope, receive, _with_headers(send))

    async def _pass_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the whole body within the limits, so that Gradio gets only what is checked."""
        try:
            body = await self._budget.read_in_time(Request(scope, receive))
        except ClientDisconnect:
            return
        except RefusedError as error:
            await JSONResponse({"detail": str(error)}, error.status, error.headers)(scope, receive, send)
            return
        try:
            data = bytes(body.data)
            if scope["path"] == _JOIN:
                data = _checked(data) if len(data) < LARGE else await asyncio.to_thread(_checked, data)
            note_size(scope, len(data))
            await self._app(scope, _once(data, receive), send)
        except RefusedError as error:
            await JSONResponse({"detail": str(error)}, error.status)(scope, receive, send)
        finally:
            body.release()

    async def _keep_open(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = asyncio.ensure_future(self._app(scope, receive, send))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((answering, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        await send(message)

    return with_headers


def _once(data: bytes, receive: Receive) -> Receive:
    """What gives a body that is read already."""
    rest = [data]

    async def receive_once() -> Message:
        return {"type": "http.request", "body": rest.pop(), "more_body": False} if rest else await receive()

    return receive_once


def _checked(data: bytes) -> bytes:
    """The request in JSON again, with nothing but what was checked."""
    try:
        return _Join.model_validate_json(data).model_dump_json().encode()
    except ValidationError as error:
        raise RefusedError(422, told(error)) from None
