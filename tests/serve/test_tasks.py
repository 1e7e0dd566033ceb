"""The page's tabs for labels and retrieval, and its translations, through Gradio's own requests."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from mmt.errors import MMTError
from mmt.inference.embedding import build_index, embed_images, embed_sentences
from mmt.inference.labelling import predict
from mmt.inference.named import EXAMPLES, examples
from mmt.serve.api import create_app
from mmt.serve.limits import Limits
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel, open_models
from mmt.serve.page import add_page
from mmt.serve.results import data_url
from tests.features.pictures import encoded
from tests.serve.test_api import opened  # noqa: F401
from tests.serve.worlds import PICTURES, Reader, body, open_reader, serve, texts
from tests.worlds import tiny_folder

LINES = ["a dog", "a cat", "a ball"]


def app_of(*models: tuple[Reader, Path]) -> FastAPI:
    limits, metrics = Limits(), Metrics()
    served = [ServedModel(path.name, one.card, one, 1, limits, metrics, str(path)) for one, path in models]
    return create_app(served, limits, metrics)


def join(client: TestClient, num_inputs: int, data: list[Any], number: int = 0, **changes: Any) -> httpx.Response:
    """The answer to the page's request to its ``number``-th function with so many inputs."""
    functions = [one for one in client.get("/config").json()["dependencies"] if len(one["inputs"]) == num_inputs]
    content = {"fn_index": functions[number]["id"], "data": data, "session_hash": "tests"} | changes
    answer: httpx.Response = client.post("/gradio_api/queue/join", json=content)
    return answer


def call(client: TestClient, num_inputs: int, data: list[Any], number: int = 0, session: str = "tests") -> str:
    """What the page would show: the last result of a function, see ``join``."""
    assert join(client, num_inputs, data, number, session_hash=session).status_code == 200
    shown, done = "", False
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                message = json.loads(line.removeprefix("data:"))
                if message["msg"] in ("process_generating", "process_completed") and message.get("output", {}).get(
                    "data"
                ):
                    (found,) = message["output"]["data"]
                    shown = found if isinstance(found, str) else shown
                if message["msg"] == "process_completed":
                    assert message["success"], message
                    done = True
    assert done
    return shown


@pytest.fixture(scope="module")
def labeller(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Path]:
    path = tmp_path_factory.mktemp("tabs") / "labeller"
    heads = {"heads": ("classification", "regression"), "num_labels": 3, "writes": False}
    card = tiny_folder(path, world, "gated", **heads) / "mmt.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"labels": ["<yes>", "no", "red"]}))
    return Reader.from_dir(path), path


@pytest.fixture(scope="module")
def finder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, Path]:
    path = tmp_path_factory.mktemp("tabs") / "finder"
    return open_reader(world, path, heads=("contrastive",), writes=False), path


def test_questions_are_answered_with_the_picture_and_without(labeller: tuple[Reader, Path]) -> None:
    app = app_of(labeller)
    add_page(app)
    with TestClient(app) as client:
        shown = call(client, 2, ["a dog", data_url(PICTURES[0])])
        bad = call(client, 2, ["a dog", "data:image/png;base64,AAAA"])
        long = call(client, 2, ["x" * (Limits().characters + 1), ""])
    found = predict(labeller[0], ["a dog"] * 2, [PICTURES[0], None])
    assert len({round(one.probability or 0, 3) for one in found}) == 2  # the picture matters
    for one in found:
        assert f"{100 * (one.probability or 0):.1f} %" in shown
    assert "<yes>" not in shown
    assert "not an image" in bad
    assert "10,001 characters are over the limit" in long


def test_sentences_are_compared_with_a_picture(finder: tuple[Reader, Path]) -> None:
    app = app_of(finder)
    add_page(app)
    with TestClient(app) as client:
        shown = call(client, 2, ["\n".join([*LINES, "", LINES[0]]), data_url(PICTURES[1])])
        empty = call(client, 2, ["", ""])
        long = call(client, 2, ["x" * (Limits().characters + 1), data_url(PICTURES[1])])
    cosines = embed_sentences(finder[0], LINES) @ embed_images(finder[0], [PICTURES[1]])[0]
    order = [LINES[number] for number in np.argsort(-cosines)]
    places = [shown.index(f">{line}<") for line in order]
    assert places == sorted(places)
    assert shown.count("<tr>") == 4
    assert "Write a sentence" in empty
    assert "10,001 characters are over the limit" in long


def test_an_index_is_searched_by_text_and_by_picture(finder: tuple[Reader, Path], tmp_path: Path) -> None:
    build_index(tmp_path / "index", LINES, finder[0], finder[1], show_progress=False)
    app = app_of(finder)
    add_page(app, index=tmp_path / "index")
    with TestClient(app) as client:
        shown = call(client, 2, ["a cat", ""], number=1)
        by_picture = call(client, 2, ["", data_url(PICTURES[1])], number=1)
        long = call(client, 2, ["x" * (Limits().characters + 1), ""], number=1)
    assert '1. <span dir="auto">a cat<' in shown
    assert by_picture.count("<li>") == 3
    assert "10,001 characters are over the limit" in long


def test_an_index_of_another_model_is_refused(
    world: Path, finder: tuple[Reader, Path], labeller: tuple[Reader, Path], tmp_path: Path
) -> None:
    build_index(tmp_path / "index", LINES, finder[0], finder[1], show_progress=False)
    other = (
        open_reader(world, tmp_path / "other", heads=("contrastive",), writes=False, seed=5),
        tmp_path / "other",
    )
    with pytest.raises(MMTError, match="another model"):
        add_page(app_of(other), index=tmp_path / "index")
    with pytest.raises(MMTError, match="no served model is for retrieval"):
        add_page(app_of(labeller), index=tmp_path / "index")


def test_the_built_in_model_is_served_with_its_own_examples() -> None:
    limits, metrics = Limits(), Metrics()
    app = create_app(open_models(["pictures-en-de"], limits, metrics, threads=1), limits, metrics)
    add_page(app)
    rows = [list(row.values()) for row in examples()]
    (text, one, _, translation), (_, other, _, another) = [row for row in rows if row[0] == rows[0][0]]
    pictures = [(EXAMPLES.parent / name).read_bytes() for name in (one, other)]
    with TestClient(app) as client:
        assert "mmt-examples" in client.get("/").text
        shown = call(client, 5, [text, *map(data_url, pictures), 1, 1])
        answer = client.post("/translate", json=body((text, pictures[0]), (text, pictures[1])))
    assert texts(answer) == [[translation], [another]]
    changed = {word for word in translation.split() if word not in another.split()}
    assert changed
    assert all(f'<b class="differs">{word}</b>' in shown for word in changed)
    assert "No map over the picture: an exported model" in shown


def test_nothing_of_the_pages_requests_is_written_to_disk(
    world: Path,
    tmp_path: Path,
    opened: list[str],  # noqa: F811
) -> None:
    app = serve(Reader.from_dir(tiny_folder(tmp_path / "tiny", world, "gated")))
    add_page(app)
    noise = encoded(Image.effect_noise((1200, 1000), 90), "PNG")
    assert len(noise) > 1_000_000
    with TestClient(app) as client:
        opened.clear()
        shown = call(client, 5, ["a dog", data_url(noise), data_url(PICTURES[0]), 1, 2])
        url = {"path": "http://127.0.0.1:9/x.png", "meta": {"_type": "gradio.FileData"}}
        here = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
        for hostile in (url, here, [url], {"value": url}, {"x": here}):
            for place in range(5):
                data: list[Any] = ["a dog", "", "", 1, 1]
                data[place] = hostile
                assert join(client, 5, data).status_code == 422
            assert join(client, 5, ["a dog", "", "", 1, 1], event_data={"number": hostile}).status_code == 422
        assert opened == []
    assert "With another picture" in shown
    assert "With the picture" in shown


def test_pictures_of_answered_requests_leave_the_memory(world: Path, tmp_path: Path) -> None:
    app = serve(open_reader(world, tmp_path / "tiny"))
    add_page(app)
    urls = [data_url(encoded(Image.effect_noise((1200, 1000), seed), "PNG")) for seed in (80, 90, 95, 99)]
    with TestClient(app) as client:
        call(client, 5, ["a dog", urls.pop(), "", 1, 1], session="first")
        gc.collect()
        tracemalloc.start()
        try:
            for number, url in enumerate(urls):
                call(client, 5, ["a dog", url, "", 1, 1], session=f"s{number}")
            call(client, 5, ["a dog", "", "", 1, 1], session="last")
            gc.collect()
            _, most = tracemalloc.get_traced_memory()
            ours = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(False, "*/httpx/*")]
            )  # the client's
        finally:
            tracemalloc.stop()
    assert most > len(urls[0])  # the measurement works
    assert sum(one.size for one in ours.statistics("filename")) < len(urls[0])
