"""Images that a table names by their addresses: each is downloaded once, into a folder beside the dataset."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from PIL import Image
from tqdm import tqdm

from mmt import __version__
from mmt.errors import MMTError
from mmt.io.atomic import write_whole

if TYPE_CHECKING:
    import httpx

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif",
             "PPM": ".ppm"}  # fmt: skip
"""By Pillow's name of a format: those that ``mmt.features.decoding`` reads."""
_ATTEMPTS = 3
_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be another one a moment later."""


@dataclass(frozen=True)
class Limits:
    """What one image may take.

    max_bytes: of its file. seconds: for one attempt. jobs: images at a time. pause: seconds before the second
    attempt, twice as many before the third.
    """

    max_bytes: int = 20_000_000
    seconds: float = 30.0
    jobs: int = 8
    pause: float = 1.0


class _FailedError(Exception):
    """Why an image cannot be downloaded; ``again``: another attempt may succeed."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def is_address(name: str) -> bool:
    """Whether an image's name is an address that can be downloaded."""
    return re.match(r"https?://", name, re.IGNORECASE) is not None


def download(urls: Iterable[str], folder: Path, limits: Limits) -> tuple[dict[str, str], dict[str, str]]:
    """Downloads images into ``folder``. One that is there already is not downloaded again.

    A file is called after the last part of its address and a checksum of the whole, and it appears when it is
    complete. So the same call resumes where an earlier one was interrupted, and tries again what failed.

    Returns:
        The file's name by address, and the reason by address of each image that could not be downloaded.
    Raises:
        MMTError: the folder cannot be written.
    """
    import httpx  # which text and image files do not need

    stop = threading.Event()  # set when the command is stopped
    Image.init()  # before threads do it at the same time
    wanted = {url: _stem(url) for url in dict.fromkeys(urls)}
    there = {path.stem: path.name for path in folder.iterdir() if path.suffix in _SUFFIXES.values()} if (
        folder.is_dir()
    ) else {}  # fmt: skip
    names = {url: there[stem] for url, stem in wanted.items() if stem in there}
    missing = [url for url in wanted if url not in names]
    failed: dict[str, str] = {}
    headers = {"User-Agent": f"mmt-toolkit/{__version__}"}
    with (
        httpx.Client(follow_redirects=True, headers=headers, timeout=limits.seconds) as client,
        ThreadPoolExecutor(limits.jobs) as pool,
    ):

        def one(url: str) -> tuple[str | None, str]:
            try:
                data, suffix = _image(client, url, limits, stop)
            except _FailedError as error:
                return None, str(error)
            name = wanted[url] + suffix
            write_whole(folder / name, data)
            return name, ""

        try:
            results = tqdm(pool.map(one, missing), "downloading", len(missing), unit="", disable=None)
            for url, (name, reason) in zip(missing, results, strict=True):
                if name is None:
                    failed[url] = reason
                else:
                    names[url] = name
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)  # of what has not begun
            raise
    return names, failed


def _image(client: httpx.Client, url: str, limits: Limits, stop: threading.Event) -> tuple[bytes, str]:
    """An image's bytes and the suffix of its format. Raises _FailedError."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            data, kind = _fetched(client, url, limits, stop)
            break
        except _FailedError as error:
            if not error.again or attempt == _ATTEMPTS or stop.wait(limits.pause * attempt):
                raise
    try:
        with Image.open(io.BytesIO(data), formats=[*_SUFFIXES]) as image:
            return data, _SUFFIXES.get(image.format or "", ".jpg")  # MPO: several pictures in a JPEG
    except Exception:  # Pillow's readers raise nearly anything
        raise _FailedError(f"not an image, but {kind or 'something else'}") from None


def _fetched(client: httpx.Client, url: str, limits: Limits, stop: threading.Event) -> tuple[bytes, str]:
    import httpx  # as above

    until = time.monotonic() + limits.seconds
    try:
        with client.stream("GET", url) as response:
            if not response.is_success:
                busy = response.status_code in _BUSY
                raise _FailedError(f"{response.status_code} {response.reason_phrase}".strip(), again=busy)
            data = bytearray()
            for part in response.iter_bytes():  # as they arrive
                data += part
                if len(data) > limits.max_bytes:
                    raise _FailedError(f"over {limits.max_bytes / 1e6:g} MB")
                if stop.is_set():
                    raise _FailedError("stopped")
                if time.monotonic() > until:
                    raise _FailedError(f"not complete after {limits.seconds:g} seconds")
            return bytes(data), response.headers.get("content-type", "").partition(";")[0]
    except httpx.TimeoutException:
        raise _FailedError(f"no answer within {limits.seconds:g} seconds") from None
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise _FailedError(str(error)) from None
    except httpx.HTTPError as error:
        raise _FailedError(str(error) or type(error).__name__, again=True) from None


def _stem(url: str) -> str:
    """A file's name without its suffix: readable, and unlike that of any other address."""
    try:
        last = unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:  # of a broken address, whose download fails with the reason
        last = ""
    readable = re.sub(r"[^\w-]+", "_", last.rpartition(".")[0] or last, flags=re.ASCII).strip("_")[:40]
    return f"{readable or 'image'}-{hashlib.sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def check_some(names: dict[str, str], failed: dict[str, str]) -> None:
    """Raises MMTError where every download failed."""
    if failed and not names:
        url, reason = next(iter(failed.items()))
        raise MMTError(
            f"none of the {len(failed):,} images could be downloaded, such as {url}: {reason}. Check the network "
            "and the addresses, or take the text alone with --no-images."
        )
