"""An OpenAI-compatible endpoint as a system: chat completions with images as data URIs.

vLLM, SGLang, llama.cpp, Ollama and hosted services speak this protocol. Each answer is stored as soon as it comes
(``mmt.inference.api_answers``), so that an interrupted run resumes and no answer is paid for twice.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from PIL import Image

from mmt.errors import MMTError
from mmt.features.decoding import decode_image
from mmt.features.images import ImageError, read_file
from mmt.inference.api_answers import Answer, AnswerStore, TryAgainError, answer_of
from mmt.inference.cleaning import Cleaner
from mmt.inference.prompts import Prompt
from mmt.io.normalization import is_blank

Progress = Callable[[int], object]

KEY_VARIABLE = "OPENAI_API_KEY"
_KINDS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif"}
_BUSY = (408, 409, 425, 429)  # and 500 to 599


class APISystem:
    """A model behind an endpoint. Implements ``System`` of ``mmt.evidence.systems``; it does not score.

    One process at a time may use a folder. Threads send the requests.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        files: Callable[[str], Path],
        source_lang: str,
        target_lang: str,
        prompt: Path | None = None,
        examples: Path | None = None,
        text_only: bool = False,
        folder: Path,
        concurrency: int = 4,
        max_requests: int | None = None,
        key_variable: str = KEY_VARIABLE,
        max_tokens: int = 512,
        timeout: float = 120.0,
        attempts: int = 6,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """Opens the folder and reads the answers that it has. Sends nothing.

        Args:
            url: of the API, such as ``http://localhost:8000/v1``.
            model: the model's name there.
            files: the file of an image by its name in the dataset.
            source_lang, target_lang, prompt, examples: as of ``Prompt.read``.
            text_only: no images are sent, whatever the model reads.
            folder: where the answers are stored, in ``answers.jsonl``.
            concurrency: requests at a time.
            max_requests: the most requests that are sent, repeated ones included; None for any number.
            key_variable: the environment variable with the key; without it, no key is sent.
            max_tokens: the longest answer. timeout: seconds for one request. attempts: at one request.
            sleep: waits between attempts; None waits, but no longer than until ``close``.
        Raises:
            MMTError: not a URL, or one with a password or a query; as ``Prompt.read``; another process uses the
                folder, or its answers are damaged.
        """
        self._url = _endpoint(url)
        if concurrency < 1 or attempts < 1 or (max_requests is not None and max_requests < 0):
            raise MMTError("api: expected at least 1 request at a time, 1 attempt and a budget of 0 or more.")
        self._model, self._files, self._max_tokens = model, files, max_tokens
        self._text_only = text_only
        self._prompt = Prompt.read(source_lang, target_lang, prompt, examples)
        self._cleaner = Cleaner(source_lang, target_lang)
        self._concurrency, self._max_requests = concurrency, max_requests
        self._key, self._key_variable = os.environ.get(key_variable, ""), key_variable
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._sleep, self._attempts = sleep or self._stop.wait, attempts
        self._counts: Counter[str] = Counter(requests=0)
        self._tokens: Counter[str] = Counter()
        self._image = cache(self._read_image)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(
            timeout=timeout, headers=headers, limits=httpx.Limits(max_connections=concurrency)
        )
        self._store = AnswerStore(folder, model)

    @property
    def uses_images(self) -> bool:
        return not self._text_only

    def translate(
        self, sentences: Sequence[str], images: Sequence[str | None] | None, progress: Progress | None = None
    ) -> list[str]:
        """The cleaned answer to each sentence with its image; "" for a blank sentence, and for a refusal.

        Equal sentences with equal images are sent once, and none whose answer is stored.

        Raises:
            MMTError: an image cannot be read, or the endpoint refuses it; the endpoint cannot be reached, refuses
                the key or the model, fails at each attempt, or answers with another model than before; the budget
                is used up. Answers that came before are stored.
        """
        if self._text_only and any(images or ()):
            raise MMTError(f"{self._url}: a text-only system takes no images.")
        shown = [None] * len(sentences) if images is None else list(images)
        keys = [
            "" if is_blank(sentence) else self._key_of(sentence, image)
            for sentence, image in zip(sentences, shown, strict=True)
        ]
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        todo = {key: found for key, found in rows.items() if key and key not in self._store}
        self._counts["reused"] += len([key for key in rows if key]) - len(todo)
        if progress is not None and (done := len(sentences) - sum(map(len, todo.values()))):
            progress(done)
        self._ask({key: (sentences[found[0]], shown[found[0]]) for key, found in todo.items()}, rows, progress)
        return [
            self._translation(self._store[key], sentence) if key else ""
            for key, sentence in zip(keys, sentences, strict=True)
        ]

    def describe(self) -> dict[str, Any]:
        """What the results depend on, and what happened to the requests so far, as JSON values; never the key."""
        return {
            "kind": "api",
            "url": self._url.removesuffix("/chat/completions"),
            "model": self._model,
            "answered_by": self._store.answered_by,
            "temperature": 0,
            "max_tokens": self._max_tokens,
            "text_only": self._text_only,
            "prompt": self._prompt.describe(),
            **dict(self._counts),
            "tokens": dict(self._tokens),
            "cleaned": dict(self._cleaner.counts),
        }

    def close(self) -> None:
        """Lets other processes use the folder."""
        self._stop.set()
        self._client.close()
        self._store.close()

    # --- requests ---

    def _ask(
        self,
        todo: dict[str, tuple[str, str | None]],
        rows: dict[str, list[int]],
        progress: Progress | None,
    ) -> None:
        """Sends what has no answer yet. After an error or Ctrl-C no new request starts; those under way end."""
        with ThreadPoolExecutor(self._concurrency) as pool:
            futures = {pool.submit(self._answer, key, *asked): key for key, asked in todo.items()}
            try:
                for future in as_completed(futures):
                    future.result()
                    if progress is not None:
                        progress(len(rows[futures[future]]))
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                self._stop.clear()
                raise

    def _answer(self, key: str, sentence: str, image: str | None) -> None:
        payload = self._payload(sentence, image)
        for attempt in range(1, self._attempts + 1):
            try:
                self._store.add(key, self._attempt(payload, image))
                return
            except TryAgainError as error:
                if attempt == self._attempts:
                    raise MMTError(
                        f"{self._url}: no answer after {attempt} attempts ({error}). {self._stored()} Rerun the "
                        "same command to resume."
                    ) from None
                self._sleep(error.seconds_after(attempt))

    def _attempt(self, payload: dict[str, Any], image: str | None) -> Answer:
        """One request. Raises TryAgainError where another attempt may succeed, else MMTError."""
        with self._lock:
            if self._stop.is_set():
                raise MMTError("stopped.")
            if self._max_requests is not None and self._counts["requests"] >= self._max_requests:
                raise MMTError(
                    f"{self._url}: the budget of {self._max_requests:,} requests is used up. {self._stored()} "
                    "Raise it and rerun the same command to resume."
                )
            self._counts["requests"] += 1
        try:
            response = self._client.post(self._url, json=payload)
        except httpx.TransportError as error:
            raise self._again(f"{type(error).__name__}: {self._hide(str(error))}") from None
        status = response.status_code
        if status in _BUSY or status >= 500:
            raise self._again(self._reason(response), response.headers.get("Retry-After"))
        if status != 200:
            return self._refused(response, image)
        try:
            answer = answer_of(response.content)
        except ValueError as error:
            raise self._again(f"malformed answer: {error}") from None
        self._tokens.update(answer.usage)
        return answer

    def _again(self, reason: str, retry_after: str | None = None) -> TryAgainError:
        with self._lock:
            self._counts["repeated"] += 1
        if "insufficient_quota" in reason:
            raise MMTError(f"{self._url}: {reason}. {self._stored()} Rerun the same command to resume.")
        return TryAgainError(reason, retry_after)

    def _refused(self, response: httpx.Response, image: str | None) -> Answer:
        """The answer to a request that a content filter refuses. Raises MMTError for any other refusal."""
        status, reason = response.status_code, self._reason(response)
        if "content_filter" in reason or "content_policy" in reason:
            return Answer("", self._store.answered_by or "", refused=True)
        if status in (401, 403):
            key = f"the key in {self._key_variable}" if self._key else f"no key: {self._key_variable} is not set"
            raise MMTError(f"{self._url}: access denied with {key} ({reason}).")
        if status == 404:
            raise MMTError(
                f"{self._url}: no such API or no model '{self._model}' ({reason}). Check URL and model."
            )
        if image is not None and status in (400, 413, 422):
            size = self._files(image).stat().st_size
            raise MMTError(
                f"{self._url}: refuses the request with the image {image} of {size:,} bytes ({reason}). If it is "
                "above the endpoint's limit, make it smaller. If the model takes no images, name another."
            )
        raise MMTError(f"{self._url}: refuses the request ({reason}).")

    def _reason(self, response: httpx.Response) -> str:
        try:
            error = response.json()
            error = error.get("error", error)
            words = [str(error[key]) for key in ("message", "code", "type", "detail") if error.get(key)]
        except (ValueError, AttributeError, TypeError):
            words = [response.text]
        return f"HTTP {response.status_code}: {self._hide('; '.join(words))[:300]}".strip()

    def _hide(self, text: str) -> str:
        """The text without the key, which some servers repeat."""
        return text.replace(self._key, "***") if self._key else text

    def _stored(self) -> str:
        return f"{len(self._store):,} answers are stored in {self._store.path}."

    # --- messages ---

    def _key_of(self, sentence: str, image: str | None) -> str:
        """SHA-256 (hex) of all that an answer depends on: model, messages, settings and the image's checksum."""
        checksum = None if image is None else self._image(image)
        known = [self._model, self._max_tokens, self._prompt.turns(sentence), checksum]
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def _payload(self, sentence: str, image: str | None) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"role": role, "content": text} for role, text in self._prompt.turns(sentence)
        ]
        if image is not None:
            kind, data = self._picture(image)
            uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
            parts = [{"type": "image_url", "image_url": {"url": uri}}]
            messages[-1]["content"] = [*parts, {"type": "text", "text": messages[-1]["content"]}]
        return {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": self._max_tokens}

    def _read_image(self, image: str) -> str:
        return hashlib.sha256(self._picture(image)[1]).hexdigest()

    def _picture(self, image: str) -> tuple[str, bytes]:
        """An image's kind and bytes; as PNG if it is of a kind that endpoints do not read."""
        path = self._files(image)
        try:
            data = read_file(path)
        except (OSError, ValueError) as error:
            raise ImageError(str(path), (getattr(error, "strerror", None) or str(error)).lower()) from None
        for start, kind in _KINDS.items():
            if data.startswith(start):
                return kind, data
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return "webp", data
        stream = io.BytesIO()
        Image.fromarray(decode_image(path)).save(stream, "PNG")
        return "png", stream.getvalue()

    # --- answers ---

    def _translation(self, answer: Answer, source: str) -> str:
        if answer.refused:
            self._counts["refused"] += 1
            return ""
        if answer.unfinished:
            self._counts["unfinished"] += 1
        return self._cleaner.clean(answer.text, source)


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MMTError(f"api:{url.rpartition('@')[2]}: expected a URL such as http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query:
        raise MMTError(
            f"api:{parts.scheme}://{parts.hostname}: expected a URL without a password or a query. Put the key "
            f"into the environment variable {KEY_VARIABLE}."
        )
    plain = url.rstrip("/")
    return plain if plain.endswith("/chat/completions") else f"{plain}/chat/completions"
