"""Runs the server until a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from mmt.errors import MMTError
from mmt.io.signals import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS_TO_FINISH = 10  # for requests that are being answered when the server is stopped


class _Server(uvicorn.Server):
    stopped_by: int = 0
    stopping: asyncio.Event | None = None
    """Set at the first signal, so that connections that a page keeps open end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """From here on a signal ends the server: before, it would raise, and nothing is raised in a finalizer."""
        gc.collect()
        gc.freeze()  # models and modules stay: to look through them again and again took 4 % of the processor time
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Instead of uvicorn's: SIGHUP stops it, too, an ignored signal stays ignored, none is raised again."""
        self._loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: object) -> None:
        """A second SIGINT or SIGTERM does not wait for open requests."""
        self.force_exit = self.should_exit and sig == self.stopped_by
        self.should_exit, self.stopped_by = True, sig
        if self.stopping is not None:
            self._loop.call_soon_threadsafe(self.stopping.set)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises MMTError where it is taken or the host is not ours."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MMTError(f"{host}:{port}: cannot listen there ({reason}). Name another --host or --port.") from None
    return listening


def address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    app: FastAPI,
    listening: socket.socket,
    *,
    ready: Callable[[], object] = lambda: None,
    access_log: bool = False,
) -> None:
    """Answers requests until SIGINT, SIGTERM or SIGHUP; then finishes those that have arrived.

    Args:
        ready: called when requests are answered and signals are obeyed.
    Raises:
        Stopped: with the signal.
    """
    config = uvicorn.Config(
        app,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        lifespan="on",
    )
    server = _Server(config, ready)
    server.stopping = getattr(app.state, "stopping", None)
    server.run(sockets=[listening])
    if server.stopped_by:
        raise Stopped(server.stopped_by, "Requests that had arrived were answered.")
