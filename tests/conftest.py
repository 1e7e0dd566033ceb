"""Fixtures that all tests share; their helper functions are in ``tests/worlds.py``."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmt.data.tokenizer import Tokenizer, train_tokenizer
from mmt.io.signals import SIGNALS
from tests.hub_server import HubServer, hub_server
from tests.parsed import keep_parsed
from tests.worlds import ONE_LAYER, made_once, make_dataset, make_features, sentences

FIRST = (
    "integration/test_processes.py",
    "inference/test_onnx_runtime.py",
    "training/test_recipe.py",
    "io/test_runtime.py",
    "inference/test_exported_images.py",
    "training/test_text_base.py",
    "model/pretrained/test_opening.py",
    "experiments/test_tuning.py",
    "experiments/test_compare.py",
    "inference/test_own_graphs.py",
    "cli/test_main.py",
    "training/test_multilingual.py",
    "training/test_objectives.py",
    "inference/test_ensemble.py",
    "evidence/test_any_system.py",
    "training/test_image_weighting.py",
    "experiments/test_reproduce.py",
    "training/test_streaming.py",
    "engines/test_ray.py",
    "engines/test_engines.py",
)
"""Files that take long, the longest first: begun last, one would keep a process busy when the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Pauses the garbage collector where tests are collected: what imports make stays, and visiting it again and
    again takes seconds."""
    distributes = session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput")
    if not distributes:
        gc.disable()


def pytest_collection_finish() -> None:
    keep_parsed()
    gc.freeze()
    gc.enable()


@pytest.fixture
def _signals() -> Iterator[None]:
    """This process gets the signals, too, while a test sends them to it."""
    usual = dict.fromkeys(SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {signum: signal.signal(signum, handler) for signum, handler in usual.items()}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/`` (train 60, val 10, test 8), ``features/`` of its images and ``tokenizer.model``."""
    folder = tmp_path_factory.mktemp("world")
    sizes = {"train": 60, "val": 10, "test": 8}
    make_dataset(folder / "data", sizes)
    make_features(folder / "features", [f"{s}-{n}.png" for s, size in sizes.items() for n in range(0, size, 2)])
    lines = (side for pair in sentences(60, 0) for side in pair)
    train_tokenizer(lines, 330, folder / "tokenizer.model")
    return folder


@pytest.fixture(scope="session")
def exported_text(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text-only ``model`` of one layer and its ``graphs`` in both precisions.

    Their weights are too large for a graph file, and lie beside it.
    """

    def make(folder: Path) -> None:
        from tests.inference import exports  # few tests need it

        keep_parsed()
        exports.export_large(exports.saved(folder / "model", world, None, "none", **ONE_LAYER), folder / "graphs")

    return made_once(tmp_path_factory, "exported_text", make)


@pytest.fixture(scope="session")
def exported_gated(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a gated ``model`` of one layer, for the world's features, and its ``graphs`` in float32."""

    def make(folder: Path) -> None:
        from tests.inference import exports  # few tests need it

        keep_parsed()
        model = exports.saved(folder / "model", world, world / "features", "gated", seed=1, **ONE_LAYER)
        exports.export_model(model, folder / "graphs", backbone=None, show_progress=False)

    return made_once(tmp_path_factory, "exported_gated", make)


@pytest.fixture(scope="session")
def tokenizer(world: Path) -> Tokenizer:
    return Tokenizer(world / "tokenizer.model")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A local server that huggingface_hub takes for the hub, with a cache and a token of this test's own."""
    from huggingface_hub import constants, file_download  # few tests need it
    from huggingface_hub.utils import reset_sessions

    from mmt.io.hub import hub_model

    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    hub_model.cache_clear()
    with hub_server() as server:
        # The library reads its variables when it is imported.
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.url)
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        reset_sessions()
        yield server
    reset_sessions()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server on this machine that speaks S3."""
    server_of = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    import fsspec

    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)  # else each request is a line on stderr
    server = server_of(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
        yield "s3://bucket"
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
