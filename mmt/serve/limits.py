"""What one server accepts, and how it refuses what is over a limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    request_bytes: of a request's body; those of all open requests: at most eight times as much.
    image_pixels: width times height of an image, as its header says; it also bounds decompression bombs.
    sentences: of one request.
    characters: of one sentence.
    waiting: sentences that are accepted and not yet translated, of all requests to one model.
    seconds: from the first byte of a request to its answer.
    batch: sentences translated at a time.
    """

    request_bytes: int = 32_000_000
    image_pixels: int = 25_000_000
    sentences: int = 64
    characters: int = 10_000
    waiting: int = 1024
    seconds: float = 30.0
    batch: int = 256

    @property
    def held_bytes(self) -> int:
        """Bodies of all requests that are being read or translated."""
        return 8 * self.request_bytes


class RefusedError(Exception):
    """A request that is answered with an HTTP error: ``status`` and a message in one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"} if self.status == 503 else {}
