"""``mmt serve`` as a process: where it listens, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from mmt.cli.main import main
from tests import warm
from tests.serve.worlds import body
from tests.worlds import ONE_LAYER, tiny_folder, usual_signals, without_torch


@pytest.fixture(scope="module")
def folder(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("serve") / "tiny" / "model", world, **ONE_LAYER)


@contextlib.contextmanager
def served(*arguments: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the address that it names."""
    command = [sys.executable, "-m", "mmt.cli", "serve", *map(str, arguments), "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = warm.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=usual_signals)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"API at (http://\S+),", line):
                yield process, found[1]
                break
        else:
            pytest.fail("the server has ended")
    finally:
        process.kill()
        process.wait()


def _waiting(client: httpx.Client, address: str, pool: ThreadPoolExecutor) -> Future[httpx.Response]:
    """A request that the server translates; a longer one if it was too fast for its state to be seen."""
    for length in (100, 200, 400):
        long = body(*["a dog sees the cat. " * length] * 2)
        asked = pool.submit(client.post, f"{address}/translate", json=long)
        while not asked.done():
            if client.get(f"{address}/health").json()["models"][0]["waiting"]:
                return asked
        assert asked.result().status_code == 200
    pytest.fail("no request was seen waiting")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_open_requests_are_answered(folder: Path, signum: signal.Signals) -> None:
    with served(folder, "--max-seconds", "600") as (process, address), httpx.Client(timeout=600) as client:
        assert address.startswith("http://127.0.0.1:")
        assert client.get(f"{address}/health").json()["models"][0]["name"] == "tiny"
        with ThreadPoolExecutor(1) as pool:
            asked = _waiting(client, address, pool)
            process.send_signal(signum)
            assert asked.result().status_code == 200
        _, said = process.communicate(timeout=600)
        assert process.returncode == 128 + signum
        assert said.splitlines()[-1] == f"stopped by {signum.name}. Requests that had arrived were answered."
        assert "Traceback" not in said


def test_an_ignored_signal_stays_ignored(folder: Path) -> None:
    with served(folder) as (process, address):
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(re.search(r"SigCgt:\s+(\w+)", status)[1], 16)  # type: ignore[index]
        assert caught >> (signal.SIGHUP - 1) & 1
        process.send_signal(signal.SIGTERM)
        process.wait(600)
    code = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
        "from mmt.cli.main import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=usual_signals)
    try:
        assert process.stderr is not None
        address = next(found[1] for line in process.stderr if (found := re.search(r"API at (\S+),", line)))
        process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{address}/health", timeout=600).status_code == 200
    finally:
        process.kill()
        process.wait()


def test_clients_that_vanish_leave_a_server_that_answers(folder: Path) -> None:
    with served(folder) as (_, address):
        host, port = address.removeprefix("http://").split(":")
        for part in (
            b"",
            b"POST /tra",
            b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
            b"\0\xff" * 99,
        ):
            for _ in range(20):
                with socket.create_connection((host, int(port))) as connection:
                    connection.sendall(part)
        answer = httpx.post(f"{address}/translate", json=body("A dog."), timeout=600)
        assert answer.status_code == 200
        assert httpx.get(f"{address}/health", timeout=600).json()["models"][0]["waiting"] == 0


def test_exported_models_are_served_without_torch(exported_text: Path) -> None:
    exported = exported_text / "graphs"
    with served(f"exported={exported}", exported_text / "model") as (_, address):
        names = [one["name"] for one in httpx.get(f"{address}/health", timeout=600).json()["models"]]
        answers = [
            httpx.post(f"{address}/translate", json=body("A dog sees the cat.", model=name), timeout=600).json()
            for name in names
        ]
        assert (
            answers[0]["translations"][0]["hypotheses"][0]["text"]
            == (answers[1]["translations"][0]["hypotheses"][0]["text"])
        )
    program = (
        "import sys; from mmt.serve.limits import Limits; "
        "from mmt.serve.metrics import Metrics; from mmt.serve.models import open_models; "
        "from mmt.serve.api import create_app; limits, metrics = Limits(), Metrics(); "
        "create_app(open_models([sys.argv[1]], limits, metrics, threads=1), limits, metrics); print('opened')"
    )
    done = without_torch(program, exported)
    assert done.stdout.splitlines()[-1:] == ["opened"], done.stderr


def test_mistakes_are_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for arguments, told in (
            ([folder, "--port", taken.getsockname()[1]], "cannot listen there"),
            ([tmp_path / "none", "--port", 0], "no mmt.json"),
            ([folder, folder, "--port", 0], "there is a model tiny already"),
        ):
            done = CliRunner().invoke(main, ["serve", *map(str, arguments)])
            assert done.exit_code == 2, done.output
            assert told in done.stderr
            assert done.stderr.count("\n") == 1
