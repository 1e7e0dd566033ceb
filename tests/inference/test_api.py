"""``api:``: an endpoint that fails in every way, on this machine; no test waits between attempts."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmt.errors import MMTError
from mmt.inference.api import APISystem

KEY = "sk-very-secret-0123456789"
Reply = tuple[int, Any, dict[str, str]]
Make = Callable[..., APISystem]


def completion(text: str | None, **more: Any) -> Reply:
    message = {"role": "assistant", "content": text} | {k: v for k, v in more.items() if k == "refusal"}
    choice = {"message": message, "finish_reason": more.get("finish_reason", "stop")}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "details": {"x": 1}}
    return 200, {"model": more.get("model", "tiny-2026-01"), "choices": [choice], "usage": usage}, {}


def error(status: int, message: str = "no", headers: dict[str, str] | None = None, **more: str) -> Reply:
    return status, {"error": {"message": message, **more}}, headers or {}


def translated(sentence: str) -> str:
    return f"DE {sentence}"


class Endpoint:
    """``reply``: what to answer to the n-th request (from 0) with a sentence; None drops the connection."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.reply: Callable[[int, str], Reply | None] = lambda number, sentence: completion(translated(sentence))
        self.most_at_once, self.at_once, self.lock = 0, 0, threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = raw["messages"][-1]["content"]
                text = content if isinstance(content, str) else content[-1]["text"]
                with outer.lock:
                    number = len(outer.requests)
                    outer.requests.append(raw | {"path": self.path})
                    outer.headers.append(dict(self.headers))
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                found = outer.reply(number, text.splitlines()[-1])
                with outer.lock:
                    outer.at_once -= 1
                if found is None:
                    self.close_connection = True
                    return
                status, body, headers = found
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(data)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # the client did not wait
                    self.close_connection = True

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def sentences(self) -> list[str]:
        texts = [request["messages"][-1]["content"] for request in self.requests]
        return [(text if isinstance(text, str) else text[-1]["text"]).splitlines()[-1] for text in texts]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def make(
    endpoint: Endpoint, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made: list[APISystem] = []
    (tmp_path / "images").mkdir()

    def make(**changes: Any) -> APISystem:
        options = {
            "url": endpoint.url, "model": "tiny", "source_lang": "en", "target_lang": "de", "attempts": 3,
            "files": (tmp_path / "images").joinpath, "folder": tmp_path / "answers", "sleep": waits.append,
        } | changes  # fmt: skip
        made.append(APISystem(options.pop("url"), options.pop("model"), **options))
        return made[-1]

    yield make
    for system in made:
        system.close()


SENTENCES = [f"A dog runs {n} times." for n in range(12)]
EXPECTED = [translated(sentence) for sentence in SENTENCES]


def test_answers_come_in_order_and_are_sent_once(make: Make, endpoint: Endpoint, tmp_path: Path) -> None:
    told: list[int] = []
    together = threading.Barrier(3)

    def reply(number: int, sentence: str) -> Reply:
        if number < 3:
            together.wait(300)
        return completion(translated(sentence))

    endpoint.reply = reply
    system = make(concurrency=3)
    assert system.translate([*SENTENCES, SENTENCES[0], " "], None, told.append) == [*EXPECTED, EXPECTED[0], ""]
    assert sum(told) == 14
    stored = (tmp_path / "answers" / "answers.jsonl").read_text()  # while the system is open
    assert len(stored.splitlines()) == 12
    assert sorted(endpoint.sentences()) == sorted(SENTENCES)
    request = endpoint.requests[0]
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["temperature"]) == ("tiny", 0)
    assert "from English into German" in request["messages"][0]["content"]
    assert endpoint.most_at_once == 3
    about = system.describe()
    assert (about["requests"], about["answered_by"], about["reused"]) == (12, "tiny-2026-01", 0)
    assert about["tokens"] == {"prompt_tokens": 12 * 7, "completion_tokens": 12 * 3}


def test_images_are_data_uris(make: Make, endpoint: Endpoint, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name, kind in (("a.jpg", "JPEG"), ("b.png", "PNG"), ("c.webp", "WEBP"), ("d.bmp", "BMP")):
        Image.new("RGB", (5, 4), "blue" if kind == "BMP" else "red").save(folder / name, kind)
    (folder / "same.png").write_bytes((folder / "b.png").read_bytes())
    system = make(concurrency=1)
    names: list[str | None] = ["a.jpg", "b.png", "c.webp", "d.bmp", None, "same.png"]
    assert system.uses_images
    assert system.translate(["A cat."] * 6, names) == [translated("A cat.")] * 6
    uris = [request["messages"][-1]["content"][0]["image_url"]["url"] for request in endpoint.requests[:4]]
    assert [uri.partition(";")[0] for uri in uris] == [
        f"data:image/{kind}" for kind in ("jpeg", "png", "webp", "png")
    ]
    assert base64.b64decode(uris[0].partition(",")[2]) == (folder / "a.jpg").read_bytes()
    assert isinstance(endpoint.requests[4]["messages"][-1]["content"], str)
    assert len(endpoint.requests) == 5  # an image of the same content was known
    with pytest.raises(MMTError, match=r"nowhere\.png: no such file"):
        system.translate(["A cat."], ["nowhere.png"])


def test_a_text_only_system_takes_no_images(make: Make, endpoint: Endpoint, tmp_path: Path) -> None:
    assert make().uses_images
    system = make(folder=tmp_path / "text", text_only=True)
    assert not system.uses_images
    assert system.describe()["text_only"] is True
    assert system.translate(["A dog."], None) == ["DE A dog."]
    with pytest.raises(MMTError, match="a text-only system takes no images"):
        system.translate(["A dog."], ["photo.jpg"])
    assert isinstance(endpoint.requests[-1]["messages"][-1]["content"], str)


def test_an_interrupted_run_resumes_and_pays_for_nothing_twice(
    make: Make, endpoint: Endpoint, tmp_path: Path
) -> None:
    first = make(max_requests=5, concurrency=1)
    with pytest.raises(MMTError, match=r"budget of 5 requests is used up. 5 answers are stored"):
        first.translate(SENTENCES, None)
    first.close()
    path = tmp_path / "answers" / "answers.jsonl"
    assert len(path.read_text().splitlines()) == 5
    path.write_bytes(path.read_bytes() + b'{"key": "cut o')  # a kill in the middle of a line
    second = make()
    assert second.translate(SENTENCES, None) == EXPECTED
    assert len(endpoint.requests) == 12
    assert second.describe()["reused"] == 5
    second.close()
    third = make(max_requests=0)
    assert third.translate(SENTENCES, None) == EXPECTED
    third.close()
    other = make(max_requests=0, target_lang="fr")  # another prompt
    with pytest.raises(MMTError, match="budget of 0"):
        other.translate(SENTENCES[:1], None)
    other.close()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-9], *lines[2:]]) + "\n")
    with pytest.raises(MMTError, match=r"answers\.jsonl: line 2 is damaged. Remove that line"):
        make()


def test_one_process_at_a_time_uses_a_folder(make: Make, tmp_path: Path) -> None:
    system = make()
    code = (
        "from pathlib import Path; from mmt.inference.api_answers import AnswerStore; "
        f"AnswerStore(Path({str(tmp_path / 'answers')!r}), 'tiny')"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another process is writing it" in other.stderr
    system.close()
    assert not (tmp_path / "answers" / ".lock").exists()


def failing(*failures: Reply | None) -> Callable[[int, str], Reply | None]:
    return lambda number, sentence: failures[number] if number < len(failures) else completion("Gut.")


def test_passing_failures_are_tried_again(make: Make, endpoint: Endpoint, waits: list[float]) -> None:
    endpoint.reply = failing(error(429), error(500))
    system = make()
    assert system.translate(["A cat."], None) == ["Gut."]
    assert (system.describe()["requests"], system.describe()["repeated"]) == (3, 2)
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


@pytest.mark.parametrize(
    "failure",
    [
        error(500, "boom"),
        error(503),
        error(408),
        None,
        (200, b"<html>", {}),
        (200, {"choices": []}, {}),
        (200, {"choices": [{"message": {"content": 5}}]}, {}),
        (200, [], {}),
        (200, b"[" * 100_000, {}),
    ],
    ids=["500", "503", "408", "dropped", "html", "no choice", "number", "list", "nested"],
)
def test_each_failure_is_tried_again_and_finally_reported(
    failure: Reply | None, make: Make, endpoint: Endpoint, waits: list[float]
) -> None:
    endpoint.reply = failing(failure)
    assert make().translate(["A cat."], None) == ["Gut."]
    assert len(waits) == 1
    endpoint.reply = lambda number, sentence: failure
    with pytest.raises(MMTError, match=r"no answer after 3 attempts \(.*1 answers are stored.* to resume"):
        make().translate(["A dog."], None)
    assert len(waits) == 3


def test_a_slow_endpoint_times_out(make: Make, endpoint: Endpoint) -> None:
    ended = threading.Event()

    def slow(number: int, sentence: str) -> Reply:
        if number == 0:
            ended.wait(300)
        return completion("Gut.")

    endpoint.reply = slow
    system = make(timeout=0.5, attempts=100)  # more, should a busy machine take as long for an answer
    assert system.translate(["A cat."], None) == ["Gut."]
    assert system.describe()["repeated"] >= 1
    ended.set()


def test_the_endpoint_says_how_long_to_wait(make: Make, endpoint: Endpoint, waits: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=500))
    endpoint.reply = failing(*(error(429, headers={"Retry-After": value}) for value in ("7", later, "soon")))
    assert make(attempts=4).translate(["A cat."], None) == ["Gut."]
    assert waits[0] == 7
    assert 200 < waits[1] <= 500
    assert waits[2] <= 4
    endpoint.reply = lambda number, sentence: error(429, headers={"Retry-After": "86400"})
    with pytest.raises(MMTError, match="asks to wait for 86,400 seconds"):
        make().translate(["A dog."], None)
    endpoint.reply = lambda number, sentence: error(429, "pay", code="insufficient_quota")
    with pytest.raises(MMTError, match="insufficient_quota"):
        make().translate(["A dog."], None)
    assert len(waits) == 3


def test_refusals_empty_and_long_answers_are_counted(make: Make, endpoint: Endpoint) -> None:
    replies = {
        "A": completion(None, refusal="I cannot."),
        "B": completion("", finish_reason="content_filter"),
        "C": error(400, "filtered", code="content_filter"),
        "D": completion(""),
        "E": completion(None),
        "F": completion('Translation: "Gut"\nGood.', finish_reason="length"),
    }
    endpoint.reply = lambda number, sentence: replies[sentence]
    system = make()
    assert system.translate(list(replies), None) == ["", "", "", "", "", "Gut"]
    about = system.describe()
    assert (about["refused"], about["unfinished"]) == (3, 1)
    cleaned = {rule: count for rule, count in about["cleaned"].items() if count}
    assert cleaned == {"empty": 2, "label": 1, "lines": 1, "quotes": 1}
    assert system.translate(list(replies), None) == ["", "", "", "", "", "Gut"]
    assert len(endpoint.requests) == 6


def test_one_malformed_answer_in_a_hundred_stops_nothing(make: Make, endpoint: Endpoint) -> None:
    sentences = [f"Sentence {n}." for n in range(200)]
    endpoint.reply = lambda number, sentence: (
        (200, b'{"choices": [', {}) if number % 100 == 50 else completion(translated(sentence))
    )
    system = make(concurrency=8)
    assert system.translate(sentences, None) == [translated(sentence) for sentence in sentences]
    assert system.describe()["repeated"] == 2


def test_an_endpoint_that_switches_models_is_refused(make: Make, endpoint: Endpoint) -> None:
    def switching(number: int, sentence: str) -> Reply:
        return completion("Gut.", model="tiny-1" if number < 3 else "tiny-2")

    endpoint.reply = switching
    first = make(concurrency=1)
    with pytest.raises(MMTError, match="are by the model 'tiny-1', and now 'tiny-2' answers requests to 'tiny'"):
        first.translate(SENTENCES, None)
    first.close()
    again = make(concurrency=1)
    with pytest.raises(MMTError, match="now 'tiny-2'"):
        again.translate(SENTENCES, None)
    assert again.describe()["answered_by"] == "tiny-1"
    assert again.translate(SENTENCES[:3], None) == ["Gut."] * 3
    again.close()
    assert make(model="other").translate(SENTENCES[:1], None) == ["Gut."]  # another system in the same folder


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (error(401, f"Incorrect API key: {KEY}"), "access denied with the key in OPENAI_API_KEY"),
        (error(403), "access denied"),
        (error(404, "no such model"), "no model 'tiny'"),
        (error(400, "context length exceeded"), "refuses the request"),
    ],
)
def test_lasting_failures_are_reported_at_once(reply: Reply, message: str, make: Make, endpoint: Endpoint) -> None:
    endpoint.reply = lambda number, sentence: reply
    with pytest.raises(MMTError, match=message):
        make(concurrency=1).translate(["A cat."], None)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_image_above_the_limit_is_named(status: int, make: Make, endpoint: Endpoint, tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "images" / "large.png")
    endpoint.reply = lambda number, sentence: error(status, "image too large")
    with pytest.raises(MMTError, match=r"image large\.png of \d+ bytes .*image too large.* make it smaller"):
        make().translate(["A cat."], ["large.png"])


def test_the_key_is_sent_and_appears_nowhere(
    make: Make, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.reply = lambda number, sentence: error(401, f"wrong key {KEY}") if number else completion("Gut.")
    system = make()
    system.translate(["A cat."], None)
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(MMTError) as raised:
        system.translate(["A dog."], None)
    endpoint.reply = lambda number, sentence: (500, f"boom {KEY}".encode(), {})
    with pytest.raises(MMTError) as again:
        system.translate(["A dog."], None)
    stored = "".join(path.read_text() for path in (tmp_path / "answers").iterdir() if path.is_file())
    for text in (str(raised.value), str(again.value), json.dumps(system.describe()), stored, repr(system)):
        assert KEY not in text
    assert "***" in str(raised.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    system.close()
    endpoint.reply = lambda number, sentence: completion("Gut.")
    make().translate(["A bird."], None)
    assert "Authorization" not in endpoint.headers[-1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "expected a URL such as"),
        ("ftp://host/v1", "expected a URL such as"),
        (f"https://user:{KEY}@host/v1", "without a password"),
        (f"https://host/v1?key={KEY}", "without a password or a query"),
    ],
)
def test_wrong_urls(url: str, message: str, make: Make) -> None:
    with pytest.raises(MMTError, match=message) as raised:
        make(url=url)
    assert KEY not in str(raised.value)


def test_an_endpoint_that_is_not_there(make: Make) -> None:
    with pytest.raises(MMTError, match=r"no answer after 3 attempts \(ConnectError"):
        make(url="http://127.0.0.1:9").translate(["A cat."], None)
