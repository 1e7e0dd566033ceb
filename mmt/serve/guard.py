"""What reaches Gradio: the requests that the page needs, within the limits, and nothing that writes to disk."""

from __future__ import annotations

import asyncio
import contextlib
import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mmt.serve.limits import Limits

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


class Guard:
    """Passes on our own paths and those of the page; Gradio's others, such as its uploads, do not exist."""

    def __init__(self, app: ASGIApp, limits: Limits, stopping: asyncio.Event) -> None:
        """``stopping``: once it is set, the connections that the page keeps open are closed."""
        self._app, self._limits, self._stopping = app, limits, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _OURS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        if not _ALLOWED.fullmatch(scope["path"]):
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)
            return
        most, received = self._limits.request_bytes, 0
        too_large = JSONResponse({"detail": f"the request is over the limit of {most:,} bytes."}, 413)
        if int(dict(scope["headers"]).get(b"content-length", b"0")) > most:
            await too_large(scope, receive, send)
            return

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return {"type": "http.disconnect"} if received > most else message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        if scope["path"] not in _KEPT_OPEN and not scope["path"].startswith("/gradio_api/heartbeat/"):
            await self._app(scope, limited, with_headers)
            return
        answering = asyncio.ensure_future(self._app(scope, limited, with_headers))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((answering, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering
