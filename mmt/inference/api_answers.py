"""Answers of an endpoint: reading them, storing each at once, and when to try again."""

from __future__ import annotations

import email.utils
import json
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmt.errors import MMTError
from mmt.io.atomic import only_writer_in, unwritable
from mmt.io.text_files import parse_json

_FILE = "answers.jsonl"
_LONGEST_WAIT = 600.0  # seconds that an endpoint may ask for; beyond that, its quota is used up
_LONGEST_BACKOFF = 60.0


class TryAgainError(Exception):
    """A request failed in a way that another attempt may not.

    wait: the seconds that the endpoint asks for; None if it says nothing.
    """

    def __init__(self, reason: str, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.wait = _seconds(retry_after)
        if self.wait is not None and self.wait > _LONGEST_WAIT:
            raise MMTError(
                f"the endpoint asks to wait for {self.wait:,.0f} seconds ({reason}). Rerun the same command then: "
                "it resumes."
            )

    def seconds_after(self, attempt: int) -> float:
        """Seconds to wait after attempt 1, 2, ...: what the endpoint asks for, else 1, 2, 4 to 60, with jitter."""
        if self.wait is not None:
            return self.wait
        return min(_LONGEST_BACKOFF, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of the header Retry-After: a number, or a date. None if it is neither."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


@dataclass(frozen=True)
class Answer:
    """One answer.

    model: the model that says it answered. refused: by the model or a content filter; text is "" then.
    unfinished: cut off at the token limit. usage: numbers of tokens.
    """

    text: str
    model: str
    refused: bool = False
    unfinished: bool = False
    usage: dict[str, int] = field(default_factory=dict)


def answer_of(content: bytes) -> Answer:
    """Reads a chat completion. Raises ValueError for anything else."""
    raw = parse_json(content)
    try:
        choice, model = raw["choices"][0], raw.get("model") or ""
        message, finish = choice["message"], choice.get("finish_reason")
        text, refusal = message.get("content"), message.get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("not a chat completion") from None
    if not isinstance(text, str | None) or not isinstance(model, str):
        raise ValueError("its content is not text")
    usage = raw.get("usage")
    counts = usage.items() if isinstance(usage, dict) else ()
    refused = bool(refusal) or finish == "content_filter"
    return Answer(
        "" if refused else text or "",
        model,
        refused,
        finish == "length",
        {key: value for key, value in counts if type(value) is int},
    )


class AnswerStore:
    """The answers in a folder, one JSON object a line, by their key.

    Only one process uses the folder at a time. A line that a kill cut off is dropped, and its answer asked again.

    answered_by: the model that answered requests to ``model``; None before the first answer.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.path, self._requested = folder / _FILE, model
        self.answered_by: str | None = None
        self._answers: dict[str, Answer] = {}
        self._write, self._open = threading.Lock(), ExitStack()
        self._open.enter_context(only_writer_in(folder))
        try:
            if self.path.exists():
                self._read()
            self._stream = self._open.enter_context(self.path.open("ab"))
        except BaseException as error:
            self._open.close()
            if isinstance(error, OSError):
                raise unwritable(self.path, error) from None
            raise

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __getitem__(self, key: str) -> Answer:
        return self._answers[key]

    def __len__(self) -> int:
        return len(self._answers)

    def add(self, key: str, answer: Answer) -> None:
        """Stores an answer.

        Raises:
            MMTError: another model answered than before, or the disk refuses it.
        """
        with self._write:
            self._check_model(answer)
            line: dict[str, Any] = {"key": key, "requested": self._requested, **vars(answer)}
            try:
                self._stream.write(json.dumps(line).encode() + b"\n")
                self._stream.flush()
            except OSError as error:
                raise unwritable(self.path, error) from None
            self._answers[key] = answer

    def close(self) -> None:
        self._open.close()

    def _check_model(self, answer: Answer) -> None:
        if answer.model and self.answered_by and answer.model != self.answered_by:
            raise MMTError(
                f"{self.path}: the answers before are by the model '{self.answered_by}', and now '{answer.model}' "
                f"answers requests to '{self._requested}'. One system is one model: name a fixed version, or "
                "start again in an empty folder."
            )
        self.answered_by = self.answered_by or answer.model or None

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as stream:
                stream.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                raw = parse_json(line)
                key, requested = raw.pop("key"), raw.pop("requested")
                answer = Answer(**raw)
                if not isinstance(key, str) or not isinstance(answer.text, str):
                    raise ValueError
            except (ValueError, KeyError, TypeError, AttributeError):
                raise MMTError(
                    f"{self.path}: line {number} is damaged. Remove that line: its answer is asked again."
                ) from None
            if requested == self._requested:
                self._check_model(answer)
                self._answers[key] = answer
