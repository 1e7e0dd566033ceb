"""The HTTP API: the translator's own translations, whatever else is asked at the same time."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from mmt.inference.runtime_model import ImageFeatures
from mmt.inference.translator import Translation
from mmt.serve.api import create_app
from mmt.serve.limits import Limits, RefusedError
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel
from tests.features.pictures import encoded, picture
from tests.hard.media import bombs
from tests.serve.worlds import (
    PICTURES,
    Gated,
    Reader,
    body,
    in_base64,
    open_reader,
    scope,
    send_all,
    serve,
    status_of_slow_upload,
    texts,
)
from tests.worlds import sentences, tiny_folder

TEXTS = [source for source, _ in sentences(12, 3)]
IMAGES = [PICTURES[n % 4] if n % 3 else None for n in range(12)]


@pytest.fixture(scope="module")
def reader(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return open_reader(world, tmp_path_factory.mktemp("serve") / "tiny")


@pytest.fixture(scope="module")
def app(reader: Reader) -> FastAPI:
    return serve(reader)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app)


@pytest.fixture(scope="module")
def expected(reader: Reader) -> list[list[Translation]]:
    return reader.hypotheses(TEXTS, IMAGES, n_best=2)


def rows() -> list[str | tuple[str, bytes]]:
    return [text if image is None else (text, image) for text, image in zip(TEXTS, IMAGES, strict=True)]


def test_answers_are_the_translators(client: TestClient, expected: list[list[Translation]]) -> None:
    answer = client.post("/translate", json=body(*rows(), n_best=2))
    assert texts(answer) == [[one.text for one in row] for row in expected]
    found = answer.json()
    assert (found["model"], found["source_lang"], found["target_lang"]) == ("tiny", "en", "de")
    assert [row["image_used"] for row in found["translations"]] == [image is not None for image in IMAGES]
    for row, of_row in zip(found["translations"], expected, strict=True):
        assert [one["score"] for one in row["hypotheses"]] == pytest.approx(
            [one.score for one in of_row], abs=1e-4
        )
    alone = texts(client.post("/translate", json=body(*TEXTS)))
    assert alone != [row[:1] for row in texts(answer)]  # the images matter here


def test_settings_are_the_translators(client: TestClient, reader: Reader) -> None:
    for settings in (
        {"beam_size": 1},
        {"beam_size": 4, "length_penalty": 0.0},
        {"guidance": 3.0},
        {"guidance": 0.0},
        {"n_best": 5},
    ):
        ours = dict(settings) if "n_best" not in settings else {"n_best": 5, "beam_size": 5}
        wanted = reader.hypotheses(TEXTS, IMAGES, **ours)  # type: ignore[arg-type]
        answer = client.post("/translate", json=body(*rows(), **settings))
        assert texts(answer) == [[one.text for one in row] for row in wanted], settings
        used = [row["image_used"] for row in answer.json()["translations"]]
        assert used == [image is not None and settings.get("guidance") != 0 for image in IMAGES]


def test_a_form_and_other_spellings_are_answered_alike(
    client: TestClient, expected: list[list[Translation]]
) -> None:
    files = [("image", ("x.png", image or b"")) for image in IMAGES]
    form = client.post("/translate", data={"text": TEXTS, "n_best": "2"}, files=files)
    assert texts(form) == [[one.text for one in row] for row in expected]
    plain = client.post("/translate", data={"text": TEXTS[0]}, files=[("image", ("x", b""))])
    assert texts(plain) == texts(client.post("/translate", json=body(TEXTS[0])))
    wrapped = body((TEXTS[1], PICTURES[1]), n_best=2)
    for spelling in (
        base64.encodebytes(PICTURES[1]).decode(),
        "data:image/jpeg;base64," + in_base64(PICTURES[1]),
    ):
        wrapped["sentences"][0]["image"] = spelling
        assert texts(client.post("/translate", json=wrapped)) == [[one.text for one in expected[1]]]


def test_many_at_once_get_the_answers_they_would_get_alone(
    app: FastAPI, client: TestClient, expected: list[list[Translation]]
) -> None:
    bodies = [body(row, n_best=1 + number % 2, beam_size=2) for number, row in enumerate([*rows()] * 5)]
    answers = send_all(app, bodies)
    for number, answer in enumerate(answers):
        wanted = expected[number % 12][: 1 + number % 2]
        assert texts(answer) == [[one.text for one in wanted]]
    assert "mmt_batch_sentences_bucket" in client.get("/metrics").text


def test_sentences_of_several_requests_share_batches(reader: Reader) -> None:
    app = serve(reader, threads=1)
    send_all(app, [body(text) for text in TEXTS * 4])
    lines = TestClient(app).get("/metrics").text.splitlines()
    count = next(float(line.split()[-1]) for line in lines if line.startswith("mmt_batch_sentences_count"))
    assert count < 48 / 3


BAD: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 422),
    "text": (b"no image at all", 422),
    "truncated PNG": (PICTURES[0][: len(PICTURES[0]) // 2], 422),
    "truncated JPEG": (encoded(picture(5, 400, 300), "JPEG")[:3000], 422),
    "PDF": (b"%PDF-1.7\n" + b"0" * 100, 422),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", 422),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>', 422),
    "no pixels": (b"GIF89a\x00\x00\x00\x00\x00\x00\x00;", 422),
    "thin": (encoded(Image.new("RGB", (2000, 1)), "PNG"), 422),
    "large": (encoded(Image.new("L", (5100, 5100)), "PNG"), 413),
}


@pytest.fixture(scope="module")
def small_files() -> dict[str, bytes]:
    """Image files that hold much more than they should: here, because making them takes seconds."""
    return bombs()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_in_one_line(client: TestClient, name: str) -> None:
    data, status = BAD[name]
    answer = client.post("/translate", json=body("A dog.", ("A cat.", data)))
    assert answer.status_code == status, answer.text
    check_detail(answer.json()["detail"])


def check_detail(detail: str) -> None:
    assert detail.startswith("sentences[1].image: ")
    assert "\n" not in detail


def test_decompression_bombs_are_refused_or_small(client: TestClient, small_files: dict[str, bytes]) -> None:
    """Those that are not refused do not go off: their first frame, or pixels without metadata, are small."""
    statuses = set()
    for name, data in small_files.items():
        answer = client.post("/translate", json=body("A dog.", ("A cat.", data)))
        assert answer.status_code in (200, 413, 422), f"{name}: {answer.text}"
        if answer.status_code != 200:
            check_detail(answer.json()["detail"])
        statuses.add(answer.status_code)
    assert statuses == {200, 413, 422}


def test_bad_requests_do_not_touch_their_neighbours(
    app: FastAPI, expected: list[list[Translation]], small_files: dict[str, bytes]
) -> None:
    files = [*(data for data, _ in BAD.values()), *small_files.values()]
    bad = [body(("A dog.", data)) for data in files] + [{"sentences": 3}, body("x", beam_size=99)]
    good = [body(row, n_best=2) for row in rows()]
    mixed = [one for pair in zip(bad, [*good, *good, *good], strict=False) for one in pair]
    answers = send_all(app, mixed)
    assert len(answers) == 2 * len(bad)
    assert {answer.status_code for answer in answers[::2]} == {200, 413, 422}  # 200: as above
    for number, answer in enumerate(answers[1::2]):
        assert texts(answer) == [[one.text for one in expected[number % 12]]]


class Poisoned(Reader):
    """A model that fails with one sentence, in whichever batch it is."""

    def hypotheses(self, sentences: Sequence[str], *rest: Any, **more: Any) -> list[list[Translation]]:
        if "poison" in sentences:
            raise RuntimeError("poisoned")
        return super().hypotheses(sentences, *rest, **more)


def test_a_sentence_that_the_model_fails_with_fails_alone(world: Path, tmp_path: Path) -> None:
    poisoned = Poisoned.from_dir(tiny_folder(tmp_path / "tiny", world, "gated"))
    answers = send_all(serve(poisoned, threads=1), [body(text) for text in [*TEXTS, "poison", *TEXTS]])
    assert [answer.status_code for answer in answers] == [200] * 12 + [500] + [200] * 12


def test_limits_have_their_status(reader: Reader) -> None:
    limits = Limits(request_bytes=50_000, image_pixels=1000, sentences=3, characters=100)
    client = TestClient(serve(reader, limits))

    def status(content: dict[str, Any]) -> int:
        return client.post("/translate", json=content).status_code

    assert status(body("x" * 100, "y", "z")) == 200
    assert status(body("x" * 101)) == 413
    assert status(body(*"wxyz")) == 413
    assert status(body(("x", encoded(picture(0, 40, 25), "PNG")))) == 200
    assert status(body(("x", encoded(picture(0, 40, 26), "PNG")))) == 413
    large = json.dumps(body("x")).encode() + b" " * 50_000
    headers = {"content-type": "application/json"}
    assert client.post("/translate", content=large, headers=headers).status_code == 413
    parts = (large[start : start + 1000] for start in range(0, len(large), 1000))
    assert client.post("/translate", content=parts, headers=headers).status_code == 413  # without a length
    form = client.post("/translate", data={"text": list("wxyz")}, files=[("image", b"")])
    assert form.status_code == 422  # one image for four texts
    assert client.post("/translate", data={"text": ["w" * 101]}, files=[("image", b"")]).status_code == 413
    assert client.post("/translate", data={"text": list("wxyz")}, files=[("image", b"")] * 4).status_code == 413
    for content in (
        b"{}",
        b"[1]",
        b'{"sentences": []}',
        b'{"sentences": [{"text": "x", "picture": 1}]}',
        b"{",
        b"\xff",
    ):
        answer = client.post("/translate", content=content, headers=headers)
        assert (answer.status_code, list(answer.json())) == (422, ["detail"]), content
    assert client.post("/translate", data={"text": "x"}).status_code == 415
    assert client.post("/translate", content=b"{}").status_code == 415
    for settings in ({"n_best": 3, "beam_size": 2}, {"model": "other"}, {"target_lang": "fr"}, {"beams": 2}):
        assert status(body("x", **settings)) == 422, settings
    assert status(body("x", "y")) == 200


def test_a_late_answer_is_an_error(world: Path, tmp_path: Path) -> None:
    slow = open_reader(world, tmp_path / "tiny")
    app = serve(slow, Limits(seconds=0.2), threads=1)
    slow.gate.clear()
    assert TestClient(app).post("/translate", json=body(("A dog.", PICTURES[0]))).status_code == 504
    slow.gate.set()


def test_what_a_full_queue_has_no_room_for_is_refused(world: Path, tmp_path: Path) -> None:
    slow = Gated.from_dir(tiny_folder(tmp_path / "tiny", world, "gated"))
    app = serve(slow, Limits(waiting=8, seconds=100), threads=1)
    slow.translating.clear()
    refused = 0

    def answered(answer: httpx.Response) -> None:
        nonlocal refused
        refused += answer.status_code == 503
        if refused == 8:
            slow.translating.set()

    answers = send_all(app, [body(*["A dog."] * 4) for _ in range(10)], answered)
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [503] * 8
    assert {answer.headers.get("retry-after") for answer in answers if answer.status_code == 503} == {"1"}
    assert TestClient(app).post("/translate", json=body(*["A dog."] * 8)).status_code == 200


def test_a_slow_upload_ends_with_the_time_limit(reader: Reader) -> None:
    app = serve(reader, Limits(seconds=0.3))
    assert status_of_slow_upload(app, "/translate") == 408


def test_two_damaged_images_leave_no_error_unseen(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    half = encoded(picture(5, 400, 300), "JPEG")[:3000]
    app = serve(reader, threads=1)
    (answer,) = send_all(app, [body(("A dog.", half), ("A cat.", half + b"\0"), ("A ball.", half + b"\0\0"))])
    gc.collect()
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("sentences[0].image: ")
    assert "never retrieved" not in caplog.text


def test_an_image_is_read_once_however_many_sentences_have_it(reader: Reader) -> None:
    image = encoded(picture(77), "PNG")
    model = ServedModel("tiny", reader.card, reader, 1, Limits(), Metrics())
    before = reader.reads

    async def run() -> list[ImageFeatures]:
        reader.gate.clear()
        deadline = time.monotonic() + 60
        tasks = [asyncio.create_task(model.features_of(image, "image", deadline)) for _ in range(3)]
        await asyncio.sleep(0)  # each runs until it waits for the features
        reader.gate.set()
        return [*await asyncio.gather(*tasks), await model.features_of(image, "image", deadline)]

    first, *others = asyncio.run(run())
    assert all(np.array_equal(one, first) for one in others)
    assert reader.reads - before == 1
    model.close()
    app, before = serve(reader), reader.reads
    answers = send_all(app, [body(("A dog.", image), ("A cat.", image)), body(("A ball.", image))])
    assert [answer.status_code for answer in answers] == [200, 200]
    assert reader.reads - before == 1


def test_the_apis_images_do_not_wait_for_the_page(reader: Reader) -> None:
    limits = Limits()
    model = ServedModel("tiny", reader.card, reader, 1, limits, Metrics())
    ended = threading.Event()

    async def run() -> None:
        late = time.monotonic() + 0.05
        with pytest.raises(RefusedError, match="takes longer"):
            await model.in_page_pool(lambda: ended.wait(600), late)
        await model.features_of(PICTURES[0], "image", time.monotonic() + 60)

    try:
        asyncio.run(run())
        assert not ended.is_set()
    finally:
        ended.set()
        model.close()


def test_a_dropped_connection_withdraws_its_sentences(world: Path, tmp_path: Path) -> None:
    slow = open_reader(world, tmp_path / "tiny")
    limits, metrics = Limits(), Metrics()
    model = ServedModel("tiny", slow.card, slow, 1, limits, metrics)
    app = create_app([model], limits, metrics)
    slow.gate.clear()
    slow.reading.acquire()  # of the model's opening
    asked = slow.reads

    async def run() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        content = json.dumps(body(*[(f"A dog {n}.", encoded(picture(n), "PNG")) for n in range(10)])).encode()
        messages.put_nowait({"type": "http.request", "body": content, "more_body": False})

        async def send(message: Any) -> None:
            pass

        task = asyncio.create_task(app(scope(), messages.get, send))
        assert await asyncio.to_thread(slow.reading.acquire, timeout=60)
        messages.put_nowait({"type": "http.disconnect"})
        await task  # though an image is being read
        slow.gate.set()
        await model.features_of(encoded(picture(10), "PNG"), "image", time.monotonic() + 60)

    asyncio.run(run())
    assert slow.reads - asked == 2  # the first and the last, not the nine between them
    state = TestClient(app).get("/health").json()
    assert state["models"][0]["waiting"] == 0
    assert 'mmt_requests_total{path="/translate",status="499"} 1.0' in TestClient(app).get("/metrics").text


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Files that this process opens to write or creates, folders too."""
    names: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not _watching:
            return
        if event == "open":
            path, mode, flags = arguments
            if not isinstance(path, int) and (
                flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+")
            ):
                names.append(f"{path} {mode} {flags}")
        elif event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp", "os.link", "os.symlink"):
            names.append(f"{event} {arguments}")

    sys.addaudithook(hook)
    _watching.append(1)
    yield names
    _watching.clear()


_watching: list[int] = []


def test_nothing_of_a_request_is_written_to_disk(client: TestClient, opened: list[str]) -> None:
    noise = Image.frombytes("RGB", (1500, 1400), os.urandom(1500 * 1400 * 3))
    image = encoded(noise, "PNG")
    assert len(image) > 6_000_000
    form = client.post("/translate", data={"text": "A dog."}, files=[("image", ("x.png", image))])
    assert form.status_code == 200
    assert client.post("/translate", json=body(("A cat.", image))).status_code == 200
    assert client.post("/translate", json=body(("A cat.", image[:-5000]))).status_code == 422
    assert client.post("/translate", data={"text": "A dog."}, files=[("image", image)] * 3).status_code == 422
    assert opened == []
    with tempfile.TemporaryFile():
        assert opened != []  # the watch works


def test_ten_thousand_characters_are_translated_in_parts(client: TestClient, reader: Reader) -> None:
    long = ("A dog sees the cat. " * 600)[:10_000]
    (found,) = texts(client.post("/translate", json=body(long)))
    assert [found] == [[one] for one in reader.translate([long])]
    assert client.post("/translate", json=body("word" * 2_500)).status_code == 200
    assert client.post("/translate", json=body("")).json()["translations"][0]["hypotheses"][0]["text"] == ""


def test_health_names_the_models(client: TestClient) -> None:
    found = client.get("/health").json()
    assert found["status"] == "ok"
    assert found["models"] == [
        {
            "name": "tiny",
            "tasks": ["translation"],
            "source_lang": "en",
            "target_lang": "de",
            "languages": [],
            "images": True,
            "beam_size": 2,
            "waiting": 0,
        }
    ]


def test_metrics_count(reader: Reader) -> None:
    client = TestClient(serve(reader))
    client.post("/translate", json=body(("A dog.", PICTURES[0]), ("A cat.", PICTURES[0]), "A ball."))
    client.post("/translate", json=body(("A dog.", PICTURES[0])))
    client.post("/translate", json=body(("A dog.", b"no")))
    text = client.get("/metrics").text
    for line in (
        'mmt_requests_total{path="/translate",status="200"} 2.0',
        'mmt_requests_total{path="/translate",status="422"} 1.0',
        'mmt_sentences_total{model="tiny"} 4.0',
        'mmt_waiting_sentences{model="tiny"} 0.0',
        'mmt_request_seconds_count{path="/translate"} 3.0',
    ):
        assert line in text.splitlines()
    assert 'mmt_images_total{model="tiny",result="known"} ' in text
    assert "process_resident_memory_bytes" in text


def test_the_description_is_complete_and_needs_no_network(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "https://" not in page.replace('"https://fastapi', "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    described = client.get("/openapi.json").json()
    content = described["paths"]["/translate"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    for example in content["application/json"]["examples"].values():
        assert client.post("/translate", json=example["value"]).status_code == 200
    references = json.dumps(described)
    for name in ("TranslateRequest", "Sentence", "TranslateAnswer", "ErrorAnswer", "Health"):
        assert f"#/components/schemas/{name}" in references
        assert name in described["components"]["schemas"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["sentences", "text", "image", "n_best", "beam_size", "guidance", "length_penalty", "model"]
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(FIELDS, VALUES, max_size=4), text=VALUES, raw=st.binary(max_size=60))
def test_no_body_is_an_error_of_the_server(
    client: TestClient, content: dict[str, Any], text: Any, raw: bytes
) -> None:
    headers = {"content-type": "application/json"}
    for data in (
        json.dumps(content),
        json.dumps(content | {"sentences": [{"text": text}]}),
        json.dumps({"sentences": [{"text": "a dog", "image": text}]} | content),
        raw,
        json.dumps({"sentences": [{"text": "\ud800 \x00 \u202e"}]}),
    ):
        assert client.post("/translate", content=data, headers=headers).status_code in (200, 413, 422)
    form = {"content-type": "multipart/form-data; boundary=x"}
    for part in (raw, b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + raw + b"\r\n--x--\r\n"):
        assert client.post("/translate", content=part, headers=form).status_code in (200, 413, 422)
