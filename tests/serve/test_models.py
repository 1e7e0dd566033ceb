"""Which runtime a served model has: a folder's own graphs where it has them, and torch for what they cannot do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mmt.errors import MMTError
from mmt.inference.open import Runtime
from mmt.inference.torch_runtime import Translator
from mmt.serve.api import create_app
from mmt.serve.limits import Limits
from mmt.serve.metrics import Metrics
from mmt.serve.models import ServedModel, open_models
from tests.serve.worlds import PICTURES, Reader, body, serve, texts
from tests.worlds import ONE_LAYER, add_graphs, tiny_folder, without_torch

TEXTS = ["A dog sees the cat.", "A boat finds the ball."]


@pytest.fixture(scope="module")
def folder(exported_gated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with graphs."""
    folder = tmp_path_factory.mktemp("models") / "tiny" / "model"
    return add_graphs(Path(shutil.copytree(exported_gated / "model", folder)), exported_gated / "graphs")


def opened(model: Path, runtime: Runtime = "auto") -> ServedModel:
    (served,) = open_models([str(model)], Limits(), Metrics(), threads=1, runtime=runtime)
    return served


def client_of(model: ServedModel) -> TestClient:
    return TestClient(create_app([model], Limits(), Metrics()))


def test_a_folders_graphs_translate_and_torch_does_the_rest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Translator, "read_images", Reader.read_means)
    reader = Reader.from_dir(folder)
    expected = TestClient(serve(reader))
    model = opened(folder)
    client = client_of(model)
    assert model.reads_images
    pictured = body(*[(text, PICTURES[0]) for text in TEXTS])
    for content in (body(*TEXTS), pictured):
        assert texts(client.post("/translate", json=content)) == texts(expected.post("/translate", json=content))
    assert model.translator.runtime.startswith("ONNX Runtime")
    assert model.guides
    content = pictured | {"guidance": 2.0}
    assert texts(client.post("/translate", json=content)) == texts(expected.post("/translate", json=content))
    assert model.translator.runtime == "torch (guidance 2: the graphs have 1)"
    assert model.loaded is not None
    assert model.loaded.model is not None


@pytest.mark.parametrize(("runtime", "name"), [("torch", "torch"), ("onnx", "ONNX Runtime (the model's graphs)")])
def test_another_runtime_is_taken_on_request(folder: Path, runtime: Runtime, name: str) -> None:
    model = opened(folder, runtime)
    assert model.translator.runtime == name
    assert (model.loaded is None) == (runtime == "onnx")
    assert len(texts(client_of(model).post("/translate", json=body(*TEXTS)))) == 2


def test_the_graphs_alone_are_refused_where_there_are_none(world: Path, tmp_path: Path) -> None:
    with pytest.raises(MMTError, match="--runtime onnx: no exported graphs in"):
        opened(tiny_folder(tmp_path / "model", world, **ONE_LAYER), "onnx")


def test_a_text_only_folder_with_graphs_is_served_without_torch(exported_text: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_text / "model", tmp_path / "model"))
    add_graphs(folder, exported_text / "graphs")
    program = (
        "import sys; from mmt.serve.limits import Limits; "
        "from mmt.serve.metrics import Metrics; from mmt.serve.models import open_models; "
        "(model,) = open_models([sys.argv[1]], Limits(), Metrics(), threads=1); "
        "print(model.translator.translate(['A dog sees the cat.'])[0], flush=True); model.close()"
    )
    done = without_torch(program, folder)
    assert done.stdout.splitlines() == Translator.from_dir(folder).translate(["A dog sees the cat."]), done.stderr
