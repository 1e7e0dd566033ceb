"""The page's requests: what reaches Gradio, and what is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mmt.evidence.findings import Region
from mmt.serve.limits import Limits
from mmt.serve.page import add_page
from mmt.serve.results import make_result, render, with_map
from mmt.serve.schema import HypothesisAnswer, SentenceAnswer, TranslateAnswer
from tests.features.pictures import encoded, picture
from tests.serve.worlds import body, open_reader, serve, status_of_slow_upload

HOSTILE = "<b>x</b> ${alert(1)} {{value}}"


@pytest.fixture(scope="module")
def client(world: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    app = serve(open_reader(world, tmp_path_factory.mktemp("page") / "tiny"), Limits(request_bytes=100_000))
    add_page(app, world / "data")
    return TestClient(app)


@pytest.mark.parametrize(
    "path",
    ["upload", "file=/etc/passwd", "proxy=http://x", "stream/x", "component_server", "deep_link", "run/predict",
     "call/translate", "upload_progress", "vibe-edit", "dev/reload"],
)  # fmt: skip
def test_gradios_other_paths_do_not_exist(client: TestClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert client.request(method, f"/gradio_api/{path}").status_code == 404
    assert client.post("/gradio_api//upload").status_code == 404
    assert client.get("/monitoring").status_code == 404


def test_the_page_is_served_beside_the_api_and_names_no_other_host_to_load_from(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "fonts.g" not in page.text
    assert client.get("/theme.css").status_code == 200
    assert "https://" not in client.get("/theme.css").text
    assert client.get("/health").status_code == 200
    assert client.get("/docs").status_code == 200
    assert client.post("/translate", json=body("A dog.")).status_code == 200


def test_the_pages_requests_have_the_apis_limit(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", json={"data": ["x" * 100_000]}).status_code == 413
    chunks = (b" " * 1000 for _ in range(101))
    assert client.post("/gradio_api/queue/join", content=chunks).status_code == 413  # without a length
    for path in ("queue/join", "cancel", "reset"):
        answer = client.post(f"/gradio_api/{path}", content=b"x")
        assert answer.status_code == 422, path


def test_a_slow_request_to_the_page_ends_with_the_time_limit(world: Path, tmp_path: Path) -> None:
    app = serve(open_reader(world, tmp_path / "tiny"), Limits(seconds=0.3))
    add_page(app)
    assert status_of_slow_upload(app, "/gradio_api/queue/join") == 408


def test_requests_that_wait_for_the_page_count_as_held(world: Path, tmp_path: Path) -> None:
    app = serve(open_reader(world, tmp_path / "tiny"), Limits(request_bytes=10_000))
    add_page(app)
    client = TestClient(app)  # not entered: the queue does not move
    functions = client.get("/config").json()["dependencies"]
    (number,) = [one["id"] for one in functions if len(one["inputs"]) == 5][:1]
    content = {"fn_index": number, "data": ["x" * 9_000, "", "", 1, 1], "session_hash": "tests"}
    answers = [client.post("/gradio_api/queue/join", json=content) for _ in range(12)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * statuses.count(200) + [503] * statuses.count(503)
    assert 6 <= statuses.count(200) <= 8
    assert answers[-1].headers["retry-after"] == "1"
    assert client.post("/translate", json=body("x" * 9_000)).status_code == 503
    content["data"][0] = "x"
    small = [client.post("/gradio_api/queue/join", json=content | {"session_hash": f"s{n}"}) for n in range(70)]
    assert 50 <= [answer.status_code for answer in small].count(200) <= 64


def answer(*texts: str) -> TranslateAnswer:
    rows = [
        SentenceAnswer(hypotheses=[HypothesisAnswer(text=text, score=-0.5)], image_used=True, out_of_domain=False)
        for text in texts
    ]
    return TranslateAnswer(model="tiny", source_lang="en", target_lang="de", translations=rows)


TITLES = {"right": "With the picture", "wrong": "With another picture", "blank": "Without a picture"}


def test_changed_words_are_marked() -> None:
    result = make_result(answer("Ein roter Ball .", "Ein Ball .", "Ein roter Ball ."), TITLES)
    marked = [[word.text for word in row.words if word.differs] for row in result.rows]
    assert marked == [["roter"], [], []]
    assert [row.same for row in result.rows] == [False, False, True]


def test_a_map_lies_on_the_words_that_depend_on_the_picture() -> None:
    result = make_result(answer("Ein roter Ball", "Ein Ball"), {"right": "a", "blank": "b"})
    regions = [Region(0, 0, 0.5, 1), Region(0.5, 0, 1, 1)]
    importance = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.7], [0.0, 0.0]]
    words = ["Ein", "roter", "Ball", "</s>"]
    mapped = with_map(result, encoded(picture(0), "PNG"), words, importance, regions)
    assert [word.text for word in mapped.rows[0].words if word.cells] == ["Ball"]
    assert "50 %" in render([mapped])  # 1 - exp(-0.7)
    assert render([mapped]).count("<svg") == 1
    faint = with_map(result, encoded(picture(0), "PNG"), words, [[0.01, 0.0]] * 4, regions)
    assert not faint.mapped
    assert "No map" in render([faint])


def test_text_is_inert_for_the_browser_and_for_gradios_templates() -> None:
    drawn = render([make_result(answer(HOSTILE), {"blank": HOSTILE})])
    assert not any(part in drawn for part in ("<b>x", "${", "{{"))
    assert "alert" in drawn
